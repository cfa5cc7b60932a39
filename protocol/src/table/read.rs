//! Reads a table, straight into reports.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::field::{Field, Fields, Slot};
use super::too_long;
use crate::bundle::wrong_count;
use crate::id::{Digest, Run};
use crate::limit::{BUNDLE_MAX, NAME_BYTES_MAX};
use crate::prescan::prescan_msgpack;
use crate::report::Report;
use crate::status::Status;

/// The reports in `body`, at most [`BUNDLE_MAX`].
pub(super) fn table(body: &[u8]) -> Result<Vec<Report>, String> {
    prescan_msgpack(body)?;
    let mut from = rmp_serde::Deserializer::from_read_ref(body);
    let reports = from.deserialize_tuple(3, Table);
    reports.map_err(|error| error.to_string())
}

/// A report of which nothing is known.
fn blank() -> Report {
    let task = uuid::Uuid::nil().into();
    let (kind, digest) = (String::new(), Digest::of(&[]));
    Report::bare(task, Run::FIRST, kind, Status::Pending, digest)
}

struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = Vec<Report>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of what is shared, columns and rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Vec<Report>, A::Error> {
        let mut template = blank();
        let shared = part(&mut parts, 0, Shared(&mut template))?;
        let columns = part(&mut parts, 1, Columns(shared))?;
        let rows = Rows {
            template: &template,
            columns: &columns,
        };
        let reports = part(&mut parts, 2, rows)?;
        match parts.next_element::<IgnoredAny>()? {
            None => Ok(reports),
            Some(_) => Err(Error::custom("more than three parts")),
        }
    }
}

fn part<'de, A: SeqAccess<'de>, S: DeserializeSeed<'de>>(
    parts: &mut A,
    at: usize,
    seed: S,
) -> Result<S::Value, A::Error> {
    let part = parts.next_element_seed(seed)?;
    part.ok_or_else(|| Error::invalid_length(at, &"three parts"))
}

/// Reads what is shared into a report, and answers which fields that are.
struct Shared<'a>(&'a mut Report);

impl<'de> DeserializeSeed<'de> for Shared<'_> {
    type Value = Fields;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Fields, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Shared<'_> {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of what all reports share")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let (mut shared, report) = (Fields::default(), self.0);
        while let Some(name) = map.next_key::<&str>()? {
            let field = Field::named(name);
            if let Some(field) = field {
                share(field, &mut shared).map_err(Error::custom)?;
            }
            let slot = Slot {
                field,
                report: &mut *report,
            };
            map.next_value_seed(slot)?;
        }
        match too_long(report).iter().next() {
            None => Ok(shared),
            Some(field) => Err(Error::custom(format!(
                "`{}` is shared and has more than {NAME_BYTES_MAX} bytes",
                field.name()
            ))),
        }
    }
}

fn share(field: Field, shared: &mut Fields) -> Result<(), String> {
    if !Fields::SHAREABLE.has(field) {
        return Err(format!("`{}` cannot be shared", field.name()));
    }
    once(field, shared)
}

fn once(field: Field, before: &mut Fields) -> Result<(), String> {
    if before.add(field) {
        return Ok(());
    }
    Err(format!("`{}` is there twice", field.name()))
}

/// Reads which column is which field, `None` for those of later versions. Takes
/// the fields that are shared.
struct Columns(Fields);

impl<'de> DeserializeSeed<'de> for Columns {
    type Value = Vec<Option<Field>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Columns {
    type Value = Vec<Option<Field>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of the names of columns")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Self::Value, A::Error> {
        let (mut columns, mut there) = (Vec::new(), self.0);
        while let Some(name) = names.next_element::<&str>()? {
            let field = Field::named(name);
            if let Some(field) = field {
                once(field, &mut there).map_err(Error::custom)?;
            }
            columns.push(field);
        }
        match Fields::REQUIRED.without(there).iter().next() {
            None => Ok(columns),
            Some(field) => Err(Error::missing_field(field.name())),
        }
    }
}

/// Reads rows as reports, each beginning as a copy of the template.
struct Rows<'a> {
    template: &'a Report,
    columns: &'a [Option<Field>],
}

impl<'de> DeserializeSeed<'de> for Rows<'_> {
    type Value = Vec<Report>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Vec<Report>, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_> {
    type Value = Vec<Report>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Vec<Report>, A::Error> {
        // The body has as many values, or the scan before would not have passed.
        let count = rows.size_hint().unwrap_or_default();
        if count > BUNDLE_MAX {
            return Err(Error::custom(wrong_count(count)));
        }
        let mut reports = Vec::with_capacity(count);
        for _ in 0..count {
            let mut report = self.template.clone();
            let row = Row {
                report: &mut report,
                columns: self.columns,
            };
            if rows.next_element_seed(row)?.is_none() {
                return Err(Error::invalid_length(reports.len(), &self));
            }
            reports.push(report);
        }
        Ok(reports)
    }
}

/// Reads a row into a report.
struct Row<'a> {
    report: &'a mut Report,
    columns: &'a [Option<Field>],
}

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a row of {} values", self.columns.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        for (at, &field) in self.columns.iter().enumerate() {
            let slot = Slot {
                field,
                report: &mut *self.report,
            };
            if values.next_element_seed(slot)?.is_none() {
                return Err(Error::invalid_length(at, &self));
            }
        }
        match values.next_element::<IgnoredAny>()? {
            None => Ok(()),
            Some(_) => Err(Error::invalid_length(self.columns.len() + 1, &self)),
        }
    }
}
