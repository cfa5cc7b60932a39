use std::time::{Duration, Instant};

use homing_faults::{Point, crash_point};
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use super::Running;
use super::ending::Cause;
use crate::error::RunError;
use crate::worker::Stopped;

/// Between when attempts are told to stop and when they are dropped: enough to
/// remove a file, too short to be a second grace.
const NOTICE: Duration = Duration::from_secs(1);

/// How often a drain looks whether only such are left as never end.
const LOOK: Duration = Duration::from_millis(100);

/// How much longer than all its parts a drain may take before it is given up.
const SLACK: Duration = Duration::from_secs(2);

/// How long outcomes and acks may take beyond the grace. Confirms take
/// milliseconds; with the broker away there is nothing to wait for, since it has
/// the deliveries back.
const FLUSH_MAX: Duration = Duration::from_secs(5);

impl Running {
    /// Takes nothing more, lets what runs end within the grace, then publishes
    /// and acks what there is.
    pub(super) async fn drain(mut self) -> Result<Stopped, RunError> {
        self.stop_intake();
        crash_point(Point::WorkerDrainBegun);
        self.finish_attempts().await;
        crash_point(Point::WorkerDrainFinished);
        if timeout(FLUSH_MAX, self.flush()).await.is_err() {
            tracing::warn!("the broker does not answer; what was not acked goes back by itself");
        }
        crash_point(Point::WorkerDrainFlushed);
        let stopped = self.engine.tally.stopped();
        let cause = self.engine.ending.cause();
        self.close().await;
        tracing::info!(
            finished = stopped.finished,
            returned = stopped.returned,
            cut_off = stopped.cut_off,
            "stopped: {} finished since it started, {} cut off",
            stopped.finished,
            stopped.cut_off,
        );
        match cause.and_then(Cause::into_error) {
            Some(error) => Err(error),
            None => Ok(stopped),
        }
    }

    /// What has not begun goes back at once: untaken deliveries by their
    /// consumers, taken ones because there is no more room.
    fn stop_intake(&self) {
        let engine = &self.engine;
        let grace = engine.config.grace;
        let grace_ends = Instant::now() + grace;
        engine.cutoff.set(grace_ends);
        engine
            .watchdog
            .drain_until(grace_ends + 3 * NOTICE + FLUSH_MAX + SLACK);
        engine.stopping.cancel();
        engine.room.close();
        for entry in engine.kinds.values() {
            if let Some(room) = &entry.room {
                room.close();
            }
        }
        engine.deliveries.close();
        tracing::info!(
            running = engine.deliveries.len(),
            grace_ms = grace.as_millis() as u64,
            "stopping; what runs has up to {} s",
            grace.as_secs(),
        );
    }

    async fn finish_attempts(&self) {
        let engine = &self.engine;
        let grace_ends = tokio::time::Instant::now() + engine.config.grace;
        if timeout_at(grace_ends, self.attempts_ended()).await.is_ok() {
            return;
        }
        engine.cutoff.passed.cancel();
        let _noticed = timeout(NOTICE, self.attempts_ended()).await;
        engine.dropped.cancel();
        if timeout(NOTICE, self.attempts_ended()).await.is_err() {
            // They block their thread, or wait for the broker.
            tracing::warn!(left = engine.deliveries.len(), "not all attempts end");
        }
    }

    /// Ends once every delivery is dealt with, but for those of handlers that
    /// block their thread for ever.
    async fn attempts_ended(&self) {
        let engine = &self.engine;
        while engine.deliveries.len() > engine.watchdog.stuck() {
            let _left = timeout(LOOK, engine.deliveries.wait()).await;
        }
    }

    /// Lets the outbox and the replies send what they have, and waits until
    /// every answer has reached the broker.
    async fn flush(&mut self) {
        self.flush.cancel();
        join_all(&mut self.senders).await;
        join_all(&mut self.intakes).await;
    }

    /// Gives up what is left and closes the link, so that the broker sees it end
    /// in order. Every publish it was to confirm is confirmed or given up.
    async fn close(self) {
        let publishing = self.engine.publishing.clone();
        publishing.abandoned.cancel();
        drop(self);
        let _left_open = timeout(NOTICE, publishing.close()).await;
    }
}

async fn join_all(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}
