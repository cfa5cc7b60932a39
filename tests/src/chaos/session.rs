//! Runs one after the other, until the time or the number of them is over.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use homing_faults::Sabotage;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use super::arena::Arena;
use super::kind::Kind;
use super::summary::Summary;
use crate::node::Node;
use crate::oracle::Findings;

/// How long nothing may happen before a pipeline counts as stuck: a link that
/// carries nothing is noticed within 11 seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same while a guarantee is broken: longer than any delay of the tasks.
const PATIENCE_BROKEN: Duration = Duration::from_secs(4);

/// How soon a broken guarantee must show.
const CAUGHT_TIME_MAX: Duration = Duration::from_secs(60);

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All chance is from this.
    pub seed: u64,
    /// The kinds of fault.
    pub kinds: Vec<Kind>,
    /// How long; without it, until `runs` are over.
    pub time: Option<Duration>,
    /// How often each kind is run.
    pub runs: Option<u64>,
    /// How many times larger than usual the loads are.
    pub scale: f64,
}

/// Something was wrong.
#[derive(Debug)]
pub struct Failure {
    /// What.
    pub findings: Findings,
    /// What goes there again.
    pub again: String,
    /// What is left of it.
    pub folder: PathBuf,
}

impl Plan {
    /// Runs all of it, with a line for each run; answers what came of it, and
    /// what was wrong if anything was.
    pub async fn run(&self, node: &Node) -> (Summary, Option<Failure>) {
        let mut summary = Summary::default();
        let mut arena = Arena::open(node, None, PATIENCE, self.scale).await;
        let began = Instant::now();
        let mut seed = self.seed;
        for (number, kind) in self.order() {
            if self.time.is_some_and(|time| began.elapsed() >= time) {
                break;
            }
            let ran = arena.run(kind, seed).await;
            summary.add(kind, &ran);
            summary.samples.look(arena.fleet());
            eprintln!(
                "{:>6.0} s  {number:>5}  {kind:<20} {:>5.1} s  {} tasks, {} faults, {} kills, \
                 {} absorbed, {} run again",
                began.elapsed().as_secs_f64(),
                ran.took.as_secs_f64(),
                ran.submitted,
                ran.faults,
                ran.kills + ran.broker_kills,
                ran.absorbed,
                ran.extra,
            );
            if !ran.findings.is_clean() {
                let again = format!("SEED={seed} KINDS={kind} RUNS=1");
                return (summary, Some(failure(arena, ran.findings, again)));
            }
            arena.fleet().forget_logs();
            seed = StdRng::seed_from_u64(seed).next_u64();
        }
        let (world, findings) = arena.close().await;
        if findings.is_clean() {
            return (summary, None);
        }
        let folder = world.dir.clone();
        std::mem::forget(world);
        let again = format!("SEED={}", self.seed);
        let failure = Failure {
            findings,
            again,
            folder,
        };
        (summary, Some(failure))
    }

    /// The kinds in turn, each time in another order, numbered.
    fn order(&self) -> impl Iterator<Item = (u64, Kind)> {
        let mut chance = StdRng::seed_from_u64(self.seed);
        let rounds = 0..self.runs.unwrap_or(u64::MAX);
        let kinds = self.kinds.clone();
        let runs = rounds.flat_map(move |_| {
            let mut round = kinds.clone();
            for last in (1..round.len()).rev() {
                round.swap(last, chance.random_range(0..=last));
            }
            round
        });
        (1..).zip(runs)
    }
}

/// Leaves everything as it is for somebody to look at.
fn failure(arena: Arena<'_>, findings: Findings, again: String) -> Failure {
    let folder = arena.fleet().world.dir.clone();
    arena.abandon();
    Failure {
        findings,
        again,
        folder,
    }
}

/// What shows that a guarantee is broken, quickly and surely.
const fn detector(sabotage: Sabotage) -> Kind {
    match sabotage {
        Sabotage::AckBeforeConfirm => Kind::Alarm,
        Sabotage::AckBeforeCommit => Kind::StoreLocked,
        Sabotage::NoFencing => Kind::LateReports,
        Sabotage::LostConfirmIgnored => Kind::AlarmCut,
        Sabotage::MultipleOverUnfinished => Kind::WorkerKill,
    }
}

/// Breaks one guarantee after the other; answers false if that does not show,
/// or if something shows while all hold.
pub async fn sabotage(node: &Node, seed: u64, scale: f64) -> bool {
    let mut well = true;
    let mut arena = Arena::open(node, None, PATIENCE, scale).await;
    for broken in Sabotage::ALL {
        let kind = detector(broken);
        let ran = arena.run(kind, seed).await;
        well &= ran.findings.is_clean();
        let what = if ran.findings.is_clean() {
            "nothing shows".to_owned()
        } else {
            format!("something shows:\n{}", ran.findings)
        };
        eprintln!("{:<26} {kind:<20} {what}", "none");
    }
    arena.close().await;
    for broken in Sabotage::ALL {
        well &= is_caught(node, broken, seed, scale).await;
    }
    well
}

async fn is_caught(node: &Node, broken: Sabotage, seed: u64, scale: f64) -> bool {
    let mut arena = Arena::open(node, Some(broken), PATIENCE_BROKEN, scale).await;
    let kind = detector(broken);
    let (began, mut seed) = (Instant::now(), seed);
    while began.elapsed() < CAUGHT_TIME_MAX {
        let ran = arena.run(kind, seed).await;
        if !ran.findings.is_clean() {
            let took = began.elapsed().as_secs_f64();
            let (lost, changed) = (ran.findings.lost, ran.findings.changed);
            eprintln!(
                "{broken:<26} {kind:<20} caught after {took:.1} s: lost {lost}, changed {changed}"
            );
            return lost + changed > 0;
        }
        seed += 1;
    }
    eprintln!("{broken:<26} {kind:<20} NOT CAUGHT");
    false
}
