//! One channel that receives: which deliveries are open, and their answers.

use amqprs::channel::{BasicAckArguments, BasicNackArguments, Channel, QueueDeclareArguments};
use homing_faults::{Point, crash_point};
use tokio::sync::mpsc;

use super::acks::{Acks, Frame};
use super::generation::{End, Generation};
use crate::consumer::{Command, Token};

/// Half of the commands that a channel hands to a quorum queue at a time.
const SURE_MAX: usize = 16;

/// The state of one connection.
pub(super) struct Session {
    pub(super) channel: Channel,
    acks: Acks,
    frames: Vec<Frame>,
    /// Frames since the queue last answered something.
    unsure: usize,
    commands: mpsc::UnboundedSender<Command>,
}

impl Session {
    /// Of a new channel; and what the tokens of its deliveries will say.
    pub(super) fn new(channel: Channel) -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (commands, said) = mpsc::unbounded_channel();
        let session = Self {
            channel,
            acks: Acks::new(),
            frames: Vec::new(),
            unsure: 0,
            commands,
        };
        (session, said)
    }

    /// Takes note of a delivery. Answers whether its tag is the next in order.
    pub(super) fn delivered(&mut self, tag: u64) -> bool {
        self.acks.delivered(tag)
    }

    /// The right to answer for the delivery with this tag.
    pub(super) fn token(&self, tag: u64) -> Token {
        Token::new(tag, self.commands.clone())
    }

    /// How many deliveries have no answer.
    pub(super) fn open(&self) -> usize {
        self.acks.open()
    }

    /// Takes note that the queue has answered something, and so has what was sent
    /// before.
    pub(super) const fn heard(&mut self) {
        self.unsure = 0;
    }

    /// Whether the queue has all that was sent, or will have it even if the channel
    /// ends now: that hands 32 commands at a time to a quorum queue, and keeps others
    /// until those are on disk.
    pub(super) const fn is_sure(&self) -> bool {
        self.unsure <= SURE_MAX
    }

    /// Sends these answers.
    pub(super) async fn answer(
        &mut self,
        generation: &Generation,
        commands: &mut Vec<Command>,
    ) -> Result<(), End> {
        for command in commands.drain(..) {
            if let Command::Answer(tag, answer) = command {
                self.acks.answer(tag, answer);
            }
        }
        self.acks.frames(&mut self.frames);
        self.unsure += self.frames.len();
        crash_point(Point::LinkBeforeAck);
        for frame in self.frames.drain(..) {
            match frame {
                Frame::Ack { tag, multiple } => {
                    let ack = BasicAckArguments::new(tag, multiple);
                    generation.call(self.channel.basic_ack(ack)).await?;
                }
                Frame::Requeue { tag } => {
                    let nack = BasicNackArguments::new(tag, false, true);
                    generation.call(self.channel.basic_nack(nack)).await?;
                }
            }
        }
        crash_point(Point::LinkAcked);
        Ok(())
    }
}

/// Asks whether a queue is there, and how much waits in it.
pub(super) fn passive(queue: &str) -> QueueDeclareArguments {
    QueueDeclareArguments::new(queue).passive(true).finish()
}
