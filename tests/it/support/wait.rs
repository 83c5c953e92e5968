//! The one place where a test lets time pass: between two looks at a condition.

use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(20);

/// Waits until `holds`; panics with `what` after `limit`.
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(STEP);
    }
}

/// [`until`] for conditions that are asked asynchronously.
pub async fn until_async<F: Future<Output = bool>>(what: &str, limit: Duration, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + limit;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(STEP).await;
    }
}
