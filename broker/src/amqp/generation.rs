//! One connection, from open to gone.
//!
//! Each lives on a runtime of its own: an amqprs future that is dropped half
//! way, and a panic inside amqprs, leave a connection that looks alive. So none
//! is ever dropped but with the whole runtime, which closes the socket at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use amqprs::callbacks::{ChannelCallback, ConnectionCallback};
use amqprs::channel::{BasicQosArguments, Channel};
use amqprs::connection::{Connection, OpenConnectionArguments};
use amqprs::{Ack, BasicProperties, Cancel, Close, CloseChannel, Nack, Return};
use async_trait::async_trait;
use tokio::net::lookup_host;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::probe::{Answer, probe};
use super::url::AmqpUrl;
use crate::error::BrokerError;

/// How long one call into amqprs may take. Only a peer that reads nothing, or a
/// defect, makes one last: a call writes to a queue that is kept short, or asks
/// something that RabbitMQ answers in milliseconds.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);

/// How often an idle consumer's link is asked whether it is alive.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// What is said of a broker that takes a connection and says nothing.
const LATE: &str = "it does not answer in time";

/// How long opening may take before the broker is asked why.
const PATIENCE_BEFORE_PROBE: Duration = Duration::from_millis(500);

/// Why a generation ended.
#[derive(Debug)]
pub(super) enum End {
    /// It was asked to.
    Done,
    /// Another one is to follow at once, with other settings.
    Again,
    /// Nobody listens there; another host may, or the same one later.
    Unheard(String),
    /// Something broke; another generation may do.
    Broken(String),
    /// Another generation would end the same way, until somebody acts.
    Fatal(BrokerError),
}

impl From<amqprs::error::Error> for End {
    fn from(error: amqprs::error::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// What the broker says on a channel, apart from answers and deliveries.
#[derive(Debug)]
pub(super) enum Event {
    /// It confirms or refuses messages.
    Answered {
        tag: u64,
        multiple: bool,
        confirmed: bool,
    },
    /// It gives back a message that no queue takes.
    Returned { message_id: Option<String> },
    /// It closed the channel or the connection.
    Closed { code: u16, text: String },
    /// It ended the consumer, such as because its queue was deleted.
    Cancelled,
}

/// Where to connect next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Try {
    /// Counts the tries: each host has its turn, and each of its addresses.
    pub(super) turn: usize,
    /// How long all addresses of one host may take together, if somebody waits:
    /// one that hangs must leave time for the others.
    pub(super) limit: Option<Duration>,
}

/// The calls into a connection that have not ended. There are two at once where
/// a link is probed.
#[derive(Debug, Default)]
struct Calls {
    last: u64,
    /// When each began; later ones have higher numbers.
    begun: BTreeMap<u64, Instant>,
}

impl Calls {
    fn begin(&mut self, now: Instant) -> u64 {
        self.last += 1;
        self.begun.insert(self.last, now);
        self.last
    }

    fn end(&mut self, number: u64) {
        self.begun.remove(&number);
    }

    /// When the one began that lasts longest.
    fn oldest(&self) -> Option<Instant> {
        self.begun.values().next().copied()
    }
}

/// An open connection and how long the calls into it have lasted.
pub(super) struct Generation {
    pub(super) connection: Connection,
    /// Where it is connected to.
    pub(super) address: SocketAddr,
    events: mpsc::UnboundedSender<Event>,
    calls: RefCell<Calls>,
}

impl Generation {
    /// Connects to the host and address that are next. What the broker says on any
    /// channel goes to `events`.
    pub(super) async fn open(
        url: &AmqpUrl,
        next: Try,
        name: &str,
        events: mpsc::UnboundedSender<Event>,
    ) -> Result<Self, End> {
        let (hosts, timeout_each) = (url.hosts.len(), url.connect_timeout);
        let host = &url.hosts[next.turn % hosts];
        let limit = next.limit.map_or(timeout_each, |all| all.min(timeout_each));
        let addresses = resolve(host, limit).await?;
        let address = in_turn(&addresses, next.turn / hosts);
        let share = u32::try_from(addresses.len()).ok();
        let limit = match (next.limit, share) {
            (Some(all), Some(share)) => (all / share).min(timeout_each),
            _ => timeout_each,
        };
        // The runtime is dropped with what is late, so nothing is cancelled.
        let connected = timeout(limit, connect(url, host, address, name)).await;
        let connection = connected.unwrap_or_else(|_| Err(End::Broken(LATE.to_owned())))?;
        let callback = Callback(events.clone());
        connection.register_callback(callback).await?;
        Ok(Self {
            connection,
            address,
            events,
            calls: RefCell::default(),
        })
    }

