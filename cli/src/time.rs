//! Times and durations as people write and read them.

use std::time::Duration;

use homing_protocol::Timestamp;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo};

/// Reads a duration such as `30s`, `10m`, `2h` or `7d`.
///
/// # Errors
///
/// What is wrong with it, for the person who typed it.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let misfit = || format!("`{text}` is no time: 500ms, 30s, 10m, 2h, 7d");
    let span: Span = text.parse().map_err(|_| misfit())?;
    let duration = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| misfit())?;
    duration.try_into().map_err(|_| misfit())
}

/// Reads a point in time as RFC 3339 writes it: `2026-11-21T03:14:08Z`,
/// `2026-11-21T04:14:08.5+01:00`. With its offset: whoever submits and whoever
/// runs a task may be in different zones.
///
/// # Errors
///
/// What is wrong with it, for the person who typed it.
pub(crate) fn parse_point(text: &str) -> Result<Timestamp, String> {
    let misfit = |_| {
        format!("`{text}` is no point in time: 2026-11-21T03:14:08Z, 2026-11-21T04:14:08+01:00")
    };
    let point: jiff::Timestamp = text.parse().map_err(misfit)?;
    Ok(Timestamp::from_ms(point.as_millisecond()))
}

/// The whole point in time, in UTC: `2026-11-21T03:14:08.117Z`.
pub(crate) fn full(at: Timestamp) -> String {
    zoned(at, &TimeZone::UTC, "%Y-%m-%dT%H:%M:%S%.3fZ")
}

/// The point in local time, with its day if that is not today:
/// `03:14:08.117`, `11-20 03:14:08`.
pub(crate) fn short(at: Timestamp, now: Timestamp) -> String {
    let here = TimeZone::system();
    let day = |at| zoned(at, &here, "%Y-%m-%d");
    if day(at) == day(now) {
        return zoned(at, &here, "%H:%M:%S%.3f");
    }
    zoned(at, &here, "%m-%d %H:%M:%S")
}

/// The point in local time with its day: `2026-11-21 03:14:08.117`.
pub(crate) fn local(at: Timestamp) -> String {
    zoned(at, &TimeZone::system(), "%Y-%m-%d %H:%M:%S%.3f")
}

fn zoned(at: Timestamp, zone: &TimeZone, format: &str) -> String {
    // A time beyond the calendar is somebody's broken clock: shown as it came.
    jiff::Timestamp::from_millisecond(at.as_ms()).map_or_else(
        |_| at.to_string(),
        |at| at.to_zoned(zone.clone()).strftime(format).to_string(),
    )
}

/// A duration in the unit that fits it: `0 ms`, `171 ms`, `30.0 s`, `5.0 min`.
pub(crate) fn span(duration: Duration) -> String {
    let secs = duration.as_secs_f64();
    if secs < 1.0 {
        return format!("{} ms", duration.as_millis());
    }
    if secs < 120.0 {
        return format!("{secs:.1} s");
    }
    if secs < 7_200.0 {
        return format!("{:.1} min", secs / 60.0);
    }
    format!("{:.1} h", secs / 3_600.0)
}

/// A number with its thousands set apart: `204,120`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit() {
        for (text, secs) in [("30s", 30), ("10m", 600), ("2h", 7_200), ("7d", 604_800)] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_secs(secs)),
                "{text}"
            );
        }
        for text in ["", "30", "-5s", "1y", "soon"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_point_in_time_has_an_offset() {
        for text in ["2026-11-21T03:14:08Z", "2026-11-21T04:14:08+01:00"] {
            let at = Timestamp::from_ms(1_795_230_848_000);
            assert_eq!(parse_point(text), Ok(at), "{text}");
        }
        for text in [
            "",
            "now",
            "10m",
            "03:14",
            "2026-11-21",
            "2026-11-21T03:14:08",
            "2026-02-30T00:00:00Z",
            "1795230848",
        ] {
            assert!(parse_point(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_full_time_names_its_zone() {
        assert_eq!(full(Timestamp::from_ms(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(full(Timestamp::from_ms(i64::MAX)), i64::MAX.to_string());
    }

    #[test]
    fn a_span_is_in_the_unit_that_fits() {
        let spans = [0, 171, 30_000, 300_000, 9_000_000].map(Duration::from_millis);

        let texts = spans.map(span);

        assert_eq!(texts, ["0 ms", "171 ms", "30.0 s", "5.0 min", "2.5 h"]);
    }

    #[test]
    fn thousands_are_set_apart() {
        let texts = [0, 999, 1_000, 204_120, 1_000_000].map(grouped);

        assert_eq!(texts, ["0", "999", "1,000", "204,120", "1,000,000"]);
    }
}
