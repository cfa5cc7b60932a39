//! Room on the disks that files of ours are on.

use std::io;
use std::path::Path;

use super::finding::Finding;
use crate::exit::Exit;
use crate::trouble::{Trouble, plain_cause};

/// Below this somebody should look at it: a few million small outcomes.
const WARNING_BYTES: u64 = 1 << 30;

/// Below this the next burst of tasks fills it: SQLite's log alone is allowed 64 MiB.
const BAD_BYTES: u64 = 100 << 20;

/// What the system says of the disk that the file at `path` is on, or will be.
pub(super) fn free(path: &Path) -> io::Result<u64> {
    let folder = super::folder(path);
    let told = rustix::fs::statvfs(folder)?;
    Ok(told.f_bavail.saturating_mul(told.f_frsize))
}

/// Whether that is enough. Pure.
pub(super) fn enough(check: &'static str, path: &Path, free: io::Result<u64>) -> Finding {
    let place = super::shown_folder(path);
    let bytes = match free {
        Ok(bytes) => bytes,
        Err(error) => {
            let cause = plain_cause(&error);
            return Finding::unknown(check, format!("cannot look at {place}: {cause}"));
        }
    };
    let found = format!("{} MiB free in {place}", crate::time::grouped(bytes >> 20));
    let fix = "free some room; nothing is lost";
    match bytes {
        ..BAD_BYTES => Finding::bad(check, Trouble::new(Exit::No, found).fix(fix)),
        BAD_BYTES..WARNING_BYTES => Finding::warning(check, found, fix),
        WARNING_BYTES.. => Finding::ok(check, found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn little_room_is_a_warning_and_next_to_none_is_bad() {
        for (bytes, expected) in [
            (WARNING_BYTES, Verdict::Ok),
            (WARNING_BYTES - 1, Verdict::Warning),
            (BAD_BYTES, Verdict::Warning),
            (BAD_BYTES - 1, Verdict::Bad),
            (0, Verdict::Bad),
        ] {
            let finding = enough("store-disk", Path::new("homing.db"), Ok(bytes));

            assert_eq!(finding.verdict, expected, "{bytes}");
        }
    }

    #[test]
    fn a_disk_that_does_not_tell_is_unknown() {
        let gone = Err(io::ErrorKind::NotFound.into());

        let finding = enough("store-disk", Path::new("/nowhere/homing.db"), gone);

        assert_eq!(finding.verdict, Verdict::Unknown);
    }
}
