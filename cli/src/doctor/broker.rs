//! Whether the broker can be reached, and is as it should be.
//!
//! Asks; what the answers mean is decided in [`queues`], [`rabbit`] and below.

use std::path::Path;

use homing_broker::{BrokerError, BrokerUrl, Depth, Difference, Embedded};
use homing_protocol::ResultsQueues;
use homing_protocol::topology::Topology;

use super::finding::Finding;
use super::{Report, queues, rabbit, room};
use crate::exit::Exit;
use crate::management::Management;
use crate::settings::{Link, Setting};
use crate::trouble::Trouble;
use crate::waiting;

/// What is not known of a broker that cannot be reached.
const UNREACHED: [&str; 7] = [
    "version",
    "topology",
    "permissions",
    "workers",
    "kinds",
    "dead-letters",
    "quarantine",
];

/// Checks all about the broker; answers what is in its queues, if it was reached.
pub(super) async fn check(
    report: &mut Report,
    url: &Setting<BrokerUrl>,
    link: &Link,
    management: Option<&Management>,
) -> Result<Option<Vec<Depth>>, Trouble> {
    let depths = match reach(url, link).await {
        Ok(depths) => Some(depths),
        Err(trouble) => {
            report.add(&Finding::bad("broker", trouble))?;
            None
        }
    };
    match &depths {
        Some(depths) => {
            let topology = link.broker.topology();
            report.add(&reached(&url.value, &link.broker.place(), topology))?;
            version(report, link).await?;
            shape(report, link).await?;
            permissions(report, &url.value, management).await?;
            report.add(&queues::workers(topology, depths))?;
            let untaken = waiting::look(&url.value, topology);
            report.add(&queues::kinds(topology, depths, untaken.as_deref()))?;
            report.add(&queues::dead_letters(topology, depths))?;
            report.add(&queues::quarantine(topology, depths))?;
        }
        None => report.unknown(&UNREACHED, "the broker was not reached")?,
    }
    match &url.value {
        BrokerUrl::Sqlite(path) => {
            report.add(&room::enough("queue-disk", path, room::free(path)))?;
        }
        _ => alarms(report, management).await?,
    }
    Ok(depths)
}

/// Says of every check about a broker that its settings cannot be used.
pub(super) fn unset(report: &mut Report) -> Result<(), Trouble> {
    report.unknown(&["broker"], "its settings cannot be used")?;
    report.unknown(&UNREACHED, "its settings cannot be used")
}

async fn reach(url: &Setting<BrokerUrl>, link: &Link) -> Result<Vec<Depth>, Trouble> {
    if let BrokerUrl::Sqlite(path) = &url.value {
        // With its first use it would be created.
        let schema = Embedded::schema(path).map_err(|error| link.trouble(&error))?;
        schema.ok_or_else(|| absent(path).from(url.from.clone()))?;
    }
    let depths = link.broker.depths().await;
    depths.map_err(|error| link.trouble(&error))
}

fn absent(path: &Path) -> Trouble {
    let what = format!("no broker is in {} yet", path.display());
    Trouble::new(Exit::Config, what).fix("create it: homing topology apply")
}

fn reached(url: &BrokerUrl, place: &str, topology: &Topology) -> Finding {
    let namespace = match topology.namespace().as_str() {
        "" => String::new(),
        name => format!(", namespace {name}"),
    };
    let found = match url {
        BrokerUrl::Amqp(url) => format!(
            "{place} as {}, virtual host {}{namespace}",
            url.user(),
            url.vhost()
        ),
        _ => format!("{place}{namespace}"),
    };
    Finding::ok("broker", found)
}

async fn version(report: &mut Report, link: &Link) -> Result<(), Trouble> {
    report.add(&match link.broker.about().await {
        Ok(about) => rabbit::version(&about),
        Err(error) => Finding::bad("version", link.trouble(&error)),
    })
}

