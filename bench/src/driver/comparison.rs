use std::fmt;

use serde::Serialize;

use super::pipeline::Pipeline;
use super::side::Travel;
use super::{Machine, Plan, Side, lone, pipeline, say};
use crate::sample::{Lone, Spread};

/// Everything that was measured, side by side.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    machine: Machine,
    tasks: u64,
    backlog: u64,
    bundled: u64,
    lone: u64,
    rounds: u32,
    figures: Vec<Figure>,
}

/// One figure of both sides.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    name: &'static str,
    bare: Option<Spread>,
    homing: Option<Spread>,
    /// Homing's by the bare program's, of each round.
    ratio: Option<Spread>,
    #[serde(skip)]
    decimals: usize,
}

/// What one side did in one round. A part is missing if it was not asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    pipeline: Option<Pipeline>,
    /// Tasks a second.
    backlog: Option<f64>,
    bundled: Option<Pipeline>,
    lone: Option<Lone>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Round {
    bare: Run,
    homing: Run,
}

/// Measures what `plan` says.
///
/// # Errors
///
/// A process has failed, or the broker is away.
pub async fn compare(plan: &Plan) -> anyhow::Result<Comparison> {
    let machine = Machine::look(&plan.url).await?;
    say(&machine);
    let mut rounds = Vec::new();
    for number in 1..=plan.rounds {
        say(format_args!("round {number} of {}", plan.rounds));
        rounds.push(round(plan).await?);
    }
    Ok(Comparison {
        machine,
        tasks: plan.tasks,
        backlog: plan.backlog,
        bundled: plan.bundled,
        lone: plan.lone,
        rounds: plan.rounds,
        figures: figures(&rounds),
    })
}

async fn round(plan: &Plan) -> anyhow::Result<Round> {
    let mut round = Round::default();
    let asked = |side: &Side| plan.only.is_none_or(|only| only == *side);
    for side in Side::BOTH.into_iter().filter(asked) {
        let run = match side {
            Side::Bare => &mut round.bare,
            Side::Homing => &mut round.homing,
        };
        if plan.tasks > 0 {
            let run_of = pipeline::run(side, &plan.url, plan.tasks, Travel::Alone);
            run.pipeline = Some(run_of.await?);
        }
        if plan.backlog > 0 {
            let worked_off = pipeline::backlog(side, &plan.url, plan.backlog);
            run.backlog = Some(worked_off.await?.rate);
        }
        if plan.bundled > 0 && side == Side::Homing {
            let run_of = pipeline::run(side, &plan.url, plan.bundled, Travel::Bundled);
            run.bundled = Some(run_of.await?);
        }
        if plan.lone > 0 {
            run.lone = Some(lone::run(side, &plan.url, plan.lone).await?);
        }
    }
    Ok(round)
}

fn figures(rounds: &[Round]) -> Vec<Figure> {
    let of_pipeline = |name, decimals, value: fn(&Pipeline) -> f64| {
        figure(rounds, name, decimals, |run| {
            run.pipeline.as_ref().map(value)
        })
    };
    let of_bundled = |name, decimals, value: fn(&Pipeline) -> f64| {
        figure(rounds, name, decimals, |run| {
            run.bundled.as_ref().map(value)
        })
    };
    let of_lone =
        |name, value: fn(&Lone) -> f64| figure(rounds, name, 2, |run| run.lone.as_ref().map(value));
    vec![
        of_pipeline("end to end, stored: tasks/s", 0, |run| run.rate),
        of_pipeline("submit, confirmed: tasks/s", 0, |run| run.submit_rate),
        of_pipeline("client CPU: s per 10,000 tasks", 3, |run| run.cpu_secs),
        of_pipeline("worker, peak memory: MiB", 1, |run| run.worker_rss_mib),
        of_pipeline("collector, peak memory: MiB", 1, |run| {
            run.collector_rss_mib
        }),
        of_pipeline("producer, peak memory: MiB", 1, |run| run.producer_rss_mib),
        figure(rounds, "backlog, stored: tasks/s", 0, |run| run.backlog),
        of_bundled("bundled, stored: tasks/s", 0, |run| run.rate),
        of_bundled("bundled, confirmed: tasks/s", 0, |run| run.submit_rate),
        of_bundled("bundled CPU: s per 10,000 tasks", 3, |run| run.cpu_secs),
        of_lone("lone task, stored, p50: ms", |lone| lone.p50_ms),
        of_lone("lone task, stored, p99: ms", |lone| lone.p99_ms),
    ]
}

fn figure(
    rounds: &[Round],
    name: &'static str,
    decimals: usize,
    value: impl Fn(&Run) -> Option<f64>,
) -> Figure {
    let ratio = |round: &Round| Some(value(&round.homing)? / value(&round.bare)?);
    Figure {
        name,
        bare: Spread::of(rounds.iter().filter_map(|round| value(&round.bare))),
        homing: Spread::of(rounds.iter().filter_map(|round| value(&round.homing))),
        ratio: Spread::of(rounds.iter().filter_map(ratio)),
        decimals,
    }
}

/// The table that people read, and `docs/performance.md` shows.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            machine,
            tasks,
            backlog,
            bundled,
            lone,
            rounds,
            figures,
        } = self;
        writeln!(f, "{machine}")?;
        writeln!(
            f,
            "medians of {rounds} rounds; {tasks} tasks, a backlog of {backlog}, {bundled} bundled, \
             {lone} lone tasks each\n"
        )?;
        writeln!(f, "| figure | bare | Homing | Homing / bare (min-max) |")?;
        writeln!(f, "|---|--:|--:|--:|")?;
        figures
            .iter()
            .try_for_each(|figure| writeln!(f, "{figure}"))
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let median = |spread: Option<Spread>| {
            let value = spread.map(|spread| format!("{:.*}", self.decimals, spread.median));
            value.unwrap_or_else(|| "-".to_owned())
        };
        let ratio = self
            .ratio
            .map(|Spread { median, min, max }| format!("{median:.2} ({min:.2}-{max:.2})"));
        let (bare, homing) = (median(self.bare), median(self.homing));
        let ratio = ratio.unwrap_or_else(|| "-".to_owned());
        write!(
            f,
            "| {:<31} | {bare:>8} | {homing:>8} | {ratio:>18} |",
            self.name
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(p50_ms: f64) -> Run {
        Run {
            lone: Some(Lone {
                p50_ms,
                p99_ms: 1.0,
            }),
            ..Run::default()
        }
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        let rounds = [(1.0, 2.0), (2.0, 2.0), (4.0, 12.0)].map(|(bare, homing)| Round {
            bare: run(bare),
            homing: run(homing),
        });

        let figure = figure(&rounds, "p50", 2, |run| run.lone.map(|lone| lone.p50_ms));

        let ratio = figure.ratio.unwrap();
        assert_eq!((ratio.median, ratio.min, ratio.max), (2.0, 1.0, 3.0));
        assert_eq!(
            figure.to_string(),
            format!(
                "| {:<31} |     2.00 |     2.00 |   2.00 (1.00-3.00) |",
                "p50"
            )
        );
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let figure = figure(&[Round::default()], "p50", 2, |run| {
            run.lone.map(|lone| lone.p50_ms)
        });

        assert!(figure.to_string().contains("|        - |"));
    }
}
