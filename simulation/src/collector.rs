//! A collector: what `collector/src` does, around the real tokens. It groups
//! what is there, commits it, and only then acks.

use std::collections::VecDeque;

use homing_protocol::{Envelope, Proof, Reason};

use crate::Sabotage;
use crate::agenda::{MS, SECOND};
use crate::broker::{Purpose, Who};
use crate::consumer::Token;
use crate::fold::State;
use crate::links::ConsumeLink;
use crate::message::{Body, Message, Place, Word};
use crate::store::Entry;
use crate::world::{Event, World};

/// Most deliveries in a group; fewer than in the real one, so that there are
/// several groups.
const GROUP_MAX: usize = 8;

/// The model's word that a group is committed.
#[derive(Debug)]
pub(crate) struct ModelCommit;

impl Proof for ModelCommit {}

#[derive(Debug)]
pub(crate) struct Collector {
    pub(crate) life: u32,
    pub(crate) up: bool,
    pub(crate) links: [ConsumeLink; 2],
    items: VecDeque<(Vec<Entry>, Token)>,
    /// The group that is being written.
    group: Option<(Vec<Entry>, Vec<Token>)>,
}

impl Collector {
    pub(crate) fn new() -> Self {
        Self {
            life: 0,
            up: false,
            links: [
                ConsumeLink::new(Place::Results, 20),
                ConsumeLink::new(Place::Dead, 4),
            ],
            items: VecDeque::new(),
            group: None,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.items.is_empty() && self.group.is_none()
    }
}

/// What a dead letter says of a task: as `protocol/src/dead.rs` has it.
fn dead(task: &Envelope, reason: Reason) -> Word {
    Word {
        task: task.id,
        run: task.run,
        state: State {
            status: reason.status(),
            attempt: task.attempt.get() - 1,
            attempt_id: None,
            digest: task.digest,
        },
    }
}

fn entries(message: &Message) -> Vec<Entry> {
    let reason = match (&*message.body, message.died) {
        (Body::Reports(words), _) => return words.iter().copied().map(Entry::Report).collect(),
        (_, Some(reason)) => reason,
        (Body::Dead(_, reason), None) => *reason,
        // Nothing else gets here.
        _ => Reason::Unroutable,
    };
    let words = message.body.tasks().iter().map(|task| dead(task, reason));
    vec![Entry::Dead(message.id, reason, words.collect())]
}

impl World {
    pub(crate) fn start_collector(&mut self) {
        self.collector.up = true;
        let life = self.collector.life;
        for place in [Place::Results, Place::Dead] {
            self.open(Who::Collector, life, Purpose::Consume(place));
        }
    }

    pub(crate) fn crash_collector(&mut self) {
        let life = self.collector.life;
        self.close_sockets(Who::Collector, life);
        self.collector = Collector::new();
        self.collector.life = life + 1;
        let at = self.now + self.chance.between(MS, 5 * SECOND);
        self.agenda.put(at, Event::Start(Who::Collector));
    }

    pub(crate) fn collect(&mut self, message: &Message, token: Token) {
        self.collector.items.push_back((entries(message), token));
        self.write_group();
    }

    /// Begins to write what is there, unless a group is being written.
    fn write_group(&mut self) {
        let collector = &mut self.collector;
        if collector.group.is_some() || collector.items.is_empty() {
            return;
        }
        let (mut entries, mut tokens) = (Vec::new(), Vec::new());
        while tokens.len() < GROUP_MAX {
            let Some((more, token)) = collector.items.pop_front() else {
                break;
            };
            entries.extend(more);
            tokens.push(token);
        }
        if self.sabotage == Some(Sabotage::AckBeforeCommit) {
            tokens.drain(..).for_each(|token| token.ack(&ModelCommit));
        }
        collector.group = Some((entries, tokens));
        let life = collector.life;
        let at = self.now + self.chance.between(MS, 20 * MS);
        self.agenda.put(at, Event::Commit { life });
    }

    /// The store has been asked to commit: it has, or it cannot now.
    pub(crate) fn commit(&mut self) {
        let life = self.collector.life;
        if self.now < self.store_fails_until {
            let at = self.now + self.chance.between(50 * MS, 5 * SECOND);
            return self.agenda.put(at, Event::Commit { life });
        }
        let Some((entries, _)) = &self.collector.group else {
            return;
        };
        trace!(self, "collector: commits {} entries", entries.len());
        if let Some(broken) = self.store.commit(entries, self.sabotage) {
            self.violation(broken);
        }
        // A crash may come in between.
        let at = self.now + self.chance.between(0, 2 * MS);
        self.agenda.put(at, Event::Committed { life });
    }

    pub(crate) fn committed(&mut self) {
        if let Some((_, tokens)) = self.collector.group.take() {
            tokens.into_iter().for_each(|token| token.ack(&ModelCommit));
        }
        self.write_group();
    }
}
