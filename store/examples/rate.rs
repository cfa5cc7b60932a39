//! How many outcomes a store takes in a second, in groups as a collector writes
//! them: `rate GROUP GROUPS URL…`, each URL in turn, several times.

#![expect(clippy::print_stdout, reason = "what it prints is its answer")]

use std::time::{Duration, Instant};

use homing_protocol::{ContentType, Digest, Report, Run, Status, Timestamp};
use homing_store::{Entry, Opened, StoreUrl, Writer};
use uuid::Uuid;

/// Rounds, of which the median is printed.
const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().ok_or("usage: rate GROUP GROUPS URL…");
    let (group, groups): (u32, u32) = (number()?.parse()?, number()?.parse()?);
    let urls: Vec<StoreUrl> = arguments.map(|url| url.parse()).collect::<Result<_, _>>()?;
    let mut times = vec![Vec::new(); urls.len()];
    for _ in 0..ROUNDS {
        for (url, times) in urls.iter().zip(&mut times) {
            times.push(round(url, group, groups)?);
        }
    }
    for (url, mut times) in urls.iter().zip(times) {
        times.sort_unstable();
        let median = times[ROUNDS / 2].as_secs_f64();
        let rate = f64::from(group) * f64::from(groups) / median;
        let each = median / f64::from(groups) * 1e3;
        println!("{rate:>8.0} outcomes/s  {each:>7.2} ms per group of {group}  {url}");
    }
    Ok(())
}

fn round(url: &StoreUrl, group: u32, groups: u32) -> Result<Duration, Box<dyn std::error::Error>> {
    let Opened::Ready(mut writer) = Writer::open(url)? else {
        return Err("another collector has it".into());
    };
    let entries: Vec<Vec<Entry>> = (0..groups)
        .map(|_| (0..group).map(|row| Entry::Report(report(row))).collect())
        .collect();
    let since = Instant::now();
    for entries in &entries {
        writer.write(entries, Timestamp::from(std::time::SystemTime::now()))?;
    }
    Ok(since.elapsed())
}

/// Of so many rows one fails.
const FAILS: u32 = 500;

/// What an echo of a small task comes to, as a row of a batch.
fn report(row: u32) -> Report {
    let kind = "demo.echo".to_owned();
    let (task, digest) = (Uuid::now_v7().into(), Digest::of(b"{\"n\":1}"));
    let status = match row % FAILS {
        0 => Status::Failed,
        _ => Status::Succeeded,
    };
    let mut report = Report::bare(task, Run::FIRST, kind, status, digest);
    report.batch = Some(Uuid::from_u128(1).into());
    report.row = Some(u64::from(row));
    report.attempt = 1;
    report.attempts_max = 5;
    report.attempt_id = Some(Uuid::now_v7().into());
    report.queue = "tasks".to_owned();
    report.waited_ms = 20;
    report.run_us = 300;
    report.worker = "host:1".to_owned();
    report.content_type = ContentType::Json;
    let data = Some((&b"{\"n\":1}"[..]).into());
    match status {
        Status::Succeeded => report.output = data,
        _ => (report.payload, report.error) = (data, Some("no luck".to_owned())),
    }
    report
}
