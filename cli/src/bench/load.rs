use std::time::{Duration, Instant};

use homing_producer::SubmitError;
use homing_protocol::{Task, TaskId};
use homing_store::{BatchRef, Filter, Store};
use indicatif::ProgressBar;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::line::{BenchLine, Latency};
use super::pipeline::{Bundled, Echo, Ends};
use crate::exit::Exit;
use crate::trouble::Trouble;

/// Between two looks at how much is stored.
const LOOK: Duration = Duration::from_millis(20);

/// Between two looks for a lone task.
const LONE_LOOK: Duration = Duration::from_micros(100);

/// Between two lone tasks: long enough for the system to be idle again.
const LONE_PAUSE: Duration = Duration::from_millis(5);

/// How long tasks are submitted at half the rate.
const HALF_TIME: Duration = Duration::from_secs(5);

/// How often some of them are.
const HALF_TICK: Duration = Duration::from_millis(2);

/// How long anything may go without progress.
const STALL_TIME_MAX: Duration = Duration::from_secs(60);

/// Records read at once.
const RECORDS: u32 = 1_000;

/// Seconds since the first submit, and how many tasks were stored by then.
pub(super) type Curve = Vec<(f64, u64)>;

/// One load, done.
pub(super) struct Done {
    pub(super) line: BenchLine,
    pub(super) curve: Curve,
    /// Milliseconds from submit to store, of each task.
    pub(super) stored_ms: Vec<f64>,
}

pub(super) async fn single(ends: &Ends, tasks: u64, bar: &ProgressBar) -> Result<Done, Trouble> {
    let load = (0..tasks).map(Echo::new);
    at_once(ends, "single", tasks, load, bar).await
}

pub(super) async fn bundled(ends: &Ends, tasks: u64, bar: &ProgressBar) -> Result<Done, Trouble> {
    let load = (0..tasks).map(Bundled::new);
    at_once(ends, "bundled", tasks, load, bar).await
}

/// Tasks as one batch, as fast as they are confirmed.
async fn at_once<T: Task>(
    ends: &Ends,
    load: &'static str,
    count: u64,
    tasks: impl Iterator<Item = T> + Send,
    bar: &ProgressBar,
) -> Result<Done, Trouble> {
    let since = Instant::now();
    let mut batch = ends
        .producer
        .batch(load)
        .await
        .map_err(|error| unsubmitted(&error))?;
    let id = BatchRef::Id(batch.id());
    let submit = async {
        batch.submit_all(tasks).await?;
        batch.seal().await?;
        Ok::<_, SubmitError>(since.elapsed())
    };
    let submit = async { submit.await.map_err(|error| unsubmitted(&error)) };
    let (submitted, curve) = tokio::try_join!(submit, until_stored(ends, &id, count, since, bar))?;
    let stored = curve.last().map_or(0.0, |(secs, _)| *secs);
    Ok(Done {
        line: BenchLine {
            load,
            tasks: count,
            submitted_per_sec: count as f64 / submitted.as_secs_f64(),
            stored_per_sec: count as f64 / stored,
            waited: None,
            awaited: None,
            stored: None,
        },
        curve,
        stored_ms: Vec::new(),
    })
}

