//! What one check found, as a line.

use serde::Serialize;

use crate::clean::for_terminal;
use crate::exit::Exit;
use crate::trouble::Trouble;

/// What a finding means.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work.
    Bad,
    /// It cannot be known from here.
    Unknown,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
        }
    }
}

/// What one check found. Holds no secret.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    pub(super) found: String,
    /// The setting it came from, where it is bad.
    pub(super) from: Option<String>,
    /// What to do about it.
    pub(super) fix: Option<String>,
}

impl Finding {
    const fn new(check: &'static str, verdict: Verdict, found: String) -> Self {
        Self {
            check,
            verdict,
            found,
            from: None,
            fix: None,
        }
    }

    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, found.into())
    }

    pub(super) fn unknown(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Unknown, found.into())
    }

    pub(super) fn warning(
        check: &'static str,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            fix: Some(fix.into()),
            ..Self::new(check, Verdict::Warning, found.into())
        }
    }

    /// In the words that every other verb has for it.
    pub(super) fn bad(check: &'static str, trouble: Trouble) -> Self {
        Self::troubled(check, Verdict::Bad, trouble)
    }

    /// The same, where it is no reason to stop.
    pub(super) fn troubled(check: &'static str, verdict: Verdict, trouble: Trouble) -> Self {
        let (found, from, fix) = trouble.into_parts();
        Self {
            from,
            fix,
            ..Self::new(check, verdict, found)
        }
    }

    /// The line for people, and below it what to do.
    pub(super) fn text(&self) -> String {
        let (check, verdict) = (self.check, self.verdict.as_str());
        let mut lines = vec![format!("{check:<12}  {verdict:<7}  {}", self.found)];
        lines.extend(self.from.iter().map(|from| format!("  from  {from}")));
        lines.extend(self.fix.iter().map(|fix| format!("  fix   {fix}")));
        // Parts of it may be names from outside: each line is cleaned alone.
        let lines: Vec<_> = lines.iter().map(|line| for_terminal(line)).collect();
        lines.join("\n")
    }
}

/// How a doctor ends that found this.
pub(super) fn exit(verdicts: &[Verdict]) -> Exit {
    match verdicts.contains(&Verdict::Bad) {
        true => Exit::No,
        false => Exit::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_bad_is_a_no() {
        use Verdict::{Bad, Ok, Unknown, Warning};

        assert_eq!(exit(&[Ok, Warning, Unknown]), Exit::Done);
        assert_eq!(exit(&[Ok, Bad, Unknown]), Exit::No);
        assert_eq!(exit(&[]), Exit::Done);
    }

    #[test]
    fn a_line_has_its_setting_and_its_fix_below() {
        let trouble = Trouble::new(Exit::Config, "it \x1b[31mfails")
            .from("--broker")
            .fix("mend it");

        let text = Finding::bad("broker", trouble).text();

        assert_eq!(
            text,
            "broker        bad      it fails\n  from  --broker\n  fix   mend it"
        );
        assert_eq!(
            Finding::ok("dead-letters", "none").text(),
            "dead-letters  ok       none"
        );
    }
}
