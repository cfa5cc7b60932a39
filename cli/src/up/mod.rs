//! `homing up`: broker, workers and collector in one process.

mod demo;

use std::path::Path;

use homing_broker::{BrokerUrl, Claim, Patience};
use homing_collector::CollectorConfig;
use homing_protocol::TaskKind;
use homing_protocol::topology::Topology;
use homing_worker::{RunError, Stopped, Worker, WorkerConfig};
use tokio::sync::watch;

use crate::collector;
use crate::exit::Exit;
use crate::output::Talk;
use crate::settings::{Link, Setting, Settings, UP_FILE};
use crate::stop::Stop;
use crate::trouble::Trouble;
use crate::worker::command;

const EXAMPLES: &str = "\
Where no broker is set it brings its own, in ./homing-queue.db, with nothing to
install. Verbs in this folder find it as long as it runs. It is for one machine;
what runs here runs on RabbitMQ unchanged: set AMQP_URL.

The first Ctrl-C or SIGTERM ends what runs, stores it and stops; a second one
stops at once. Nothing is lost either way: what was not done is done next time.

Kinds of --demo: demo.echo (gives back its payload), demo.sleep {\"ms\":500},
demo.flaky {\"failures\":2}, and for files below this folder
demo.checksum {\"path\":\"FILE\"} and demo.words {\"path\":\"FILE\"}.

Examples:
  homing up --demo
  homing up --run text.words='jq -r .text | wc -w'
  AMQP_URL=amqp://guest:guest@localhost:5672/%2f homing up --demo";

/// Run broker, workers and collector in one process
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpArgs {
    /// Also run the kinds of the demo
    #[arg(long)]
    demo: bool,

    /// Run COMMAND with `sh -c` for each task of KIND; give it for each kind
    #[arg(long = "run", value_name = "KIND=COMMAND", value_parser = command)]
    commands: Vec<(TaskKind, String)>,

    /// Tasks at once
    #[arg(
        long,
        visible_alias = "workers",
        value_name = "N",
        env = "HOMING_CONCURRENCY",
        default_value_t = WorkerConfig::CONCURRENCY
    )]
    concurrency: u16,
}

impl UpArgs {
    fn kinds(&self) -> Vec<String> {
        let commands = self.commands.iter().map(|(kind, _)| kind.to_string());
        let demo = demo::KINDS.iter().map(|kind| (*kind).to_owned());
        let demo = self.demo.then_some(demo).into_iter().flatten();
        demo.chain(commands).collect()
    }

    fn worker(&self) -> Worker {
        let worker = match self.demo {
            true => demo::add(Worker::new()),
            false => Worker::new(),
        };
        let commands = self.commands.iter().cloned();
        commands.fold(worker, |worker, (kind, command)| {
            worker.command(kind, command)
        })
    }
}

pub(crate) async fn run(args: UpArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let mut stop = Stop::new()?;
    let (url, _claim) = broker(settings)?;
    let place = url.value.to_string();
    let store = settings.store_url()?;
    let topology = Topology::new(settings.namespace()?, []);
    let link = Link::new(url, topology, Patience::Forever);
    let applied = tokio::select! {
        applied = link.broker.apply() => applied,
        () = stop.asked() => return Ok(Exit::Done),
    };
    applied.map_err(|error| link.trouble(&error))?;
    let talk = Talk::new(settings);
    announce(&args, &place, &store.value.to_string(), talk);

    // Workers first, then the collector: it stores what they have finished.
    let (workers, collector) = (watch::Sender::new(false), watch::Sender::new(false));
    let twice = async {
        stop.asked().await;
        talk.say("stopping: what runs may end, and is stored; again stops at once");
        workers.send_replace(true);
        stop.asked().await;
    };
    let asked = |sender: &watch::Sender<bool>| {
        let mut asked = sender.subscribe();
        async move {
            let _never = asked.wait_for(|asked| *asked).await;
        }
    };
    let working = async {
        let config = WorkerConfig {
            concurrency: args.concurrency,
            ..WorkerConfig::default()
        };
        let stopped = if args.kinds().is_empty() {
            asked(&workers).await;
            Ok(Stopped::default())
        } else {
            let broker = link.broker.clone();
            args.worker().run(broker, config, asked(&workers)).await
        };
        collector.send_replace(true);
        stopped.map_err(|error| not_working(&error, &link))
    };
    let config = CollectorConfig::default();
    let collecting = async {
        let collected =
            homing_collector::run(link.broker.clone(), &store.value, config, asked(&collector));
        let collected = collected.await;
        // Without it what the workers do would go nowhere.
        workers.send_replace(true);
        collected.map_err(|error| collector::trouble(&error, &link, &store))
    };
    let ended = tokio::select! {
        ended = async { tokio::join!(working, collecting) } => ended,
        () = twice => {
            talk.say("stopped at once; what was not done is done next time");
            return Ok(Exit::CutOff);
        }
    };
    let (worked, collected) = ended;
    let (worked, _collected) = (worked?, collected?);
    talk.say("stopped; all that was done is stored");
    Ok(wedged(worked))
}

/// The broker that is set, or that of this folder, and the right to run it.
fn broker(settings: &Settings) -> Result<(Setting<BrokerUrl>, Option<Claim>), Trouble> {
    if let Some(named) = settings.named_broker()? {
        return Ok((named, None));
    }
    let path = Path::new(UP_FILE);
    let claim = Claim::take(path)
        .map_err(|error| Trouble::file("write beside", UP_FILE, &error))?
        .ok_or_else(|| {
            Trouble::new(Exit::Unreachable, "another `homing up` runs in this folder")
                .fix("use that one, or another folder")
        })?;
    let url = Setting {
        value: BrokerUrl::Sqlite(path.to_owned()),
        name: "default".to_owned(),
        from: format!("the default, sqlite:{UP_FILE}"),
    };
    Ok((url, Some(claim)))
}

pub(crate) fn not_working(error: &RunError, link: &Link) -> Trouble {
    match error {
        RunError::Broker(error) => link.trouble(error),
        RunError::ConsumerEnded { .. } | RunError::PublisherEnded => {
            Trouble::new(Exit::Unreachable, homing_protocol::chain(error))
                .from(link.origin())
                .fix("the lines above say why; start it again")
        }
        other => Trouble::new(Exit::Config, homing_protocol::chain(other))
            .fix("homing up --help says what may be set"),
    }
}

/// A handler that does not end holds its thread: the process must not stay.
pub(crate) const fn wedged(worked: Stopped) -> Exit {
    match worked.wedged {
        0 => Exit::Done,
        _ => Exit::Wedged,
    }
}

fn announce(args: &UpArgs, broker: &str, store: &str, talk: Talk) {
    let kinds = args.kinds();
    talk.say(format!("broker     {broker}"));
    talk.say(format!("store      {store}"));
    match &*kinds {
        [] => talk.say("worker     none: --demo or --run KIND=COMMAND begins one"),
        kinds => {
            let at_once = args.concurrency;
            talk.say(format!("worker     {at_once} tasks at once"));
            talk.say(format!("kinds      {}", kinds.join(" ")));
        }
    }
    let (kind, payload) = match kinds.first() {
        Some(_) if args.demo => ("demo.checksum", "{\"path\":\"FILE\"}"),
        Some(kind) => (kind.as_str(), "PAYLOAD"),
        None => ("KIND", "PAYLOAD"),
    };
    talk.say("\nIn a second terminal, in this folder:");
    talk.say(format!("  homing submit {kind} '{payload}' --wait"));
    talk.say("  homing tail --follow");
    if broker.starts_with("sqlite:") {
        talk.say("The same on RabbitMQ:");
        let demo = if args.demo { " --demo" } else { "" };
        talk.say(format!(
            "  AMQP_URL=amqp://guest:guest@localhost:5672/%2f homing up{demo}"
        ));
    }
    talk.say("");
}
