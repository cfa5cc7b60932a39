//! The permissions on the topology page: with them each role can do its job,
//! and is refused all else.

use std::fs::read_to_string;

use homing_protocol::{ResultsQueues, Status};
use homing_tests::kind::{Echo, Flaky, Refuse};
use homing_tests::{Answer, Node, Raw, RawProperties, World, eventually};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/topology.md");

/// The page's namespace.
const NAMESPACE: &str = "orders";

/// A role of the page, as a user of the broker.
struct Role {
    user: &'static str,
    /// How the page calls it.
    row: &'static str,
    /// Exchanges it may publish to, of those in [`EXCHANGES`].
    writes: &'static [&'static str],
    /// Queues it may read, of those in [`QUEUES`].
    reads: &'static [&'static str],
}

const EXCHANGES: [&str; 8] = [
    "tasks",
    "delay.3",
    "batches",
    "results",
    "dead",
    "quarantine",
    "due",
    "replies",
];

const QUEUES: [&str; 7] = [
    "tasks",
    "tasks.suspect",
    "results",
    "results.1",
    "dead",
    "quarantine",
    "delay.3",
];

const ROLES: [Role; 4] = [
    Role {
        user: "producer",
        row: "| producer |",
        writes: &["tasks", "delay.3", "batches"],
        reads: &[],
    },
    Role {
        user: "awaiting",
        row: "| … that awaits outcomes |",
        writes: &["tasks", "delay.3", "batches"],
        reads: &[],
    },
    Role {
        user: "worker",
        row: "| worker |",
        writes: &["tasks", "delay.3", "results", "dead", "replies"],
        reads: &["tasks", "tasks.suspect"],
    },
    Role {
        user: "collector",
        row: "| collector |",
        writes: &["tasks"],
        reads: &["results", "results.1", "dead", "quarantine"],
    },
];

impl Role {
    /// What the page gives it: configure, write, read.
    fn permissions(&self, page: &str) -> [String; 3] {
        let line = page.lines().find(|line| line.starts_with(self.row));
        let line = line.unwrap_or_else(|| panic!("no row `{}`", self.row));
        let patterns: Vec<_> = line.split('`').skip(1).step_by(2).collect();
        let pattern = |index: usize| patterns[index].replace(r"\|", "|");
        [pattern(0), pattern(1), pattern(2)]
    }

    fn url(&self, node: &Node) -> String {
        let user = self.user;
        node.url()
            .replacen("guest:guest", &format!("{user}:{user}"), 1)
    }

    fn add(&self, node: &Node, page: &str) {
        let [configure, write, read] = self.permissions(page);
        node.add_user(self.user, self.user, [&configure, &write, &read]);
    }
}

fn is_refused(answer: &Answer) -> bool {
    matches!(answer, Answer::Closed { code: 403, .. })
}

/// Asks for everything, and compares the answers with what the role is for.
async fn assert_refused_all_else(role: &Role, url: &str) {
    let name = |part: &str| format!("{NAMESPACE}.{part}");
    for exchange in EXCHANGES {
        let mut raw = Raw::connect(url).await;
        raw.confirm().await;
        let properties = RawProperties::task("test.echo");
        let answer = raw
            .publish(&name(exchange), "nowhere", &properties, b"")
            .await;
        let may = role.writes.contains(&exchange);
        assert_eq!(is_refused(&answer), !may, "{}: {exchange}", role.user);
    }
    for foreign in ["", "amq.topic"] {
        let mut raw = Raw::connect(url).await;
        raw.confirm().await;
        let properties = RawProperties::task("test.echo");
        let answer = raw
            .publish(foreign, &name("results"), &properties, b"")
            .await;
        assert!(is_refused(&answer), "{}: `{foreign}`", role.user);
    }
    for queue in QUEUES {
        let answer = Raw::connect(url).await.may_get(&name(queue)).await;
        let may = role.reads.contains(&queue);
        assert_eq!(is_refused(&answer), !may, "{}: {queue}", role.user);
        let answer = Raw::connect(url).await.may_delete(&name(queue)).await;
        assert!(is_refused(&answer), "{} deletes {queue}", role.user);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_does_its_job_with_the_documented_permissions_and_nothing_else() {
    let node = Node::start();
    let mut world = World::start_named(node.url(), NAMESPACE.to_owned(), Vec::new()).await;
    let two = ResultsQueues::new(2).unwrap();
    world.broker().spread(two).await.unwrap();
    let page = read_to_string(PAGE).unwrap();
    ROLES.iter().for_each(|role| role.add(&node, &page));
    let [producer, awaiting, worker, collector] = ROLES.each_ref().map(|role| role.url(&node));

    world.url = worker;
    let worker = world.worker("worker", &[]).await;
    world.url = collector;
    let collector = world.collector("collector").await;
    let store = world.store().await;
    world.url = awaiting;
    let asking = world.producer().await;
    let echoed = asking.submit(Echo { n: 7 }).await.unwrap();
    let flaky = asking.submit(Flaky { failures: 1 }).await.unwrap();
    let outputs = (echoed.outcome().await, flaky.outcome().await);
    world.url = producer;
    let mut batch = world.producer().await.batch("permitted").await.unwrap();
    let refused = batch.submit(Refuse { amount: 1 }).await.unwrap();
    batch.seal().await.unwrap();
    let failed = eventually("an outcome", async || {
        let record = store.record(refused).await.unwrap();
        record.filter(|record| record.report.status.is_closed())
    });

    assert_eq!(outputs.0.unwrap().result.unwrap(), 7);
    assert_eq!(outputs.1.unwrap().result.unwrap(), 2);
    assert_eq!(failed.await.report.status, Status::Failed);
    assert_eq!((worker.stop().await, collector.stop().await), (0, 0));
    for role in &ROLES {
        assert_refused_all_else(role, &role.url(&node)).await;
    }
    node.url().clone_into(&mut world.url);
}
