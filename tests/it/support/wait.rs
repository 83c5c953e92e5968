//! The one place where a test lets time pass: between two looks at a condition.

use std::time::Duration;

use wardwatch::base::Clock;
use wardwatch::base::clock::SystemClock;

const STEP: Duration = Duration::from_millis(20);

/// Waits until `holds`; panics with `what` after `limit`.
pub fn until(what: &str, limit: Duration, holds: impl FnMut() -> bool) {
    until_or(|| what.to_owned(), limit, holds);
}

/// [`until`] that says only at the end what it has waited for.
pub fn until_or(what: impl Fn() -> String, limit: Duration, mut holds: impl FnMut() -> bool) {
    let begun = SystemClock.now();
    while !holds() {
        assert!(SystemClock.now().since(begun) < limit, "not within {limit:?}: {}", what());
        std::thread::sleep(STEP);
    }
}

/// [`until`] for conditions that are asked asynchronously.
pub async fn until_async<F: Future<Output = bool>>(what: &str, limit: Duration, mut holds: impl FnMut() -> F) {
    let begun = SystemClock.now();
    while !holds().await {
        assert!(SystemClock.now().since(begun) < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(STEP).await;
    }
}
