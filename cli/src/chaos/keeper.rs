//! Keeps one worker or collector alive, but for the blows that are meant for it.

use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::mpsc;

use super::plan::{Blow, Role};
use super::process::{Launch, Process};
use crate::exit::Exit;
use crate::trouble::Trouble;

/// How long one that was told to stop may take: what runs takes milliseconds, and
/// a broker or a store whose holder is paused a second or two.
const STOP_TIME_MAX: Duration = Duration::from_secs(15);

/// How often one may end by itself: a setting that cannot be shows by then.
const ENDS_MAX: u64 = 5;

/// The pause before one that ended by itself is started again.
const PAUSE: Duration = Duration::from_millis(500);

/// What was done to all processes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tally {
    pub(super) workers_killed: u64,
    pub(super) collectors_killed: u64,
    pub(super) stopped: u64,
    pub(super) paused: u64,
    /// Those that nobody had told to.
    pub(super) ended: u64,
}

/// The tally of all, which each keeper adds to.
#[derive(Clone, Debug, Default)]
pub(super) struct Tallies(Arc<Mutex<Tally>>);

impl Tallies {
    pub(super) fn now(&self) -> Tally {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Who keeps one process.
pub(super) struct Keeper {
    pub(super) role: Role,
    pub(super) launch: Launch,
    pub(super) tallies: Tallies,
}

impl Keeper {
    /// Starts it, and again after each end, until there are no more `blows` to
    /// come; then tells it to stop.
    ///
    /// # Errors
    ///
    /// [`Trouble`]: it cannot be started, or ends by itself again and again.
    pub(super) async fn keep(self, mut blows: mpsc::Receiver<Blow>) -> Result<(), Trouble> {
        let mut ends = 0;
        let mut process = self.start()?;
        loop {
            let lives = tokio::select! {
                status = process.ended() => {
                    ends += 1;
                    self.ended(status.ok(), ends)?;
                    tokio::time::sleep(PAUSE).await;
                    false
                }
                blow = blows.recv() => match blow {
                    Some(blow) => self.strike(&mut process, blow).await,
                    None => {
                        stop(&mut process).await;
                        return Ok(());
                    }
                }
            };
            if !lives {
                process = self.start()?;
            }
        }
    }

    fn start(&self) -> Result<Process, Trouble> {
        let program = self.launch.program.display().to_string();
        let started = self.launch.start();
        started.map_err(|error| Trouble::file("start", &program, &error))
    }

    /// Answers whether it still lives.
    async fn strike(&self, process: &mut Process, blow: Blow) -> bool {
        match blow {
            Blow::Kill => {
                kill(process).await;
                self.tallies.add(|tally| match self.role {
                    Role::Worker => tally.workers_killed += 1,
                    Role::Collector => tally.collectors_killed += 1,
                });
            }
            Blow::Stop => {
                stop(process).await;
                self.tallies.add(|tally| tally.stopped += 1);
            }
            Blow::Pause(time) => {
                process.signal(Signal::STOP);
                tokio::time::sleep(time).await;
                process.signal(Signal::CONT);
                self.tallies.add(|tally| tally.paused += 1);
                return true;
            }
        }
        false
    }

    /// Notes that it ended by itself.
    fn ended(&self, status: Option<ExitStatus>, ends: u64) -> Result<(), Trouble> {
        self.tallies.add(|tally| tally.ended += 1);
        let status = status.map_or_else(|| "?".to_owned(), |status| status.to_string());
        let log = self.launch.log.display();
        tracing::warn!("a process ended by itself ({status}): {log}");
        if ends < ENDS_MAX {
            return Ok(());
        }
        let role = match self.role {
            Role::Worker => "worker",
            Role::Collector => "collector",
        };
        let what = format!("a {role} ends by itself again and again: {status}");
        Err(Trouble::new(Exit::Internal, what).fix(format!("see what it said: {log}")))
    }
}

/// Tells it to stop, and kills it if it does not.
async fn stop(process: &mut Process) {
    process.signal(Signal::TERM);
    if tokio::time::timeout(STOP_TIME_MAX, process.ended())
        .await
        .is_err()
    {
        kill(process).await;
    }
}

async fn kill(process: &mut Process) {
    process.signal(Signal::KILL);
    // Nothing survives it, so there is nothing else to do if it cannot be waited for.
    let _ended = process.ended().await;
}