    /// Opens a channel that tells its events.
    pub(super) async fn channel(&self) -> Result<Channel, End> {
        let channel = self.call(self.connection.open_channel(None)).await?;
        let callback = Callback(self.events.clone());
        self.call(channel.register_callback(callback)).await?;
        Ok(channel)
    }

    /// Makes one call into amqprs, watched by [`watch`](Self::watch).
    pub(super) async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, amqprs::error::Error>>,
    ) -> Result<T, End> {
        let number = self.calls.borrow_mut().begin(Instant::now());
        let answer = call.await;
        self.calls.borrow_mut().end(number);
        Ok(answer?)
    }

    /// Ends when the connection is dead although nothing said so.
    pub(super) async fn watch(&self) -> End {
        loop {
            sleep(Duration::from_millis(500)).await;
            if !self.connection.is_open() {
                return End::Broken("the connection ended".to_owned());
            }
            let oldest = self.calls.borrow().oldest();
            if oldest.is_some_and(|since| since.elapsed() > CALL_TIME_MAX) {
                return End::Broken("the broker reads nothing more".to_owned());
            }
        }
    }

    /// Ends when the broker no longer answers on this connection. For links
    /// that do not publish: a broker short of memory or disk does not read from
    /// those that do.
    async fn probe(&self) -> End {
        let channel = match self.channel().await {
            Ok(channel) => channel,
            Err(end) => return end,
        };
        loop {
            sleep(PROBE_EVERY).await;
            let alive = channel.basic_qos(BasicQosArguments::new(0, 1, false));
            // A late answer ends the whole runtime, so nothing is cancelled.
            match timeout(CALL_TIME_MAX, alive).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => return End::Broken("the broker does not answer".to_owned()),
            }
        }
    }

    /// Does `work` as long as the broker answers on this connection.
    pub(super) async fn probed(&self, work: impl Future<Output = Result<(), End>>) -> End {
        let ended = tokio::select! {
            ended = work => ended,
            end = self.probe() => Err(end),
        };
        match ended {
            Ok(()) => End::Done,
            Err(end) => end,
        }
    }

    /// Closes the connection so that what was written last arrives.
    pub(super) async fn close(self) {
        let _late = timeout(Duration::from_secs(2), self.connection.close()).await;
    }
}

/// The addresses of a host, at least one.
async fn resolve((host, port): &(String, u16), limit: Duration) -> Result<Vec<SocketAddr>, End> {
    let cause = match timeout(limit, lookup_host((host.as_str(), *port))).await {
        Ok(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.collect();
            if !addresses.is_empty() {
                return Ok(addresses);
            }
            String::new()
        }
        Ok(Err(error)) => format!(": {}", plain(&error)),
        Err(_) => format!(" within {} s", limit.as_secs_f32()),
    };
    let cause = format!("no address for the name `{host}`{cause}");
    Err(End::Broken(cause))
}

/// Each address has its turn: at one of `localhost` maybe nobody listens, and
/// those of a name may be for a network that is not there.
fn in_turn(addresses: &[SocketAddr], turn: usize) -> SocketAddr {
    addresses[turn % addresses.len()]
}

