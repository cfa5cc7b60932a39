use std::collections::HashSet;
use std::time::Duration;

use homing_broker::Window;
use homing_producer::{Producer, SubmitError};
use homing_protocol::Status;
use homing_tests::kind::Echo;
use homing_tests::{Books, Follower, Node, SmallDisk, World};
use tokio::task::block_in_place;

/// How long a patient producer has a message confirmed, refused ones included.
const OUTAGE_MAX: Duration = Duration::from_secs(120);

/// Whether RabbitMQ notices first, or a write fails and it ends or refuses, is
/// its own affair (4.3 may forget until it is started again which exchanges and
/// users there are): what it confirmed is there when it has room and runs again.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_disk_was_full_has_what_it_confirmed_and_takes_the_rest_afterwards() {
    const BEFORE: u64 = 200;
    const DURING: u64 = 400;
    let name = format!("homing-disk-{}", std::process::id());
    // Dropped last: the data of the node are on it.
    let disk = SmallDisk::mount(&std::env::temp_dir().join(name), 128);
    let node = Node::start_on(&disk);
    let world = World::start_at(node.url()).await;
    let worker = world.worker("worker", &[]).await;
    let collector = world.collector("collector").await;
    let producer = world.producer().await;
    let mut ids = HashSet::new();
    for n in 0..BEFORE {
        ids.insert(producer.submit(Echo { n }).await.unwrap().id());
    }

    // While the disk is full the broker may let nobody in.
    let during = producer_with(&world, OUTAGE_MAX).await;
    let impatient = producer_with(&world, Duration::from_secs(2)).await;
    disk.fill();
    let during = tokio::spawn(async move {
        let mut batch = during.batch("during").await?;
        let mut ids = Vec::new();
        for n in 0..DURING {
            ids.push(batch.submit(Echo { n }).await?);
        }
        batch.seal().await?;
        Ok::<_, SubmitError>(ids)
    });
    let told = impatient.submit(Echo { n: 0 }).await;
    disk.make_room();
    block_in_place(|| node.kill());
    block_in_place(|| node.start_again());
    ids.extend(during.await.unwrap().unwrap());
    // Of what it had preallocated there may be room for this one.
    let doubtful = match told {
        Ok(handle) => {
            ids.insert(handle.id());
            0
        }
        Err(SubmitError::Publish { .. }) => 1,
        Err(other) => panic!("{other:?}"),
    };

    let mut follower = Follower::new(world.store().await);
    follower.all(ids.len()).await;
    let expected = Books::balanced(Status::Succeeded, ids.len());
    let books = follower.books(&ids).await;
    // The impatient one may be there or not if nobody said that it was.
    let foreign = books.foreign;
    assert!(foreign <= doubtful, "{books:?}");
    assert_eq!(
        books,
        Books {
            foreign,
            ..expected
        }
    );
    assert_eq!((worker.stop().await, collector.stop().await), (0, 0));
}

async fn producer_with(world: &World, deadline: Duration) -> Producer {
    let window = Window {
        deadline: Some(deadline),
        ..Window::DEFAULT
    };
    Producer::open_with(world.broker(), window).await.unwrap()
}