async fn until_stored(
    ends: &Ends,
    batch: &BatchRef,
    count: u64,
    since: Instant,
    bar: &ProgressBar,
) -> Result<Curve, Trouble> {
    bar.set_length(count);
    let (mut curve, mut moved) = (vec![(0.0, 0)], Instant::now());
    loop {
        let found = ends
            .store
            .batch(batch)
            .await
            .map_err(|error| Trouble::store(&error))?;
        let stored = found.map_or(0, |batch| batch.counts.closed());
        if curve.last().is_none_or(|(_, last)| *last < stored) {
            curve.push((since.elapsed().as_secs_f64(), stored));
            moved = Instant::now();
            bar.set_position(stored);
        }
        if stored >= count {
            bar.finish_and_clear();
            return Ok(curve);
        }
        if moved.elapsed() > STALL_TIME_MAX {
            let what = format!("{stored} of {count} tasks are stored, and no more come");
            return Err(Trouble::new(Exit::TimedOut, what));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Single tasks, so many a second.
pub(super) async fn half(ends: &Ends, rate: f64, bar: &ProgressBar) -> Result<Done, Trouble> {
    let start = ends
        .store
        .end()
        .await
        .map_err(|error| Trouble::store(&error))?;
    let count = ((rate * HALF_TIME.as_secs_f64()) as u64).max(1);
    let since = Instant::now();
    let mut batch = ends
        .producer
        .batch("half")
        .await
        .map_err(|error| unsubmitted(&error))?;
    let id = BatchRef::Id(batch.id());
    let submit = async {
        let mut ticks = tokio::time::interval(HALF_TICK);
        let mut submitted = 0;
        while submitted < count {
            ticks.tick().await;
            let due = (since.elapsed().as_secs_f64() * rate) as u64;
            let due = due.min(count).saturating_sub(submitted);
            if due > 0 {
                batch
                    .submit_all((submitted..submitted + due).map(Echo::new))
                    .await?;
                submitted += due;
            }
        }
        batch.seal().await?;
        Ok::<_, SubmitError>(since.elapsed())
    };
    let submit = async { submit.await.map_err(|error| unsubmitted(&error)) };
    let (submitted, curve) = tokio::try_join!(submit, until_stored(ends, &id, count, since, bar))?;
    let stored = curve.last().map_or(0.0, |(secs, _)| *secs);

    let (mut waited_ms, mut stored_ms, mut position) = (Vec::new(), Vec::new(), start);
    loop {
        let tail = ends.store.tail(&position, &Filter::all(), RECORDS).await;
        let tail = tail.map_err(|error| Trouble::store(&error))?;
        for record in &tail.records {
            waited_ms.push(record.report.waited_ms as f64);
            let took = record.stored_at.since(record.report.submitted_at);
            stored_ms.push(took.as_secs_f64() * 1e3);
        }
        if tail.at_end {
            break;
        }
        position = tail.position;
    }
    Ok(Done {
        line: BenchLine {
            load: "half",
            tasks: count,
            submitted_per_sec: count as f64 / submitted.as_secs_f64(),
            stored_per_sec: count as f64 / stored,
            waited: Latency::of(&waited_ms),
            awaited: None,
            stored: Latency::of(&stored_ms),
        },
        curve,
        stored_ms,
    })
}

/// One task after the other: of the even ones the outcome is awaited, of the odd ones
/// it is looked for in the store meanwhile.
pub(super) async fn lone(ends: &Ends, count: u64, bar: &ProgressBar) -> Result<Done, Trouble> {
    bar.set_length(count);
    let (mut awaited_ms, mut stored_ms) = (Vec::new(), Vec::new());
    let mut submitted = Duration::ZERO;
    for number in 0..count {
        tokio::time::sleep(LONE_PAUSE).await;
        let looking = match number % 2 {
            0 => None,
            _ => Some(Looking::begin(&ends.store).await?),
        };
        let since = Instant::now();
        let handle = ends.producer.submit(Echo::new(number)).await;
        let handle = handle.map_err(|error| unsubmitted(&error))?;
        submitted += since.elapsed();
        match looking {
            None => {
                let output = tokio::time::timeout(STALL_TIME_MAX, handle.output()).await;
                let output = output.map_err(|_| late("an outcome", "did not come back"))?;
                output.map_err(|error| Trouble::bug(&error))?;
                awaited_ms.push(since.elapsed().as_secs_f64() * 1e3);
                until_closed(ends, handle.id()).await?;
            }
            Some(looking) => {
                let seen_at = looking.end().await?;
                stored_ms.push((seen_at - since).as_secs_f64() * 1e3);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let stored: f64 = stored_ms.iter().sum::<f64>() / 1e3;
    Ok(Done {
        line: BenchLine {
            load: "lone",
            tasks: count,
            submitted_per_sec: count as f64 / submitted.as_secs_f64(),
            stored_per_sec: stored_ms.len() as f64 / stored,
            waited: None,
            awaited: Latency::of(&awaited_ms),
            stored: Latency::of(&stored_ms),
        },
        curve: Vec::new(),
        stored_ms,
    })
}

async fn until_closed(ends: &Ends, task: TaskId) -> Result<(), Trouble> {
    let since = Instant::now();
    while since.elapsed() < STALL_TIME_MAX {
        let record = ends.store.record(task).await;
        let record = record.map_err(|error| Trouble::store(&error))?;
        if record.is_some_and(|record| record.report.status.is_closed()) {
            return Ok(());
        }
        tokio::time::sleep(LONE_LOOK).await;
    }
    Err(late("a task", "was not stored"))
}

/// A thread that looks for the next entry in the store's log: a runtime's timers are
/// too coarse for that.
struct Looking(JoinHandle<Result<Instant, Trouble>>);

impl Looking {
    async fn begin(store: &Store) -> Result<Self, Trouble> {
        let end = store.end().await.map_err(|error| Trouble::store(&error))?;
        let (store, runtime) = (store.clone(), Handle::current());
        Ok(Self(spawn_blocking(move || {
            let since = Instant::now();
            while since.elapsed() < STALL_TIME_MAX {
                let now = runtime.block_on(store.end());
                if now.map_err(|error| Trouble::store(&error))? > end {
                    return Ok(Instant::now());
                }
                std::thread::sleep(LONE_LOOK);
            }
            Err(late("a task", "was not stored"))
        })))
    }

    /// When it was there.
    async fn end(self) -> Result<Instant, Trouble> {
        self.0.await.map_err(|error| Trouble::bug(&error))?
    }
}

fn late(what: &str, how: &str) -> Trouble {
    let secs = STALL_TIME_MAX.as_secs();
    Trouble::new(Exit::TimedOut, format!("{what} {how} within {secs} s"))
}

fn unsubmitted(error: &SubmitError) -> Trouble {
    match error {
        SubmitError::Publish { source, .. } | SubmitError::Record { source, .. } => {
            Trouble::publish(source, "homing bench")
        }
        other => Trouble::bug(other),
    }
}
