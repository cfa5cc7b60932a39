//! Sorts a delivery: decides what to do with it before anything of it is run.
//!
//! Pure. Two questions, one of the whole delivery ([`whole`]), then one of each
//! task in it ([`task`]); the first row that fits is the answer.
//!
//! | the delivery                                  | what is done                                |
//! |-----------------------------------------------|---------------------------------------------|
//! | several tasks, delivered before or suspects   | published again one by one, ack             |
//! | nothing tells it from another                 | published again with an id, ack             |
//! | else                                          | its tasks, each on its own                  |
//!
//! | the task                                      | what is done                                |
//! |-----------------------------------------------|---------------------------------------------|
//! | a suspect that crashed its workers too often  | dead letter `crash-loop`, ack               |
//! | its deadline has passed                       | dead letter `expired`, ack                  |
//! | its time has not come                         | delayed again, ack                          |
//! | no handler, within the grace for that         | delayed for another worker, ack             |
//! | no handler                                    | dead letter `unknown-kind`, ack             |
//! | came back three times, and is no suspect      | published again to `tasks.suspect`, ack     |
//! | a suspect                                     | run alone                                   |
//! | else                                          | run                                         |
//!
//! Splitting comes first because what stands in the way of one task of a bundle
//! must not hold up the others. However little is left until a task's time comes,
//! it is not run before. That is so after a delay that was longer than the broker
//! can hold, and where a worker's clock is behind the one that wrote the time;
//! since a delay is a second at least, it is so once for each clock, not again and
//! again, and such a task is late by a second at most. A worker may receive a task whose kind, or a
//! message whose version, only others know: that is no fault of the task, and it
//! is [parked](park) for them. The count of its crashes travels along.

use std::time::Duration;

use homing_protocol::topology::SUSPECT_DELIVERY_LIMIT;
use homing_protocol::{
    Envelope, H_PARKED, Header, HeaderValue, Identity, QueueName, Reason, Received, Timestamp,
};

/// Returns from which a task is a suspect. A worker that dies raises the count
/// of all it holds, so one or two mean little.
const SUSPECT_COUNT: u32 = 3;

/// The first delay of a task for which another worker is needed: the shortest
/// there is, since among several workers the next may be the right one.
const PARKED_SECS_FIRST: u64 = 1;

/// A delay is this part of all before it: among a few workers a task meets the
/// right one before it has waited for long.
const PARKED_PART: u64 = 4;

/// The longest: a task whose right worker is not there costs little by then.
const PARKED_SECS_MAX: u64 = 60;

/// Carries the crashes of a task over a publish, which resets the broker's count.
const H_CRASHES: &str = "homing-crashes";

/// What to do with a delivery as a whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Whole {
    /// Publish each of its tasks again, alone, then ack.
    Split,
    /// Publish its only task again with the id made for it, then ack.
    Name,
    /// Ask about each task.
    Tasks,
}

/// Decides about a delivery as a whole.
pub(crate) fn whole(received: &Received, identity: &Identity, queue: &QueueName) -> Whole {
    let suspects = *queue == QueueName::suspect();
    if (received.redelivered || suspects) && identity.tasks.len() > 1 {
        return Whole::Split;
    }
    if identity.minted {
        return Whole::Name;
    }
    Whole::Tasks
}

/// What to do with a task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Triage {
    /// Run it.
    Run,
    /// Run it while nothing else runs in this process.
    RunAlone,
    /// Publish it again to the suspects.
    Suspect,
    /// Publish it again with this delay.
    Delay(Duration),
    /// Publish it again for another worker, with the number of its crashes.
    Park { crashes: u32, parked: Parked },
    /// It is a dead letter.
    Dead(Reason, String),
}

/// What triage needs to know beside the task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight<'a> {
    /// The queue it came from.
    pub(crate) queue: &'a QueueName,
    /// How often it came back: 0 unless redelivered.
    pub(crate) returns: u32,
    /// Whether there is a handler for its kind.
    pub(crate) known: bool,
    /// How long it may be parked for want of one.
    pub(crate) unknown_grace: Duration,
    /// The time.
    pub(crate) now: Timestamp,
}

/// For how long a message is parked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Parked {
    /// This time.
    pub(crate) delay: Duration,
    /// In all, this time included: what is to travel along.
    pub(crate) total_secs: u64,
}

