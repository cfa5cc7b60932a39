//! Gives suspects their turn: one after another, while nothing else is in the
//! process.
//!
//! ```text
//! look ─► the others are held ─► all answered ─► pull, run, ack … ─► the others resume ─► rest ─► look
//! ```
//!
//! # Invariants
//!
//! A suspect is pulled once nothing else is here and answered before anything
//! else comes. So what the broker counts as its returns are crashes while it ran
//! alone, and no crash of it counts for another task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use homing_broker::{Puller, Quiet};
use homing_protocol::QueueName;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use super::Engine;
use crate::turns::{FIRST_LOOK, LOOK_EVERY, Turn, Turns};

/// The lane of the suspects.
pub(super) struct Lane {
    pub(super) engine: Arc<Engine>,
    pub(super) suspects: Puller,
    /// Of each consumer of other tasks.
    pub(super) quiets: Vec<Quiet>,
}

/// Looks for suspects and runs them until the worker stops, then waits until
/// each is answered.
pub(super) async fn run(mut lane: Lane) {
    lane.attend().await;
    let Lane {
        engine, suspects, ..
    } = lane;
    drop(engine);
    suspects.close().await;
}

impl Lane {
    /// Gives suspects their turns until the worker stops. A turn is not cut off:
    /// what it pulls just then would go back as if a worker had died of it.
    async fn attend(&mut self) {
        let stopping = self.engine.stopping.clone();
        let mut turns = Turns::default();
        // Not all workers at once.
        let mut rest = FIRST_LOOK.mul_f64(rand::random());
        loop {
            let waiting = async {
                sleep(rest).await;
                self.found().await;
            };
            if stopping.run_until_cancelled(waiting).await.is_none() {
                return;
            }
            let turn = self.turn(turns).await;
            rest = turns.rest(turn);
        }
    }

    /// Waits until there are suspects.
    async fn found(&self) {
        while !matches!(self.suspects.waiting().await, Some(1..)) {
            self.next_look().await;
        }
    }

    /// Waits until there may be suspects.
    async fn next_look(&self) {
        let pause = LOOK_EVERY.mul_f64(0.5 + rand::random::<f64>());
        tokio::select! {
            () = self.engine.suspected.notified() => {}
            () = sleep(pause) => {}
        }
    }

    async fn turn(&mut self, turns: Turns) -> Turn {
        let begun = Instant::now();
        let idle = self.engine.deliveries.is_empty();
        self.engine.suspects_turn.send_replace(true);
        let quiet = timeout(turns.patience(), self.quiet()).await;
        let found = match &quiet {
            Ok(Some(_all_room)) => self.run_suspects(begun.elapsed()).await,
            Ok(None) | Err(_) => 0,
        };
        self.engine.suspects_turn.send_replace(false);
        Turn {
            idle,
            quiet: quiet.is_ok(),
            found,
            took: begun.elapsed(),
        }
    }

    /// Waits until nothing else is here, and takes all the room there is.
    async fn quiet(&mut self) -> Option<OwnedSemaphorePermit> {
        for quiet in &mut self.quiets {
            quiet.reached().await;
        }
        // What came over a connection that broke may still run.
        let room = Arc::clone(&self.engine.room);
        let all = self.engine.config.concurrency.into();
        room.acquire_many_owned(all).await.ok()
    }

    /// Runs one suspect after another. Answers how many.
    async fn run_suspects(&self, quieting: Duration) -> u32 {
        let queue = Arc::new(QueueName::suspect());
        let begun = Instant::now();
        let mut found = 0;
        while !self.engine.stopping.is_cancelled() && Turns::goes_on(quieting, begun.elapsed()) {
            let Some(delivery) = self.suspects.pull().await else {
                break;
            };
            found += 1;
            let attended = Arc::clone(&self.engine).take(delivery, Arc::clone(&queue));
            // A task of its own, which the drain waits for.
            let _panicked = self.engine.deliveries.spawn(attended).await;
            // Answered once it is acked, before the others come back.
            if !matches!(self.suspects.waiting().await, Some(1..)) {
                break;
            }
        }
        found
    }
}
