//! `homing worker`: the stock worker, whose handlers are commands.

use std::process::ExitCode;

use crate::exit::Exit;
use crate::settings::Settings;
use crate::trouble::Trouble;

/// Run tasks
#[derive(Debug, clap::Args)]
pub(crate) struct StockWorkerArgs {}

pub(crate) fn run(_args: StockWorkerArgs, _settings: &Settings) -> Result<ExitCode, Trouble> {
    Ok(Exit::Done.into())
}
