//! `homing topology`: the exchanges and queues, created or compared.

use homing_broker::{BrokerError, Difference};
use homing_protocol::topology::Topology;
use homing_protocol::{QueueName, ResultsQueues};
use serde::Serialize;

use crate::exit::Exit;
use crate::output::{Line, Output, Talk};
use crate::settings::{Link, Settings};
use crate::table::{Cell, Column, Fit};
use crate::trouble::Trouble;

const EXAMPLES: &str = "\
`apply` creates what is not there and changes nothing that is. `check` creates
nothing; it lists what differs. Exit status of both: 0 all as wanted, 1 not.

`--results 4` spreads outcomes over the queues `results`, `results.1`,
`results.2` and `results.3`, while everything runs. Without it they stay as they
are spread. Queues above the number get no more, and stay: collectors empty
them.

Examples:
  homing topology apply --queues tasks.big
  homing topology apply --results 4
  homing topology check";

/// Create or compare exchanges and queues
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TopologyArgs {
    /// apply: create what is not there; check: compare, and list what differs
    #[arg(value_enum, hide_possible_values = true)]
    action: Action,

    /// Queues of tasks beside `tasks` and `tasks.suspect`
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        env = "HOMING_QUEUES"
    )]
    queues: Vec<QueueName>,

    /// Queues that outcomes are spread over, 1 to 16
    #[arg(long, value_name = "N", env = "HOMING_RESULTS")]
    results: Option<ResultsQueues>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Action {
    Apply,
    Check,
}

#[derive(Debug, Serialize)]
struct DifferenceLine {
    what: String,
    detail: String,
}

impl Line for DifferenceLine {
    const COLUMNS: &'static [Column] = &[("WHAT", Fit::Left), ("DIFFERENCE", Fit::Free)];

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::text(&self.what), Cell::text(&self.detail)]
    }
}

impl From<Difference> for DifferenceLine {
    fn from(difference: Difference) -> Self {
        Self {
            what: difference.what,
            detail: difference.detail,
        }
    }
}

pub(crate) async fn run(args: TopologyArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let link = settings.link(&args.queues)?;
    let talk = Talk::new(settings);

    let there = match args.action {
        Action::Apply => apply(&link, args.results, talk).await,
        Action::Check => link.broker.results_queues().await,
    };
    let there = there.map_err(|error| link.trouble(&error))?;
    let differences = link.broker.check().await;
    let mut differences = differences.map_err(|error| link.trouble(&error))?;

    let topology = link.broker.topology();
    differences.extend(missing(topology, args.results.unwrap_or(there), there));
    let exchanges = topology.exchanges().len();
    let queues = topology.queues_with(there).len();
    if differences.is_empty() {
        let place = link.broker.place();
        talk.say(format!(
            "{exchanges} exchanges and {queues} queues are as they should be: {place}"
        ));
        return Ok(Exit::Done);
    }
    let count = differences.len();
    let lines: Vec<DifferenceLine> = differences.into_iter().map(Into::into).collect();
    Output::new(settings).lines(&lines)?;
    let results = args.results.map(|queues| format!(" --results {queues}"));
    talk.say(format!(
        "{count} differ; what is missing: homing topology apply{}",
        results.unwrap_or_default()
    ));
    Ok(Exit::No)
}

/// Creates what is not there; answers how many queues of outcomes there are then.
async fn apply(
    link: &Link,
    results: Option<ResultsQueues>,
    talk: Talk,
) -> Result<ResultsQueues, BrokerError> {
    let Some(wanted) = results else {
        link.broker.apply().await?;
        return link.broker.results_queues().await;
    };
    let there = link.broker.spread(wanted).await?;
    if wanted < there {
        talk.say(left(link.broker.topology(), wanted, there));
    }
    Ok(there)
}

/// The queues of outcomes that are wanted and not there.
fn missing(
    topology: &Topology,
    wanted: ResultsQueues,
    there: ResultsQueues,
) -> impl Iterator<Item = Difference> {
    (there.get()..wanted.get()).map(|number| Difference {
        what: format!("queue `{}`", topology.results_queue(number)),
        detail: Difference::MISSING.to_owned(),
    })
}

/// Says what becomes of the queues of outcomes that are there and not wanted.
fn left(topology: &Topology, wanted: ResultsQueues, there: ResultsQueues) -> String {
    let queues: Vec<_> = (wanted.get()..there.get())
        .map(|number| topology.results_queue(number))
        .collect();
    format!(
        "{} {}: no more comes; collectors empty what is there, and it stays",
        if queues.len() == 1 { "queue" } else { "queues" },
        queues.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(count: u16) -> ResultsQueues {
        ResultsQueues::new(count).unwrap()
    }

    #[test]
    fn queues_of_outcomes_that_are_wanted_and_not_there_differ() {
        let topology = Topology::new("ns".parse().unwrap(), []);
        let names = |wanted, there| -> Vec<_> {
            let missing = missing(&topology, queues(wanted), queues(there));
            missing.map(|difference| difference.what).collect()
        };

        assert_eq!(
            names(3, 1),
            ["queue `ns.results.1`", "queue `ns.results.2`"]
        );
        assert!(names(1, 3).is_empty());
    }

    #[test]
    fn queues_that_get_no_more_are_named() {
        let topology = Topology::new("".parse().unwrap(), []);

        let said = left(&topology, queues(1), queues(3));

        assert!(said.starts_with("queues results.1, results.2: no more comes"));
    }
}
