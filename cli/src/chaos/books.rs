//! Whether what is stored is what was submitted, task by task.
//!
//! Pure. Of each task that was submitted it is known what has to come out of it:
//!
//! | stored | fate |
//! |---|---|
//! | `succeeded`, with that output | `Kept` |
//! | nothing, or no outcome | `Lost` |
//! | any other outcome, or output | `Changed` |
//!
//! They balance if every task is kept, and nothing else is stored.

use homing_protocol::{Report, Status, TaskId};

/// What became of a task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    Kept,
    Lost,
    /// To this, in words.
    Changed(String),
}

impl Fate {
    /// Of a task whose output has to be `wanted`.
    pub(super) fn of(wanted: &str, stored: Option<&Report>) -> Self {
        let Some(report) = stored.filter(|report| report.status.is_closed()) else {
            return Self::Lost;
        };
        if report.status != Status::Succeeded {
            let error = report.error.as_deref().unwrap_or("no error");
            return Self::Changed(format!("{}: {error}", report.status));
        }
        let output = report.output();
        match output.map(|output| output.decode::<String>()) {
            Some(Ok(output)) if output == wanted => Self::Kept,
            Some(Ok(output)) => Self::Changed(format!("{output} instead of {wanted}")),
            Some(Err(problem)) => Self::Changed(problem),
            None => Self::Changed("no output".to_owned()),
        }
    }
}

/// All tasks, held against what is stored.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Books {
    pub(super) submitted: u64,
    /// Outcomes, of whatever task.
    pub(super) stored: u64,
    pub(super) lost: Vec<TaskId>,
    pub(super) changed: Vec<(TaskId, String)>,
}

impl Books {
    /// Notes what became of a task that was submitted.
    pub(super) fn note(&mut self, task: TaskId, fate: Fate) {
        self.submitted += 1;
        match fate {
            Fate::Kept => {}
            Fate::Lost => self.lost.push(task),
            Fate::Changed(how) => self.changed.push((task, how)),
        }
    }

    pub(super) const fn balance(&self) -> bool {
        self.lost.is_empty() && self.changed.is_empty() && self.stored == self.submitted
    }
}

#[cfg(test)]
mod tests {
    use homing_protocol::{ContentType, Envelope, Payload, TaskKind, Timestamp};
    use uuid::Uuid;

    use super::super::work::Work;
    use super::*;

    fn task(number: u128) -> TaskId {
        Uuid::from_u128(number).into()
    }

    fn report(status: Status, output: Option<&str>) -> Report {
        let (now, json) = (Timestamp::from_ms(0), ContentType::Json);
        let payload = Payload::json("a payload", "{}", 100).unwrap();
        let envelope = Envelope::new(task(1), TaskKind::of::<Work>(), payload, now);
        let mut report = Report::new(&envelope, status, "tasks", now);
        report.output = output.map(|text| json.encode("an output", text).unwrap().into());
        report
    }

    #[test]
    fn a_task_is_kept_with_its_own_output_alone() {
        let kept = report(Status::Succeeded, Some("a"));
        let retrying = report(Status::Retrying, None);

        assert_eq!(Fate::of("a", Some(&kept)), Fate::Kept);
        assert_eq!(Fate::of("a", None), Fate::Lost);
        assert_eq!(Fate::of("a", Some(&retrying)), Fate::Lost);
        for changed in [
            report(Status::Succeeded, Some("b")),
            report(Status::Succeeded, None),
            report(Status::Failed, None),
            report(Status::Dead, None),
        ] {
            let fate = Fate::of("a", Some(&changed));
            assert!(matches!(fate, Fate::Changed(_)), "{fate:?}");
        }
    }

    #[test]
    fn books_with_a_lost_a_changed_or_an_invented_task_do_not_balance() {
        let changed = Fate::Changed("b instead of a".to_owned());
        let books = |fates: [Fate; 2], stored| {
            let mut books = Books {
                stored,
                ..Books::default()
            };
            for (number, fate) in fates.into_iter().enumerate() {
                books.note(task(number as u128), fate);
            }
            books
        };

        assert!(books([Fate::Kept, Fate::Kept], 2).balance());
        assert!(!books([Fate::Kept, Fate::Lost], 1).balance());
        assert!(!books([Fate::Kept, changed.clone()], 2).balance());
        assert!(!books([Fate::Kept, Fate::Kept], 3).balance());
        assert_eq!(books([Fate::Lost, changed], 1).lost, [task(0)]);
    }
}
