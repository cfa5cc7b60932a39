//! Writes a table, straight from the reports.

use serde::ser::{SerializeMap, SerializeTuple};
use serde::{Serialize, Serializer};

use super::field::{Cell, Field, Fields};
use super::too_long;
use crate::report::Report;

/// What a row takes on the wire beside its data, rounded up: three ids of 18
/// bytes, a time of 9, some numbers and heads.
const ROW_BYTES: usize = 128;

/// What stands before the rows, rounded up: the names of all fields, and what
/// is shared.
const HEAD_BYTES: usize = 512;

/// The body of a message with `reports`.
pub(super) fn table(reports: &[Report]) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let rows: usize = reports.iter().map(|r| ROW_BYTES + r.data_bytes()).sum();
    let mut body = Vec::with_capacity(HEAD_BYTES + rows);
    let mut to = rmp_serde::Serializer::new(&mut body);
    if let Some(table) = Table::of(reports) {
        table.serialize(&mut to)?;
    }
    Ok(body)
}

/// Reports, and where each of their fields stands.
struct Table<'a> {
    first: &'a Report,
    reports: &'a [Report],
    shared: Fields,
    columns: Vec<Field>,
}

impl<'a> Table<'a> {
    /// `None` if there is no report.
    fn of(reports: &'a [Report]) -> Option<Self> {
        let (first, others) = reports.split_first()?;
        let (mut there, mut alike) = (Fields::of(first), Fields::SHAREABLE);
        for report in others {
            there = there.or(Fields::of(report));
            alike = alike.and(Fields::alike(first, report));
        }
        let shared = there.and(alike).without(too_long(first));
        Some(Self {
            first,
            reports,
            shared,
            columns: there.without(shared).iter().collect(),
        })
    }
}

impl Serialize for Table<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut parts = to.serialize_tuple(3)?;
        parts.serialize_element(&Shared(self))?;
        parts.serialize_element(&Columns(self))?;
        parts.serialize_element(&Rows(self))?;
        parts.end()
    }
}

struct Shared<'a>(&'a Table<'a>);

impl Serialize for Shared<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (fields, report) = (self.0.shared, self.0.first);
        let mut map = to.serialize_map(Some(fields.iter().count()))?;
        for field in fields.iter() {
            map.serialize_entry(field.name(), &Cell { field, report })?;
        }
        map.end()
    }
}

struct Columns<'a>(&'a Table<'a>);

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.columns.iter().map(|field| field.name()))
    }
}

struct Rows<'a>(&'a Table<'a>);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let columns = &self.0.columns[..];
        let rows = self.0.reports.iter();
        to.collect_seq(rows.map(|report| Row { columns, report }))
    }
}

struct Row<'a> {
    columns: &'a [Field],
    report: &'a Report,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let report = self.report;
        let mut row = to.serialize_tuple(self.columns.len())?;
        for &field in self.columns {
            row.serialize_element(&Cell { field, report })?;
        }
        row.end()
    }
}
