//! `homing dead discard`.

use homing_store::{RepairNote, Repairs, Store};
use serde::Serialize;

use super::WhichDead;
use super::list::DeadLine;
use super::not_found;
use crate::ask;
use crate::exit::Exit;
use crate::output::{Form, Output, Talk};
use crate::settings::{Settings, who};
use crate::time::grouped;
use crate::trouble::Trouble;
use crate::which::now;

const EXAMPLES: &str = "\
Their content is removed: bodies, properties, headers, and the payloads of the
tasks in them, which cannot be run again then. That they were there stays, with
who discarded them, when and why. Where nobody can be asked it takes --yes.

stdout: the number of each. Exit status: 0 done, 1 all were discarded before, 5
one of them is not there, and nothing was done.

Examples:
  homing dead discard 17 18 --why 'a test of mine'
  homing dead discard --reason malformed --dry-run";

/// Remove the content of dead letters for good
#[derive(Debug, clap::Args)]
#[command(
    after_help = EXAMPLES,
    override_usage = "homing dead discard [OPTIONS] <NUMBER>...\n       homing dead discard [OPTIONS] --reason <REASON> | --kind <KIND> | --since <TIME>"
)]
pub(super) struct DiscardArgs {
    /// Their numbers
    #[arg(value_name = "NUMBER")]
    numbers: Vec<u64>,

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
    which: WhichDead,
}

#[derive(Serialize)]
struct DiscardedJson {
    number: u64,
    discarded: bool,
}

pub(super) async fn run(args: DiscardArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let store = settings.open_store().await?;
    let numbers = numbers(&args, &store).await?;
    let talk = Talk::new(settings);
    let letters = match numbers.len() {
        1 => "1 dead letter".to_owned(),
        many => format!("{} dead letters", grouped(many as u64)),
    };
    if args.dry_run {
        return dry_run(&numbers, &letters, &store, settings).await;
    }
    if numbers.is_empty() {
        talk.say("no dead letters match");
        return Ok(Exit::Done);
    }
    if !args.yes {
        if !ask::is_possible() {
            return Err(Trouble::new(
                Exit::Usage,
                format!("{letters} would be discarded for good, and nobody can be asked"),
            )
            .from("no terminal")
            .fix("--yes does it, --dry-run says what would be done"));
        }
        if !ask::agreed(&format!("discard {letters} for good?")) {
            talk.say("nothing was done");
            return Ok(Exit::Done);
        }
    }
    let note = RepairNote {
        who: who(),
        asked: recorded(&args),
        why: args.why.clone(),
    };
    let done = settings.with_store(|url| Repairs::discard(url, &numbers, &note, now()))?;
    let output = Output::new(settings);
    for (number, discarded) in numbers.iter().zip(&done) {
        say(&output, *number, *discarded)?;
    }
    let discarded = done.iter().filter(|done| **done).count() as u64;
    talk.say(format!("discarded {} of {letters}", grouped(discarded)));
    Ok(if discarded > 0 { Exit::Done } else { Exit::No })
}

/// The numbers that are given, which must be there, or those that match.
async fn numbers(args: &DiscardArgs, store: &Store) -> Result<Vec<u64>, Trouble> {
    let told = |error| Trouble::store(&error);
    match (args.numbers.is_empty(), args.which.is_empty()) {
        (false, true) => {
            for number in &args.numbers {
                let there = store.dead_letter(*number).await.map_err(told)?;
                there.ok_or_else(|| not_found(*number))?;
            }
            Ok(args.numbers.clone())
        }
        (true, false) => {
            let letters = store.dead_matching(&args.which.filter(), u32::MAX).await;
            let letters = letters.map_err(told)?;
            Ok(letters.iter().map(|letter| letter.number).collect())
        }
        _ => Err(
            Trouble::new(Exit::Usage, "it is not said which dead letters to discard")
                .from("the command line")
                .fix("name their numbers, or choose them by --reason, --kind or --since"),
        ),
    }
}

async fn dry_run(
    numbers: &[u64],
    letters: &str,
    store: &Store,
    settings: &Settings,
) -> Result<Exit, Trouble> {
    let mut output = Output::new(settings);
    for number in numbers {
        let letter = store.dead_letter(*number).await;
        if let Some(letter) = letter.map_err(|error| Trouble::store(&error))? {
            output.lines(&[DeadLine::new(&letter.record)])?;
        }
    }
    Talk::new(settings).say(format!("would discard {letters}; nothing was done"));
    Ok(Exit::Done)
}

fn say(output: &Output, number: u64, discarded: bool) -> Result<(), Trouble> {
    match output.form() {
        Form::Json => output.json(&DiscardedJson { number, discarded }),
        Form::Plain | Form::Terminal { .. } if discarded => output.text(&number.to_string()),
        Form::Plain | Form::Terminal { .. } => Ok(()),
    }
}

fn recorded(args: &DiscardArgs) -> String {
    let numbers: Vec<_> = args.numbers.iter().map(|n| format!(" {n}")).collect();
    format!("dead discard{}{}", numbers.concat(), args.which.recorded())
}
