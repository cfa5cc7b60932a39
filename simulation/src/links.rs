//! The links of a process: the deciding parts are the real ones, the sockets
//! are not.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use crate::Sabotage;
use crate::acks::{Acks, Frame};
use crate::agenda::Micros;
use crate::broker::ConnectionId;
use crate::caution::Caution;
use crate::consumer::{Answer, Command, Token};
use crate::message::{Message, Place, To};
use crate::outgoing::Outgoing;

/// A message that somebody publishes and waits for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) message: Message,
    pub(crate) to: To,
    /// By which whoever published it knows the answer.
    pub(crate) ticket: u64,
}

/// A publisher's link: what `broker/src/amqp/publish.rs` does, around the real
/// [`Outgoing`].
#[derive(Debug)]
pub(crate) struct PublishLink {
    pub(crate) outgoing: Outgoing<Request>,
    pub(crate) connection: Option<ConnectionId>,
}

impl PublishLink {
    pub(crate) const fn new() -> Self {
        Self {
            outgoing: Outgoing::new(),
            connection: None,
        }
    }
}

/// A consumer's link: what `broker/src/amqp/consume.rs` does, around the real
/// [`Acks`], [`Caution`] and [`Token`].
#[derive(Debug)]
pub(crate) struct ConsumeLink {
    pub(crate) place: Place,
    prefetch: u16,
    /// What the subscription asked for.
    asked: u16,
    caution: Caution,
    pub(crate) session: Option<Session>,
    /// With sabotage: the ends of a session that is over, for the next one.
    kept: Option<(UnboundedSender<Command>, UnboundedReceiver<Command>)>,
    pub(crate) stopping: bool,
    /// Nothing is to be delivered for now.
    pub(crate) held: bool,
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: ConnectionId,
    acks: Acks,
    commands: UnboundedSender<Command>,
    said: UnboundedReceiver<Command>,
    /// Whether it is put down that answers are to be sent.
    pub(crate) answering: bool,
    /// Cancels without an answer, and whether there is a subscription.
    pub(crate) cancelling: u32,
    pub(crate) receives: bool,
}

impl ConsumeLink {
    pub(crate) fn new(place: Place, prefetch: u16) -> Self {
        Self {
            place,
            prefetch,
            asked: 0,
            caution: Caution::default(),
            session: None,
            kept: None,
            stopping: false,
            held: false,
        }
    }

    /// The prefetch of a subscription that begins now.
    pub(crate) fn ask(&mut self) -> u16 {
        self.asked = self.caution.prefetch(self.prefetch);
        self.asked
    }

    /// Whether the subscription is to begin anew, with another prefetch.
    pub(crate) fn is_off(&mut self, now: Instant) -> bool {
        if self.caution.lasting_at().is_some_and(|at| now >= at) {
            self.caution.lasts();
        }
        let receives = self
            .session
            .as_ref()
            .is_some_and(|session| session.receives);
        receives && self.asked != self.caution.prefetch(self.prefetch)
    }

    pub(crate) fn opened(&mut self, connection: ConnectionId) {
        let (commands, said) = self.kept.take().unwrap_or_else(unbounded_channel);
        self.session = Some(Session {
            connection,
            acks: Acks::new(),
            commands,
            said,
            answering: false,
            cancelling: 0,
            receives: false,
        });
    }

    /// A delivery's token; `None` if its tag is not the next.
    pub(crate) fn delivered(&mut self, tag: u64, now: Instant) -> Option<Token> {
        let session = self.session.as_mut()?;
        if !session.acks.delivered(tag) {
            return None;
        }
        self.caution.delivered(now);
        Some(Token::new(tag, session.commands.clone()))
    }

    /// Whether answers wait to be sent.
    pub(crate) fn has_answers(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| !session.said.is_empty())
    }

    /// Whether every delivery has its answer.
    pub(crate) fn is_answered(&self) -> bool {
        self.session
            .as_ref()
            .is_none_or(|session| session.acks.open() == 0 && session.said.is_empty())
    }

    /// Whether nothing comes over it, and nothing that came is open.
    pub(crate) fn is_quiet(&self) -> bool {
        let quiet = |session: &Session| !session.receives && session.cancelling == 0;
        self.is_answered() && self.session.as_ref().is_none_or(quiet)
    }

    /// What to send for the answers given since the last time.
    pub(crate) fn answers(&mut self, sabotage: Option<Sabotage>) -> Vec<Frame> {
        let mut frames = Vec::new();
        let Some(session) = self.session.as_mut() else {
            return frames;
        };
        while let Ok(command) = session.said.try_recv() {
            let Command::Answer(tag, answer) = command else {
                continue;
            };
            if sabotage == Some(Sabotage::ForgetRequeue) && answer == Answer::Requeue {
                continue;
            }
            session.acks.answer(tag, answer);
            if answer == Answer::Ack {
                self.caution.acked();
            }
        }
        session.acks.frames(&mut frames);
        if sabotage == Some(Sabotage::MultipleOverUnfinished) {
            for frame in &mut frames {
                if let Frame::Ack { multiple, .. } = frame {
                    *multiple = true;
                }
            }
        }
        frames
    }

    /// The connection is gone: answers to what came over it go nowhere.
    pub(crate) fn broke(&mut self, now: Instant, sabotage: Option<Sabotage>) {
        self.caution.broke(now);
        let session = self.session.take();
        if sabotage == Some(Sabotage::NoFencing) {
            self.kept = session.map(|session| (session.commands, session.said));
        }
    }
}

/// Virtual time for what counts in tokio's instants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn at(self, now: Micros) -> Instant {
        self.0 + Duration::from_micros(now)
    }
}
