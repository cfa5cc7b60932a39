//! What a broker that cannot be used looks like, by type.

use std::time::{Duration, Instant};

use homing_broker::{BrokerError, Patience, Source, Window, rabbit};
use homing_protocol::QueueName;
use homing_protocol::topology::Topology;
use homing_tests::World;

async fn publisher_error(url: &str, patience: Patience) -> BrokerError {
    let topology = Topology::new("refused".parse().unwrap(), []);
    let broker = rabbit(url.parse().unwrap(), topology, patience, "homing test");
    broker.publisher(Window::DEFAULT).await.unwrap_err()
}

fn with_login(url: &str, login: &str) -> String {
    let (_, place) = url.split_once('@').expect("a URL with a login");
    format!("amqp://{login}@{place}")
}

#[tokio::test]
async fn a_wrong_password_is_told_from_a_broken_connection_at_once() {
    let world = World::start().await;
    let url = with_login(&world.url, "guest:wrong");
    let since = Instant::now();

    let error = publisher_error(&url, Patience::Forever).await;

    assert!(matches!(error, BrokerError::Refused { .. }), "{error:?}");
    assert!(since.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_missing_virtual_host_is_named() {
    let world = World::start().await;
    let (place, _) = world.url.rsplit_once('/').expect("a URL with a path");

    let error = publisher_error(&format!("{place}/nowhere"), Patience::Forever).await;

    assert!(
        matches!(&error, BrokerError::VirtualHost { vhost, .. } if vhost == "nowhere"),
        "{error:?}"
    );
}

#[tokio::test]
async fn nobody_there_is_unreachable_within_the_patience() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let url = format!("amqp://127.0.0.1:{port}");

    let error = publisher_error(&url, Patience::Within(Duration::from_secs(1))).await;

    let text = error.to_string();
    assert!(matches!(error, BrokerError::Unreachable { .. }), "{text}");
    assert!(text.ends_with("connection refused"), "{text}");
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_named() {
    let world = World::start().await;
    let topology = Topology::new("nothing-here".parse().unwrap(), []);
    let broker = rabbit(
        world.url.parse().unwrap(),
        topology,
        Patience::Forever,
        "homing test",
    );
    let prefetch = 1.try_into().unwrap();

    let source = Source::Tasks(QueueName::tasks());
    let error = broker.consumer(source, prefetch).await.unwrap_err();

    assert!(
        matches!(&error, BrokerError::Missing { what, .. } if what == "queue `nothing-here.tasks`"),
        "{error:?}"
    );
    let differences = broker.check().await.unwrap();
    assert!(
        differences
            .iter()
            .any(|d| d.what == "queue `nothing-here.tasks`")
    );
}
