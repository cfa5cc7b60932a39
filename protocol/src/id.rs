//! Ids, and the counters that go with them.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::name::TaskKind;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
        )]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The id as a UUID.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }

            /// The id's 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::try_parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id! {
    /// Names one task, whatever becomes of it. A UUID, version 7 where we make it.
    TaskId
}

uuid_id! {
    /// Names one batch: the tasks a producer submitted together.
    BatchId
}

uuid_id! {
    /// Names one attempt: one time a handler was started.
    ///
    /// Two workers may run the same attempt number of a task after a crash; the
    /// attempt ids tell them apart.
    AttemptId
}

/// The namespace for task ids made from a text, as UUID version 5. Drawn once;
/// another would make other tasks of the same texts.
const TEXT_IDS: Uuid = Uuid::from_u128(0x6bb5_98e5_1d2e_5fb4_9d3a_0e7c_5c1f_a2b7);

impl TaskId {
    /// The id of the task in `row` (from 1) of a batch.
    ///
    /// The same batch, row, kind and payload give the same id, so that a row
    /// submitted again is the same task, and an edited row another one. The
    /// batch's own time stands in front, as in UUID version 7, then the row, so
    /// that ids made one after the other lie together in an index: a store
    /// writes few pages for many of them. Version 8 of
    /// <https://www.rfc-editor.org/rfc/rfc9562#section-5.8>.
    pub fn of_row(batch: BatchId, row: u64, kind: &TaskKind, digest: Digest) -> Self {
        let hash = Sha256::new()
            .chain_update(batch.as_bytes())
            .chain_update(row.to_be_bytes())
            .chain_update(kind.as_str())
            .chain_update(digest.as_bytes())
            .finalize();
        // 48 bits of time, 4 of version, 12 of row, 2 of variant, 14 of row, 48
        // of hash. Only the order suffers in a batch of more than 2^26 rows:
        // the hash is of the whole row.
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&batch.as_bytes()[..6]);
        bytes[6..8].copy_from_slice(&((row >> 14) as u16).to_be_bytes());
        bytes[8..10].copy_from_slice(&(row as u16 & 0x3fff).to_be_bytes());
        bytes[10..].copy_from_slice(&hash[..6]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The id of the task that a text names, such as a foreign `message_id` or
    /// an idempotency key: a UUID stands for itself, any other text is hashed.
    pub fn of_text(text: &str) -> Self {
        Self(Uuid::try_parse(text).unwrap_or_else(|_| Uuid::new_v5(&TEXT_IDS, text.as_bytes())))
    }
}

/// The ids of some tasks, in whatever order, as one number: their exclusive or.
///
/// Tells whether two parties mean the same tasks, where equal counts would not:
/// a task that is missing is not made up for by a stranger's.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct IdSum(Uuid);

impl IdSum {
    /// The number as 16 bytes, the most significant first.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Takes in the id of another task. Once each, for twice is not at all.
    pub fn add(&mut self, task: TaskId) {
        self.0 = Uuid::from_u128(self.0.as_u128() ^ task.0.as_u128());
    }
}

impl From<[u8; 16]> for IdSum {
    fn from(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl FromIterator<TaskId> for IdSum {
    fn from_iter<I: IntoIterator<Item = TaskId>>(tasks: I) -> Self {
        let mut sum = Self::default();
        tasks.into_iter().for_each(|task| sum.add(task));
        sum
    }
}

/// The first 16 bytes of the SHA-256 of a payload.
///
/// Tells two tasks apart that claim one id.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Digest([u8; 16]);

impl Digest {
    /// The digest of `payload`.
    pub fn of(payload: &[u8]) -> Self {
        let hash = Sha256::digest(payload);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        Self(bytes)
    }

    /// The digest's 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A digest read from 16 bytes, `None` if there are not 16.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteArray::deserialize(deserializer)?;
        Ok(Self(bytes.into_array()))
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
        )]
        #[serde(transparent)]
        pub struct $name(NonZeroU32);

        impl $name {
            /// The first one: 1.
            pub const FIRST: Self = Self(NonZeroU32::MIN);

            /// The number, from 1; `None` for 0.
            pub fn new(number: u32) -> Option<Self> {
                NonZeroU32::new(number).map(Self)
            }

            /// The number as an integer, from 1.
            pub const fn get(self) -> u32 {
                self.0.get()
            }

            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// Which try at a task this is. The first is 1.
    ///
    /// Counted by us, in the envelope. It is not the broker's `redelivered` flag
    /// or `x-delivery-count`, which also count deliveries no handler ever saw.
    AttemptNumber
}

counter! {
    /// How often a task was started over: 1, and one more with each replay.
    Run
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> BatchId {
        Uuid::from_u128(0x01a1_fc18_d018_7064_9c80_317f_a3b1_799d).into()
    }

    fn kind() -> TaskKind {
        "demo.echo".parse().expect("a valid kind")
    }

    #[test]
    fn the_same_row_is_the_same_task() {
        let id = |row, payload: &[u8]| TaskId::of_row(batch(), row, &kind(), Digest::of(payload));

        assert_eq!(id(1, b"a"), id(1, b"a"));
        assert_ne!(id(1, b"a"), id(2, b"a"));
        assert_ne!(id(1, b"a"), id(1, b"b"));
        assert_eq!(id(1, b"a").as_bytes()[..6], batch().as_bytes()[..6]);
        assert_eq!(id(1, b"a").as_uuid().get_version_num(), 8);
    }

    #[test]
    fn a_row_keeps_its_id_in_every_version_of_homing() {
        let id = TaskId::of_row(batch(), 7, &kind(), Digest::of(b"{}"));

        assert_eq!(id.to_string(), "01a1fc18-d018-8000-8007-083a3e5ce7af");
    }

    #[test]
    fn a_text_is_its_own_id_if_it_is_one() {
        let uuid = "01a1fc18-d018-7064-9c80-317fa3b1799d";

        assert_eq!(TaskId::of_text(uuid).to_string(), uuid);
        assert_eq!(TaskId::of_text("order-17"), TaskId::of_text("order-17"));
        assert_ne!(TaskId::of_text("order-17"), TaskId::of_text("order-18"));
    }
}
