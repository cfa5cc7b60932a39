//! A raw AMQP 0-9-1 client for what no decent client would send: any bytes in
//! properties and header tables, lengths that lie, frames by hand.
//!
//! ```no_run
//! # use homing_tests::{Answer, Raw, RawProperties, Table, World};
//! # async fn example(world: World) {
//! let mut raw = Raw::connect(&world.url).await;
//! raw.confirm().await;
//! let headers = Table::new().field(b"x-\xff", b'L', &7_i64.to_be_bytes());
//! let properties = RawProperties::new().kind(b"test.echo").headers(&headers);
//! let answer = raw.publish("ns.tasks", "tasks", &properties, b"{}").await;
//! assert_eq!(answer, Answer::Confirmed);
//! # }
//! ```
//!
//! One connection, one channel, one question at a time. It announces no
//! heartbeats, so it may be idle for as long as it likes.

mod properties;
mod wire;

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub use properties::{RawProperties, Table};
use wire::{Reader, long, long_long, long_text, short, short_text};

use crate::place::Place;
use crate::world::within;

/// How long the broker may take to answer. It delays the refusal of a login by
/// three seconds, and a busy machine delays everything.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// The end of every frame.
const FRAME_END: u8 = 0xce;

/// Bytes of a body that fit a frame of the smallest frame maximum there is.
const BODY_FRAME_BYTES: usize = 4_000;

const CONNECTION: u16 = 10;
const CHANNEL: u16 = 20;
const EXCHANGE: u16 = 40;
const QUEUE: u16 = 50;
const BASIC: u16 = 60;
const CONFIRM: u16 = 85;

/// What became of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The broker has it.
    Confirmed,
    /// The broker refused it.
    Refused,
    /// No queue took it.
    Returned,
    /// The broker closed the channel or the connection over it.
    Closed {
        /// Its reply code.
        code: u16,
        /// Its words.
        text: String,
    },
    /// The connection ended without a word.
    Gone,
}

/// A message as it is in the broker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RawMessage {
    /// Its delivery tag on this channel.
    pub tag: u64,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// The exchange it came through.
    pub exchange: String,
    /// Its routing key.
    pub routing_key: String,
    /// Flags, then properties, as they were on the wire.
    pub properties: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

/// A frame from the broker.
struct Frame {
    kind: u8,
    payload: Vec<u8>,
}

/// An open connection with one open channel.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    /// Deliveries that came while something else was awaited.
    deliveries: VecDeque<RawMessage>,
    /// Why the channel or the connection is closed.
    closed: Option<Answer>,
}

impl Raw {
    /// Logs in and opens a channel.
    ///
    /// # Panics
    ///
    /// Panics if the broker does not let it in.
    pub async fn connect(url: &str) -> Self {
        let place = Place::of(url);
        let stream = TcpStream::connect((place.host.as_str(), place.port)).await;
        let mut raw = Self {
            stream: stream.expect("the broker takes a connection"),
            deliveries: VecDeque::new(),
            closed: None,
        };
        raw.bytes(b"AMQP\x00\x00\x09\x01").await;
        raw.expect(CONNECTION, 10).await;
        let mut start_ok = method(CONNECTION, 11);
        long_text(&mut start_ok, b"");
        short_text(&mut start_ok, b"PLAIN");
        let login = [
            b"\0",
            place.user.as_bytes(),
            b"\0",
            place.password.as_bytes(),
        ]
        .concat();
        long_text(&mut start_ok, &login);
        short_text(&mut start_ok, b"en_US");
        raw.method(0, &start_ok).await;
        let tune = raw.expect(CONNECTION, 30).await;
        let mut tune_ok = method(CONNECTION, 31);
        tune_ok.extend_from_slice(&tune[..6]);
        short(&mut tune_ok, 0);
        raw.method(0, &tune_ok).await;
        let mut open = method(CONNECTION, 40);
        short_text(&mut open, place.vhost.as_bytes());
        open.extend_from_slice(&[0, 0]);
        raw.method(0, &open).await;
        raw.expect(CONNECTION, 41).await;
        let mut open = method(CHANNEL, 10);
        short_text(&mut open, b"");
        raw.ask(&open, CHANNEL, 11).await;
        raw
    }

