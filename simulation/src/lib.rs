//! The state machines of delivery, run by seed in a world that breaks.
//!
//! Everything that decides about a delivery in Homing is pure: which publishes
//! are confirmed and which are published again, which answers go out for which
//! deliveries, what is done with a task before it is run and after, which of two
//! records of a run stays. Here those very modules, not copies of them, run
//! between a model of RabbitMQ and a model of the store, in virtual time, while
//! processes are killed, links cut and confirms lost. One number decides
//! everything that happens, so that what fails once can be looked at for ever:
//! `simulate --seed N --trace`.
//!
//! | real                                                  | modelled                            |
//! |-------------------------------------------------------|-------------------------------------|
//! | `Confirms`, `Outgoing`: confirms, resend, giving up   | sockets, RabbitMQ, its confirms     |
//! | `Acks`, `Caution`, `Token`: answers and prefetch      | delays, dead-lettering, limits      |
//! | `triage`, `turns`, `settle`, the retry policy         | the engine that carries them out    |
//! | `fold`                                                | the tables around it, group commit  |
//!
//! # Invariants
//!
//! Once nothing happens any more: every confirmed task has one closed record, of
//! the status its handler makes inevitable, with the record of every attempt
//! before; no record is of a task nobody sent; nothing is left in the broker;
//! nobody waits. At any time: a final record does not change, nobody answers for a
//! delivery that is not there, and no task is run before it is due, unless a clock
//! was wrong.
//!
//! Each [`Sabotage`] breaks one rule that the promise rests on, and is found.

#[path = "../../broker/src/amqp/acks.rs"]
mod acks;
mod agenda;
#[path = "../../worker/src/attempt.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the public parts are not used here"
)]
mod attempt;
#[path = "../../worker/src/attempt_error.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the public parts are not used here"
)]
mod attempt_error;
#[path = "../../broker/src/amqp/caution.rs"]
#[expect(dead_code, reason = "no message ends a link here")]
mod caution;
#[path = "../../broker/src/amqp/confirms.rs"]
mod confirms;
#[path = "../../broker/src/consumer.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the public parts are not used here"
)]
mod consumer;
#[path = "../../store/src/fold.rs"]
mod fold;
#[path = "../../worker/src/handler.rs"]
#[expect(dead_code, reason = "there are no real handlers here")]
mod handler;
#[path = "../../broker/src/amqp/outgoing.rs"]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "refusals are told here, not tried again")
)]
mod outgoing;
#[path = "../../worker/src/settle.rs"]
mod settle;
#[path = "../../worker/src/triage.rs"]
mod triage;
#[path = "../../worker/src/turns.rs"]
mod turns;

mod chance;
mod links;
mod message;
mod oracle;
mod store;
#[macro_use]
mod world;
mod broker;
mod collector;
mod lane;
mod producer;
mod worker;

use world::World;

/// A rule that is broken on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Sabotage {
    /// A worker acks a delivery before what takes its place is confirmed.
    AckBeforeConfirm,
    /// A collector acks outcomes before they are committed.
    AckBeforeCommit,
    /// Answers to deliveries of an old connection go out over the new one.
    NoFencing,
    /// What has no confirm when its connection ends is taken for confirmed.
    LostConfirmIgnored,
    /// An ack covers deliveries that have no answer yet.
    MultipleOverUnfinished,
    /// What is to be delivered again is never returned.
    ForgetRequeue,
    /// The next attempt is published before the record of the one before.
    RetryBeforeRecord,
    /// A message that no queue takes counts as confirmed.
    ReturnIgnored,
    /// The last record of a run stays, not the first final one.
    LastWins,
    /// A task is run although a second is left until it is due.
    RunEarly,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::AckBeforeConfirm,
        Self::AckBeforeCommit,
        Self::NoFencing,
        Self::LostConfirmIgnored,
        Self::MultipleOverUnfinished,
        Self::ForgetRequeue,
        Self::RetryBeforeRecord,
        Self::ReturnIgnored,
        Self::LastWins,
        Self::RunEarly,
    ];
}

/// A world that ended as it should.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ended {
    /// How much happened.
    pub events: u64,
    /// How much broke.
    pub faults: u64,
    /// Tasks that were submitted.
    pub tasks: u64,
    /// Handlers that were started.
    pub executions: u64,
    /// Records that came again or too late, and changed nothing.
    pub absorbed: u64,
}

impl Ended {
    /// Both taken together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            faults: self.faults + other.faults,
            tasks: self.tasks + other.tasks,
            executions: self.executions + other.executions,
            absorbed: self.absorbed + other.absorbed,
        }
    }
}

/// Runs the world of `seed`. What happens is said to `trace`.
///
/// # Errors
///
/// What does not hold.
pub fn run(
    seed: u64,
    sabotage: Option<Sabotage>,
    trace: Option<fn(&str)>,
) -> Result<Ended, String> {
    let mut world = World::new(seed, sabotage, trace);
    let events = world.run()?;
    let executions = world
        .oracle
        .tasks
        .iter()
        .map(|task| u64::from(task.executions));
    Ok(Ended {
        events,
        faults: world.faults,
        tasks: world.oracle.tasks.len() as u64,
        executions: executions.sum(),
        absorbed: world.store.absorbed,
    })
}
