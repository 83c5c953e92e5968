//! Time as a value. Logic takes a [`Stamp`] or a [`Clock`]; nothing below `app` asks the machine for the time itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One moment on both clocks: durations are computed on `mono`, stores and people see `wall_ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// `CLOCK_MONOTONIC`, comparable between the processes of one boot of the machine.
    pub mono: Duration,
    /// UTC milliseconds since 1970-01-01.
    pub wall_ms: i64,
}

impl Stamp {
    /// Monotonic time passed since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Stamp) -> Duration {
        self.mono.saturating_sub(earlier.mono)
    }

    /// The stamp `by` later on both clocks.
    pub fn plus(self, by: Duration) -> Stamp {
        Stamp { mono: self.mono + by, wall_ms: self.wall_ms + by.as_millis() as i64 }
    }
}

/// A source of time.
pub trait Clock: Send + Sync {
    /// The current moment.
    fn now(&self) -> Stamp;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that asks the machine
    fn now(&self) -> Stamp {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map(|d| d.as_millis() as i64)
            .unwrap_or(0);
        Stamp { mono: Duration::new(t.tv_sec as u64, t.tv_nsec as u32), wall_ms: wall }
    }
}

/// A clock that moves only when told to; for replay and tests.
#[derive(Clone, Debug, Default)]
pub struct SimClock(Arc<Mutex<Stamp>>);

impl SimClock {
    /// A clock standing at `start`.
    pub fn new(start: Stamp) -> Self {
        Self(Arc::new(Mutex::new(start)))
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.plus(by);
    }

    /// Sets the wall clock alone, as an NTP step would.
    pub fn set_wall(&self, wall_ms: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).wall_ms = wall_ms;
    }
}

impl Clock for SimClock {
    fn now(&self) -> Stamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
