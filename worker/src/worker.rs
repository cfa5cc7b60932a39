use std::future::Future;
use std::sync::Arc;

use homing_broker::Broker;
use homing_protocol::{Policy, Task, TaskKind};
use serde_json::Value;

use crate::attempt::Attempt;
use crate::attempt_error::AttemptError;
use crate::command::Commands;
use crate::config::WorkerConfig;
use crate::engine;
use crate::error::RunError;
use crate::handler;
use crate::registry::Registry;

/// A set of handlers, and the state they share.
///
/// ```
/// # use homing_protocol::{AnyError, Policy, Task};
/// # use homing_worker::{Attempt, AttemptError, Worker};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Add(u64);
/// # impl Task for Add {
/// #     const KIND: &'static str = "demo.add";
/// #     type Output = u64;
/// #     type Error = AnyError;
/// # }
/// struct App {
///     base: u64,
/// }
///
/// async fn add(task: Add, attempt: Attempt<App>) -> Result<u64, AttemptError> {
///     Ok(attempt.state().base + task.0)
/// }
///
/// let worker = Worker::with_state(App { base: 7 })
///     .handler(add)
///     .policy::<Add>(Policy::DEFAULT.attempts_max(1));
/// ```
pub struct Worker<S = ()> {
    state: Arc<S>,
    registry: Registry,
    commands: Arc<Commands>,
}

impl Worker<()> {
    /// A worker without handlers and without state.
    pub fn new() -> Self {
        Self::with_state(())
    }
}

