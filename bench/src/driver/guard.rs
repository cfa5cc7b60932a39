//! Whether ratios are as good as those that were kept.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Context as _;

/// The share of a ratio that is left at least; the rest is noise.
const SHARE_MIN: f64 = 0.85;

/// Which way a ratio is better.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Better {
    /// The larger one.
    More,
    /// The smaller one.
    Less,
}

/// A ratio, by the name of its figure.
pub(super) type Ratio = (&'static str, Better, f64);

/// What became of the ratios that were kept.
#[derive(Clone, Debug)]
pub struct Verdict(Vec<Line>);

#[derive(Clone, Debug)]
struct Line {
    name: String,
    now: Option<f64>,
    kept: Option<f64>,
    /// What is left of it: above 1 it has become better.
    share: f64,
}

impl Verdict {
    /// Whether each was measured, was kept, and has not fallen further than noise
    /// explains.
    pub fn is_good(&self) -> bool {
        self.0.iter().all(|line| line.share >= SHARE_MIN)
    }
}

/// Keeps these ratios in the file `path`.
pub(super) fn keep(path: &Path, ratios: &[Ratio]) -> anyhow::Result<()> {
    let rounded = |ratio: f64| (ratio * 100.0).round() / 100.0;
    let kept: BTreeMap<_, _> = ratios
        .iter()
        .map(|(name, _, now)| (name, rounded(*now)))
        .collect();
    let text = serde_json::to_string_pretty(&kept)?;
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// The ratios that are kept in a file.
#[derive(Clone, Debug)]
pub struct Kept(BTreeMap<String, f64>);

impl Kept {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// There is no such file, or it has no ratios.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        let kept = serde_json::from_str(&text);
        Ok(Self(kept.with_context(|| {
            format!("{} has no ratios", path.display())
        })?))
    }

    pub(super) fn judge(&self, ratios: &[Ratio]) -> Verdict {
        let line = |(name, better, now): &Ratio| {
            let kept = self.0.get(*name).copied();
            let share = kept.map_or(0.0, |kept| match better {
                Better::More => now / kept,
                Better::Less => kept / now,
            });
            Line {
                name: (*name).to_owned(),
                now: Some(*now),
                kept,
                share,
            }
        };
        let is_measured = |name: &str| ratios.iter().any(|(measured, ..)| *measured == name);
        let missing = self.0.iter().filter(|(name, _)| !is_measured(name));
        let missing = missing.map(|(name, kept)| Line {
            name: name.clone(),
            now: None,
            kept: Some(*kept),
            share: 0.0,
        });
        Verdict(ratios.iter().map(line).chain(missing).collect())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.0 {
            let word = if line.share >= SHARE_MIN {
                "ok"
            } else {
                "worse"
            };
            let shown = |ratio: Option<f64>| ratio.map(|ratio| format!("{ratio:.2}"));
            let now = shown(line.now).unwrap_or_else(|| "not measured".to_owned());
            let kept = shown(line.kept).unwrap_or_else(|| "none: run it with --renew".to_owned());
            writeln!(f, "{word:<10} {}: {now}, kept {kept}", line.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_good(better: Better, kept: f64, now: f64) -> bool {
        let kept = BTreeMap::from([("a rate".to_owned(), kept)]);
        Kept(kept).judge(&[("a rate", better, now)]).is_good()
    }

    #[test]
    fn a_fall_of_more_than_15_percent_is_not_good() {
        assert!(is_good(Better::More, 1.0, 0.86));
        assert!(!is_good(Better::More, 1.0, 0.84));
        assert!(is_good(Better::Less, 1.0, 1.17));
        assert!(!is_good(Better::Less, 1.0, 1.18));
    }

    #[test]
    fn what_became_better_is_good() {
        assert!(is_good(Better::More, 1.0, 9.0) && is_good(Better::Less, 1.0, 0.1));
    }

    #[test]
    fn a_figure_of_which_nothing_is_kept_or_measured_is_not_good() {
        let none = Kept(BTreeMap::new());
        assert!(!none.judge(&[("a rate", Better::More, 1.0)]).is_good());
        let kept = Kept(BTreeMap::from([("a rate".to_owned(), 1.0)]));
        assert!(!kept.judge(&[]).is_good());
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let folder = std::env::temp_dir().join(format!("homing-guard-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (file, ratios) = (
            folder.join("ratios.json"),
            [("a rate", Better::More, 1.234)],
        );

        keep(&file, &ratios).unwrap();
        let verdict = Kept::read(&file).unwrap().judge(&ratios);

        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(verdict.to_string(), "ok         a rate: 1.23, kept 1.23\n");
    }
}
