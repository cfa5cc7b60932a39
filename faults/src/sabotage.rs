use std::fmt;
use std::str::FromStr;

/// A guarantee that can be broken on purpose.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Sabotage {
    /// Workers ack a task before its outcome is confirmed.
    AckBeforeConfirm,
    /// The collector acks outcomes before they are committed.
    AckBeforeCommit,
    /// A later outcome takes the place of a final one.
    NoFencing,
    /// What was on its way when a connection broke counts as confirmed.
    LostConfirmIgnored,
    /// An ack covers earlier deliveries that have no answer.
    MultipleOverUnfinished,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::AckBeforeConfirm,
        Self::AckBeforeCommit,
        Self::NoFencing,
        Self::LostConfirmIgnored,
        Self::MultipleOverUnfinished,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeConfirm => "ack-before-confirm",
            Self::AckBeforeCommit => "ack-before-commit",
            Self::NoFencing => "no-fencing",
            Self::LostConfirmIgnored => "lost-confirm-ignored",
            Self::MultipleOverUnfinished => "multiple-over-unfinished",
        }
    }
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Sabotage {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|each| each.name() == name);
        found.ok_or_else(|| format!("there is no sabotage `{name}`"))
    }
}
