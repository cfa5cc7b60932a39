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
    name: &'static str,
    now: f64,
    kept: Option<f64>,
    /// What is left of it: above 1 it has become better.
    share: f64,
}

impl Verdict {
    /// Whether none has fallen further than noise explains, and each was kept.
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

/// Compares these ratios with those that are kept in the file `path`.
pub(super) fn compare(path: &Path, ratios: &[Ratio]) -> anyhow::Result<Verdict> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let kept: BTreeMap<String, f64> =
        serde_json::from_str(&text).with_context(|| format!("{} has no ratios", path.display()))?;
    Ok(judge(&kept, ratios))
}

fn judge(kept: &BTreeMap<String, f64>, ratios: &[Ratio]) -> Verdict {
    let line = |(name, better, now): &Ratio| {
        let kept = kept.get(*name).copied();
        let share = kept.map_or(0.0, |kept| match better {
            Better::More => now / kept,
            Better::Less => kept / now,
        });
        let (name, now) = (*name, *now);
        Line {
            name,
            now,
            kept,
            share,
        }
    };
    Verdict(ratios.iter().map(line).collect())
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line {
            name,
            now,
            kept,
            share,
        } in &self.0
        {
            let word = if *share >= SHARE_MIN { "ok" } else { "worse" };
            match kept {
                Some(kept) => writeln!(f, "{word:<10} {name}: {now:.2}, kept {kept:.2}")?,
                None => writeln!(
                    f,
                    "{word:<10} {name}: {now:.2}, none kept: run it with --renew"
                )?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_good(better: Better, kept: f64, now: f64) -> bool {
        let kept = BTreeMap::from([("a rate".to_owned(), kept)]);
        judge(&kept, &[("a rate", better, now)]).is_good()
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
    fn a_figure_of_which_nothing_is_kept_is_not_good() {
        assert!(!judge(&BTreeMap::new(), &[("a rate", Better::More, 1.0)]).is_good());
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
        let verdict = compare(&file, &ratios).unwrap();

        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(verdict.to_string(), "ok         a rate: 1.23, kept 1.23\n");
    }
}
