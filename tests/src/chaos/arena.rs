//! Where runs take place: a broker, a pipeline, and the oracle.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use homing_faults::Sabotage;
use homing_protocol::{TaskId, TaskKind};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::fleet::{Fleet, Size};
use super::kind::Kind;
use super::settle::settle;
use super::submission::{Submission, Submitter};
use crate::kind::Echo;
use crate::load::{Fate, Load, Mix, Row};
use crate::node::Node;
use crate::oracle::{Claims, Findings, Oracle};
use crate::proxy::Proxy;
use crate::world::World;

/// Processes at once.
const SIZE: Size = Size {
    workers: 3,
    collectors: 2,
};

/// Rows that `homing submit` has of a run, where that is what the run is about.
const ROWS: usize = 700;

/// A broker of its own with one pipeline.
#[derive(Debug)]
pub struct Arena<'a> {
    pub(super) node: &'a Node,
    pub(super) fleet: Fleet,
    pub(super) oracle: Oracle,
    pub(super) chance: StdRng,
    /// What the loads of the current run are of.
    pub(super) mix: Mix,
    /// Faults of the current run.
    pub(super) faults: u64,
    pub(super) broker_kills: u64,
    patience: Duration,
    scale: f64,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// Tasks that were confirmed.
    pub submitted: u64,
    /// Of those, the ones that have an outcome.
    pub stored: u64,
    /// Faults injected.
    pub faults: u64,
    /// Processes that were killed or died at a crash point.
    pub kills: u64,
    /// How often the broker was killed.
    pub broker_kills: u64,
    /// Reports that came again or too late, and changed nothing.
    pub absorbed: u64,
    /// How often handlers ran beyond what it takes.
    pub extra: u64,
    /// How long it took.
    pub took: Duration,
    /// What is wrong.
    pub findings: Findings,
}

