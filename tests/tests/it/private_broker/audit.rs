use std::num::NonZeroU16;
use std::time::SystemTime;

use homing_broker::{Source, Window};
use homing_protocol::{
    Destination, QueueName, Report, Status, Timestamp, decode_tasks, encode_reports,
};
use homing_tests::{Node, Said, World, eventually};
use serde_json::{Value, json};
use tokio::task::block_in_place;

/// How old the numbers of a node may be that was started for tests: it counts
/// every half second, and collects every half second.
const AGE: &str = "1100ms";

/// Submits these rows as a batch and waits until it is known to be sealed.
async fn batch(world: &World, kind: &str, rows: &str) -> String {
    let label = uuid::Uuid::now_v7().to_string();
    std::fs::write(world.dir.join(&label), rows).unwrap();
    let submit = ["submit", kind, "--rows", &label, "--batch", &label];
    let said = world.homing(&[&submit[..], &["--json"]].concat()).await;
    assert_eq!(said.code, 0, "{said:?}");
    let batch = said.json().remove(0)["batch"].as_str().unwrap().to_owned();
    eventually("the batch is sealed", async || {
        let said = world.homing(&["audit", "--batch", &batch]).await;
        (said.code != 5 && !said.stdout.contains("open")).then_some(())
    })
    .await;
    batch
}

struct Auditor<'a> {
    world: &'a World,
    node: &'a Node,
}

impl Auditor<'_> {
    async fn audit(&self, of: &[&str]) -> Said {
        let management = self.node.management_url();
        let flags = [
            "audit",
            "--json",
            "--management-url",
            &management,
            "--management-age",
            AGE,
        ];
        self.world.homing(&[&flags[..], of].concat()).await
    }

    /// Audits until the verdict is `wanted`.
    async fn verdict(&self, batch: &str, wanted: &str) -> Value {
        let look = async || {
            let line = self.audit(&["--batch", batch]).await.json().remove(0);
            (line["verdict"] == wanted).then_some(line)
        };
        eventually(&format!("the verdict is {wanted}"), look).await
    }

    /// What `homing queues` says of `tasks`.
    async fn unacked(&self) -> Value {
        let management = self.node.management_url();
        let queues = ["queues", "--json", "--management-url", &management];
        let said = self.world.homing(&queues).await;
        said.json().remove(0)["unacked"].clone()
    }

    fn purge(&self, queue: &str) {
        let name = self.world.topology().namespace().name(queue);
        block_in_place(|| self.node.purge(&name));
    }
}

/// Of three batches the first is done; the rows of the second, and the second
/// attempt at the one row of the third, are purged.
#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_on_the_way_and_what_an_operator_purged_is_lost_and_named() {
    let node = Node::start_with_management();
    let world = World::start_at(node.url()).await;
    let auditor = Auditor {
        world: &world,
        node: &node,
    };
    let _collector = world.collector("collector").await;
    let worker = world.worker("worker", &[]).await;

    let gate = json!({"file": world.gate("gate")}).to_string();
    let done = batch(&world, "test.gate", &gate).await;
    // What runs is unacked: nothing but the management API tells that.
    let running = auditor.verdict(&done, "on-the-way").await;
    let unacked = auditor.unacked().await;
    world.open_gate("gate");
    auditor.verdict(&done, "proved").await;
    assert_eq!(worker.stop().await, 0);
    let retrying = batch(&world, "test.echo", "{\"n\":1}\n").await;
    report_retrying(&world).await;
    let known = async || {
        let line = auditor
            .audit(&["--batch", &retrying])
            .await
            .json()
            .remove(0);
        (line["ids"].as_array().map(Vec::len) == Some(1)).then_some(())
    };
    eventually("the first attempt is stored", known).await;
    let waiting = batch(&world, "test.echo", "{\"n\":1}\n{\"n\":2}\n").await;
    auditor.purge("tasks");
    let all = async || {
        let said = auditor.audit(&[]).await;
        (said.code == 1).then_some(said)
    };
    let said = eventually("something is lost", all).await;

    assert_eq!(running["missing"], 1);
    assert_eq!(unacked, 1);
    let lines = said.json();
    let of = |batch: &str| lines.iter().find(|l| l["batch"] == batch).unwrap();
    let [done, retrying, waiting] = [of(&done), of(&retrying), of(&waiting)];
    assert_eq!(done["verdict"], "proved");
    assert_eq!(
        (&waiting["verdict"], &waiting["rows"]),
        (&json!("lost"), &json!([[1, 2]]))
    );
    assert_eq!(
        (&retrying["verdict"], &retrying["rows"]),
        (&json!("lost"), &json!([[1, 1]]))
    );
    assert_eq!(retrying["ids"].as_array().map(Vec::len), Some(1));
    assert!(said.stderr.contains("Submit those tasks again"), "{said:?}");
}

/// Says of the one task in `tasks`, as its worker would, that it is to be tried
/// again.
async fn report_retrying(world: &World) {
    let broker = world.broker();
    let from = Source::Tasks(QueueName::tasks());
    let mut consumer = broker.consumer(from, NonZeroU16::MIN).await.unwrap();
    let delivery = consumer.recv().await.unwrap();
    let now = Timestamp::from(SystemTime::now());
    let task = decode_tasks(&delivery.received, None, now, || unreachable!())
        .unwrap()
        .tasks
        .remove(0);
    let mut report = Report::new(&task, Status::Retrying, "tasks", now);
    report.attempt = 1;
    report.attempt_id = Some(uuid::Uuid::now_v7().into());
    let to = Destination::Results { key: 0 };
    let id = uuid::Uuid::now_v7().to_string();
    let message = encode_reports(&[report], to, id, now).unwrap();
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    publisher.publish(message).await.unwrap().await.unwrap();
    // The delivery goes back.
    drop(delivery);
    consumer.close().await;
}
