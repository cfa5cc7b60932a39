//! `homing audit`: whether every task that was submitted has an answer stored.
//!
//! Rows are compared, not counters: how many tasks a batch has is said by the
//! record that sealed it, and what came of each is in its row.
//!
//! | tasks without an answer | queues | verdict | exit |
//! |---|---|---|---|
//! | none | any | `proved` | 0 |
//! | none, but others may stand in for one | any | `unknown` | 3 |
//! | some | one of them holds something | `on-the-way` | 4 |
//! | some | one of them cannot be known | `unknown` | 3 |
//! | some, the same before and after the search | known to hold nothing | `lost` | 1 |
//! | not known: the batch is not sealed | any | `open` | 4 |
//!
//! Of several verdicts the gravest decides: lost, unknown, the others, proved.

mod account;
mod line;
mod search;
mod waits;

use std::io::Read as _;
use std::time::Duration;

use homing_protocol::{QueueName, TaskId};
use homing_store::{BatchRef, Store};

use account::{Account, Asked, Identity};
use line::AuditLine;
use search::{Found, LOOKS, Search};

use crate::exit::Exit;
use crate::management::ManagementArgs;
use crate::output::{Output, Talk};
use crate::settings::Settings;
use crate::time::{parse_duration, span};
use crate::trouble::Trouble;

/// How often the store is read and the broker searched anew, because what is
/// missing changed meanwhile.
const ROUNDS_MAX: u32 = 3;

const EXAMPLES: &str = "\
proved      every task has an answer in the store
on-the-way  a queue may hold what is missing
open        the batch is not sealed: its producer is at work, or was ended
unknown     no queue is seen to hold what is missing, but what is unacked cannot
            be seen; RabbitMQ's management API tells that
lost        every queue is known to be empty; the rows are named. To know takes
            a minute and a half, but on the embedded broker no time

A row's number is its line in the file, in CSV its place below the names; a
rejected row has no task. Of tasks outside batches only those are known of which
something is stored, an attempt or an outcome; others are named by their ids.
Without a batch or ids it is also said how many tasks wait, a bundle for one.

Exit status: 0 proved, 1 lost, 3 unknown, 4 on the way or open.

Examples:
  homing audit --batch night-42 --management-url http://localhost:15672
  homing audit 01a1fc18-d03d-73e9-8668-5257bdd640fb
  tail -qn +2 *.journal | grep -v @ | cut -d' ' -f2 | homing audit -";

/// Whether every task has an answer stored, or where it may be
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AuditArgs {
    /// Only these tasks; `-` reads ids from stdin
    #[arg(value_name = "ID", conflicts_with = "batch")]
    ids: Vec<String>,

    /// Only this batch: its id or label
    #[arg(long, value_name = "BATCH")]
    batch: Option<BatchRef>,

    #[command(flatten)]
    management: ManagementArgs,

    /// How old the management API's numbers may be
    #[arg(
        long,
        value_name = "TIME",
        value_parser = parse_duration,
        env = "HOMING_MANAGEMENT_AGE",
        default_value = "12s"
    )]
    management_age: Duration,

    /// Queues of tasks beside `tasks` and `tasks.suspect`
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        env = "HOMING_QUEUES"
    )]
    queues: Vec<QueueName>,
}

/// What is said of an account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Proved,
    OnTheWay,
    Open,
    Unknown,
    Lost,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::OnTheWay => "on-the-way",
            Self::Open => "open",
            Self::Unknown => "unknown",
            Self::Lost => "lost",
        }
    }

    fn of(account: &Account, found: &Found, stable: bool) -> Self {
        match (account.missing(), found) {
            (None, _) => Self::Open,
            (Some(0), _) if account.identity == Identity::Doubtful => Self::Unknown,
            (Some(0), _) => Self::Proved,
            (_, Found::Holding(_)) => Self::OnTheWay,
            (_, Found::Unknown(_)) => Self::Unknown,
            (_, Found::Nothing) if stable => Self::Lost,
            (_, Found::Nothing) => Self::OnTheWay,
        }
    }
}

