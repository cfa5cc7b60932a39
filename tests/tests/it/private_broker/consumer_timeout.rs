use homing_protocol::Status;
use homing_tests::kind::{Echo, Gate};
use homing_tests::{Node, Pipeline, World, eventually};

/// Seconds: what a broker of an impatient operator has.
const CONSUMER_TIMEOUT: u64 = 3;

/// The worker believes in 30 min and the broker waits a few seconds: it takes
/// the delivery back while its attempt runs.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_takes_back_runs_again_and_has_one_outcome_and_two_attempts() {
    let node = Node::start_impatient(CONSUMER_TIMEOUT);
    let world = World::start_at(node.url()).await;
    let pipeline = Pipeline::start_in(world, &["--concurrency", "4"]).await;

    let file = pipeline.world.gate("gate");
    let id = pipeline.submit(Gate { file }).await;
    pipeline.began(id, 2).await;
    pipeline.world.open_gate("gate");

    let record = pipeline.closed(id).await;
    assert_eq!(record.report.status, Status::Succeeded);
    let late = async || pipeline.task(id).await.attempts.pop();
    let late = eventually("the other attempt is stored", late).await.report;
    assert_eq!((late.status, late.attempt), (Status::Succeeded, 1));
    assert_ne!(late.attempt_id, record.report.attempt_id);
    assert_eq!(pipeline.closed(id).await, record);
    let after = pipeline.outcome(Echo { n: 1 }).await.unwrap();
    assert_eq!(after.result.unwrap(), 1);
    let said = pipeline.worker.stderr();
    let told = said
        .matches("raise consumer_timeout in rabbitmq.conf")
        .count();
    assert!(told >= 1, "{said}");
    let (worker, collector, world) = pipeline.stop().await;
    assert_eq!((worker, collector), (0, 0));
    assert_eq!(world.waiting().await, []);
}
