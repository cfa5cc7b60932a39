//! Waiting in tests for what can only be looked at: other processes.

use std::time::Duration;

/// Longer than anything here may take.
pub(crate) const FAILURE_BOUND: Duration = Duration::from_secs(30);

/// Looks again and again until `holds` does.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let holds = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let held = tokio::time::timeout(FAILURE_BOUND, holds).await;
    assert!(held.is_ok(), "{what}");
}
