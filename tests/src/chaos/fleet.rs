//! The processes of a pipeline, kept alive whatever is done to them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use homing_faults::{CRASH_VARIABLE, Point, SABOTAGE_VARIABLE, Sabotage};

use super::submission::Submission;
use crate::process::Process;
use crate::program::{HOMING, TEST_WORKER};
use crate::proxy::Proxy;
use crate::world::World;

/// How one ends that was told to end while it did so already.
const TOLD_TWICE: i32 = 130;

/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(10);

/// How long one that was told to end may take: longer than any grace.
const END_TIME_MAX: Duration = Duration::from_secs(60);

/// Which program a process runs.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// It runs tasks.
    Worker,
    /// It stores outcomes, or stands by.
    Collector,
}

/// How many processes of each role there are.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Workers.
    pub workers: usize,
    /// Collectors, one of which collects.
    pub collectors: usize,
}

/// A process and what was done to it.
#[derive(Debug)]
pub struct Member {
    /// Its role.
    pub role: Role,
    /// The process.
    pub process: Process,
    /// When it was started.
    pub since: Instant,
    thaws_at: Option<Instant>,
    /// Whether it is to die somewhere.
    armed: bool,
    told_to_end: Option<Instant>,
}

/// What was done to the processes, and what they did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Processes that were killed, or died where they were asked to.
    pub kills: u64,
    /// Processes that were started.
    pub started: u64,
}

/// The processes of a pipeline in one world.
#[derive(Debug)]
pub struct Fleet {
    /// Where they run.
    pub world: World,
    /// Workers and collectors.
    pub members: Vec<Member>,
    /// Producers, until they are done.
    pub submissions: Vec<Submission>,
    /// What happened so far.
    pub tally: Tally,
    /// The points at which processes died.
    pub crashes: Vec<Point>,
    /// What went wrong with a process by itself.
    pub trouble: Vec<String>,
    sabotage: Option<Sabotage>,
    /// In front of the broker, for processes started while it is there.
    pub proxy: Option<Proxy>,
}

impl Fleet {
    /// Starts one; with `sabotage`, all of it breaks that guarantee.
    pub fn start(world: World, size: Size, sabotage: Option<Sabotage>) -> Self {
        let mut fleet = Self {
            world,
            members: Vec::new(),
            submissions: Vec::new(),
            tally: Tally::default(),
            crashes: Vec::new(),
            trouble: Vec::new(),
            sabotage,
            proxy: None,
        };
        (0..size.collectors).for_each(|_| fleet.add(Role::Collector, None));
        (0..size.workers).for_each(|_| fleet.add(Role::Worker, None));
        fleet
    }

    /// Starts a process; `crash` says where it is to die.
    pub fn add(&mut self, role: Role, crash: Option<&str>) {
        let member = self.launch(role, crash);
        self.members.push(member);
    }

    /// Starts a process of any program.
    pub(super) fn spawn(
        &mut self,
        name: &str,
        program: &str,
        arguments: &[&str],
        crash: Option<&str>,
    ) -> Process {
        self.tally.started += 1;
        let name = format!("{name}-{}", self.tally.started);
        let mut variables = Vec::new();
        let sabotage = self.sabotage.map(Sabotage::name);
        variables.extend(sabotage.map(|name| (SABOTAGE_VARIABLE, name)));
        variables.extend(crash.map(|point| (CRASH_VARIABLE, point)));
        variables.extend(self.proxy.as_ref().map(|proxy| ("AMQP_URL", proxy.url())));
        let world = &self.world;
        world.start_program_with(&name, program, arguments, &variables)
    }

    fn launch(&mut self, role: Role, crash: Option<&str>) -> Member {
        let flags = ["--concurrency", "8", "--grace", "5s"];
        let process = match role {
            Role::Worker => self.spawn("worker", TEST_WORKER, &flags, crash),
            Role::Collector => self.spawn("collector", HOMING, &["collector"], crash),
        };
        Member {
            role,
            process,
            since: Instant::now(),
            thaws_at: None,
            armed: crash.is_some(),
            told_to_end: None,
        }
    }

    /// The places of the members of a role, those that are not told to end.
    pub fn of(&self, role: Role) -> Vec<usize> {
        let members = self.members.iter().enumerate();
        let members = members.filter(|(_, m)| m.role == role && m.told_to_end.is_none());
        members.map(|(at, _)| at).collect()
    }

    /// The place of the collector that collects: it is the one that has the
    /// store longest.
    pub fn active(&self) -> Option<usize> {
        let collectors = self.of(Role::Collector);
        let holder = self.world.sqlite().with_extension("db.collector");
        let holder = std::fs::read_to_string(holder).unwrap_or_default();
        let process = holder.split(' ').nth(1).and_then(|id| id.parse().ok());
        let is_holder = |at: &usize| self.members[*at].process.id() == process;
        collectors.iter().copied().find(is_holder)
    }

