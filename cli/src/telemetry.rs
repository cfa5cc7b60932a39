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

/// What `homing up` logs: what is wrong, and that it is right again. All else it says
/// in its own words.
const UP: &str = "warn,homing_broker=info,homing_collector::open=info,homing_collector::write=info";

/// Whether nothing is said of what to log.
fn is_plain(settings: &Settings) -> bool {
    directives(settings).is_none() && settings.verbose == 0 && !settings.quiet
}

/// What is said of it; an empty variable is not there.
fn directives(settings: &Settings) -> Option<&str> {
    settings.log.as_deref().filter(|log| !log.is_empty())
}

/// Begins to write log lines. The worker has its own, one in each process.
pub(crate) fn install(cli: &Cli) {
    let Verb::Other(verb) = &cli.verb else {
        return;
    };
    let filter = match verb {
        OtherVerb::Up(_) if is_plain(&cli.settings) => EnvFilter::new(UP),
        _ => filter(&cli.settings, talks(verb)),
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(cli.settings.coloured(&io::stderr()));
    match cli.settings.log_format {
        LogFormat::Text => lines.with_target(false).init(),
        LogFormat::Json => lines.json().init(),
    }
}

/// Services say what they do, and verbs that may wait long for the broker that they
/// do. A one-shot verb says it by its answer and its error, and repeats nothing of
/// it in a log.
const fn talks(verb: &OtherVerb) -> bool {
    match verb {
        OtherVerb::Up(_) | OtherVerb::Collector(_) | OtherVerb::Replay(_) => true,
        OtherVerb::ChaosWorker(_) | OtherVerb::ChaosCollector(_) => true,
        OtherVerb::Submit(args) => args.is_batch(),
        _ => false,
    }
}

fn filter(settings: &Settings, talks: bool) -> EnvFilter {
    EnvFilter::new(directives(settings).unwrap_or(level(settings, talks)))
}

const fn level(settings: &Settings, talks: bool) -> &'static str {
    match (settings.verbose, settings.quiet, talks) {
        (_, true, true) => "error",
        (0, true, false) | (0, _, false) => "off",
        (0, false, true) | (1, _, _) => "info",
        (_, _, _) => "debug",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn a_verb_that_may_wait_long_says_for_what_and_a_short_one_says_nothing() {
        for (line, expected) in [
            ("homing collector", "info"),
            ("homing submit a --rows b", "info"),
            ("homing submit a --rows b --quiet", "error"),
            ("homing replay --problems", "info"),
            ("homing submit a 1", "off"),
            ("homing list", "off"),
            ("homing list -v", "info"),
        ] {
            let cli = Cli::parse_from(line.split(' '));
            let Verb::Other(verb) = &cli.verb else {
                panic!("{line} is a worker");
            };

            assert_eq!(level(&cli.settings, talks(verb)), expected, "{line}");
        }
    }
}
