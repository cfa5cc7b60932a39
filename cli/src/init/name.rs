use std::fmt;
use std::str::FromStr;

/// The longest name, as a package registry has it.
const BYTES_MAX: usize = 64;

/// Names that mean something else in the crate that is written: keywords of Rust,
/// crates that are always there, and those it depends on.
const TAKEN: [&str; 60] = [
    "abstract",
    "alloc",
    "anyhow",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "homing",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "serde",
    "static",
    "std",
    "struct",
    "submit",
    "super",
    "test",
    "thiserror",
    "tokio",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "where",
    "while",
    "worker",
];

/// The name of a crate, which is also the folder's and begins its task's kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct CrateName(String);

/// Why a text is no such name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum NameError {
    #[error("a crate's name is 1 to 64 of a-z 0-9 _ -, and begins with a letter")]
    Form,
    #[error("that name means something else in Rust, or in the crate itself")]
    Taken,
}

impl CrateName {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// How Rust code names the crate.
    pub(super) fn in_rust(&self) -> String {
        self.0.replace('-', "_")
    }
}

impl FromStr for CrateName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let known = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        let begins = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_lowercase());
        if !begins || text.len() > BYTES_MAX || !text.bytes().all(known) {
            return Err(NameError::Form);
        }
        if TAKEN.contains(&text) {
            return Err(NameError::Taken);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for CrateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_cargo_and_a_kind_take() {
        for name in ["a", "invoices", "my-tasks", "my_tasks2"] {
            assert_eq!(name.parse::<CrateName>().unwrap().as_str(), name);
        }
        let long = "a".repeat(BYTES_MAX + 1);
        for name in [
            "", "Invoices", "2nd", "-a", "../a", "a/b", "a.b", "ä", &long,
        ] {
            assert_eq!(name.parse::<CrateName>(), Err(NameError::Form), "{name}");
        }
        for name in ["match", "homing", "serde", "worker", "std"] {
            assert_eq!(name.parse::<CrateName>(), Err(NameError::Taken), "{name}");
        }
    }
}