pub(crate) async fn run(args: AuditArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let store = settings.open_store().await?;
    let asked = asked(&args)?;
    let talk = Talk::new(settings);
    let (accounts, found, before) = look(&store, &asked, &args, settings, talk).await?;

    let mut verdicts = Vec::new();
    let lines: Vec<_> = accounts
        .iter()
        .map(|account| {
            let verdict = Verdict::of(account, &found, before.contains(account));
            verdicts.push(verdict);
            AuditLine::new(account, verdict, &found)
        })
        .collect();
    Output::new(settings).lines(&lines)?;
    say(&asked, &verdicts, &found, talk);
    if matches!(asked, Asked::All) {
        talk.say(waits::told(&args.queues, settings).await);
    }
    Ok(exit(&verdicts))
}

/// What is asked for.
///
/// # Errors
///
/// [`Trouble`]: an id is none.
fn asked(args: &AuditArgs) -> Result<Asked, Trouble> {
    if let Some(batch) = &args.batch {
        return Ok(Asked::Batch(batch.clone()));
    }
    let (mut tasks, mut stdin) = (Vec::new(), String::new());
    for word in &args.ids {
        if word == "-" {
            let read = std::io::stdin().read_to_string(&mut stdin);
            read.map_err(|error| Trouble::file("read", "stdin", &error))?;
            for line in stdin.split_whitespace() {
                tasks.push(id(line, "stdin")?);
            }
        } else {
            tasks.push(id(word, "the command line")?);
        }
    }
    if args.ids.is_empty() {
        return Ok(Asked::All);
    }
    tasks.sort_unstable();
    tasks.dedup();
    Ok(Asked::Tasks(tasks))
}

fn id(text: &str, from: &str) -> Result<TaskId, Trouble> {
    text.parse().map_err(|_| {
        Trouble::new(Exit::Usage, format!("`{text}` is no id of a task"))
            .from(from)
            .fix("an id looks like 01a1fc18-d03d-73e9-8668-5257bdd640fb")
    })
}

/// The accounts as they are after the broker was searched, what was found
/// there, and the accounts as they were before.
async fn look(
    store: &Store,
    asked: &Asked,
    args: &AuditArgs,
    settings: &Settings,
    talk: Talk,
) -> Result<(Vec<Account>, Found, Vec<Account>), Trouble> {
    let mut before = read(store, asked).await?;
    if !before.iter().any(Account::is_short) {
        // Proved by the store alone: no broker is needed.
        return Ok((before.clone(), Found::Nothing, before));
    }
    let management = args.management.open(settings)?;
    let link = settings.link(&args.queues)?;
    let search = Search {
        link: &link,
        management: management.as_ref(),
        age: args.management_age,
    };
    let mut rounds = 1;
    loop {
        let mut found = search.glance().await;
        if found == Found::Nothing {
            let time = span(args.management_age * LOOKS);
            talk.say(format!("looking at every queue again and again: {time}"));
            found = search.exhaust().await;
        }
        let after = read(store, asked).await?;
        let changed = after
            .iter()
            .any(|account| account.is_short() && !before.contains(account));
        if found != Found::Nothing || !changed || rounds == ROUNDS_MAX {
            return Ok((after, found, before));
        }
        before = after;
        rounds += 1;
    }
}

async fn read(store: &Store, asked: &Asked) -> Result<Vec<Account>, Trouble> {
    loop {
        let accounts = account::read(store, asked).await;
        let accounts = accounts.map_err(|error| Trouble::store(&error))?;
        match asked {
            // Says that it is not stored, unless it is by now.
            Asked::Batch(batch) if accounts.is_empty() => {
                crate::which::find_batch(store, batch).await?;
            }
            _ => return Ok(accounts),
        }
    }
}

