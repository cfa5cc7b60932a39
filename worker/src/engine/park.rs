//! Parks what only other workers can run: tasks of kinds without a handler here,
//! and messages of newer wire versions.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use homing_broker::Token;
use homing_protocol::{Destination, QueueName, Reason, Received, TaskKind};

use super::{Engine, message_id};
use crate::config::in_words;
use crate::triage;

/// Kinds that are named in the log; more of them are some other program's
/// mistake.
const KINDS_SAID_MAX: usize = 100;

/// What was said already, so that it is said once.
#[derive(Debug, Default)]
pub(super) struct Said {
    kinds: Mutex<BTreeSet<TaskKind>>,
    newer: Mutex<bool>,
}

impl Engine {
    /// Says, once for each kind, that its tasks wait for another worker.
    pub(super) fn say_parked(&self, kind: &TaskKind) {
        let mut said = self
            .said
            .kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if said.len() < KINDS_SAID_MAX && said.insert(kind.clone()) {
            tracing::warn!(
                task.kind = %kind,
                "no handler for kind `{kind}` here: its tasks wait up to {} for a worker that has one",
                in_words(self.config.unknown_grace),
            );
        }
    }

    /// Puts a message aside, as it came, that a newer worker can read; buries it
    /// when none did within the grace.
    pub(super) async fn park_newer(
        &self,
        token: Token,
        received: &Received,
        detail: &str,
        queue: &QueueName,
    ) {
        let headers = &received.properties.headers;
        let Some(parked) = triage::park(headers, self.config.unknown_grace) else {
            self.bury(token, received, Reason::Malformed, detail, queue)
                .await;
            return;
        };
        let first = {
            let mut said = self
                .said
                .newer
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            !std::mem::replace(&mut *said, true)
        };
        if first {
            tracing::warn!(
                error = detail,
                "a task is of a newer version of Homing than this worker: such tasks wait up to {} for a newer worker",
                in_words(self.config.unknown_grace),
            );
        }
        let mut again = received.clone();
        triage::carry_parked(&mut again.properties.headers, parked.total_secs);
        let to = Destination::after(queue.clone(), parked.delay);
        let messages = || vec![again.again(to.clone(), message_id())];
        self.publish_instead(token, received, messages, queue).await;
    }
}
