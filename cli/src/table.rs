//! Lines of columns for a terminal.
//!
//! Where there is no room for all columns, [counts](Fit::Count) that are 0 in every
//! row give way, and then those that the table can spare, if a row has one line so.
//! Else what does not fit stands on a second line below the first, so that an id
//! is whole and nothing is hidden; what has no room there either is left out, from
//! the right.
//! Only the last column, if it is [free](Fit::Free) text, is cut. Nothing is drawn
//! around them. A pipe gets a line for each, whole: for `grep`.

use std::ops::Range;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Color, ColumnConstraint, ContentArrangement, Width};
use homing_protocol::Status;

use crate::clean;

/// Between two columns.
const GAP: u16 = 2;

/// Before the second line of a row.
const INDENT: u16 = 2;

/// Free text goes where it has no less room than this.
const FREE_WIDTH_MIN: u16 = 12;

/// How a column takes its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fit {
    /// Words, from the left.
    Left,
    /// Numbers, to the right.
    Right,
    /// The same, left out where there is no room and every one is 0. Of a table
    /// that is printed at once.
    Count,
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
    /// Which of them are in use, from the left.
    used: Vec<usize>,
    /// The widest content of each of those so far, so that later parts stand
    /// below earlier ones.
    widths: Vec<u16>,
    /// The columns that may give way for the others, the first of them first.
    spare: &'static [&'static str],
    /// Those of them that did.
    spared: Vec<usize>,
}

impl Layout {
    pub(crate) fn new(columns: &'static [Column]) -> Self {
        Self {
            columns,
            used: (0..columns.len()).collect(),
            widths: Vec::new(),
            spare: &[],
            spared: Vec::new(),
        }
    }

