//! Finds the kind that was probably meant.

use std::time::Duration;

use homing_store::Store;

use crate::output::Talk;
use crate::settings::Settings;

/// More slips of the pen than this make another word.
const SLIPS_MAX: usize = 2;

/// Of the kinds that are `known`, the one nearest to `kind`, if that is none of
/// them and is hardly another word.
fn near<'a>(kind: &str, known: &'a [String]) -> Option<&'a str> {
    if known.iter().any(|known| known == kind) {
        return None;
    }
    let slips = |known: &&String| strsim::damerau_levenshtein(kind, known);
    let nearest = known.iter().min_by_key(slips)?;
    (slips(&nearest) <= SLIPS_MAX).then_some(nearest.as_str())
}

/// How long a person who waits for nothing is held up for a hint.
const HINT_TIME_MAX: Duration = Duration::from_millis(500);

/// Says so at a terminal if another kind was probably meant. A store that cannot be
/// read at once knows none.
pub(super) async fn say(kind: &str, settings: &Settings, talk: Talk) {
    if !talk.shows_progress() {
        return;
    }
    let hint = async {
        let store = settings.open_store().await.ok()?;
        hint(kind, &store).await
    };
    if let Ok(Some(hint)) = tokio::time::timeout(HINT_TIME_MAX, hint).await {
        talk.say(hint);
    }
}

/// What to say of a kind of which nothing was stored yet, where another that looks
/// like it is known: something was stored of it, or a worker declared it.
pub(super) async fn hint(kind: &str, store: &Store) -> Option<String> {
    let stored = store.stats(None).await.ok()?;
    let declared = store.kinds().await.ok()?;
    let stored = stored.into_iter().map(|kind| kind.kind);
    let declared = declared.into_iter().map(|kind| kind.kind.to_string());
    let known: Vec<_> = stored.chain(declared).collect();
    let near = near(kind, &known)?;
    Some(format!(
        "no task of kind `{kind}` was stored so far; is `{near}` meant, which is known?"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_told_from_another_word() {
        let known = ["demo.words", "demo.checksum", "image.resize"].map(str::to_owned);
        for (kind, expected) in [
            ("demo.wrods", Some("demo.words")),
            ("demo.word", Some("demo.words")),
            ("image.rezise", Some("image.resize")),
            ("demo.words", None),
            ("demo.sleep", None),
            ("report.month", None),
        ] {
            assert_eq!(near(kind, &known), expected, "{kind}");
        }
        assert_eq!(near("demo.words", &[]), None);
    }
}
