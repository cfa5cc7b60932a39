//! Carries out the faults of each kind while a load is under way.

use std::time::{Duration, Instant, SystemTime};

use homing_broker::Window;
use homing_faults::Point;
use homing_protocol::{
    AttemptId, Destination, Message, Report, Status, TaskKind, Timestamp, encode_reports,
};
use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rusqlite::Connection;
use tokio::task::block_in_place;

use super::arena::{Arena, id_of_key};
use super::fleet::Role;
use super::kind::Kind;
use super::submission::Submitter;
use crate::load::{Fate, Load};
use crate::oracle::Claims;
use crate::program::HOMING;
use crate::proxy::{Cut, Direction, How};

/// Points, each with the latest time at which to die there: not so often passed
/// in a run, the process would live.
type Points = &'static [(Point, u32)];

const RUN: Points = &[
    (Point::WorkerReceived, 60),
    (Point::WorkerBeforeHandler, 60),
    (Point::WorkerAfterHandler, 60),
    (Point::WorkerBeforeOutcome, 10),
];
const SETTLE: Points = &[
    (Point::WorkerOutcomeConfirmed, 10),
    (Point::WorkerOutcomeAcked, 10),
    (Point::LinkBeforeWrite, 10),
    (Point::LinkWritten, 10),
    (Point::LinkConfirmed, 10),
    (Point::LinkBeforeAck, 10),
    (Point::LinkAcked, 10),
];
const RETRY: Points = &[
    (Point::WorkerBeforeRetry, 6),
    (Point::LinkPartConfirmed, 6),
    (Point::WorkerRetryConfirmed, 6),
    (Point::WorkerRetryAcked, 6),
];
const BURY: Points = &[
    (Point::WorkerBeforeDead, 4),
    (Point::WorkerDeadConfirmed, 4),
    (Point::WorkerBeforeRepublish, 3),
    (Point::WorkerRepublished, 3),
    (Point::LinkPartConfirmed, 4),
];
const DRAIN: Points = &[
    (Point::WorkerDrainBegun, 1),
    (Point::WorkerDrainFinished, 1),
    (Point::WorkerDrainFlushed, 1),
];
const COLLECTOR: Points = &[
    (Point::StoreLocked, 1),
    (Point::CollectorReceived, 6),
    (Point::CollectorBeforeWrite, 6),
    (Point::StoreBegun, 6),
    (Point::StoreBeforeCommit, 6),
    (Point::StoreCommitted, 6),
    (Point::CollectorAcked, 6),
    (Point::LinkBeforeAck, 6),
    (Point::LinkAcked, 6),
];
pub(super) const PRODUCER: Points = &[
    (Point::ProducerBatchOpened, 1),
    (Point::ProducerBeforePublish, 400),
    (Point::ProducerPublished, 400),
    (Point::ProducerBeforeSeal, 1),
    (Point::ProducerSealed, 1),
    (Point::LinkBeforeWrite, 400),
    (Point::LinkWritten, 400),
    (Point::LinkConfirmed, 20),
];
pub(super) const COMMAND_LINE: Points = &[
    (Point::SubmitJournalCreated, 1),
    (Point::SubmitConfirmed, 500),
    (Point::SubmitJournalWritten, 1),
    (Point::SubmitJournalFinished, 1),
    (Point::ProducerBeforeSeal, 1),
    (Point::ProducerSealed, 1),
];

/// Kills of the broker in one run, each while a load of its own is under way.
const BROKER_KILLS: u32 = 6;

/// How long a run may take to get under way.
const BEGIN_TIME_MAX: Duration = Duration::from_secs(20);