    /// The same, where these columns may give way for the others.
    pub(crate) const fn sparing(mut self, names: &'static [&'static str]) -> Self {
        self.spare = names;
        self
    }

    /// The lines of `rows`, below a line of names if it is the first part, at
    /// most `width` wide.
    pub(crate) fn lines(&mut self, rows: &[Vec<Cell>], width: u16, coloured: bool) -> String {
        let first = self.widths.is_empty();
        self.widen(rows);
        if first {
            self.drop_zeros(rows, width);
            self.drop_spare(width);
        }
        let (above, below) = self.fitting(width);
        let above_lines = self.part(rows, 0..above, width, (first, coloured));
        let room = width.saturating_sub(INDENT);
        let below_lines = self.part(rows, above..below, room, (first, coloured));
        let indent = " ".repeat(INDENT.into());
        let mut lines = Vec::with_capacity(above_lines.len());
        for (line, more) in above_lines.into_iter().zip(below_lines) {
            lines.push(line);
            if !more.is_empty() {
                lines.push(format!("{indent}{more}"));
            }
        }
        lines.join("\n")
    }

    /// The names of the columns for which `width` had no room.
    pub(crate) fn left_out(&self, width: u16) -> Vec<&'static str> {
        let (_, fitting) = self.fitting(width);
        let left_out = self.used.iter().skip(fitting);
        left_out.map(|at| self.columns[*at].0).collect()
    }

    /// The names of the columns that gave way because all in them is 0.
    pub(crate) fn zeros(&self) -> Vec<&'static str> {
        let all = self.columns.iter().enumerate();
        let zeros = all.filter(|(at, _)| !self.used.contains(at) && !self.spared.contains(at));
        zeros.map(|(_, (name, _))| *name).collect()
    }

    /// The names of the columns that gave way so that a row has one line.
    pub(crate) fn spared(&self) -> Vec<&'static str> {
        self.spared.iter().map(|at| self.columns[*at].0).collect()
    }

    /// A line for each row, with those of its columns that are in `range`.
    fn part(
        &self,
        rows: &[Vec<Cell>],
        range: Range<usize>,
        width: u16,
        (named, coloured): (bool, bool),
    ) -> Vec<String> {
        let used = &self.used[range.clone()];
        let names = named.then(|| used.iter().map(|at| self.columns[*at].0).collect());
        if used.is_empty() {
            return vec![String::new(); rows.len() + usize::from(named)];
        }
        let mut table = bare(coloured);
        if let Some(names) = names {
            table.add_row::<Vec<_>>(names);
        }
        for row in rows {
            let mut line = comfy_table::Row::from(used.iter().map(|at| {
                let cell = &row[*at];
                let shown = comfy_table::Cell::new(&cell.shown);
                match cell.status {
                    Some(status) => shown.fg(colour(status)),
                    None => shown,
                }
            }));
            line.max_height(1);
            table.add_row(line);
        }
        self.arrange(&mut table, range, width);
        table.trim_fmt().split('\n').map(str::to_owned).collect()
    }

    fn widen(&mut self, rows: &[Vec<Cell>]) {
        let mut table = bare(false);
        table.add_row(self.used.iter().map(|at| self.columns[*at].0));
        for row in rows {
            table.add_row(self.used.iter().map(|at| row[*at].shown.as_str()));
        }
        self.widths.resize(self.used.len(), 0);
        let widest = table.column_max_content_widths();
        for (width, widest) in self.widths.iter_mut().zip(widest) {
            *width = widest.max(*width);
        }
    }

    /// Leaves out counts that are 0 everywhere, from the right, until the rest has
    /// room on one line.
    fn drop_zeros(&mut self, rows: &[Vec<Cell>], width: u16) {
        for at in (0..self.columns.len()).rev() {
            if self.fit(0, width) == self.used.len() {
                return;
            }
            let is_zero = |row: &Vec<Cell>| row[at].shown == "0";
            if self.columns[at].1 == Fit::Count && rows.iter().all(is_zero) {
                self.used.remove(at);
                self.widths.remove(at);
            }
        }
    }

    /// Leaves out what can be spared, until the rest has room on one line; nothing of
    /// it if there is none for the rest either.
    fn drop_spare(&mut self, width: u16) {
        let all = (self.used.clone(), self.widths.clone());
        for name in self.spare {
            if self.fit(0, width) == self.used.len() {
                return;
            }
            let named = |at: &usize| self.columns[*at].0 == *name;
            if let Some(place) = self.used.iter().position(named) {
                self.spared.push(self.used.remove(place));
                self.widths.remove(place);
            }
        }
        if self.fit(0, width) < self.used.len() {
            (self.used, self.widths) = all;
            self.spared.clear();
        }
    }

    /// Up to which column, from the left, the first line has room, and up to which
    /// the second has. At least one has.
    fn fitting(&self, width: u16) -> (usize, usize) {
        let above = self.fit(0, width).max(1);
        (above, self.fit(above, width.saturating_sub(INDENT)))
    }

    /// Up to which column a line of `width` has room that begins with that at
    /// `from`.
    fn fit(&self, from: usize, width: u16) -> usize {
        let mut room = width;
        for (at, wide) in self.widths.iter().enumerate().skip(from) {
            let least = match self.columns[self.used[at]].1 {
                Fit::Free => FREE_WIDTH_MIN.min(*wide),
                Fit::Left | Fit::Right | Fit::Count => *wide,
            };
            if least > room {
                return at;
            }
            room = room.saturating_sub(wide.saturating_add(GAP));
        }
        self.used.len()
    }

    fn arrange(&self, table: &mut comfy_table::Table, range: Range<usize>, width: u16) {
        let mut room = width;
        for (at, column) in range.zip(table.column_iter_mut()) {
            let fit = self.columns[self.used[at]].1;
            let wide = match fit {
                Fit::Free => self.widths[at].min(room),
                Fit::Left | Fit::Right | Fit::Count => self.widths[at],
            };
            room = room.saturating_sub(wide.saturating_add(GAP));
            // The gap is part of the column's width.
            let wide = Width::Fixed(wide.saturating_add(GAP).max(1));
            column.set_padding((0, GAP));
            column.set_constraint(ColumnConstraint::Absolute(wide));
            if matches!(fit, Fit::Right | Fit::Count) {
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
    fn a_narrow_terminal_has_the_rest_below_and_never_loses_digits() {
        for width in 1..120 {
            let mut layout = Layout::new(COLUMNS);
            let lines = layout.lines(&[row("171 ms", &"long ".repeat(40))], width, false);

            for (whole, least) in [(ID, 38), ("171 ms", 44)] {
                assert_eq!(lines.contains(whole), width >= least, "{width}: {lines}");
            }
            for line in lines.lines() {
                let long = line.chars().count();
                assert!(long <= usize::from(width).max(6), "{width}: {line}");
            }
            let parts = if width >= 66 { 1 } else { 2 };
            assert!(lines.lines().count() <= 2 * parts, "{width}: {lines}");
            let whole = layout.left_out(width).is_empty();
            assert_eq!(whole, width >= 44, "{width}: {lines}");
        }
        let lines = Layout::new(COLUMNS).lines(&[row("1 ms", "why"), row("2 ms", "")], 48, false);
        assert_eq!(
            lines,
            format!(
                "STATUS  TASK\n   RAN  DETAIL\nfailed  {ID}\n  1 ms  why\nfailed  {ID}\n  2 ms"
            )
        );
    }

    #[test]
    fn counts_that_are_0_in_every_row_give_way_from_the_right_where_room_is_short() {
        const COUNTS: &[Column] = &[
            ("KIND", Fit::Left),
            ("FAILED", Fit::Count),
            ("DEAD", Fit::Count),
            ("EXPIRED", Fit::Count),
            ("RAN", Fit::Right),
        ];
        let row = |expired: &str| ["demo", "0", "0", expired, "1 ms"].map(Cell::text).to_vec();
        let shown = |width, expired| {
            let mut layout = Layout::new(COUNTS);
            let lines = layout.lines(&[row("0"), row(expired)], width, false);
            let names = lines.lines().next().unwrap().to_owned();
            (names, layout.zeros().join(" "))
        };
        for (width, expired, names, zeros) in [
            (80, "0", "KIND  FAILED  DEAD  EXPIRED   RAN", ""),
            (32, "0", "KIND  FAILED  DEAD   RAN", "EXPIRED"),
            (32, "1", "KIND  FAILED  EXPIRED   RAN", "DEAD"),
            (16, "0", "KIND   RAN", "FAILED DEAD EXPIRED"),
        ] {
            let expected = (names.to_owned(), zeros.to_owned());
            assert_eq!(shown(width, expired), expected, "{width}");
        }
    }

    #[test]
    fn what_can_be_spared_gives_way_if_a_row_has_one_line_so() {
        let shown = |width| {
            let mut layout = Layout::new(COLUMNS).sparing(&["RAN", "STATUS"]);
            let lines = layout.lines(&[row("171 ms", "why it failed")], width, false);
            (lines.lines().count(), layout.spared().join(" "))
        };
        for (width, lines, spared) in [
            (80, 2, ""),
            (66, 2, ""),
            (65, 2, "RAN"),
            (58, 2, "RAN"),
            (57, 2, "RAN STATUS"),
            (50, 2, "RAN STATUS"),
            (49, 4, ""),
        ] {
            assert_eq!(shown(width), (lines, spared.to_owned()), "{width}");
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
