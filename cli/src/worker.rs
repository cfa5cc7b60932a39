//! `homing worker`: the stock worker, whose handlers are commands.

use std::path::PathBuf;
use std::process::ExitCode;

use homing_protocol::TaskKind;
use homing_worker::{BrokerArgs, LogArgs, LogFormat, RunArgs, Worker, WorkerArgs};
use serde_json::Value;

use crate::settings::Settings;
use crate::trouble::Trouble;
use crate::{schema, telemetry};

const ABOUT: &str = "\
Run tasks

Takes tasks from the broker, runs each, publishes its outcome, and only then
takes the task off the queue. After a crash a task is run again: what a handler
does must be safe to do twice.";

const EXAMPLES: &str = "\
COMMAND reads the payload as JSON on stdin; HOMING_TASK_ID, HOMING_KIND,
HOMING_ATTEMPT and HOMING_DEADLINE are in its environment, the addresses of
broker and store are not. What it writes to stdout is the output and must be
JSON. Exit status 0 succeeds, 65 fails for good, any other is tried again. The
end of its stderr is kept with the attempt.

Examples:
  homing worker --run text.words='jq -r .text | wc -w'
  homing worker --run image.thumb=./thumb --processes 4 --concurrency 2
  homing worker --run image.thumb=./thumb --schema image.thumb=thumb.json";

/// Run tasks
#[derive(Debug, clap::Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub(crate) struct StockWorkerArgs {
    /// Run COMMAND with `sh -c` for each task of KIND; give it for each kind
    #[arg(
        long = "run",
        value_name = "KIND=COMMAND",
        value_parser = command,
        help_heading = "Handlers (typed ones live in a program of your own, with these same flags)"
    )]
    commands: Vec<(TaskKind, String)>,

    /// What the payloads of KIND are to match, as JSON Schema; give it for each kind
    #[arg(
        long = "schema",
        value_name = "KIND=FILE",
        value_parser = schema,
        help_heading = "Handlers (typed ones live in a program of your own, with these same flags)"
    )]
    schemas: Vec<(TaskKind, PathBuf)>,

    #[command(flatten)]
    run: RunArgs,
}

/// Runs until it is told to stop. Errors are told there, once for all
/// processes.
///
/// # Errors
///
/// [`Trouble`]: the context that is named cannot be used.
pub(crate) fn run(args: StockWorkerArgs, settings: Settings) -> Result<ExitCode, Trouble> {
    let StockWorkerArgs {
        commands,
        schemas,
        run,
    } = args;
    let schemas = read(&schemas)?;
    let namespace = settings.namespace()?;
    if settings.found_broker()?.is_none() {
        // Says what every verb says of that.
        settings.broker_url()?;
    }
    let (origin, broker) = match settings.broker_text()? {
        Some((origin, broker)) => (Some(origin), Some(broker)),
        None => (None, settings.broker),
    };
    let worker_args = WorkerArgs {
        run,
        broker: BrokerArgs {
            broker,
            origin,
            namespace,
        },
        log: LogArgs {
            quiet: settings.quiet,
            verbose: settings.verbose,
            log: settings.log,
            log_format: match settings.log_format {
                telemetry::LogFormat::Text => LogFormat::Text,
                telemetry::LogFormat::Json => LogFormat::Json,
            },
        },
    };
    Ok(homing_worker::worker_main_with(worker_args, async || {
        let add = |worker: Worker, (kind, command)| worker.command(kind, command);
        let worker = commands.into_iter().fold(Worker::new(), add);
        let declare = |worker: Worker, (kind, schema): (_, Value)| worker.schema_of(kind, schema);
        Ok(schemas.into_iter().fold(worker, declare))
    }))
}

/// The schemas in these files.
fn read(schemas: &[(TaskKind, PathBuf)]) -> Result<Vec<(TaskKind, Value)>, Trouble> {
    let read = |(kind, path): &(TaskKind, PathBuf)| {
        let flag = format!("--schema {kind}={}", path.display());
        let (schema, _) = schema::read(path, &flag)?;
        let value = serde_json::from_str(schema.as_str());
        Ok((kind.clone(), value.map_err(|error| Trouble::bug(&error))?))
    };
    schemas.iter().map(read).collect()
}

/// Reads `KIND=FILE`.
fn schema(text: &str) -> Result<(TaskKind, PathBuf), String> {
    let (kind, file) = text
        .split_once('=')
        .filter(|(_, file)| !file.is_empty())
        .ok_or("a kind, `=` and a file belong here")?;
    let kind = kind.parse::<TaskKind>();
    Ok((kind.map_err(|error| error.to_string())?, file.into()))
}

/// Reads `KIND=COMMAND`.
pub(crate) fn command(text: &str) -> Result<(TaskKind, String), String> {
    let (kind, command) = text
        .split_once('=')
        .filter(|(_, command)| !command.trim().is_empty())
        .ok_or("a kind, `=` and a command belong here")?;
    let kind = kind.parse::<TaskKind>();
    Ok((kind.map_err(|error| error.to_string())?, command.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_is_a_kind_and_a_command() {
        let (kind, line) = command("demo.words=wc -w a=b").unwrap();

        assert_eq!((kind.as_str(), line.as_str()), ("demo.words", "wc -w a=b"));
        for text in ["demo.words", "demo.words=", "demo.words= ", "Demo=x", "=x"] {
            assert!(command(text).is_err(), "{text}");
        }
    }
}
