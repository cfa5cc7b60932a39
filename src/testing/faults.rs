//! What goes wrong, by chance that a seed decides.

use std::collections::BTreeMap;
use std::fmt::Debug;

use homing_protocol::TaskId;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// How often a task is hit at most, so that every run comes to an end.
const HITS_MAX: u32 = 4;

/// How often a handler waits before its process dies, at most.
const WAITS_MAX: u32 = 3;

/// What a run of a pipeline is to stand: deliveries that come twice, processes that
/// die within an attempt or before anybody hears of it, and tasks that overtake each
/// other. The same seed makes the same faults.
#[derive(Debug)]
pub struct Faults {
    chance: Option<StdRng>,
    hits: BTreeMap<TaskId, u32>,
}

impl Faults {
    /// None.
    pub const fn none() -> Self {
        Self {
            chance: None,
            hits: BTreeMap::new(),
        }
    }

    /// Those of this seed.
    pub fn seeded(seed: u64) -> Self {
        Self {
            chance: Some(StdRng::seed_from_u64(seed)),
            hits: BTreeMap::new(),
        }
    }

    /// Whether a task is hit now, with this probability.
    fn hits(&mut self, task: TaskId, probability: f64) -> bool {
        let Some(chance) = &mut self.chance else {
            return false;
        };
        let hits = self.hits.entry(task).or_default();
        let hit = *hits < HITS_MAX && chance.random_bool(probability);
        *hits += u32::from(hit);
        hit
    }

    /// Whether its process dies within an attempt, and at which wait.
    pub(super) fn crash(&mut self, task: TaskId) -> Option<u32> {
        let hit = self.hits(task, 0.25);
        let chance = self.chance.as_mut().filter(|_| hit)?;
        Some(chance.random_range(0..WAITS_MAX))
    }

    /// Whether its process dies after an attempt, before anybody hears of it.
    pub(super) fn loses(&mut self, task: TaskId) -> bool {
        self.hits(task, 0.25)
    }

    /// Whether it is delivered once more.
    pub(super) fn doubles(&mut self, task: TaskId) -> bool {
        self.hits(task, 0.25)
    }

    /// Any of so many; `None` without faults.
    pub(super) fn pick(&mut self, count: usize) -> Option<usize> {
        let chance = self.chance.as_mut().filter(|_| count > 0)?;
        Some(chance.random_range(0..count))
    }
}

/// Runs `scenario` without faults, and then with those of each seed: what it answers
/// must be the same. It answers with what the handlers did: rows, files, mails.
///
/// ```
/// use std::collections::BTreeSet;
/// use std::sync::{Arc, Mutex};
///
/// use homing::prelude::*;
/// use homing::testing::{Pipeline, each_seed};
///
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Pay { order: u64 }
/// # impl Task for Pay {
/// #     const KIND: &'static str = "demo.pay";
/// #     type Output = ();
/// #     type Error = AnyError;
/// # }
/// type Ledger = Arc<Mutex<BTreeSet<TaskId>>>;
///
/// // Safe to run twice: a payment is known by its task's id.
/// async fn pay(_: Pay, attempt: Attempt<Ledger>) -> Result<(), AttemptError> {
///     attempt.state().lock().unwrap().insert(attempt.task_id());
///     Ok(())
/// }
///
/// # async fn test() {
/// each_seed(0..50, async |faults| {
///     let ledger = Ledger::default();
///     let worker = Worker::with_state(Arc::clone(&ledger)).handler(pay);
///     let mut pipeline = Pipeline::start(worker).await.with(faults);
///     pipeline.submit(Pay { order: 1 }).await;
///     pipeline.run().await;
///     ledger.lock().unwrap().len()
/// })
/// .await;
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
/// ```
///
/// # Panics
///
/// Panics with the first seed whose answer is another. With
/// [`Faults::seeded`] that one alone can be run again.
pub async fn each_seed<A: Debug + PartialEq>(
    seeds: impl IntoIterator<Item = u64>,
    scenario: impl AsyncFn(Faults) -> A,
) {
    let expected = scenario(Faults::none()).await;
    for seed in seeds {
        let answer = scenario(Faults::seeded(seed)).await;
        assert_eq!(
            answer, expected,
            "under the faults of seed {seed} something else comes of it (left) than without (right): \
             a handler is not safe to run twice"
        );
    }
}