impl<'a> Arena<'a> {
    /// Sets one up in a namespace of its own. Nothing may happen for `patience`;
    /// runs have `scale` times the usual tasks.
    pub async fn open(
        node: &'a Node,
        sabotage: Option<Sabotage>,
        patience: Duration,
        scale: f64,
    ) -> Self {
        let world = World::start_at(node.url()).await;
        let fleet = Fleet::start(world, SIZE, sabotage);
        let oracle = Oracle::new(&fleet.world).await;
        // RabbitMQ 3.10 forgets quorum queues that are younger when it is killed.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Self {
            node,
            fleet,
            oracle,
            chance: StdRng::seed_from_u64(0),
            mix: Mix::USUAL,
            faults: 0,
            broker_kills: 0,
            patience,
            scale,
        }
    }

    /// One run of a kind, with everything by chance from `seed`.
    pub async fn run(&mut self, kind: Kind, seed: u64) -> Ran {
        let began = Instant::now();
        self.chance = StdRng::seed_from_u64(seed);
        self.route(kind.is_of_links()).await;
        let (kills, absorbed) = (self.fleet.tally.kills, self.oracle.absorbed());
        (self.faults, self.broker_kills) = (0, 0);
        self.submit(kind);
        let extra_claims = self.inject(kind).await;
        let (expected, poison) = self.expected_runs();
        let (claims, findings) = settle(
            &mut self.fleet,
            &mut self.oracle,
            &extra_claims,
            self.patience,
        )
        .await;
        self.fleet.disarm().await;
        let submitted = claims.confirmed() as u64;
        Ran {
            submitted,
            stored: submitted - findings.lost as u64,
            faults: self.faults,
            kills: self.fleet.tally.kills - kills,
            broker_kills: self.broker_kills,
            absorbed: self.oracle.absorbed() - absorbed,
            extra: self.handler_runs(&poison).saturating_sub(expected),
            took: began.elapsed(),
            findings,
        }
    }

    /// The processes, to look at.
    pub const fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Ends everything in good order, and asks the oracle for the last time.
    pub async fn close(mut self) -> (World, Findings) {
        let (world, codes) = self.fleet.stop().await;
        let mut findings = self.oracle.check(&Claims::default()).await;
        for (role, code) in codes.into_iter().filter(|(_, code)| *code != 0) {
            findings.add(
                "I6",
                format!("a {role:?} that was told to end ended with {code}"),
            );
        }
        world.check_queues(&mut findings).await;
        (world, findings)
    }

    /// Ends everything as it stands, and leaves what is in its folder.
    pub fn abandon(self) {
        let Fleet { world, members, .. } = self.fleet;
        drop(members);
        std::mem::forget(world);
    }

    /// Puts the proxy between the pipeline and the broker, or takes it away.
    async fn route(&mut self, proxied: bool) {
        if proxied == self.fleet.proxy.is_some() {
            return;
        }
        self.fleet.proxy = proxied.then(|| Proxy::start(self.node.url()));
        self.fleet.restart().await;
    }

    fn submit(&mut self, kind: Kind) {
        let scale = self.scale;
        let tasks = |mix: Mix| Mix {
            tasks: ((mix.tasks as f64 * scale) as usize).max(50),
            ..mix
        };
        let mut mix = tasks(kind.mix());
        let crash = match kind {
            Kind::ProducerCrash => Some(self.crash(super::inject::PRODUCER)),
            _ => None,
        };
        if matches!(kind, Kind::SubmitKill | Kind::SubmitCrash) {
            let rows = tasks(Mix { tasks: ROWS, ..mix });
            let rows = (0..rows.tasks as u64).map(|n| Row::of(&Echo { n }, Fate::Succeeds, 1));
            let crash =
                (kind == Kind::SubmitCrash).then(|| self.crash(super::inject::COMMAND_LINE));
            self.begin(
                Load::new("rows", rows.collect()),
                Submitter::CommandLine,
                crash,
            );
            mix.tasks = (mix.tasks - mix.tasks * 7 / 10).max(50);
        }
        self.mix = mix;
        let load = Load::mixed(kind.name(), &mix, &mut self.chance);
        self.begin(load, Submitter::Library, crash);
    }

    pub(super) fn begin(&mut self, load: Load, submitter: Submitter, crash: Option<String>) {
        let submission = Submission::begin(load, submitter, crash, &mut self.fleet);
        self.fleet.submissions.push(submission);
    }

    /// One of these points, and the time to die there.
    pub(super) fn crash(&mut self, points: &[(homing_faults::Point, u32)]) -> String {
        self.faults += 1;
        let (point, nth_max) = points[self.chance.random_range(0..points.len())];
        format!("{point}:{}", self.chance.random_range(1..=nth_max))
    }

    /// How often handlers run if nothing goes wrong, and the tasks of which that
    /// cannot be said.
    fn expected_runs(&self) -> (u64, HashSet<TaskId>) {
        let (mut runs, mut poison) = (0, HashSet::new());
        for submission in &self.fleet.submissions {
            for (id, row) in submission.load().tasks() {
                runs += u64::from(row.runs);
                if row.fate == Fate::Crashes {
                    poison.insert(id);
                }
            }
        }
        (runs, poison)
    }

    /// How often handlers began, but for those that never end; the next run
    /// begins anew.
    fn handler_runs(&self, poison: &HashSet<TaskId>) -> u64 {
        let journal = self.fleet.world.journal();
        let mut began = 0;
        for run in journal.runs() {
            began += u64::from(!run.ended && !poison.contains(&run.task));
        }
        let file = std::fs::OpenOptions::new().write(true).open(journal.path());
        // Workers add to its end, wherever that is.
        let _none_yet = file.and_then(|file| file.set_len(0));
        began
    }
}

/// The id that `homing submit --key` gives.
pub(super) fn id_of_key(kind: &TaskKind, key: &str) -> TaskId {
    TaskId::of_text(&format!("{kind} {key}"))
}
