//! Reads what the broker delivers. Pure; never fails: what cannot be read
//! becomes a dead letter, whole.

use homing_protocol::topology::Topology;
use homing_protocol::{
    BatchRecord, DeadLetter, DecodeError, Destination, KindRecord, Reason, Received, Report,
    Status, Timestamp, chain, decode_reports,
};
use homing_store::Entry;

/// What a delivery from the queue of outcomes says.
///
/// Producers may publish to the exchange of batch records but not to that of
/// outcomes, so the exchange decides which of the two it is. Workers may write both
/// outcomes and what their kinds are.
///
/// # Errors
///
/// Outcomes of a newer version, which a newer collector is to store. Whoever may
/// write outcomes is trusted not to make them up.
pub(crate) fn results(received: Received, topology: &Topology) -> Result<Vec<Entry>, DecodeError> {
    if received.exchange == topology.results() {
        if KindRecord::is_in(&received) {
            return Ok(kind(received));
        }
        return match decode_reports(&received) {
            Ok(reports) if reports.iter().all(is_outcome) => {
                Ok(reports.into_iter().map(Entry::Report).collect())
            }
            Ok(_) => Ok(unread(
                received,
                Reason::Malformed,
                "a report with status `pending`",
            )),
            Err(error @ DecodeError::Version { .. }) => Err(error),
            Err(error) => Ok(undecoded(received, &error)),
        };
    }
    Ok(others(received, topology))
}

/// What a delivery says of a kind. One of a newer version is kept as a dead letter:
/// no outcome waits for it, and it is said again.
fn kind(received: Received) -> Vec<Entry> {
    match KindRecord::decode(&received) {
        Ok(record) => vec![Entry::Kind(record)],
        Err(error) => undecoded(received, &error),
    }
}

/// What a delivery says that is no outcome: a batch record, if anything.
fn others(received: Received, topology: &Topology) -> Vec<Entry> {
    let (batches, _) = topology.route(&Destination::Batches);
    if received.exchange == batches {
        return match BatchRecord::decode(&received) {
            Ok(record) => vec![Entry::Batch(record)],
            Err(error) => undecoded(received, &error),
        };
    }
    let detail = format!(
        "nothing is read that comes through exchange `{}`",
        received.exchange
    );
    unread(received, Reason::Malformed, &detail)
}

/// What a delivery from the queue of dead letters says.
pub(crate) fn dead(received: Received, topology: &Topology, now: Timestamp) -> DeadLetter {
    let strip = |queue: &str| {
        let name = topology.namespace().strip(queue);
        name.unwrap_or(queue).to_owned()
    };
    DeadLetter::decode(received, strip, now)
}

/// Nobody reports a task that nothing has become of.
fn is_outcome(report: &Report) -> bool {
    report.status != Status::Pending
}

fn undecoded(received: Received, error: &DecodeError) -> Vec<Entry> {
    unread(received, Reason::from(error), &chain(error))
}

