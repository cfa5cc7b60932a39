//! A second, small AMQP client, for the messages that the first cannot read.
//!
//! amqprs takes every text for UTF-8 and gives up its connection over one that
//! is not, over a table's tag that it does not know, and the like. RabbitMQ
//! checks none of that. So such a message would come back to the head of its
//! queue and end one connection after another. This client takes single
//! messages (`basic.get`), reads properties as well as they can be read, and
//! says what is wrong with them.

mod properties;

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(super) use properties::{Read, read};

use super::probe::{self, Answer};
use super::url::AmqpUrl;

/// More than any frame has: 16 MiB. RabbitMQ's own maximum is 128 KiB.
const FRAME_BYTES_MAX: u32 = 16 << 20;

/// More than any message has: RabbitMQ's highest limit is 512 MiB.
const BODY_BYTES_MAX: u64 = 512 << 20;

const FRAME_END: u8 = 0xce;

/// Kinds of frames.
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// Classes and their methods.
const CONNECTION: u16 = 10;
const CHANNEL: u16 = 20;
const BASIC: u16 = 60;

/// A connection with one channel.
#[derive(Debug)]
pub(super) struct Plain {
    stream: TcpStream,
}

/// A message as it is on the wire.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) tag: u64,
    pub(super) redelivered: bool,
    pub(super) exchange: String,
    pub(super) routing_key: String,
    /// Flags, then properties.
    pub(super) properties: Vec<u8>,
    pub(super) body: Vec<u8>,
}

impl Plain {
    /// Logs in at `address` and opens a channel.
    pub(super) async fn open(url: &AmqpUrl, address: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        match probe::enter(&mut stream, url).await? {
            Answer::Welcome => {}
            other => return Err(io::Error::other(format!("{other:?}"))),
        }
        let mut plain = Self { stream };
        plain.call(CHANNEL, 10, &[0]).await?;
        plain.expect(CHANNEL, 11).await?;
        Ok(plain)
    }

    /// Takes the first message of `queue`.
    pub(super) async fn get(&mut self, queue: &str) -> io::Result<Option<Found>> {
        let mut arguments = vec![0, 0];
        short_text(&mut arguments, queue);
        arguments.push(0);
        self.call(BASIC, 70, &arguments).await?;
        let arguments = match self.method().await? {
            (BASIC, 71, arguments) => arguments,
            (BASIC, 72, _) => return Ok(None),
            other => return Err(unexpected(&other)),
        };
        let mut fields = Fields(&arguments);
        let tag = fields.long_long()?;
        let redelivered = fields.byte()? != 0;
        let (exchange, routing_key) = (fields.short_text()?, fields.short_text()?);
        let header = self.frame_of(HEADER).await?;
        let mut fields = Fields(&header);
        fields.take(4)?;
        let length = fields.long_long()?;
        let properties = fields.0.to_vec();
        if length > BODY_BYTES_MAX {
            return Err(io::Error::other(format!("a message of {length} bytes")));
        }
        let mut body = Vec::new();
        while (body.len() as u64) < length {
            let part = self.frame_of(BODY).await?;
            body.extend_from_slice(&part);
        }
        if body.len() as u64 > length {
            return Err(io::Error::other("more of a message than it is long"));
        }
        Ok(Some(Found {
            tag,
            redelivered,
            exchange,
            routing_key,
            properties,
            body,
        }))
    }

    /// Says that a message is settled.
    pub(super) async fn ack(&mut self, tag: u64) -> io::Result<()> {
        self.answer(80, tag, &[0]).await
    }

    /// Puts a message back.
    pub(super) async fn requeue(&mut self, tag: u64) -> io::Result<()> {
        self.answer(120, tag, &[2]).await
    }

    /// Has a message dead-lettered, as it is.
    pub(super) async fn reject(&mut self, tag: u64) -> io::Result<()> {
        self.answer(90, tag, &[0]).await
    }

    /// Closes the channel, and so knows that the broker has every answer.
    pub(super) async fn close(mut self) -> io::Result<()> {
        self.call(CHANNEL, 40, &[0, 200, 0, 0, 0, 0, 0]).await?;
        self.expect(CHANNEL, 41).await
    }

    /// Waits until the broker ends the connection. For when nothing is asked.
    pub(super) async fn ended(&mut self) -> io::Error {
        match self.method().await {
            Ok(other) => unexpected(&other),
            Err(error) => error,
        }
    }

    async fn answer(&mut self, method: u16, tag: u64, flags: &[u8]) -> io::Result<()> {
        let arguments = [&tag.to_be_bytes()[..], flags].concat();
        self.call(BASIC, method, &arguments).await
    }

