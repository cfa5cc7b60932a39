//! `docs/errors.md` says what the program says, where a broker is needed.

use std::path::Path;

use homing_tests::{HOMING, Node, World, program_path};

use crate::sessions;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");

/// Where the page says that the broker is.
const PLACE: &str = "localhost:5672";

/// Sessions on the page that need a broker.
const SESSIONS_MIN: usize = 8;

/// The page's own world: without a namespace, in a broker with a user who may
/// read only and a queue that somebody else declared.
async fn world(node: &Node) -> World {
    node.add_user("limited", "limited", ["", "", ".*"]);
    node.eval(
        "rabbit_amqqueue:declare(rabbit_misc:r(<<\"/\">>, queue, <<\"other.tasks\">>), \
         true, false, [], none, <<\"guest\">>).",
    );
    World::start_named(node.url(), String::new(), Vec::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_a_broker_reads_as_its_page_says() {
    let node = Node::start();
    let world = world(&node).await;
    let words = ["worker", "--run", "demo.words=wc -w"];
    let worker = world.start_program("worker", HOMING, &words);
    worker.says(" from tasks").await;
    let _collector = world.collector("collector").await;
    let here = node.url().replace("127.0.0.1", "localhost");
    let place = here.split(['@', '/']).nth(3).unwrap().to_owned();

    let mut count = 0;
    for (number, session) in sessions::read(Path::new(PAGE)).into_iter().enumerate() {
        if !session.marker.starts_with("console broker") {
            continue;
        }
        count += 1;
        let folder = world.dir.join(format!("session-{number}"));
        let alarmed = session.marker.contains(" alarm ");
        if alarmed {
            node.alarm();
        }
        let said = said(&session, &folder, &place);
        if alarmed {
            node.calm();
        }
        let varying = session.marker.ends_with("varying");
        let seen = |text: &str| {
            if varying {
                fixed(text)
            } else {
                text.to_owned()
            }
        };

        assert_eq!(
            seen(&said),
            seen(&session.text),
            "below `{}`",
            session.heading
        );
    }
    assert!(
        count >= SESSIONS_MIN,
        "the page has {count} sessions with a broker"
    );
}

/// What the commands of `session` say with the broker at `place`, as if it were
/// where the page says.
fn said(session: &sessions::Session, folder: &Path, place: &str) -> String {
    std::fs::create_dir(folder).unwrap();
    let set = format!("$ export AMQP_URL=amqp://guest:guest@{PLACE}/%2f\n");
    let moved = sessions::Session {
        heading: session.heading.clone(),
        marker: session.marker.clone(),
        text: format!("{set}{}", session.text).replace(PLACE, place),
    };
    let said = sessions::run(&moved, &program_path(HOMING), folder).replace(place, PLACE);
    let said = said.strip_prefix(&set).unwrap_or(&said);
    // RabbitMQ 4 says which of the permissions.
    said.replace("- configure access to", "- access to")
        .replace("- write access to", "- access to")
}

/// The text without what differs from run to run: words with digits in them,
/// and units of time.
fn fixed(text: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_end_matches([',', ';']);
        let varies = word.contains(|c: char| c.is_ascii_digit());
        if varies || ["ms", "s", "us", "µs"].contains(&bare) {
            return "#".to_owned();
        }
        word.to_owned()
    };
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}
