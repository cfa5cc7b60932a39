//! Several tasks in one message.
//!
//! A bundle is only how tasks travel: each keeps its own id, attempt and
//! settlement. What they have in common stands in the properties, the rest in
//! the body, a MessagePack array of maps.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{ContentType, Payload};
use crate::decode::{payload, size};
use crate::envelope::Envelope;
use crate::error::{DecodeError, EncodeError};
use crate::headers::{H_BUNDLE, push};
use crate::id::{AttemptNumber, Digest, Run, TaskId};
use crate::limit::{BODY_BYTES_MAX, BUNDLE_MAX};
use crate::message::{Destination, Message};
use crate::prescan::prescan_msgpack;

/// The content type of a message that carries several tasks.
const CONTENT_TYPE: &str = "application/vnd.homing.tasks+msgpack";

/// One task in the body of a bundle. What is not here is the same for all and
/// stands in the headers.
#[derive(Deserialize, Serialize)]
struct Item {
    task: TaskId,
    payload: Bytes,
    #[serde(default, skip_serializing_if = "ContentType::is_default")]
    content_type: ContentType,
    digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<AttemptNumber>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<Run>,
}

/// The message that carries several tasks, alike in all that stands in its
/// properties: kind, batch, times, priority, reply and carried headers.
///
/// # Errors
///
/// [`EncodeError`]: there are none or more than
/// [`BUNDLE_MAX`], they differ in what they must have in common, one is for a
/// foreign requester's correlation id, or together they are larger than
/// [`BODY_BYTES_MAX`].
pub fn encode_tasks(
    tasks: &[Envelope],
    destination: Destination,
    message_id: String,
) -> Result<Message, EncodeError> {
    check_count(tasks.len())?;
    let first = &tasks[0];
    if let Some(at) = tasks.iter().position(|task| !fits(task, first)) {
        let problem = format!("task {} cannot travel with the first", at + 1);
        return Err(EncodeError::Invalid {
            what: "a bundle",
            problem,
        });
    }
    let items: Vec<_> = tasks.iter().map(to_item).collect();
    let body = ContentType::MessagePack.encode("a bundle", &items)?;
    check_body("a bundle", &body)?;
    let mut properties = first.shared_properties(message_id);
    properties.content_type = Some(CONTENT_TYPE.to_owned());
    let count = i64::try_from(tasks.len()).unwrap_or(i64::MAX);
    push(&mut properties.headers, H_BUNDLE, count);
    Ok(Message {
        destination,
        properties,
        body: body.into(),
    })
}

/// Splits `items` into what shares a message: at most `items_max`, and at most
/// `bytes_max` as `bytes_of` counts them. One that is larger travels alone.
pub fn pack<T>(
    items: impl IntoIterator<Item = T>,
    items_max: usize,
    bytes_max: usize,
    bytes_of: impl Fn(&T) -> usize,
) -> Vec<Vec<T>> {
    let mut bundles = Vec::new();
    let (mut bundle, mut bundle_bytes) = (Vec::new(), 0);
    for item in items {
        let bytes = bytes_of(&item);
        let is_full = bundle.len() >= items_max || bundle_bytes + bytes > bytes_max;
        if is_full && !bundle.is_empty() {
            bundles.push(std::mem::take(&mut bundle));
            bundle_bytes = 0;
        }
        bundle.push(item);
        bundle_bytes += bytes;
    }
    if !bundle.is_empty() {
        bundles.push(bundle);
    }
    bundles
}

/// Refuses what [`decode_bundle`] would not read.
pub(crate) fn check_count(count: usize) -> Result<(), EncodeError> {
    if (1..=BUNDLE_MAX).contains(&count) {
        return Ok(());
    }
    Err(EncodeError::Invalid {
        what: "a bundle",
        problem: wrong_count(count),
    })
}

pub(crate) fn check_body(what: &'static str, body: &[u8]) -> Result<(), EncodeError> {
    if body.len() <= BODY_BYTES_MAX {
        return Ok(());
    }
    Err(EncodeError::TooLarge {
        what,
        bytes: body.len(),
        bytes_max: BODY_BYTES_MAX,
    })
}

pub(crate) fn wrong_count(count: usize) -> String {
    format!("{count} items, but 1 to {BUNDLE_MAX} are allowed")
}

