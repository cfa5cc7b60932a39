//! `homing store`: moves a store to another place.

use std::time::{Duration, Instant};

use clap::Subcommand;
use homing_store::{CopyError, StoreUrl, UrlError};

use crate::exit::Exit;
use crate::output::{Output, Talk};
use crate::settings::Settings;
use crate::time::grouped;
use crate::trouble::Trouble;

/// How often it is said how far a copy is.
const PROGRESS: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  homing store copy sqlite:homing.db postgres://homing:PASSWORD@db/homing";

/// Copy a store from a file into a database
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    verb: StoreVerb,
}

#[derive(Debug, Subcommand)]
enum StoreVerb {
    Copy(CopyArgs),
}

/// Copy all of a store, with its history, into an empty database
///
/// No collector may run meanwhile. A copy that was cut off goes on where it
/// ended; until it is finished the database is refused by every other verb.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct CopyArgs {
    /// sqlite:FILE
    #[arg(value_name = "FROM")]
    from: String,

    /// postgres://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(value_name = "TO")]
    to: String,
}

pub(crate) async fn run(args: StoreArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let StoreVerb::Copy(args) = args.verb;
    let url = |text: &str, name| {
        let url = text.parse::<StoreUrl>();
        url.map_err(|error: UrlError| Trouble::store_url(&error).from(name))
    };
    let (from, to) = (url(&args.from, "FROM")?, url(&args.to, "TO")?);
    let talk = Talk::new(settings);
    talk.say(format!("copying {from} to {to}"));

    let mut said = Instant::now();
    let progress = |rows: u64, of: u64| {
        if said.elapsed() >= PROGRESS {
            said = Instant::now();
            talk.say(format!("{} of {} rows", grouped(rows), grouped(of)));
        }
    };
    let copied = tokio::task::block_in_place(|| homing_store::copy(&from, &to, progress));
    let copied = copied.map_err(|error| trouble(&error))?;

    if settings.json {
        let tasks = serde_json::json!({ "tasks": copied.tasks, "rows": copied.rows });
        Output::new(settings).json(&tasks)?;
    }
    talk.say(format!(
        "copied {} tasks, {} rows in all; name it from now on: HOMING_STORE={to}",
        grouped(copied.tasks),
        grouped(copied.rows)
    ));
    Ok(Exit::Done)
}

fn trouble(error: &CopyError) -> Trouble {
    let what = homing_protocol::chain(error);
    match error {
        CopyError::Store(error) => Trouble::store(error),
        CopyError::Kinds => Trouble::new(Exit::Usage, what).fix("homing store copy --help"),
        CopyError::Busy(_) => Trouble::new(Exit::Unreachable, what).fix("stop it, then try again"),
        CopyError::Full => Trouble::new(Exit::Config, what).fix("name an empty database"),
        _ => Trouble::new(Exit::No, what)
            .fix("see that no collector writes to the database, empty it, and copy again"),
    }
}
