//! Waits until all is quiet, and asks the oracle.

use std::time::{Duration, Instant};

use super::fleet::Fleet;
use crate::oracle::{Claims, Findings, Oracle};

/// How often the store is looked at.
const LOOK: Duration = Duration::from_millis(15);

/// Lets everybody go on until every load is submitted, every task has its
/// outcome and every queue is empty, or until nothing has changed for
/// `patience`; then asks the oracle.
///
/// The loads are over then, and what was submitted `aside` of them.
pub async fn settle(
    fleet: &mut Fleet,
    oracle: &mut Oracle,
    aside: &Claims,
    patience: Duration,
) -> (Claims, Findings) {
    let stuck = wait(fleet, oracle, aside, patience).await;
    let mut claims = aside.clone();
    for submission in &mut fleet.submissions {
        submission.claim(&mut claims);
    }
    let mut findings = oracle.check(&claims).await;
    if let Some(stuck) = stuck {
        findings.add("I6", stuck);
        // Else none waited for a moment. What is in a worker then may go to another
        // queue the next, and is seen after the next load if it stays there.
        fleet.world.check_queues(&mut findings).await;
    }
    for trouble in std::mem::take(&mut fleet.trouble) {
        findings.add("I6", trouble);
    }
    if findings.is_clean() {
        fleet.submissions.iter().for_each(|each| each.forget());
    }
    fleet.submissions.clear();
    (claims, findings)
}

/// Waits until all is quiet; answers what is not.
async fn wait(
    fleet: &mut Fleet,
    oracle: &mut Oracle,
    aside: &Claims,
    patience: Duration,
) -> Option<String> {
    let mut claims: Option<Claims> = None;
    let (mut last, mut since) = (String::new(), Instant::now());
    loop {
        fleet.pass(LOOK).await;
        let submitted = fleet.submissions.iter().filter(|each| each.is_done());
        let submitted = submitted.count();
        if claims.is_none() && submitted == fleet.submissions.len() {
            let mut all = aside.clone();
            for submission in &mut fleet.submissions {
                submission.claim(&mut all);
            }
            claims = Some(all);
        }
        let closed = match &claims {
            Some(claims) => oracle.closed(claims).await,
            None => oracle.stored().await,
        };
        let all = match &claims {
            // The record that seals a batch may still be in a collector.
            Some(claims) => closed == claims.confirmed() && oracle.are_sealed(claims).await,
            None => false,
        };
        let waiting = if all {
            fleet.world.waiting().await
        } else {
            Vec::new()
        };
        if all && waiting.is_empty() {
            return None;
        }
        // What is new, as far as it shows.
        let state = format!("{submitted} loads submitted, {closed} tasks closed, {waiting:?}");
        if state != last {
            (last, since) = (state, Instant::now());
        }
        if since.elapsed() > patience {
            return Some(format!("nothing goes on any more: {last}"));
        }
    }
}