async fn connect(
    url: &AmqpUrl,
    host: &(String, u16),
    address: SocketAddr,
    name: &str,
) -> Result<Connection, End> {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let arguments = OpenConnectionArguments::new(&ip, address.port(), &url.user, &url.password)
        .virtual_host(&url.vhost)
        .connection_name(name)
        .heartbeat(url.heartbeat_secs)
        .finish();
    let asked = async {
        sleep(PATIENCE_BEFORE_PROBE).await;
        match probe(url, address)
            .await
            .map(|answer| refused(url, host, answer))
        {
            Ok(Some(end)) => end,
            Ok(None) | Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        opened = Connection::open(&arguments) => match opened {
            Ok(connection) => Ok(connection),
            Err(error) => Err(why(url, host, address, &error.to_string()).await),
        },
        end = asked => Err(end),
    }
}

/// Why a connection could not be opened, which amqprs says in words of its own.
async fn why(url: &AmqpUrl, host: &(String, u16), address: SocketAddr, cause: &str) -> End {
    match probe(url, address).await {
        Ok(answer) => refused(url, host, answer).unwrap_or_else(|| End::Broken(cause.to_owned())),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => End::Unheard(plain(&error)),
        Err(error) => End::Broken(plain(&error)),
    }
}

/// An I/O error without its number.
pub(super) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string().to_lowercase();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

fn refused(url: &AmqpUrl, (host, port): &(String, u16), answer: Answer) -> Option<End> {
    let (place, user) = (format!("{host}:{port}"), url.user.clone());
    Some(End::Fatal(match answer {
        Answer::Welcome => return None,
        Answer::Refused => BrokerError::Refused { place, user },
        Answer::NoVirtualHost => BrokerError::VirtualHost {
            place,
            vhost: url.vhost.clone(),
            user,
        },
        Answer::Other(detail) => BrokerError::Protocol { place, detail },
    }))
}

/// Passes on what the broker says. Never calls into amqprs, never panics, never
/// waits: it runs inside amqprs's own tasks.
struct Callback(mpsc::UnboundedSender<Event>);

impl Callback {
    fn tell(&self, event: Event) {
        // Nobody listens any more: the generation is ending.
        let _gone = self.0.send(event);
    }
}

#[async_trait]
impl ConnectionCallback for Callback {
    async fn close(&mut self, _: &Connection, close: Close) -> Result<(), amqprs::error::Error> {
        self.tell(Event::Closed {
            code: close.reply_code(),
            text: close.reply_text().clone(),
        });
        Ok(())
    }

    async fn blocked(&mut self, _: &Connection, _: String) {}

    async fn unblocked(&mut self, _: &Connection) {}

    async fn secret_updated(&mut self, _: &Connection) {}
}

#[async_trait]
impl ChannelCallback for Callback {
    async fn close(
        &mut self,
        _: &Channel,
        close: CloseChannel,
    ) -> Result<(), amqprs::error::Error> {
        self.tell(Event::Closed {
            code: close.reply_code(),
            text: close.reply_text().clone(),
        });
        Ok(())
    }

    async fn cancel(&mut self, _: &Channel, _: Cancel) -> Result<(), amqprs::error::Error> {
        self.tell(Event::Cancelled);
        Ok(())
    }

    async fn flow(&mut self, _: &Channel, active: bool) -> Result<bool, amqprs::error::Error> {
        Ok(active)
    }

    async fn publish_ack(&mut self, _: &Channel, ack: Ack) {
        self.tell(Event::Answered {
            tag: ack.delivery_tag(),
            multiple: ack.mutiple(),
            confirmed: true,
        });
    }

    async fn publish_nack(&mut self, _: &Channel, nack: Nack) {
        self.tell(Event::Answered {
            tag: nack.delivery_tag(),
            multiple: nack.multiple(),
            confirmed: false,
        });
    }

    async fn publish_return(&mut self, _: &Channel, _: Return, from: BasicProperties, _: Vec<u8>) {
        self.tell(Event::Returned {
            message_id: from.message_id().cloned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_hangs_is_seen_although_another_ended_after_it_began() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        let probe = calls.begin(now);
        calls.begin(now + Duration::from_secs(1));

        calls.end(probe);

        assert_eq!(calls.oldest(), Some(now + Duration::from_secs(1)));
    }

    #[test]
    fn every_address_of_a_host_has_its_turn() {
        let addresses = ["[::1]:5672", "127.0.0.1:5672"].map(|a| a.parse().expect("an address"));

        let tried: Vec<_> = (0..4).map(|turn| in_turn(&addresses, turn)).collect();

        assert_eq!(tried, [addresses, addresses].concat());
    }
}
