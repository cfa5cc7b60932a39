use std::collections::HashSet;
use std::time::Duration;

use homing_broker::{InboxEvent, Source, Window};
use homing_protocol::QueueName;
use homing_tests::{How, Proxy, World, eventually, scale};

use super::{consumer, message, world_behind};

/// Reconnects of a short soak.
const RECONNECTS: usize = 20;

/// Links opened and closed in a short soak.
const LINKS_OPENED: usize = 20;

/// Descriptors or threads that may come and go by the way, such as a name
/// lookup's thread.
const SLACK: usize = 6;

/// Tags of a connection count from 1, so those of the next one are the same. An
/// answer for the first must not be taken for the second.
#[tokio::test]
async fn answers_of_an_old_connection_answer_nothing_on_the_next() {
    let proxy = Proxy::start(&World::broker_url());
    let world = world_behind(&proxy).await;
    let broker = world.broker();
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    let mut consumer = consumer(broker.as_ref(), 10).await;
    for n in 0..4 {
        let confirm = publisher.publish(message(n.to_string())).await.unwrap();
        confirm.await.unwrap();
    }
    let mut old = Vec::new();
    for _ in 0..4 {
        old.push(consumer.recv().await.unwrap().token);
    }

    // A connection that dies right after its first delivery may have died of it,
    // and the next one asks for one at a time.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    proxy.cut(How::Reset);
    let mut again = Vec::new();
    for _ in 0..4 {
        again.push(consumer.recv().await.unwrap());
    }
    // Two old ones acked, in front of the same tags, and two given back.
    let returned = old.split_off(2);
    let replaced = publisher.replace(old, vec![message("4")]).await.unwrap();
    replaced.ack();
    drop(returned);
    let fifth = consumer.recv().await.unwrap();
    let bodies: HashSet<_> = again.iter().map(|d| d.received.body.to_vec()).collect();
    drop((again, fifth));
    consumer.close().await;

    assert_eq!(bodies, (0..4).map(|n| n.to_string().into_bytes()).collect());
    assert_eq!(world.ready("tasks").await, 5);
}

/// A connection that dies at once may have died of what it received, so the next
/// one asks for less; but handlers may take hours to answer.
#[tokio::test]
async fn after_quick_deaths_a_consumer_has_its_prefetch_again_though_nothing_ends() {
    const PREFETCH: u16 = 4;
    let proxy = Proxy::start(&World::broker_url());
    let world = world_behind(&proxy).await;
    let broker = world.broker();
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    let mut consumer = consumer(broker.as_ref(), PREFETCH).await;
    for n in 0..PREFETCH {
        let confirm = publisher.publish(message(n.to_string())).await.unwrap();
        confirm.await.unwrap();
    }
    let first = consumer.recv().await.unwrap();
    proxy.cut(How::Reset);
    let lost = async || first.token.is_lost().then_some(());
    eventually("the connection is seen to have ended", lost).await;

    let mut held = Vec::new();
    while held.len() < usize::from(PREFETCH) {
        let delivery = consumer.recv().await.unwrap();
        if !delivery.token.is_lost() {
            held.push(delivery);
        }
    }

    let bodies: HashSet<_> = held.iter().map(|d| d.received.body.to_vec()).collect();
    assert_eq!(bodies.len(), usize::from(PREFETCH));
}

/// Whoever holds others up for the answer does not do so until the broker is back.
#[tokio::test]
async fn without_a_connection_a_pull_is_answered_at_once_by_nothing() {
    let proxy = Proxy::start(&World::broker_url());
    let world = world_behind(&proxy).await;
    let suspects = Source::Tasks(QueueName::suspect());
    let puller = world.broker().puller(suspects).await.unwrap();
    assert_eq!(puller.waiting().await, Some(0));

    proxy.refuse(true);
    proxy.cut(How::Reset);
    let gone = (puller.waiting().await, puller.pull().await.is_none());
    proxy.refuse(false);

    assert_eq!(gone, (None, true));
    eventually("it waits again", async || puller.waiting().await).await;
}

/// How many descriptors and threads this process has.
fn resources() -> (usize, usize) {
    let count = |dir: &str| std::fs::read_dir(dir).unwrap().count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

fn assert_flat(before: (usize, usize), after: (usize, usize)) {
    eprintln!("descriptors and threads: {before:?}, then {after:?}");
    assert!(after.0 <= before.0 + SLACK, "{before:?}, then {after:?}");
    assert!(after.1 <= before.1 + SLACK, "{before:?}, then {after:?}");
}

#[tokio::test]
async fn a_connection_that_ended_leaves_no_thread_and_no_descriptor() {
    let proxy = Proxy::start(&World::broker_url());
    let world = world_behind(&proxy).await;
    let broker = world.broker();
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    let mut consumer = consumer(broker.as_ref(), 10).await;
    let mut inbox = broker.inbox().await.unwrap();
    let round = async |how| {
        let open = async || (proxy.open() >= 3).then_some(());
        eventually("three links are open", open).await;
        proxy.cut(how);
        let confirm = publisher.publish(message("{}")).await.unwrap();
        confirm.await.unwrap();
    };
    let reconnects = RECONNECTS * scale();

    let mut before = resources();
    for number in 0..reconnects {
        round([How::Close, How::Reset][number % 2]).await;
        // It comes again and again otherwise.
        let delivery = consumer.recv().await.unwrap();
        let replaced = publisher.replace(vec![delivery.token], vec![message("{}")]);
        replaced.await.unwrap().ack();
        while let Ok(event) = inbox.events.try_recv() {
            assert!(matches!(event, InboxEvent::Gap));
        }
        if number == reconnects / 10 {
            before = resources();
        }
    }
    let open = async || (proxy.open() >= 3).then_some(());
    eventually("three links are open", open).await;

    eprintln!("{} connections", proxy.count());
    assert!(proxy.count() >= 3 * reconnects);
    assert_flat(before, resources());
}

#[tokio::test]
async fn a_link_that_was_closed_or_dropped_leaves_no_thread_and_no_descriptor() {
    let world = World::start().await;
    let broker = world.broker();
    let links = async |closed: bool| {
        let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
        let consumer = consumer(broker.as_ref(), 10).await;
        let _inbox = broker.inbox().await.unwrap();
        let confirm = publisher.publish(message("{}")).await.unwrap();
        if closed {
            confirm.await.unwrap();
            publisher.close().await;
            consumer.close().await;
        }
    };
    links(true).await;
    let before = resources();

    for number in 0..LINKS_OPENED * scale() {
        links(number % 2 == 0).await;
    }

    // What was dropped closes by itself, in a moment.
    let flat = async || {
        let now = resources();
        (now.0 <= before.0 + SLACK && now.1 <= before.1 + SLACK).then_some(now)
    };
    let after = eventually("threads and descriptors are gone", flat).await;
    assert_flat(before, after);
}
