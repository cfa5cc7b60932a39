//! `homing collector`: outcomes from the broker into the store.

use std::num::NonZeroU16;
use std::path::Path;
use std::time::Duration;

use homing_broker::Patience;
use homing_collector::{CollectorConfig, CollectorError, Stopped};
use homing_protocol::QueueName;
use homing_store::{Keep, Store, StoreError, StoreUrl};

use crate::exit::Exit;
use crate::output::Talk;
use crate::settings::{Link, Setting, Settings};
use crate::stop::Stop;
use crate::time::{grouped, parse_duration};
use crate::trouble::Trouble;

/// The shortest time that content is kept.
const KEEP_MIN: Duration = Duration::from_mins(1);

const EXAMPLES: &str = "\
Creates the store if it is not there. A second collector on the same store
stands by, and takes over when the first one ends. The first Ctrl-C or SIGTERM
stores what has arrived and ends; a second one ends at once, and loses nothing:
what is not stored stays in its queue.

What is older than --keep is removed in the background, in small steps, a minute
after the start and then each hour. It cannot be undone: docs/stores.md.

Examples:
  homing collector
  homing collector --store sqlite:/var/lib/homing/homing.db
  homing collector --keep 30d";

/// Store outcomes as they arrive
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CollectorArgs {
    /// Deliveries the broker may send ahead of the commits
    #[arg(
        long,
        value_name = "N",
        env = "HOMING_COLLECTOR_PREFETCH",
        default_value_t = CollectorConfig::default().prefetch
    )]
    prefetch: NonZeroU16,

    /// How long it has to work well before it takes what is in quarantine
    #[arg(
        long,
        value_name = "TIME",
        env = "HOMING_COLLECTOR_QUARANTINE_AFTER",
        default_value = "1m",
        value_parser = parse_duration
    )]
    quarantine_after: Duration,

    /// How often it looks for new queues of outcomes
    #[arg(
        long,
        value_name = "TIME",
        env = "HOMING_COLLECTOR_LOOK_EVERY",
        default_value = "1m",
        value_parser = parse_duration
    )]
    look_every: Duration,

    /// How long payloads, outputs and errors are kept after they were stored, and the
    /// log, such as 90d; what a batch has stays until it is finished. That a task
    /// was there stays, and how it ended
    #[arg(
        long,
        value_name = "TIME",
        env = "HOMING_COLLECTOR_KEEP",
        default_value = "forever",
        value_parser = parse_keep
    )]
    keep: Keep,
}

/// Reads how long something is kept: at least a minute, so that a slip of the pen
/// does not empty a store.
fn parse_keep(text: &str) -> Result<Keep, String> {
    if text == "forever" {
        return Ok(Keep::Forever);
    }
    match parse_duration(text) {
        Ok(time) if time >= KEEP_MIN => Ok(Keep::For(time)),
        Ok(_) => Err("content is kept for a minute at least".to_owned()),
        Err(misfit) => Err(format!("{misfit}, or forever")),
    }
}

pub(crate) async fn run(args: CollectorArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let store = settings.store_url()?;
    let link = settings.link_with(&[QueueName::tasks()], Patience::Forever)?;
    let talk = Talk::new(settings);
    announce(&link, &store, talk).await?;
    let config = CollectorConfig {
        prefetch: args.prefetch,
        quarantine_after: args.quarantine_after,
        look_every: args.look_every,
        keep: args.keep,
        ..CollectorConfig::default()
    };

    let mut stop = Stop::new()?;
    let (ask, asked) = tokio::sync::oneshot::channel();
    let drain = async {
        let _asked = asked.await;
    };
    let twice = async {
        stop.asked().await;
        talk.say("stopping: storing what has arrived; again stops at once");
        let _ended = ask.send(());
        stop.asked().await;
    };
    let collecting = homing_collector::run(link.broker.clone(), &store.value, config, drain);
    let ended = tokio::select! {
        ended = collecting => ended,
        () = twice => {
            talk.say("stopped at once; what is not stored stays in its queue");
            return Ok(Exit::CutOff);
        }
    };

    let stopped = ended.map_err(|error| trouble(&error, &link, &store))?;
    say_stopped(stopped, talk);
    Ok(Exit::Done)
}

/// Says where outcomes go and why, which is what people get wrong.
async fn announce(link: &Link, store: &Setting<StoreUrl>, talk: Talk) -> Result<(), Trouble> {
    let stored = match Store::open(&store.value).await {
        Ok(found) => {
            let kinds = found.stats(None).await.unwrap_or_default();
            let tasks: u64 = kinds.iter().map(|kind| kind.counts.total()).sum();
            format!("{} stored", grouped(tasks))
        }
        Err(StoreError::Missing { .. }) if store.value.path().is_none_or(has_folder) => {
            "new".to_owned()
        }
        Err(StoreError::Older { .. }) => "to be migrated".to_owned(),
        // The collector meets the same, and knows whether it ends it.
        Err(_) => return Ok(()),
    };
    let (queue, url) = (link.broker.topology().results(), &store.value);
    let origin = match &*store.name {
        "default" => "default; HOMING_STORE names another",
        name => name,
    };
    talk.say(format!("collector  {queue} -> {url} ({origin}), {stored}"));
    Ok(())
}

fn has_folder(path: &Path) -> bool {
    let folder = path.parent();
    folder.is_none_or(|folder| folder == Path::new("") || folder.is_dir())
}

fn say_stopped(stopped: Stopped, talk: Talk) {
    talk.say(format!("stopped; {} stored", grouped(stopped.stored)));
}

/// What to say of a collector that ended.
pub(crate) fn trouble(error: &CollectorError, link: &Link, store: &Setting<StoreUrl>) -> Trouble {
    match error {
        CollectorError::Broker(error) => link.trouble(error),
        CollectorError::Store(error) => Trouble::store(error).from(store.from.clone()),
        CollectorError::Newer(_) => Trouble::new(Exit::Config, homing_protocol::chain(error))
            .fix("upgrade this collector; until then outcomes wait in their queue"),
        other => Trouble::bug(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_kept_for_a_time_or_for_ever() {
        let days = Duration::from_hours(24 * 90);
        assert_eq!(parse_keep("90d"), Ok(Keep::For(days)));
        assert_eq!(parse_keep("forever"), Ok(Keep::Forever));
        for wrong in ["90", "0s", "5s", "-1d", ""] {
            assert!(parse_keep(wrong).is_err(), "{wrong}");
        }
    }
}
