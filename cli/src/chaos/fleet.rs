use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::keeper::{Keeper, Tallies, Tally};
use super::plan::{Blow, Plan, Role};
use super::process::Launch;
use crate::exit::Exit;
use crate::settings::Settings;
use crate::space::Space;
use crate::trouble::Trouble;

/// One that stores and one that stands by, or in a database two that store.
pub(super) const COLLECTORS: u16 = 2;

/// What the processes say where nobody asks for more: all but a line for each
/// attempt that fails, as many are meant to.
const LOG: &str = "info,homing_worker::attempt=error";

/// The file that has a line for each attempt.
pub(super) const RUNS: &str = "runs";

/// All workers and collectors, each with its keeper. Dropped, they are killed.
pub(super) struct Fleet {
    workers: Vec<mpsc::Sender<Blow>>,
    collectors: Vec<mpsc::Sender<Blow>>,
    keepers: JoinSet<Result<(), Trouble>>,
    tallies: Tallies,
}

impl Fleet {
    pub(super) fn start(workers: u16, space: &Space, settings: &Settings) -> Result<Self, Trouble> {
        let program = std::env::current_exe().map_err(|error| Trouble::bug(&error))?;
        let mut fleet = Self {
            workers: Vec::new(),
            collectors: Vec::new(),
            keepers: JoinSet::new(),
            tallies: Tallies::default(),
        };
        let runs = space.folder().join(RUNS).display().to_string();
        let log = settings.log.clone().unwrap_or_else(|| LOG.to_owned());
        let namespace = space.broker().topology().namespace().to_string();
        let everywhere = ["--namespace", &namespace, "--log", &log].map(str::to_owned);
        let launch = |name: String, args: &[&str]| {
            let args = args.iter().map(|arg| (*arg).to_owned());
            Launch {
                program: program.clone(),
                args: args.chain(everywhere.clone()).collect(),
                variables: space.variables(settings),
                log: space.folder().join(format!("{name}.log")),
            }
        };
        for index in 1..=COLLECTORS {
            // For ever, whatever is set: what was removed by age cannot be compared.
            let args = ["chaos-collector", "--keep", "forever"];
            let collector =
                fleet.keep(Role::Collector, launch(format!("collector-{index}"), &args));
            fleet.collectors.push(collector);
        }
        for index in 1..=workers {
            let args = ["chaos-worker", "--runs", &runs];
            let worker = fleet.keep(Role::Worker, launch(format!("worker-{index}"), &args));
            fleet.workers.push(worker);
        }
        Ok(fleet)
    }

    fn keep(&mut self, role: Role, launch: Launch) -> mpsc::Sender<Blow> {
        let (sender, blows) = mpsc::channel(1);
        let keeper = Keeper {
            role,
            launch,
            tallies: self.tallies.clone(),
        };
        // Joined by `failed` and `stop`.
        self.keepers.spawn(keeper.keep(blows));
        sender
    }

    /// The ends that blows are dealt by.
    pub(super) fn striker(&self) -> Striker {
        Striker {
            workers: self.workers.clone(),
            collectors: self.collectors.clone(),
        }
    }

    /// What was done to them until now.
    pub(super) fn tallies(&self) -> Tallies {
        self.tallies.clone()
    }

    /// Waits until one cannot be kept, and says why.
    pub(super) async fn failed(&mut self) -> Trouble {
        let early = || Trouble::new(Exit::Internal, "a keeper of a process ended early");
        match self.keepers.join_next().await {
            Some(Ok(Err(trouble))) => trouble,
            Some(Err(error)) => Trouble::bug(&error),
            Some(Ok(Ok(()))) | None => early(),
        }
    }

    /// Tells all to stop, and waits until they have; answers what was done to them.
    pub(super) async fn stop(mut self) -> Result<Tally, Trouble> {
        self.workers.clear();
        self.collectors.clear();
        while let Some(kept) = self.keepers.join_next().await {
            kept.map_err(|error| Trouble::bug(&error))??;
        }
        Ok(self.tallies.now())
    }
}

/// Deals the blows.
pub(super) struct Striker {
    workers: Vec<mpsc::Sender<Blow>>,
    collectors: Vec<mpsc::Sender<Blow>>,
}

impl Striker {
    /// Carries out `plan` for as long as it is polled.
    pub(super) async fn strike(self, plan: Plan) {
        for strike in plan {
            tokio::time::sleep(strike.after).await;
            let of_role = match strike.role {
                Role::Worker => &self.workers,
                Role::Collector => &self.collectors,
            };
            if let Some(victim) = of_role.get(strike.index) {
                // One that is being stopped or is paused has enough of it.
                let _spared = victim.try_send(strike.blow);
            }
        }
    }
}
