use std::time::{SystemTime, UNIX_EPOCH};

use uuid::{Builder, Uuid};

/// A new id, for whatever is sent or run: UUID version 7, which sorts by time to
/// the millisecond. Unlike `Uuid::now_v7` it asks the system for no randomness,
/// which would take as long as the rest of a message.
pub fn mint() -> Uuid {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = time.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    });
    Builder::from_unix_timestamp_millis(ms, &rand::random()).into_uuid()
}
