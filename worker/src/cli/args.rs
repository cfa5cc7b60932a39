use std::time::Duration;

use clap::builder::BoolishValueParser;
use homing_protocol::{Namespace, QueueName, TaskKind};
use jiff::{Span, SpanRelativeTo};

use crate::config::{PerKind, WorkerConfig};

/// All flags of a worker program.
///
/// To be flattened into a program's own, and handed to
/// [`worker_main_with`](crate::worker_main_with).
#[derive(Clone, Debug, clap::Args)]
pub struct WorkerArgs {
    /// What to run, how much of it, and until when.
    #[command(flatten)]
    pub run: RunArgs,
    /// Where the broker is.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// What goes to stderr.
    #[command(flatten)]
    pub log: LogArgs,
}

/// The flags of a worker itself.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Queues to take tasks from
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        env = "HOMING_QUEUES",
        default_value = "tasks",
        help_heading = "How much at once"
    )]
    pub queues: Vec<QueueName>,

    /// Tasks at once, in each process
    #[arg(
        long,
        value_name = "N",
        env = "HOMING_CONCURRENCY",
        default_value_t = WorkerConfig::CONCURRENCY,
        help_heading = "How much at once"
    )]
    pub concurrency: u16,

    /// Processes on this machine; of two or more, one that dies, or has a handler
    /// that does not end, is started again
    #[arg(
        long,
        visible_alias = "workers",
        value_name = "N",
        env = "HOMING_PROCESSES",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=256),
        help_heading = "How much at once"
    )]
    pub processes: u16,

    /// Tasks held, in each process [default: twice the concurrency, and up to 256
    /// while they are quick]
    #[arg(
        long,
        value_name = "N",
        env = "HOMING_PREFETCH",
        help_heading = "How much at once"
    )]
    pub prefetch: Option<u16>,

    /// Attempts in all, for KIND [default: the task's own, else 5]
    #[arg(
        long,
        value_name = "KIND=N",
        value_delimiter = ',',
        env = "HOMING_ATTEMPTS",
        value_parser = per_kind_number,
        help_heading = "Per kind; KIND may end in `*`"
    )]
    pub attempts: Vec<PerKind<u32>>,

    /// The longest an attempt may take, for KIND [default: the task's own,
    /// else 5m]
    #[arg(
        long,
        value_name = "KIND=TIME",
        value_delimiter = ',',
        env = "HOMING_TIMEOUT",
        value_parser = per_kind_time,
        help_heading = "Per kind; KIND may end in `*`"
    )]
    pub timeout: Vec<PerKind<Duration>>,

    /// The kind of messages that name none [default: they are dead letters]
    #[arg(
        long,
        value_name = "KIND",
        env = "HOMING_DEFAULT_KIND",
        help_heading = "Other AMQP clients"
    )]
    pub default_kind: Option<TaskKind>,

    /// How long a task waits for a worker that knows its kind before it is a dead
    /// letter; short times bury tasks that another worker of the queue knows
    #[arg(
        long,
        value_name = "TIME",
        env = "HOMING_UNKNOWN_GRACE",
        default_value = "24h",
        value_parser = time,
        help_heading = "How much at once"
    )]
    pub unknown_grace: Duration,

    /// RabbitMQ's `consumer_timeout`, if that was changed: attempts must end
    /// within it
    #[arg(
        long,
        value_name = "TIME",
        env = "HOMING_CONSUMER_TIMEOUT",
        default_value = "30m",
        value_parser = time,
        help_heading = "Stopping"
    )]
    pub consumer_timeout: Duration,

    /// Also send outcomes to the `reply_to` of clients that are not Homing's
    #[arg(
        long,
        env = "HOMING_FOREIGN_REPLIES",
        value_parser = BoolishValueParser::new(),
        help_heading = "Other AMQP clients"
    )]
    pub foreign_replies: bool,

    /// For running tasks, after the first SIGTERM or Ctrl-C; a second stops at
    /// once
    #[arg(
        long,
        value_name = "TIME",
        env = "HOMING_GRACE",
        default_value = "30s",
        value_parser = time,
        help_heading = "Stopping"
    )]
    pub grace: Duration,
}

