//! How long removal by age takes, and each step of it: `remove URL DAYS`.

#![expect(clippy::print_stdout, reason = "what it prints is its answer")]

use std::time::{Duration, Instant, SystemTime};

use homing_protocol::Timestamp;
use homing_store::{Keep, StoreUrl, remove_old};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or("usage: remove URL DAYS");
    let (url, days): (StoreUrl, u64) = (argument()?.parse()?, argument()?.parse()?);
    let keep = Keep::For(Duration::from_hours(24 * days));
    let (mut steps, mut longest) = (0_u32, Duration::ZERO);
    let since = Instant::now();
    let now = Timestamp::from(SystemTime::now());
    let removed = remove_old(&url, keep, now, |took| {
        steps += 1;
        longest = longest.max(took);
        true
    })?;
    let took = since.elapsed();
    println!("{removed:?} in {took:.2?}, {steps} steps, the longest {longest:.2?}");
    Ok(())
}