    async fn call(&mut self, class: u16, method: u16, arguments: &[u8]) -> io::Result<()> {
        let length = u32::try_from(arguments.len() + 4).map_err(io::Error::other)?;
        let mut frame = vec![METHOD, 0, 1];
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&class.to_be_bytes());
        frame.extend_from_slice(&method.to_be_bytes());
        frame.extend_from_slice(arguments);
        frame.push(FRAME_END);
        self.stream.write_all(&frame).await
    }

    async fn expect(&mut self, class: u16, method: u16) -> io::Result<()> {
        match self.method().await? {
            (c, m, _) if (c, m) == (class, method) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// The next method. The broker's end of channel or connection is an error.
    async fn method(&mut self) -> io::Result<(u16, u16, Vec<u8>)> {
        loop {
            let (kind, frame) = self.frame().await?;
            if kind != METHOD {
                continue;
            }
            let mut fields = Fields(&frame);
            let (class, method) = (fields.short()?, fields.short()?);
            if (class, method) == (CONNECTION, 50) || (class, method) == (CHANNEL, 40) {
                let code = fields.short()?;
                let text = fields.short_text()?;
                return Err(io::Error::other(format!("{code} {text}")));
            }
            return Ok((class, method, fields.0.to_vec()));
        }
    }

    /// The next frame, which has to be of this kind.
    async fn frame_of(&mut self, kind: u8) -> io::Result<Vec<u8>> {
        match self.frame().await? {
            (found, frame) if found == kind => Ok(frame),
            (found, _) => Err(io::Error::other(format!(
                "a frame of kind {found}, not {kind}"
            ))),
        }
    }

    async fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            let mut head = [0; 7];
            self.stream.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
            if length > FRAME_BYTES_MAX {
                return Err(io::Error::other(format!("a frame of {length} bytes")));
            }
            let mut payload = vec![0; length as usize + 1];
            self.stream.read_exact(&mut payload).await?;
            if payload.pop() != Some(FRAME_END) {
                return Err(io::Error::other("a frame without its end"));
            }
            if head[0] != HEARTBEAT {
                return Ok((head[0], payload));
            }
        }
    }
}

fn unexpected((class, method, _): &(u16, u16, Vec<u8>)) -> io::Error {
    io::Error::other(format!("the broker said method {class}.{method}"))
}

/// `text` is at most 255 bytes: names of queues were checked.
fn short_text(to: &mut Vec<u8>, text: &str) {
    to.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    to.extend_from_slice(text.as_bytes());
}

/// What is left of some fields.
#[derive(Clone, Copy, Debug)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> io::Result<&'a [u8]> {
        let (taken, left) = self
            .0
            .split_at_checked(bytes)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn short(&mut self) -> io::Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn long(&mut self) -> io::Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn long_long(&mut self) -> io::Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn short_bytes(&mut self) -> io::Result<&'a [u8]> {
        let length = self.byte()?;
        self.take(length.into())
    }

    fn long_bytes(&mut self) -> io::Result<&'a [u8]> {
        let length = self.long()?;
        self.take(length as usize)
    }

    fn short_text(&mut self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(self.short_bytes()?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 1], &length[..], payload, &[FRAME_END]].concat()
    }

    /// `basic.get-ok` of the delivery with tag 7.
    fn get_ok() -> Vec<u8> {
        let arguments = [&7_u64.to_be_bytes()[..], &[0, 1, b'e', 1, b'k', 0, 0, 0, 0]].concat();
        frame(METHOD, &[&[0, 60, 0, 71], &arguments[..]].concat())
    }

    /// The header of a message with a body of so many bytes and no properties.
    fn header(bytes: u64) -> Vec<u8> {
        frame(
            HEADER,
            &[&[0, 60, 0, 0], &bytes.to_be_bytes()[..], &[0, 0]].concat(),
        )
    }

    /// What `get` makes of a broker that answers with these frames.
    async fn get(frames: &[Vec<u8>]) -> io::Result<Option<Found>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let stream = TcpStream::connect(listener.local_addr()?).await?;
        let (mut broker, _) = listener.accept().await?;
        broker.write_all(&frames.concat()).await?;
        Plain { stream }.get("q").await
    }

    #[tokio::test]
    async fn a_body_in_several_frames_is_one_with_heartbeats_between() {
        let frames = [
            get_ok(),
            header(5),
            frame(BODY, b"abc"),
            frame(HEARTBEAT, b""),
            frame(BODY, b"de"),
        ];

        let found = get(&frames).await.unwrap().unwrap();

        assert_eq!((found.tag, &found.body[..]), (7, &b"abcde"[..]));
        assert_eq!((&found.exchange[..], &found.routing_key[..]), ("e", "k"));
    }

    #[tokio::test]
    async fn frames_that_do_not_belong_together_are_an_error_and_no_message() {
        let mut endless = frame(BODY, b"abc");
        *endless.last_mut().unwrap() = 0;
        let cases = [
            vec![get_ok(), header(3), frame(METHOD, b"abc")],
            vec![get_ok(), frame(BODY, b"abc")],
            vec![get_ok(), header(3), frame(BODY, b"abcd")],
            vec![get_ok(), header(3), header(3), frame(BODY, b"abc")],
            vec![get_ok(), header(3), endless],
        ];

        for case in cases {
            assert!(get(&case).await.is_err(), "{case:?}");
        }
    }
}
