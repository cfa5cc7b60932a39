//! What waits for a worker that takes its kind.
//!
//! The embedded broker tells, by a look into its file. RabbitMQ does not, unless
//! messages are taken out of its queues; there the log of the workers names such
//! kinds.

use homing_broker::{BrokerUrl, Embedded, Untaken};
use homing_protocol::topology::Topology;

use crate::clean::for_terminal;
use crate::output::Talk;
use crate::settings::Settings;
use crate::time::grouped;

/// Kinds that are told.
const TOLD_MAX: usize = 5;

/// What waits at `url` for a worker that takes it, by kind; `None` if that cannot be known.
pub(crate) fn look(url: &BrokerUrl, topology: &Topology) -> Option<Vec<Untaken>> {
    let BrokerUrl::Sqlite(path) = url else {
        return None;
    };
    tokio::task::block_in_place(|| Embedded::untaken(path, topology)).ok()
}

/// The kinds of such tasks, the most first; `None` if there is none.
pub(crate) fn told(untaken: &[Untaken]) -> Option<String> {
    let mut kinds: Vec<_> = untaken.iter().collect();
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.tasks));
    let tasks = match kinds.iter().map(|kind| kind.tasks).sum() {
        0 => return None,
        1 => "1 task waits for a worker that takes its kind".to_owned(),
        tasks => format!(
            "{} tasks wait for a worker that takes their kind",
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
    let Some(mut untaken) = look(&url.value, &Topology::new(namespace, [])) else {
        return;
    };
    untaken.retain(|kind| is_asked(&kind.kind));
    if let Some(told) = told(&untaken) {
        talk.say(format!("{told}\n  next  {FIX}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_the_most_tasks_first_and_not_all_of_very_many() {
        let untaken = |kinds: usize| -> Vec<_> {
            let kinds = (1..=kinds).map(|number| Untaken {
                kind: format!("k{number}"),
                tasks: number as u64,
            });
            kinds.collect()
        };

        assert_eq!(told(&untaken(0)), None);
        assert_eq!(
            told(&untaken(1)).unwrap(),
            "1 task waits for a worker that takes its kind: `k1` 1"
        );
        assert_eq!(
            told(&untaken(7)).unwrap(),
            "28 tasks wait for a worker that takes their kind: `k7` 7, `k6` 6, `k5` 5, `k4` 4, `k3` 3, 2 more kinds"
        );
    }
}
