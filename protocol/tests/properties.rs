//! What is written is read back the same, whatever it says; what nobody wrote
//! is refused or read, and never ends the reader.

#![expect(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

mod arbitrary;

use arbitrary::{
    NOW, any_received, batch_record, envelope, kind_record, mutated, reports, together,
};
use homing_protocol::limit::HEADER_BYTES_MAX;
use homing_protocol::{
    BatchRecord, ContentType, DeadLetter, Destination, Envelope, HeaderValue, KindRecord, Message,
    QueueName, Reason, Received, TaskId, decode_reports, decode_tasks, encode_reports,
    encode_tasks,
};
use proptest::prelude::*;

fn to() -> Destination {
    Destination::Queue(QueueName::tasks())
}

fn received(message: Message) -> Received {
    Received {
        properties: message.properties,
        body: message.body,
        exchange: "tasks".to_owned(),
        routing_key: "tasks".to_owned(),
        redelivered: false,
        delivery_count: 0,
        deaths: Vec::new(),
    }
}

fn minted() -> TaskId {
    uuid::Uuid::max().into()
}

fn read(received: &Received) -> Option<Vec<Envelope>> {
    let kind = "demo.default".parse().unwrap();
    let identity = decode_tasks(received, Some(&kind), NOW, minted).ok()?;
    Some(identity.tasks)
}

fn written(task: &Envelope) -> Received {
    received(task.to_message(to(), "m".to_owned()))
}

proptest! {
    #[test]
    fn a_task_is_read_as_it_was_written(task in envelope()) {
        prop_assert_eq!(read(&written(&task)), Some(vec![task]));
    }

    #[test]
    fn a_bundle_is_read_as_it_was_written(tasks in together()) {
        let message = encode_tasks(&tasks, to(), "m".to_owned()).unwrap();

        prop_assert_eq!(read(&received(message)), Some(tasks));
    }

    #[test]
    fn each_task_of_a_bundle_is_the_same_alone(tasks in together()) {
        for task in tasks {
            prop_assert_eq!(read(&written(&task)), Some(vec![task]));
        }
    }

    #[test]
    fn reports_are_read_as_they_were_written(reports in reports()) {
        let to = Destination::Results { key: 255 };
        let message = encode_reports(&reports, to, "m".to_owned(), NOW).unwrap();

        prop_assert_eq!(decode_reports(&received(message)).unwrap(), reports);
    }

    #[test]
    fn reports_as_maps_are_read_as_earlier_versions_wrote_them(reports in reports()) {
        let to = Destination::Results { key: 0 };
        let mut message = encode_reports(&reports[..1], to, "m".to_owned(), NOW).unwrap();
        let body = ContentType::MessagePack.encode("reports", &reports).unwrap();
        message.body = body.into();

        prop_assert_eq!(decode_reports(&received(message)).unwrap(), reports);
    }

    #[test]
    fn a_kind_record_is_read_as_it_was_written(record in kind_record(), key in any::<u8>()) {
        let message = record.to_message(key, "m".to_owned());

        prop_assert_eq!(KindRecord::decode(&received(message)).unwrap(), record);
    }

    #[test]
    fn a_batch_record_is_read_as_it_was_written(record in batch_record()) {
        let message = record.to_message("m".to_owned()).unwrap();

        prop_assert_eq!(BatchRecord::decode(&received(message)).unwrap(), record);
    }

    #[test]
    fn what_is_read_is_the_same_when_it_is_published_again(received in any_received()) {
        for task in read(&received).unwrap_or_default() {
            prop_assert_eq!(read(&written(&task)), Some(vec![task]));
        }
    }

    #[test]
    fn headers_of_a_newer_version_go_on_and_the_brokers_do_not(
        task in envelope(), name in "[a-z]{1,8}", value in any::<i64>(),
    ) {
        let mut first = written(&task);
        let ours = (format!("homing-zz-{name}"), HeaderValue::Int(value));
        let broker = (format!("x-{name}"), HeaderValue::Int(value));
        first.properties.headers.extend([ours.clone(), broker]);

        let again = written(&read(&first).unwrap()[0]);
        let dead = DeadLetter::message(&again, Reason::Rejected, "", "tasks", "d".to_owned());

        for headers in [again.properties.headers, dead.properties.headers] {
            prop_assert!(headers.contains(&ours));
            prop_assert!(!headers.iter().any(|(name, _)| name.starts_with("x-")));
        }
    }

    #[test]
    fn a_redelivery_is_the_same_task(received in any_received()) {
        let again = Received { redelivered: true, delivery_count: 3, ..received.clone() };

        prop_assert_eq!(read(&again), read(&received));
    }

    #[test]
    fn any_message_is_read_or_refused(received in any_received()) {
        let _refused = (read(&received), decode_reports(&received), BatchRecord::decode(&received));
        let _neither = KindRecord::decode(&received);
        let dead = DeadLetter::decode(received.clone(), str::to_owned, NOW);

        prop_assert_eq!(dead.received, received);
    }

    #[test]
    fn a_spoilt_message_is_read_or_refused(
        tasks in together(), reports in reports(), cut in mutated(),
    ) {
        let task = tasks[0].to_message(to(), "m".to_owned());
        let tasks = encode_tasks(&tasks, to(), "m".to_owned()).unwrap();
        let reports = encode_reports(&reports, to(), "m".to_owned(), NOW).unwrap();
        for message in [task, tasks, reports] {
            let mut spoilt = received(message);
            spoilt.body = cut.apply(&spoilt.body).into();

            let _refused = (read(&spoilt), decode_reports(&spoilt));
            let dead = DeadLetter::decode(spoilt.clone(), str::to_owned, NOW);
            prop_assert_eq!(dead.received, spoilt);
        }
    }

    #[test]
    fn a_spoilt_payload_never_reaches_a_handler(task in envelope(), cut in mutated()) {
        let mut spoilt = written(&task);
        spoilt.body = cut.apply(&spoilt.body).into();
        prop_assume!(spoilt.body != task.payload.bytes);

        prop_assert_eq!(read(&spoilt), None);
    }

    #[test]
    fn a_dead_letter_fits_and_is_the_tasks_it_was(received in any_received()) {
        let decode = |received| DeadLetter::decode(received, str::to_owned, NOW);
        let ids = |dead: &DeadLetter| dead.reports.iter().map(|r| r.task).collect::<Vec<_>>();
        let before = ids(&decode(received.clone()));

        let message =
            DeadLetter::message(&received, Reason::Malformed, "why", "tasks", "d".to_owned());

        prop_assert!(message.properties.header_bytes() <= HEADER_BYTES_MAX);
        let after = decode(self::received(message));
        prop_assert_eq!(after.reason, Reason::Malformed);
        prop_assert_eq!(&after.received.body, &received.body);
        if !before.is_empty() {
            prop_assert_eq!(ids(&after), before);
        }
    }
}
