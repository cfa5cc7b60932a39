//! Several reports in one message: what they have in common once, the rest as
//! a table.
//!
//! The body is a MessagePack array of three:
//!
//! | part | what |
//! |---|---|
//! | shared | a map of fields that are the same in all, by the names they have in a report |
//! | columns | the names of the other fields, an array of text |
//! | rows | for each report an array of its values, one for each column; nil where it has none |
//!
//! It says of itself what it holds, so a field that this version does not know,
//! shared or a column, is ignored.
//!
//! # Invariants
//!
//! Each row is a copy of what is shared, so a small body could become a large
//! one. Hence only fields of a fixed size and texts of at most
//! [`NAME_BYTES_MAX`] are shared, and no more than
//! [`BUNDLE_MAX`](crate::limit::BUNDLE_MAX) rows are read.

mod field;
mod read;
mod write;

use field::{Field, Fields};

use crate::bundle::wrong_count;
use crate::decode::size;
use crate::error::{DecodeError, EncodeError};
use crate::limit::{BODY_BYTES_MAX, NAME_BYTES_MAX};
use crate::report::Report;

/// The content type of a message that carries such a table.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.homing.outcome-table+msgpack";

/// The wire version of a message that carries such a table: what reads up to
/// version 1 does not know it.
pub(crate) const VERSION: i64 = 2;

/// The body that carries `reports`, at least one.
///
/// # Errors
///
/// [`EncodeError::Serialize`], which no report is known to bring about.
pub(crate) fn encode(reports: &[Report]) -> Result<Vec<u8>, EncodeError> {
    write::table(reports).map_err(|error| EncodeError::Serialize {
        what: "reports",
        problem: error.to_string(),
    })
}

/// Reads the body of such a message.
///
/// # Errors
///
/// [`DecodeError`]: it is none.
pub(crate) fn decode(body: &[u8]) -> Result<Vec<Report>, DecodeError> {
    size("a bundle", body.len(), BODY_BYTES_MAX)?;
    let refuse = |problem| DecodeError::Body {
        expected: CONTENT_TYPE,
        problem,
    };
    let reports = read::table(body).map_err(refuse)?;
    if reports.is_empty() {
        return Err(refuse(wrong_count(0)));
    }
    Ok(reports)
}

/// The fields of `report` that are too long to be shared.
fn too_long(report: &Report) -> Fields {
    let texts = [
        (Field::Kind, &report.kind),
        (Field::Queue, &report.queue),
        (Field::Worker, &report.worker),
    ];
    let long = texts.into_iter().filter(|(_, t)| t.len() > NAME_BYTES_MAX);
    long.map(|(field, _)| field).collect()
}
