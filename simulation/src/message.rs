use std::rc::Rc;

use homing_protocol::{Envelope, Reason, Run, TaskId};

use crate::fold::State;

/// The queues.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Place {
    Tasks,
    Suspect,
    Results,
    Dead,
    Quarantine,
}

impl Place {
    pub(crate) const ALL: [Self; 5] = [
        Self::Tasks,
        Self::Suspect,
        Self::Results,
        Self::Dead,
        Self::Quarantine,
    ];
}

/// Where a message is published to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum To {
    Place(Place),
    /// To a queue, after so many seconds.
    Delayed(Place, u32),
}

/// A message in the model broker.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Unique for each message a publisher makes; the same when its link
    /// publishes it again.
    pub(crate) id: u64,
    pub(crate) body: Rc<Body>,
    /// How often it came back, as the broker counts.
    pub(crate) count: u32,
    pub(crate) redelivered: bool,
    /// Why the broker moved it to the dead letters.
    pub(crate) died: Option<Reason>,
}

#[derive(Debug)]
pub(crate) enum Body {
    Tasks(Vec<Envelope>),
    /// A foreign message that nothing tells from another.
    Nameless(Envelope),
    /// A message that claims to be a task and cannot be read.
    Spoilt(Envelope),
    Reports(Vec<Word>),
    /// What a worker could not settle.
    Dead(Vec<Envelope>, Reason),
}

/// What is said of a task: as much of a report as the store decides by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    pub(crate) task: TaskId,
    pub(crate) run: Run,
    pub(crate) state: State,
}

impl Body {
    /// The tasks in it.
    pub(crate) fn tasks(&self) -> &[Envelope] {
        match self {
            Self::Tasks(tasks) | Self::Dead(tasks, _) => tasks,
            Self::Nameless(task) | Self::Spoilt(task) => std::slice::from_ref(task),
            Self::Reports(_) => &[],
        }
    }

    /// For the trace.
    pub(crate) fn describe(&self) -> String {
        let tasks = |tasks: &[Envelope]| {
            let each = tasks.iter().map(|task| {
                let (number, run) = (number(task.id), task.run.get());
                format!("task {number} run {run} attempt {}", task.attempt.get())
            });
            each.collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Tasks(all) => tasks(all),
            Self::Nameless(_) => format!("nameless {}", tasks(self.tasks())),
            Self::Spoilt(_) => format!("spoilt {}", tasks(self.tasks())),
            Self::Dead(all, reason) => format!("dead ({reason}) {}", tasks(all)),
            Self::Reports(words) => {
                let each = words.iter().map(|word| {
                    let (task, state) = (number(word.task), word.state);
                    format!(
                        "report {} of task {task} attempt {}",
                        state.status, state.attempt
                    )
                });
                each.collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// The number of a task in this world. A nameless one gets new ids with the
/// same number.
pub(crate) const fn number(task: TaskId) -> usize {
    task.as_uuid().as_u128() as u64 as usize
}