impl<'a> Sight<'a> {
    pub(crate) fn new(
        received: &Received,
        queue: &'a QueueName,
        known: bool,
        unknown_grace: Duration,
        now: Timestamp,
    ) -> Self {
        Self {
            queue,
            // A publisher can set the count; only the broker's own is believed.
            returns: if received.redelivered {
                received.delivery_count
            } else {
                0
            },
            known,
            unknown_grace,
            now,
        }
    }
}

/// Decides about a task.
pub(crate) fn task(envelope: &Envelope, sight: Sight<'_>) -> Triage {
    let suspect = *sight.queue == QueueName::suspect();
    let crashes = crashes_with(envelope, sight.returns);
    if suspect && i64::from(crashes) >= SUSPECT_DELIVERY_LIMIT {
        let detail = format!("its worker died {crashes} times while it ran alone");
        return Triage::Dead(Reason::CrashLoop, detail);
    }
    if let Some(dead) = expired(envelope, sight.now) {
        return dead;
    }
    if let Some(due) = envelope.due_at.filter(|due| *due > sight.now) {
        return Triage::Delay(due.since(sight.now));
    }
    match (sight.known, suspect) {
        (false, _) => match park(&envelope.carried, sight.unknown_grace) {
            Some(parked) => Triage::Park { crashes, parked },
            None => unknown(envelope),
        },
        (true, true) => Triage::RunAlone,
        (true, false) if crashes >= SUSPECT_COUNT => Triage::Suspect,
        (true, false) => Triage::Run,
    }
}

/// The dead letter that a task is whose deadline has passed.
pub(crate) fn expired(envelope: &Envelope, now: Timestamp) -> Option<Triage> {
    let at = envelope.expires_at.filter(|at| *at <= now)?;
    let late = now.since(at).as_secs();
    let detail = format!("its deadline had passed {late} s before it could be started");
    Some(Triage::Dead(Reason::Expired, detail))
}

/// For how long to park a message with these headers that this worker cannot
/// run; `None` once it was parked for the whole grace.
///
/// The grace is counted in the delays themselves, each a quarter of all before
/// it within limits: no host's clock is asked, and since each adds a second
/// at least, whatever a publisher puts into the header comes to an end.
pub(crate) fn park(headers: &[Header], grace: Duration) -> Option<Parked> {
    let before = match headers.iter().find(|(name, _)| name == H_PARKED) {
        Some((_, HeaderValue::Int(secs))) => u64::try_from(*secs).unwrap_or(0),
        _ => 0,
    };
    let left = grace
        .as_secs()
        .checked_sub(before)
        .filter(|left| *left > 0)?;
    let secs = (before / PARKED_PART).clamp(PARKED_SECS_FIRST, PARKED_SECS_MAX);
    let secs = secs.min(left);
    Some(Parked {
        delay: Duration::from_secs(secs),
        total_secs: before + secs,
    })
}

/// Lets these headers carry along for how long their message was parked, if it
/// was.
pub(crate) fn carry_parked(headers: &mut Vec<Header>, total_secs: u64) {
    headers.retain(|(name, _)| name != H_PARKED);
    if total_secs > 0 {
        let secs = i64::try_from(total_secs).unwrap_or(i64::MAX);
        headers.push((H_PARKED.to_owned(), HeaderValue::Int(secs)));
    }
}

fn unknown(envelope: &Envelope) -> Triage {
    let detail = format!("no handler for kind `{}`", envelope.kind);
    Triage::Dead(Reason::UnknownKind, detail)
}

/// The crashes of a task: those it carries along, and those since.
pub(crate) fn crashes_with(envelope: &Envelope, returns: u32) -> u32 {
    crashes(envelope).saturating_add(returns)
}

/// The crashes a task carries along.
fn crashes(envelope: &Envelope) -> u32 {
    let carried = envelope.carried.iter().find(|(name, _)| name == H_CRASHES);
    match carried {
        Some((_, HeaderValue::Int(crashes))) => u32::try_from(*crashes).unwrap_or(0),
        _ => 0,
    }
}

