//! Runs one attempt: with a timeout, and with every panic caught.
//!
//! An `async` handler that is to end is dropped. A blocking one cannot be: it is
//! told, waited for, and given up as wedged. An `async` one that blocks its
//! thread is for the [`watchdog`](super::watchdog).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use homing_protocol::Retry;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::in_words;
use crate::handler::{AttemptFailure, Ended, Launch};

/// What came of running an attempt.
#[derive(Debug, PartialEq)]
pub(crate) enum Executed {
    /// It ended.
    Ended(Ended),
    /// The worker stopped first. Nothing is known of it.
    CutOff,
    /// It goes on beyond its timeout and the grace.
    Wedged,
}

/// Until when an attempt may run.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// The timeout of its kind.
    pub(crate) timeout: Duration,
    /// When that has passed.
    pub(crate) timeout_at: Instant,
    /// How long a blocking handler may go on beyond it.
    pub(crate) grace: Duration,
    /// Cancelled when the worker ends it.
    pub(crate) dropped: CancellationToken,
}

pub(crate) async fn execute(launch: Launch, bounds: &Bounds) -> Executed {
    match launch {
        Launch::Async(run) => run_async(run, bounds).await,
        Launch::Blocking(run) => run_blocking(run, bounds).await,
    }
}

async fn run_async(run: BoxFuture<'static, Ended>, bounds: &Bounds) -> Executed {
    let mut run = AssertUnwindSafe(run).catch_unwind();
    let executed = tokio::select! {
        biased;
        ended = &mut run => Executed::Ended(ended.unwrap_or_else(panicked)),
        () = sleep_until(bounds.timeout_at.into()) => Executed::Ended(timed_out(bounds)),
        () = bounds.dropped.cancelled() => Executed::CutOff,
    };
    // What a handler holds may panic when it is dropped, too.
    match catch_unwind(AssertUnwindSafe(move || drop(run))) {
        Ok(()) => executed,
        Err(payload) => Executed::Ended(panicked(payload)),
    }
}

async fn run_blocking(run: Box<dyn FnOnce() -> Ended + Send>, bounds: &Bounds) -> Executed {
    let mut thread = tokio::task::spawn_blocking(run);
    tokio::select! {
        biased;
        ended = &mut thread => return Executed::Ended(joined(ended)),
        () = sleep_until(bounds.timeout_at.into()) => {}
        () = bounds.dropped.cancelled() => return Executed::CutOff,
    }
    tokio::select! {
        ended = timeout(bounds.grace, thread) => match ended {
            // Whatever it gave, it gave too late.
            Ok(_) => Executed::Ended(timed_out(bounds)),
            Err(_) => Executed::Wedged,
        },
        () = bounds.dropped.cancelled() => Executed::CutOff,
    }
}

/// How an attempt ended that did not: whatever comes of it comes too late.
pub(super) fn wedged(timeout: Duration) -> Ended {
    let text = format!("timed out after {} and did not end", in_words(timeout));
    Ended::Failure(AttemptFailure::new(&text, Retry::Backoff))
}

fn joined(ended: Result<Ended, tokio::task::JoinError>) -> Ended {
    ended.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(payload) => panicked(payload),
        // The runtime shuts down: the attempt never began.
        Err(error) => Ended::Failure(AttemptFailure::new(&error.to_string(), Retry::Backoff)),
    })
}

fn timed_out(bounds: &Bounds) -> Ended {
    let text = format!("timed out after {}", in_words(bounds.timeout));
    Ended::Failure(AttemptFailure::new(&text, Retry::Backoff))
}

