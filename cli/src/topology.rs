//! `homing topology`: the exchanges and queues, created or compared.

use homing_broker::Difference;
use homing_protocol::QueueName;
use serde::Serialize;

use crate::exit::Exit;
use crate::output::{Line, Output, Talk};
use crate::settings::Settings;
use crate::table::{Cell, Column, Fit};
use crate::trouble::Trouble;

const EXAMPLES: &str = "\
`apply` creates what is not there and changes nothing that is. `check` creates
nothing; it lists what differs. Exit status of both: 0 all as wanted, 1 not.

Examples:
  homing topology apply --queues tasks.big
  homing topology check";

/// Create or compare exchanges and queues
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TopologyArgs {
    /// What to do
    #[arg(value_enum)]
    action: Action,

    /// Queues of tasks beside `tasks` and `tasks.suspect`
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        env = "HOMING_QUEUES"
    )]
    queues: Vec<QueueName>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Action {
    /// Create what is not there
    Apply,
    /// Compare, and list what differs
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

    if matches!(args.action, Action::Apply) {
        let applied = link.broker.apply().await;
        applied.map_err(|error| link.trouble(&error))?;
    }
    let differences = link.broker.check().await;
    let differences = differences.map_err(|error| link.trouble(&error))?;

    let topology = link.broker.topology();
    let (exchanges, queues) = (topology.exchanges().len(), topology.queues().len());
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
    talk.say(format!(
        "{count} differ; what is missing: homing topology apply"
    ));
    Ok(Exit::No)
}