fn fits(task: &Envelope, first: &Envelope) -> bool {
    let batch = |task: &Envelope| task.batch.map(|place| place.batch);
    task.kind == first.kind
        && task.submitted_at == first.submitted_at
        && task.expires_at == first.expires_at
        && task.due_at == first.due_at
        && batch(task) == batch(first)
        && task.reply == first.reply
        && task.requester == first.requester
        && task.requester.correlation_id.is_none()
        && task.priority == first.priority
        && task.carried == first.carried
}

fn to_item(envelope: &Envelope) -> Item {
    Item {
        task: envelope.id,
        payload: envelope.payload.bytes.clone(),
        content_type: envelope.payload.content_type,
        digest: envelope.digest,
        row: envelope.batch.map(|place| place.row),
        attempt: (envelope.attempt > AttemptNumber::FIRST).then_some(envelope.attempt),
        run: (envelope.run > Run::FIRST).then_some(envelope.run),
    }
}

/// The tasks in the body of a bundle of `count`.
pub(crate) fn decode_items(
    body: &Bytes,
    count: i64,
    shared: &Envelope,
) -> Result<Vec<Envelope>, DecodeError> {
    let items: Vec<Item> = decode_bundle(body, CONTENT_TYPE)?;
    if i64::try_from(items.len()) != Ok(count) {
        return Err(DecodeError::Body {
            expected: CONTENT_TYPE,
            problem: format!("{} items, but {count} were announced", items.len()),
        });
    }
    items
        .into_iter()
        .map(|item| {
            let payload = payload(item.payload.clone(), item.content_type)?;
            let envelope = from_item(&item, payload, shared);
            (envelope.digest == item.digest)
                .then_some(envelope)
                .ok_or(DecodeError::Digest)
        })
        .collect()
}

/// The tasks in the body of a bundle that [`decode_items`] refuses, as far as
/// it is one.
pub(crate) fn salvage_items(body: &Bytes, shared: &Envelope) -> Vec<Envelope> {
    let items: Vec<Item> = decode_array(body).unwrap_or_default();
    let salvaged = items.into_iter().map(|item| {
        let payload = Payload {
            bytes: item.payload.clone(),
            content_type: item.content_type,
        };
        from_item(&item, payload, shared)
    });
    salvaged.collect()
}

fn from_item(item: &Item, payload: Payload, shared: &Envelope) -> Envelope {
    let mut envelope = shared.clone();
    envelope.id = item.task;
    envelope.digest = Digest::of(&payload.bytes);
    envelope.payload = payload;
    envelope.attempt = item.attempt.unwrap_or(AttemptNumber::FIRST);
    envelope.run = item.run.unwrap_or(Run::FIRST);
    if let Some(place) = &mut envelope.batch {
        // The most a header, and a database, can hold.
        place.row = item.row.unwrap_or(0).min(i64::MAX.unsigned_abs());
    }
    envelope
}

/// Decodes a body that is an array of tasks or reports: 1 to [`BUNDLE_MAX`].
pub(crate) fn decode_bundle<T: DeserializeOwned>(
    body: &[u8],
    expected: &'static str,
) -> Result<Vec<T>, DecodeError> {
    size("a bundle", body.len(), BODY_BYTES_MAX)?;
    let items: Vec<T> =
        decode_array(body).map_err(|problem| DecodeError::Body { expected, problem })?;
    if (1..=BUNDLE_MAX).contains(&items.len()) {
        return Ok(items);
    }
    Err(DecodeError::Body {
        expected,
        problem: wrong_count(items.len()),
    })
}

fn decode_array<T: DeserializeOwned>(body: &[u8]) -> Result<Vec<T>, String> {
    prescan_msgpack(body)?;
    rmp_serde::from_slice(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_items_share_a_message_and_a_large_one_travels_alone() {
        let packed = pack([500, 500, 1_001, 500], 64, 1_000, |bytes| *bytes);

        assert_eq!(packed, [vec![500, 500], vec![1_001], vec![500]]);
    }

    proptest! {
        #[test]
        fn packing_keeps_order_and_bounds_and_loses_nothing(
            sizes in prop::collection::vec(1_usize..400, 0..64), items_max in 1_usize..9,
        ) {
            let packed = pack(sizes.clone(), items_max, 1_000, |bytes| *bytes);

            prop_assert_eq!(packed.concat(), sizes);
            for bundle in packed {
                let fits = bundle.iter().sum::<usize>() <= 1_000;
                prop_assert!((1..=items_max).contains(&bundle.len()) && fits);
            }
        }
    }
}
