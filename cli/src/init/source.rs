use std::fs;
use std::path::{Path, PathBuf};

use crate::exit::Exit;
use crate::trouble::Trouble;

/// The repository that the manifest of this program names; empty if it names none.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// Where a crate takes Homing from.
#[derive(Debug)]
pub(super) enum Source {
    /// A checkout, by its whole path.
    Folder(PathBuf),
    /// A git repository, by its URL.
    Git(String),
}

impl Source {
    /// The one that is asked for, else the project's own repository.
    ///
    /// # Errors
    ///
    /// [`Trouble`]: neither is there, or the folder is no checkout.
    pub(super) fn find(asked: Option<&str>) -> Result<Self, Trouble> {
        match asked {
            Some(url) if is_git(url) => Ok(Self::Git(url.to_owned())),
            Some(path) => checkout(path),
            None if REPOSITORY.is_empty() => Err(Trouble::new(
                Exit::Usage,
                "where the crate is to take Homing from is not said, and it is in no registry yet",
            )
            .from("--homing")
            .fix("--homing FOLDER, that of a checkout; or --homing URL, of a git repository")),
            None => Ok(Self::Git(REPOSITORY.to_owned())),
        }
    }

    /// As it is in a manifest.
    pub(super) fn to_toml(&self) -> String {
        match self {
            Self::Folder(path) => format!("path = {}", quoted(&path.display().to_string())),
            Self::Git(url) => format!("git = {}", quoted(url)),
        }
    }
}

fn is_git(text: &str) -> bool {
    text.contains("://") || text.starts_with("git@")
}

fn checkout(path: &str) -> Result<Source, Trouble> {
    let whole = Path::new(path)
        .canonicalize()
        .map_err(|error| Trouble::file("find", path, &error).from("--homing"))?;
    let manifest = fs::read_to_string(whole.join("Cargo.toml")).unwrap_or_default();
    if !is_of_homing(&manifest) {
        return Err(
            Trouble::new(Exit::Usage, format!("{path} is no checkout of Homing"))
                .from("--homing")
                .fix("name the folder that its README.md is in"),
        );
    }
    Ok(Source::Folder(whole))
}

/// Whether a manifest is that of the package `homing`.
fn is_of_homing(manifest: &str) -> bool {
    let mut lines = manifest.lines().skip_while(|line| *line != "[package]");
    lines.next();
    lines
        .take_while(|line| !line.starts_with('['))
        .any(|line| line == "name = \"homing\"")
}

/// A basic string of TOML: JSON has the same escapes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_is_named_by_its_whole_path() {
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

        let source = Source::find(Some(own)).unwrap();

        let whole = Path::new(own).canonicalize().unwrap();
        assert_eq!(source.to_toml(), format!("path = \"{}\"", whole.display()));
    }

    #[test]
    fn a_url_is_a_git_repository() {
        let source = Source::find(Some("https://git.example/homing")).unwrap();

        assert_eq!(source.to_toml(), "git = \"https://git.example/homing\"");
    }

    #[test]
    fn another_folder_is_refused() {
        let trouble = Source::find(Some(env!("CARGO_MANIFEST_DIR"))).unwrap_err();

        assert!(trouble.to_string().contains("is no checkout of Homing"));
    }

    #[test]
    fn quotes_in_a_path_stay_in_their_string() {
        assert_eq!(quoted("a\"b\\c"), r#""a\"b\\c""#);
    }
}
