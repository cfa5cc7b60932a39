//! Asks a broker why it does not let us in.
//!
//! amqprs does not announce `authentication_failure_close`, so that a wrong
//! password shows as a connection that breaks after three seconds. This is the
//! opening handshake by hand, with the announcement: the broker then says why
//! (<https://www.rabbitmq.com/docs/auth-notification>). It is done only after a
//! connection failed to open.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::url::AmqpUrl;

/// The most a frame of the handshake can have: RabbitMQ's first frame maximum.
const FRAME_BYTES_MAX: u32 = 131_072;

/// `connection.start`, `.tune`, `.open-ok`, `.close`: class 10, these methods.
const START: u16 = 10;
const TUNE: u16 = 30;
const OPEN_OK: u16 = 41;
const CLOSE: u16 = 50;

/// `ACCESS_REFUSED`: the login was refused.
const ACCESS_REFUSED: u16 = 403;

/// What the broker says.
#[derive(Debug)]
pub(super) enum Answer {
    /// It lets us in.
    Welcome,
    /// The user or password is wrong.
    Refused,
    /// The virtual host does not exist or is not for this user.
    NoVirtualHost,
    /// It says something else.
    Other(String),
}

/// Goes through the handshake at `address` and leaves.
pub(super) async fn probe(url: &AmqpUrl, address: SocketAddr) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    enter(&mut stream, url).await
}

/// Goes through the handshake on a new connection, without heartbeats.
pub(super) async fn enter(stream: &mut TcpStream, url: &AmqpUrl) -> io::Result<Answer> {
    stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
    if let Some(answer) = expect(stream, START).await? {
        return Ok(answer);
    }
    stream.write_all(&frame(&start_ok(url))).await?;
    let tune = match method(stream).await? {
        (TUNE, body) => body,
        (CLOSE, body) => return Ok(refusal(&body, Answer::Refused)),
        (id, _) => return Ok(unexpected(id)),
    };
    // The same limits back but no heartbeats, then the virtual host.
    let mut tune_ok = vec![0, 10, 0, 31];
    tune_ok.extend_from_slice(tune.get(..6).unwrap_or(&[0; 6]));
    tune_ok.extend_from_slice(&[0, 0]);
    stream.write_all(&frame(&tune_ok)).await?;
    let mut open = vec![0, 10, 0, 40];
    short_string(&mut open, &url.vhost);
    open.extend_from_slice(&[0, 0]);
    stream.write_all(&frame(&open)).await?;
    match method(stream).await? {
        (OPEN_OK, _) => Ok(Answer::Welcome),
        (CLOSE, body) => Ok(refusal(&body, Answer::NoVirtualHost)),
        (id, _) => Ok(unexpected(id)),
    }
}

async fn expect(stream: &mut TcpStream, wanted: u16) -> io::Result<Option<Answer>> {
    let (id, _) = method(stream).await?;
    Ok((id != wanted).then(|| unexpected(id)))
}

fn unexpected(id: u16) -> Answer {
    Answer::Other(format!("connection method {id} in the handshake"))
}

/// A `connection.close`: its code and text.
fn refusal(body: &[u8], known: Answer) -> Answer {
    let code = body
        .get(..2)
        .map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
    let length = usize::from(body.get(2).copied().unwrap_or(0));
    let text = body.get(3..3 + length).unwrap_or_default();
    // NOT_ALLOWED is said of virtual hosts only, ACCESS_REFUSED of both.
    if code == ACCESS_REFUSED || code == 530 {
        return known;
    }
    Answer::Other(String::from_utf8_lossy(text).into_owned())
}

/// Reads the next method of class `connection`: its number and arguments.
async fn method(stream: &mut TcpStream) -> io::Result<(u16, Vec<u8>)> {
    let mut head = [0; 7];
    stream.read_exact(&mut head).await?;
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    if head[0] != 1 || !(4..=FRAME_BYTES_MAX).contains(&size) {
        return Err(io::Error::other("what answers does not speak AMQP 0-9-1"));
    }
    let mut body = vec![0; size as usize + 1];
    stream.read_exact(&mut body).await?;
    body.pop();
    let id = u16::from_be_bytes([body[2], body[3]]);
    Ok((id, body.split_off(4)))
}

fn frame(method: &[u8]) -> Vec<u8> {
    let mut frame = vec![1, 0, 0];
    long(&mut frame, method.len());
    frame.extend_from_slice(method);
    frame.push(0xce);
    frame
}

/// Properties with the one capability, then the login.
fn start_ok(url: &AmqpUrl) -> Vec<u8> {
    let mut capabilities = Vec::new();
    short_string(&mut capabilities, "authentication_failure_close");
    capabilities.extend_from_slice(&[b't', 1]);
    let mut properties = Vec::new();
    short_string(&mut properties, "capabilities");
    properties.push(b'F');
    long(&mut properties, capabilities.len());
    properties.extend_from_slice(&capabilities);

    let mut method = vec![0, 10, 0, 11];
    long(&mut method, properties.len());
    method.extend_from_slice(&properties);
    short_string(&mut method, "PLAIN");
    let login = format!("\0{}\0{}", url.user, url.password);
    long(&mut method, login.len());
    method.extend_from_slice(login.as_bytes());
    short_string(&mut method, "en_US");
    method
}

/// `text` is at most 255 bytes: the URL's parts were checked.
fn short_string(to: &mut Vec<u8>, text: &str) {
    to.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    to.extend_from_slice(text.as_bytes());
}

fn long(to: &mut Vec<u8>, length: usize) {
    to.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}
