//! Which columns of a CSV file become which fields of a payload.
//!
//! | column is          | cell          | field                    |
//! |--------------------|---------------|--------------------------|
//! | text               | any           | a string, as it stands   |
//! | number, bool, json | empty         | null                     |
//! | number             | `12`, `-0.5`  | that number, digit by digit |
//! | bool               | `true`, `FALSE` | true, false            |
//! | json               | any JSON      | that value               |
//! | any of these three | anything else | the row is rejected      |
//!
//! Pure. The fields come in the order they were asked for, or else in that of the
//! columns: the same row is the same payload.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use homing_protocol::Payload;
use homing_protocol::limit::PAYLOAD_BYTES_MAX;

/// Most characters of a cell that are told.
const TOLD_CHARS_MAX: usize = 40;

/// How a cell is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum As {
    Text,
    Number,
    Bool,
    Json,
}

/// How each of them is typed, behind a colon.
const FORMS: [(&str, As); 4] = [
    ("text", As::Text),
    ("number", As::Number),
    ("bool", As::Bool),
    ("json", As::Json),
];

/// A field of the payload and the column it comes from: `path=File`,
/// `size=Bytes:number`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Column {
    field: String,
    name: String,
    form: As,
}

impl FromStr for Column {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = text.split_once('=').filter(|(field, _)| !field.is_empty());
        let (field, column) =
            named.ok_or("it takes FIELD=COLUMN, or with :number, :bool or :json behind it")?;
        // A name may have a colon of its own.
        let typed = column.rsplit_once(':').and_then(|(name, form)| {
            let known = FORMS.iter().find(|(word, _)| *word == form)?;
            Some((name, known.1))
        });
        let (name, form) = typed.unwrap_or((column, As::Text));
        Ok(Self {
            field: field.to_owned(),
            name: name.to_owned(),
            form,
        })
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, name, form } = self;
        let is_plain = *form == As::Text && !name.contains(':');
        let word = FORMS.iter().find(|(_, known)| known == form);
        match word.filter(|_| !is_plain) {
            Some((word, _)) => write!(f, "{field}={name}:{word}"),
            None => write!(f, "{field}={name}"),
        }
    }
}

/// Why a file's columns are not those that were asked for.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Misfit {
    /// None has that name.
    Missing(Column),
    /// More than one column has a name that is needed.
    Ambiguous(String),
    /// A field was asked for more than once.
    Twice(Column),
}

/// The fields of a payload, found among the columns of a file.
#[derive(Debug)]
pub(crate) struct Columns {
    count: usize,
    found: Vec<Found>,
}

#[derive(Debug)]
struct Found {
    /// The field's name, in JSON.
    key: String,
    /// The column's place.
    at: usize,
    column: Column,
}

impl Columns {
    /// The names of the fields.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.found.iter().map(|found| found.column.field.as_str())
    }

    /// Finds `wanted`, or if there is none all columns by their own names, in the
    /// first record of a file.
    ///
    /// # Errors
    ///
    /// [`Misfit`].
    pub(crate) fn find(wanted: &[Column], header: &[&str]) -> Result<Self, Misfit> {
        let all = || {
            header.iter().map(|name| Column {
                field: (*name).to_owned(),
                name: (*name).to_owned(),
                form: As::Text,
            })
        };
        let wanted = match wanted {
            [] => all().collect(),
            named => named.to_vec(),
        };
        let mut found: Vec<Found> = Vec::new();
        for column in wanted {
            let mut named = header.iter().enumerate();
            let mut places = named.by_ref().filter(|(_, name)| **name == column.name);
            let Some((at, _)) = places.next() else {
                return Err(Misfit::Missing(column));
            };
            if places.next().is_some() {
                return Err(Misfit::Ambiguous(column.name));
            }
            if found.iter().any(|found| found.column.field == column.field) {
                return Err(Misfit::Twice(column));
            }
            let key = in_quotes(&column.field);
            found.push(Found { key, at, column });
        }
        Ok(Self {
            count: header.len(),
            found,
        })
    }

    /// The payload of a row with these `cells`, as JSON.
    ///
    /// # Errors
    ///
    /// Why it has none.
    pub(crate) fn payload(&self, cells: &[&str], count: u64) -> Result<String, String> {
        if count != self.count as u64 {
            return Err(format!(
                "{} in this row, but {} in the first line",
                counted(count, "cell"),
                counted(self.count as u64, "column"),
            ));
        }
        let mut json = String::from("{");
        for found in &self.found {
            let before = if json.len() > 1 { "," } else { "" };
            let cell = cells.get(found.at).copied().unwrap_or_default();
            let value = found.column.value(cell)?;
            // Writing to a string does not fail.
            let _written = write!(json, "{before}{}:{value}", found.key);
        }
        Ok(json + "}")
    }
}

