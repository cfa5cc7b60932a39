//! Kill -9 of everything, while thousands of tasks run: no task is lost, none
//! has two outcomes, none changes.

mod collector;
pub(crate) mod pool;
mod private_broker;
mod producer;
mod workers;

use std::collections::HashSet;
use std::time::Duration;

use homing_producer::Producer;
use homing_protocol::{Status, TaskId};
use homing_tests::kind::Sleep;
use homing_tests::{Books, Follower, World};
use rand::RngExt as _;

/// Tasks of each test.
const TASKS: usize = 4_000;

/// How long all of them may take while something is killed again and again.
const KILL_TIME_MAX: Duration = Duration::from_secs(120);

/// Submits short tasks as one batch, one each `pace`; answers their ids.
async fn submit(producer: &Producer, pace: Duration) -> HashSet<TaskId> {
    let mut batch = producer.batch("kills").await.unwrap();
    let mut ids = HashSet::new();
    for n in 0..TASKS {
        let ms = n as u64 % 40;
        ids.insert(batch.submit(Sleep { ms }).await.unwrap());
        if !pace.is_zero() {
            tokio::time::sleep(pace).await;
        }
    }
    batch.seal().await.unwrap();
    ids
}

/// The pause before the next kill: sometimes what is killed has not even begun,
/// and sometimes it has done much.
async fn pause() {
    let ms = rand::rng().random_range(10..250);
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Every task has its one outcome, and nothing is left in any queue. To be
/// asked once everything has stopped: what is not acked is ready again then.
pub(crate) async fn assert_balanced(
    world: &World,
    mut follower: Follower,
    submitted: &HashSet<TaskId>,
) {
    let books = follower.books(submitted).await;

    assert_eq!(books, Books::balanced(Status::Succeeded, submitted.len()));
    assert_eq!(world.waiting().await, []);
}

/// Says what happened, for whoever reads the output of the tests.
pub(crate) fn say(what: &str, world: &World, tasks: usize) {
    let runs = world.journal().runs();
    let began = runs.iter().filter(|run| !run.ended).count();
    let again = began.saturating_sub(tasks);
    eprintln!(
        "{what}: {tasks} tasks, lost 0, changed 0, {again} attempts beyond the first absorbed"
    );
}
