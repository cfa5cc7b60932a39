//! Makes text from outside safe to show.
//!
//! Payloads, outputs and errors come from whoever submits and runs tasks.
//! Shown raw they could move the cursor, set the window's title or reorder
//! what stands beside them.

/// `text` for a terminal: without escape sequences, control characters and
/// characters that change the direction of text. Line breaks and tabs become
/// spaces.
pub(crate) fn for_terminal(text: &str) -> String {
    let text = anstream::adapter::strip_str(text).to_string();
    text.chars()
        .map(|c| {
            if matches!(c, '\n' | '\r' | '\t') {
                ' '
            } else {
                c
            }
        })
        .filter(|c| !c.is_control() && !reorders(*c))
        .collect()
}

/// `text` for one column of a line: as it is, with line breaks and tabs
/// written out.
pub(crate) fn for_column(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            other => line.push(other),
        }
    }
    line
}

/// JSON on one line. Line breaks in valid JSON are space between its parts.
pub(crate) fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

/// Whether `c` steers the direction of text, or is invisible:
/// <https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>.
const fn reorders(c: char) -> bool {
    matches!(
        c,
        '\u{061c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_sees_no_escape_control_or_bidi_characters() {
        let shown = for_terminal("a\x1b[31mred\x1b]0;title\x07b\u{9b}2J\u{202e}c\u{2066}\x00d\ne");

        assert_eq!(shown, "ared\u{62}2Jcd e");
    }

    #[test]
    fn a_column_keeps_to_its_line() {
        assert_eq!(for_column("a\tb\r\nc\x1b"), "a\\tb\\r\\nc\x1b");
    }

    #[test]
    fn json_over_several_lines_becomes_one() {
        assert_eq!(one_line("{\n \"a\": \"\\n\"\r\n}"), "{  \"a\": \"\\n\"  }");
    }
}
