//! A producer: publishes its tasks, each until it is confirmed or given up; after
//! a crash again what it knows nothing of, under the same ids.

use std::rc::Rc;
use std::time::Duration;

use homing_protocol::{Destination, Envelope, QueueName, Timestamp};

use crate::agenda::{MS, SECOND};
use crate::broker::{Purpose, Who};
use crate::confirms::Verdict;
use crate::links::{PublishLink, Request};
use crate::message::Body;
use crate::worker::to;
use crate::world::{Event, World};

#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) life: u32,
    pub(crate) up: bool,
    pub(crate) link: PublishLink,
    pub(crate) submissions: Vec<Submission>,
    /// How long a message may wait for its confirm.
    pub(crate) deadline: Option<Duration>,
}

/// What is published as one message.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) body: Rc<Body>,
    pub(crate) due_at: Option<Timestamp>,
    pub(crate) state: Submitted,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Submitted {
    /// Nothing is known of it, after so many tries.
    Unknown(u32),
    Confirmed,
    /// The caller was told that it is not known to have happened.
    GivenUp,
}

impl World {
    pub(crate) fn start_producer(&mut self, index: usize) {
        self.producers[index].up = true;
        let life = self.producers[index].life;
        self.open(Who::Producer(index), life, Purpose::Publish);
        for submission in 0..self.producers[index].submissions.len() {
            let at = self.now + self.chance.between(0, 3 * SECOND);
            self.agenda.put(
                at,
                Event::Submit {
                    producer: index,
                    life,
                    submission,
                },
            );
        }
    }

    pub(crate) fn crash_producer(&mut self, index: usize) {
        let Producer { life, up, .. } = self.producers[index];
        if !up {
            return;
        }
        self.close_sockets(Who::Producer(index), life);
        let producer = &mut self.producers[index];
        producer.life += 1;
        producer.up = false;
        producer.link = PublishLink::new();
        let at = self.now + self.chance.between(MS, 5 * SECOND);
        self.agenda.put(at, Event::Start(Who::Producer(index)));
    }

    pub(crate) fn submit(&mut self, index: usize, submission: usize) {
        let now = self.time(0);
        let producer = &mut self.producers[index];
        let Submission {
            body,
            due_at,
            state,
        } = &mut producer.submissions[submission];
        let Submitted::Unknown(tries) = state else {
            return;
        };
        *tries += 1;
        let to = to(&Destination::due(QueueName::tasks(), *due_at, now));
        let body = Rc::clone(body);
        let message = self.message(&body);
        trace!(
            self,
            "producer {index}: publishes message {}: {}",
            message.id,
            body.describe()
        );
        let request = Request {
            message,
            to,
            ticket: submission as u64,
        };
        let now = self.clock.at(self.now);
        self.producers[index].link.outgoing.take(request, now);
        self.write(Who::Producer(index));
        if let Some(deadline) = self.producers[index].deadline {
            let at = self.now + deadline.as_micros() as u64 + MS;
            let life = self.producers[index].life;
            self.agenda.put(
                at,
                Event::Deadline {
                    producer: index,
                    life,
                },
            );
        }
    }

    /// Gives up what is past its deadline.
    pub(crate) fn deadline(&mut self, index: usize) {
        let Some(deadline) = self.producers[index].deadline else {
            return;
        };
        let mut late = Vec::new();
        let now = self.clock.at(self.now);
        self.producers[index]
            .link
            .outgoing
            .give_up(now, |request, waited| {
                let is_late = waited.time > deadline;
                if is_late {
                    late.push(request.ticket);
                }
                is_late
            });
        for submission in late {
            self.submitted(index, submission as usize, None);
        }
    }

    /// What a producer does with an answer; `None` is the deadline's.
    pub(crate) fn submitted(&mut self, index: usize, submission: usize, verdict: Option<&Verdict>) {
        trace!(
            self,
            "producer {index}: submission {submission}: {verdict:?}"
        );
        let submitted = &mut self.producers[index].submissions[submission];
        let Submitted::Unknown(tries) = submitted.state else {
            return;
        };
        if verdict == Some(&Verdict::Confirmed) {
            submitted.state = Submitted::Confirmed;
            let body = Rc::clone(&submitted.body);
            for task in body.tasks() {
                self.oracle.facts(task.id).confirmed = true;
            }
            return;
        }
        if tries > 2 && self.chance.one_in(3) {
            self.producers[index].submissions[submission].state = Submitted::GivenUp;
            return;
        }
        let at = self.now + self.chance.between(MS, SECOND);
        let life = self.producers[index].life;
        self.agenda.put(
            at,
            Event::Submit {
                producer: index,
                life,
                submission,
            },
        );
    }
}

/// The message that carries `tasks`.
pub(crate) fn body(tasks: Vec<Envelope>) -> Rc<Body> {
    Rc::new(Body::Tasks(tasks))
}
