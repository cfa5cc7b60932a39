//! Lines of columns for a terminal.
//!
//! Columns that do not fit are left out from the right, so that an id is
//! whole or not there. Only the last column, if it is [free](Fit::Free) text,
//! is cut. Nothing is drawn around them: a line is one event, for `grep`.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Color, ColumnConstraint, ContentArrangement, Width};
use homing_protocol::Status;

use crate::clean;

/// Between two columns.
const GAP: u16 = 2;

/// Free text is left out where it would have less room than this.
const FREE_WIDTH_MIN: u16 = 12;

/// How a column takes its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fit {
    /// Words, from the left.
    Left,
    /// Numbers, to the right.
    Right,
    /// Text of any length, cut where the line ends. The last column only.
    Free,
}

/// A column's name and how it takes its place.
pub(crate) type Column = (&'static str, Fit);

/// One field of a line: what a terminal shows and what a pipe gets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    /// For people.
    pub(crate) shown: String,
    /// For programs: whole, and the same wherever it runs.
    pub(crate) plain: String,
    /// Gives the colour.
    pub(crate) status: Option<Status>,
}

impl Cell {
    /// The same for people and programs.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        let plain = text.into();
        Self {
            shown: clean::for_terminal(&plain),
            plain,
            status: None,
        }
    }

    /// One text for people, another for programs.
    pub(crate) fn either(shown: impl Into<String>, plain: impl Into<String>) -> Self {
        Self {
            shown: shown.into(),
            plain: plain.into(),
            status: None,
        }
    }

    /// A number, its thousands set apart for people; `-` if it is not known.
    pub(crate) fn number(number: Option<u64>) -> Self {
        number.map_or_else(
            || Self::text("-"),
            |number| Self::either(crate::time::grouped(number), number.to_string()),
        )
    }

    /// A status word, in its colour.
    pub(crate) fn status(status: Status) -> Self {
        Self {
            status: Some(status),
            ..Self::text(status.as_str())
        }
    }
}

/// The colour of a status. Never the only thing that tells it.
pub(crate) const fn colour(status: Status) -> Color {
    match status {
        Status::Succeeded => Color::Green,
        status if status.is_problem() => Color::Red,
        _ => Color::Yellow,
    }
}

/// The columns of one table, which may be printed in several parts.
pub(crate) struct Layout {
    columns: &'static [Column],
    /// The widest content of each column so far, so that later parts stand
    /// below earlier ones.
    widths: Vec<u16>,
}

impl Layout {
    pub(crate) const fn new(columns: &'static [Column]) -> Self {
        Self {
            columns,
            widths: Vec::new(),
        }
    }

    /// The lines of `rows`, below a line of names if it is the first part, at
    /// most `width` wide.
    pub(crate) fn lines(&mut self, rows: &[Vec<Cell>], width: u16, coloured: bool) -> String {
        let first = self.widths.is_empty();
        self.widen(rows);
        let kept = self.fitting(width);
        let mut table = bare(coloured);
        if first {
            table.add_row(self.columns[..kept].iter().map(|(name, _)| *name));
        }
        for row in rows {
            let mut line = comfy_table::Row::from(row[..kept].iter().map(|cell| {
                let shown = comfy_table::Cell::new(&cell.shown);
                match cell.status {
                    Some(status) => shown.fg(colour(status)),
                    None => shown,
                }
            }));
            line.max_height(1);
            table.add_row(line);
        }
        self.arrange(&mut table, width);
        table.trim_fmt()
    }

