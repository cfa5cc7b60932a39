//! How long a store takes to answer: `queries URL TIMES`.

#![expect(clippy::print_stdout, reason = "what it prints is its answer")]

use std::future::Future;
use std::time::{Duration, Instant};

use homing_protocol::Status;
use homing_store::{Filter, KindPattern, Position, Store, StoreError, StoreUrl};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or("usage: queries URL TIMES");
    let (url, times): (StoreUrl, usize) = (argument()?.parse()?, argument()?.parse()?);
    let store = Store::open(&url).await?;
    let page = store.list(&Filter::all(), 50).await?;
    let task = page.last().ok_or("the store is empty")?.report.task;
    let kind: KindPattern = page[0].report.kind.parse()?;
    let end: i64 = store.end().await?.to_string().parse()?;
    let middle: Position = (end / 2).to_string().parse()?;
    let all = Filter::all();
    let problems = Filter::all().problems();
    let dead = Filter::all().kind(kind.clone()).statuses([Status::Dead]);
    let recent = Filter::all().since(page[0].stored_at);
    let of_kind = Filter::all().kind(kind);
    let batch = page.iter().find_map(|record| record.report.batch);
    let of_batch = batch.map_or(Filter::all(), |batch| Filter::all().batch(batch));
    let dead_of_batch = of_batch.clone().statuses([Status::Dead]);

    measure("show", times, || store.task(task)).await?;
    measure("list", times, || store.list(&all, 50)).await?;
    measure("list --kind", times, || store.list(&of_kind, 50)).await?;
    measure("list --problems", times, || store.list(&problems, 50)).await?;
    measure("list --kind --status dead", times, || store.list(&dead, 50)).await?;
    measure("list --batch", times, || store.list(&of_batch, 50)).await?;
    measure("list --batch --status dead", times, || {
        store.list(&dead_of_batch, 50)
    })
    .await?;
    measure("list --since", times, || store.list(&recent, 50)).await?;
    measure("tail --from the middle", times, || {
        store.tail(&middle, &all, 50)
    })
    .await?;
    measure("tail's end", times, || store.last(&all, 50)).await?;
    measure("stats", times, || store.stats(None)).await?;
    Ok(())
}

async fn measure<T, F: Future<Output = Result<T, StoreError>>>(
    what: &str,
    times: usize,
    ask: impl Fn() -> F,
) -> Result<(), StoreError> {
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        let since = Instant::now();
        ask().await?;
        took.push(since.elapsed());
    }
    took.sort_unstable();
    let ms = |share: f64| -> f64 {
        let at = ((times as f64 * share) as usize).min(times - 1);
        took.get(at).map_or(0.0, Duration::as_secs_f64) * 1e3
    };
    println!(
        "{what:<28} p50 {:>7.2} ms  p99 {:>7.2} ms",
        ms(0.5),
        ms(0.99)
    );
    Ok(())
}
