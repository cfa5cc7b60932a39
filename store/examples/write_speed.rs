//! Measures how many outcomes a second one core writes: groups of 1,000 plain
//! successes, each group on disk before the next.
//!
//! `cargo run --release -p homing-store --example write_speed [ENTRIES] [json]`

use std::time::{Duration, Instant, SystemTime};

use homing_protocol::{
    BatchId, ContentType, Digest, Report, Run, Status, TaskId, TaskKind, Timestamp,
};
use homing_store::{Entry, Opened, StoreUrl, Writer};
use uuid::Uuid;

const GROUP: u64 = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let entries: u64 = arguments.next().map_or(Ok(300_000), |text| text.parse())?;
    let content_type = match arguments.next() {
        Some(_) => ContentType::Json,
        None => ContentType::MessagePack,
    };
    let directory = std::env::temp_dir().join(format!("homing-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let path = directory.join("homing.db");
    let Opened::Ready(mut writer) = Writer::open(&StoreUrl::sqlite(&path))? else {
        return Err("somebody else writes to it".into());
    };
    let batch = BatchId::from(Uuid::from_u128(0x01a1_fc18_d018_7064_9c80_317f_a3b1_799d));
    let mut spent = Duration::ZERO;
    for group in 0..entries / GROUP {
        let rows = group * GROUP..(group + 1) * GROUP;
        let group: Vec<_> = rows.map(|row| success(batch, row, content_type)).collect();
        let begun = Instant::now();
        writer.write(&group, Timestamp::from(SystemTime::now()))?;
        spent += begun.elapsed();
    }
    let rate = entries as f64 / spent.as_secs_f64();
    let mib = std::fs::metadata(&path)?.len() >> 20;
    eprintln!("{entries} entries in {spent:.2?}: {rate:.0} entries/s, {mib} MiB");
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

fn success(batch: BatchId, row: u64, content_type: ContentType) -> Entry {
    let kind: TaskKind = "demo.echo".parse().expect("a valid kind");
    let digest = Digest::of(&row.to_be_bytes());
    let task = TaskId::of_row(batch, row, &kind, digest);
    let run = Run::FIRST;
    let mut report = Report::bare(task, run, kind.into(), Status::Succeeded, digest);
    report.attempt = 1;
    report.attempts_max = 5;
    report.attempt_id = Some(Uuid::new_v5(&task.as_uuid(), b"1").into());
    report.queue = "tasks".to_owned();
    report.batch = Some(batch);
    report.row = Some(row);
    report.waited_ms = row % 97;
    report.run_us = row % 1_009;
    report.worker = "worker-1:12345".to_owned();
    report.content_type = content_type;
    let text = "x".repeat(98);
    report.output = content_type.encode("output", &text).ok().map(Into::into);
    Entry::Report(report)
}
