use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use homing_protocol::{Policy, Schema, SchemaError, TaskKind};
use tokio::sync::Semaphore;

use crate::config::{ConfigError, ConfigProblem, WorkerConfig};
use crate::error::RunError;
use crate::handler::Handler;

/// The handlers of a worker, by kind.
///
/// Mistakes are kept and reported together when the worker starts.
#[derive(Default)]
pub(crate) struct Registry {
    handlers: BTreeMap<TaskKind, (Handler, Policy)>,
    policies: BTreeMap<TaskKind, Policy>,
    schemas: BTreeMap<TaskKind, Result<Schema, SchemaError>>,
    twice: Vec<TaskKind>,
}

/// All that is known of a kind while the worker runs.
pub(crate) struct KindEntry {
    pub(crate) handler: Handler,
    pub(crate) policy: Policy,
    /// Room for attempts of this kind, if the policy limits them.
    pub(crate) room: Option<Arc<Semaphore>>,
    /// What its payloads are to match, if the program says so.
    pub(crate) schema: Option<Schema>,
    /// How long a delivery may have been here when an attempt is started.
    pub(crate) held_max: Duration,
}

/// The kinds a running worker knows.
pub(crate) type Kinds = BTreeMap<TaskKind, KindEntry>;

impl Registry {
    pub(crate) fn add(&mut self, kind: TaskKind, handler: Handler, policy: Policy) {
        if self.handlers.contains_key(&kind) {
            self.twice.push(kind);
            return;
        }
        self.handlers.insert(kind, (handler, policy));
    }

    pub(crate) fn set_policy(&mut self, kind: TaskKind, policy: Policy) {
        self.policies.insert(kind, policy);
    }

    pub(crate) fn set_schema(&mut self, kind: TaskKind, schema: &serde_json::Value) {
        self.schemas.insert(kind, Schema::new(schema));
    }

    /// The kinds with the policies that `config` leaves them.
    pub(crate) fn resolve(self, config: &WorkerConfig) -> Result<Kinds, RunError> {
        if self.handlers.is_empty() {
            return Err(RunError::NoHandlers);
        }
        let problems = self.problems(config);
        if !problems.is_empty() {
            return Err(ConfigError { problems }.into());
        }
        let (policies, mut schemas) = (self.policies, self.schemas);
        let entries = self.handlers.into_iter().map(|(kind, (handler, own))| {
            let policy = policy(&policies, own, &kind, config);
            let room = (policy.concurrency() < u32::from(config.concurrency))
                .then(|| Arc::new(Semaphore::new(policy.concurrency() as usize)));
            let entry = KindEntry {
                handler,
                policy,
                room,
                schema: schemas.remove(&kind).and_then(Result::ok),
                held_max: config
                    .held_max(policy.attempt_timeout())
                    .unwrap_or_default(),
            };
            (kind, entry)
        });
        Ok(entries.collect())
    }

    fn problems(&self, config: &WorkerConfig) -> Vec<ConfigProblem> {
        let kinds: Vec<_> = self.handlers.keys().collect();
        let mut problems = config.problems(&kinds);
        let twice = self.twice.iter().cloned();
        problems.extend(twice.map(|kind| ConfigProblem::TwoHandlers { kind }));
        let policies = self.policies.keys().map(|kind| ("policy", kind));
        let set = policies.chain(self.schemas.keys().map(|kind| ("schema", kind)));
        let unused = set.filter(|(_, kind)| !kinds.contains(kind));
        problems.extend(unused.map(|(field, kind)| ConfigProblem::NoHandler {
            field,
            kind: kind.to_string(),
        }));
        problems.extend(self.schemas.iter().filter_map(|(kind, schema)| {
            let source = schema.as_ref().err()?.clone();
            let kind = kind.clone();
            Some(ConfigProblem::Schema { kind, source })
        }));
        problems.extend(self.too_long(config));
        problems
    }

    /// The kinds whose attempts may outlast the broker's patience.
    fn too_long(&self, config: &WorkerConfig) -> impl Iterator<Item = ConfigProblem> {
        self.handlers.iter().filter_map(|(kind, (_, own))| {
            let timeout = policy(&self.policies, *own, kind, config).attempt_timeout();
            let too_long = config.held_max(timeout).is_none();
            too_long.then(|| ConfigProblem::TimeoutBeyondBroker {
                kind: kind.clone(),
                timeout,
                grace: config.grace,
                consumer_timeout: config.consumer_timeout,
            })
        })
    }
}