    /// Asks for confirms: [`publish`](Self::publish) waits for one from now on.
    pub async fn confirm(&mut self) {
        let mut select = method(CONFIRM, 10);
        select.push(0);
        self.ask(&select, CONFIRM, 11).await;
    }

    /// Publishes, mandatory, and waits for what the broker says. Only after
    /// [`confirm`](Self::confirm); else nothing ever is said.
    pub async fn publish(
        &mut self,
        exchange: &str,
        routing_key: &str,
        properties: &RawProperties,
        body: &[u8],
    ) -> Answer {
        self.send(exchange, routing_key, properties, body).await;
        self.answer().await
    }

    /// Publishes, mandatory, and waits for nothing.
    pub async fn send(
        &mut self,
        exchange: &str,
        routing_key: &str,
        properties: &RawProperties,
        body: &[u8],
    ) {
        let length = body.len() as u64;
        self.send_lying(exchange, routing_key, &properties.bytes(), length, body)
            .await;
    }

    /// Publishes flags and properties as they are given, and says of the body
    /// that it has `length` bytes, whatever it has.
    pub async fn send_lying(
        &mut self,
        exchange: &str,
        routing_key: &str,
        properties: &[u8],
        length: u64,
        body: &[u8],
    ) {
        let mut publish = method(BASIC, 40);
        short(&mut publish, 0);
        short_text(&mut publish, exchange.as_bytes());
        short_text(&mut publish, routing_key.as_bytes());
        publish.push(1);
        let mut header = Vec::new();
        short(&mut header, BASIC);
        short(&mut header, 0);
        long_long(&mut header, length);
        header.extend_from_slice(properties);
        let mut bytes = frame(1, 1, &publish);
        bytes.extend(frame(2, 1, &header));
        for part in body.chunks(BODY_FRAME_BYTES) {
            bytes.extend(frame(3, 1, part));
        }
        self.bytes(&bytes).await;
    }

