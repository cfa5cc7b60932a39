//! `homing dead`: messages that no worker could settle.

mod discard;
mod list;
mod show;

pub(crate) use show::{RepairJson, repair_text};

use std::time::Duration;

use clap::Subcommand;
use homing_protocol::Reason;
use homing_store::{DeadFilter, KindPattern};

use crate::exit::Exit;
use crate::settings::Settings;
use crate::time::parse_duration;
use crate::trouble::Trouble;
use crate::which::{before_now, quoted};

const EXAMPLES: &str = "\
Reasons:
  malformed     its bytes are no task; `show` prints them
  unknown-kind  no worker had a handler for its kind
  oversize      larger than a task may be
  expired       not started in time
  crash-loop    workers died while they ran it
  unroutable    its queue did not exist when its delay ended
  rejected      some consumer rejected it

To run them again: homing replay.

Examples:
  homing dead list --reason unknown-kind
  homing dead show 17
  homing dead discard --reason malformed --since 1d --why 'a bad deploy'";

/// List, show or discard dead letters
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DeadArgs {
    #[command(subcommand)]
    verb: DeadVerb,
}

#[derive(Debug, Subcommand)]
enum DeadVerb {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Discard(discard::DiscardArgs),
}

/// Which dead letters; all that are given must hold.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Which")]
struct WhichDead {
    /// malformed, unknown-kind, oversize, expired, crash-loop, unroutable or
    /// rejected
    #[arg(long, value_name = "REASON", value_parser = parse_reason)]
    reason: Option<Reason>,

    /// May end in `*`
    #[arg(long, value_name = "KIND")]
    kind: Option<KindPattern>,

    /// Stored within the last 10m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    since: Option<Duration>,
}

impl WhichDead {
    const fn is_empty(&self) -> bool {
        self.reason.is_none() && self.kind.is_none() && self.since.is_none()
    }

    fn filter(&self) -> DeadFilter {
        DeadFilter {
            reason: self.reason,
            kind: self.kind.clone(),
            since: self.since.map(before_now),
            discarded: false,
        }
    }

    /// The flags as they were typed, for the record.
    fn recorded(&self) -> String {
        let mut words = String::new();
        if let Some(reason) = self.reason {
            words.push_str(&format!(" --reason {reason}"));
        }
        if let Some(kind) = &self.kind {
            words.push_str(&format!(" --kind {}", quoted(&kind.to_string())));
        }
        if let Some(age) = self.since {
            words.push_str(&format!(" --since {}s", age.as_secs()));
        }
        words
    }
}

fn parse_reason(text: &str) -> Result<Reason, String> {
    Reason::parse(text).ok_or_else(|| {
        let all: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        format!("the reasons are {}", all.join(", "))
    })
}

pub(crate) async fn run(args: DeadArgs, settings: &Settings) -> Result<Exit, Trouble> {
    match args.verb {
        DeadVerb::List(args) => list::run(args, settings).await,
        DeadVerb::Show(args) => show::run(args, settings).await,
        DeadVerb::Discard(args) => discard::run(args, settings).await,
    }
}

/// No dead letter has this number.
fn not_found(number: u64) -> Trouble {
    Trouble::new(Exit::NotFound, format!("there is no dead letter {number}"))
        .from("this store")
        .fix("see which there are: homing dead list")
}
