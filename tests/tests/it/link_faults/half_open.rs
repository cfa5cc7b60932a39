use homing_protocol::Status;
use homing_tests::{Books, Direction, How, World};

use super::{connects_again, say_noticed, with_heartbeat};
use crate::lane::Lane;

/// Tasks on their way when the links fall silent: more than the windows and
/// prefetches have room for.
const LOAD: usize = 3_000;

/// What a peer that has lost its network, or the way back, looks like.
const SILENCES: [(&str, &[Direction]); 3] = [
    ("both ways", Direction::BOTH),
    ("nothing arrives", &[Direction::FromBroker]),
    ("nothing is sent", &[Direction::ToBroker]),
];

async fn silence(what: &str, directions: &[Direction], load: usize) {
    let url = with_heartbeat(&World::broker_url());
    let mut lane = Lane::start_at(&url).await;
    lane.tasks().await;
    let proxies = lane.proxies();
    let noticed = async {
        if load > 0 {
            // So that everybody is in the middle of it.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        proxies.iter().for_each(|proxy| proxy.swallow(directions));
        connects_again(&proxies).await
    };

    let (times, ()) = futures::join!(noticed, lane.many(load));

    lane.tasks().await;
    let how = ["idle", "loaded"][usize::from(load > 0)];
    say_noticed(&format!("{what}, {how}"), &times);
    // What was not acked comes again once the broker notices, which it may not have.
    proxies.iter().for_each(|proxy| proxy.cut(How::Reset));
    lane.tasks().await;
    let done = lane.stop().await;
    let balanced = Books::balanced(Status::Succeeded, done.submitted);
    assert_eq!((done.books, done.waiting), (balanced, Vec::new()));
}

/// Nobody says that a half-open link is gone: producer, worker and collector
/// notice by what they do not hear, and go on by themselves.
#[tokio::test]
async fn silent_links_are_noticed_idle_and_loaded_and_everybody_goes_on() {
    let lanes = SILENCES
        .iter()
        .flat_map(|(what, directions)| [0, LOAD].map(|load| silence(what, directions, load)));
    futures::future::join_all(lanes).await;
}
