use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::args::{LogArgs, LogFormat};

/// Begins to write log lines to stderr. A program that has begun by itself
/// keeps its own way.
pub(super) fn install(args: &LogArgs) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(args))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let _own = match args.log_format {
        LogFormat::Text => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
}

/// A line for each task that succeeded only where it is asked for.
fn filter(args: &LogArgs) -> EnvFilter {
    let directives = match (args.quiet, args.verbose) {
        (true, _) => "error",
        (false, 0) => "info,homing_worker::attempt=warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    EnvFilter::new(args.log.as_deref().unwrap_or(directives))
}
