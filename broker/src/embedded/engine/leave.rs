//! Strikes out those that are done: readers, and in the end this process.

use super::Engine;
use crate::embedded::links::Key;
use crate::embedded::messages::Messages;
use crate::embedded::{clients, queues};

impl Engine {
    /// Strikes out readers that are done.
    pub(super) fn end_readers(&mut self) {
        let done = self.readers.values().filter(|reader| reader.is_done());
        let done: Vec<_> = done.map(|reader| reader.key).collect();
        // What it answered last is in the file, or is in the next step.
        let open = |key: &Key| self.answers.iter().any(|(of, ..)| of == key);
        let done: Vec<_> = done.into_iter().filter(|key| !open(key)).collect();
        for key in done {
            let Some(reader) = self.readers.remove(&key) else {
                continue;
            };
            self.ours.remove(&reader.queue);
            let struck = self.file.write(|file| {
                if reader.is_inbox() {
                    queues::remove_inbox(file, &reader.queue_name)?;
                }
                clients::unsubscribe(file, reader.consumer)
            });
            if let Err(error) = struck {
                // It holds nothing, and goes with this process.
                tracing::debug!(%error, "a consumer stays written down");
            }
        }
    }

    /// Strikes this process out.
    pub(super) fn leave(mut self) {
        if let Some(client) = self.client {
            let struck = self.file.write(|file| {
                for (message, queue) in clients::strike(file, client)?.1 {
                    Messages(file).returned(message, 0)?;
                    Messages(file).wait(message, queue)?;
                }
                Ok(())
            });
            if let Err(error) = struck {
                tracing::debug!(%error, "this process stays written down until it has ended");
            }
        }
        self.disk.finish();
    }
}
