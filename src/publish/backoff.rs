//! How long to wait before the next connection: 1 to 30 s, doubling, with jitter so that the nodes of a ward do not come
//! back all at once. Pure: the same seed gives the same waits.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(30);
/// After a connection that worked: most often the broker was merely restarted.
const AT_ONCE: Duration = Duration::from_millis(250);

/// The waits of one connection's attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    attempt: u32,
    random: u64,
}

impl Backoff {
    /// Jitter follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { attempt: 0, random: seed | 1 }
    }

    /// The next wait, longer each time.
    pub fn next_wait(&mut self) -> Duration {
        let full = match self.attempt {
            0 => AT_ONCE,
            n => FIRST.saturating_mul(1 << (n - 1).min(10)).min(LAST),
        };
        self.attempt += 1;
        // xorshift64; half of the wait is fixed, half is random.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        full / 2 + full.mul_f64(0.5 * (self.random >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// The connection worked.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_half_a_minute_and_stay_there() {
        let mut backoff = Backoff::new(7);
        let waits: Vec<Duration> = (0..12).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] < FIRST, "the first attempt is quick");
        assert!(waits[1..].iter().all(|w| *w >= FIRST / 2 && *w <= LAST), "{waits:?}");
        assert!(waits[8..].iter().all(|w| *w >= LAST / 2), "{waits:?}");
        backoff.reset();
        assert!(backoff.next_wait() < FIRST);
    }
}
