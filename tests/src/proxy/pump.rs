//! One connection through the proxy.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::{Direction, How, Rule, Shared};

/// Bytes read at once.
const PIECE_BYTES: usize = 16 << 10;

/// Pieces of a throttled way per second.
const THROTTLED_PIECES: u64 = 20;

/// Passes bytes until either side ends or the connection is cut.
pub(super) async fn pump(shared: &Shared, number: usize, mut client: TcpStream) {
    let Ok(mut broker) = TcpStream::connect(&shared.target).await else {
        // Nobody there: the client sees its connection end.
        return;
    };
    for stream in [&client, &broker] {
        // Without it a piece waits for the one before to be acknowledged.
        let _same = stream.set_nodelay(true);
    }
    let how = {
        let (from_client, to_client) = client.split();
        let (from_broker, to_broker) = broker.split();
        let way = |direction| Way {
            shared,
            number,
            direction,
            changed: shared.changed.subscribe(),
        };
        tokio::select! {
            biased;
            how = cut(shared, number) => how,
            how = way(Direction::ToBroker).pass(from_client, to_broker) => how,
            how = way(Direction::FromBroker).pass(from_broker, to_client) => how,
        }
    };
    if how == How::Reset {
        for stream in [&client, &broker] {
            // An ordinary close would do where this does not.
            let _closed = stream.set_zero_linger();
        }
    }
}

/// Ends when the connection is to be cut.
async fn cut(shared: &Shared, number: usize) -> How {
    let mut changed = shared.changed.subscribe();
    loop {
        if let Some(how) = shared.state().connections[number].cut {
            return how;
        }
        if changed.changed().await.is_err() {
            return How::Close;
        }
    }
}

struct Way<'a> {
    shared: &'a Shared,
    number: usize,
    direction: Direction,
    changed: watch::Receiver<()>,
}

impl Way<'_> {
    async fn pass(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> How {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let rule = self.open().await;
            let size = size(rule);
            let Ok(count @ 1..) = from.read(&mut piece[..size]).await else {
                return self.ended().await;
            };
            // It may have been paused while nothing came.
            let rule = self.open().await;
            let (count, cut) = self.count(count);
            if !rule.delay.is_zero() {
                tokio::time::sleep(rule.delay).await;
            }
            if !self.deaf() && to.write_all(&piece[..count]).await.is_err() {
                return self.ended().await;
            }
            if let Some(how) = cut {
                return how;
            }
            if let Some(pause) = pause(rule, count) {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Waits until it is not paused.
    async fn open(&mut self) -> Rule {
        loop {
            let rule = self.shared.state().rules[self.direction.index()];
            if !rule.paused {
                return rule;
            }
            if self.changed.changed().await.is_err() {
                return rule;
            }
        }
    }

    /// Whether what comes this way goes nowhere.
    fn deaf(&self) -> bool {
        self.shared.state().connections[self.number].deaf[self.direction.index()]
    }

    /// One side ended. The other is told, unless nothing reaches it.
    async fn ended(&self) -> How {
        if self.deaf() {
            return std::future::pending().await;
        }
        How::Close
    }

    /// Takes note of `count` bytes; answers how many of them pass, and the cut
    /// that they lead to.
    fn count(&self, count: usize) -> (usize, Option<How>) {
        let mut state = self.shared.state();
        let passed = &mut state.connections[self.number].passed[self.direction.index()];
        let before = *passed;
        *passed += count as u64;
        let after = *passed;
        let due = state.cuts.iter().position(|cut| {
            cut.connection <= self.number && cut.direction == self.direction && cut.after <= after
        });
        let Some(due) = due else {
            return (count, None);
        };
        let cut = state.cuts.swap_remove(due);
        state.cuts_made += 1;
        let left = cut.after.saturating_sub(before);
        state.connections[self.number].passed[self.direction.index()] = before + left;
        let left = usize::try_from(left).unwrap_or(count).min(count);
        (left, Some(cut.how))
    }
}

fn size(rule: Rule) -> usize {
    let share = rule.bytes_per_second.map(|rate| rate / THROTTLED_PIECES);
    let share = share.and_then(|share| usize::try_from(share).ok());
    share.unwrap_or(PIECE_BYTES).clamp(1, PIECE_BYTES)
}

fn pause(rule: Rule, count: usize) -> Option<Duration> {
    let rate = rule.bytes_per_second?;
    Some(Duration::from_secs_f64(count as f64 / rate.max(1) as f64))
}
