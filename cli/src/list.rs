//! `homing list`: stored outcomes, newest first.

use crate::exit::Exit;
use crate::output::{Output, Talk};
use crate::record_line::RecordLine;
use crate::settings::Settings;
use crate::time::grouped;
use crate::trouble::Trouble;
use crate::waiting;
use crate::which::Which;

const EXAMPLES: &str = "\
Examples:
  homing list --problems --since 1d
  homing list --kind 'image.*' --status exhausted --json | jq -r .id
  homing list --batch night-42 --output -n 100000 > outputs.ndjson";

/// List stored outcomes, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ListArgs {
    /// At most N
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: u32,

    /// Print the outputs alone, as JSON
    #[arg(long)]
    output: bool,

    /// All columns, on two lines where one has no room
    #[arg(long)]
    wide: bool,

    #[command(flatten)]
    which: Which,
}

pub(crate) async fn run(args: ListArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let store = settings.open_store().await?;
    let filter = args.which.filter(&store).await?;

    let records = store.list(&filter, args.limit).await;
    let records = records.map_err(|error| Trouble::store(&error))?;

    let lines: Vec<_> = records.iter().map(RecordLine::stored).collect();
    let mut output = Output::new(settings).wide(args.wide);
    if args.output {
        let outputs = lines.iter().filter_map(|line| line.said().output());
        outputs.into_iter().try_for_each(|json| output.text(json))?;
        return Ok(Exit::Done);
    }
    output.lines(&lines)?;
    if lines.is_empty() {
        let talk = Talk::new(settings);
        talk.say(match args.which.is_empty() {
            true => "nothing is stored yet",
            false => "nothing like that is stored",
        });
    }
    let unstored = |kind: &str| args.which.takes_unstored(kind);
    waiting::say(settings, unstored, Talk::new(settings));
    if u64::from(args.limit) == lines.len() as u64 {
        let shown = grouped(lines.len() as u64);
        Talk::new(settings).say(format!("the newest {shown}; for more: -n N"));
    }
    Ok(Exit::Done)
}
