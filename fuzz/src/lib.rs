//! What holds of everything that reads bytes from outside.
//!
//! Each function takes any bytes and panics if something does not hold of them:
//! what is read is within its limits, and is the same once it is written and
//! read again; what cannot be read is refused. libFuzzer looks for bytes that
//! break one (`make fuzz`); the tests run them over the committed corpus.

mod lines;
mod messages;
mod scans;
mod texts;

pub use lines::{csv, journal, rows};
pub use messages::{batch_record, bundle, dead_letter, kind_record, reports, tasks};
pub use scans::{json, msgpack};
pub use texts::{amqp_url, filters, names, store_url};

/// A property, by the name of its target and of its corpus.
pub type Property = (&'static str, fn(&[u8]));

/// All of them.
pub const PROPERTIES: [Property; 15] = [
    ("tasks", tasks),
    ("bundle", bundle),
    ("reports", reports),
    ("batch_record", batch_record),
    ("kind_record", kind_record),
    ("dead_letter", dead_letter),
    ("msgpack", msgpack),
    ("json", json),
    ("amqp_url", amqp_url),
    ("store_url", store_url),
    ("filters", filters),
    ("names", names),
    ("rows", rows),
    ("csv", csv),
    ("journal", journal),
];
