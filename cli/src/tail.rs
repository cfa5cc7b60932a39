//! `homing tail`: the log of the store, as it grows.
//!
//! A position names a place between two entries and stays valid, so that a
//! tail that ended goes on where it was: nothing twice, nothing left out.

use homing_store::{Filter, Position, Store, Tail, Watch};

use crate::exit::Exit;
use crate::output::{Output, Talk};
use crate::record_line::RecordLine;
use crate::settings::Settings;
use crate::stop::Stop;
use crate::trouble::Trouble;
use crate::which::Which;

/// Records read from the store at once: a page of a few hundred KiB.
const PAGE: u32 = 500;

const EXAMPLES: &str = "\
Attempts that failed and will be tried again are there too, as `retrying`, and
runs that a replay began, as `pending`. On a SQLite store, run this where the
collector runs.

Examples:
  homing tail --follow --problems
  homing tail --follow --json --from 204119 >> outcomes.ndjson";

/// Print outcomes as they are stored
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TailArgs {
    /// Go on as new ones are stored
    #[arg(short, long)]
    follow: bool,

    /// Start with the last N
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    last: u32,

    /// Start after this position instead; none is left out, none comes twice
    #[arg(long, value_name = "POSITION", conflicts_with = "last")]
    from: Option<Position>,

    /// All columns, on two lines where one has no room
    #[arg(long)]
    wide: bool,

    #[command(flatten)]
    which: Which,
}

pub(crate) async fn run(args: TailArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let store = settings.open_store().await?;
    let filter = args.which.filter(&store).await?;
    let mut follower = Follower {
        store,
        filter,
        output: Output::new(settings).wide(args.wide),
        position: Position::START,
    };
    let mut stop = Stop::new()?;

    let ended = tokio::select! {
        ended = follower.run(&args) => ended,
        () = stop.asked() => Ok(()),
    };

    // After an error of the command line there is nothing to go on with.
    let goes_on = match &ended {
        Ok(()) => true,
        Err(trouble) => !trouble.is_quiet() && trouble.exit != Exit::Usage,
    };
    if goes_on {
        let follow = if args.follow { " --follow" } else { "" };
        let (which, position) = (args.which.typed(), follower.position);
        Talk::new(settings).say(format!(
            "go on where this ended: homing tail{follow}{which} --from {position}"
        ));
    }
    ended.map(|()| Exit::Done)
}

struct Follower {
    store: Store,
    filter: Filter,
    output: Output,
    /// After the last entry that was printed or left out by the filter.
    position: Position,
}

impl Follower {
    async fn run(&mut self, args: &TailArgs) -> Result<(), Trouble> {
        let told = |error| Trouble::store(&error);
        // Watched before the first look, so that no commit falls in between.
        let mut watch = self.store.watch().await.map_err(told)?;
        match args.from {
            Some(position) => self.position = position,
            None => {
                let last = self.store.last(&self.filter, args.last).await;
                self.print(&last.map_err(told)?)?;
            }
        }
        loop {
            if !args.follow {
                return self.catch_up(None).await;
            }
            self.catch_up(Some(&mut watch)).await?;
            watch.changed().await.map_err(told)?;
        }
    }

    /// Prints up to the end of the log; with a watch, however long the server is
    /// away.
    async fn catch_up(&mut self, mut watch: Option<&mut Watch>) -> Result<(), Trouble> {
        loop {
            let look = || self.store.tail(&self.position, &self.filter, PAGE);
            let tail = match &mut watch {
                Some(watch) => watch.look(look).await,
                None => look().await,
            };
            let tail = tail.map_err(|error| Trouble::store(&error))?;
            self.print(&tail)?;
            if tail.at_end {
                return Ok(());
            }
        }
    }

    /// Prints a part of the log and takes its end as the new position; there
    /// is no await in between, where Ctrl-C could part the two.
    fn print(&mut self, tail: &Tail) -> Result<(), Trouble> {
        let lines: Vec<_> = tail.records.iter().map(RecordLine::stored).collect();
        self.output.lines(&lines)?;
        self.position = tail.position;
        Ok(())
    }
}