/// Lets `envelope` carry `crashes` along, if there are any.
pub(crate) fn carry_crashes(envelope: &mut Envelope, crashes: u32) {
    envelope.carried.retain(|(name, _)| name != H_CRASHES);
    if crashes > 0 {
        let header = (H_CRASHES.to_owned(), HeaderValue::Int(crashes.into()));
        envelope.carried.push(header);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use homing_protocol::topology::DELAY_SECS_MAX;
    use homing_protocol::{ContentType, Destination, Payload};
    use proptest::option;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_000_000_000);

    fn envelope() -> Envelope {
        let payload = Payload {
            bytes: Bytes::from_static(b"1"),
            content_type: ContentType::Json,
        };
        Envelope::new(Uuid::nil().into(), "a".parse().unwrap(), payload, NOW)
    }

    fn sight(queue: &QueueName) -> Sight<'_> {
        Sight {
            queue,
            returns: 0,
            known: true,
            unknown_grace: Duration::ZERO,
            now: NOW,
        }
    }

    fn received(redelivered: bool) -> Received {
        let message = envelope().to_message(Destination::Queue(QueueName::tasks()), String::new());
        Received {
            properties: message.properties,
            body: message.body,
            exchange: String::new(),
            routing_key: String::new(),
            redelivered,
            delivery_count: 9,
            deaths: Vec::new(),
        }
    }

    fn identity(tasks: usize, minted: bool) -> Identity {
        Identity {
            tasks: vec![envelope(); tasks],
            minted,
        }
    }

    fn later(secs: u64) -> Timestamp {
        NOW.after(Duration::from_secs(secs))
    }

    #[test]
    fn a_bundle_is_split_only_once_it_was_delivered_before() {
        let sorted = |redelivered, tasks, queue| {
            whole(&received(redelivered), &identity(tasks, false), &queue)
        };

        assert_eq!(sorted(true, 2, QueueName::tasks()), Whole::Split);
        assert_eq!(sorted(false, 2, QueueName::tasks()), Whole::Tasks);
        assert_eq!(sorted(true, 1, QueueName::tasks()), Whole::Tasks);
        assert_eq!(sorted(false, 1, QueueName::suspect()), Whole::Tasks);
    }

    #[test]
    fn suspects_never_run_as_a_bundle() {
        let suspects = identity(2, false);

        let whole = whole(&received(false), &suspects, &QueueName::suspect());

        assert_eq!(whole, Whole::Split);
    }

    #[test]
    fn a_task_without_an_id_gets_one_first() {
        let nameless = identity(1, true);

        let whole = whole(&received(false), &nameless, &QueueName::tasks());

        assert_eq!(whole, Whole::Name);
    }

    #[test]
    fn a_count_is_believed_only_of_a_redelivered_message() {
        let queue = QueueName::tasks();

        let [first, again] = [false, true].map(|redelivered| {
            Sight::new(&received(redelivered), &queue, true, Duration::ZERO, NOW).returns
        });

        assert_eq!((first, again), (0, 9));
    }

    #[test]
    fn a_task_runs_unless_something_is_in_its_way() {
        let queue = QueueName::tasks();
        let mut just = envelope();
        just.due_at = Some(NOW);
        just.expires_at = Some(later(1));

        assert_eq!(task(&envelope(), sight(&queue)), Triage::Run);
        assert_eq!(task(&just, sight(&queue)), Triage::Run);
    }

    #[test]
    fn a_task_past_its_deadline_is_dead_even_if_nobody_knows_it() {
        let queue = QueueName::tasks();
        let mut late = envelope();
        late.expires_at = Some(NOW);

        for known in [true, false] {
            let triage = task(
                &late,
                Sight {
                    known,
                    ..sight(&queue)
                },
            );

            assert!(matches!(triage, Triage::Dead(Reason::Expired, _)));
        }
    }

    #[test]
    fn a_task_that_is_not_due_waits_for_the_rest() {
        let queue = QueueName::tasks();
        for wait in [1, 999, 30_000].map(Duration::from_millis) {
            let mut early = envelope();
            early.due_at = Some(NOW.after(wait));

            assert_eq!(task(&early, sight(&queue)), Triage::Delay(wait));
        }
    }

    /// Follows a task that is submitted with `delay` through a broker that is
    /// `late` after each one it holds, to a worker whose clock is `ahead`. Answers
    /// by how much it is run after it was due, by the worker's clock, and the
    /// delays it took.
    fn followed(delay: Duration, late: Duration, ahead_ms: i64) -> (i64, u32) {
        let queue = QueueName::tasks();
        let due = NOW.after(delay);
        let mut envelope = envelope();
        envelope.due_at = Some(due);
        let by_worker = |now: Timestamp| Timestamp::from_ms(now.as_ms() + ahead_ms);
        let mut way = Destination::due(queue.clone(), envelope.due_at, NOW);
        let (mut now, mut hops) = (NOW, 0);
        while let Destination::Delayed { secs, .. } = way {
            now = now.after(Duration::from_secs(secs.into()) + late);
            hops += 1;
            let sight = Sight {
                now: by_worker(now),
                ..sight(&queue)
            };
            let Triage::Delay(wait) = task(&envelope, sight) else {
                break;
            };
            way = Destination::after(queue.clone(), wait);
        }
        (by_worker(now).as_ms() - due.as_ms(), hops)
    }

    /// A year is 241 of the broker's longest delays: after each one the task is
    /// delivered, and put off again.
    #[test]
    fn a_delay_of_a_year_ends_when_it_is_due_and_never_before() {
        let year = Duration::from_hours(365 * 24);

        assert_eq!(followed(year, Duration::ZERO, 0), (0, 241));
    }

    #[test]
    fn a_delay_just_above_several_of_the_longest_is_not_early() {
        let longest = Duration::from_secs(DELAY_SECS_MAX.into());
        for times in 1..=3 {
            for rest_ms in [1, 2, 30, 499, 500, 999, 1_000, 1_001, 1_999, 2_000] {
                let delay = longest * times + Duration::from_millis(rest_ms);

                let (late_ms, hops) = followed(delay, Duration::ZERO, 0);

                assert!((0..1_000).contains(&late_ms), "{delay:?}: {late_ms} ms");
                assert!((times + 1..=times + 2).contains(&hops), "{delay:?}: {hops}");
            }
        }
    }

    #[test]
    fn a_kind_without_a_handler_is_dead() {
        let queue = QueueName::tasks();
        let sight = Sight {
            known: false,
            returns: 9,
            ..sight(&queue)
        };

        assert_eq!(
            task(&envelope(), sight),
            Triage::Dead(Reason::UnknownKind, "no handler for kind `a`".to_owned())
        );
    }

    #[test]
    fn a_task_is_a_suspect_from_its_third_return() {
        let queue = QueueName::tasks();
        let triage = |returns| {
            task(
                &envelope(),
                Sight {
                    returns,
                    ..sight(&queue)
                },
            )
        };

        assert_eq!([2, 3].map(triage), [Triage::Run, Triage::Suspect]);
    }

    #[test]
    fn a_suspect_runs_alone_until_its_tenth_crash() {
        let queue = QueueName::suspect();
        let triage = |returns| {
            task(
                &envelope(),
                Sight {
                    returns,
                    ..sight(&queue)
                },
            )
        };

        assert_eq!([0, 9].map(triage), [Triage::RunAlone, Triage::RunAlone]);
        assert!(matches!(triage(10), Triage::Dead(Reason::CrashLoop, _)));
    }

    #[test]
    fn a_task_of_another_group_is_parked_with_its_crashes_within_the_grace() {
        for queue in [QueueName::tasks(), QueueName::suspect()] {
            let sight = Sight {
                known: false,
                returns: 2,
                unknown_grace: Duration::from_secs(20),
                ..sight(&queue)
            };
            let mut carried = envelope();
            carry_crashes(&mut carried, 3);
            carry_crashes(&mut carried, 4);
            carry_parked(&mut carried.carried, 9);

            let parked = Parked {
                delay: Duration::from_secs(2),
                total_secs: 11,
            };
            let crashes = 6;
            assert_eq!(task(&carried, sight), Triage::Park { crashes, parked });
            carry_parked(&mut carried.carried, 20);
            let triage = task(&carried, sight);
            assert!(matches!(triage, Triage::Dead(Reason::UnknownKind, _)));
        }
    }

    #[test]
    fn a_parked_task_is_away_longer_each_time_and_for_the_grace_in_all() {
        let grace = Duration::from_secs(200);
        let mut headers = Vec::new();
        let mut delays = Vec::new();
        while let Some(parked) = park(&headers, grace) {
            delays.push(parked.delay.as_secs());
            carry_parked(&mut headers, parked.total_secs);
        }

        assert_eq!(delays[..8], [1; 8]);
        assert_eq!(
            delays[8..],
            [2, 2, 3, 3, 4, 5, 6, 8, 10, 12, 15, 19, 24, 30, 37, 12]
        );
        assert_eq!(delays.iter().sum::<u64>(), grace.as_secs());
    }

    #[test]
    fn no_header_parks_a_task_for_ever() {
        let day = Duration::from_hours(24);
        let values = [
            HeaderValue::Int(i64::MIN),
            HeaderValue::Int(-1),
            HeaderValue::Int(0),
            HeaderValue::Void,
            HeaderValue::Text("0".to_owned()),
        ];
        for value in values {
            let parked = park(&[(H_PARKED.to_owned(), value)], day);

            assert_eq!(parked.map(|parked| parked.total_secs), Some(1));
        }
        for secs in [86_400, i64::MAX] {
            let headers = [(H_PARKED.to_owned(), HeaderValue::Int(secs))];

            assert_eq!(park(&headers, day), None);
        }
    }

    #[test]
    fn without_a_grace_nothing_is_parked() {
        assert_eq!(park(&[], Duration::ZERO), None);
    }

    #[test]
    fn a_task_that_was_handed_back_keeps_its_crashes() {
        let queue = QueueName::tasks();
        let mut carried = envelope();
        carry_crashes(&mut carried, 2);

        let triage = |returns| {
            let sight = Sight {
                returns,
                ..sight(&queue)
            };
            task(&carried, sight)
        };

        assert_eq!([0, 1].map(triage), [Triage::Run, Triage::Suspect]);
    }

    #[test]
    fn crashes_that_were_carried_along_count() {
        let queue = QueueName::suspect();
        let mut carried = envelope();
        carry_crashes(&mut carried, 8);

        let triage = task(
            &carried,
            Sight {
                returns: 2,
                ..sight(&queue)
            },
        );

        assert!(matches!(triage, Triage::Dead(Reason::CrashLoop, _)));
    }

    proptest! {
        #[test]
        fn whatever_clocks_say_a_task_is_run_kept_or_dead_by_its_deadline(
            now in any::<i64>(), submitted in any::<i64>(), due in option::of(any::<i64>()),
            expires in option::of(any::<i64>()), suspect: bool, known: bool, returns in 0_u32..20,
        ) {
            let queue = if suspect { QueueName::suspect() } else { QueueName::tasks() };
            let now = Timestamp::from_ms(now);
            let mut envelope = envelope();
            envelope.submitted_at = Timestamp::from_ms(submitted);
            envelope.due_at = due.map(Timestamp::from_ms);
            envelope.expires_at = expires.map(Timestamp::from_ms);

            let triage = task(&envelope, Sight { returns, known, now, ..sight(&queue) });

            match triage {
                Triage::Delay(wait) => {
                    prop_assert!(!wait.is_zero() && envelope.due_at > Some(now));
                    let delayed = Destination::after(queue, wait);
                    let held = matches!(delayed, Destination::Delayed { secs, .. } if secs <= DELAY_SECS_MAX);
                    prop_assert!(held);
                }
                Triage::Dead(Reason::Expired, _) => prop_assert!(envelope.expires_at <= Some(now)),
                _ => prop_assert!(envelope.due_at.is_none_or(|due| due <= now) || returns >= 10),
            }
        }
    }

    proptest! {
        /// What is left after the longest delays is less than the broker can hold,
        /// or nothing but how far clocks are apart.
        #[test]
        fn a_delayed_task_is_never_early_and_a_second_late_at_most(
            times in 0_u32..3, rest_ms in prop_oneof![1_u64..3_000, 1_u64..131_071_000],
            late_ms in 0_u64..250, ahead_ms in prop_oneof![Just(0_i64), -5_000_i64..5_000],
        ) {
            let late = Duration::from_millis(late_ms);
            let longest = Duration::from_secs(DELAY_SECS_MAX.into());
            let delay = longest * times + Duration::from_millis(rest_ms);

            let (started_ms, hops) = followed(delay, late, ahead_ms);

            let latest_ms = 1_000 + late_ms as i64 + ahead_ms.max(0);
            prop_assert!((0..latest_ms).contains(&started_ms), "{started_ms} ms");
            // One more for what is left, and one for a clock that is behind.
            prop_assert!(hops <= times + 2, "{hops} delays");
        }
    }

    /// A clock that is ten years ahead, or behind, of the one that wrote the task.
    #[test]
    fn a_clock_that_is_ten_years_off_starts_nothing_early_and_loses_nothing() {
        let queue = QueueName::tasks();
        let ten_years = Duration::from_hours(24 * 3_652);
        let (past, future) = (Timestamp::from_ms(0), NOW.after(ten_years));
        let mut due = envelope();
        due.due_at = Some(NOW);
        let at = |now| Sight {
            now,
            ..sight(&queue)
        };

        assert_eq!(task(&due, at(past)), Triage::Delay(NOW.since(past)));
        assert_eq!(task(&due, at(future)), Triage::Run);
        assert_eq!(task(&envelope(), at(past)), Triage::Run);
        assert_eq!(task(&envelope(), at(future)), Triage::Run);
    }
}
