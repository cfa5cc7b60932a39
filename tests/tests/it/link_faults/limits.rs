use std::time::{Duration, Instant};

use homing_broker::{PublishError, Window};
use homing_protocol::{HeaderValue, Properties, Status};
use homing_tests::kind::Echo;
use homing_tests::{
    Books, Direction, Follower, How, Proxy, TEST_WORKER, World, eventually, program_path, scale,
};

use super::{message, with_heartbeat, world_behind};

/// Links of a storm.
const STORM: usize = 60;

/// How long the broker is away in a storm: long enough for the longest waits.
const AWAY: Duration = Duration::from_secs(3);

const BODY_BYTES: usize = 100 << 10;

const WINDOW_KIB: u32 = 8 << 10;

/// What the whole process may grow by while 8 MiB are on their way: each body
/// is there as it was given, as it is written, and in buffers.
const GROWTH_KIB_MAX: u64 = 64 << 10;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.unwrap().parse().unwrap()
}

/// A peer that reads nothing more, and a producer that goes on: it waits once
/// its window is full, however often the link is made anew.
#[tokio::test]
async fn while_the_broker_reads_nothing_memory_stays_within_the_window() {
    let proxy = Proxy::start(&with_heartbeat(&World::broker_url()));
    let world = World::start().await;
    let window = Window {
        kib: WINDOW_KIB,
        ..Window::DEFAULT
    };
    let broker = world.broker_at(proxy.url());
    let publisher = broker.publisher(window).await.unwrap();
    let (before, connections) = (resident_kib(), proxy.count());

    proxy.pause(Direction::BOTH);
    let mut confirms = Vec::new();
    let full = async {
        loop {
            let confirm = publisher.publish(message(vec![b'x'; BODY_BYTES]));
            confirms.push(confirm.await.unwrap());
        }
    };
    let again = async || (proxy.count() >= connections + 2).then_some(());
    tokio::select! {
        () = full => unreachable!("it publishes for ever"),
        () = eventually("the link is made anew, twice", again) => {}
    }
    let grown = resident_kib().saturating_sub(before);
    proxy.resume();
    let count = confirms.len();
    for confirm in confirms {
        confirm.await.unwrap();
    }

    eprintln!("{count} bodies of 100 KiB taken, {grown} KiB more resident");
    assert!(count * BODY_BYTES <= (WINDOW_KIB as usize) << 10);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");
}

/// All of them lose the broker at one moment, and find it again at another.
#[tokio::test]
async fn a_storm_of_links_comes_back_spread_out() {
    let proxy = Proxy::start(&World::broker_url());
    let world = World::start().await;
    let broker = world.broker_at(proxy.url());
    let links = (STORM * scale()).min(200);
    let mut publishers = Vec::new();
    for _ in 0..links {
        publishers.push(broker.publisher(Window::DEFAULT).await.unwrap());
    }

    proxy.refuse(true);
    proxy.cut(How::Reset);
    tokio::time::sleep(AWAY).await;
    let count = proxy.count();
    let since = Instant::now();
    proxy.refuse(false);
    let publish = publishers.iter().map(async |publisher| {
        let confirm = publisher.publish(message("{}")).await.unwrap();
        confirm.await.unwrap();
        since.elapsed()
    });
    let mut times = futures::future::join_all(publish).await;

    times.sort();
    let passed = proxy.passed();
    let mut tenths = vec![0; 100];
    for passed in &passed[count..] {
        let tenth = passed.accepted.saturating_duration_since(since).as_millis() / 100;
        tenths[(tenth as usize).min(99)] += 1;
    }
    let most = tenths.iter().max().unwrap();
    let attempts = passed.len() - count;
    eprintln!(
        "{links} links back after {:?} (half of them {:?}) by {attempts} connections, at most \
         {most} within 100 ms",
        times[links - 1],
        times[links / 2]
    );
    // In one moment they would all be in one tenth, or twice as many of them.
    assert!(*most <= links / 2, "{tenths:?}");
}

type Set = fn(&mut Properties, String);

/// The properties that are short strings on the wire, where one byte more than
/// 255 has no form.
const NAMES: [(&str, Set); 6] = [
    ("a message id", |p, name| p.message_id = Some(name)),
    ("a correlation id", |p, name| p.correlation_id = Some(name)),
    ("a kind", |p, name| p.kind = Some(name)),
    ("a content type", |p, name| p.content_type = Some(name)),
    ("a reply-to", |p, name| p.reply_to = Some(name)),
    ("a header's name", |p, name| {
        p.headers.push((name, HeaderValue::Int(1)));
    }),
];

#[tokio::test]
async fn a_name_of_255_bytes_travels_and_one_of_256_is_refused_before_it_is_sent() {
    let world = World::start().await;
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    for (what, set) in NAMES {
        let named = |bytes| {
            let mut message = message("{}");
            set(&mut message.properties, "n".repeat(bytes));
            message
        };

        let refused = publisher.publish(named(256)).await.err();
        let confirmed = publisher.publish(named(255)).await.unwrap().await;

        assert!(
            matches!(&refused, Some(PublishError::TooLarge { what: named, .. }) if *named == what),
            "{what}: {refused:?}"
        );
        assert!(confirmed.is_ok(), "{what}: {confirmed:?}");
    }
    assert_eq!(world.ready("tasks").await, NAMES.len() as u64);
}

/// A process that cannot open anything waits, says so, and goes on.
#[tokio::test]
async fn without_descriptors_links_wait_say_so_and_come_back() {
    let proxy = Proxy::start(&World::broker_url());
    let world = world_behind(&proxy).await;
    let worker = world.worker("worker", &[]).await;
    let collector = world.collector("collector").await;
    let mut follower = Follower::new(world.store().await);
    let producer = world.producer().await;
    let mut ids = std::collections::HashSet::new();
    ids.insert(producer.submit(Echo { n: 0 }).await.unwrap().id());
    follower.all(1).await;

    for process in [&worker, &collector] {
        process.limit_files(3);
    }
    proxy.cut(How::Reset);
    worker.says("too many open files").await;
    collector.says("too many open files").await;
    for n in 1..=20 {
        ids.insert(producer.submit(Echo { n }).await.unwrap().id());
    }
    for process in [&worker, &collector] {
        process.limit_files(1_024);
    }

    follower.all(ids.len()).await;
    for process in [&worker, &collector] {
        assert!(
            !process.stderr().contains("panicked"),
            "{}",
            process.stderr()
        );
    }
    assert_eq!((worker.stop().await, collector.stop().await), (0, 0));
    let books = follower.books(&ids).await;
    assert_eq!(books, Books::balanced(Status::Succeeded, ids.len()));
}

/// A limit that was too low from the start.
#[tokio::test]
async fn a_worker_that_starts_with_too_few_descriptors_says_so_and_does_not_panic() {
    let world = World::start().await;
    let run = format!(
        "ulimit -n 12; exec {} --concurrency 4",
        program_path(TEST_WORKER).display()
    );
    let mut worker = world.start_program("worker", "/bin/sh", &["-c", &run]);

    let told = async || {
        let said = worker.stderr().to_lowercase();
        (said.contains("too many open files") || said.contains("no file descriptors")).then_some(())
    };
    eventually("the worker says what it lacks", told).await;

    assert!(!worker.stderr().contains("panicked"), "{}", worker.stderr());
    if worker.has_ended().is_none() {
        worker.term();
        worker.ended().await;
    }
}