fn panicked(payload: Box<dyn Any + Send>) -> Ended {
    let text = if let Some(text) = payload.downcast_ref::<&str>() {
        format!("panicked: {text}")
    } else if let Some(text) = payload.downcast_ref::<String>() {
        format!("panicked: {text}")
    } else {
        "panicked with a value that is no text".to_owned()
    };
    // Its own drop may panic; that says nothing new, and a second payload that
    // panics as well is left alone.
    if let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        std::mem::forget(second);
    }
    Ended::Failure(AttemptFailure::new(&text, Retry::Backoff))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use bytes::Bytes;

    use super::*;

    fn bounds(timeout: Duration) -> Bounds {
        Bounds {
            timeout,
            timeout_at: Instant::now() + timeout,
            grace: Duration::from_millis(20),
            dropped: CancellationToken::new(),
        }
    }

    fn minute() -> Bounds {
        bounds(Duration::from_mins(1))
    }

    fn output() -> Ended {
        Ended::Output(Bytes::from_static(b"1"))
    }

    fn text(executed: Executed) -> String {
        match executed {
            Executed::Ended(Ended::Failure(failure)) => {
                assert_eq!(failure.retry, Retry::Backoff);
                failure.text
            }
            other => panic!("{other:?}"),
        }
    }

    struct PanicsInDrop;

    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }

    #[tokio::test]
    async fn an_attempt_ends_with_what_its_handler_gave() {
        let by_future = execute(Launch::Async(async { output() }.boxed()), &minute()).await;
        let by_thread = execute(Launch::Blocking(Box::new(output)), &minute()).await;

        assert_eq!(by_future, Executed::Ended(output()));
        assert_eq!(by_thread, Executed::Ended(output()));
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_with_its_text() {
        let number = 7;
        let with_text = async { panic!("no") }.boxed();
        let with_values = async move { panic!("no {number}") }.boxed();
        let blocking = Launch::Blocking(Box::new(|| panic!("no")));

        assert_eq!(
            text(execute(Launch::Async(with_text), &minute()).await),
            "panicked: no"
        );
        assert_eq!(
            text(execute(Launch::Async(with_values), &minute()).await),
            "panicked: no 7"
        );
        assert_eq!(text(execute(blocking, &minute()).await), "panicked: no");
    }

    #[tokio::test]
    async fn a_panic_with_any_value_is_caught() {
        let number = async { std::panic::panic_any(7) }.boxed();
        let trap = async { std::panic::panic_any(PanicsInDrop) }.boxed();

        for run in [number, trap] {
            assert_eq!(
                text(execute(Launch::Async(run), &minute()).await),
                "panicked with a value that is no text"
            );
        }
    }

    #[tokio::test]
    async fn a_panic_while_a_handler_is_dropped_is_caught() {
        let run = async {
            let _trap = PanicsInDrop;
            std::future::pending().await
        };

        let executed = execute(Launch::Async(run.boxed()), &bounds(Duration::ZERO)).await;

        assert_eq!(text(executed), "panicked: in drop");
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_is_dropped_at_its_timeout() {
        let (alive, dropped) = mpsc::channel::<()>();
        let run = async move {
            let _alive = alive;
            std::future::pending().await
        };

        let executed = execute(Launch::Async(run.boxed()), &bounds(Duration::from_secs(30))).await;

        assert_eq!(text(executed), "timed out after 30 s");
        assert_eq!(dropped.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }

    #[tokio::test]
    async fn a_blocking_handler_that_ends_within_the_grace_has_timed_out() {
        let (_end, ended) = mpsc::channel::<()>();
        let run = move || {
            let _ended = ended.recv_timeout(Duration::from_millis(5));
            output()
        };
        let bounds = Bounds {
            grace: Duration::from_mins(1),
            ..bounds(Duration::from_millis(1))
        };

        let executed = execute(Launch::Blocking(Box::new(run)), &bounds).await;

        assert_eq!(text(executed), "timed out after 1 ms");
    }

    #[tokio::test]
    async fn a_blocking_handler_that_goes_on_is_wedged() {
        let (end, ended) = mpsc::channel::<()>();
        let run = move || {
            let _ended = ended.recv();
            output()
        };

        let executed = execute(Launch::Blocking(Box::new(run)), &bounds(Duration::ZERO)).await;

        assert_eq!(executed, Executed::Wedged);
        drop(end);
    }

    #[tokio::test]
    async fn what_the_worker_ends_has_not_ended() {
        let bounds = minute();
        bounds.dropped.cancel();
        let run = std::future::pending().boxed();

        assert_eq!(execute(Launch::Async(run), &bounds).await, Executed::CutOff);
    }
}
