//! What the crates below say of their work, on stderr.

use std::io;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, OtherVerb, Verb};
use crate::settings::Settings;

/// How log lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object per line.
    Json,
}

/// Begins to write log lines. The worker has its own, one in each process.
pub(crate) fn install(cli: &Cli) {
    let Verb::Other(verb) = &cli.verb else {
        return;
    };
    let filter = filter(&cli.settings, matches!(verb, OtherVerb::Collector(_)));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(cli.settings.coloured(&io::stderr()));
    match cli.settings.log_format {
        LogFormat::Text => lines.with_target(false).init(),
        LogFormat::Json => lines.json().init(),
    }
}

/// Services say what they do. A one-shot verb says it by its answer and its
/// error, and repeats nothing of it in a log.
fn filter(settings: &Settings, service: bool) -> EnvFilter {
    let level = match (settings.verbose, settings.quiet, service) {
        (_, true, true) => "error",
        (0, true, false) | (0, _, false) => "off",
        (0, false, true) | (1, _, _) => "info",
        (_, _, _) => "debug",
    };
    let directives = settings.log.clone();
    EnvFilter::new(directives.unwrap_or_else(|| level.to_owned()))
}