async fn shape(report: &mut Report, link: &Link) -> Result<(), Trouble> {
    let found = async {
        let results = link.broker.results_queues().await?;
        Ok((results, link.broker.check().await?))
    };
    let found: Result<_, BrokerError> = found.await;
    report.add(&match found {
        Ok((results, differences)) => as_wanted(link, results, differences),
        Err(error) => Finding::bad("topology", link.trouble(&error)),
    })
}

/// Whether the exchanges and queues are those that the topology wants.
fn as_wanted(link: &Link, results: ResultsQueues, differences: Vec<Difference>) -> Finding {
    const CHECK: &str = "topology";
    let others = differences.len().saturating_sub(1);
    let topology = link.broker.topology();
    let Some(first) = differences.into_iter().next() else {
        let exchanges = topology.exchanges().len();
        let queues = topology.queues_with(results).len();
        return Finding::ok(
            CHECK,
            format!("{exchanges} exchanges and {queues} queues are as they should be"),
        );
    };
    let mut finding = Finding::bad(CHECK, link.trouble(&refused(first, link.broker.place())));
    if others > 0 {
        finding.found = format!(
            "{}; {others} more differ: homing topology check",
            finding.found
        );
    }
    finding
}

/// What whoever uses it would be told.
fn refused(difference: Difference, place: String) -> BrokerError {
    let is_missing = difference.is_missing();
    let Difference { what, detail } = difference;
    match is_missing {
        true => BrokerError::Missing { place, what },
        false => BrokerError::Different {
            place,
            what,
            detail,
        },
    }
}

async fn permissions(
    report: &mut Report,
    url: &BrokerUrl,
    management: Option<&Management>,
) -> Result<(), Trouble> {
    let finding = match url {
        BrokerUrl::Amqp(url) => {
            let asked = match management {
                Some(management) => Some((management, management.permissions().await)),
                None => None,
            };
            rabbit::permissions(url.user(), asked)
        }
        // It was opened for writing.
        url => Finding::ok("permissions", format!("this user may write to {url}")),
    };
    report.add(&finding)
}

async fn alarms(report: &mut Report, management: Option<&Management>) -> Result<(), Trouble> {
    let asked = match management {
        Some(management) => Some((management, management.nodes().await)),
        None => None,
    };
    report.add(&rabbit::alarms(asked))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn link() -> Link {
        let url = Setting {
            value: "amqp://u:s3cret@h/v".parse().unwrap(),
            name: "AMQP_URL".to_owned(),
            from: "AMQP_URL=amqp://u:***@h/v".to_owned(),
        };
        let topology = Topology::new("ns".parse().unwrap(), []);
        Link::new(url, topology, crate::settings::PATIENCE)
    }

    fn difference(what: &str, detail: &str) -> Difference {
        Difference {
            what: what.to_owned(),
            detail: detail.to_owned(),
        }
    }

    #[test]
    fn what_differs_is_bad_with_the_fix_of_whoever_meets_it() {
        let link = link();
        let missing = difference("queue `ns.tasks`", Difference::MISSING);
        let other = difference("queue `ns.dead`", "inequivalent arg");

        let both = as_wanted(&link, ResultsQueues::ONE, vec![missing, other.clone()]);
        let lone = as_wanted(&link, ResultsQueues::ONE, vec![other]);

        assert_eq!(
            both.fix.as_deref(),
            Some("create it: homing topology apply")
        );
        assert!(both.found.ends_with("1 more differ: homing topology check"));
        assert_eq!(lone.verdict, Verdict::Bad);
        assert!(lone.fix.unwrap().starts_with("empty and delete it"));
    }

    #[test]
    fn nothing_that_differs_is_ok() {
        let finding = as_wanted(&link(), ResultsQueues::ONE, Vec::new());

        assert_eq!(finding.verdict, Verdict::Ok);
    }

    #[test]
    fn the_user_and_the_virtual_host_are_said_and_the_password_is_not() {
        let url = "amqp://u:s3cret@h/v".parse().unwrap();
        let topology = Topology::new("".parse().unwrap(), []);

        let finding = reached(&url, "RabbitMQ at h:5672", &topology);

        assert_eq!(finding.found, "RabbitMQ at h:5672 as u, virtual host v");
    }
}
