//! What can happen to a link: it is silent, its broker hangs, its host is not
//! there, it is cut at the worst moment, a thousand times, or there is no
//! descriptor for it.

mod generations;
mod half_open;
mod hosts;
mod limits;
mod moments;
mod private_broker;

use std::time::{Duration, Instant};

use homing_broker::{Broker, Consumer, Source};
use homing_protocol::{Destination, Message, Properties, QueueName};
use homing_tests::{Proxy, World, eventually, scale};

use crate::lane::{LINKS, Proxies};

/// The heartbeat of a short run, in seconds; a long run has the default.
const HEARTBEAT_SHORT: u64 = 2;

const HEARTBEAT_DEFAULT: u64 = 5;

fn heartbeat() -> u64 {
    match scale() {
        1 => HEARTBEAT_SHORT,
        _ => HEARTBEAT_DEFAULT,
    }
}

fn with_heartbeat(url: &str) -> String {
    format!("{url}?heartbeat={}", heartbeat())
}

/// What noticing takes by the protocol: two heartbeats, and a second.
fn notice_time() -> Duration {
    Duration::from_secs(2 * heartbeat() + 1)
}

/// How long each link takes to connect again from now on.
async fn connects_again(proxies: &Proxies) -> [Duration; LINKS.len()] {
    let since = Instant::now();
    let waits = proxies.each_ref().map(|proxy| async move {
        let before = proxy.count();
        eventually("the link connects again", async || {
            (proxy.count() > before).then_some(since.elapsed())
        })
        .await
    });
    let times = futures::future::join_all(waits).await;
    times.try_into().expect("a time for each link")
}

/// Says what was measured, and fails where something is far off: three times
/// the figure leaves room for a busy machine.
fn say_noticed(what: &str, times: &[Duration; LINKS.len()]) {
    for (link, time) in LINKS.iter().zip(times) {
        eprintln!("{what}: {link} noticed after {:.1} s", time.as_secs_f64());
        assert!(*time < 3 * notice_time(), "{what}: {link} took {time:?}");
    }
}

async fn consumer(broker: &dyn Broker, prefetch: u16) -> Consumer {
    let source = Source::Tasks(QueueName::tasks());
    let prefetch = prefetch.try_into().unwrap();
    broker.consumer(source, prefetch).await.unwrap()
}

fn message(body: impl Into<Vec<u8>>) -> Message {
    let body: Vec<u8> = body.into();
    Message {
        destination: Destination::Queue(QueueName::tasks()),
        properties: Properties {
            message_id: Some(uuid::Uuid::now_v7().to_string()),
            ..Properties::default()
        },
        body: body.into(),
    }
}

/// A world whose every link goes through the proxy.
pub(crate) async fn world_behind(proxy: &Proxy) -> World {
    World::start_at(proxy.url()).await
}