    /// Writes bytes as they are.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        // A broker that has had enough shows in the answer.
        let _gone = self.stream.write_all(bytes).await;
    }

    /// What the broker says of the last message published.
    ///
    /// # Panics
    ///
    /// Panics if it says nothing.
    pub async fn answer(&mut self) -> Answer {
        within(ANSWER_TIME_MAX, "the broker's answer", async {
            let mut returned = false;
            loop {
                if let Some(closed) = &self.closed {
                    return closed.clone();
                }
                match self.next_method().await {
                    Some((BASIC, 80, _)) if returned => return Answer::Returned,
                    Some((BASIC, 80, _)) => return Answer::Confirmed,
                    Some((BASIC, 120, _)) => return Answer::Refused,
                    Some((BASIC, 50, _)) => {
                        self.content().await;
                        returned = true;
                    }
                    _ => {}
                }
            }
        })
        .await
    }

    /// Takes the first message of a queue, to be [acked](Self::ack).
    pub async fn get(&mut self, queue: &str) -> Option<RawMessage> {
        let mut get = method(BASIC, 70);
        short(&mut get, 0);
        short_text(&mut get, queue.as_bytes());
        get.push(0);
        self.method(1, &get).await;
        loop {
            match self.said().await {
                (BASIC, 71, arguments) => return Some(self.message(&arguments, false).await),
                (BASIC, 72, _) => return None,
                _ => {}
            }
        }
    }

    /// Takes the first message of a queue, and says only whether that is allowed:
    /// [`Answer::Confirmed`], or how the broker closed the channel.
    pub async fn may_get(&mut self, queue: &str) -> Answer {
        let mut get = method(BASIC, 70);
        short(&mut get, 0);
        short_text(&mut get, queue.as_bytes());
        get.push(0);
        self.may(&get).await
    }

    /// Deletes a queue that has nothing in it, and says only whether that is
    /// allowed.
    pub async fn may_delete(&mut self, queue: &str) -> Answer {
        let mut delete = method(QUEUE, 40);
        short(&mut delete, 0);
        short_text(&mut delete, queue.as_bytes());
        delete.push(2);
        self.may(&delete).await
    }

    async fn may(&mut self, question: &[u8]) -> Answer {
        self.method(1, question).await;
        within(ANSWER_TIME_MAX, "the broker's answer", async {
            loop {
                if let Some(closed) = &self.closed {
                    return closed.clone();
                }
                if self.next_method().await.is_some() {
                    return Answer::Confirmed;
                }
            }
        })
        .await
    }

    /// Consumes a queue, at most `prefetch` messages ahead of their acks.
    pub async fn consume(&mut self, queue: &str, prefetch: u16) {
        let mut qos = method(BASIC, 10);
        long(&mut qos, 0);
        short(&mut qos, prefetch);
        qos.push(0);
        self.ask(&qos, BASIC, 11).await;
        let mut consume = method(BASIC, 20);
        short(&mut consume, 0);
        short_text(&mut consume, queue.as_bytes());
        short_text(&mut consume, b"");
        consume.push(0);
        long_text(&mut consume, b"");
        self.ask(&consume, BASIC, 21).await;
    }

    /// The next message consumed.
    pub async fn delivery(&mut self) -> RawMessage {
        loop {
            if let Some(message) = self.deliveries.pop_front() {
                return message;
            }
            self.said().await;
        }
    }

    /// Acks a message.
    pub async fn ack(&mut self, tag: u64) {
        let mut ack = method(BASIC, 80);
        long_long(&mut ack, tag);
        ack.push(0);
        self.method(1, &ack).await;
    }

    /// Gives a message back to its queue, or has it dead-lettered.
    pub async fn reject(&mut self, tag: u64, requeue: bool) {
        let mut reject = method(BASIC, 90);
        long_long(&mut reject, tag);
        reject.push(u8::from(requeue));
        self.method(1, &reject).await;
    }

    /// Declares a durable classic queue, or one with these arguments.
    pub async fn declare_queue(&mut self, queue: &str, arguments: &Table) {
        let mut declare = method(QUEUE, 10);
        short(&mut declare, 0);
        short_text(&mut declare, queue.as_bytes());
        declare.push(2);
        long_text(&mut declare, arguments.bytes());
        self.ask(&declare, QUEUE, 11).await;
    }

    /// Binds a queue to an exchange.
    pub async fn bind_queue(&mut self, queue: &str, exchange: &str, routing_key: &str) {
        let mut bind = method(QUEUE, 20);
        short(&mut bind, 0);
        for name in [queue, exchange, routing_key] {
            short_text(&mut bind, name.as_bytes());
        }
        bind.push(0);
        long_text(&mut bind, b"");
        self.ask(&bind, QUEUE, 21).await;
    }

    /// Takes a binding of a queue away.
    pub async fn unbind_queue(&mut self, queue: &str, exchange: &str, routing_key: &str) {
        let mut unbind = method(QUEUE, 50);
        short(&mut unbind, 0);
        for name in [queue, exchange, routing_key] {
            short_text(&mut unbind, name.as_bytes());
        }
        long_text(&mut unbind, b"");
        self.ask(&unbind, QUEUE, 51).await;
    }

    /// Empties a queue.
    pub async fn purge_queue(&mut self, queue: &str) {
        let mut purge = method(QUEUE, 30);
        short(&mut purge, 0);
        short_text(&mut purge, queue.as_bytes());
        purge.push(0);
        self.ask(&purge, QUEUE, 31).await;
    }

    /// Deletes a queue with what is in it.
    pub async fn delete_queue(&mut self, queue: &str) {
        let mut delete = method(QUEUE, 40);
        short(&mut delete, 0);
        short_text(&mut delete, queue.as_bytes());
        delete.push(0);
        self.ask(&delete, QUEUE, 41).await;
    }

    /// Deletes an exchange.
    pub async fn delete_exchange(&mut self, exchange: &str) {
        let mut delete = method(EXCHANGE, 20);
        short(&mut delete, 0);
        short_text(&mut delete, exchange.as_bytes());
        delete.push(0);
        self.ask(&delete, EXCHANGE, 21).await;
    }

    /// Why the broker closed the channel or the connection, if it did.
    pub const fn closed(&self) -> Option<&Answer> {
        self.closed.as_ref()
    }

    async fn ask(&mut self, question: &[u8], class: u16, id: u16) {
        self.method(1, question).await;
        self.expect(class, id).await;
    }

    /// Waits for this method and gives its arguments.
    async fn expect(&mut self, class: u16, id: u16) -> Vec<u8> {
        loop {
            let (c, i, arguments) = self.said().await;
            if (c, i) == (class, id) {
                return arguments;
            }
        }
    }

    /// The next method, of which there must be one.
    async fn said(&mut self) -> (u16, u16, Vec<u8>) {
        within(ANSWER_TIME_MAX, "the broker's answer", async {
            loop {
                assert!(
                    self.closed.is_none(),
                    "the broker ended it: {:?}",
                    self.closed
                );
                if let Some(said) = self.next_method().await {
                    return said;
                }
            }
        })
        .await
    }

    /// The next method, unless it is a delivery or the end, of which note is
    /// taken.
    async fn next_method(&mut self) -> Option<(u16, u16, Vec<u8>)> {
        let frame = self.frame().await?;
        if frame.kind != 1 {
            return None;
        }
        let mut reader = Reader::new(&frame.payload);
        let (class, id) = (reader.short(), reader.short());
        let arguments = reader.rest().to_vec();
        match (class, id) {
            (BASIC, 60) => {
                let message = self.message(&arguments, true).await;
                self.deliveries.push_back(message);
                None
            }
            (CONNECTION, 50) | (CHANNEL, 40) => {
                let mut reader = Reader::new(&arguments);
                self.closed = Some(Answer::Closed {
                    code: reader.short(),
                    text: reader.short_text(),
                });
                None
            }
            _ => Some((class, id, arguments)),
        }
    }

    /// The message that `basic.deliver` or `basic.get-ok` began.
    async fn message(&mut self, arguments: &[u8], delivered: bool) -> RawMessage {
        let mut reader = Reader::new(arguments);
        if delivered {
            reader.short_text();
        }
        let tag = reader.long_long();
        let redelivered = reader.byte() != 0;
        let exchange = reader.short_text();
        let routing_key = reader.short_text();
        let (properties, body) = self.content().await;
        RawMessage {
            tag,
            redelivered,
            exchange,
            routing_key,
            properties,
            body,
        }
    }

    /// Properties and body.
    async fn content(&mut self) -> (Vec<u8>, Vec<u8>) {
        let Some(header) = self.frame().await else {
            return Default::default();
        };
        let mut reader = Reader::new(&header.payload);
        reader.long();
        let length = usize::try_from(reader.long_long()).expect("a length that fits");
        let properties = reader.rest().to_vec();
        let mut body = Vec::new();
        while body.len() < length
            && let Some(part) = self.frame().await
        {
            body.extend(part.payload);
        }
        (properties, body)
    }

    async fn method(&mut self, channel: u16, method: &[u8]) {
        self.bytes(&frame(1, channel, method)).await;
    }

    async fn frame(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 7];
            self.stream.read_exact(&mut head).await?;
            let mut reader = Reader::new(&head[3..]);
            let mut payload = vec![0; reader.long() as usize + 1];
            self.stream.read_exact(&mut payload).await?;
            payload.pop();
            let kind = head[0];
            Ok::<_, std::io::Error>(Frame { kind, payload })
        };
        let frame = read.await.ok();
        if frame.is_none() && self.closed.is_none() {
            self.closed = Some(Answer::Gone);
        }
        frame
    }
}

fn method(class: u16, id: u16) -> Vec<u8> {
    let mut method = Vec::new();
    short(&mut method, class);
    short(&mut method, id);
    method
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    short(&mut frame, channel);
    long_text(&mut frame, payload);
    frame.push(FRAME_END);
    frame
}
