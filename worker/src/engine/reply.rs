//! Tells whoever waits for a task what came of it, at best effort.
//!
//! On a link of its own, so that a foreign queue that does not exist, or is
//! full, never delays an outcome. A reply that is lost changes nothing: the
//! store has the outcome.

use std::sync::Arc;
use std::time::Duration;

use homing_broker::{Broker, PublishError, Publisher, Window};
use homing_protocol::{
    ContentType, Destination, Envelope, Message, Namespace, Properties, Report, Status,
    encode_reports, to_json,
};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{message_id, now, recv_until};

/// Replies that may wait for their link. More are left out: while the link
/// stands it takes thousands in a second, and while it does not nobody listens.
const WAITING_MAX: usize = 1_024;

/// Unconfirmed replies, and how long one may be.
const WINDOW: Window = Window {
    messages: 1_024,
    kib: 8 << 10,
    deadline: Some(Duration::from_secs(10)),
};

/// Who wants to be told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum ReplyTo {
    /// A producer of ours.
    Inbox(String),
    /// Any AMQP client: its queue, and the correlation id it gets back.
    Foreign {
        queue: String,
        correlation_id: String,
    },
}

impl ReplyTo {
    /// Who wants to be told of `envelope`; a foreign client only if that is
    /// enabled, and never through a queue of this namespace.
    pub(super) fn of(envelope: &Envelope, foreign: bool, namespace: &Namespace) -> Option<Self> {
        if let Some(address) = &envelope.reply {
            return Some(Self::Inbox(address.clone()));
        }
        let queue = envelope.requester.reply_to.as_ref()?;
        (foreign && !namespace.owns(queue)).then(|| Self::Foreign {
            queue: queue.clone(),
            correlation_id: envelope.correlation_id(),
        })
    }

    /// The message that tells of `report`.
    fn message(self, report: &Report) -> Option<Message> {
        match self {
            Self::Inbox(address) => {
                let to = Destination::Reply { address };
                encode_reports(std::slice::from_ref(report), to, message_id(), now()).ok()
            }
            Self::Foreign {
                queue,
                correlation_id,
            } => Some(Message {
                destination: Destination::Foreign { queue },
                properties: Properties {
                    message_id: Some(message_id()),
                    correlation_id: Some(correlation_id),
                    kind: Some(report.kind.clone()),
                    content_type: Some(ContentType::Json.as_str().to_owned()),
                    timestamp: Some(now().as_secs()),
                    ..Properties::default()
                },
                body: document(report)?.into(),
            }),
        }
    }
}

/// An outcome as a foreign client reads it.
#[derive(Serialize)]
struct Document<'a> {
    task: String,
    kind: &'a str,
    status: Status,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

fn document(report: &Report) -> Option<Vec<u8>> {
    let output = report.output().and_then(|output| {
        let json = to_json(&output.bytes, output.content_type)?;
        RawValue::from_string(json).ok()
    });
    let document = Document {
        task: report.task.to_string(),
        kind: &report.kind,
        status: report.status,
        attempt: report.attempt,
        output,
        error: report.error.as_deref(),
    };
    serde_json::to_vec(&document).ok()
}

/// Where replies are handed in.
#[derive(Clone, Debug)]
pub(super) struct Replies(mpsc::Sender<Message>);

impl Replies {
    pub(super) fn new() -> (Self, mpsc::Receiver<Message>) {
        let (replies, inbox) = mpsc::channel(WAITING_MAX);
        (Self(replies), inbox)
    }

    /// Hands in a reply, once what it tells of is confirmed. Never waits.
    pub(super) fn tell(&self, to: Option<ReplyTo>, report: &Report) {
        let Some(message) = to.and_then(|to| to.message(report)) else {
            return;
        };
        if self.0.try_send(message).is_err() {
            tracing::debug!(task.id = %report.task, "left out the reply: too many wait");
        }
    }
}

/// Publishes replies until `flush`, then those that still wait.
pub(super) async fn send(
    broker: Arc<dyn Broker>,
    mut inbox: mpsc::Receiver<Message>,
    flush: CancellationToken,
) {
    let mut publisher = None;
    let mut replies = Vec::new();
    while recv_until(&mut inbox, &mut replies, WAITING_MAX, &flush).await > 0 {
        if publisher.is_none() {
            publisher = open(broker.as_ref()).await;
        }
        for reply in replies.drain(..) {
            let Some(link) = &publisher else {
                continue;
            };
            // The confirm changes nothing, so nobody waits for it.
            if let Err(error) = link.publish(reply).await {
                tracing::debug!(%error, "left out a reply");
                if matches!(error, PublishError::Closed) {
                    publisher = None;
                }
            }
        }
    }
    if let Some(publisher) = publisher {
        publisher.close().await;
    }
}

async fn open(broker: &dyn Broker) -> Option<Publisher> {
    match broker.publisher(WINDOW).await {
        Ok(publisher) => Some(publisher),
        Err(error) => {
            tracing::warn!(%error, "cannot publish replies");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use homing_protocol::{Payload, QueueName};
    use uuid::Uuid;

    use super::*;

    fn envelope() -> Envelope {
        let payload = Payload {
            bytes: Bytes::from_static(b"1"),
            content_type: ContentType::Json,
        };
        Envelope::new(Uuid::nil().into(), "a".parse().unwrap(), payload, now())
    }

    fn foreign(queue: &str) -> Envelope {
        let mut envelope = envelope();
        envelope.requester.reply_to = Some(queue.to_owned());
        envelope.requester.correlation_id = Some("order 17".to_owned());
        envelope
    }

    fn report(status: Status) -> Report {
        Report::new(&envelope(), status, QueueName::tasks().as_str(), now())
    }

    #[test]
    fn a_foreign_client_is_told_only_where_that_is_enabled() {
        let namespace = Namespace::default();
        let told = ReplyTo::Foreign {
            queue: "amq.gen-x".to_owned(),
            correlation_id: "order 17".to_owned(),
        };

        assert_eq!(ReplyTo::of(&foreign("amq.gen-x"), false, &namespace), None);
        assert_eq!(
            ReplyTo::of(&foreign("amq.gen-x"), true, &namespace),
            Some(told)
        );
    }

    #[test]
    fn no_reply_goes_into_a_queue_of_ours() {
        let namespace = "ns".parse().unwrap();

        for queue in ["ns.tasks", "ns.results", "ns.dead"] {
            assert_eq!(
                ReplyTo::of(&foreign(queue), true, &namespace),
                None,
                "{queue}"
            );
        }
    }

    #[test]
    fn a_producer_of_ours_gets_the_report_itself() {
        let to = ReplyTo::Inbox("here".to_owned());

        let message = to.message(&report(Status::Succeeded)).unwrap();

        assert_eq!(
            message.properties.correlation_id,
            Some(Uuid::nil().to_string())
        );
    }

    #[test]
    fn a_foreign_client_gets_json_and_its_own_correlation_id() {
        let mut succeeded = report(Status::Succeeded);
        succeeded.attempt = 2;
        succeeded.output = Some(Bytes::from_static(br#"{"a": [1]}"#));
        let to = ReplyTo::of(&foreign("q"), true, &Namespace::default()).unwrap();

        let message = to.message(&succeeded).unwrap();

        assert_eq!(
            message.properties.correlation_id.as_deref(),
            Some("order 17")
        );
        assert_eq!(
            message.body,
            r#"{"task":"00000000-0000-0000-0000-000000000000","kind":"a","status":"succeeded","attempt":2,"output":{"a": [1]}}"#
        );
    }
}
