use homing_protocol::Status;
use homing_tests::kind::Refuse;
use homing_tests::{HOMING, Node, Pipeline, World, eventually, within};
use tokio::task::block_in_place;

use super::alarm::VERB_TIME_MAX;

/// Run again as a kind that takes them: slowly, so that the broker dies in the
/// middle.
const REPLAY: [&str; 6] = [
    "replay",
    "--problems",
    "--as-kind",
    "test.any",
    "--rate",
    "50",
];

/// Takes whatever it is given.
const TAKES_ALL: [&str; 4] = ["worker", "--run", "test.any=cat", "--concurrency=4"];

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_on_when_its_broker_was_killed_and_loses_no_task() {
    const TASKS: u64 = 150;
    let node = Node::start();
    let Pipeline {
        worker,
        collector: _collector,
        producer,
        store,
        world,
    } = Pipeline::start_in(World::start_at(node.url()).await, &[]).await;
    let tasks = (1..=TASKS).map(|amount| Refuse {
        amount: amount % 90,
    });
    producer.submit_all(tasks).await.unwrap();
    let count = async |status| {
        let stats = store.stats(None).await.unwrap();
        let counts = stats.iter().map(|kind| kind.counts.get(status));
        counts.sum::<u64>()
    };
    eventually("all have failed", async || {
        (count(Status::Failed).await == TASKS).then_some(())
    })
    .await;

    assert_eq!(worker.stop().await, 0);

    let mut replay = world.start_program("replay", HOMING, &REPLAY);
    eventually("some are run again", async || {
        (count(Status::Pending).await > 0).then_some(())
    })
    .await;
    block_in_place(|| node.kill());
    block_in_place(|| node.start_again());
    // It may have waited for a confirm as long as it waits.
    let code = replay.ended().await;
    let again = world.homing(&REPLAY[..4]).await;
    let _worker = world.start_program("takes-all", HOMING, &TAKES_ALL);

    assert!([0, 69].contains(&code), "{}", replay.stderr());
    assert_eq!(again.code, 0, "{again:?}");
    eventually("all have succeeded", async || {
        (count(Status::Succeeded).await == TASKS).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_stopped_during_an_alarm_goes_on_with_the_same_run() {
    let node = Node::start();
    let pipeline = Pipeline::start_in(World::start_at(node.url()).await, &[]).await;
    let world = &pipeline.world;
    let task = pipeline.record(Refuse { amount: 1 }).await.report.task;
    assert_eq!(pipeline.worker.stop().await, 0);

    block_in_place(|| node.alarm());
    let mut replay = world.start_program("replay", HOMING, &REPLAY[..4]);
    replay.says("the broker confirms nothing").await;
    replay.term();
    let code = within(VERB_TIME_MAX, "its end", replay.ended()).await;
    block_in_place(|| node.calm());
    let again = world.homing(&REPLAY[..4]).await;
    let _worker = world.start_program("takes-all", HOMING, &TAKES_ALL);

    assert_eq!((code, again.code), (3, 0), "{} {again:?}", replay.stderr());
    let succeeded = async || {
        let record = pipeline.store.record(task).await.unwrap().unwrap();
        (record.report.status == Status::Succeeded).then_some(record)
    };
    let record = eventually("it has succeeded", succeeded).await;
    assert_eq!(record.report.run.get(), 2);
}