fn say(asked: &Asked, verdicts: &[Verdict], found: &Found, talk: Talk) {
    if !verdicts.is_empty() && verdicts.iter().all(|verdict| *verdict == Verdict::Proved) {
        talk.say(match asked {
            Asked::All => "proved: every task that is known here has its answer in the store",
            _ => "proved: every task that was submitted has its answer in the store",
        });
    }
    if verdicts.contains(&Verdict::Open) {
        talk.say("open: its producer is at work, or was ended; `homing submit --resume BATCH` goes on with it");
    }
    if verdicts.contains(&Verdict::Lost) {
        talk.say(
            "lost: not in the store, and in no queue: one was purged or deleted, or the broker \
             lost its disk. Submit those tasks again",
        );
    }
    if let (true, Found::Unknown(why)) = (verdicts.contains(&Verdict::Unknown), found) {
        talk.say(format!("unknown: {why}"));
    }
    if matches!(asked, Asked::All) {
        talk.say("outside batches: those tasks of which something is stored; others by id: homing audit ID");
    }
}

fn exit(verdicts: &[Verdict]) -> Exit {
    let any = |verdict| verdicts.contains(&verdict);
    match () {
        () if any(Verdict::Lost) => Exit::No,
        () if any(Verdict::Unknown) => Exit::Partly,
        () if any(Verdict::OnTheWay) || any(Verdict::Open) => Exit::TimedOut,
        () => Exit::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::account::Subject;
    use super::*;

    fn account(total: Option<u64>, closed: u64) -> Account {
        Account {
            subject: Subject::Named,
            total,
            closed,
            tasks: Vec::new(),
            identity: Identity::AsSubmitted,
            rows: Vec::new(),
        }
    }

    fn holding() -> Found {
        Found::Holding([("tasks".to_owned(), 1)].into())
    }

    #[test]
    fn only_what_no_queue_can_hold_and_did_not_change_is_lost() {
        let short = account(Some(3), 2);
        let verdict = |found, stable| Verdict::of(&short, &found, stable);

        assert_eq!(verdict(Found::Nothing, true), Verdict::Lost);
        assert_eq!(verdict(Found::Nothing, false), Verdict::OnTheWay);
        assert_eq!(verdict(holding(), true), Verdict::OnTheWay);
        let unknown = Found::Unknown(String::new());
        assert_eq!(verdict(unknown, true), Verdict::Unknown);
    }

    #[test]
    fn what_has_every_answer_is_proved_wherever_else_messages_are() {
        for found in [Found::Nothing, holding(), Found::Unknown(String::new())] {
            let verdict = Verdict::of(&account(Some(3), 3), &found, true);

            assert_eq!(verdict, Verdict::Proved);
        }
    }

    #[test]
    fn a_stored_task_without_an_answer_is_missing_though_the_numbers_are_even() {
        let mut even = account(Some(3), 3);
        even.tasks.push(uuid::Uuid::from_u128(1).into());

        assert_eq!(even.missing(), Some(1));
    }

    #[test]
    fn others_than_were_submitted_never_prove_a_batch() {
        let mut as_many = account(Some(3), 3);
        as_many.identity = Identity::Others;
        let mut more = account(Some(3), 4);
        more.identity = Identity::Doubtful;
        let verdict = |account| Verdict::of(account, &Found::Nothing, true);

        assert_eq!(as_many.missing(), Some(1));
        assert_eq!(verdict(&as_many), Verdict::Lost);
        assert_eq!(verdict(&more), Verdict::Unknown);
    }

    #[test]
    fn an_open_batch_is_neither_proved_nor_lost() {
        let verdict = Verdict::of(&account(None, 3), &Found::Nothing, true);

        assert_eq!(verdict, Verdict::Open);
    }

    #[test]
    fn the_gravest_verdict_decides_the_exit() {
        use Verdict::{Lost, OnTheWay, Open, Proved, Unknown};

        assert_eq!(exit(&[]), Exit::Done);
        assert_eq!(exit(&[Proved, Open]), Exit::TimedOut);
        assert_eq!(exit(&[OnTheWay, Unknown, Proved]), Exit::Partly);
        assert_eq!(exit(&[Unknown, Lost, OnTheWay]), Exit::No);
    }
}
