//! The queues of outcomes: how many there are, and over which of them outcomes
//! are spread.
//!
//! Nothing in the broker says how many there are to be, and nobody else has to:
//! whoever wants to know asks for one after the other until one is not there.
//!
//! # Invariants
//!
//! Once `results.1` exists every key is bound to some queue: keys are bound to
//! `results` before `results.1` is declared, and to a new queue before they are
//! unbound from an old one. So whoever finds `results.1` need not bind any key,
//! and must not: in two queues each outcome is twice the work. Unless somebody
//! deleted a queue or the exchange, and bindings with it: then all keys are bound
//! to `results`, since two queues are better than none.
//!
//! # Failure
//!
//! Cut off anywhere, each key leads to one queue or two, and what is in two is
//! stored once. The same call again goes through all keys and ends it. Queues
//! are never deleted: RabbitMQ has no way to do so with a quorum queue only if it
//! is empty.

use amqprs::channel::{Channel, QueueDeclareArguments, QueueUnbindArguments};
use homing_faults::{Point, crash_point};
use homing_protocol::topology::{Binding, Target, Topology};
use homing_protocol::{KeyMove, RESULTS_QUEUES_MAX, ResultsQueues};

use super::admin::{Desk, No, bind, declare_exchange, declare_queue};
use super::generation::End;
use super::session::passive;

/// AMQP's code for what does not exist.
const NOT_FOUND: u16 = 404;

/// AMQP's code for what is denied: RabbitMQ 4.3 tells nothing of a queue to who has
/// no permission on it, such as a worker, which need not know.
const DENIED: u16 = 403;

/// How many queues of outcomes there are that this user may ask for; at least
/// one, though it may be missing.
pub(super) async fn count(
    desk: &mut Desk<'_>,
    topology: &Topology,
) -> Result<Result<ResultsQueues, No>, End> {
    let mut there = ResultsQueues::ONE;
    for number in 1..RESULTS_QUEUES_MAX {
        match is_there(desk, topology, number).await? {
            Ok(true) => there = ResultsQueues::new(number + 1).unwrap_or(there),
            Ok(false) => break,
            Err(no) => return Ok(Err(no)),
        }
    }
    Ok(Ok(there))
}

/// How many queues of outcomes there are, and whether none is missing below that
/// number, nor their exchange: then every key is bound.
pub(super) async fn survey(
    desk: &mut Desk<'_>,
    topology: &Topology,
) -> Result<Result<(ResultsQueues, bool), No>, End> {
    let (mut there, mut found) = (ResultsQueues::ONE, 0);
    for number in 0..RESULTS_QUEUES_MAX {
        match is_there(desk, topology, number).await? {
            Ok(true) => {
                there = ResultsQueues::new(number + 1).unwrap_or(there);
                found += 1;
            }
            Ok(false) => {}
            Err(no) => return Ok(Err(no)),
        }
    }
    let mut is_whole = found == there.get();
    for exchange in topology.exchanges() {
        if exchange.name == topology.results() {
            is_whole &= declare_exchange(desk, &exchange, true).await?.is_ok();
        }
    }
    Ok(Ok((there, is_whole)))
}

/// Whether there is a queue of this number, as far as this user may know.
async fn is_there(
    desk: &mut Desk<'_>,
    topology: &Topology,
    number: u16,
) -> Result<Result<bool, No>, End> {
    let queue = topology.results_queue(number);
    let ask = async |channel: &Channel| channel.queue_declare(passive(&queue)).await;
    Ok(match desk.ask(ask).await? {
        Ok(_) => Ok(true),
        Err(No {
            code: NOT_FOUND | DENIED,
            ..
        }) => Ok(false),
        Err(no) => Err(no),
    })
}

/// Takes what only one connection at a time can have, until it is closed. Two that
/// spread over different numbers of queues would undo each other's bindings, and
/// a key could be bound to none.
pub(super) async fn lock(desk: &mut Desk<'_>, topology: &Topology) -> Result<Result<(), No>, End> {
    let declare = QueueDeclareArguments::new(&topology.results_lock())
        .exclusive(true)
        .auto_delete(true)
        .finish();
    let declared = desk
        .ask(async |channel: &Channel| channel.queue_declare(declare).await)
        .await?;
    Ok(declared.map(|_| ()))
}

/// Declares what is missing of `wanted` and moves every key there. To be called
/// with the lock, and with every key bound to something.
pub(super) async fn spread(
    desk: &mut Desk<'_>,
    topology: &Topology,
    wanted: ResultsQueues,
) -> Result<Result<ResultsQueues, (String, No)>, End> {
    for queue in topology.results_queues(wanted) {
        if let Err(no) = declare_queue(desk, &queue, false).await? {
            return Ok(Err((queue.name, no)));
        }
    }
    let there = match survey(desk, topology).await? {
        Ok((there, _)) => there,
        Err(no) => return Ok(Err((topology.results(), no))),
    };
    for one in wanted.moves(there) {
        let queue = topology.results_queue(one.to);
        if let Err(no) = follow(desk, topology, one).await? {
            return Ok(Err((queue, no)));
        }
    }
    Ok(Ok(there))
}

async fn follow(
    desk: &mut Desk<'_>,
    topology: &Topology,
    KeyMove { key, to, from }: KeyMove,
) -> Result<Result<(), No>, End> {
    if let Err(no) = bind(desk, &topology.results_binding(key, to)).await? {
        return Ok(Err(no));
    }
    crash_point(Point::ResultsBound);
    for number in from {
        if let Err(no) = unbind(desk, &topology.results_binding(key, number)).await? {
            return Ok(Err(no));
        }
    }
    Ok(Ok(()))
}

/// Changes nothing if there is no such binding.
async fn unbind(desk: &mut Desk<'_>, binding: &Binding) -> Result<Result<(), No>, End> {
    let (Target::Queue(target) | Target::Exchange(target)) = &binding.target;
    let arguments = QueueUnbindArguments::new(target, &binding.source, &binding.key);
    desk.ask(async |channel: &Channel| channel.queue_unbind(arguments).await)
        .await
}
