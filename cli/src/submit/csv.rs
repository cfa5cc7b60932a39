//! Rows of CSV: the first record names the columns, each other one is a payload.
//!
//! A row's number is that of its record, the first below the names being 1: unlike
//! its line it stays the same when a line end within quotes is corrected further
//! up. What is said of a rejected row names both.

use std::io::{self, BufRead};

use super::columns::{Column, Columns, Misfit};
use super::records::{Read, Records};
use super::rows::{self, Form, Rejected, Row, Taken};

/// Most columns of a file: each name is compared with each other one.
const COLUMNS_MAX: usize = 4_096;

/// Reads a row for each record below the names of the columns.
pub(crate) struct Csv {
    records: Records,
    columns: Columns,
    number: u64,
}

/// Why a file is not read as CSV.
#[derive(Debug)]
pub(crate) enum HeaderError {
    Read(io::Error),
    /// Nothing is in it.
    Empty,
    /// Its first record cannot be the names of columns, and why.
    Unreadable(String),
    /// They are not those that were asked for.
    Misfit {
        misfit: Misfit,
        names: Vec<String>,
    },
}

impl Csv {
    /// Reads the names of the columns, of which `wanted` become fields, or if there
    /// is none all.
    ///
    /// # Errors
    ///
    /// [`HeaderError`].
    pub(crate) fn begin(reader: &mut dyn BufRead, wanted: &[Column]) -> Result<Self, HeaderError> {
        let mut records = Records::new(COLUMNS_MAX);
        let read = records.read(reader).map_err(HeaderError::Read)?;
        if !read.found {
            return Err(HeaderError::Empty);
        }
        let names = names(&records, read).map_err(HeaderError::Unreadable)?;
        let columns = Columns::find(wanted, &names).map_err(|misfit| HeaderError::Misfit {
            misfit,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        })?;
        let count = names.len();
        records.keep_fields(count);
        Ok(Self {
            records,
            columns,
            number: 0,
        })
    }

    /// The names of the fields that each payload has.
    pub(crate) fn fields(&self) -> Vec<&str> {
        self.columns.fields().collect()
    }

    fn payload(&self, read: Read) -> Result<homing_protocol::Payload, String> {
        let cells = cells(&self.records, read)?;
        let json = self.columns.payload(&cells, self.records.count())?;
        rows::payload(&json)
    }
}

impl Form for Csv {
    fn next(&mut self, reader: &mut dyn BufRead) -> io::Result<Option<Taken>> {
        let read = self.records.read(reader)?;
        let Read { found, bytes, .. } = read;
        if !found && bytes == 0 {
            return Ok(None);
        }
        self.number += u64::from(found);
        let row = || Row {
            number: self.number,
            line: read.line,
            payload: self.payload(read).map_err(|reason| Rejected {
                reason: format!("row {}: {reason}", self.number),
                bytes: self.records.raw().to_vec(),
            }),
        };
        Ok(Some(Taken {
            row: found.then(row),
            bytes,
            more_is_there: read.more_is_there,
        }))
    }
}

fn names(records: &Records, read: Read) -> Result<Vec<&str>, String> {
    let count = records.count();
    if count > COLUMNS_MAX as u64 {
        return Err(format!(
            "{count} columns, but at most {COLUMNS_MAX} are allowed"
        ));
    }
    cells(records, read)
}

/// The fields of a record, as far as they are kept.
fn cells(records: &Records, read: Read) -> Result<Vec<&str>, String> {
    rows::text(records.raw(), records.raw_length())?;
    if read.open {
        return Err("a quote that is not closed".to_owned());
    }
    // Ends of fields are beside characters of ASCII, so each is text as the whole is.
    let cells = records.fields().map(std::str::from_utf8);
    cells
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use homing_protocol::limit::PAYLOAD_BYTES_MAX;

    use super::*;

    fn begin(reader: &mut &[u8], wanted: &[&str]) -> Result<Csv, HeaderError> {
        let wanted: Vec<Column> = wanted.iter().map(|text| text.parse().unwrap()).collect();
        Csv::begin(reader, &wanted)
    }

    fn rows(mut text: &[u8], wanted: &[&str]) -> Vec<Row> {
        let mut csv = begin(&mut text, wanted).unwrap();
        let taken = std::iter::from_fn(|| csv.next(&mut text).unwrap());
        taken.filter_map(|taken| taken.row).collect()
    }

    fn reason(row: &Row) -> &str {
        &row.payload.as_ref().unwrap_err().reason
    }

    #[test]
    fn each_row_is_an_object_with_its_number_and_its_line() {
        let rows = rows(
            "\u{feff}path,size\r\n\"a\nb\",1\r\n\r\nc,2\r\n".as_bytes(),
            &["p=path", "n=size:number"],
        );

        let read: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row.number,
                    row.line,
                    &row.payload.as_ref().unwrap().bytes[..],
                )
            })
            .collect();
        assert_eq!(
            read,
            [
                (1, 2, &b"{\"p\":\"a\\nb\",\"n\":1}"[..]),
                (2, 5, b"{\"p\":\"c\",\"n\":2}")
            ]
        );
    }

    #[test]
    fn a_rejected_row_is_kept_as_it_stands_and_the_others_are_read() {
        let rows = rows(b"a,b\n\"x\ny\"\n1,2,3,4\n1,\xff\n1,2\n", &[]);

        assert_eq!(rows.len(), 4);
        assert_eq!(rows[0].payload.as_ref().unwrap_err().bytes, b"\"x\ny\"");
        assert_eq!(
            reason(&rows[0]),
            "row 1: 1 cell in this row, but 2 columns in the first line"
        );
        assert_eq!(
            reason(&rows[1]),
            "row 2: 4 cells in this row, but 2 columns in the first line"
        );
        assert_eq!(reason(&rows[2]), "row 3: not UTF-8 at byte 3");
        assert_eq!((rows[3].line, rows[3].payload.is_ok()), (6, true));
    }

    #[test]
    fn a_quote_that_is_not_closed_rejects_its_row() {
        let rows = rows(b"a\n1\n\"2\n3\n", &[]);

        assert_eq!(rows.len(), 2);
        assert_eq!(reason(&rows[1]), "row 2: a quote that is not closed");
    }

    #[test]
    fn a_row_that_is_too_large_is_rejected() {
        let mut text = b"a\n".to_vec();
        text.resize(text.len() + PAYLOAD_BYTES_MAX, b'x');
        text.extend_from_slice(b"\n1\n");

        let rows = rows(&text, &[]);

        assert!(
            reason(&rows[0]).contains("bytes, but at most"),
            "{}",
            reason(&rows[0])
        );
        assert!(rows[1].payload.is_ok());
    }

    #[test]
    fn a_file_without_names_of_columns_is_refused() {
        let told = |text: &[u8]| begin(&mut &*text, &[]).err();

        assert!(matches!(told(b""), Some(HeaderError::Empty)));
        assert!(matches!(told(b"\r\n\n"), Some(HeaderError::Empty)));
        assert!(matches!(told(b"\xff\n"), Some(HeaderError::Unreadable(_))));
        assert!(matches!(
            told(b"\"a\nb\n"),
            Some(HeaderError::Unreadable(_))
        ));
        let many = vec![b','; COLUMNS_MAX];
        assert!(matches!(told(&many), Some(HeaderError::Unreadable(_))));
        assert!(matches!(told(b"a,a\n"), Some(HeaderError::Misfit { .. })));
    }
}