impl Default for Worker<()> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Send + Sync + 'static> Worker<S> {
    /// A worker without handlers, whose handlers share `state`.
    pub fn with_state(state: S) -> Self {
        Self {
            state: Arc::new(state),
            registry: Registry::default(),
            commands: Arc::default(),
        }
    }

    /// Runs tasks of type `T` with `handler`, an `async` function or closure.
    ///
    /// It must be safe to run more than once for one task: a task runs again
    /// after a crash between its effects and its settlement. It must not block
    /// its thread; what blocks is for
    /// [`blocking_handler`](Self::blocking_handler). It is dropped at an
    /// `await` when its timeout has passed; one that blocks its thread beyond the
    /// timeout and the grace ends the worker. A panic is a failure like any other.
    ///
    /// A second handler for one kind is an error when the worker starts.
    #[must_use]
    pub fn handler<T, F, Fut>(mut self, handler: F) -> Self
    where
        T: Task,
        F: Fn(T, Attempt<S>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T::Output, AttemptError>> + Send + 'static,
    {
        let handler = handler::of_async(Arc::clone(&self.state), handler);
        self.registry.add(TaskKind::of::<T>(), handler, T::POLICY);
        self
    }

    /// Runs tasks of type `T` with `handler`, each on a thread of its own.
    ///
    /// It cannot be ended from outside: it is to ask
    /// [`Attempt::is_cancelled`] now and then. One that does not end within its
    /// timeout and the grace ends the worker, so that its task runs elsewhere.
    #[must_use]
    pub fn blocking_handler<T, F>(mut self, handler: F) -> Self
    where
        T: Task,
        F: Fn(T, Attempt<S>) -> Result<T::Output, AttemptError> + Send + Sync + 'static,
    {
        let handler = handler::of_blocking(Arc::clone(&self.state), handler);
        self.registry.add(TaskKind::of::<T>(), handler, T::POLICY);
        self
    }

    /// Runs tasks of `kind` with `sh -c command`: the payload as JSON on its
    /// standard input, the output as JSON on its standard output.
    ///
    /// | it ends with | the attempt |
    /// |---|---|
    /// | status 0 and JSON | has that output |
    /// | status 0 and anything else | has failed for good |
    /// | status 65 | has failed for good |
    /// | any other status, or a signal | has failed, and is tried again |
    ///
    /// `HOMING_TASK_ID`, `HOMING_KIND`, `HOMING_ATTEMPT` and `HOMING_DEADLINE`
    /// (seconds since 1970) are in its environment; the addresses of broker and
    /// store are not. The end of its standard error is the error's text. It and
    /// all it started are killed when the attempt is to end or the worker dies.
    #[must_use]
    pub fn command(mut self, kind: TaskKind, command: impl Into<String>) -> Self {
        let handler = self.commands.handler(&command.into());
        self.registry.add(kind, handler, Policy::DEFAULT);
        self
    }

    /// Tries tasks of type `T` by `policy` instead of their own.
    #[must_use]
    pub fn policy<T: Task>(mut self, policy: Policy) -> Self {
        self.registry.set_policy(TaskKind::of::<T>(), policy);
        self
    }

    /// Says what payloads of type `T` are to match, as JSON Schema: an object or a
    /// boolean of at most 64 KiB, by itself, without a `$ref` to anything outside of
    /// it. With the crate `schemars` it is `schema_for!(T)`.
    ///
    /// It is published once the worker has started, and kept by the collector:
    /// `homing submit` checks rows by it before it sends them, and `homing schema`
    /// prints it. Nothing else does: whatever arrives is run, also what does not
    /// match. Of workers that say different things the one that started last counts;
    /// `true` takes back what was said.
    ///
    /// ```
    /// # use homing_protocol::{AnyError, Task};
    /// # use homing_worker::{Attempt, AttemptError, Worker};
    /// # use serde_json::json;
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Greet { name: String }
    /// # impl Task for Greet {
    /// #     const KIND: &'static str = "demo.greet";
    /// #     type Output = String;
    /// #     type Error = AnyError;
    /// # }
    /// # async fn greet(task: Greet, _: Attempt) -> Result<String, AttemptError> {
    /// #     Ok(task.name)
    /// # }
    /// let worker = Worker::new().handler(greet).schema::<Greet>(json!({
    ///     "type": "object",
    ///     "properties": { "name": { "type": "string" } },
    ///     "required": ["name"],
    /// }));
    /// ```
    ///
    /// One that is none, and one for a kind without a handler, are errors when the
    /// worker starts.
    #[must_use]
    pub fn schema<T: Task>(self, schema: impl Into<Value>) -> Self {
        self.schema_of(TaskKind::of::<T>(), schema)
    }

    /// As [`schema`](Self::schema), for a kind that a command runs.
    #[must_use]
    pub fn schema_of(mut self, kind: TaskKind, schema: impl Into<Value>) -> Self {
        self.registry.set_schema(kind, &schema.into());
        self
    }

    #[cfg(feature = "testing")]
    pub(crate) fn into_registry(self) -> Registry {
        self.registry
    }

    /// Runs tasks until `stop` ends, then drains: what has not begun goes back
    /// to its queue at once, what runs may go on for the grace, and every
    /// outcome is confirmed and acked before this answers.
    ///
    /// # Errors
    ///
    /// [`RunError`]: it could not start, or its links ended for good.
    ///
    /// # Cancel safety
    ///
    /// Dropped, everything stops at once; what was not settled goes back to its
    /// queue and runs again.
    pub async fn run(
        self,
        broker: Arc<dyn Broker>,
        config: WorkerConfig,
        stop: impl Future<Output = ()>,
    ) -> Result<Stopped, RunError> {
        let kinds = self.registry.resolve(&config)?;
        engine::run(kinds, broker, config, stop).await
    }
}

impl<S> std::fmt::Debug for Worker<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

/// What a worker did before it stopped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Stopped {
    /// Attempts that ended and were settled.
    pub finished: u64,
    /// Tasks that were held when it was to stop, had not begun, and went back.
    pub returned: u64,
    /// Attempts that had begun, were ended with the grace, and went back.
    pub cut_off: u64,
    /// Attempts that would not end. They count as timed out, and their next ones
    /// run elsewhere; while there are any here, the process should end too.
    pub wedged: u64,
}