fn unread(received: Received, reason: Reason, detail: &str) -> Vec<Entry> {
    vec![Entry::Dead(DeadLetter {
        reason,
        detail: detail.to_owned(),
        queue: "results".to_owned(),
        reports: Vec::new(),
        received,
    })]
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use homing_protocol::{BatchEvent, Digest, Message, Properties, Run, TaskId, encode_reports};
    use uuid::Uuid;

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_000);

    fn topology() -> Topology {
        Topology::new("ns".parse().unwrap(), [])
    }

    fn received(message: Message, exchange: &str) -> Received {
        Received {
            properties: message.properties,
            body: message.body,
            exchange: exchange.to_owned(),
            routing_key: String::new(),
            redelivered: false,
            delivery_count: 0,
            deaths: Vec::new(),
        }
    }

    fn report(status: Status) -> Report {
        let task = TaskId::from(Uuid::from_u128(7));
        Report::bare(
            task,
            Run::FIRST,
            "demo.echo".to_owned(),
            status,
            Digest::of(b""),
        )
    }

    fn outcomes(reports: &[Report]) -> Message {
        encode_reports(
            reports,
            Destination::Results { key: 0 },
            "m".to_owned(),
            NOW,
        )
        .unwrap()
    }

    fn record() -> BatchRecord {
        BatchRecord {
            batch: Uuid::from_u128(8).into(),
            label: "night".to_owned(),
            event: BatchEvent::Opened,
            at: NOW,
        }
    }

    fn reason(entries: &[Entry]) -> Option<Reason> {
        match entries {
            [Entry::Dead(letter)] => Some(letter.reason),
            _ => None,
        }
    }

    #[test]
    fn a_message_with_several_reports_is_as_many_entries() {
        let reports = [report(Status::Succeeded), report(Status::Failed)];

        let entries = results(received(outcomes(&reports), "ns.results"), &topology()).unwrap();

        assert_eq!(entries, reports.map(Entry::Report));
    }

    #[test]
    fn outcomes_of_a_newer_version_are_left_to_a_newer_collector() {
        let mut message = outcomes(&[report(Status::Succeeded)]);
        for (name, value) in &mut message.properties.headers {
            if name == "homing-version" {
                *value = 3.into();
            }
        }

        let entries = results(received(message, "ns.results"), &topology());

        assert!(matches!(entries, Err(DecodeError::Version { got: 3, .. })));
    }

    #[test]
    fn a_batch_record_is_read_from_its_exchange() {
        let message = record().to_message("m".to_owned()).unwrap();

        let entries = results(received(message, "ns.batches"), &topology()).unwrap();

        assert_eq!(entries, [Entry::Batch(record())]);
    }

    fn schema() -> KindRecord {
        KindRecord {
            kind: "demo.echo".parse().unwrap(),
            schema: "{}".parse().unwrap(),
            at: NOW,
        }
    }

    #[test]
    fn a_record_of_a_kind_is_read_from_the_exchange_of_outcomes_alone() {
        let message = || schema().to_message(7, "m".to_owned());

        let entries = results(received(message(), "ns.results"), &topology()).unwrap();
        let others = results(received(message(), "ns.batches"), &topology()).unwrap();

        assert_eq!(entries, [Entry::Kind(schema())]);
        assert_eq!(reason(&others), Some(Reason::Malformed));
    }

    #[test]
    fn a_record_of_a_kind_that_cannot_be_read_is_kept_whole() {
        let mut message = schema().to_message(7, "m".to_owned());
        message.body = Bytes::from_static(b"no schema");
        let received = received(message, "ns.results");

        let entries = results(received.clone(), &topology()).unwrap();

        let [Entry::Dead(letter)] = &entries[..] else {
            panic!("{entries:?}");
        };
        assert_eq!(
            (letter.reason, &letter.received),
            (Reason::Malformed, &received)
        );
    }

    #[test]
    fn outcomes_from_the_exchange_of_batch_records_are_not_believed() {
        let message = outcomes(&[report(Status::Succeeded)]);

        let entries = results(received(message, "ns.batches"), &topology()).unwrap();

        assert_eq!(reason(&entries), Some(Reason::Malformed));
    }

    #[test]
    fn batch_records_and_outcomes_from_elsewhere_are_not_believed() {
        for exchange in ["", "ns.tasks", "results"] {
            let record = record().to_message("m".to_owned()).unwrap();
            for message in [record, outcomes(&[report(Status::Succeeded)])] {
                let entries = results(received(message, exchange), &topology()).unwrap();

                assert_eq!(reason(&entries), Some(Reason::Malformed), "{exchange}");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_kept_whole() {
        let message = Message {
            destination: Destination::Results { key: 0 },
            properties: Properties::default(),
            body: Bytes::from_static(b"\xff not ours"),
        };
        let received = received(message, "ns.results");

        let entries = results(received.clone(), &topology()).unwrap();

        let [Entry::Dead(letter)] = &entries[..] else {
            panic!("{entries:?}");
        };
        assert_eq!(letter.received, received);
        assert_eq!(letter.queue, "results");
    }

    #[test]
    fn a_report_that_says_pending_is_malformed() {
        let message = outcomes(&[report(Status::Pending)]);

        let entries = results(received(message, "ns.results"), &topology()).unwrap();

        assert_eq!(reason(&entries), Some(Reason::Malformed));
    }

    #[test]
    fn a_dead_letter_names_its_queue_without_the_namespace() {
        let mut received = received(outcomes(&[report(Status::Failed)]), "ns.dead");
        received.deaths.push(homing_protocol::Death {
            reason: "delivery_limit".to_owned(),
            queue: "ns.tasks.suspect".to_owned(),
            count: 1,
            time: None,
        });

        let letter = dead(received, &topology(), NOW);
        assert_eq!(letter.queue, "tasks.suspect");
        assert_eq!(letter.reason, Reason::CrashLoop);
    }
}
