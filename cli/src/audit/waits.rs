//! What waits in the queues, beside what the store knows: of a task outside batches
//! it knows nothing before something came of it.

use std::time::Duration;

use homing_broker::Depth;
use homing_protocol::QueueName;
use homing_protocol::topology::Topology;

use crate::settings::Settings;
use crate::time::grouped;

/// How long the broker may take: the answer stands without it.
const BROKER_TIME_MAX: Duration = Duration::from_secs(2);

/// What to say of it.
pub(super) async fn told(queues: &[QueueName], settings: &Settings) -> String {
    let Ok(link) = settings.link(queues) else {
        return "tasks waiting: not known, since no broker is set".to_owned();
    };
    let asked = tokio::time::timeout(BROKER_TIME_MAX, link.broker.depths()).await;
    match asked {
        Ok(Ok(depths)) => counted(&depths, link.broker.topology()),
        _ => "tasks waiting: not known, since the broker does not answer".to_owned(),
    }
}

/// How many wait in the queues of tasks and of delayed tasks, and are held by workers.
fn counted(depths: &[Depth], topology: &Topology) -> String {
    let tasks = topology.task_queues().iter();
    let tasks = tasks.map(|queue| topology.queue(queue));
    let names: Vec<_> = tasks.chain(topology.delays()).collect();
    let (mut waiting, mut parts, mut unknown) = (0, Vec::new(), false);
    let mut held = Some(0);
    for depth in depths.iter().filter(|depth| names.contains(&depth.queue)) {
        match depth.ready {
            Some(0) => {}
            Some(ready) => {
                waiting += ready;
                parts.push(format!("{} {}", depth.queue, grouped(ready)));
            }
            None => unknown = true,
        }
        held = held.zip(depth.unacked).map(|(held, more)| held + more);
    }
    let mut text = format!("tasks waiting: {}", grouped(waiting));
    if !parts.is_empty() {
        text.push_str(&format!(" ({})", parts.join(", ")));
    }
    match held {
        Some(0) => {}
        Some(held) => text.push_str(&format!("; held by workers: {}", grouped(held))),
        None => text.push_str("; what workers hold is not known"),
    }
    if unknown {
        text.push_str("; some queues do not tell");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(queue: &str, ready: Option<u64>, unacked: Option<u64>) -> Depth {
        Depth {
            queue: format!("ns.{queue}"),
            ready,
            unacked,
            consumers: Some(0),
        }
    }

    #[test]
    fn what_waits_is_counted_in_queues_of_tasks_alone_and_what_is_not_known_is_said() {
        let topology = Topology::new("ns".parse().unwrap(), []);
        let text = |depths: &[Depth]| counted(depths, &topology);

        let embedded = [
            depth("tasks", Some(1_200), Some(2)),
            depth("delay.0", Some(3), Some(0)),
            depth("results", Some(9), Some(9)),
        ];
        assert_eq!(
            text(&embedded),
            "tasks waiting: 1,203 (ns.tasks 1,200, ns.delay.0 3); held by workers: 2"
        );
        assert_eq!(
            text(&[depth("tasks", Some(0), Some(0))]),
            "tasks waiting: 0"
        );
        assert_eq!(
            text(&[depth("tasks", Some(0), None), depth("delay.1", None, None)]),
            "tasks waiting: 0; what workers hold is not known; some queues do not tell"
        );
    }
}
