use std::error::Error;
use std::fmt;
use std::time::Duration;

use homing_protocol::{Retry, TaskError, chain};

/// Any error.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why an attempt failed: any error, and maybe what to do about it.
///
/// Every error becomes one by `?`: of the standard library, of `anyhow`, text.
/// For that reason it is not itself a [`std::error::Error`].
///
/// Whether the task is tried again is decided, in this order, by the handler on
/// the spot ([`permanent`](Self::permanent), [`retry_after`](Self::retry_after),
/// [`ResultExt`]), by the task's own error type
/// ([`TaskError::retry`], found anywhere among the causes), else it is.
pub struct AttemptError {
    cause: BoxError,
    retry: Option<Retry>,
}

impl AttemptError {
    /// Trying again is no use: the task has failed.
    pub fn permanent(cause: impl Into<BoxError>) -> Self {
        Self::new(cause.into(), Some(Retry::Never))
    }

    /// Trying again may help, whatever the error's own type says.
    pub fn retryable(cause: impl Into<BoxError>) -> Self {
        Self::new(cause.into(), Some(Retry::Backoff))
    }

    /// Trying again may help after `delay`, which takes the place of the
    /// policy's. A delay has whole seconds: it is rounded up.
    pub fn retry_after(cause: impl Into<BoxError>, delay: Duration) -> Self {
        Self::new(cause.into(), Some(Retry::After(delay)))
    }

    /// The error itself.
    pub fn into_cause(self) -> BoxError {
        self.cause
    }

    const fn new(cause: BoxError, retry: Option<Retry>) -> Self {
        Self { cause, retry }
    }

    fn with(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// The error's text, its causes included.
    pub(crate) fn text(&self) -> String {
        chain(self.cause.as_ref())
    }

    /// The first of the error and its causes that is an `E`.
    pub(crate) fn find<E: Error + 'static>(&self) -> Option<&E> {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self.cause.as_ref());
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }

    /// What it asks for, `own` being what [`find`](Self::find) gave.
    pub(crate) fn retry<E: TaskError>(&self, own: Option<&E>) -> Retry {
        self.retry
            .or_else(|| own.map(TaskError::retry))
            .unwrap_or(Retry::Backoff)
    }
}

impl<E: Into<BoxError>> From<E> for AttemptError {
    fn from(cause: E) -> Self {
        Self::new(cause.into(), None)
    }
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptError")
            .field("cause", &self.cause)
            .field("retry", &self.retry)
            .finish()
    }
}

/// Says on the spot what to do about an error.
///
/// ```
/// use homing_worker::{AttemptError, ResultExt};
///
/// fn port(text: &str) -> Result<u16, AttemptError> {
///     Ok(text.parse().permanent()?)
/// }
/// # assert!(port("x").is_err());
/// ```
pub trait ResultExt<V> {
    /// Trying again is no use.
    ///
    /// # Errors
    ///
    /// The same one, as [`AttemptError::permanent`].
    fn permanent(self) -> Result<V, AttemptError>;

    /// Trying again may help after `delay`.
    ///
    /// # Errors
    ///
    /// The same one, as [`AttemptError::retry_after`].
    fn retry_after(self, delay: Duration) -> Result<V, AttemptError>;
}

impl<V, E: Into<AttemptError>> ResultExt<V> for Result<V, E> {
    fn permanent(self) -> Result<V, AttemptError> {
        self.map_err(|error| error.into().with(Retry::Never))
    }

    fn retry_after(self, delay: Duration) -> Result<V, AttemptError> {
        self.map_err(|error| error.into().with(Retry::After(delay)))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
    #[error("the page is gone")]
    struct Gone;

    impl TaskError for Gone {
        fn retry(&self) -> Retry {
            Retry::Never
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot fetch")]
    struct Fetch(#[source] Gone);

    fn retry_of(error: &AttemptError) -> Retry {
        error.retry(error.find::<Gone>())
    }

    #[test]
    fn any_error_is_retryable() {
        let errors = [
            AttemptError::from("text"),
            AttemptError::from(String::from("text")),
            AttemptError::from(io::Error::other("disk")),
        ];

        assert!(errors.iter().all(|error| retry_of(error) == Retry::Backoff));
    }

    #[test]
    fn the_own_error_decides_wherever_it_is_among_the_causes() {
        assert_eq!(retry_of(&Gone.into()), Retry::Never);
        assert_eq!(retry_of(&Fetch(Gone).into()), Retry::Never);
    }

    #[test]
    fn the_handler_on_the_spot_outranks_the_own_error() {
        let delay = Duration::from_secs(5);

        assert_eq!(retry_of(&AttemptError::retryable(Gone)), Retry::Backoff);
        let error = Err::<(), _>(Gone).retry_after(delay).unwrap_err();
        assert_eq!(retry_of(&error), Retry::After(delay));
    }

    #[test]
    fn the_text_has_the_causes() {
        assert_eq!(
            AttemptError::from(Fetch(Gone)).to_string(),
            "cannot fetch: the page is gone"
        );
    }
}
