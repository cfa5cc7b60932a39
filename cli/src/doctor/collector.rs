//! Whether outcomes come into the store that is read here.
//!
//! Pure. The broker tells whether somebody takes outcomes, the store who writes.
//!
//! | on `results` | the store is written by | finding |
//! |---|---|---|
//! | nobody | anybody | warning: no collector takes from it |
//! | a consumer | nobody | warning: that one writes elsewhere |
//! | a consumer | a process, or it does not tell | ok |
//! | unknown | anybody | unknown |

use homing_store::Holder;

use super::finding::Finding;

const CHECK: &str = "collector";

/// What a store tells of who writes to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Writes {
    /// This process does.
    Holder(Holder),
    /// Nobody does.
    Nobody,
    /// It does not tell: a database, or nothing is there.
    Unknown,
}

/// The process, without the moment since when.
fn process(holder: &Holder) -> String {
    let told = holder.to_string();
    let process = told.split_once(", since ").map(|(process, _)| process);
    process.unwrap_or(&told).to_owned()
}

/// `queue` is the full name of the queue of outcomes, `store` the URL.
pub(super) fn collector(
    queue: &str,
    consumers: Option<u64>,
    store: &str,
    writes: &Writes,
) -> Finding {
    let by = match writes {
        Writes::Holder(holder) => format!("; {store} is written by {}", process(holder)),
        Writes::Nobody => format!("; nobody writes to {store}"),
        Writes::Unknown => String::new(),
    };
    match (consumers, writes) {
        (None, _) => Finding::unknown(CHECK, format!("nobody tells who takes from {queue}{by}")),
        (Some(0), _) => Finding::warning(
            CHECK,
            format!("no collector takes from {queue}{by}"),
            "start one: homing collector",
        ),
        (Some(consumers), Writes::Nobody) => Finding::warning(
            CHECK,
            format!("{consumers} on {queue}, but nobody writes to {store}"),
            "name the store that the collector has: HOMING_STORE=sqlite:/path/homing.db",
        ),
        (Some(consumers), _) => Finding::ok(CHECK, format!("{consumers} on {queue}{by}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn outcomes_that_nobody_takes_or_that_go_elsewhere_are_a_warning() {
        for (consumers, writes, expected) in [
            (Some(0), Writes::Unknown, Verdict::Warning),
            (Some(0), Writes::Nobody, Verdict::Warning),
            (Some(1), Writes::Nobody, Verdict::Warning),
            (Some(1), Writes::Unknown, Verdict::Ok),
            (None, Writes::Nobody, Verdict::Unknown),
            (None, Writes::Unknown, Verdict::Unknown),
        ] {
            let finding = collector("results", consumers, "sqlite:homing.db", &writes);

            assert_eq!(finding.verdict, expected, "{finding:?}");
        }
    }
}