    /// Kills a process, and starts another in its place that dies at `crash`.
    pub async fn replace(&mut self, at: usize, crash: Option<&str>) {
        self.members[at].process.kill().await;
        self.tally.kills += 1;
        let member = self.launch(self.members[at].role, crash);
        self.members[at] = member;
    }

    /// Kills those that did not get to where they were to die.
    pub async fn disarm(&mut self) {
        for at in 0..self.members.len() {
            if self.members[at].armed && self.members[at].told_to_end.is_none() {
                self.replace(at, None).await;
            }
        }
    }

    /// Stops a process in its tracks for some time.
    pub fn freeze(&mut self, at: usize, time: Duration) {
        let member = &mut self.members[at];
        if member.process.has_ended().is_none() {
            member.process.freeze();
            member.thaws_at = Some(Instant::now() + time);
        }
    }

    /// Tells a process to end, so many times. Another takes its place at once.
    pub fn term(&mut self, at: usize, times: usize) {
        let member = &mut self.members[at];
        if member.process.has_ended().is_some() {
            return;
        }
        (0..times).for_each(|_| member.process.term());
        let role = member.role;
        member.told_to_end = Some(Instant::now());
        self.add(role, None);
    }

    /// Kills everybody and starts them anew, through the proxy if there is one.
    pub async fn restart(&mut self) {
        self.members.retain(|member| member.told_to_end.is_none());
        for at in 0..self.members.len() {
            self.replace(at, None).await;
        }
    }

    /// Lets time pass and keeps everybody alive.
    pub async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            self.tend();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    /// Looks after everybody once: thaws, starts again, resumes.
    pub fn tend(&mut self) {
        let now = Instant::now();
        let mut at = 0;
        while at < self.members.len() {
            let member = &mut self.members[at];
            if member.thaws_at.is_some_and(|thaws_at| thaws_at <= now) {
                member.thaws_at = None;
                if member.process.has_ended().is_none() {
                    member.process.thaw();
                }
            }
            let Some(code) = member.process.has_ended() else {
                let late = |since: Instant| since.elapsed() > END_TIME_MAX;
                if member.told_to_end.is_some_and(late) {
                    self.trouble
                        .push(format!("a {:?} does not end", member.role));
                    member.told_to_end = Some(now);
                }
                at += 1;
                continue;
            };
            let (role, told) = (member.role, member.told_to_end.is_some());
            let said = member.process.stderr();
            self.members.remove(at);
            self.reap(role, code, told, &said);
        }
        let mut submissions = std::mem::take(&mut self.submissions);
        for submission in &mut submissions {
            submission.tend(self);
        }
        self.submissions = submissions;
    }

    /// Takes note of the point at which a process died.
    pub(super) fn note_crash(&mut self, said: &str) {
        let points = said
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("crash point "));
        self.crashes
            .extend(points.and_then(|name| name.parse::<Point>().ok()));
    }

    /// Another takes the place of one that has ended, unless one has already.
    fn reap(&mut self, role: Role, code: i32, told: bool, said: &str) {
        self.note_crash(said);
        match code {
            // A second signal to end, or a crash that was asked for.
            -1 if told => {}
            -1 => self.tally.kills += 1,
            0 | TOLD_TWICE if told => {}
            code => {
                let last: Vec<_> = said.lines().rev().take(3).collect();
                self.trouble
                    .push(format!("a {role:?} ended with {code}: {last:?}"));
            }
        }
        if !told {
            self.add(role, None);
        }
    }

    /// Tells all workers and collectors to end, and waits until they have;
    /// answers what they ended with.
    pub async fn stop(mut self) -> (World, Vec<(Role, i32)>) {
        for member in &mut self.members {
            if member.thaws_at.take().is_some() && member.process.has_ended().is_none() {
                member.process.thaw();
            }
        }
        let mut codes = Vec::new();
        // Collectors last: they store what workers say.
        self.members.sort_by_key(|member| member.role);
        for mut member in self.members {
            if member.process.has_ended().is_none() {
                member.process.term();
            }
            let code = match member.process.ended().await {
                TOLD_TWICE if member.told_to_end.is_some() => 0,
                code => code,
            };
            codes.push((member.role, code));
        }
        (self.world, codes)
    }

    /// What the processes said that have ended, so that it can be removed.
    pub fn forget_logs(&self) {
        let live: Vec<PathBuf> = self
            .members
            .iter()
            .flat_map(|m| m.process.files())
            .collect();
        let files = std::fs::read_dir(&self.world.dir).into_iter().flatten();
        for file in files.flatten().map(|file| file.path()) {
            let is_log = file
                .extension()
                .is_some_and(|is| is == "out" || is == "err");
            if is_log && !live.contains(&file) {
                let _gone = std::fs::remove_file(file);
            }
        }
    }
}
