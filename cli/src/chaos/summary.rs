use homing_broker::BrokerUrl;
use homing_protocol::{BatchId, TaskId};
use serde::Serialize;

use super::books::Books;
use super::keeper::Tally;
use crate::output::{Form, Output, Talk};
use crate::settings::Settings;
use crate::space::Space;
use crate::time::grouped;
use crate::trouble::Trouble;

/// Of the tasks that are lost or changed so many are named.
const NAMED_MAX: usize = 10;

/// What came of a chaos.
pub(super) struct Summary {
    pub(super) seed: u64,
    pub(super) batch: BatchId,
    pub(super) books: Books,
    pub(super) tally: Tally,
    /// Attempts that began once more, since nobody knew how they had ended.
    pub(super) again: u64,
}

#[derive(Serialize)]
struct Answer<'a> {
    seed: u64,
    namespace: &'a str,
    batch: BatchId,
    submitted: u64,
    stored: u64,
    lost: usize,
    changed: usize,
    workers_killed: u64,
    collectors_killed: u64,
    stopped: u64,
    paused: u64,
    ended: u64,
    attempts_again: u64,
    lost_tasks: Vec<TaskId>,
    changed_tasks: Vec<TaskId>,
}

impl Summary {
    /// Whether all is as it has to be. A process that ended by itself is not.
    pub(super) const fn is_good(&self) -> bool {
        self.books.balance() && self.tally.ended == 0
    }

    /// Writes it to stdout.
    pub(super) fn write(&self, space: &Space, settings: &Settings) -> Result<(), Trouble> {
        let output = Output::new(settings);
        if output.form() == Form::Json {
            return output.json(&self.answer(space));
        }
        let (books, tally) = (&self.books, &self.tally);
        output.text(&format!(
            "submitted {}   stored {}   lost {}   changed {}",
            grouped(books.submitted),
            grouped(books.stored),
            grouped(books.lost.len() as u64),
            grouped(books.changed.len() as u64),
        ))?;
        output.text(&format!(
            "killed    {}; stopped {}, paused {}; {} ran again",
            killed(*tally),
            grouped(tally.stopped),
            grouped(tally.paused),
            counted(self.again, "attempt"),
        ))
    }

    fn answer<'a>(&self, space: &'a Space) -> Answer<'a> {
        let (books, tally) = (&self.books, &self.tally);
        let changed = books.changed.iter().map(|(task, _)| *task);
        Answer {
            seed: self.seed,
            namespace: space.broker().topology().namespace().as_str(),
            batch: self.batch,
            submitted: books.submitted,
            stored: books.stored,
            lost: books.lost.len(),
            changed: books.changed.len(),
            workers_killed: tally.workers_killed,
            collectors_killed: tally.collectors_killed,
            stopped: tally.stopped,
            paused: tally.paused,
            ended: tally.ended,
            attempts_again: self.again,
            lost_tasks: books.lost.clone(),
            changed_tasks: changed.collect(),
        }
    }

    /// Says what is wrong, and how to look at it.
    pub(super) fn say_wrong(&self, space: &Space, talk: Talk) {
        for task in self.books.lost.iter().take(NAMED_MAX) {
            talk.say(format!("lost       {task}"));
        }
        for (task, how) in self.books.changed.iter().take(NAMED_MAX) {
            talk.say(format!("changed    {task}: {how}"));
        }
        if self.tally.ended > 0 {
            talk.say(format!("ended      {} by themselves", self.tally.ended));
        }
        talk.say(format!("look       {}", audit(space, self.batch)));
    }
}

/// Who was killed: `41 workers, 9 collectors`.
pub(super) fn killed(tally: Tally) -> String {
    let workers = counted(tally.workers_killed, "worker");
    let collectors = counted(tally.collectors_killed, "collector");
    format!("{workers}, {collectors}")
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count))
}

/// A command line that looks at what was kept.
fn audit(space: &Space, batch: BatchId) -> String {
    let broker = match space.broker_url() {
        file @ BrokerUrl::Sqlite(_) => format!(" --broker {file}"),
        // It may have a password; whoever set it has it set.
        _ => String::new(),
    };
    let store = match space.store().path() {
        Some(_) => format!(" --store {}", space.store()),
        None => String::new(),
    };
    let namespace = space.broker().topology().namespace();
    format!("homing audit --batch {batch} --namespace {namespace}{store}{broker}")
}
