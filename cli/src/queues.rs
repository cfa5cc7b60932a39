//! `homing queues`: what is in each queue.

use homing_broker::Depth;
use homing_protocol::QueueName;
use serde::Serialize;

use crate::exit::Exit;
use crate::management::ManagementArgs;
use crate::output::{Line, Output, Talk};
use crate::settings::Settings;
use crate::table::{Cell, Column, Fit};
use crate::trouble::Trouble;
use crate::waiting;

const EXAMPLES: &str = "\
`-` is what cannot be known: AMQP does not tell what is unacked, nor anything of
a queue that does not exist. RabbitMQ's management API tells what is unacked,
some seconds late. `delay.*` is all queues of delayed tasks together: those with
--delay, those between two attempts, and those that wait for a worker that knows
their kind. The embedded broker tells of the last which kinds they are.

Examples:
  homing queues
  homing queues --queues tasks.big --json | jq -r 'select(.ready > 1000).queue'";

/// Ready, in flight, delayed and dead, per queue
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct QueuesArgs {
    /// Queues of tasks beside `tasks` and `tasks.suspect`
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        env = "HOMING_QUEUES"
    )]
    queues: Vec<QueueName>,

    #[command(flatten)]
    management: ManagementArgs,
}

#[derive(Debug, Eq, PartialEq, Serialize)]
struct QueueLine {
    queue: String,
    ready: Option<u64>,
    unacked: Option<u64>,
    consumers: Option<u64>,
}

impl Line for QueueLine {
    const COLUMNS: &'static [Column] = &[
        ("QUEUE", Fit::Left),
        ("READY", Fit::Right),
        ("UNACKED", Fit::Right),
        ("CONSUMERS", Fit::Right),
    ];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.queue),
            Cell::number(self.ready),
            Cell::number(self.unacked),
            Cell::number(self.consumers),
        ]
    }
}

pub(crate) async fn run(args: QueuesArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let link = settings.link(&args.queues)?;

    let management = args.management.open(settings)?;

    let depths = link.broker.depths().await;
    let mut depths = depths.map_err(|error| link.trouble(&error))?;
    if let Some(management) = management {
        let told = management.queues().await;
        let told = told.map_err(|error| management.trouble(&error))?;
        for depth in &mut depths {
            let queue = told.iter().find(|queue| queue.name == depth.queue);
            depth.unacked = queue.and_then(|queue| queue.unacked);
        }
    }

    let delays = link.broker.topology().delays();
    let all = settings.namespace()?.name("delay.*");
    Output::new(settings).lines(&summed(depths, &delays, all))?;
    waiting::say(settings, |_| true, Talk::new(settings));
    Ok(Exit::Done)
}

/// One line for each queue, but a single one, named `all`, for those in
/// `delays`.
fn summed(depths: Vec<Depth>, delays: &[String], all: String) -> Vec<QueueLine> {
    let (delayed, others): (Vec<_>, Vec<_>) = depths
        .into_iter()
        .partition(|depth| delays.contains(&depth.queue));
    let mut lines: Vec<_> = others
        .into_iter()
        .map(|depth| QueueLine {
            queue: depth.queue,
            ready: depth.ready,
            unacked: depth.unacked,
            consumers: depth.consumers,
        })
        .collect();
    if !delayed.is_empty() {
        lines.push(QueueLine {
            queue: all,
            ready: sum(&delayed, |depth| depth.ready),
            unacked: sum(&delayed, |depth| depth.unacked),
            consumers: sum(&delayed, |depth| depth.consumers),
        });
    }
    lines
}

/// The sum, not known if one part is not.
fn sum(depths: &[Depth], part: impl Fn(&Depth) -> Option<u64>) -> Option<u64> {
    depths.iter().map(part).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(queue: &str, ready: Option<u64>) -> Depth {
        Depth {
            queue: queue.to_owned(),
            ready,
            unacked: None,
            consumers: Some(0),
        }
    }

    #[test]
    fn delays_are_one_line_and_the_unknown_stays_unknown() {
        let delays = ["delay.0".to_owned(), "delay.1".to_owned()];
        let depths = vec![
            depth("tasks", Some(3)),
            depth("delay.0", Some(1)),
            depth("delay.1", Some(4)),
        ];

        let lines = summed(depths, &delays, "delay.*".to_owned());

        assert_eq!(lines.len(), 2);
        assert_eq!((lines[1].ready, lines[1].unacked), (Some(5), None));
    }

    #[test]
    fn a_missing_queue_leaves_the_sum_unknown() {
        let depths = [depth("delay.0", Some(1)), depth("delay.1", None)];

        assert_eq!(sum(&depths, |depth| depth.ready), None);
    }
}
