//! Helpers of the integration tests, one file a concern.

pub mod broker;
pub mod post;
pub mod rtsp;

use std::time::Duration;

use wardwatch::base::Clock;
use wardwatch::base::clock::SystemClock;

/// Waits until `holds`; panics when it does not come true in `seconds`. A generous limit: it is for tests that fail.
pub fn until(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let begun = SystemClock.now();
    while !holds() {
        assert!(SystemClock.now().since(begun) < Duration::from_secs(seconds), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
