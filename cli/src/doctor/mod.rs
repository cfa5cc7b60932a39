//! `homing doctor`: whether all that a pipeline stands on is well.
//!
//! Asks, and changes nothing. A check that fails keeps no other from being made;
//! what cannot be known without it is `unknown`, never `ok`. What an answer means
//! is decided by pure functions, a module for each subject.

mod broker;
mod clock;
mod collector;
mod config;
mod finding;
mod queues;
mod rabbit;
mod room;
mod store;

use std::path::Path;

use homing_protocol::QueueName;
use homing_protocol::topology::Topology;

use self::collector::Writes;
use self::finding::{Finding, Verdict};
use crate::exit::Exit;
use crate::management::{Management, ManagementArgs};
use crate::output::{Form, Output};
use crate::settings::{Link, PATIENCE, Setting, Settings};
use crate::trouble::Trouble;

const EXAMPLES: &str = "\
One line for each check: ok, warning, bad, or unknown where it cannot be told
from here; below it what to do. Nothing is changed, and no password is shown.
RabbitMQ's management API tells of alarms and permissions: --management-url.

Exit status: 0 nothing is bad, 1 something is.

Examples:
  homing doctor
  homing doctor --json | jq -r 'select(.verdict != \"ok\") | .check'";

/// Whether settings, broker, queues, store and disks are well
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorArgs {
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

/// Writes findings as they are made.
struct Report {
    output: Output,
    verdicts: Vec<Verdict>,
}

impl Report {
    /// Writes one.
    fn add(&mut self, finding: &Finding) -> Result<(), Trouble> {
        self.verdicts.push(finding.verdict);
        match self.output.form() {
            Form::Json => self.output.json(finding),
            Form::Terminal { .. } | Form::Plain => self.output.text(&finding.text()),
        }
    }

    /// Writes of each of these that it is not known, and why.
    fn unknown(&mut self, checks: &[&'static str], why: &str) -> Result<(), Trouble> {
        checks
            .iter()
            .try_for_each(|check| self.add(&Finding::unknown(check, why)))
    }

    /// Writes where a setting came from, or why it cannot be; answers with it.
    fn setting<T>(
        &mut self,
        check: &'static str,
        setting: Result<Setting<T>, Trouble>,
    ) -> Result<Option<Setting<T>>, Trouble> {
        match setting {
            Ok(setting) => {
                self.add(&Finding::ok(check, setting.from.clone()))?;
                Ok(Some(setting))
            }
            Err(trouble) => {
                self.add(&Finding::bad(check, trouble))?;
                Ok(None)
            }
        }
    }
}

pub(crate) async fn run(args: DoctorArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let mut report = Report {
        output: Output::new(settings),
        verdicts: Vec::new(),
    };
    report.add(&config::check(settings))?;
    let url = report.setting("broker-url", settings.broker_url())?;
    let store = report.setting("store-url", settings.store_url())?;
    let topology = topology(&mut report, &args.queues, settings)?;

    let (results, consumers) = match (url, topology) {
        (Some(url), Some(topology)) => {
            let link = Link::new(url.clone(), topology, PATIENCE);
            let management = management(&mut report, &args.management, settings)?;
            let depths = broker::check(&mut report, &url, &link, management.as_ref()).await?;
            queues::outcomes(link.broker.topology(), &depths.unwrap_or_default())
        }
        _ => {
            broker::unset(&mut report)?;
            ("results".to_owned(), None)
        }
    };
    let (store, writes) = match store {
        Some(url) => {
            let writes = store::check(&mut report, &url).await?;
            (url.value.to_string(), writes)
        }
        None => {
            report.unknown(&["store", "clock"], "its URL cannot be used")?;
            (String::new(), Writes::Unknown)
        }
    };
    report.add(&collector::collector(&results, consumers, &store, &writes))?;
    Ok(finding::exit(&report.verdicts))
}

/// The exchanges and queues; says why if their namespace is none.
fn topology(
    report: &mut Report,
    queues: &[QueueName],
    settings: &Settings,
) -> Result<Option<Topology>, Trouble> {
    match settings.namespace() {
        Ok(namespace) => Ok(Some(Topology::new(namespace, queues.iter().cloned()))),
        Err(trouble) => {
            report.add(&Finding::bad("namespace", trouble))?;
            Ok(None)
        }
    }
}

/// The management API, if it is set and can be; else that is said.
fn management(
    report: &mut Report,
    args: &ManagementArgs,
    settings: &Settings,
) -> Result<Option<Management>, Trouble> {
    match args.open(settings) {
        Ok(management) => Ok(management),
        Err(trouble) => {
            report.add(&Finding::bad("management", trouble))?;
            Ok(None)
        }
    }
}

/// The folder that the file at `path` is in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// The same for people: whole, if it is there.
fn shown_folder(path: &Path) -> String {
    let folder = folder(path);
    let whole = folder.canonicalize();
    whole.map_or_else(
        |_| folder.display().to_string(),
        |whole| whole.display().to_string(),
    )
}
