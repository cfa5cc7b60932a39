//! What a process has used, as Linux counts it.

use std::fs;

use anyhow::Context as _;

/// CPU time and memory of a process, all its threads included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Seconds of CPU, in user and in system, to the tick (10 ms).
    pub cpu_secs: f64,
    /// The most memory it ever had resident, MiB.
    pub rss_peak_mib: f64,
}

impl Usage {
    /// Of this process.
    ///
    /// # Errors
    ///
    /// There is no `/proc`.
    pub fn of_self() -> anyhow::Result<Self> {
        Self::in_folder("/proc/self")
    }

    /// Of the process `id`, which has not ended.
    ///
    /// # Errors
    ///
    /// It has ended, or there is no `/proc`.
    pub fn of(id: u32) -> anyhow::Result<Self> {
        Self::in_folder(&format!("/proc/{id}"))
    }

    fn in_folder(folder: &str) -> anyhow::Result<Self> {
        let read = |file: &str| {
            let path = format!("{folder}/{file}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let ticks = cpu_ticks(&read("stat")?).context("no CPU times in /proc/PID/stat")?;
        let kib = rss_peak_kib(&read("status")?).context("no VmHWM in /proc/PID/status")?;
        Ok(Self {
            cpu_secs: ticks / rustix::param::clock_ticks_per_second() as f64,
            rss_peak_mib: kib / 1024.0,
        })
    }
}

/// `utime` and `stime`, the 14th and 15th field of `proc_pid_stat(5)`. The
/// second field, a name in brackets, may have spaces in it.
fn cpu_ticks(stat: &str) -> Option<f64> {
    const UTIME_AFTER_NAME: usize = 11;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(UTIME_AFTER_NAME);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some(ticks()? + ticks()?)
}

fn rss_peak_kib(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_moves_no_field() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 3 0 100";

        assert_eq!(cpu_ticks(stat), Some(300.0));
    }

    #[test]
    fn the_peak_is_read_and_not_the_present_size() {
        let status = "VmPeak:\t  900 kB\nVmHWM:\t   2048 kB\nVmRSS:\t 10 kB\n";

        assert_eq!(rss_peak_kib(status), Some(2048.0));
    }

    #[test]
    fn this_process_has_memory() {
        assert!(Usage::of_self().unwrap().rss_peak_mib > 0.0);
    }
}