impl Column {
    pub(crate) fn field(&self) -> &str {
        &self.field
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What a cell is in JSON.
    fn value(&self, cell: &str) -> Result<String, String> {
        if self.form == As::Text {
            return Ok(in_quotes(cell));
        }
        let cell = cell.trim();
        if cell.is_empty() {
            return Ok("null".to_owned());
        }
        let value = match self.form {
            As::Bool => bool_of(cell),
            As::Number => json_of(cell).filter(|json| json.starts_with(is_of_number)),
            As::Text | As::Json => json_of(cell),
        };
        value.ok_or_else(|| {
            let what = match self.form {
                As::Bool => "neither true nor false",
                As::Number => "no number",
                As::Text | As::Json => "no valid JSON",
            };
            format!(
                "column `{}` has `{}`, which is {what}",
                self.name,
                told(cell)
            )
        })
    }
}

fn bool_of(cell: &str) -> Option<String> {
    let lower = cell.to_ascii_lowercase();
    matches!(lower.as_str(), "true" | "false").then_some(lower)
}

/// The cell, if it is JSON by itself, so that it cannot add fields of its own.
fn json_of(cell: &str) -> Option<String> {
    let valid = Payload::json("a cell", cell, PAYLOAD_BYTES_MAX).is_ok();
    valid.then(|| cell.to_owned())
}

const fn is_of_number(first: char) -> bool {
    first.is_ascii_digit() || first == '-'
}

/// Text as JSON.
fn in_quotes(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn told(cell: &str) -> String {
    match cell.char_indices().nth(TOLD_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &cell[..end]),
        None => cell.to_owned(),
    }
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [&str; 3] = ["File", "Bytes", "at:utc"];

    fn wanted(texts: &[&str]) -> Vec<Column> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn payload(texts: &[&str], cells: [&str; 3]) -> Result<String, String> {
        let columns = Columns::find(&wanted(texts), &HEADER).unwrap();
        columns.payload(&cells, 3)
    }

    #[test]
    fn without_any_each_column_is_text_under_its_own_name() {
        assert_eq!(
            payload(&[], ["a \"b\"\n", "07", ""]).unwrap(),
            r#"{"File":"a \"b\"\n","Bytes":"07","at:utc":""}"#
        );
    }

    #[test]
    fn fields_come_in_the_order_they_were_asked_for() {
        assert_eq!(
            payload(&["size=Bytes:number", "path=File"], ["a", "12", "-"]).unwrap(),
            r#"{"size":12,"path":"a"}"#
        );
    }

    #[test]
    fn a_cell_is_read_as_its_column_is_or_rejected() {
        for (form, cell, expected) in [
            (
                "number",
                " 12345678901234567890.50 ",
                Some("12345678901234567890.50"),
            ),
            ("number", "-1e9", Some("-1e9")),
            ("number", "", Some("null")),
            ("number", "12x", None),
            ("number", "007", None),
            ("number", "\"1\"", None),
            ("number", "null", None),
            ("bool", "TRUE", Some("true")),
            ("bool", "false", Some("false")),
            ("bool", "yes", None),
            ("json", "[1, {\"a\": null}]", Some("[1, {\"a\": null}]")),
            ("json", "1,\"b\":2", None),
            ("json", "  ", Some("null")),
            ("text", " 12 ", Some("\" 12 \"")),
        ] {
            let value = payload(&[&format!("f=Bytes:{form}")], ["", cell, ""]);

            let expected = expected.map(|value| format!("{{\"f\":{value}}}"));
            assert_eq!(value.ok(), expected, "{form} `{cell}`");
        }
    }

    #[test]
    fn a_rejected_cell_is_told_with_its_column() {
        assert_eq!(
            payload(&["size=Bytes:number"], ["a", "12x", ""]).unwrap_err(),
            "column `Bytes` has `12x`, which is no number"
        );
    }

    #[test]
    fn a_row_with_more_or_fewer_cells_is_rejected() {
        let columns = Columns::find(&[], &HEADER).unwrap();

        assert_eq!(
            columns.payload(&["a"], 1).unwrap_err(),
            "1 cell in this row, but 3 columns in the first line"
        );
    }

    #[test]
    fn a_colon_that_no_form_follows_is_part_of_the_name() {
        assert_eq!(
            payload(&["at=at:utc", "n=Bytes:text"], ["", "1", "now"]).unwrap(),
            r#"{"at":"now","n":"1"}"#
        );
        for text in ["a=b", "a=b:number", "a=b:utc:text", "a=b=c", "a=:json"] {
            let column: Column = text.parse().unwrap();
            assert_eq!(column.to_string(), text);
        }
        for text in ["", "a", "=b"] {
            assert!(text.parse::<Column>().is_err(), "{text}");
        }
    }

    #[test]
    fn columns_that_are_missing_or_ambiguous_are_refused() {
        let find = |texts: &[&str], header: &[&str]| Columns::find(&wanted(texts), header).err();
        let column = |text: &str| text.parse::<Column>().unwrap();

        assert_eq!(find(&["a=C"], &["A"]), Some(Misfit::Missing(column("a=C"))));
        assert_eq!(
            find(&[], &["A", "A"]),
            Some(Misfit::Ambiguous("A".to_owned()))
        );
        assert_eq!(find(&["b=B"], &["A", "A", "B"]), None);
        assert_eq!(
            find(&["a=A", "a=B"], &["A", "B"]),
            Some(Misfit::Twice(column("a=B")))
        );
    }
}
