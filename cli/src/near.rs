//! Finds the name that was probably meant.

use std::time::Duration;

use homing_protocol::Status;
use homing_store::{Counts, Store};

use crate::output::Talk;
use crate::settings::Settings;

/// More slips of the pen than this make another word.
const SLIPS_MAX: usize = 2;

/// How long a person who waits for nothing is held up for a hint.
const HINT_TIME_MAX: Duration = Duration::from_millis(500);

/// Batches whose labels are compared: the newest.
const BATCHES_MAX: u32 = 1_000;

/// Of the names that are `known`, the one nearest to `name`, if that is none of
/// them and is hardly another word.
pub(crate) fn near<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    if known.iter().any(|known| known == name) {
        return None;
    }
    let slips = |known: &&String| strsim::damerau_levenshtein(name, known);
    let nearest = known.iter().min_by_key(slips)?;
    // Two of the letters of a short word are most of it.
    let slips_max = (name.chars().count() / 3).clamp(1, SLIPS_MAX);
    (slips(&nearest) <= slips_max).then_some(nearest.as_str())
}

/// Says so if another kind was probably meant. A store that cannot be read at once
/// knows none.
pub(crate) async fn say_kind(kind: &str, settings: &Settings, talk: Talk) {
    let hint = async {
        let store = settings.open_store().await.ok()?;
        kind_hint(kind, &store).await
    };
    if let Ok(Some(hint)) = tokio::time::timeout(HINT_TIME_MAX, hint).await {
        talk.say(hint);
    }
}

/// What to say of a kind that no worker is known to take, where another that looks
/// like it is known: a worker declared it, or something came of a task of it.
pub(crate) async fn kind_hint(kind: &str, store: &Store) -> Option<String> {
    let stored = store.stats(None).await.ok()?;
    let declared = store.kinds().await.ok()?;
    let stored = stored.into_iter().filter(|stats| was_run(&stats.counts));
    let stored = stored.map(|stats| stats.kind);
    let declared = declared.into_iter().map(|kind| kind.kind.to_string());
    let known: Vec<_> = stored.chain(declared).collect();
    let near = near(kind, &known)?;
    Some(format!(
        "no worker has run a task of kind `{kind}` so far; is `{near}` meant, which is known?"
    ))
}

/// Whether some task was more than buried or too late.
fn was_run(counts: &Counts) -> bool {
    let unrun = [Status::Dead, Status::Expired, Status::Cancelled];
    let unrun = unrun.map(|status| counts.get(status)).iter().sum();
    counts.total() > unrun
}

/// The label of a stored batch that is probably meant by `label`, which none has.
pub(crate) async fn batch(label: &str, store: &Store) -> Option<String> {
    let batches = store.batches(None, BATCHES_MAX).await.ok()?;
    let labels: Vec<_> = batches.into_iter().map(|batch| batch.label).collect();
    near(label, &labels).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_told_from_another_word() {
        let known = ["demo.words", "demo.checksum", "image.resize", "demos"].map(str::to_owned);
        for (name, expected) in [
            ("demo.wrods", Some("demo.words")),
            ("demo.word", Some("demo.words")),
            ("image.rezise", Some("image.resize")),
            ("demo.words", None),
            ("demo.sleep", None),
            ("report.month", None),
            ("dem", None),
        ] {
            assert_eq!(near(name, &known), expected, "{name}");
        }
        assert_eq!(near("demo.words", &[]), None);
    }
}
