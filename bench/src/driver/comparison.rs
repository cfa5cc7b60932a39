use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::guard::{self, Better, Kept, Ratio, Verdict};
use super::pipeline::Pipeline;
use super::side::Load;
use super::{Machine, Plan, Side, lone, pipeline, say};
use crate::sample::{Lone, Spread};

/// Everything that was measured, side by side.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    machine: Machine,
    #[serde(flatten)]
    plan: Plan,
    figures: Vec<Figure>,
}

/// One figure of Homing beside another: the bare program's, unless its name says
/// otherwise.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    name: &'static str,
    beside: Option<Spread>,
    homing: Option<Spread>,
    /// Homing's by the other, of each round.
    ratio: Option<Spread>,
    #[serde(skip)]
    decimals: usize,
    /// Which way the ratio is better, if it is steady enough to be guarded.
    #[serde(skip)]
    better: Guarded,
}

/// What one side did in one round. A part is missing if it was not asked for, or
/// if the bare program has nothing like it.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    pipeline: Option<Pipeline>,
    /// Tasks a second.
    backlog: Option<f64>,
    bundled: Option<Pipeline>,
    /// Tasks a second.
    sleep: Option<f64>,
    /// Tasks a second, of one process and of two.
    spin_one: Option<f64>,
    spin_two: Option<f64>,
    lone: Option<Lone>,
    awaited: Option<Lone>,
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
        plan: plan.clone(),
        figures: figures(&rounds),
    })
}

impl Comparison {
    /// Keeps its ratios in a file, for [`judged`](Self::judged).
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn keep(&self, file: &Path) -> anyhow::Result<()> {
        guard::keep(file, &self.ratios())
    }

    /// Whether its ratios are as good as those that are kept.
    pub fn judged(&self, kept: &Kept) -> Verdict {
        kept.judge(&self.ratios())
    }

    fn ratios(&self) -> Vec<Ratio> {
        let ratio = |figure: &Figure| Some((figure.name, figure.better?, figure.ratio?.median));
        self.figures.iter().filter_map(ratio).collect()
    }
}

async fn round(plan: &Plan) -> anyhow::Result<Round> {
    let mut round = Round::default();
    let asked = |side: &Side| plan.only.is_none_or(|only| only == *side);
    for side in Side::BOTH.into_iter().filter(asked) {
        let run = match side {
            Side::Bare => &mut round.bare,
            Side::Homing => &mut round.homing,
        };
        *run = side_of(plan, side).await?;
    }
    Ok(round)
}

async fn side_of(plan: &Plan, side: Side) -> anyhow::Result<Run> {
    let mut run = Run::default();
    let load = async |tasks, load| pipeline::run(side, &plan.url, tasks, load).await;
    if plan.tasks > 0 {
        run.pipeline = Some(load(plan.tasks, Load::Single).await?);
    }
    if plan.backlog > 0 {
        let worked_off = pipeline::backlog(side, &plan.url, plan.backlog);
        run.backlog = Some(worked_off.await?.rate);
    }
    if plan.bundled > 0 && side == Side::Homing {
        run.bundled = Some(load(plan.bundled, Load::Bundled).await?);
    }
    if plan.sleep > 0 && side == Side::Homing {
        run.sleep = Some(load(plan.sleep, Load::Sleep).await?.rate);
    }
    if plan.spin > 0 && side == Side::Homing {
        let spin = |processes| load(plan.spin, Load::Spin { processes });
        run.spin_one = Some(spin(1).await?.rate);
        run.spin_two = Some(spin(2).await?.rate);
    }
    if plan.lone > 0 {
        run.lone = Some(lone::run(side, &plan.url, plan.lone).await?);
        run.awaited = Some(lone::awaited(side, &plan.url, plan.lone).await?);
    }
    Ok(run)
}

/// A value of one side of a round.
type Value = fn(&Run) -> Option<f64>;

/// How the ratio of a figure is better; `None` if it is too unsteady to be guarded.
type Guarded = Option<Better>;

const MORE: Guarded = Some(Better::More);
const LESS: Guarded = Some(Better::Less);

const RATE: Value = |run| Some(run.pipeline?.rate);
const SUBMIT_RATE: Value = |run| Some(run.pipeline?.submit_rate);
const CPU: Value = |run| Some(run.pipeline?.cpu_secs);

/// Of both sides: name, decimals, what is better, and the value.
const BOTH: [(&str, usize, Guarded, Value); 11] = [
    ("end to end, stored: tasks/s", 0, MORE, RATE),
    ("submit, confirmed: tasks/s", 0, MORE, SUBMIT_RATE),
    ("client CPU: s per 10,000 tasks", 3, LESS, CPU),
    ("worker, peak memory: MiB", 1, LESS, |run| {
        Some(run.pipeline?.worker_rss_mib)
    }),
    ("collector, peak memory: MiB", 1, LESS, |run| {
        Some(run.pipeline?.collector_rss_mib)
    }),
    ("producer, peak memory: MiB", 1, LESS, |run| {
        Some(run.pipeline?.producer_rss_mib)
    }),
    ("backlog, stored: tasks/s", 0, MORE, |run| run.backlog),
    ("lone task, stored, p50: ms", 2, LESS, |run| {
        Some(run.lone?.p50_ms)
    }),
    ("lone task, stored, p99: ms", 2, None, |run| {
        Some(run.lone?.p99_ms)
    }),
    ("lone task, awaited, p50: ms", 2, LESS, |run| {
        Some(run.awaited?.p50_ms)
    }),
    ("lone task, awaited, p99: ms", 2, None, |run| {
        Some(run.awaited?.p99_ms)
    }),
];

