use std::collections::HashSet;

use homing_broker::{PublishError, Window};
use homing_producer::Producer;
use homing_protocol::Status;
use homing_tests::kind::{Echo, Gate};
use homing_tests::{Books, Direction, Follower, How, Pipeline, Proxy, Raw, World, eventually};

use super::{message, world_behind};

const TASKS: usize = 50;

/// The broker has the tasks, and its word for it is lost: the producer cannot
/// know, and publishes them again.
#[tokio::test]
async fn tasks_whose_confirms_are_lost_are_there_twice_and_have_one_outcome() {
    let world = World::start().await;
    let proxy = Proxy::start(&world.url);
    let broker = world.broker_at(proxy.url());
    let producer = Producer::open_with(broker, Window::DEFAULT).await.unwrap();
    let mut batch = producer.batch("unconfirmed").await.unwrap();

    proxy.swallow(&[Direction::FromBroker]);
    let mut ids = HashSet::new();
    for n in 0..TASKS as u64 {
        ids.insert(batch.submit(Echo { n }).await.unwrap());
    }
    let stored = async || (world.ready("tasks").await == TASKS as u64).then_some(());
    eventually("the broker has all tasks", stored).await;
    proxy.cut(How::Reset);
    batch.seal().await.unwrap();
    let twice = world.ready("tasks").await;
    let worker = world.worker("worker", &[]).await;
    let collector = world.collector("collector").await;
    let mut follower = Follower::new(world.store().await);
    follower.all(TASKS).await;
    let drained = async || (world.ready("tasks").await == 0).then_some(());
    eventually("all deliveries are taken", drained).await;

    assert_eq!(twice, 2 * TASKS as u64);
    assert_eq!((worker.stop().await, collector.stop().await), (0, 0));
    let books = follower.books(&ids).await;
    assert_eq!(books, Books::balanced(Status::Succeeded, TASKS));
    assert_eq!(world.waiting().await, []);
    assert_eq!(world.journal().runs().len(), 2 * TASKS);
}

/// As RabbitMQ 4.3 forgets its exchanges while its disk is full.
#[tokio::test]
async fn a_message_whose_exchange_is_missing_for_a_moment_is_confirmed_all_the_same() {
    let world = World::start().await;
    let proxy = Proxy::start(&world.url);
    let broker = world.broker_at(proxy.url());
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    world.broker().delete().await.unwrap();
    proxy.refuse(true);

    let confirm = publisher.publish(message("1")).await.unwrap();
    let barred = async || (proxy.open() == 0).then_some(());
    eventually("the connection has ended over it", barred).await;
    world.broker().apply().await.unwrap();
    proxy.refuse(false);

    confirm.await.unwrap();
    assert_eq!(world.ready("tasks").await, 1);
}

/// The first is in its queue, and its confirm is lost, when the second is refused.
#[tokio::test]
async fn a_message_that_may_be_stored_is_not_told_to_be_refused_with_another() {
    let world = World::start().await;
    let proxy = Proxy::start(&world.url);
    let broker = world.broker_at(proxy.url());
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    proxy.swallow(&[Direction::FromBroker]);
    let first = publisher.publish(message("1")).await.unwrap();
    let stored = async || (world.ready("tasks").await == 1).then_some(());
    eventually("the first is stored", stored).await;
    world.broker().delete().await.unwrap();

    let second = publisher.publish(message("2")).await.unwrap();
    proxy.cut(How::Reset);
    let (first, second) = (first.await, second.await);

    for answer in [first, second] {
        let unknown = matches!(answer, Err(PublishError::Unconfirmed { .. }));
        assert!(unknown, "{answer:?}");
    }
    let alone = publisher.publish(message("3")).await.unwrap().await;
    let refused = matches!(alone, Err(PublishError::Unroutable { .. }));
    assert!(refused, "{alone:?}");
}

/// It is in the queue, and its confirm is lost; then the queue is unbound.
#[tokio::test]
async fn a_message_that_may_be_stored_is_not_told_to_be_returned() {
    let world = World::start().await;
    let queue = world.topology().namespace().name("tasks");
    let proxy = Proxy::start(&world.url);
    let broker = world.broker_at(proxy.url());
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    proxy.swallow(&[Direction::FromBroker]);
    let confirm = publisher.publish(message("1")).await.unwrap();
    let stored = async || (world.ready("tasks").await == 1).then_some(());
    eventually("it is stored", stored).await;
    let mut raw = Raw::connect(&world.url).await;
    raw.unbind_queue(&queue, &queue, &queue).await;

    proxy.cut(How::Reset);

    let answer = confirm.await;
    let unknown = matches!(answer, Err(PublishError::Unconfirmed { .. }));
    assert!(unknown, "{answer:?}");
    let alone = publisher.publish(message("2")).await.unwrap().await;
    let returned = matches!(alone, Err(PublishError::Unroutable { .. }));
    assert!(returned, "{alone:?}");
}

/// The handler goes on, and so does the one that the broker's second delivery
/// starts. The first outcome stays.
#[tokio::test]
async fn a_task_whose_link_is_cut_while_it_runs_has_one_outcome() {
    let proxy = Proxy::start(&World::broker_url());
    let pipeline = Pipeline::start_in(world_behind(&proxy).await, &[]).await;
    let file = pipeline.world.gate("gate");
    let id = pipeline.submit(Gate { file }).await;
    pipeline.began(id, 1).await;

    proxy.cut(How::Reset);
    pipeline.began(id, 2).await;
    pipeline.world.open_gate("gate");
    let first = pipeline.closed(id).await;
    let ended = async || {
        let runs = pipeline.world.journal().runs();
        (runs.iter().filter(|run| run.ended).count() >= 2).then_some(())
    };
    eventually("both attempts end", ended).await;
    // What was reported before it is stored before it.
    let after = pipeline.submit(Echo { n: 1 }).await;
    pipeline.closed(after).await;

    let last = pipeline.closed(id).await;
    assert_eq!(last.report.status, Status::Succeeded);
    assert_eq!(last.report.attempt_id, first.report.attempt_id);
    let (worker, collector, world) = pipeline.stop().await;
    assert_eq!((worker, collector), (0, 0));
    assert_eq!(world.waiting().await, []);
}
