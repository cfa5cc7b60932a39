use std::collections::HashSet;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use homing_broker::{PublishError, Window};
use homing_protocol::Status;
use homing_tests::kind::Big;
use homing_tests::{Books, Node, Pipeline, TIME_MAX, World, scale, within};
use tokio::task::block_in_place;

use super::{connects_again, message, say_noticed, with_heartbeat};
use crate::lane::Lane;

/// Tasks on their way when the broker hangs.
const LOAD: usize = 2_000;

/// How long the broker hangs beyond what it takes to notice.
const FROZEN: Duration = Duration::from_secs(3);

/// Restarts of a long run.
const RESTARTS_MAX: usize = 20;

/// The broker hangs, everybody gives it up, and it goes on: with connections,
/// consumers and unanswered deliveries of a time that is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_is_noticed_and_goes_on_with_what_it_had() {
    let node = Node::start();
    let mut lane = Lane::start_at(&with_heartbeat(node.url())).await;
    lane.tasks().await;
    let proxies = lane.proxies();
    let hangs = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        block_in_place(|| node.freeze());
        let times = connects_again(&proxies).await;
        tokio::time::sleep(FROZEN).await;
        block_in_place(|| node.thaw());
        times
    };

    let (times, ()) = futures::join!(hangs, lane.many(LOAD));

    lane.tasks().await;
    say_noticed("the broker hangs", &times);
    let done = lane.stop().await;
    let again = done.runs - done.submitted;
    eprintln!("{again} attempts beyond the first absorbed");
    let balanced = Books::balanced(Status::Succeeded, done.submitted);
    assert_eq!((done.books, done.waiting), (balanced, Vec::new()));
}

/// The moment from which on somebody listens at `address`.
fn listens(address: SocketAddr) -> mpsc::Receiver<Instant> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        while TcpStream::connect(address).is_err() {
            std::thread::sleep(Duration::from_millis(2));
        }
        // The test may have failed by now.
        let _gone = tell.send(Instant::now());
    });
    told
}

fn address(url: &str) -> SocketAddr {
    let place = url
        .rsplit_once('@')
        .and_then(|(_, place)| place.split_once('/'));
    place.unwrap().0.parse().unwrap()
}

/// However long it was away.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_back_after_a_kill_or_a_stop_is_used_at_once() {
    let node = Node::start();
    let world = World::start_at(node.url()).await;
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    let restarts = scale().min(RESTARTS_MAX);
    let mut waits = Vec::new();

    for number in 0..restarts {
        // What was declared a moment ago does not outlive a kill.
        tokio::time::sleep(Duration::from_secs(1)).await;
        block_in_place(|| [Node::kill, Node::stop][number % 2](&node));
        let waiting = publisher.publish(message("{}")).await.unwrap();
        let listens = listens(address(node.url()));
        let confirmed = async {
            waiting.await.unwrap();
            Instant::now()
        };
        let started = async { block_in_place(|| node.start_again()) };
        let confirmed = tokio::spawn(confirmed);
        started.await;
        let confirmed = confirmed.await.unwrap();
        let listens = listens.recv().unwrap();
        waits.push(confirmed.saturating_duration_since(listens));
    }

    waits.sort();
    let (half, most) = (waits[restarts / 2], waits[restarts - 1]);
    eprintln!(
        "{restarts} restarts: first confirm {half:?} after the port answers, at most {most:?}"
    );
    assert!(most < Duration::from_secs(20), "{waits:?}");
    assert_eq!(world.ready("tasks").await, restarts as u64);
}

/// The broker closes the channel over such a message, and would over and over.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_larger_than_this_broker_takes_is_refused_and_all_else_goes_on() {
    let node = Node::start_set(&["max_message_size = 100000"]);
    let world = World::start_at(node.url()).await;
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    let sizes = [10, 100_001, 100_000, 300_000, 10];

    let mut confirms = Vec::new();
    for bytes in sizes {
        let message = message(vec![b'x'; bytes]);
        confirms.push(publisher.publish(message).await.unwrap());
    }
    let answers = futures::future::join_all(confirms);
    let answers = within(TIME_MAX, "every answer", answers).await;

    for (bytes, answer) in sizes.into_iter().zip(&answers) {
        let refused = matches!(
            answer,
            Err(PublishError::TooLarge { bytes_max: 100_000, bytes: told, .. }) if *told == bytes
        );
        assert_eq!(refused, bytes > 100_000, "{bytes} bytes: {answer:?}");
        assert!(refused || answer.is_ok(), "{bytes} bytes: {answer:?}");
    }

    // Outcomes: one is too large by itself, the others only together.
    let world = World::start_named(node.url(), "outcomes".to_owned(), Vec::new()).await;
    let pipeline = Pipeline::start_in(world, &["--concurrency", "64"]).await;
    let mut batch = pipeline.producer.batch("large").await.unwrap();
    let mut fits = HashSet::new();
    for _ in 0..60 {
        fits.insert(batch.submit(Big { bytes: 30_000 }).await.unwrap());
    }
    let large = batch.submit(Big { bytes: 150_000 }).await.unwrap();
    batch.seal().await.unwrap();
    for id in fits {
        let record = pipeline.closed(id).await;
        assert_eq!(record.report.status, Status::Succeeded);
    }
    let record = pipeline.closed(large).await;
    assert_eq!(record.report.status, Status::Failed);
    let error = record.report.error.unwrap_or_default();
    assert!(error.contains("at most 100000 are allowed"), "{error}");
}
