//! A progress bar on stderr, for whoever waits at a terminal. Where none sees it,
//! nothing is written.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Talk;
use crate::time::grouped;

/// How often it is drawn while nothing changes but the time.
const TICK_PERIOD: Duration = Duration::from_secs(1);

/// A bar that looks as `template` says.
pub(crate) fn bar(template: &'static str, talk: Talk) -> ProgressBar {
    if !talk.shows_progress() {
        return ProgressBar::hidden();
    }
    // One of nothing would be full.
    let bar = ProgressBar::new(1);
    // The template is a literal of ours: a wrong one keeps the default look.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK_PERIOD);
    // At once: whoever waits sees that it is waited.
    bar.tick();
    bar
}

/// How fast it goes that had `done` in `took`, and when it is through with what is
/// `left`, if that is known.
pub(crate) fn pace(done: u64, took: Duration, left: Option<u64>) -> String {
    let per_sec = done as f64 / took.as_secs_f64().max(0.001);
    let rate = match per_sec {
        per_sec if per_sec < 10.0 => format!("{per_sec:.1}/s"),
        per_sec => format!("{}/s", grouped(per_sec as u64)),
    };
    match left {
        Some(left) if done > 0 => format!("{rate}  eta {}", clock(left as f64 / per_sec)),
        _ => rate,
    }
}

/// Seconds as a clock shows them: `0:17`, `2:03:04`.
fn clock(secs: f64) -> String {
    let secs = secs.ceil() as u64;
    let (hours, mins, secs) = (secs / 3_600, secs / 60 % 60, secs % 60);
    match hours {
        0 => format!("{mins}:{secs:02}"),
        _ => format!("{hours}:{mins:02}:{secs:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_a_rate_and_the_time_that_what_is_left_takes_at_it() {
        let pace = |done, secs, left| pace(done, Duration::from_secs(secs), left);

        assert_eq!(pace(2_700, 3, Some(7_300)), "900/s  eta 0:09");
        assert_eq!(pace(30_000, 20, None), "1,500/s");
        assert_eq!(pace(3, 2, Some(6_000)), "1.5/s  eta 1:06:40");
        assert_eq!(pace(0, 5, Some(10)), "0.0/s");
        assert_eq!(pace(10, 1, Some(0)), "10/s  eta 0:00");
    }
}
