//! What the environment asks for.

use std::str::FromStr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{CRASH_VARIABLE, Point, SABOTAGE_VARIABLE, Sabotage};

/// A point to die at the `nth` time, and how often the process was there.
#[derive(Debug)]
struct Crash {
    point: Point,
    nth: u64,
    reached: AtomicU64,
}

// A mistake in either variable ends the program: it would test nothing.
static CRASHES: LazyLock<Vec<Crash>> = LazyLock::new(|| match std::env::var(CRASH_VARIABLE) {
    Ok(text) => {
        let parsed: Result<_, String> = text.split(',').map(str::parse).collect();
        parsed.unwrap_or_else(|error| panic!("{CRASH_VARIABLE}: {error}"))
    }
    Err(_) => Vec::new(),
});
static SABOTAGE: LazyLock<Option<Sabotage>> = LazyLock::new(|| {
    let name = std::env::var(SABOTAGE_VARIABLE).ok()?;
    Some(
        name.parse()
            .unwrap_or_else(|error| panic!("{SABOTAGE_VARIABLE}: {error}")),
    )
});

pub(crate) fn crash_point(point: Point) {
    for crash in CRASHES.iter().filter(|crash| crash.point == point) {
        if crash.is_due() {
            eprintln!("crash point {point}");
            std::process::abort();
        }
    }
}

pub(crate) fn is_broken(guarantee: Sabotage) -> bool {
    *SABOTAGE == Some(guarantee)
}

impl Crash {
    fn is_due(&self) -> bool {
        1 + self.reached.fetch_add(1, Ordering::Relaxed) == self.nth
    }
}

impl FromStr for Crash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
        let number = nth.parse().ok().filter(|number| *number > 0);
        Ok(Self {
            point: name.parse()?,
            nth: number.ok_or_else(|| format!("`{nth}` is no number from 1 up"))?,
            reached: AtomicU64::new(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_named_with_the_time_to_die_there() {
        let parsed = |text: &str| {
            let crash: Result<Crash, _> = text.parse();
            crash.map(|crash| (crash.point, crash.nth))
        };

        assert_eq!(parsed("worker.received"), Ok((Point::WorkerReceived, 1)));
        assert_eq!(parsed("worker.received:7"), Ok((Point::WorkerReceived, 7)));
        for wrong in ["worker", "worker.received:", "worker.received:0"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_nth_time_is_due_and_no_other() {
        let crash: Crash = "worker.received:3".parse().unwrap();

        let due: Vec<_> = (0..5).map(|_| crash.is_due()).collect();

        assert_eq!(due, [false, false, true, false, false]);
    }
}
