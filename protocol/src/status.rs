use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::NameError;

/// What is known of a task.
///
/// | status | meaning | closes the task |
/// |---|---|---|
/// | `pending` | its batch says it exists; waiting, delayed or running | no |
/// | `retrying` | an attempt failed, another will follow | no |
/// | `succeeded` | a handler gave an output | for good |
/// | `failed` | a handler said that trying again is no use | for good |
/// | `exhausted` | the last attempt allowed failed too | for good |
/// | `cancelled` | somebody called it off | for good |
/// | `expired` | its deadline passed before it was started | until a handler's outcome or a replay |
/// | `dead` | no worker could settle it | until a handler's outcome or a replay |
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// Its batch says it exists; no outcome yet.
    Pending,
    /// An attempt failed and another will follow.
    Retrying,
    /// A handler gave an output.
    Succeeded,
    /// A handler said that trying again is no use.
    Failed,
    /// The last attempt allowed failed too.
    Exhausted,
    /// Somebody called it off.
    Cancelled,
    /// Its deadline passed before it was started.
    Expired,
    /// No worker could settle it.
    Dead,
}

impl Status {
    /// Every status, in the order of the table above.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Retrying,
        Self::Succeeded,
        Self::Failed,
        Self::Exhausted,
        Self::Cancelled,
        Self::Expired,
        Self::Dead,
    ];

    /// Whether it never changes within a run once it is stored.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Exhausted | Self::Cancelled
        )
    }

    /// Whether it closes the task but yields to a handler's outcome.
    pub const fn is_parked(self) -> bool {
        matches!(self, Self::Expired | Self::Dead)
    }

    /// Whether somebody who waits for the task has an answer.
    pub const fn is_closed(self) -> bool {
        self.is_final() || self.is_parked()
    }

    /// Whether it is an answer that somebody should look at: `failed`,
    /// `exhausted`, `expired` or `dead`.
    pub const fn is_problem(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::Exhausted | Self::Expired | Self::Dead
        )
    }

    /// Whether a record with status `next` takes the place of one with this
    /// status in the same run.
    ///
    /// Final ones stay. Parked ones yield to a handler's outcome, since a late
    /// success is the truth. An attempt that will be retried never takes the
    /// place of an answer.
    pub const fn yields_to(self, next: Self) -> bool {
        if self.is_final() {
            return false;
        }
        if self.is_parked() {
            return next.is_final();
        }
        !matches!(next, Self::Pending)
    }

    /// The status as a word, as everywhere outside the program.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Exhausted => "exhausted",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Dead => "dead",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| NameError::Status {
                name: text.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_status_yields_to_nothing() {
        for status in Status::ALL.into_iter().filter(|status| status.is_final()) {
            for next in Status::ALL {
                assert!(!status.yields_to(next), "{status} to {next}");
            }
        }
    }

    #[test]
    fn a_parked_status_yields_to_final_ones_only() {
        for status in [Status::Expired, Status::Dead] {
            for next in Status::ALL {
                assert_eq!(
                    status.yields_to(next),
                    next.is_final(),
                    "{status} to {next}"
                );
            }
        }
    }

    #[test]
    fn every_status_is_read_back_from_its_word() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse::<Status>().ok(), Some(status));
        }
    }
}
