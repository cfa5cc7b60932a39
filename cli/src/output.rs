//! What a verb answers, on stdout: a table, lines of columns, or JSON.
//!
//! Talk goes to stderr by [`Talk`], so that stdout can always be piped on.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::settings::Settings;
use crate::table::{Cell, Column, Layout};
use crate::trouble::Trouble;

/// The width where a terminal does not tell its own.
const TERMINAL_WIDTH: u16 = 100;

/// Something a verb lists, one line each.
pub(crate) trait Line: Serialize {
    /// Its columns.
    const COLUMNS: &'static [Column];

    /// Those of them that may be left out, the first one first, so that each has one
    /// line on a terminal.
    const SPARE: &'static [&'static str] = &[];

    /// Its fields, one for each column.
    fn cells(&self) -> Vec<Cell>;
}

/// How answers are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// One JSON object per line.
    Json,
    /// For people.
    Terminal {
        /// Whether status words have a colour.
        coloured: bool,
    },
    /// For programs: columns apart by tabs.
    Plain,
}

/// Writes answers to stdout.
pub(crate) struct Output {
    form: Form,
    layout: Option<Layout>,
    wide: bool,
    talk: Talk,
}

impl Output {
    pub(crate) fn new(settings: &Settings) -> Self {
        let stdout = io::stdout();
        let form = match settings.json {
            true => Form::Json,
            false if stdout.is_terminal() => Form::Terminal {
                coloured: settings.coloured(&stdout),
            },
            false => Form::Plain,
        };
        Self {
            form,
            layout: None,
            wide: false,
            talk: Talk::new(settings),
        }
    }

    /// The same; if `wide`, no column is spared.
    pub(crate) const fn wide(mut self, wide: bool) -> Self {
        self.wide = wide;
        self
    }

    pub(crate) const fn form(&self) -> Form {
        self.form
    }

    /// Writes `lines`, below those written before.
    ///
    /// # Errors
    ///
    /// [`Trouble`], quiet if nobody reads any more.
    pub(crate) fn lines<L: Line>(&mut self, lines: &[L]) -> Result<(), Trouble> {
        match self.form {
            Form::Json => lines.iter().try_for_each(|line| self.json(line)),
            Form::Plain => {
                let text: String = lines.iter().map(|line| plain(&line.cells())).collect();
                self.raw(&text)
            }
            Form::Terminal { coloured } => {
                if lines.is_empty() {
                    return Ok(());
                }
                let rows: Vec<_> = lines.iter().map(Line::cells).collect();
                let (width, is_first) = (terminal_width(), self.layout.is_none());
                let spare = if self.wide { &[] } else { L::SPARE };
                let new = Layout::new(L::COLUMNS).sparing(spare);
                let layout = self.layout.get_or_insert(new);
                let text = layout.lines(&rows, width, coloured);
                let zeros = layout.zeros().join(", ");
                let left_out = layout.left_out(width).join(", ");
                let spared = layout.spared().join(", ");
                self.raw(&format!("{text}\n"))?;
                if is_first && !zeros.is_empty() {
                    self.talk.say(format!("all 0, and left out: {zeros}"));
                }
                if is_first && !spared.is_empty() {
                    self.talk.say(format!("left out: {spared}; --wide has all"));
                }
                if is_first && !left_out.is_empty() {
                    self.talk.say(format!(
                        "no room for {left_out}: a wider terminal has it, and --json"
                    ));
                }
                Ok(())
            }
        }
    }

    /// Writes `value` as JSON on one line, whatever the form.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Trouble> {
        let text = serde_json::to_string(value).map_err(|error| Trouble::bug(&error))?;
        self.raw(&format!("{text}\n"))
    }

    /// Writes one line of text.
    pub(crate) fn text(&self, line: &str) -> Result<(), Trouble> {
        self.raw(&format!("{line}\n"))
    }

    fn raw(&self, text: &str) -> Result<(), Trouble> {
        self.bytes(text.as_bytes())
    }

    /// Writes `bytes` as they are, whatever the form.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Trouble> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(|error| Trouble::stdout(&error))
    }
}

fn terminal_width() -> u16 {
    comfy_table::Table::new().width().unwrap_or(TERMINAL_WIDTH)
}

fn plain(cells: &[Cell]) -> String {
    let fields: Vec<_> = cells
        .iter()
        .map(|cell| crate::clean::for_column(&cell.plain))
        .collect();
    fields.join("\t") + "\n"
}

/// Says things to the person, on stderr.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Talk {
    quiet: bool,
}

impl Talk {
    pub(crate) const fn new(settings: &Settings) -> Self {
        Self {
            quiet: settings.quiet,
        }
    }

    /// Says `line`, unless told to be quiet.
    pub(crate) fn say(self, line: impl AsRef<str>) {
        if !self.quiet {
            // Nobody listens: that is no reason to stop the work.
            let _unheard = writeln!(io::stderr(), "{}", line.as_ref());
        }
    }

    /// Whether a progress bar has somebody to see it.
    pub(crate) fn shows_progress(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }
}
