//! `homing`: submit tasks, run workers and collectors, watch outcomes.
//!
//! One file per verb, over the crates that do the work. Answers go to stdout,
//! talk and errors to stderr; every ending has an exit code ([`exit::Exit`]).

mod ask;
mod audit;
mod bar;
mod batch_stats;
mod bench;
mod chaos;
mod clean;
mod cli;
mod collector;
mod completions;
mod context;
mod contexts;
mod dead;
mod doctor;
mod exit;
mod help;
mod init;
mod list;
mod man;
mod management;
mod named;
mod near;
mod output;
mod pace;
mod queues;
mod record_line;
mod replay;
mod schema;
mod settings;
mod show;
mod space;
mod stats;
mod stop;
mod store;
mod submit;
mod table;
mod tail;
mod telemetry;
mod time;
mod topology;
mod trouble;
mod up;
mod usage;
mod wait;
mod waiting;
mod which;
mod worker;

use std::io::Write;
use std::process::ExitCode;

use crate::trouble::Trouble;
use crate::usage::Typed;

fn main() -> ExitCode {
    run().unwrap_or_else(|trouble| {
        if !trouble.is_quiet() {
            // Nobody listens: the exit code still says it.
            let _unheard = write!(std::io::stderr(), "{trouble}");
        }
        trouble.exit.into()
    })
}

fn run() -> Result<ExitCode, Trouble> {
    match usage::read()? {
        Typed::Told(code) => Ok(code),
        Typed::Verb(cli) => {
            telemetry::install(&cli);
            cli.run()
        }
    }
}
