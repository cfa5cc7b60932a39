use std::process::ExitCode;

/// How a verb ended, as the shell sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Done, and the answer is no: the task did not succeed, the topology
    /// differs, tasks have no outcome.
    No = 1,
    /// Used in a way that has no meaning.
    Usage = 2,
    /// Some of it: rows were rejected, or some of the tasks did not succeed.
    Partly = 3,
    /// Still waiting when the time was up. The tasks go on.
    TimedOut = 4,
    /// No such task, batch or dead letter.
    NotFound = 5,
    /// The broker or the store cannot be reached.
    Unreachable = 69,
    /// A bug of ours.
    Internal = 70,
    /// A handler did not end: start it again.
    Wedged = 75,
    /// The broker or the store refuses this user.
    Denied = 77,
    /// A setting that cannot be.
    Config = 78,
    /// Ended at once by a second Ctrl-C or SIGTERM, what ran being cut off.
    CutOff = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What became of several tasks, as one answer.
pub(crate) const fn of_several(succeeded: u64, others: u64) -> Exit {
    match (succeeded, others) {
        (_, 0) => Exit::Done,
        (0, _) => Exit::No,
        _ => Exit::Partly,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_tasks_are_done_partly_or_not_at_all() {
        assert_eq!(of_several(0, 0), Exit::Done);
        assert_eq!(of_several(3, 0), Exit::Done);
        assert_eq!(of_several(0, 3), Exit::No);
        assert_eq!(of_several(2, 1), Exit::Partly);
    }
}
