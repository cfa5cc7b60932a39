//! Which task a message is: the same one however often it is delivered,
//! published again, dead-lettered or read by a newer or older build.

mod message;

use homing_protocol::{
    DeadLetter, Destination, Properties, QueueName, Reason, Received, TaskId, decode_tasks,
};
use message::{NOW, foreign, id, int, minted, received, text};

const A: &str = "01a1fc18-d018-7064-9c80-317fa3b1799d";
const B: &str = "01a1fc18-d018-7064-9c80-317fa3b1799e";

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Who the message is, and whether that was made up just now.
fn identity(received: &Received) -> Result<(TaskId, bool), String> {
    let identity = decode_tasks(received, None, NOW, minted).map_err(|e| e.to_string())?;
    Ok((identity.tasks[0].id, identity.minted))
}

/// Every row of the table: the properties, the task they name.
fn rows() -> Vec<(&'static str, Properties, TaskId)> {
    let row = |headers, message_id, correlation_id| Properties {
        headers,
        message_id,
        correlation_id,
        ..Properties::default()
    };
    let ours = || int("homing-version", 1);
    let task = || text("homing-task", A);
    vec![
        (
            "ours: the correlation id, whatever the message id",
            row(vec![ours()], some(B), some(A)),
            id(A),
        ),
        (
            "ours for a foreign requester: homing-task",
            row(vec![ours(), task()], some(B), some("order 17")),
            id(A),
        ),
        (
            "a homing-task alone",
            row(vec![task()], some(B), some(B)),
            id(A),
        ),
        (
            "a foreign message id that is a UUID",
            row(vec![], some(A), some(B)),
            id(A),
        ),
        (
            "a foreign message id that is any text",
            row(vec![], some("order 17"), some(B)),
            TaskId::of_text("order 17"),
        ),
        (
            "an empty message id counts as none",
            row(vec![], some(""), some(A)),
            id(A),
        ),
        (
            "a correlation id that is a UUID",
            row(vec![], None, some(A)),
            id(A),
        ),
    ]
}

#[test]
fn each_row_of_the_table_names_its_task() {
    for (what, properties, task) in rows() {
        assert_eq!(identity(&foreign(properties)), Ok((task, false)), "{what}");
    }
}

#[test]
fn a_message_that_nothing_names_takes_a_minted_id() {
    for correlation_id in [None, some(""), some("order 17")] {
        let properties = Properties {
            correlation_id,
            ..Properties::default()
        };

        assert_eq!(identity(&foreign(properties)), Ok((minted(), true)));
    }
}

#[test]
fn a_text_gives_the_same_id_in_every_version_of_homing() {
    let expected = "aa5063d0-def2-5304-b9b4-0c5a57d1c2e1";

    assert_eq!(TaskId::of_text("order 17").to_string(), expected);
}

#[test]
fn a_message_of_ours_without_a_valid_id_is_refused() {
    let cases = [
        (vec![int("homing-version", 1)], some("order 17")),
        (vec![int("homing-version", 1)], None),
        (vec![text("homing-task", "order 17")], some(A)),
        (vec![int("homing-task", 17)], some(A)),
        (vec![text("homing-version", "1")], some(A)),
    ];
    for (headers, correlation_id) in cases {
        let properties = Properties {
            headers,
            correlation_id,
            message_id: some(B),
            ..Properties::default()
        };

        assert!(identity(&foreign(properties)).is_err());
    }
}

#[test]
fn a_redelivery_and_each_later_attempt_are_the_same_task() {
    let nothing = ("nothing", Properties::default(), minted());
    for (what, properties, task) in rows().into_iter().chain([nothing]) {
        let first = foreign(properties);
        let again = Received {
            redelivered: true,
            ..first.clone()
        };
        let mut envelope = decode_tasks(&first, None, NOW, minted)
            .unwrap()
            .tasks
            .remove(0);
        envelope.attempt = envelope.attempt.next();
        let to = Destination::Queue(QueueName::tasks());
        let retry = received(envelope.to_message(to, B.to_owned()));

        assert_eq!(identity(&again), identity(&first), "{what}");
        assert_eq!(identity(&retry), Ok((task, false)), "{what}");
    }
}

#[test]
fn a_dead_letter_is_the_task_it_was_whatever_its_body() {
    for (what, properties, task) in rows() {
        for body in [&b"{}"[..], b"\xff", b"[[[["] {
            let mut first = foreign(properties.clone());
            first.body = body.to_vec().into();
            let letter = |received| {
                DeadLetter::message(received, Reason::Malformed, "why", "tasks", B.to_owned())
            };
            let once = received(letter(&first));
            let twice = received(letter(&once));

            for dead in [once, twice] {
                let read = DeadLetter::decode(dead, str::to_owned, NOW);

                assert_eq!(read.reports.len(), 1, "{what}");
                assert_eq!(read.reports[0].task, task, "{what}");
            }
        }
    }
}

#[test]
fn a_task_of_a_newer_version_keeps_its_id_as_a_dead_letter() {
    let properties = Properties {
        headers: vec![int("homing-version", 2), text("homing-batch", B)],
        correlation_id: some(A),
        ..Properties::default()
    };

    let read = DeadLetter::decode(foreign(properties), str::to_owned, NOW);

    assert_eq!(read.reports[0].task, id(A));
    assert_eq!(
        read.reports[0].batch.map(|batch| batch.to_string()),
        some(B)
    );
}

#[test]
fn only_a_foreign_requester_has_a_correlation_id_of_its_own() {
    for (what, properties, _) in rows() {
        let alone = properties.headers == [int("homing-version", 1)];
        let correlation_id = properties.correlation_id.clone().filter(|_| !alone);
        let first = foreign(properties);
        let dead = DeadLetter::message(&first, Reason::Expired, "", "tasks", A.to_owned());
        let read = DeadLetter::decode(received(dead), str::to_owned, NOW);

        assert_eq!(read.reports[0].correlation_id, correlation_id, "{what}");
    }
}

#[test]
fn the_message_id_a_dead_letter_replaces_is_kept_beside_it() {
    let first = foreign(Properties {
        message_id: some("order 17"),
        ..Properties::default()
    });

    let dead = DeadLetter::message(&first, Reason::Malformed, "", "tasks", A.to_owned());

    assert_eq!(dead.properties.text("homing-message"), Some("order 17"));
}
