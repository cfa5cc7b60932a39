//! Dead letters that collectors died over, of whatever.

use std::time::Duration;

use homing_collector::CollectorConfig;
use homing_faults::{CRASH_VARIABLE, Point, is_enabled};
use homing_protocol::{Destination, Message, Properties, Reason, Status};
use homing_tests::{HOMING, Process, World, eventually};

use crate::collector::{envelope, message, publish, report};

/// Returns of a dead letter before it goes to the quarantine, and how often it is
/// taken from there.
const RETURNS: u64 = 10;
const TRIES: u64 = 10;

/// A dead letter that no worker and no broker gave a reason, nor anybody an id: one
/// is like the other.
fn alike(_: u64) -> Message {
    let mut letter = letter(7);
    letter.properties.message_id = None;
    letter
}

/// A dead letter that no worker and no broker gave a reason.
pub(crate) fn letter(n: u64) -> Message {
    let task = envelope(n).to_message(Destination::Dead, n.to_string());
    Message {
        properties: Properties {
            kind: Some("no kind at all".to_owned()),
            ..task.properties
        },
        ..task
    }
}

/// A collector that dies at this point.
fn dying(world: &World, point: Point) -> Process {
    let crash = [(CRASH_VARIABLE, point.name())];
    let flags = ["collector", "--quarantine-after", "1ms"];
    world.start_program_with("dying", HOMING, &flags, &crash)
}

/// Puts letters into quarantine, by collectors that die over them.
pub(crate) async fn quarantine(world: &World, letters: u64, letter: fn(u64) -> Message) {
    publish(world, (0..letters).map(letter)).await;
    let mut deaths = 0;
    while world.ready("quarantine").await < letters {
        let mut dying = world.start_program_with(
            "dying",
            HOMING,
            &["collector"],
            &[(CRASH_VARIABLE, Point::StoreBegun.name())],
        );
        // The last letter may just be on its way.
        let over = async || {
            let all = world.ready("quarantine").await == letters;
            (all || dying.has_ended().is_some()).then_some(())
        };
        eventually("it dies, or all are in quarantine", over).await;
        dying.kill().await;
        deaths += 1;
    }
    assert!(deaths >= RETURNS, "{deaths}");
}

#[tokio::test]
async fn what_collectors_died_over_ten_times_is_stored_by_one_that_works() {
    // More than one letter may be taken.
    const DEAD: u64 = TRIES + 2;
    const OUTCOMES: u64 = 300;
    assert!(is_enabled(), "run the tests by `make test`");
    let world = World::start().await;
    quarantine(&world, DEAD, alike).await;

    let config = CollectorConfig {
        quarantine_after: Duration::ZERO,
        ..CollectorConfig::default()
    };
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let (broker, url) = (world.broker(), world.store_url());
    let collecting = tokio::spawn(async move {
        let stopped = async {
            let _ended = stopped.await;
        };
        homing_collector::run(broker, &url, config, stopped).await
    });
    let store = world.store().await;
    let letters = eventually("all are stored", async || {
        let letters = store.dead(100).await.unwrap();
        (letters.len() == DEAD as usize).then_some(letters)
    });
    // They come although others do meanwhile.
    let outcome = |n| message(&report(&envelope(n), Status::Succeeded, 1), 0);
    let outcomes = publish(&world, (0..OUTCOMES).map(outcome));
    let (letters, ()) = tokio::join!(letters, outcomes);

    for letter in letters {
        assert_eq!(letter.reason, Reason::Unroutable, "{letter:?}");
    }
    let taken = async || world.waiting().await.is_empty().then_some(());
    eventually("all is received", taken).await;
    stop.send(()).unwrap();
    let stored = collecting.await.unwrap().unwrap().stored;
    assert_eq!(stored, DEAD + OUTCOMES);
    assert_eq!(world.waiting().await, []);
}

/// However often it was returned before it came there.
#[tokio::test]
async fn what_ten_collectors_died_of_that_took_it_from_quarantine_stays_there() {
    assert!(is_enabled(), "run the tests by `make test`");
    let world = World::start().await;
    quarantine(&world, 1, letter).await;

    for _ in 0..TRIES {
        let mut dying = dying(&world, Point::CollectorReceived);
        assert_eq!(dying.ended().await, -1, "{}", dying.stderr());
    }

    let collector = dying(&world, Point::CollectorReceived);
    collector.says("so it stays").await;
    let returned = async || (world.ready("quarantine").await == 1).then_some(());
    eventually("it is in quarantine again", returned).await;
    assert_eq!(collector.stop().await, 0);
    assert_eq!(world.store().await.dead(10).await.unwrap(), []);
}
