//! A sign of life that is counted, not timed: whoever works beats it, whoever watches sees whether it goes on. It asks
//! for no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Cloneable; all clones count together.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// One more sign of life.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was beaten.
    pub fn beats(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