    /// The names of the columns for which `width` had no room.
    pub(crate) fn left_out(&self, width: u16) -> Vec<&'static str> {
        let left_out = self.columns.iter().skip(self.fitting(width));
        left_out.map(|(name, _)| *name).collect()
    }

    fn widen(&mut self, rows: &[Vec<Cell>]) {
        let mut table = bare(false);
        table.add_row(self.columns.iter().map(|(name, _)| *name));
        for row in rows {
            table.add_row(row.iter().map(|cell| cell.shown.as_str()));
        }
        self.widths.resize(self.columns.len(), 0);
        let widest = table.column_max_content_widths();
        for (width, widest) in self.widths.iter_mut().zip(widest) {
            *width = widest.max(*width);
        }
    }

    /// How many columns, from the left, fit into `width`. At least one.
    fn fitting(&self, width: u16) -> usize {
        let mut room = width;
        for (at, ((_, fit), wide)) in self.columns.iter().zip(&self.widths).enumerate() {
            let least = match fit {
                Fit::Free => FREE_WIDTH_MIN.min(*wide),
                Fit::Left | Fit::Right => *wide,
            };
            if least > room {
                return at.max(1);
            }
            room = room.saturating_sub(wide.saturating_add(GAP));
        }
        self.columns.len()
    }

    fn arrange(&self, table: &mut comfy_table::Table, width: u16) {
        let mut room = width;
        for (at, column) in table.column_iter_mut().enumerate() {
            let fit = self.columns[at].1;
            let wide = match fit {
                Fit::Free => self.widths[at].min(room),
                Fit::Left | Fit::Right => self.widths[at],
            };
            room = room.saturating_sub(wide.saturating_add(GAP));
            // The gap is part of the column's width.
            let wide = Width::Fixed(wide.saturating_add(GAP).max(1));
            column.set_padding((0, GAP));
            column.set_constraint(ColumnConstraint::Absolute(wide));
            if fit == Fit::Right {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
}

fn bare(coloured: bool) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .force_no_tty();
    if coloured {
        table.enforce_styling();
        table.style_text_only();
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        ("STATUS", Fit::Left),
        ("TASK", Fit::Left),
        ("RAN", Fit::Right),
        ("DETAIL", Fit::Free),
    ];
    const ID: &str = "01a1fc18-d018-7064-9c80-317fa3b1799d";

    fn row(ran: &str, detail: &str) -> Vec<Cell> {
        vec![
            Cell::status(Status::Failed),
            Cell::text(ID),
            Cell::text(ran),
            Cell::text(detail),
        ]
    }

    #[test]
    fn numbers_stand_to_the_right_below_their_names() {
        let lines = Layout::new(COLUMNS).lines(&[row("1 ms", "x"), row("171 ms", "y")], 200, false);

        let expected = format!(
            "STATUS  TASK{0}     RAN  DETAIL\nfailed  {ID}    1 ms  x\nfailed  {ID}  171 ms  y",
            " ".repeat(ID.len() - "TASK".len()),
        );
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_narrow_terminal_loses_columns_and_never_digits() {
        for width in 1..120 {
            let lines =
                Layout::new(COLUMNS).lines(&[row("171 ms", &"long ".repeat(40))], width, false);

            let line = lines.lines().last().unwrap();
            let expected = [ID, "171 ms"].map(|whole| line.contains(whole));
            let fits = [width >= 44, width >= 52];
            assert_eq!(expected, fits, "{width}: {line}");
            assert!(
                line.chars().count() <= usize::from(width).max(6),
                "{width}: {line}"
            );
            assert_eq!(lines.lines().count(), 2, "{width}");
        }
    }

    #[test]
    fn later_parts_stand_below_earlier_ones() {
        let mut layout = Layout::new(COLUMNS);
        layout.lines(&[row("1,000 ms", "x")], 200, false);

        let lines = layout.lines(&[row("1 ms", "y")], 200, false);

        assert_eq!(lines, format!("failed  {ID}      1 ms  y"));
    }

    #[test]
    fn only_the_status_word_is_coloured() {
        let lines = Layout::new(COLUMNS).lines(&[row("1 ms", "x")], 200, true);

        assert_eq!(lines.matches("\x1b[").count(), 2, "{lines:?}");
    }
}
