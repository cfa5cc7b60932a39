//! `homing chaos`: kills what works, on the user's own broker and store, and
//! counts what is lost.
//!
//! | | who it is |
//! |---|---|
//! | [`plan`] | who is struck when, by seed (pure) |
//! | [`fleet`], [`keeper`], [`process`] | workers and collectors, and what is done to them |
//! | [`member`], [`work`] | what they are, and the tasks that they run |
//! | [`load`], [`shelf`] | what is submitted, and what is stored |
//! | [`books`] | whether the two are the same (pure) |
//! | [`session`], [`summary`] | all of it, and what is said of it |
//!
//! # Invariants
//!
//! No process outlives this one, however it ends. What is lost or changed can be
//! looked at: namespace, store and logs stay.

mod books;
mod chance;
mod fleet;
mod keeper;
mod load;
mod member;
mod plan;
mod process;
mod session;
mod shelf;
mod summary;
mod work;

use std::time::Duration;

pub(crate) use member::{ChaosWorkerArgs, run_collector, run_worker};

use crate::exit::Exit;
use crate::output::Talk;
use crate::settings::Settings;
use crate::space::Space;
use crate::stop::Stop;
use crate::time::{parse_duration, span};
use crate::trouble::Trouble;

use fleet::COLLECTORS;
use session::Session;
use summary::Summary;

/// A seed that is not given is below it: short enough to be typed.
const SEED_END: u128 = 1_000_000;

const EXAMPLES: &str = "\
Submits tasks all the time, and meanwhile kills workers and collectors, stops
them and pauses them. Then it lets what is left come to its end, and compares
every task with its outcome in the store, by id and by output.

It does so on the broker that is set, else on that of the `homing up` in this
folder, else on one that it brings, in a namespace of its own that is deleted at
the end. With an embedded broker every process is one of the broker's too. A
store that is a file is left alone: another one in its folder is used, and is
deleted too. A database has to be an empty one, and keeps what was stored.

If anything is lost or changed, it all stays where it is, and the last lines say
how to look at it. Ctrl-C ends it early, with the same comparison; a second one
ends it at once.

Exit status: 0 all is stored as submitted, 1 it is not, 130 ended at once.

Examples:
  homing chaos
  homing chaos --for 5m --workers 8 --rate 1000
  homing chaos --seed 7 --json";

/// Kill workers and collectors, and count what is lost
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ChaosArgs {
    /// How long
    #[arg(
        long = "for",
        value_name = "TIME",
        default_value = "20s",
        value_parser = parse_duration
    )]
    time: Duration,

    /// Workers
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    workers: u16,

    /// Tasks a second
    #[arg(
        long,
        value_name = "N",
        default_value_t = 500,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    rate: u32,

    /// Decides the tasks, and who is struck when and how [default: by chance]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

pub(crate) async fn run(args: ChaosArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let mut stop = Stop::new()?;
    let talk = Talk::new(settings);
    let seed = args.seed.unwrap_or_else(any_seed);
    let space = Space::make("chaos", settings.found_broker()?, settings).await?;
    announce(&args, seed, &space, talk);

    let (ask, asked) = tokio::sync::oneshot::channel();
    let twice = async {
        stop.asked().await;
        talk.say("ending early: what was submitted may end, and is compared; again ends at once");
        let _ended = ask.send(());
        stop.asked().await;
    };
    let asked = async {
        let _asked = asked.await;
    };
    let session = Session {
        args: &args,
        seed,
        space: &space,
        talk,
    };
    let ended = tokio::select! {
        ended = session.run(settings, asked) => Some(ended),
        () = twice => None,
    };
    match ended {
        Some(Ok(summary)) => tell(&summary, space, settings).await,
        Some(Err(trouble)) => {
            say_kept(&space, talk);
            Err(trouble)
        }
        None => {
            space.remove().await?;
            talk.say("ended at once; nothing is compared");
            Ok(Exit::CutOff)
        }
    }
}

async fn tell(summary: &Summary, space: Space, settings: &Settings) -> Result<Exit, Trouble> {
    let talk = Talk::new(settings);
    summary.write(&space, settings)?;
    if summary.is_good() {
        space.remove().await?;
        return Ok(Exit::Done);
    }
    say_kept(&space, talk);
    summary.say_wrong(&space, talk);
    Ok(Exit::No)
}

fn say_kept(space: &Space, talk: Talk) {
    let namespace = space.broker().topology().namespace();
    talk.say(format!("kept       {namespace} in {}", space.place()));
    talk.say(format!(
        "kept       {}, with what each process said",
        space.folder().display()
    ));
}

fn any_seed() -> u64 {
    let random = uuid::Uuid::now_v7().as_u128() % SEED_END;
    u64::try_from(random).unwrap_or_default()
}

fn announce(args: &ChaosArgs, seed: u64, space: &Space, talk: Talk) {
    let topology = space.broker().topology();
    talk.say(format!("broker     {}", space.link().origin()));
    talk.say(format!("store      {}", space.store()));
    talk.say(format!("namespace  {}", topology.namespace()));
    talk.say(format!(
        "chaos      {} workers, {COLLECTORS} collectors, {} tasks a second for {}, seed {seed}",
        args.workers,
        args.rate,
        span(args.time)
    ));
}
