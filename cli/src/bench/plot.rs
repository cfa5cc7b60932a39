//! The plot of a bench: throughput over time, and how long tasks took.

use std::io;
use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;

use super::load::Curve;
use crate::trouble::Trouble;

const SIZE: (u32, u32) = (1_000, 400);
const STORED: RGBColor = RGBColor(31, 119, 180);
const LONE: RGBColor = RGBColor(255, 127, 14);

/// Bars of a histogram.
const BARS: usize = 50;

/// Parts of the time that the throughput is shown for.
const PARTS: usize = 40;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'b, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Fault = DrawingAreaErrorKind<io::Error>;

pub(super) fn draw(
    file: &Path,
    curve: &Curve,
    half_ms: &[f64],
    lone_ms: &[f64],
) -> Result<(), Trouble> {
    let mut text = String::new();
    render(&mut text, curve, half_ms, lone_ms).map_err(|error| Trouble::bug(&error))?;
    std::fs::write(file, text)
        .map_err(|error| Trouble::file("write", &file.display().to_string(), &error))
}

fn render(text: &mut String, curve: &Curve, half_ms: &[f64], lone_ms: &[f64]) -> Result<(), Fault> {
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(SIZE.0 / 2);
    throughput(&left, &rates(curve))?;
    latencies(&right, half_ms, lone_ms)?;
    area.present()?;
    Ok(())
}

/// Tasks a second in each part of the time, with its middle.
fn rates(curve: &Curve) -> Vec<(f64, f64)> {
    let end = curve.last().map_or(0.0, |(secs, _)| *secs);
    let stored_at = |secs: f64| {
        let after = curve.partition_point(|(at, _)| *at <= secs);
        match (
            after.checked_sub(1).map(|before| curve[before]),
            curve.get(after),
        ) {
            (Some((from, low)), Some((to, high))) => {
                let share = (secs - from) / (to - from);
                low as f64 + (high - low) as f64 * share
            }
            (Some((_, stored)), None) => stored as f64,
            (None, _) => 0.0,
        }
    };
    let width = end / PARTS as f64;
    let rate = |part: usize| {
        let from = part as f64 * width;
        let stored = stored_at(from + width) - stored_at(from);
        (from + width / 2.0, stored / width)
    };
    if width > 0.0 {
        (0..PARTS).map(rate).collect()
    } else {
        Vec::new()
    }
}

fn throughput(area: &Area<'_>, rates: &[(f64, f64)]) -> Result<(), Fault> {
    let end = rates.last().map_or(1.0, |(secs, _)| *secs);
    let most = rates.iter().map(|(_, rate)| *rate).fold(1.0, f64::max);
    let mut chart = chart(
        area,
        "single tasks stored, per second",
        0.0..end,
        0.0..most * 1.1,
    )?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .x_desc("seconds")
        .y_label_formatter(&|rate| format!("{rate:.0}"))
        .draw()?;
    chart.draw_series(LineSeries::new(
        rates.iter().copied(),
        STORED.stroke_width(2),
    ))?;
    Ok(())
}

fn latencies(area: &Area<'_>, half_ms: &[f64], lone_ms: &[f64]) -> Result<(), Fault> {
    let end = upper(half_ms).max(upper(lone_ms)).max(0.001);
    let (half, lone) = (shares(half_ms, end), shares(lone_ms, end));
    let most = half.iter().chain(&lone).copied().fold(0.01, f64::max);
    let title = "submit to stored, share of tasks";
    let mut chart = chart(area, title, 0.0..end, 0.0..most * 1.1)?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .x_desc("milliseconds, to the 99th percentile")
        .x_label_formatter(&|ms| format!("{ms}"))
        .y_label_formatter(&|share| format!("{:.0} %", share * 100.0))
        .draw()?;
    for (shares, colour, name) in [(half, STORED, "half load"), (lone, LONE, "lone tasks")] {
        let width = end / BARS as f64;
        let bar = |(place, share): (usize, &f64)| {
            let from = place as f64 * width;
            Rectangle::new(
                [(from, 0.0), (from + width, *share)],
                colour.mix(0.5).filled(),
            )
        };
        chart
            .draw_series(shares.iter().enumerate().map(bar))?
            .label(name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], colour.filled()));
    }
    let mut legend = chart.configure_series_labels();
    legend.background_style(WHITE).border_style(BLACK).draw()?;
    Ok(())
}

fn chart<'a, 'b>(
    area: &'b Area<'a>,
    title: &str,
    x: Range<f64>,
    y: Range<f64>,
) -> Result<Chart<'a, 'b>, Fault> {
    ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(x, y)
}

/// What 99 of 100 are at most.
fn upper(ms: &[f64]) -> f64 {
    super::line::Latency::of(ms).map_or(0.0, |latency| latency.p99_ms)
}

/// The share of `ms` in each of the bars up to `end`.
fn shares(ms: &[f64], end: f64) -> Vec<f64> {
    let mut shares = vec![0.0; BARS];
    for ms in ms {
        let place = (ms / end * BARS as f64) as usize;
        if let Some(share) = shares.get_mut(place) {
            *share += 1.0;
        }
    }
    let all = ms.len().max(1) as f64;
    shares.iter().map(|count| count / all).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_shows_both_charts() {
        let mut text = String::new();

        render(
            &mut text,
            &vec![(0.0, 0), (1.0, 50), (2.0, 200)],
            &[1.0, 2.0],
            &[3.0],
        )
        .unwrap();

        assert!(
            text.starts_with("<svg") && text.trim_end().ends_with("</svg>"),
            "{text}"
        );
        for shown in ["per second", "share of tasks", "half load", "lone tasks"] {
            assert!(text.contains(shown), "{shown}");
        }
    }

    #[test]
    fn nothing_measured_is_drawn_as_nothing() {
        render(&mut String::new(), &Vec::new(), &[], &[]).unwrap();
    }

    #[test]
    fn rates_are_those_of_each_part_of_the_time() {
        let rates = rates(&vec![(0.0, 0), (1.0, 100), (2.0, 400)]);

        assert_eq!(rates.len(), PARTS);
        assert!((rates[0].1 - 100.0).abs() < 1e-6, "{rates:?}");
        assert!((rates[PARTS - 1].1 - 300.0).abs() < 1e-6, "{rates:?}");
    }

    #[test]
    fn shares_sum_up_to_what_is_shown() {
        let shares = shares(&[0.5, 1.5, 99.0], 10.0);

        assert!((shares.iter().sum::<f64>() - 2.0 / 3.0).abs() < 1e-9);
    }
}
