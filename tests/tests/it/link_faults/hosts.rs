use std::time::Duration;

use homing_broker::{AmqpUrl, BrokerError, Patience, Publisher, Window, rabbit};
use homing_tests::{Direction, How, Proxy, World};

use super::message;

/// A port of this machine where nobody listens.
fn nobody() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The URL of `world`, at these hosts.
fn at_hosts(world: &World, hosts: &str) -> String {
    let (login, _) = world.url.split_once('@').expect("a URL with a login");
    let (_, vhost) = world.url.rsplit_once('/').expect("a URL with a path");
    format!("{login}@{hosts}/{vhost}")
}

async fn publish(publisher: &Publisher) {
    let confirm = publisher.publish(message("{}")).await.unwrap();
    confirm.await.unwrap();
}

#[tokio::test]
async fn any_of_several_hosts_will_do_and_one_that_comes_back_is_found() {
    let world = World::start().await;
    let (first, second) = (Proxy::start(&world.url), Proxy::start(&world.url));
    let hosts = format!(
        "127.0.0.1:{},127.0.0.1:{},127.0.0.1:{}",
        nobody(),
        first.port(),
        second.port()
    );
    let broker = world.broker_at(&at_hosts(&world, &hosts));
    let gone = |proxy: &Proxy| {
        proxy.refuse(true);
        proxy.cut(How::Reset);
    };

    // One host is dead from the start, whichever is tried first.
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    publish(&publisher).await;
    // Another dies.
    gone(&first);
    publish(&publisher).await;
    assert_eq!((first.open(), second.open()), (0, 1));
    // All are dead, and one comes back.
    gone(&second);
    let waiting = publisher.publish(message("{}")).await.unwrap();
    first.refuse(false);
    waiting.await.unwrap();

    assert_eq!((first.open(), second.open()), (1, 0));
    assert_eq!(world.ready("tasks").await, 3);
}

/// Each host is the first for some of the links.
#[tokio::test]
async fn a_host_that_takes_connections_and_says_nothing_leaves_time_for_the_others() {
    let world = World::start().await;
    let (hangs, works) = (Proxy::start(&world.url), Proxy::start(&world.url));
    hangs.pause(Direction::BOTH);
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", hangs.port(), works.port());
    let url: AmqpUrl = at_hosts(&world, &hosts).parse().unwrap();
    let patience = Patience::Within(Duration::from_secs(8));
    let links = (0..8).map(async |_| {
        let broker = rabbit(url.clone(), world.topology(), patience, "homing test");
        broker.publisher(Window::DEFAULT).await.unwrap()
    });

    let publishers = futures::future::join_all(links).await;

    for publisher in &publishers {
        publish(publisher).await;
    }
    assert_eq!((works.open(), world.ready("tasks").await), (8, 8));
    assert!(hangs.count() > 0, "nobody tried it");
}

#[tokio::test]
async fn an_address_of_the_other_family_where_nobody_listens_is_passed_over() {
    let world = World::start().await;
    let proxy = Proxy::start(&world.url);
    for hosts in [
        format!("[::1]:{port},127.0.0.1:{port}", port = proxy.port()),
        // Maybe `::1` first, where the proxy does not listen.
        format!("localhost:{}", proxy.port()),
    ] {
        let broker = world.broker_at(&at_hosts(&world, &hosts));

        let publisher = broker.publisher(Window::DEFAULT).await.unwrap();

        publish(&publisher).await;
    }
    assert_eq!(world.ready("tasks").await, 2);
}

#[tokio::test]
async fn a_host_whose_name_is_not_known_is_told_from_one_that_refuses() {
    let patience = Patience::Within(Duration::from_secs(3));
    // A resolver that is not there may never answer.
    let url = "amqp://broker.invalid/%2f?connection_timeout=1000";
    let url = url.parse().unwrap();
    let topology = homing_protocol::topology::Topology::new("nowhere".parse().unwrap(), []);
    let broker = rabbit(url, topology, patience, "homing test");

    let error = broker.publisher(Window::DEFAULT).await.unwrap_err();

    let BrokerError::Unreachable { place, cause } = error else {
        panic!("another error: {error:?}");
    };
    assert_eq!(place, "broker.invalid:5672");
    assert!(
        cause.starts_with("no address for the name `broker.invalid`"),
        "{cause}"
    );
}
