//! Runs tasks again, a chunk at a time: writes down that they are about to be
//! published, publishes them, and writes down that the broker has them.
//!
//! # Failure
//!
//! Whoever dies in between leaves tasks as they were, or, if the broker has
//! them, as runs whose outcomes are stored like any other. The same command
//! goes on: a run that was perhaps published keeps its number, so at worst it
//! is executed twice and counts once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt as _};
use homing_faults::{Point, crash_point};
use homing_producer::{Producer, SubmitError};
use homing_protocol::{BatchId, Envelope, QueueName, Run, Status, TaskId};
use homing_store::{Began, NewRun, RepairNote, Repairs, Replayable, Store, Turn};
use serde::Serialize;
use tokio::time::Instant;

use super::ReplayArgs;
use super::plan::{self, How, Why};
use super::queues::Queues;
use super::select::{Item, Selection};
use crate::exit::Exit;
use crate::output::{Line, Output, Talk};
use crate::pace::Pace;
use crate::settings::{Link, ONE_SHOT_WINDOW, Settings, who};
use crate::stop::{LAST_CONFIRMS_TIME, Stop};
use crate::submit::{broker_trouble, submit_trouble};
use crate::table::{Cell, Column, Fit};
use crate::time::{grouped, span};
use crate::trouble::Trouble;
use crate::which::now;

/// Tasks that are written down at once. With a rate, those of a second.
const CHUNK_MAX: u32 = 500;

/// How often it is looked whether another replay has ended.
const TURN_PAUSE: Duration = Duration::from_millis(100);

/// How to go on after an error.
const AGAIN: &str = "the same command goes on, and no run is counted twice";

/// Tasks that are named when they are left out; of others only how many.
const NAMED_MAX: u64 = 10;

/// A task that is run again, or would be.
#[derive(Clone, Debug, Serialize)]
struct ReplayLine {
    id: TaskId,
    kind: String,
    run: u32,
    queue: String,
    was: Option<Status>,
    batch: Option<BatchId>,
    row: Option<u64>,
    dead_letter: Option<u64>,
    dry_run: bool,
}

impl Line for ReplayLine {
    const COLUMNS: &'static [Column] = &[
        ("TASK", Fit::Left),
        ("KIND", Fit::Left),
        ("RUN", Fit::Right),
        ("WAS", Fit::Left),
        ("QUEUE", Fit::Left),
    ];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(self.id.to_string()),
            Cell::text(&self.kind),
            Cell::text(self.run.to_string()),
            self.was.map_or_else(|| Cell::text("-"), Cell::status),
            Cell::text(&self.queue),
        ]
    }
}

/// A task that is about to be run again.
struct Planned {
    envelope: Envelope,
    queue: QueueName,
    was: Option<(Run, Status)>,
    dead: Option<u64>,
}

impl Planned {
    fn new_run(&self) -> NewRun {
        NewRun::new(&self.envelope, self.queue.as_str(), self.was, self.dead)
    }

    fn line(&self, dry_run: bool) -> ReplayLine {
        let place = self.envelope.batch;
        ReplayLine {
            id: self.envelope.id,
            kind: self.envelope.kind.to_string(),
            run: self.envelope.run.get(),
            queue: self.queue.to_string(),
            was: self.was.map(|(_, status)| status),
            batch: place.map(|place| place.batch),
            row: place.map(|place| place.row),
            dead_letter: self.dead,
            dry_run,
        }
    }
}

/// What came of it.
#[derive(Default)]
struct Tally {
    kinds: BTreeMap<String, u64>,
    left_out: BTreeMap<Why, u64>,
    missing: u64,
}

impl Tally {
    fn replayed(&self) -> u64 {
        self.kinds.values().sum()
    }

    fn left_out(&self) -> u64 {
        self.left_out.values().sum()
    }

    fn exit(&self) -> Exit {
        match (self.replayed(), self.left_out(), self.missing) {
            (_, 0, 0) => Exit::Done,
            (0, 0, _) => Exit::NotFound,
            (0, ..) => Exit::No,
            _ => Exit::Partly,
        }
    }
}

/// Why it ends before all is done.
enum Ended {
    Interrupted,
    Failed(Trouble),
}

