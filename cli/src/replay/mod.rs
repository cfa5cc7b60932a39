//! `homing replay`: tasks that did not succeed, run again.

mod plan;
mod queues;
mod run;
mod select;

use std::str::FromStr;

use homing_protocol::{QueueName, TaskId, TaskKind};

use crate::exit::Exit;
use crate::output::Talk;
use crate::pace::Rate;
use crate::settings::Settings;
use crate::time::grouped;
use crate::trouble::Trouble;
use crate::which::Which;
use crate::{ask, which};
use run::Replay;
use select::{Selection, count};

const EXAMPLES: &str = "\
A task run again keeps its id, batch and payload; it is its next run, with
attempts counted anew, and older runs stay as they were. Without --status these
are the tasks that failed, exhausted, expired or are dead. A dead letter that is
no task by itself is run again by its number: homing dead list.

stdout: one line for each task. Exit status: 0 all run again, 1 none could be,
3 some could not, 5 nothing is stored of them. After any other end the same
command goes on: a run that was perhaps queued keeps its number, and of one run
the first outcome counts.

Examples:
  homing replay --batch night-42 --dry-run
  homing replay --problems --kind 'image.*' --since 1d --rate 50
  homing list --status expired --json | jq -r .id | homing replay -
  homing replay 17 --as-kind image.resize";

/// Run tasks again that did not succeed
#[derive(Debug, clap::Args)]
#[command(
    after_help = EXAMPLES,
    override_usage = "homing replay [OPTIONS] <ID>...\n       homing replay [OPTIONS] --problems | --batch <BATCH> | --kind <KIND> ..."
)]
pub(crate) struct ReplayArgs {
    /// Ids of tasks, numbers of dead letters, or - for a list of them on stdin
    #[arg(value_name = "ID")]
    targets: Vec<Target>,

    /// Under another kind
    #[arg(long, value_name = "KIND")]
    as_kind: Option<TaskKind>,

    /// Into this queue [default: the one each was in, if it is there, or else
    /// `tasks`]
    #[arg(long, value_name = "NAME")]
    queue: Option<QueueName>,

    /// At most N tasks per second
    #[arg(long, value_name = "N")]
    rate: Option<Rate>,

    /// Also those that are on their way or have succeeded
    #[arg(long)]
    force: bool,

    /// Why, for the record
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    why: String,

    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    which: Which,
}

/// What is named to be run again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Target {
    Task(TaskId),
    DeadLetter(u64),
    Stdin,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let task = || text.parse().map(Self::Task).ok();
        match text {
            "-" => Ok(Self::Stdin),
            // No UUID is that short.
            _ => text
                .parse()
                .map(Self::DeadLetter)
                .ok()
                .or_else(task)
                .ok_or_else(|| "it is no id of a task and no number of a dead letter".to_owned()),
        }
    }
}

pub(crate) async fn run(args: ReplayArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let store = settings.open_store().await?;
    let selection = match (args.targets.is_empty(), args.which.is_empty()) {
        (true, true) => return Err(nothing_chosen()),
        (false, false) => {
            return Err(Trouble::new(Exit::Usage, "ids and filters together")
                .from("the command line")
                .fix("name tasks by their ids, or choose them by a filter"));
        }
        (false, true) => Selection::named(&args.targets)?,
        (true, false) => {
            let filter = args.which.unsuccessful(&store).await?;
            if !args.yes && !args.dry_run && ask::is_possible() {
                let tasks = match count(&store, &filter).await? {
                    1 => "1 task matches; run it".to_owned(),
                    many => format!("{} tasks match; run them", grouped(many)),
                };
                if !ask::agreed(&format!("{tasks} again?")) {
                    Talk::new(settings).say("nothing was done");
                    return Ok(Exit::Done);
                }
            }
            Selection::matching(&store, filter).await?
        }
    };
    Replay::new(args, store, settings)?.run(selection).await
}

fn nothing_chosen() -> Trouble {
    Trouble::new(Exit::Usage, "it is not said which tasks to run again")
        .from("the command line")
        .fix("name their ids, or --problems, --batch BATCH, --kind KIND; see homing replay --help")
}

impl ReplayArgs {
    /// The command for the record. Holds no secret.
    fn recorded(&self) -> String {
        /// Ids that are written down of a long list; each is in the record of
        /// its own task as well.
        const IDS_MAX: usize = 5;
        let mut words = "replay".to_owned();
        for target in self.targets.iter().take(IDS_MAX) {
            words.push(' ');
            words.push_str(&match target {
                Target::Task(id) => id.to_string(),
                Target::DeadLetter(number) => number.to_string(),
                Target::Stdin => "-".to_owned(),
            });
        }
        if self.targets.len() > IDS_MAX {
            let more = self.targets.len() - IDS_MAX;
            words.push_str(&format!(" and {more} more"));
        }
        words.push_str(&self.which.recorded());
        if let Some(kind) = &self.as_kind {
            words.push_str(&format!(" --as-kind {kind}"));
        }
        if let Some(queue) = &self.queue {
            words.push_str(&format!(" --queue {queue}"));
        }
        if self.force {
            words.push_str(" --force");
        }
        words
    }

    /// Whether its tasks are all on the command line. Others may be many, and so
    /// may take as long as a broker needs to start again.
    fn names_few(&self) -> bool {
        !self.targets.is_empty() && !self.targets.contains(&Target::Stdin)
    }

    /// How to wait for what was run again, if there is a short way to say it.
    fn wait(&self) -> Option<String> {
        if let Some(batch) = self.which.batch() {
            let name = match batch {
                homing_store::BatchRef::Id(id) => id.to_string(),
                homing_store::BatchRef::Label(label) => which::quoted(label),
            };
            return Some(format!("homing wait --batch {name}"));
        }
        match self.targets[..] {
            [Target::Task(id)] => Some(format!("homing wait {id}")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_dead_letter_and_a_uuid_a_task() {
        let id = "01a1fc18-d03d-73e9-8668-5257bdd640fb";

        assert_eq!("17".parse(), Ok(Target::DeadLetter(17)));
        assert_eq!(id.parse(), Ok(Target::Task(id.parse().unwrap())));
        assert_eq!("-".parse(), Ok(Target::Stdin));
        for text in ["", "x", "-1", "1.5"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
