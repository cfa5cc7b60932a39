/// Up to which message everything is confirmed.
///
/// RabbitMQ confirms in any order, singly or up to a number:
/// <https://www.rabbitmq.com/docs/confirms#publisher-confirms>.
#[derive(Debug, Default)]
pub(super) struct Confirmed {
    upto: u64,
    /// Confirmed ahead of one that is not.
    beyond: std::collections::BTreeSet<u64>,
}

impl Confirmed {
    /// Takes note of a confirm; says up to which number all are.
    pub(super) fn note(&mut self, tag: u64, multiple: bool) -> u64 {
        if multiple {
            self.upto = self.upto.max(tag);
            self.beyond = self.beyond.split_off(&(self.upto + 1));
        } else {
            self.beyond.insert(tag);
        }
        while self.beyond.remove(&(self.upto + 1)) {
            self.upto += 1;
        }
        self.upto
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_holds_back_what_is_confirmed_beyond_it() {
        let mut confirmed = Confirmed::default();

        assert_eq!(confirmed.note(3, false), 0);
        assert_eq!(confirmed.note(1, false), 1);
        assert_eq!(confirmed.note(2, true), 3);
    }

    #[test]
    fn a_confirm_of_many_covers_single_ones_before_it() {
        let mut confirmed = Confirmed::default();
        confirmed.note(2, false);

        assert_eq!(confirmed.note(4, true), 4);
        assert_eq!(confirmed.note(5, false), 5);
    }
}
