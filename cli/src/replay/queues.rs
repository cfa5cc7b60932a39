//! Which queue a task goes to that is run again.
//!
//! | a queue is given | the task was in                          | it goes to   |
//! |------------------|------------------------------------------|--------------|
//! | yes              | any                                      | that one     |
//! | no               | a queue of tasks that the broker has     | that one     |
//! | no               | anything else, suspects included         | `tasks`      |
//!
//! A name that is stored with a task came from outside: it is only believed if
//! it is that of a queue of tasks, in this namespace, that is there.

use std::collections::HashMap;

use homing_protocol::QueueName;

use crate::exit::Exit;
use crate::settings::Settings;
use crate::trouble::Trouble;

/// Queues that the broker is asked for: a pool has a few. Tasks of further ones
/// go to `tasks`.
const ASKED_MAX: usize = 32;

/// Where tasks go.
pub(super) struct Queues<'a> {
    settings: &'a Settings,
    given: Option<QueueName>,
    /// By the name that is stored with a task.
    known: HashMap<String, QueueName>,
}

impl<'a> Queues<'a> {
    /// Checks that the queue that is given is there.
    pub(super) async fn new(
        settings: &'a Settings,
        given: Option<QueueName>,
    ) -> Result<Self, Trouble> {
        if let Some(queue) = &given
            && !is_there(settings, queue).await?
        {
            return Err(
                Trouble::new(Exit::Config, format!("there is no queue `{queue}`"))
                    .from("--queue")
                    .fix(format!("create it: homing topology apply --queues {queue}")),
            );
        }
        Ok(Self {
            settings,
            given,
            known: HashMap::new(),
        })
    }

    /// Where a task goes that was in the queue of this name.
    pub(super) async fn of(&mut self, stored: &str) -> Result<QueueName, Trouble> {
        if let Some(queue) = &self.given {
            return Ok(queue.clone());
        }
        if let Some(queue) = self.known.get(stored) {
            return Ok(queue.clone());
        }
        let queue = match stored.parse::<QueueName>() {
            Ok(queue) if is_plain(&queue) => queue,
            Ok(queue)
                if queue != QueueName::suspect()
                    && self.known.len() < ASKED_MAX
                    && is_there(self.settings, &queue).await? =>
            {
                queue
            }
            _ => QueueName::tasks(),
        };
        // Names from outside are remembered as long as they are few.
        if self.known.len() < ASKED_MAX {
            self.known.insert(stored.to_owned(), queue.clone());
        }
        Ok(queue)
    }
}

fn is_plain(queue: &QueueName) -> bool {
    *queue == QueueName::tasks()
}

/// Whether the broker has this queue of tasks.
async fn is_there(settings: &Settings, queue: &QueueName) -> Result<bool, Trouble> {
    let link = settings.link(std::slice::from_ref(queue))?;
    let full = link.broker.topology().queue(queue);
    let depths = link.broker.depths().await;
    let depths = depths.map_err(|error| link.trouble(&error))?;
    let mut found = depths.iter().filter(|depth| depth.queue == full);
    Ok(found.any(|depth| depth.ready.is_some()))
}
