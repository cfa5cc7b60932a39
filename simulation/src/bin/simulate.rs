//! Runs worlds by seed until one breaks a promise.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use homing_simulation::{Ended, run};

/// Runs the state machines of delivery in worlds that break.
#[derive(Parser)]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Threads to run them on.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Runs this seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "first", "jobs"])]
    seed: Option<u64>,
    /// Says everything that happens.
    #[arg(long, requires = "seed")]
    trace: bool,
}

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn say(line: &str) {
    println!("{line}");
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.seed {
        Some(seed) => one(seed, args.trace.then_some(say as fn(&str))),
        None => many(&args),
    }
}

fn one(seed: u64, trace: Option<fn(&str)>) -> ExitCode {
    match run(seed, None, trace) {
        Ok(ended) => {
            say(&format!("seed {seed}: {ended:?}"));
            ExitCode::SUCCESS
        }
        Err(broken) => {
            say(&format!("seed {seed}: {broken}"));
            ExitCode::FAILURE
        }
    }
}

fn many(args: &Args) -> ExitCode {
    let (next, end) = (
        AtomicU64::new(args.first),
        args.first.saturating_add(args.seeds),
    );
    let (failed, begun) = (AtomicBool::new(false), Instant::now());
    let thread = || {
        let mut sum = Ended::default();
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            match run(seed, None, None) {
                Ok(ended) => sum = sum.and(ended),
                Err(broken) => {
                    failed.store(true, Ordering::Relaxed);
                    say(&format!("seed {seed}: {broken}"));
                    say(&format!("look at it: simulate --seed {seed} --trace"));
                }
            }
        }
        sum
    };
    let sum = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..args.jobs.max(1)).map(|_| scope.spawn(thread)).collect();
        let sums = threads.into_iter().map(|thread| thread.join());
        sums.fold(Ended::default(), |sum, ended| {
            sum.and(ended.expect("no world panics"))
        })
    });
    if failed.load(Ordering::Relaxed) {
        return ExitCode::FAILURE;
    }
    let secs = begun.elapsed().as_secs_f64();
    say(&format!(
        "{} seeds from {} in {secs:.0} s, {:.0}/s: {} events, {} faults, {} tasks, {} executions, \
         {} late or repeated records absorbed; nothing lost, doubled or changed",
        args.seeds,
        args.first,
        args.seeds as f64 / secs,
        sum.events,
        sum.faults,
        sum.tasks,
        sum.executions,
        sum.absorbed,
    ));
    ExitCode::SUCCESS
}
