//! Goes through deliveries without a task for each, for as long as attempts end as
//! soon as they begin.
//!
//! A task of its own costs more than many an attempt does. It is there so that an
//! attempt may wait, or keep a thread busy, without the others; so what has to wait
//! gets one all the same, and after an attempt that took its time all do for a while.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::coop::unconstrained;
use tokio_util::task::TaskTracker;

/// An attempt that ends within this ends as soon as it begins. One thread then takes
/// more of them than a queue of RabbitMQ gives.
const AT_ONCE: Duration = Duration::from_micros(20);

/// So many in a row have to.
const IN_A_ROW: u32 = 64;

/// How attempts ended lately.
#[derive(Debug, Default)]
pub(crate) struct Sprint {
    in_a_row: AtomicU32,
}

impl Sprint {
    /// Takes note of an attempt that ran for so long.
    pub(crate) fn ended(&self, ran: Duration) {
        let before = self.in_a_row.load(Ordering::Relaxed);
        let now = match ran <= AT_ONCE {
            true => IN_A_ROW.min(before + 1),
            false => 0,
        };
        // Not written without need: all threads read it.
        if now != before {
            self.in_a_row.store(now, Ordering::Relaxed);
        }
    }

    fn is_on(&self) -> bool {
        self.in_a_row.load(Ordering::Relaxed) >= IN_A_ROW
    }

    /// Deals with something here and now if that is likely to take no time, else in a
    /// task of `tracker`, and there as well with what has to wait. A panic ends it, and
    /// nothing else.
    pub(crate) fn go(
        &self,
        tracker: &TaskTracker,
        dealing: impl Future<Output = ()> + Send + 'static,
    ) {
        if !self.is_on() {
            tracker.spawn(dealing);
            return;
        }
        // The drain waits for it.
        let _counted = tracker.token();
        let mut dealing = Box::pin(dealing);
        let here = AssertUnwindSafe(unconstrained(dealing.as_mut())).catch_unwind();
        if here.now_or_never().is_none() {
            tracker.spawn(dealing);
        }
    }
}

/// Lets others have their turn on this thread. If one of them blocks it, another
/// thread goes on here, as it does not after tokio's `yield_now`.
pub(crate) async fn give_way() {
    let mut given = false;
    poll_fn(|context| {
        if given {
            return Poll::Ready(());
        }
        given = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use tokio::sync::Notify;

    use super::*;

    fn on() -> Sprint {
        let sprint = Sprint::default();
        (0..IN_A_ROW).for_each(|_| sprint.ended(AT_ONCE));
        sprint
    }

    /// Deals with something that takes no time; answers whether it is done.
    fn is_done_at_once(sprint: &Sprint) -> bool {
        let (tracker, done) = (TaskTracker::new(), Arc::new(AtomicBool::new(false)));
        let to_do = Arc::clone(&done);
        sprint.go(
            &tracker,
            async move { to_do.store(true, Ordering::Relaxed) },
        );
        done.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn after_many_that_took_no_time_the_next_is_done_at_once() {
        let sprint = on();

        assert!(is_done_at_once(&sprint));
        assert!(!is_done_at_once(&Sprint::default()));
    }

    #[tokio::test]
    async fn one_that_took_its_time_ends_that_until_many_took_none() {
        let sprint = on();
        sprint.ended(AT_ONCE + Duration::from_micros(1));

        assert!(!is_done_at_once(&sprint));
        (1..IN_A_ROW).for_each(|_| sprint.ended(Duration::ZERO));
        assert!(!is_done_at_once(&sprint));
        sprint.ended(Duration::ZERO);
        assert!(is_done_at_once(&sprint));
    }

    #[tokio::test]
    async fn what_has_to_wait_goes_on_in_a_task() {
        let (sprint, tracker) = (on(), TaskTracker::new());
        let (begun, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let (beginning, going_on) = (Arc::clone(&begun), Arc::clone(&go_on));
        sprint.go(&tracker, async move {
            beginning.store(true, Ordering::Relaxed);
            going_on.notified().await;
        });
        assert!(begun.load(Ordering::Relaxed) && tracker.len() == 1);

        go_on.notify_one();
        tracker.close();
        tracker.wait().await;
    }

    #[tokio::test]
    async fn a_drain_waits_for_what_is_done_at_once() {
        let (tracker, counted) = (TaskTracker::new(), Arc::new(AtomicBool::new(false)));
        let (of, is) = (tracker.clone(), Arc::clone(&counted));

        on().go(&tracker, async move {
            is.store(of.len() == 1, Ordering::Relaxed)
        });

        assert!(counted.load(Ordering::Relaxed) && tracker.is_empty());
    }

    #[tokio::test]
    async fn a_panic_ends_nothing_else() {
        let (sprint, tracker) = (on(), TaskTracker::new());

        sprint.go(&tracker, async { panic!("of a delivery") });

        assert!(tracker.is_empty() && is_done_at_once(&sprint));
    }
}
