//! What waits for a worker that knows its kind.
//!
//! The embedded broker tells, by a look into its file. RabbitMQ does not, unless
//! messages are taken out of its queues; there the log of the workers names such
//! kinds.

use homing_broker::{BrokerUrl, Embedded, PutOff};
use homing_protocol::topology::Topology;

use crate::clean::for_terminal;
use crate::output::Talk;
use crate::settings::Settings;
use crate::time::grouped;

/// Kinds that are told.
const TOLD_MAX: usize = 5;

/// What waits at `url` for a worker that knows it, by kind; `None` if that cannot be known.
pub(crate) fn look(url: &BrokerUrl, topology: &Topology) -> Option<Vec<PutOff>> {
    let BrokerUrl::Sqlite(path) = url else {
        return None;
    };
    tokio::task::block_in_place(|| Embedded::put_off(path, topology)).ok()
}

/// The kinds of tasks that were put off, the most first; `None` if none was.
pub(crate) fn told(put_off: &[PutOff]) -> Option<String> {
    let mut kinds: Vec<_> = put_off.iter().collect();
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.tasks));
    let tasks = match kinds.iter().map(|kind| kind.tasks).sum() {
        0 => return None,
        1 => "1 task waits for a worker that knows its kind".to_owned(),
        tasks => format!(
            "{} tasks wait for a worker that knows their kind",
            grouped(tasks)
        ),
    };
    let told = kinds.iter().take(TOLD_MAX);
    let mut told: Vec<_> = told
        .map(|kind| {
            let name = for_terminal(&kind.kind);
            format!("`{name}` {}", grouped(kind.tasks))
        })
        .collect();
    if kinds.len() > TOLD_MAX {
        told.push(format!("{} more kinds", kinds.len() - TOLD_MAX));
    }
    Some(format!("{tasks}: {}", told.join(", ")))
}

/// What to do about them.
pub(crate) const FIX: &str = "start one: homing worker --run KIND=COMMAND; or end them as failed: --run KIND='exit 65' (docs/repair.md)";

/// Says so, where it can be known, of those kinds that `is_asked` for.
pub(crate) fn say(settings: &Settings, is_asked: impl Fn(&str) -> bool, talk: Talk) {
    // Whoever only reads the store needs no broker.
    let (Ok(Some(url)), Ok(namespace)) = (settings.found_broker(), settings.namespace()) else {
        return;
    };
    let Some(mut put_off) = look(&url.value, &Topology::new(namespace, [])) else {
        return;
    };
    put_off.retain(|kind| is_asked(&kind.kind));
    if let Some(told) = told(&put_off) {
        talk.say(format!("{told}\n  next  {FIX}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_the_most_tasks_first_and_not_all_of_very_many() {
        let put_off = |kinds: usize| -> Vec<_> {
            let kinds = (1..=kinds).map(|number| PutOff {
                kind: format!("k{number}"),
                tasks: number as u64,
            });
            kinds.collect()
        };

        assert_eq!(told(&put_off(0)), None);
        assert_eq!(
            told(&put_off(1)).unwrap(),
            "1 task waits for a worker that knows its kind: `k1` 1"
        );
        assert_eq!(
            told(&put_off(7)).unwrap(),
            "28 tasks wait for a worker that knows their kind: `k7` 7, `k6` 6, `k5` 5, `k4` 4, `k3` 3, 2 more kinds"
        );
    }
}
