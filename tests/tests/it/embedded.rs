//! What is to be said of the embedded broker alone. All that it shares with
//! RabbitMQ is tested by the other modules: `make test-embedded`.

use std::fs::File;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use homing_broker::{
    Broker, BrokerUrl, Confirmed, Consumer, Delivery, Depth, Embedded, Patience, PublishError,
    Publisher, Source, Token, Window, connect,
};
use homing_protocol::topology::Topology;
use homing_protocol::{Destination, Message, Namespace, Properties, QueueName, Status};
use homing_tests::kind::{Echo, Gate};
use homing_tests::{HOMING, Pipeline, SmallDisk, World, eventually};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::timeout;

/// A pipeline on a file of its own.
async fn pipeline(worker: &[&str]) -> Pipeline {
    Pipeline::start_in(World::start_at("sqlite:").await, worker).await
}

#[tokio::test]
async fn what_a_stopped_process_holds_runs_elsewhere_after_a_lease_and_it_answers_for_none_of_it() {
    let pipeline = pipeline(&["--concurrency", "1"]).await;
    let file = pipeline.world.gate("gate");
    let id = pipeline.submit(Gate { file }).await;
    pipeline.began(id, 1).await;

    pipeline.worker.freeze();
    let other = pipeline.world.worker("other", &[]).await;
    pipeline.began(id, 2).await;
    pipeline.worker.thaw();
    pipeline
        .worker
        .says("gave what this process held to others")
        .await;
    pipeline.world.open_gate("gate");
    let record = pipeline.closed(id).await;

    assert_eq!(record.report.status, Status::Succeeded);
    assert_eq!(other.stop().await, 0);
    // The one that was stopped goes on as if it had been started anew.
    let after = pipeline.outcome(Echo { n: 1 }).await.unwrap();
    assert_eq!(after.result.unwrap(), 1);
    let (_, _, world) = pipeline.stop().await;
    assert_eq!(world.waiting().await, []);
}

#[tokio::test]
async fn a_process_that_was_stopped_while_its_queues_were_made_anew_goes_on() {
    let pipeline = pipeline(&[]).await;
    let broker = pipeline.world.broker();
    let id = pipeline
        .submit(Gate {
            file: pipeline.world.gate("gate"),
        })
        .await;
    pipeline.began(id, 1).await;

    pipeline.worker.freeze();
    let mut other = pipeline.world.worker("other", &[]).await;
    pipeline.began(id, 2).await;
    other.kill().await;
    broker.delete().await.unwrap();
    broker.apply().await.unwrap();
    pipeline.worker.thaw();

    let outcome = pipeline.outcome(Echo { n: 1 }).await.unwrap();
    assert_eq!(outcome.result.unwrap(), 1);
}