impl From<Trouble> for Ended {
    fn from(trouble: Trouble) -> Self {
        Self::Failed(trouble)
    }
}

/// A replay.
pub(super) struct Replay<'a> {
    args: ReplayArgs,
    how: How,
    store: Store,
    settings: &'a Settings,
    output: Output,
    talk: Talk,
    tally: Tally,
    named: bool,
}

/// What a replay that is no dry run does its work with.
struct Tools {
    repairs: Repairs,
    producer: Producer,
    link: Link,
    pace: Option<Pace>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        args: ReplayArgs,
        store: Store,
        settings: &'a Settings,
    ) -> Result<Self, Trouble> {
        let how = How {
            as_kind: args.as_kind.clone(),
            force: args.force,
        };
        Ok(Self {
            args,
            how,
            store,
            settings,
            output: Output::new(settings),
            talk: Talk::new(settings),
            tally: Tally::default(),
            named: false,
        })
    }

    pub(super) async fn run(mut self, selection: Selection) -> Result<Exit, Trouble> {
        self.named = selection.is_named();
        let began = Instant::now();
        let mut stop = Stop::new()?;
        let ended = self.replay(selection, &mut stop).await;
        self.report(began.elapsed(), &ended);
        match ended {
            Ok(()) => Ok(self.tally.exit()),
            Err(Ended::Interrupted) => Ok(Exit::Partly),
            Err(Ended::Failed(trouble)) => Err(trouble),
        }
    }

    async fn replay(&mut self, mut selection: Selection, stop: &mut Stop) -> Result<(), Ended> {
        let mut queues = Queues::new(self.settings, self.args.queue.clone()).await?;
        let mut tools = match self.args.dry_run {
            true => None,
            false => Some(self.tools(stop).await?),
        };
        let rate = self
            .args
            .rate
            .map_or(CHUNK_MAX, |rate| rate.per_sec().get());
        let limit = rate.clamp(1, CHUNK_MAX);
        loop {
            let mut items = VecDeque::from(selection.next(&self.store, limit).await?);
            if items.is_empty() {
                break;
            }
            while !items.is_empty() {
                let planned = self.plan(&mut items, &mut queues).await?;
                match &mut tools {
                    Some(tools) => self.carry_out(planned, tools, stop).await?,
                    None => self.note(&planned)?,
                }
            }
        }
        if let Some(tools) = tools {
            tools.producer.close().await;
        }
        Ok(())
    }

    /// The turn to replay, and a link to publish over.
    async fn tools(&self, stop: &mut Stop) -> Result<Tools, Ended> {
        let note = RepairNote {
            who: who(),
            asked: self.args.recorded(),
            why: self.args.why.clone(),
        };
        let mut said = false;
        let repairs = loop {
            let note = note.clone();
            match self.settings.with_store(|url| Repairs::replay(url, note))? {
                Turn::Ours(repairs) => break repairs,
                Turn::Taken(holder) if !said => {
                    said = true;
                    self.talk.say(format!(
                        "another replay goes on ({holder}): waiting for its end"
                    ));
                }
                Turn::Taken(_) => {}
            }
            tokio::select! {
                () = stop.asked() => return Err(Ended::Interrupted),
                () = tokio::time::sleep(TURN_PAUSE) => {}
            }
        };
        let queues: Vec<_> = self.args.queue.iter().cloned().collect();
        let link = self.settings.link(&queues)?;
        let producer = match self.args.names_few() {
            true => Producer::open_with(link.broker.clone(), ONE_SHOT_WINDOW).await,
            false => Producer::open(link.broker.clone()).await,
        };
        let producer = producer.map_err(broker_trouble(&link))?;
        let pace = self.args.rate.map(|rate| Pace::new(rate, Instant::now()));
        Ok(Tools {
            repairs,
            producer,
            link,
            pace,
        })
    }

    /// Decides on the first of `items`, as many as the store gives at once.
    async fn plan(
        &mut self,
        items: &mut VecDeque<Item>,
        queues: &mut Queues<'_>,
    ) -> Result<Vec<Planned>, Trouble> {
        let ids = items.iter().filter_map(Item::task).collect();
        let found = self.store.replayable(ids).await;
        let mut found = found.map_err(|error| Trouble::store(&error))?.into_iter();
        let mut planned = Vec::new();
        while let Some(item) = items.front() {
            let task = match item.task() {
                Some(_) => match found.next() {
                    Some(task) => task,
                    None => break,
                },
                None => None,
            };
            match self.plan_one(item, task, queues).await? {
                Some(Ok(task)) => planned.push(task),
                Some(Err((name, why))) => self.leave_out(&name, why),
                None => {}
            }
            items.pop_front();
        }
        Ok(planned)
    }

    /// `None` if nothing is stored of it.
    async fn plan_one(
        &mut self,
        item: &Item,
        task: Option<Replayable>,
        queues: &mut Queues<'_>,
    ) -> Result<Option<Result<Planned, (String, Why)>>, Trouble> {
        let (id, dead) = match item {
            Item::Task(id, dead) => (*id, *dead),
            Item::Letter(letter) => {
                let number = letter.record.number;
                let why = match letter.record.queue.as_str() {
                    _ if letter.discarded.is_some() => Some(Why::Discarded),
                    "results" => Some(Why::NoTask),
                    _ => None,
                };
                if let Some(why) = why {
                    return Ok(Some(Err((format!("dead letter {number}"), why))));
                }
                let queue = queues.of(&letter.record.queue).await?;
                let envelope = plan::of_letter(letter, &self.how, now());
                let planned = |envelope| Planned {
                    envelope,
                    queue,
                    was: None,
                    dead: Some(number),
                };
                let planned = envelope.map(planned);
                return Ok(Some(
                    planned.map_err(|why| (format!("dead letter {number}"), why)),
                ));
            }
            Item::Missing(number) => {
                self.missing(&format!("dead letter {number}"));
                return Ok(None);
            }
        };
        let Some(task) = task else {
            self.missing(&format!("task {id}"));
            return Ok(None);
        };
        let report = &task.record.report;
        let queue = queues.of(&report.queue).await?;
        let planned = plan::of_task(&task, &self.how, queue.as_str(), now());
        let planned = planned.map(|envelope| Planned {
            envelope,
            queue,
            was: Some((report.run, report.status)),
            dead,
        });
        Ok(Some(planned.map_err(|why| (format!("task {id}"), why))))
    }

    fn leave_out(&mut self, name: &str, why: Why) {
        if self.named && self.tally.left_out() < NAMED_MAX {
            self.talk.say(format!("left out {name}: {why}"));
        }
        *self.tally.left_out.entry(why).or_default() += 1;
    }

    fn missing(&mut self, name: &str) {
        if self.tally.missing < NAMED_MAX {
            self.talk.say(format!("nothing is stored of {name}"));
        }
        self.tally.missing += 1;
    }

    /// Publishes `planned`, written down before and after.
    async fn carry_out(
        &mut self,
        planned: Vec<Planned>,
        tools: &mut Tools,
        stop: &mut Stop,
    ) -> Result<(), Ended> {
        let runs: Vec<_> = planned.iter().map(Planned::new_run).collect();
        let repairs = &mut tools.repairs;
        let began = self.settings.with_store(|_| repairs.begin(&runs, now()))?;
        crash_point(Point::ReplayBegun);
        let mut begun = Vec::with_capacity(planned.len());
        for (task, began) in planned.into_iter().zip(began) {
            match began {
                Began::Yes => begun.push(task),
                Began::Changed => {
                    self.leave_out(&format!("task {}", task.envelope.id), Why::Changed);
                }
            }
        }
        let (confirmed, ended) = publish(begun, tools, stop).await;
        crash_point(Point::ReplayPublished);
        let runs: Vec<_> = confirmed.iter().map(Planned::new_run).collect();
        let repairs = &mut tools.repairs;
        self.settings
            .with_store(|_| repairs.confirm(&runs, now()))?;
        crash_point(Point::ReplayRecorded);
        self.note(&confirmed)?;
        ended
    }

    fn note(&mut self, planned: &[Planned]) -> Result<(), Trouble> {
        for task in planned {
            let kind = task.envelope.kind.to_string();
            *self.tally.kinds.entry(kind).or_default() += 1;
        }
        let lines: Vec<_> = planned
            .iter()
            .map(|task| task.line(self.args.dry_run))
            .collect();
        self.output.lines(&lines)
    }

    fn report(&self, took: Duration, ended: &Result<(), Ended>) {
        let replayed = self.tally.replayed();
        let tasks = match replayed {
            1 => "1 task".to_owned(),
            many => format!("{} tasks", grouped(many)),
        };
        let kinds = self.tally.kinds.iter();
        let kinds: Vec<_> = kinds
            .map(|(kind, count)| format!("{kind} {}", grouped(*count)))
            .collect();
        let kinds = match kinds.is_empty() {
            true => String::new(),
            false => format!(": {}", kinds.join(", ")),
        };
        if self.args.dry_run {
            self.talk.say(format!("would run {tasks} again{kinds}"));
        } else {
            let rate = grouped((replayed as f64 / took.as_secs_f64().max(0.001)) as u64);
            let took = span(took);
            self.talk.say(format!(
                "run again: {tasks} in {took}, {rate}/s; all confirmed{kinds}"
            ));
        }
        for (why, count) in &self.tally.left_out {
            self.talk
                .say(format!("left out {}: {why}", grouped(*count)));
        }
        match ended {
            Ok(()) if self.args.dry_run => self.talk.say("nothing was done"),
            Ok(()) => {
                if let Some(wait) = self.args.wait().filter(|_| replayed > 0) {
                    self.talk.say(format!("next  {wait}"));
                }
            }
            Err(_) => self
                .talk
                .say("this was not all: the same command goes on with the others"),
        }
    }
}

