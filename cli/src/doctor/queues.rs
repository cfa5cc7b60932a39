//! What the queues tell of those who work with them.
//!
//! Pure. Each function is told how much is in the queues, and finds.
//!
//! | queue | | finding |
//! |---|---|---|
//! | of tasks | a consumer | ok |
//! | of tasks | none | warning: no worker takes from it |
//! | `dead` | empty | ok |
//! | `dead` | something | warning: a collector has to store it |
//! | `quarantine` | something | warning: collectors died over it |
//! | of delayed tasks | of the embedded broker, any of tasks: some that no worker takes | warning: they wait for one |
//! | of delayed tasks | of RabbitMQ: something | unknown: it may be such tasks |
//! | any | not there, or it does not answer | unknown |

use homing_broker::{Depth, Untaken};
use homing_protocol::topology::Topology;
use homing_protocol::{QueueName, RESULTS_QUEUES_MAX};

use super::finding::Finding;
use crate::time::grouped;
use crate::waiting;

/// The queue of this name; without its counts if it was not told of.
fn depth<'a>(depths: &'a [Depth], name: &str) -> Option<&'a Depth> {
    depths.iter().find(|depth| depth.queue == name)
}

/// The queue of outcomes that the fewest take from, and how many do.
pub(super) fn outcomes(topology: &Topology, depths: &[Depth]) -> (String, Option<u64>) {
    let names = (0..RESULTS_QUEUES_MAX).map(|number| topology.results_queue(number));
    let there = names.filter_map(|name| depth(depths, &name));
    // What is not known is less than anything.
    let fewest = there.min_by_key(|depth| depth.consumers);
    fewest.map_or_else(
        || (topology.results(), None),
        |fewest| (fewest.queue.clone(), fewest.consumers),
    )
}

fn consumers(depths: &[Depth], name: &str) -> Option<u64> {
    depth(depths, name).and_then(|depth| depth.consumers)
}

fn ready(depths: &[Depth], name: &str) -> Option<u64> {
    depth(depths, name).and_then(|depth| depth.ready)
}

fn not_told(check: &'static str, queue: &str) -> Finding {
    let found = format!("the queue `{queue}` is not there, or does not tell");
    Finding::unknown(check, found)
}

/// Whether somebody runs what is in each queue of tasks. That of suspects has a
/// consumer only while there are any.
pub(super) fn workers(topology: &Topology, depths: &[Depth]) -> Finding {
    const CHECK: &str = "workers";
    let queues: Vec<_> = topology
        .task_queues()
        .iter()
        .filter(|queue| **queue != QueueName::suspect())
        .collect();
    let mut found = Vec::new();
    for queue in queues {
        let name = topology.queue(queue);
        match consumers(depths, &name) {
            None => return not_told(CHECK, &name),
            Some(0) => return idle(queue, &name, ready(depths, &name)),
            Some(consumers) => found.push(format!("{consumers} on {name}")),
        }
    }
    Finding::ok(CHECK, found.join(", "))
}

fn idle(queue: &QueueName, name: &str, ready: Option<u64>) -> Finding {
    let waits = match ready.unwrap_or(0) {
        0 => String::new(),
        tasks => format!("; {} wait", grouped(tasks)),
    };
    let flag = match *queue == QueueName::tasks() {
        true => String::new(),
        false => format!(" --queues {queue}"),
    };
    Finding::warning(
        "workers",
        format!("no worker takes from {name}{waits}"),
        format!("start one: homing worker{flag}"),
    )
}

/// Whether tasks wait for a worker that takes their kind, by what is known of those
/// that wait.
pub(super) fn kinds(topology: &Topology, depths: &[Depth], untaken: Option<&[Untaken]>) -> Finding {
    const CHECK: &str = "kinds";
    const NONE: &str = "no task waits for a worker that takes its kind";
    if let Some(untaken) = untaken {
        return match waiting::told(untaken) {
            Some(found) => Finding::warning(CHECK, found, waiting::FIX),
            None => Finding::ok(CHECK, NONE),
        };
    }
    let delays = topology.delays();
    let delayed: Option<u64> = delays.iter().map(|name| ready(depths, name)).sum();
    match delayed {
        None => Finding::unknown(CHECK, "the queues of delayed tasks do not tell"),
        Some(0) => Finding::ok(CHECK, NONE),
        Some(tasks) => Finding::unknown(
            CHECK,
            format!(
                "delayed: {}; if for want of a worker that knows their kind, the log of the workers names it",
                grouped(tasks)
            ),
        ),
    }
}

/// Whether dead letters wait for a collector.
pub(super) fn dead_letters(topology: &Topology, depths: &[Depth]) -> Finding {
    const CHECK: &str = "dead-letters";
    let name = topology.dead();
    match ready(depths, &name) {
        None => not_told(CHECK, &name),
        Some(0) => Finding::ok(CHECK, format!("none waits in {name}")),
        Some(letters) => Finding::warning(
            CHECK,
            format!("{} wait in {name}", grouped(letters)),
            "a collector stores them: homing collector; then: homing dead list",
        ),
    }
}