impl Arena<'_> {
    /// Injects what `kind` is about. Answers what was submitted on the side.
    pub(super) async fn inject(&mut self, kind: Kind) -> Claims {
        let mut claims = Claims::default();
        // Producers are done before much is stored.
        if !matches!(kind, Kind::ProducerKill | Kind::SubmitKill) {
            self.stored(0.02).await;
        }
        match kind {
            Kind::WorkerKill => self.kill(Role::Worker, 8, 20..100).await,
            Kind::WorkerFreeze => self.freeze(Role::Worker).await,
            Kind::WorkerStale => self.stale().await,
            Kind::WorkerTerm => self.term(Role::Worker, 1).await,
            Kind::WorkerTermTwice => self.term(Role::Worker, 2).await,
            Kind::WorkerCrashRun => self.die(Role::Worker, RUN).await,
            Kind::WorkerCrashSettle => self.die(Role::Worker, SETTLE).await,
            Kind::WorkerCrashRetry => self.die(Role::Worker, RETRY).await,
            Kind::WorkerCrashBury => self.die(Role::Worker, BURY).await,
            Kind::WorkerCrashDrain => self.die_draining().await,
            Kind::CollectorKill => self.kill(Role::Collector, 6, 20..150).await,
            Kind::CollectorFreeze => self.freeze(Role::Collector).await,
            Kind::CollectorTerm => self.term(Role::Collector, 1).await,
            Kind::CollectorCrash => self.die(Role::Collector, COLLECTOR).await,
            Kind::StoreLocked => self.lock_store().await,
            Kind::ProducerKill | Kind::SubmitKill => self.kill_producers().await,
            Kind::ProducerCrash | Kind::SubmitCrash => {}
            Kind::BrokerKill => self.kill_broker().await,
            Kind::BrokerRestart => self.restart_broker().await,
            Kind::BrokerFreeze => self.freeze_broker().await,
            Kind::CloseConnections => self.close_connections().await,
            Kind::Alarm => self.alarm(false).await,
            Kind::AlarmCut => self.alarm(true).await,
            Kind::RepliesLost => claims = self.lose_replies().await,
            Kind::CopiedTasks => self.faults += 1,
            Kind::RepeatedReports => self.report_again(false).await,
            Kind::LateReports => self.report_again(true).await,
            Kind::Poison => self.faults += 1,
            Kind::RetryStorm => self.kill(Role::Worker, 6, 100..300).await,
            Kind::LinkCut => self.cut_links().await,
            Kind::LinkReset => self.reset_links().await,
            Kind::LinkSwallow => self.swallow_links().await,
            Kind::LinkSlow => self.slow_links().await,
            Kind::LinkRefused => self.refuse_links().await,
            Kind::Storm => self.storm().await,
        }
        claims
    }

    /// Waits until this part of the run's tasks has an outcome.
    async fn stored(&mut self, part: f64) {
        let loads = self.fleet.submissions.iter();
        let tasks: usize = loads.map(|submission| submission.load().rows.len()).sum();
        let wanted = (tasks as f64 * part) as usize;
        let began = Instant::now();
        while self.oracle.stored().await < wanted && began.elapsed() < BEGIN_TIME_MAX {
            self.fleet.pass(Duration::from_millis(10)).await;
        }
    }

    async fn pause(&mut self, ms: std::ops::Range<u64>) {
        let ms = self.chance.random_range(ms);
        self.fleet.pass(Duration::from_millis(ms)).await;
    }

    fn any(&mut self, role: Role) -> usize {
        let of = self.fleet.of(role);
        of[self.chance.random_range(0..of.len())]
    }

    /// A collector: the one that collects, three times out of four.
    fn victim(&mut self, role: Role) -> usize {
        let active = (role == Role::Collector && self.chance.random_range(0..4) > 0)
            .then(|| self.fleet.active())
            .flatten();
        active.unwrap_or_else(|| self.any(role))
    }

    async fn kill(&mut self, role: Role, times: usize, pause_ms: std::ops::Range<u64>) {
        for _ in 0..times {
            self.pause(pause_ms.clone()).await;
            let at = self.victim(role);
            self.fleet.replace(at, None).await;
            self.faults += 1;
        }
    }

    async fn freeze(&mut self, role: Role) {
        for _ in 0..3 {
            let at = self.victim(role);
            let ms = self.chance.random_range(100..700);
            self.fleet.freeze(at, Duration::from_millis(ms));
            self.faults += 1;
            self.pause(50..300).await;
        }
    }

    async fn stale(&mut self) {
        for _ in 0..2 {
            let at = self.any(Role::Worker);
            self.fleet.freeze(at, Duration::from_millis(400));
            self.pause(20..100).await;
            self.close_all();
            self.faults += 1;
            self.pause(400..600).await;
        }
    }

    async fn term(&mut self, role: Role, times: usize) {
        for _ in 0..4 {
            let at = self.victim(role);
            self.fleet.term(at, times);
            self.faults += 1;
            self.pause(50..250).await;
        }
    }

    /// Has processes die at points of a group.
    async fn die(&mut self, role: Role, points: Points) {
        for _ in 0..4 {
            let crash = self.crash(points);
            let at = self.victim(role);
            self.fleet.replace(at, Some(&crash)).await;
            self.pause(50..250).await;
        }
    }

    async fn die_draining(&mut self) {
        for _ in 0..3 {
            let crash = self.crash(DRAIN);
            let at = self.any(Role::Worker);
            self.fleet.replace(at, Some(&crash)).await;
            let id = self.fleet.members[at].process.id();
            self.pause(150..400).await;
            let mut members = self.fleet.members.iter();
            if let Some(at) = members.position(|member| member.process.id() == id) {
                self.fleet.term(at, 1);
            }
        }
    }

    async fn lock_store(&mut self) {
        for _ in 0..2 {
            let path = self.fleet.world.store_url().path().to_owned();
            let db = Connection::open(path).expect("there is a store");
            db.busy_timeout(Duration::from_secs(10)).expect("a timeout");
            let begun = block_in_place(|| db.execute_batch("BEGIN IMMEDIATE"));
            begun.expect("the store can be locked");
            self.faults += 1;
            self.pause(200..700).await;
            if self.chance.random_bool(0.7)
                && let Some(active) = self.fleet.active()
            {
                self.fleet.replace(active, None).await;
                self.faults += 1;
            }
            self.pause(10..200).await;
            drop(db);
            self.pause(50..300).await;
        }
    }

    async fn kill_producers(&mut self) {
        for _ in 0..4 {
            self.pause(20..150).await;
            for submission in &mut self.fleet.submissions {
                self.faults += u64::from(submission.kill().await);
            }
        }
    }

    async fn kill_broker(&mut self) {
        for kill in 0..BROKER_KILLS {
            // Only with something under way is there something to lose.
            if kill > 0 {
                let load = Load::mixed("more", &self.mix, &mut self.chance);
                self.begin(load, Submitter::Library, None);
            }
            self.pause(100..700).await;
            block_in_place(|| self.node.kill());
            self.broker_kills += 1;
            self.faults += 1;
            block_in_place(|| self.node.start_again());
        }
    }

    async fn restart_broker(&mut self) {
        block_in_place(|| self.node.stop());
        self.pause(0..300).await;
        block_in_place(|| self.node.start_again());
        self.faults += 1;
    }

    async fn freeze_broker(&mut self) {
        for _ in 0..2 {
            block_in_place(|| self.node.freeze());
            self.faults += 1;
            self.pause(200..1_200).await;
            block_in_place(|| self.node.thaw());
            self.pause(50..300).await;
        }
    }

    fn close_all(&self) {
        let close = "rabbit_networking:close_all_connections(\"chaos\").";
        block_in_place(|| self.node.eval(close));
    }

    async fn close_connections(&mut self) {
        for _ in 0..4 {
            self.close_all();
            self.faults += 1;
            self.pause(50..400).await;
        }
    }

    /// The broker takes nothing more, and goes on delivering.
    async fn alarm(&mut self, cut: bool) {
        for _ in 0..2 {
            block_in_place(|| self.node.alarm());
            self.faults += 1;
            self.pause(150..500).await;
            if cut {
                let blocked = "[rabbit_networking:close_connection(Pid, \"chaos\") || \
                               [{pid, Pid}, {state, blocked}] <- \
                               rabbit_networking:connection_info_all([pid, state])].";
                block_in_place(|| self.node.eval(blocked));
            } else {
                for _ in 0..2 {
                    let at = self.any(Role::Worker);
                    self.fleet.replace(at, None).await;
                }
            }
            self.faults += 1;
            self.pause(20..200).await;
            block_in_place(|| self.node.calm());
            self.pause(50..300).await;
        }
    }

    /// Somebody waits for outcomes while connections are closed.
    async fn lose_replies(&mut self) -> Claims {
        let mut claims = Claims::default();
        let kind: TaskKind = "test.sleep".parse().expect("a kind");
        let mut waiting = Vec::new();
        for _ in 0..4 {
            let key = uuid::Uuid::now_v7().to_string();
            claims.expect(id_of_key(&kind, &key), Fate::Succeeds);
            let arguments = [
                "submit",
                "test.sleep",
                r#"{"ms":150}"#,
                "--wait",
                "--key",
                &key,
            ];
            waiting.push(self.fleet.spawn("wait", HOMING, &arguments, None));
            self.pause(30..150).await;
        }
        for _ in 0..2 {
            self.pause(100..300).await;
            self.close_all();
            self.faults += 1;
        }
        for mut process in waiting {
            let began = Instant::now();
            let code = loop {
                if let Some(code) = process.has_ended() {
                    break code;
                }
                self.fleet.pass(Duration::from_millis(10)).await;
                if began.elapsed() > Duration::from_secs(60) {
                    break -1;
                }
            };
            if code != 0 {
                let said = process.stderr();
                let trouble = format!("submit --wait ended with {code}: {said}");
                self.fleet.trouble.push(trouble);
            }
        }
        claims
    }

    /// Publishes reports that are stored already: as they were, and older ones
    /// after newer ones; or, if they `lie`, with another outcome.
    async fn report_again(&mut self, lie: bool) {
        self.stored(0.3).await;
        let filter = homing_store::Filter::all();
        let last = self.oracle.store().last(&filter, 200).await;
        let records = last.expect("the store is readable").records;
        let mut reports = Vec::new();
        for record in records {
            let report = record.report;
            if lie && report.status.is_final() {
                reports.push(another(&report, Status::Failed));
            } else if !lie {
                reports.push(another(&report, Status::Retrying));
                let times = self.chance.random_range(1..=4);
                reports.extend(std::iter::repeat_n(report, times));
            }
        }
        reports.shuffle(&mut self.chance);
        let publisher = self.fleet.world.broker().publisher(Window::DEFAULT).await;
        let publisher = publisher.expect("the broker is there");
        for some in reports.chunks(20) {
            let sent = publisher.publish(message(some)).await;
            sent.expect("reports fit").await.expect("it is confirmed");
            self.faults += 1;
            self.fleet.tend();
        }
    }

    async fn cut_links(&mut self) {
        for _ in 0..6 {
            let Some(proxy) = &self.fleet.proxy else {
                return;
            };
            let passed = proxy.passed();
            let open = (0..passed.len()).filter(|at| passed[*at].open);
            let open: Vec<_> = open.collect();
            if !open.is_empty() {
                let connection = open[self.chance.random_range(0..open.len())];
                let (direction, sofar) = if self.chance.random_bool(0.5) {
                    (Direction::ToBroker, passed[connection].to_broker)
                } else {
                    (Direction::FromBroker, passed[connection].from_broker)
                };
                let after = sofar + self.chance.random_range(1..4_000);
                let how = self.how();
                let cut = Cut {
                    connection,
                    direction,
                    after,
                    how,
                };
                if let Some(proxy) = &self.fleet.proxy {
                    proxy.cut_at(cut);
                }
                self.faults += 1;
            }
            self.pause(20..150).await;
        }
    }

    fn how(&mut self) -> How {
        if self.chance.random_bool(0.5) {
            How::Reset
        } else {
            How::Close
        }
    }

    fn ways(&mut self) -> &'static [Direction] {
        match self.chance.random_range(0..3) {
            0 => Direction::BOTH,
            1 => &[Direction::ToBroker],
            _ => &[Direction::FromBroker],
        }
    }

    async fn reset_links(&mut self) {
        for _ in 0..4 {
            let how = self.how();
            if let Some(proxy) = &self.fleet.proxy {
                proxy.cut(how);
            }
            self.faults += 1;
            self.pause(50..400).await;
        }
    }

    async fn swallow_links(&mut self) {
        for _ in 0..2 {
            let ways = self.ways();
            if let Some(proxy) = &self.fleet.proxy {
                proxy.swallow(ways);
            }
            self.faults += 1;
            self.pause(100..600).await;
            if let Some(proxy) = &self.fleet.proxy {
                proxy.cut(How::Reset);
            }
            self.pause(100..400).await;
        }
    }

    async fn slow_links(&mut self) {
        for _ in 0..2 {
            let ways = self.ways();
            let delay = Duration::from_millis(self.chance.random_range(2..40));
            if let Some(proxy) = &self.fleet.proxy {
                proxy.delay(ways, delay);
                proxy.throttle(ways, Some(100_000));
            }
            self.faults += 1;
            self.pause(200..600).await;
            if let Some(proxy) = &self.fleet.proxy {
                proxy.delay(Direction::BOTH, Duration::ZERO);
                proxy.throttle(Direction::BOTH, None);
            }
            self.pause(20..100).await;
        }
    }

    async fn refuse_links(&mut self) {
        for _ in 0..2 {
            if let Some(proxy) = &self.fleet.proxy {
                proxy.refuse(true);
                proxy.cut(How::Reset);
            }
            self.faults += 1;
            self.pause(100..500).await;
            if let Some(proxy) = &self.fleet.proxy {
                proxy.refuse(false);
            }
            self.pause(50..300).await;
        }
    }

    async fn storm(&mut self) {
        for _ in 0..8 {
            let role = if self.chance.random_bool(0.7) {
                Role::Worker
            } else {
                Role::Collector
            };
            let at = self.victim(role);
            match self.chance.random_range(0..6) {
                0 => self.fleet.freeze(at, Duration::from_millis(300)),
                1 => self.fleet.term(at, 1),
                2 => self.fleet.term(at, 2),
                3 => self.close_all(),
                4 => {
                    for submission in &mut self.fleet.submissions {
                        let _done = submission.kill().await;
                    }
                }
                _ => self.fleet.replace(at, None).await,
            }
            self.faults += 1;
            self.pause(20..150).await;
        }
    }
}

/// A report that tells something else of the same task.
fn another(report: &Report, status: Status) -> Report {
    let mut other = report.clone();
    other.status = status;
    other.attempt_id = Some(AttemptId::from(uuid::Uuid::now_v7()));
    other.attempt = 1;
    (other.output, other.reason) = (None, None);
    other.error = Some("told by a liar".to_owned());
    other
}

fn message(reports: &[Report]) -> Message {
    let to = Destination::Results { key: 0 };
    let now = Timestamp::from(SystemTime::now());
    let message = encode_reports(reports, to, uuid::Uuid::now_v7().to_string(), now);
    message.expect("reports fit a message")
}
