//! What RabbitMQ runs on, whether it is short of something, and what its user may
//! do: some of it by the management API alone.
//!
//! Pure: told what was answered, each function finds.

use homing_broker::About;

use super::finding::{Finding, Verdict};
use crate::exit::Exit;
use crate::management::{Management, ManagementError, Node, Permissions};
use crate::trouble::Trouble;

/// The oldest version supported, and the first that is not yet: docs/rabbitmq.md.
const VERSION_MIN: (u64, u64) = (3, 10);
const VERSION_END: (u64, u64) = (5, 0);

/// The pattern of who may do anything.
const ALL: &str = ".*";

/// What the management API said, or that none is set.
pub(super) type Asked<'a, T> = Option<(&'a Management, Result<T, ManagementError>)>;

/// Whether this version of the broker is supported.
pub(super) fn version(about: &About) -> Finding {
    const CHECK: &str = "version";
    let found = match about.schema {
        Some(schema) => format!("{} {}, schema {schema}", about.product, about.version),
        None => format!("{} {}", about.product, about.version),
    };
    if about.product != "RabbitMQ" {
        return Finding::ok(CHECK, found);
    }
    let fix = "see the broker's log; RabbitMQ 3.10 to 4.x is supported";
    match major_minor(&about.version) {
        None => Finding::unknown(CHECK, found),
        Some(version) if (VERSION_MIN..VERSION_END).contains(&version) => Finding::ok(CHECK, found),
        Some(_) => Finding::warning(CHECK, found, fix),
    }
}

fn major_minor(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// Whether a node takes no message, or is down.
pub(super) fn alarms(asked: Asked<'_, Vec<Node>>) -> Finding {
    const CHECK: &str = "alarms";
    let nodes = match asked {
        None => return Finding::unknown(CHECK, "--management-url tells of them"),
        Some((management, Err(error))) => return untold(CHECK, management, &error, "monitoring"),
        Some((_, Ok(nodes))) => nodes,
    };
    let wrong: Vec<_> = nodes.iter().filter_map(wrong).collect();
    if wrong.is_empty() {
        return Finding::ok(CHECK, format!("none, nodes running: {}", nodes.len()));
    }
    let trouble = Trouble::new(Exit::Unreachable, wrong.join("; "));
    Finding::bad(CHECK, trouble.fix("see `rabbitmqctl status`"))
}

fn wrong(node: &Node) -> Option<String> {
    let what = match (node.running, node.mem_alarm, node.disk_free_alarm) {
        (false, _, _) => "is down",
        (true, true, true) => "is short of memory and disk, and takes no message",
        (true, true, false) => "is short of memory, and takes no message",
        (true, false, true) => "is short of disk, and takes no message",
        (true, false, false) => return None,
    };
    Some(format!("node {} {what}", node.name))
}

/// Whether this user may publish and consume.
pub(super) fn permissions(user: &str, asked: Asked<'_, Permissions>) -> Finding {
    const CHECK: &str = "permissions";
    let permissions = match asked {
        None => {
            let found = "to publish and to consume: cannot be told without doing it";
            return Finding::unknown(
                CHECK,
                format!("{found}; see rabbitmqctl list_user_permissions '{user}'"),
            );
        }
        Some((management, Err(error))) => {
            return untold(CHECK, management, &error, "administrator");
        }
        Some((_, Ok(permissions))) => permissions,
    };
    let Permissions {
        configure,
        write,
        read,
    } = permissions;
    let found = format!("`{user}`: configure `{configure}`, write `{write}`, read `{read}`");
    match (&*write, &*read) {
        (ALL, ALL) => Finding::ok(CHECK, found),
        _ => Finding::unknown(
            CHECK,
            format!("{found}; docs/topology.md says what each program needs"),
        ),
    }
}

/// What the management API does not tell this user.
fn untold(
    check: &'static str,
    management: &Management,
    error: &ManagementError,
    tag: &str,
) -> Finding {
    let finding = Finding::troubled(check, Verdict::Unknown, management.trouble(error));
    match error {
        ManagementError::Refused { .. } => Finding {
            fix: Some(format!(
                "let the user in: rabbitmqctl set_user_tags USER {tag}"
            )),
            ..finding
        },
        ManagementError::Unusable { .. } => finding,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn management() -> Management {
        let broker = "amqp://u:s3cret@h".parse().unwrap();
        Management::new("http://h", &broker, "--management-url".to_owned()).unwrap()
    }

    fn about(version: &str) -> About {
        About {
            product: "RabbitMQ".to_owned(),
            version: version.to_owned(),
            schema: None,
        }
    }

    #[test]
    fn versions_that_are_not_supported_are_a_warning() {
        for (text, expected) in [
            ("3.9.29", Verdict::Warning),
            ("3.10.8", Verdict::Ok),
            ("4.3.6", Verdict::Ok),
            ("5.0.0-beta.1", Verdict::Warning),
            ("soon", Verdict::Unknown),
        ] {
            assert_eq!(version(&about(text)).verdict, expected, "{text}");
        }
    }

    #[test]
    fn the_embedded_broker_names_sqlite_and_its_schema() {
        let about = About {
            product: "SQLite".to_owned(),
            version: "3.50.2".to_owned(),
            schema: Some(1),
        };

        assert_eq!(
            version(&about),
            Finding::ok("version", "SQLite 3.50.2, schema 1")
        );
    }

    #[test]
    fn a_node_with_an_alarm_is_bad_and_one_that_is_not_asked_unknown() {
        let management = management();
        let node = |mem_alarm| Node {
            name: "rabbit@h".to_owned(),
            running: true,
            mem_alarm,
            disk_free_alarm: false,
        };
        let verdict = |node| alarms(Some((&management, Ok(vec![node])))).verdict;

        assert_eq!(verdict(node(false)), Verdict::Ok);
        assert_eq!(verdict(node(true)), Verdict::Bad);
        assert_eq!(alarms(None).verdict, Verdict::Unknown);
    }

    #[test]
    fn permissions_that_are_patterns_are_shown_and_not_judged() {
        let management = management();
        let verdict = |write: &str| {
            let permissions = Permissions {
                configure: String::new(),
                write: write.to_owned(),
                read: ALL.to_owned(),
            };
            permissions_verdict(Some((&management, Ok(permissions))))
        };

        assert_eq!(verdict(".*"), Verdict::Ok);
        assert_eq!(verdict("^tasks$"), Verdict::Unknown);
        assert_eq!(permissions_verdict(None), Verdict::Unknown);
    }

    fn permissions_verdict(asked: Asked<'_, Permissions>) -> Verdict {
        permissions("u", asked).verdict
    }

    #[test]
    fn a_refused_login_is_unknown_and_names_the_tag_it_takes() {
        let management = management();
        let refused = ManagementError::Refused {
            at: "h:80".to_owned(),
            status: 401,
        };

        let finding = alarms(Some((&management, Err(refused))));

        assert_eq!(finding.verdict, Verdict::Unknown);
        assert!(finding.fix.unwrap().ends_with("USER monitoring"));
    }
}
