//! What the tasks of a bundle have in common here: it goes back whole, or not
//! at all.
//!
//! Who gets a bundle again runs all of its tasks again. So once one has begun,
//! the others go back as messages of their own.

use std::sync::atomic::{AtomicU8, Ordering};

const HERE: u8 = 0;
const BEGUN: u8 = 1;
const BACK: u8 = 2;

/// A bundle that was delivered.
#[derive(Debug, Default)]
pub(super) struct Bundle(AtomicU8);

impl Bundle {
    /// A task of it is to begin. Answers whether it may: not when the bundle goes
    /// back.
    pub(super) fn begins(&self) -> bool {
        self.is(BEGUN)
    }

    /// A task of it goes back unbegun. Answers whether the bundle does.
    pub(super) fn goes_back(&self) -> bool {
        self.is(BACK)
    }

    /// Whether it is this, which it becomes if it is neither yet.
    fn is(&self, state: u8) -> bool {
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        let before = self.0.compare_exchange(HERE, state, set, get);
        before.map_or_else(|before| before == state, |_| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_of_which_none_began_goes_back_and_then_none_begins() {
        let bundle = Bundle::default();

        assert!(bundle.goes_back() && bundle.goes_back());
        assert!(!bundle.begins());
    }

    #[test]
    fn a_bundle_of_which_one_began_does_not_go_back() {
        let bundle = Bundle::default();

        assert!(bundle.begins() && bundle.begins());
        assert!(!bundle.goes_back());
    }
}
