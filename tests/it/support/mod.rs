//! Helpers of the integration tests, one file a concern.

pub mod broker;
pub mod post;
pub mod rtsp;

use std::time::Duration;

use wardwatch::base::Clock;
use wardwatch::base::clock::SystemClock;

/// Waits until `holds`; panics when it does not come true in a minute, which is long enough for busy cores.
pub fn until(what: &str, holds: impl FnMut() -> bool) {
    until_or(|| what.to_owned(), holds);
}

/// [`until`] that says at the end what it has waited for.
pub fn until_or(what: impl Fn() -> String, mut holds: impl FnMut() -> bool) {
    let begun = SystemClock.now();
    while !holds() {
        assert!(SystemClock.now().since(begun) < Duration::from_secs(60), "never: {}", what());
        std::thread::sleep(Duration::from_millis(10));
    }
}