/// The policy of a kind: the task's own, or the program's, with the settings that
/// are for it. The last of those wins.
fn policy(
    policies: &BTreeMap<TaskKind, Policy>,
    own: Policy,
    kind: &TaskKind,
    config: &WorkerConfig,
) -> Policy {
    let mut policy = policies.get(kind).copied().unwrap_or(own);
    for set in config.attempts.iter().filter(|set| set.covers(kind)) {
        policy = policy.attempts_max(set.value);
    }
    for set in config.timeouts.iter().filter(|set| set.covers(kind)) {
        policy = policy.timeout(set.value);
    }
    policy
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::config::PerKind;
    use crate::handler::{Ended, Launch};

    fn handler() -> Handler {
        Arc::new(|_| Launch::Blocking(Box::new(|| Ended::Misfit(String::new()))))
    }

    fn kind(name: &str) -> TaskKind {
        name.parse().unwrap()
    }

    #[test]
    fn a_worker_without_handlers_does_not_start() {
        let resolved = Registry::default().resolve(&WorkerConfig::default());

        assert!(matches!(resolved, Err(RunError::NoHandlers)));
    }

    #[test]
    fn a_schema_without_a_handler_and_one_that_is_none_are_reported() {
        let mut registry = Registry::default();
        registry.add(kind("a"), handler(), Policy::DEFAULT);
        registry.set_schema(kind("a"), &json!(["type"]));
        registry.set_schema(kind("b"), &json!({}));

        let Err(RunError::Config(error)) = registry.resolve(&WorkerConfig::default()) else {
            panic!("it cannot be");
        };

        assert_eq!(
            error.to_string(),
            "schema is for kind `b`, which has no handler here; \
             schema of kind `a` cannot be: it is neither an object nor true or false"
        );
    }

    #[test]
    fn a_kind_has_the_schema_that_was_set_last_or_none() {
        let mut registry = Registry::default();
        for name in ["a", "b"] {
            registry.add(kind(name), handler(), Policy::DEFAULT);
        }
        registry.set_schema(kind("a"), &json!([]));
        registry.set_schema(kind("a"), &json!(true));

        let kinds = registry.resolve(&WorkerConfig::default()).unwrap();

        let texts = kinds
            .values()
            .map(|entry| entry.schema.as_ref().map(Schema::as_str));
        assert_eq!(texts.collect::<Vec<_>>(), [Some("true"), None]);
    }

    #[test]
    fn a_second_handler_and_an_unused_policy_are_reported_together() {
        let mut registry = Registry::default();
        registry.add(kind("a"), handler(), Policy::DEFAULT);
        registry.add(kind("a"), handler(), Policy::DEFAULT);
        registry.set_policy(kind("b"), Policy::DEFAULT);

        let Err(RunError::Config(error)) = registry.resolve(&WorkerConfig::default()) else {
            panic!("it cannot be");
        };

        assert_eq!(
            error.to_string(),
            "kind `a` has two handlers; policy is for kind `b`, which has no handler here"
        );
    }

    #[test]
    fn flags_outrank_the_program_and_the_program_the_task() {
        let secs = Duration::from_secs;
        let mut registry = Registry::default();
        registry.add(kind("a"), handler(), Policy::DEFAULT);
        registry.set_policy(kind("a"), Policy::DEFAULT.attempts_max(2).timeout(secs(7)));
        let config = WorkerConfig {
            attempts: vec![PerKind {
                kind: "*".to_owned(),
                value: 9,
            }],
            ..WorkerConfig::default()
        };

        let kinds = registry.resolve(&config).unwrap();

        let policy = kinds[&kind("a")].policy;
        assert_eq!((policy.attempts(), policy.attempt_timeout()), (9, secs(7)));
    }

    #[test]
    fn an_attempt_has_to_end_before_the_broker_takes_its_delivery_back() {
        let mins = Duration::from_mins;
        let resolved = |timeout: Duration, consumer_timeout: Duration| {
            let mut registry = Registry::default();
            registry.add(kind("a"), handler(), Policy::DEFAULT.timeout(timeout));
            let config = WorkerConfig {
                consumer_timeout,
                ..WorkerConfig::default()
            };
            registry.resolve(&config)
        };

        let fits = resolved(mins(28), mins(30)).unwrap();
        let raised = resolved(mins(120), mins(180)).unwrap();
        let text = |timeout| match resolved(timeout, mins(30)) {
            Err(error) => error.to_string(),
            Ok(_) => "it fits".to_owned(),
        };

        assert_eq!(fits[&kind("a")].held_max, mins(1));
        assert_eq!(raised[&kind("a")].held_max, Duration::from_secs(3_390));
        assert_eq!(
            text(mins(29)),
            "timeout of kind `a` (29 min) with the grace (30 s) reaches the broker's consumer timeout (30 min): \
             lower `timeout`, or raise `consumer_timeout` in rabbitmq.conf and here alike"
        );
        assert!(text(Duration::MAX).contains("reaches the broker's consumer timeout"));
    }

    #[test]
    fn only_a_limit_below_the_concurrency_needs_room_of_its_own() {
        let mut registry = Registry::default();
        registry.add(kind("a"), handler(), Policy::DEFAULT.concurrency_max(2));
        registry.add(kind("b"), handler(), Policy::DEFAULT);

        let kinds = registry.resolve(&WorkerConfig::default()).unwrap();

        assert!(kinds[&kind("a")].room.is_some() && kinds[&kind("b")].room.is_none());
    }
}
