use std::fmt;

use homing_broker::BrokerError;
use homing_protocol::chain;

use crate::config::ConfigError;
use crate::error::RunError;

/// What ends a worker program before it is told to, in three parts: what
/// failed, the setting it came from, and the fix.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Trouble {
    pub(super) code: u8,
    what: String,
    from: Option<String>,
    fix: Option<String>,
}

pub(super) const USAGE: u8 = 2;
pub(super) const UNREACHABLE: u8 = 69;
pub(super) const INTERNAL: u8 = 70;
pub(super) const WEDGED: u8 = 75;
pub(super) const DENIED: u8 = 77;
pub(super) const CONFIG: u8 = 78;
pub(super) const CUT_OFF: u8 = 130;

impl Trouble {
    pub(super) fn new(code: u8, what: impl Into<String>) -> Self {
        Self {
            code,
            what: what.into(),
            from: None,
            fix: None,
        }
    }

    /// The setting it came from. Holds no secret.
    pub(super) fn from(mut self, from: impl Into<String>) -> Self {
        self.from = Some(from.into());
        self
    }

    /// What to do about it.
    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// The worker did not start or go on; `broker` says where the broker's
    /// address came from.
    pub(super) fn of_run(error: &RunError, broker: &str) -> Self {
        match error {
            RunError::NoHandlers => Self::new(USAGE, chain(error))
                .from("--run KIND=COMMAND, or the handlers of a program of your own: none is there")
                .fix("--run demo.words='wc -w'"),
            RunError::Config(error) => Self::of_config(error),
            RunError::Broker(error) => Self::of_broker(error).from(broker),
            RunError::Topology { .. } => Self::new(CONFIG, chain(error))
                .from(broker)
                .fix("homing topology apply, with the same --namespace and --queues"),
            RunError::ConsumerEnded { .. } | RunError::PublisherEnded => {
                Self::new(UNREACHABLE, chain(error))
                    .from(broker)
                    .fix("the lines above say why; start it again")
            }
        }
    }

    fn of_config(error: &ConfigError) -> Self {
        Self::new(CONFIG, error.to_string())
            .from("the flags, or their HOMING_... variables")
            .fix("change what is named; --help says what each is for")
    }

    /// The broker cannot be used.
    pub(super) fn of_broker(error: &BrokerError) -> Self {
        let (code, fix) = match error {
            BrokerError::Unreachable { .. } => {
                (UNREACHABLE, "start it, or name another: --broker URL")
            }
            BrokerError::Refused { .. } => (
                DENIED,
                "check user and password; `guest` may log in from the broker's own machine only",
            ),
            BrokerError::VirtualHost { .. } => (
                CONFIG,
                "create it: rabbitmqctl add_vhost, then set_permissions; or name another in the URL",
            ),
            BrokerError::Denied { .. } => (DENIED, "grant it: rabbitmqctl set_permissions"),
            BrokerError::Missing { .. } => (CONFIG, "create it: homing topology apply"),
            BrokerError::Different { .. } => (
                CONFIG,
                "empty and delete it, then: homing topology apply; or use another --namespace",
            ),
            BrokerError::File { .. } => (
                CONFIG,
                "name another file: --broker sqlite:PATH; or let this user write to it",
            ),
            BrokerError::Url(_) => (
                CONFIG,
                "write it as amqp://USER:PASSWORD@HOST:5672/VHOST, with `%2f` for a `/` in a name",
            ),
            _ => (
                UNREACHABLE,
                "see the broker's log; RabbitMQ 3.10 to 4.x is supported",
            ),
        };
        Self::new(code, chain(error)).fix(fix)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if let Some(from) = &self.from {
            write!(f, "\n  from  {from}")?;
        }
        if let Some(fix) = &self.fix {
            write!(f, "\n  fix   {fix}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigProblem;

    #[test]
    fn an_error_says_what_failed_where_it_came_from_and_the_fix() {
        let place = "localhost:5672".to_owned();
        let cause = "connection refused".to_owned();
        let error = BrokerError::Unreachable { place, cause };

        let trouble = Trouble::of_run(&error.into(), "AMQP_URL=amqp://guest:***@localhost:5672/");

        assert_eq!(trouble.code, UNREACHABLE);
        assert_eq!(
            trouble.to_string(),
            "error: cannot reach the broker at localhost:5672: connection refused\n  \
             from  AMQP_URL=amqp://guest:***@localhost:5672/\n  \
             fix   start it, or name another: --broker URL"
        );
    }

    #[test]
    fn a_worker_without_handlers_is_told_how_to_name_one() {
        let trouble = Trouble::of_run(&RunError::NoHandlers, "");

        assert_eq!(trouble.code, USAGE);
        assert!(trouble.to_string().contains("--run"));
    }

    #[test]
    fn settings_that_cannot_be_are_named_together() {
        let problems = vec![
            ConfigProblem::PrefetchBelowConcurrency {
                prefetch: 4,
                concurrency: 8,
            },
            ConfigProblem::NoQueues,
        ];

        let trouble = Trouble::of_run(&ConfigError { problems }.into(), "");

        assert_eq!(trouble.code, CONFIG);
        let text = trouble.to_string();
        assert!(
            text.starts_with("error: prefetch (4) is below concurrency (8); queues is empty\n")
        );
    }
}