/// Publishes tasks; answers those that are confirmed, and why it is not all.
async fn publish(
    tasks: Vec<Planned>,
    tools: &mut Tools,
    stop: &mut Stop,
) -> (Vec<Planned>, Result<(), Ended>) {
    let on_their_way = FuturesUnordered::new();
    let mut ended = Ok(());
    for task in tasks {
        let pushed = tokio::select! {
            biased;
            () = stop.asked() => {
                ended = Err(Ended::Interrupted);
                break;
            }
            pushed = push(tools, &task) => pushed,
        };
        match pushed {
            Ok(pushed) => on_their_way.push(async move { pushed.await.map(|_| task) }),
            Err(error) => {
                ended = Err(Ended::Failed(submit_trouble(&tools.link, AGAIN)(error)));
                break;
            }
        }
    }
    let confirmed = confirmed(on_their_way, &mut ended, tools, stop).await;
    (confirmed, ended)
}

/// Waits for the confirms of tasks, each of which has a deadline of its own.
async fn confirmed(
    mut on_their_way: impl Stream<Item = Result<Planned, SubmitError>> + Unpin,
    ended: &mut Result<(), Ended>,
    tools: &Tools,
    stop: &mut Stop,
) -> Vec<Planned> {
    let mut confirmed = Vec::new();
    loop {
        let answer = tokio::select! {
            answer = on_their_way.next() => answer,
            () = no_more_confirms(ended) => None,
            () = stop.asked() => {
                if ended.is_ok() {
                    *ended = Err(Ended::Interrupted);
                    continue;
                }
                None
            }
        };
        match answer {
            Some(Ok(task)) => confirmed.push(task),
            Some(Err(error)) if ended.is_ok() => {
                *ended = Err(Ended::Failed(submit_trouble(&tools.link, AGAIN)(error)));
            }
            Some(Err(_)) => {}
            None => return confirmed,
        }
    }
}

/// Passes once somebody who asked for the end has waited long enough.
async fn no_more_confirms(ended: &Result<(), Ended>) {
    match ended {
        Err(Ended::Interrupted) => tokio::time::sleep(LAST_CONFIRMS_TIME).await,
        _ => std::future::pending().await,
    }
}

async fn push(tools: &mut Tools, task: &Planned) -> Result<homing_producer::Pushed, SubmitError> {
    if let Some(pace) = &mut tools.pace {
        tokio::time::sleep_until(pace.turn(1)).await;
    }
    tools.producer.push(&task.envelope, &task.queue).await
}
