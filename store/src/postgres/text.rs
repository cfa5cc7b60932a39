//! Texts as PostgreSQL holds them.
//!
//! Its `text` takes every character but the zero one, which an error message may
//! well have. So that none is changed or lost:
//!
//! | text has      | stored is         |
//! |---------------|-------------------|
//! | U+0000        | U+001A, then `0`  |
//! | U+001A        | U+001A twice      |
//! | anything else | the same          |

use std::borrow::Cow;

/// *Substitute*, which is what ASCII has it for.
const MARK: char = '\u{1a}';

/// `text` as it is stored.
pub(super) fn stored(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', MARK]) {
        return Cow::Borrowed(text);
    }
    let mut stored = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' => stored.extend([MARK, '0']),
            MARK => stored.extend([MARK, MARK]),
            other => stored.push(other),
        }
    }
    Cow::Owned(stored)
}

/// The text that `stored` stands for.
pub(super) fn read(stored: String) -> String {
    if !stored.contains(MARK) {
        return stored;
    }
    let mut text = String::with_capacity(stored.len());
    let mut characters = stored.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            MARK if characters.next() == Some('0') => '\0',
            other => other,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_is_read_as_it_was_stored(
            text in prop::collection::vec(prop::sample::select(&['\0', MARK, '0', 'a', 'ä']), 0..9),
        ) {
            let text: String = text.into_iter().collect();

            let stored = stored(&text).into_owned();

            prop_assert!(!stored.contains('\0'));
            prop_assert_eq!(read(stored), text);
        }

        #[test]
        fn what_begins_alike_is_stored_alike(one in "[\0\u{1a}0a]{0,4}", two in "[\0\u{1a}0a]{0,4}") {
            prop_assert_eq!(one.starts_with(&two), stored(&one).starts_with(&*stored(&two)));
        }
    }
}