/// Whether collectors died over something.
pub(super) fn quarantine(topology: &Topology, depths: &[Depth]) -> Finding {
    const CHECK: &str = "quarantine";
    let name = topology.quarantine();
    match ready(depths, &name) {
        None => not_told(CHECK, &name),
        Some(0) => Finding::ok(CHECK, format!("nothing is in {name}")),
        Some(letters) => Finding::warning(
            CHECK,
            format!(
                "{} in {name}: dead letters that collectors died over",
                grouped(letters)
            ),
            "a collector that works well takes them after a minute; of what stays its log says why: docs/topology.md",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn topology() -> Topology {
        Topology::new("ns".parse().unwrap(), ["tasks.big".parse().unwrap()])
    }

    fn depth(queue: &str, ready: u64, consumers: u64) -> Depth {
        Depth {
            queue: format!("ns.{queue}"),
            ready: Some(ready),
            unacked: None,
            consumers: Some(consumers),
        }
    }

    #[test]
    fn a_queue_of_tasks_that_nobody_takes_from_is_a_warning_with_its_fix() {
        for (tasks, big, fix) in [
            (0, 1, "start one: homing worker"),
            (1, 0, "start one: homing worker --queues tasks.big"),
        ] {
            let depths = [depth("tasks", 3, tasks), depth("tasks.big", 0, big)];

            let finding = workers(&topology(), &depths);

            assert_eq!(finding.verdict, Verdict::Warning);
            assert_eq!(finding.fix.as_deref(), Some(fix));
        }
    }

    #[test]
    fn tasks_of_a_kind_that_no_worker_knows_are_a_warning_where_that_can_be_known() {
        let topology = topology();
        let delays = topology.delays();
        let delayed = |tasks| -> Vec<_> {
            let depths = delays.iter().map(|name| Depth {
                queue: name.clone(),
                ready: Some(tasks),
                unacked: None,
                consumers: Some(0),
            });
            depths.collect()
        };
        let untaken = [Untaken {
            kind: "demo.wrods".to_owned(),
            tasks: 2,
        }];
        let verdict = |tasks, waiting| kinds(&topology, &delayed(tasks), waiting).verdict;

        assert_eq!(verdict(0, None), Verdict::Ok);
        assert_eq!(verdict(1, None), Verdict::Unknown);
        assert_eq!(verdict(1, Some(&[][..])), Verdict::Ok);
        assert_eq!(verdict(1, Some(&untaken[..])), Verdict::Warning);
        let found = kinds(&topology, &[], Some(&untaken)).found;
        assert!(found.ends_with(": `demo.wrods` 2"), "{found}");
        assert_eq!(kinds(&topology, &[], None).verdict, Verdict::Unknown);
    }

    #[test]
    fn workers_on_every_queue_are_counted() {
        let depths = [depth("tasks", 0, 2), depth("tasks.big", 0, 1)];

        let finding = workers(&topology(), &depths);

        assert_eq!(
            finding,
            Finding::ok("workers", "2 on ns.tasks, 1 on ns.tasks.big")
        );
    }

    #[test]
    fn a_queue_that_does_not_tell_is_never_ok() {
        let topology = topology();

        for finding in [
            workers(&topology, &[]),
            dead_letters(&topology, &[]),
            quarantine(&topology, &[]),
        ] {
            assert_eq!(finding.verdict, Verdict::Unknown, "{finding:?}");
        }
    }

    #[test]
    fn of_several_queues_of_outcomes_the_one_that_nobody_takes_from_counts() {
        let unknown = Depth {
            consumers: None,
            ..depth("results.2", 0, 0)
        };
        let depths = [
            depth("results", 0, 1),
            depth("results.1", 0, 0),
            depth("tasks", 0, 0),
            unknown,
        ];

        let (topology, both) = (topology(), &depths[..3]);

        assert_eq!(
            outcomes(&topology, both),
            ("ns.results.1".to_owned(), Some(0))
        );
        assert_eq!(outcomes(&topology, &depths).1, None);
        assert_eq!(outcomes(&topology, &[]), ("ns.results".to_owned(), None));
    }

    #[test]
    fn letters_that_wait_are_a_warning_and_none_is_ok() {
        let topology = topology();
        let depths = |letters| [depth("dead", letters, 1), depth("quarantine", letters, 0)];
        let found = |letters| {
            let depths = depths(letters);
            [
                dead_letters(&topology, &depths).verdict,
                quarantine(&topology, &depths).verdict,
            ]
        };

        assert_eq!(found(0), [Verdict::Ok; 2]);
        assert_eq!(found(1), [Verdict::Warning; 2]);
    }
}
