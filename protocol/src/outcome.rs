use std::time::Duration;

use crate::error::{AnyError, DecodeError, Failure};
use crate::id::TaskId;
use crate::report::Report;
use crate::status::Status;
use crate::task::Task;
use crate::time::Timestamp;

/// The last word on a run of a task.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome<T: Task> {
    /// The task.
    pub id: TaskId,
    /// How many attempts it took; 0 for a dead letter that got none.
    pub attempts: u32,
    /// When and how long.
    pub timings: Timings,
    /// The worker that ran the last attempt.
    pub worker: String,
    /// The output, or why there is none.
    pub result: Result<T::Output, Failure<T::Error>>,
}

/// When an attempt was made and how long it took.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Timings {
    /// When the task was submitted.
    pub submitted_at: Timestamp,
    /// When the last attempt began.
    pub started_at: Timestamp,
    /// How long the last attempt waited before it began.
    pub waited: Duration,
    /// How long its handler ran.
    pub ran: Duration,
}

impl<T: Task> Outcome<T> {
    /// The status that goes with the result.
    pub const fn status(&self) -> Status {
        match &self.result {
            Ok(_) => Status::Succeeded,
            Err(failure) => failure.status,
        }
    }

    /// Reads the outcome of a task of this type from a report.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Payload`] if the output is not of the task's type, which
    /// is so if worker and reader have different versions of it.
    pub fn from_report(report: &Report) -> Result<Self, DecodeError> {
        let misfit = |problem: String| DecodeError::Payload {
            kind: T::KIND.to_owned(),
            problem,
        };
        let result = match (report.status, report.output()) {
            (Status::Succeeded, Some(output)) => Ok(output.decode().map_err(misfit)?),
            (Status::Succeeded, None) => return Err(misfit("it has no output".to_owned())),
            (status, _) => Err(Failure::new(
                status,
                report.error.clone().unwrap_or_default(),
                error::<T>(report),
            )),
        };
        Ok(Self {
            id: report.task,
            attempts: report.attempt,
            timings: Timings {
                submitted_at: report.submitted_at,
                started_at: report.started_at,
                waited: Duration::from_millis(report.waited_ms),
                ran: Duration::from_micros(report.run_us),
            },
            worker: report.worker.clone(),
            result,
        })
    }
}

/// The error as the task's own type. One that no longer decodes is left to its
/// text.
fn error<T: Task>(report: &Report) -> Option<T::Error> {
    if std::any::TypeId::of::<T::Error>() == std::any::TypeId::of::<AnyError>() {
        return None;
    }
    let data = report.error_data.as_ref()?;
    report.content_type.decode(data).ok()
}
