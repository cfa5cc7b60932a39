//! Says of each kind what its payloads are to match, once the worker has started.
//!
//! Beside the work, which waits for nothing of it. If the worker ends before the
//! broker has confirmed, the next one to start says it.

use std::sync::Arc;

use homing_protocol::KindRecord;
use tokio_util::sync::CancellationToken;

use super::publish::Unpublished;
use super::{Engine, message_id, now};

/// Publishes what there is to say, until all of it is confirmed or `flush`.
pub(super) async fn send(engine: Arc<Engine>, flush: CancellationToken) {
    let at = now();
    let declared = engine.kinds.iter().filter_map(|(kind, entry)| {
        let (kind, schema) = (kind.clone(), entry.schema.clone()?);
        Some(KindRecord { kind, schema, at })
    });
    for record in declared {
        tokio::select! {
            biased;
            () = engine.say(&record) => {}
            () = flush.cancelled() => return,
        }
    }
}

impl Engine {
    async fn say(&self, record: &KindRecord) {
        let message = || record.to_message(self.outbox.key(), message_id());
        // It takes the place of nothing.
        match self
            .publishing
            .replace(Vec::new(), || vec![message()])
            .await
        {
            Ok(said) => said.ack(),
            Err(Unpublished::TooLarge(error, _)) => {
                let kind = &record.kind;
                tracing::warn!(task.kind = %kind, %error, "the schema of `{kind}` is not published");
            }
            Err(Unpublished::Abandoned) => {}
        }
    }
}