/// Of Homing beside the bare program, which does something else: name, decimals,
/// what is better, and both values.
const BESIDE_BARE: [(&str, usize, Guarded, Value, Value); 3] = [
    ("bundled, stored, by single ones", 0, MORE, RATE, |run| {
        Some(run.bundled?.rate)
    }),
    (
        "bundled, confirmed, by single ones",
        0,
        MORE,
        SUBMIT_RATE,
        |run| Some(run.bundled?.submit_rate),
    ),
    ("bundled, client CPU, by single ones", 3, LESS, CPU, |run| {
        Some(run.bundled?.cpu_secs)
    }),
];

/// Of Homing beside itself: name, and both values, of which more is better.
const BESIDE_ITSELF: [(&str, Value, Value); 2] = [
    ("10 ms of sleep, by own end to end", RATE, |run| run.sleep),
    (
        "CPU-bound, 2 processes, by 1",
        |run| run.spin_one,
        |run| run.spin_two,
    ),
];

fn figures(rounds: &[Round]) -> Vec<Figure> {
    let both = BOTH.map(|(name, decimals, better, value)| {
        let beside = |round: &Round| value(&round.bare);
        figure(rounds, name, beside, value).shown(decimals, better)
    });
    let beside_bare = BESIDE_BARE.map(|(name, decimals, better, bare, value)| {
        let beside = |round: &Round| bare(&round.bare);
        figure(rounds, name, beside, value).shown(decimals, better)
    });
    let beside_itself = BESIDE_ITSELF.map(|(name, own, value)| {
        let beside = |round: &Round| own(&round.homing);
        figure(rounds, name, beside, value).shown(0, MORE)
    });
    let all = both.into_iter().chain(beside_bare);
    all.chain(beside_itself).collect()
}

fn figure(
    rounds: &[Round],
    name: &'static str,
    beside: impl Fn(&Round) -> Option<f64>,
    homing: Value,
) -> Figure {
    let homing = |round: &Round| homing(&round.homing);
    let ratio = |round: &Round| Some(homing(round)? / beside(round)?);
    Figure {
        name,
        beside: Spread::of(rounds.iter().filter_map(&beside)),
        homing: Spread::of(rounds.iter().filter_map(homing)),
        ratio: Spread::of(rounds.iter().filter_map(ratio)),
        decimals: 0,
        better: None,
    }
}

impl Figure {
    const fn shown(self, decimals: usize, better: Guarded) -> Self {
        Self {
            decimals,
            better,
            ..self
        }
    }
}

/// The table that people read, and `docs/performance.md` shows.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan {
            tasks,
            backlog,
            bundled,
            sleep,
            spin,
            lone,
            rounds,
            ..
        } = self.plan;
        writeln!(f, "{}", self.machine)?;
        writeln!(
            f,
            "medians of {rounds} rounds; {tasks} tasks, a backlog of {backlog}, {bundled} bundled, \
             {sleep} that sleep, {spin} CPU-bound, {lone} lone tasks each\n"
        )?;
        writeln!(
            f,
            "| figure | bare, or what it says | Homing | ratio (min-max) |"
        )?;
        writeln!(f, "|---|--:|--:|--:|")?;
        self.figures
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
        let (beside, homing) = (median(self.beside), median(self.homing));
        let ratio = ratio.unwrap_or_else(|| "-".to_owned());
        write!(
            f,
            "| {:<35} | {beside:>8} | {homing:>8} | {ratio:>18} |",
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

    fn p50(rounds: &[Round]) -> Figure {
        let p50: Value = |run| Some(run.lone?.p50_ms);
        figure(rounds, "p50", |round| p50(&round.bare), p50).shown(2, None)
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        let rounds = [(1.0, 2.0), (2.0, 2.0), (4.0, 12.0)].map(|(bare, homing)| Round {
            bare: run(bare),
            homing: run(homing),
        });

        let figure = p50(&rounds);

        let ratio = figure.ratio.unwrap();
        assert_eq!((ratio.median, ratio.min, ratio.max), (2.0, 1.0, 3.0));
        assert_eq!(
            figure.to_string(),
            format!(
                "| {:<35} |     2.00 |     2.00 |   2.00 (1.00-3.00) |",
                "p50"
            )
        );
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let figure = p50(&[Round::default()]);

        assert!(figure.to_string().contains("|        - |"));
    }
}
