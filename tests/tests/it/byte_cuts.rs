//! Every link of a pipeline cut after every byte: each session of twenty tasks
//! passes through six proxies, one for each link, and one of them cuts its link
//! after so many bytes this way or that. Whatever was cut, in the middle of a
//! frame or of a login, the books balance.

use homing_protocol::Status;
use homing_tests::{Books, Cut, Direction, How, scale};
use rand::RngExt as _;

use crate::lane::{LINKS, Lane, TASKS};

/// Cuts of a short run, over all lanes.
const CUTS: usize = 48;

/// Pipelines at once, of a short and of a long run. Each waits most of the time,
/// for a link to come back.
const LANES: [usize; 2] = [4, 12];

/// One place to cut at.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Which link, by number.
    link: usize,
    direction: Direction,
    after: u64,
}

/// The place of every byte that passes in a session.
fn places(recorded: &[[u64; 2]; LINKS.len()]) -> Vec<Place> {
    let ways = recorded.iter().enumerate().flat_map(|(link, bytes)| {
        let ways = Direction::BOTH.iter().zip(bytes);
        ways.map(move |(direction, bytes)| (link, *direction, *bytes))
    });
    let places = ways.flat_map(|(link, direction, bytes)| {
        (0..bytes).map(move |after| Place {
            link,
            direction,
            after,
        })
    });
    places.collect()
}

/// Cuts at every `step`th place from its own first one on.
async fn sweep(places: &[Place], first: f64, step: f64) -> Lane {
    let mut lane = Lane::start().await;
    let mut at = first;
    let mut number = 0;
    while (at as usize) < places.len() {
        let place = places[at as usize];
        let how = [How::Close, How::Reset][number % 2];
        let cut = Cut {
            connection: 0,
            direction: place.direction,
            after: place.after,
            how,
        };
        lane.session(place.link, cut).await;
        at += step;
        number += 1;
    }
    lane
}

#[tokio::test]
async fn a_link_cut_after_any_byte_loses_nothing_and_changes_nothing() {
    let mut recorded = Lane::start().await;
    let places = places(&recorded.record().await);
    recorded.stop().await;
    let cuts = (CUTS * scale()).min(places.len());
    let step = places.len() as f64 / cuts as f64;
    let lanes = LANES[usize::from(scale() > 1)];
    let phase = rand::rng().random_range(0.0..1.0);
    let since = std::time::Instant::now();

    let sweeps = (0..lanes).map(|lane| {
        let first = (lane as f64 + phase) * step;
        sweep(&places, first, step * lanes as f64)
    });
    let lanes = futures::future::join_all(sweeps).await;

    let (mut made, mut tasks, mut runs) = (0, 0, 0);
    for lane in lanes {
        let done = lane.stop().await;
        let total = done.submitted;
        assert_eq!(done.books, Books::balanced(Status::Succeeded, total));
        assert_eq!(done.waiting, []);
        made += done.cuts;
        tasks += total;
        runs += done.runs;
    }
    assert_eq!(made, cuts, "every cut is made");
    assert!(tasks >= cuts * TASKS);
    eprintln!(
        "{made} cuts of {} places in {:.0} s: {tasks} tasks, lost 0, changed 0, {} attempts \
         beyond the first absorbed; phase {phase}",
        places.len(),
        since.elapsed().as_secs_f64(),
        runs - tasks,
    );
}