#[tokio::test]
async fn a_process_that_is_stopped_within_a_write_is_an_error_to_others_and_costs_nobody_a_lease() {
    let pipeline = pipeline(&["--concurrency", "2"]).await;
    let second = pipeline
        .world
        .worker("second", &["--concurrency", "2"])
        .await;
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        let file = pipeline.world.gate(name);
        ids.push(pipeline.submit(Gate { file }).await);
    }
    for id in &ids {
        pipeline.began(*id, 1).await;
    }
    let clients = pipeline.world.dir.join("homing-queue.db-clients");
    let turn = File::open(clients.join("turn")).unwrap();

    turn.lock().unwrap();
    // Longer than a lease in all.
    for _ in 0..4 {
        let said = pipeline
            .world
            .homing(&["submit", "test.echo", r#"{"n":1}"#])
            .await;
        assert_eq!(said.code, 69, "{said:?}");
    }
    turn.unlock().unwrap();
    pipeline.world.open_gate("a");
    pipeline.world.open_gate("b");

    for id in &ids {
        pipeline.closed(*id).await;
        assert_eq!(pipeline.world.journal().began(*id), 1);
    }
    assert_eq!(second.stop().await, 0);
}

#[tokio::test]
async fn an_audit_sees_at_once_what_waits_is_held_or_is_lost() {
    let world = World::start_at("sqlite:").await;
    let collector = world.collector("collector").await;
    let rows = "{\"n\":1}\n{\"n\":2}\n";
    let submit = ["submit", "test.echo", "--rows", "-", "--batch", "night"];
    let said = world.homing_with(&submit, rows).await;
    assert_eq!(said.code, 0, "{said:?}");
    let audit = ["audit", "--batch", "night"];
    let audited = async |code: i32| {
        let look = async || (world.homing(&audit).await.code == code).then_some(());
        eventually(&format!("the audit answers {code}"), look).await;
    };

    audited(4).await;
    world.broker().delete().await.unwrap();
    world.broker().apply().await.unwrap();

    audited(1).await;
    assert_eq!(collector.stop().await, 0);
}

#[tokio::test]
async fn a_file_that_is_deleted_under_a_process_ends_it_with_a_word() {
    let world = World::start_at("sqlite:").await;
    let mut up = world.start_program_with("up", HOMING, &["up", "--demo", "-v"], &NOTHING);
    up.says("takes demo.").await;

    std::fs::remove_file(world.dir.join("homing-queue.db")).unwrap();

    up.says("moved, deleted or replaced while in use").await;
    assert_eq!(up.ended().await, 69);
}

#[tokio::test]
async fn a_full_disk_keeps_publishers_waiting_and_loses_nothing() {
    let name = format!("homing-{}-queue-disk", std::process::id());
    let disk = SmallDisk::mount(&std::env::temp_dir().join(name), 16);
    let url = format!("sqlite:{}", disk.folder().join("queue.db").display());
    let pipeline = Pipeline::start_in(World::start_at(&url).await, &[]).await;
    let first = pipeline.submit(Echo { n: 1 }).await;
    pipeline.closed(first).await;

    disk.fill();
    let submitting = pipeline.producer.submit(Echo { n: 2 });
    let impatient = pipeline
        .world
        .homing(&["submit", "test.echo", r#"{"n":3}"#]);
    let (submitted, impatient) = tokio::join!(async { submitting.await.unwrap().id() }, async {
        let said = impatient.await;
        disk.make_room();
        said
    });

    assert_eq!(impatient.code, 69, "{impatient:?}");
    assert_eq!(
        pipeline.closed(submitted).await.report.status,
        Status::Succeeded
    );
    let (worker, collector, world) = pipeline.stop().await;
    assert_eq!((worker, collector, world.waiting().await), (0, 0, vec![]));
}

/// A publisher and a consumer in one process, and what keeps everybody from writing
/// to their file.
struct OneProcess {
    world: World,
    broker: Arc<dyn Broker>,
    publisher: Publisher,
    consumer: Consumer,
    turn: File,
    proof: Confirmed,
}

impl OneProcess {
    /// Begins with a message that is through, after which the next is handed out at
    /// once.
    async fn start(window: Window) -> Self {
        let world = World::start_at("sqlite:").await;
        let broker = world.broker();
        let publisher = broker.publisher(window).await.unwrap();
        let source = Source::Tasks(QueueName::tasks());
        let prefetch = NonZeroU16::new(10).unwrap();
        let mut consumer = broker.consumer(source, prefetch).await.unwrap();
        let proof = publisher.publish(task(0)).await.unwrap().await.unwrap();
        consumer.recv().await.unwrap().token.ack(&proof);
        let clients = world.dir.join("homing-queue.db-clients");
        let one = Self {
            turn: File::open(clients.join("turn")).unwrap(),
            world,
            broker,
            publisher,
            consumer,
            proof,
        };
        // Nothing else is to be written.
        one.is_empty().await;
        one
    }

    async fn delivery(&mut self) -> Delivery {
        self.consumer.recv().await.unwrap()
    }

    async fn next(&mut self) -> (u64, Token) {
        let delivery = self.delivery().await;
        let number = String::from_utf8(delivery.received.body.to_vec()).unwrap();
        (number.parse().unwrap(), delivery.token)
    }

    /// Whether nothing is in any queue, nor held.
    async fn is_empty(&self) {
        let empty = async || {
            let depths = self.broker.depths().await.unwrap();
            let is_empty = |depth: &Depth| depth.ready == Some(0) && depth.unacked == Some(0);
            let none = depths.iter().all(is_empty);
            none.then_some(())
        };
        eventually("all queues are empty", empty).await;
    }
}

fn task(number: u64) -> Message {
    Message {
        destination: Destination::Queue(QueueName::tasks()),
        properties: Properties::default(),
        body: number.to_string().into(),
    }
}

#[tokio::test]
async fn what_is_handed_out_before_it_is_written_and_given_back_is_confirmed_and_comes_again() {
    let mut one = OneProcess::start(Window::DEFAULT).await;

    one.turn.lock().unwrap();
    let mut confirm = one.publisher.publish(task(1)).await.unwrap();
    let (number, token) = one.next().await;
    assert_eq!(number, 1);
    assert!((&mut confirm).now_or_never().is_none());
    drop(token);
    // By then it was tried to write, and what was given back has been heard of.
    assert!(one.broker.depths().await.is_err());
    one.turn.unlock().unwrap();

    confirm.await.unwrap();
    let again = one.delivery().await;
    assert_eq!(again.received.body, "1");
    assert!(again.received.redelivered);
    again.token.ack(&one.proof);
    one.is_empty().await;
}

#[tokio::test]
async fn what_is_handed_out_before_it_is_written_and_acked_is_confirmed_and_comes_no_more() {
    let mut one = OneProcess::start(Window::DEFAULT).await;

    one.turn.lock().unwrap();
    let confirm = one.publisher.publish(task(1)).await.unwrap();
    let (number, token) = one.next().await;
    assert_eq!(number, 1);
    token.ack(&one.proof);
    one.turn.unlock().unwrap();
    confirm.await.unwrap();
    one.publisher.publish(task(2)).await.unwrap().await.unwrap();

    let (number, token) = one.next().await;
    assert_eq!(number, 2);
    token.ack(&one.proof);
    one.is_empty().await;
}

#[tokio::test]
async fn what_is_handed_out_and_not_written_in_time_is_told_to_be_unconfirmed_and_is_in_no_queue() {
    let window = Window {
        deadline: Some(Duration::from_millis(100)),
        ..Window::DEFAULT
    };
    let mut one = OneProcess::start(window).await;

    one.turn.lock().unwrap();
    let confirm = one.publisher.publish(task(1)).await.unwrap();
    let (_, token) = one.next().await;
    let told = confirm.await;
    one.turn.unlock().unwrap();
    drop(token);

    assert!(
        matches!(told, Err(PublishError::Unconfirmed { .. })),
        "{told:?}"
    );
    one.is_empty().await;
}

#[tokio::test]
async fn a_consumer_is_quiet_once_what_was_handed_out_and_given_up_is_answered() {
    let window = Window {
        deadline: Some(Duration::from_millis(100)),
        ..Window::DEFAULT
    };
    let mut one = OneProcess::start(window).await;

    one.turn.lock().unwrap();
    let confirm = one.publisher.publish(task(1)).await.unwrap();
    let (_, token) = one.next().await;
    confirm.await.unwrap_err();
    one.turn.unlock().unwrap();
    let mut quiet = one.consumer.quiet();
    one.consumer.hold();
    let file = rusqlite::Connection::open(one.world.dir.join("homing-queue.db")).unwrap();
    let load = "SELECT prefetch, held FROM consumer";
    let is_held = async || {
        let load = file.query_row(load, [], |row| Ok((row.get(0)?, row.get(1)?)));
        (load.unwrap() == (0, 1)).then_some(())
    };
    eventually("it is written down that it is held", is_held).await;
    token.ack(&one.proof);

    let reached = timeout(Duration::from_secs(30), quiet.reached()).await;
    reached.expect("it is held, and nothing is open");
}

#[tokio::test]
async fn what_is_handed_out_when_its_queue_is_made_anew_comes_again_by_that_one() {
    let mut one = OneProcess::start(Window::DEFAULT).await;
    let other = one.world.broker();

    other.delete().await.unwrap();
    other.apply().await.unwrap();
    let confirm = one.publisher.publish(task(1)).await.unwrap();
    let (first, token) = one.next().await;
    confirm.await.unwrap();
    let (second, again) = one.next().await;
    token.ack(&one.proof);
    again.ack(&one.proof);

    assert_eq!((first, second), (1, 1));
    one.is_empty().await;
}

#[tokio::test]
async fn what_is_handed_out_when_the_queue_of_another_consumer_goes_comes_once() {
    let mut one = OneProcess::start(Window::DEFAULT).await;
    let dead = one.broker.consumer(Source::Dead, NonZeroU16::MIN).await;
    let _dead = dead.unwrap();

    let file = rusqlite::Connection::open(one.world.dir.join("homing-queue.db")).unwrap();
    let gone = "BEGIN IMMEDIATE;
        DELETE FROM consumer WHERE queue = (SELECT id FROM queue WHERE name LIKE '%dead');
        DELETE FROM queue WHERE name LIKE '%dead';
        UPDATE edition SET number = number + 1;
        COMMIT";
    file.execute_batch(gone).unwrap();
    let confirm = one.publisher.publish(task(1)).await.unwrap();
    let (first, token) = one.next().await;
    confirm.await.unwrap();
    one.publisher.publish(task(2)).await.unwrap().await.unwrap();
    let (second, again) = one.next().await;

    assert_eq!((first, second), (1, 2));
    token.ack(&one.proof);
    again.ack(&one.proof);
    one.broker.apply().await.unwrap();
    one.is_empty().await;
}

#[tokio::test]
async fn what_is_handed_out_when_its_queue_is_gone_may_have_been_done_and_is_told_so() {
    let mut one = OneProcess::start(Window::DEFAULT).await;

    one.world.broker().delete().await.unwrap();
    let confirm = one.publisher.publish(task(1)).await.unwrap();
    let (number, _token) = one.next().await;
    let told = confirm.await;

    assert_eq!(number, 1);
    assert!(
        matches!(told, Err(PublishError::Unconfirmed { .. })),
        "{told:?}"
    );
    // Of the next nobody had anything.
    let told = one.publisher.publish(task(2)).await.unwrap().await;
    assert!(
        matches!(told, Err(PublishError::Unroutable { .. })),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_broker_in_memory_delivers_what_was_published_and_is_gone_with_its_handle() {
    let topology = Topology::new("memory".parse().unwrap(), []);
    let broker = Embedded::in_memory(topology.clone());
    broker.apply().await.unwrap();

    assert_eq!(broker.check().await.unwrap(), []);
    drop(broker);

    let another = Embedded::in_memory(topology);
    assert!(!another.check().await.unwrap().is_empty());
}

/// A broker in memory, and a publisher to the queue of a consumer there.
async fn in_memory(prefetch: u16) -> (Embedded, Publisher, Consumer) {
    let broker = Embedded::in_memory(Topology::new(Namespace::default(), []));
    broker.apply().await.unwrap();
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    let source = Source::Tasks(QueueName::tasks());
    let prefetch = NonZeroU16::new(prefetch).unwrap();
    let consumer = broker.consumer(source, prefetch).await.unwrap();
    (broker, publisher, consumer)
}

#[tokio::test]
async fn what_waits_comes_before_what_is_published_later() {
    let (_broker, publisher, mut consumer) = in_memory(1).await;
    let mut proof = publisher.publish(task(0)).await.unwrap().await.unwrap();
    let mut held = consumer.recv().await.unwrap();

    for number in 1..50 {
        // The one waits; the other comes at the moment at which there is room.
        let one = 2 * number;
        proof = publisher.publish(task(one)).await.unwrap().await.unwrap();
        held.token.ack(&proof);
        let confirm = publisher.publish(task(one + 1)).await.unwrap();
        held = consumer.recv().await.unwrap();
        assert_eq!(held.received.body, one.to_string());
        held.token.ack(&proof);
        held = consumer.recv().await.unwrap();
        assert_eq!(held.received.body, (one + 1).to_string());
        confirm.await.unwrap();
    }
    held.token.ack(&proof);
}

#[tokio::test]
async fn what_came_back_comes_before_what_is_published_later() {
    let (broker, publisher, mut consumer) = in_memory(2).await;
    publisher.publish(task(0)).await.unwrap().await.unwrap();
    let proof = publisher.publish(task(1)).await.unwrap().await.unwrap();
    let first = consumer.recv().await.unwrap();
    let second = consumer.recv().await.unwrap();
    consumer.set_prefetch().to(NonZeroU16::MIN);

    // Waits, since there is room for the other alone.
    drop(first);
    let waits = async || {
        let depths = broker.depths().await.unwrap();
        let mut ready = depths.iter().filter_map(|depth| depth.ready);
        ready.any(|ready| ready == 1).then_some(())
    };
    eventually("it waits", waits).await;
    second.token.ack(&proof);
    let confirm = publisher.publish(task(2)).await.unwrap();

    let next = consumer.recv().await.unwrap();
    assert_eq!(next.received.body, "0");
    next.token.ack(&proof);
    let last = consumer.recv().await.unwrap();
    assert_eq!(last.received.body, "2");
    last.token.ack(&proof);
    confirm.await.unwrap();
}

/// What two consumers of a broker in memory get when they and a publisher do what
/// `seed` says: which of them, which message, and how often it had come back.
async fn history(seed: u64) -> Vec<(usize, Vec<u8>, u32)> {
    let broker = connect(
        BrokerUrl::Memory,
        Topology::new(Namespace::default(), []),
        Patience::Forever,
        "test",
    );
    broker.apply().await.unwrap();
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    let (mut consumers, mut held, mut history) = (Vec::new(), [Vec::new(), Vec::new()], Vec::new());
    for prefetch in [2, 3] {
        let prefetch = NonZeroU16::new(prefetch).unwrap();
        consumers.push(
            broker
                .consumer(Source::Tasks(QueueName::tasks()), prefetch)
                .await
                .unwrap(),
        );
    }
    let mut chance = StdRng::seed_from_u64(seed);
    let mut last = None;
    for number in 0..400 {
        let who = chance.random_range(0..2);
        match chance.random_range(0..4) {
            0 => {
                let message = Message {
                    destination: Destination::Queue(QueueName::tasks()),
                    properties: Properties::default(),
                    body: format!("{number}").into(),
                };
                last = Some(publisher.publish(message).await.unwrap().await.unwrap());
            }
            1 if !held[who].is_empty() => drop(held[who].remove(0)),
            2 if !held[who].is_empty() => {
                let token: Token = held[who].remove(0);
                token.ack(last.as_ref().expect("something was published before"));
            }
            _ => {
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                }
                if let Some(Some(delivery)) = consumers[who].recv().now_or_never() {
                    let received = delivery.received;
                    history.push((who, received.body.to_vec(), received.delivery_count));
                    held[who].push(delivery.token);
                }
            }
        }
    }
    history
}

#[tokio::test]
async fn in_memory_the_same_seed_is_the_same_history() {
    for seed in 0..20 {
        let (first, second) = (history(seed).await, history(seed).await);
        assert!(first.len() > 50, "{first:?}");
        assert_eq!(first, second, "seed {seed}");
        assert_ne!(first, history(seed + 1).await);
    }
}

/// Variables under which a program finds nothing but what is in its folder.
const NOTHING: [(&str, &str); 3] = [
    ("AMQP_URL", ""),
    ("HOMING_STORE", ""),
    ("HOMING_NAMESPACE", ""),
];

/// Runs `homing` in the world's folder to its end: its exit code, and what it said.
async fn alone(world: &World, name: &str, arguments: &[&str]) -> (i32, String) {
    let mut program = world.start_program_with(name, HOMING, arguments, &NOTHING);
    let code = program.ended().await;
    (code, program.stdout() + &program.stderr())
}

#[tokio::test]
async fn up_runs_what_is_submitted_in_its_folder_and_keeps_it_when_it_is_killed() {
    let world = World::start_at("sqlite:").await;
    std::fs::write(world.gate("poem.txt"), "roses are red\n").unwrap();
    let up = ["up", "--demo", "-v"];
    let start = async |name: &str| {
        let up = world.start_program_with(name, HOMING, &up, &NOTHING);
        up.says("collecting from").await;
        up.says("takes demo.").await;
        up
    };
    let task = ["submit", "demo.words", r#"{"path":"poem.txt"}"#, "--wait"];

    let mut up = start("up").await;
    let (code, said) = alone(&world, "first", &task).await;
    assert!(
        code == 0 && said.contains("{\"words\":3,\"lines\":1}"),
        "{said}"
    );
    let misfit = ["submit", "demo.checksum", r#"{"pth":"poem.txt"}"#];
    let (code, said) = alone(&world, "misfit", &misfit).await;
    assert!(
        code == 2 && said.contains("missing properties 'path'"),
        "{said}"
    );
    up.kill().await;

    let nowhere = ["submit", "demo.echo", "1"];
    assert_eq!(alone(&world, "nowhere", &nowhere).await.0, 78);
    let up = start("up-again").await;
    let (_, listed) = alone(&world, "list", &["list"]).await;
    assert!(listed.contains("demo.words"), "{listed}");
    assert_eq!(alone(&world, "second", &task).await.0, 0);
    assert_eq!(up.stop().await, 0);
}

#[tokio::test]
async fn up_says_what_a_person_wants_to_know_and_writes_no_log() {
    let world = World::start_at("sqlite:").await;
    let as_it_is = [&NOTHING[..], &[("HOMING_LOG", "")]].concat();
    let up = world.start_program_with("up", HOMING, &["up", "--demo"], &as_it_is);
    up.says("In a second terminal").await;
    let task = ["submit", "demo.echo", "7", "--wait"];
    assert_eq!(alone(&world, "submit", &task).await.0, 0);

    up.term();
    up.says("stopped; all that was done is stored").await;

    let said = up.stderr();
    assert!(!said.contains(" INFO "), "{said}");
    assert_eq!(said.matches("stopp").count(), 2, "{said}");
}

#[tokio::test]
async fn tasks_that_wait_where_no_worker_is_are_named_with_their_kind() {
    let world = World::start_at("sqlite:").await;
    let up = world.start_program_with("up", HOMING, &["up", "-v"], &NOTHING);
    up.says("collecting from").await;

    assert_eq!(alone(&world, "submit", &["submit", "a.b", "1"]).await.0, 0);
    let (_, listed) = alone(&world, "list", &["list"]).await;

    assert!(listed.contains("wait"), "{listed}");
    assert!(listed.contains("`a.b` 1"), "{listed}");
    assert_eq!(up.stop().await, 0);
}

/// A worker that knows none of them has put them off.
#[tokio::test]
async fn tasks_of_a_kind_that_no_worker_knows_are_named_and_end_with_an_outcome_each() {
    let world = World::start_at("sqlite:").await;
    let up = world.start_program_with("up", HOMING, &["up", "--demo", "-v"], &NOTHING);
    up.says("takes demo.").await;
    let declared = async || {
        let schema = alone(&world, "schema", &["schema", "demo.words"]).await;
        (schema.0 == 0).then_some(())
    };
    eventually("demo.words is declared", declared).await;

    let (code, said) = alone(&world, "submit", &["submit", "demo.wrods", "1"]).await;
    assert!(
        code == 0 && said.contains("is `demo.words` meant"),
        "{said}"
    );
    let id = said.lines().next().unwrap().to_owned();
    for (name, verb, told) in [
        ("doctor", &["doctor"][..], "`demo.wrods` 1"),
        ("queues", &["queues"], "`demo.wrods` 1"),
        ("list", &["list"], "`demo.wrods` 1"),
        ("audit", &["audit"], "tasks waiting: 1"),
    ] {
        let look = async || {
            alone(&world, name, verb)
                .await
                .1
                .contains(told)
                .then_some(())
        };
        eventually(&format!("{name} tells"), look).await;
    }
    let (_, others) = alone(&world, "others", &["list", "--kind", "demo.echo"]).await;
    assert!(!others.contains("demo.wrods"), "{others}");

    let ends = [
        "worker",
        "--unknown-grace",
        "24h",
        "--run",
        "demo.wrods=exit 65",
    ];
    let worker = world.start_program_with("worker", HOMING, &ends, &NOTHING);
    assert_eq!(alone(&world, "failed", &["wait", &id]).await.0, 1);
    let meant = ["--kind", "demo.wrods", "--as-kind", "demo.echo"];
    let replay = [&["replay"][..], &meant].concat();
    assert_eq!(alone(&world, "replay", &replay).await.0, 0);
    let (code, said) = alone(&world, "succeeded", &["wait", &id]).await;

    assert!(code == 0 && said.starts_with("1\n"), "{said}");
    let (_, queues) = alone(&world, "none", &["queues"]).await;
    assert!(!queues.contains("demo.wrods"), "{queues}");
    assert_eq!((worker.stop().await, up.stop().await), (0, 0));
}

#[tokio::test]
async fn bench_alone_measures_a_broker_in_memory() {
    let world = World::start_at("sqlite:").await;
    let load = ["--tasks", "100", "--lone", "4", "--json"];
    let bench = [&["bench", "--broker", "memory:"][..], &load].concat();

    let (code, said) = alone(&world, "bench", &bench).await;
    let (refused, why) = alone(&world, "queues", &["queues", "--broker", "memory:"]).await;

    assert_eq!(code, 0, "{said}");
    let lines = said
        .lines()
        .filter(|line| line.contains("\"stored_per_sec\""));
    assert_eq!(lines.count(), 4, "{said}");
    assert!(
        refused == 78 && why.contains("of one process alone"),
        "{why}"
    );
}

#[tokio::test]
async fn a_second_up_in_a_folder_is_refused() {
    let world = World::start_at("sqlite:").await;
    let up = world.start_program_with("up", HOMING, &["up", "-v"], &NOTHING);
    up.says("collecting from").await;

    let (code, said) = alone(&world, "second", &["up"]).await;

    assert_eq!(code, 69);
    assert!(said.contains("another `homing up` runs"), "{said}");
    assert_eq!(up.stop().await, 0);
}

#[tokio::test]
async fn up_that_is_told_twice_to_stop_ends_at_once_with_130() {
    let world = World::start_at("sqlite:").await;
    let mut up = world.start_program_with("up", HOMING, &["up", "--demo", "-v"], &NOTHING);
    up.says("takes demo.").await;
    let long = ["submit", "demo.sleep", r#"{"ms":60000}"#];
    assert_eq!(alone(&world, "submit", &long).await.0, 0);
    let runs = async || {
        let (_, queues) = alone(&world, "queues", &["queues", "--json"]).await;
        queues.contains("\"unacked\":1").then_some(())
    };
    eventually("it runs", runs).await;

    up.term();
    up.says("again stops at once").await;
    up.term();

    assert_eq!(up.ended().await, 130);
}