/// Where the broker is.
#[derive(Clone, Debug, clap::Args)]
pub struct BrokerArgs {
    /// The broker's URL; `None` takes it from `HOMING_BROKER`, else `AMQP_URL`.
    #[arg(
        long,
        value_name = "URL",
        help = "amqp://USER:PASSWORD@HOST:PORT/VHOST [env: HOMING_BROKER or AMQP_URL]",
        help_heading = "Everywhere"
    )]
    pub broker: Option<String>,

    /// What stands before that URL where it is said what it came from, if it is not
    /// `--broker `; no flag.
    #[arg(skip)]
    pub origin: Option<String>,

    /// Prefix of every exchange and queue
    #[arg(
        long,
        value_name = "NAME",
        env = "HOMING_NAMESPACE",
        default_value = "",
        hide_default_value = true,
        help_heading = "Everywhere"
    )]
    pub namespace: Namespace,
}

/// What goes to stderr.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LogArgs {
    /// Only errors on stderr
    #[arg(short, long, help_heading = "Everywhere")]
    pub quiet: bool,

    /// More on stderr, a line for each task; twice for all
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "Everywhere")]
    pub verbose: u8,

    /// Which log lines, as `info,homing_broker=debug`
    #[arg(
        long,
        value_name = "FILTER",
        env = "HOMING_LOG",
        help_heading = "Everywhere"
    )]
    pub log: Option<String>,

    /// How log lines look
    #[arg(
        long,
        value_name = "FORMAT",
        env = "HOMING_LOG_FORMAT",
        default_value = "text",
        help_heading = "Everywhere"
    )]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object per line.
    Json,
}

impl From<RunArgs> for WorkerConfig {
    fn from(args: RunArgs) -> Self {
        Self {
            queues: args.queues,
            concurrency: args.concurrency,
            prefetch: args.prefetch,
            grace: args.grace,
            default_kind: args.default_kind,
            consumer_timeout: args.consumer_timeout,
            unknown_grace: args.unknown_grace,
            foreign_replies: args.foreign_replies,
            attempts: args.attempts,
            timeouts: args.timeout,
        }
    }
}

fn per_kind_number(text: &str) -> Result<PerKind<u32>, String> {
    per_kind(text, |value| {
        value
            .parse()
            .map_err(|_| format!("`{value}` is no number of attempts"))
    })
}

fn per_kind_time(text: &str) -> Result<PerKind<Duration>, String> {
    per_kind(text, time)
}

fn per_kind<V>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<V, String>,
) -> Result<PerKind<V>, String> {
    let (kind, value) = text
        .split_once('=')
        .ok_or("a kind, `=` and a value belong here")?;
    let name = kind.strip_suffix('*').unwrap_or(kind);
    if !(name.is_empty() && kind == "*") {
        name.parse::<TaskKind>()
            .map_err(|error| error.to_string())?;
    }
    Ok(PerKind {
        kind: kind.to_owned(),
        value: parse(value)?,
    })
}

fn time(text: &str) -> Result<Duration, String> {
    let misfit = || format!("`{text}` is no time: 500ms, 30s, 10m, 2h, 7d");
    let span: Span = text.parse().map_err(|_| misfit())?;
    let duration = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| misfit())?;
    duration.try_into().map_err(|_| misfit())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Program {
        #[command(flatten)]
        args: WorkerArgs,
    }

    fn config(flags: &[&str]) -> Result<WorkerConfig, String> {
        let line = ["worker"].iter().chain(flags);
        Program::try_parse_from(line)
            .map(|program| WorkerConfig::from(program.args.run))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn no_flags_are_the_defaults_of_the_library() {
        let config = config(&[]).unwrap();

        let default = WorkerConfig::default();
        assert_eq!(format!("{config:?}"), format!("{default:?}"));
    }

    #[test]
    fn what_is_per_kind_names_the_kind_and_a_value() {
        let config = config(&["--attempts", "a=1,b.*=2", "--timeout", "*=90s"]).unwrap();

        let attempts: Vec<_> = config
            .attempts
            .iter()
            .map(|a| (&*a.kind, a.value))
            .collect();
        assert_eq!(attempts, [("a", 1), ("b.*", 2)]);
        assert_eq!(config.timeouts[0].value, Duration::from_secs(90));
    }

    #[test]
    fn what_has_no_meaning_is_refused_by_name() {
        let cases = [
            (["--attempts", "a"], "a kind, `=` and a value belong here"),
            (["--attempts", "A=1"], "`A` is no kind"),
            (["--timeout", "a=soon"], "`soon` is no time"),
            (["--queues", "results"], "`results` is no queue for tasks"),
            (["--processes", "0"], "0 is not in 1..=256"),
        ];
        for (flags, text) in cases {
            let error = config(&flags).unwrap_err();

            assert!(error.contains(text), "{error}");
        }
    }
}
