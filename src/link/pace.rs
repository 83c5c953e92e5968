//! How fast clips may go: a token bucket for the bandwidth cap, and a size of pieces that keeps one request short, so
//! that an alert never waits behind more than about a second of clip. Pure.

use std::time::Duration;

use crate::base::Stamp;
use crate::wire::link::MAX_PIECE;

/// The smallest piece, in bytes.
const LEAST: usize = 16 << 10;
/// A piece that went faster than this is followed by a larger one, a piece that took twice as long by a smaller one.
const AIM: Duration = Duration::from_millis(500);

/// The pace of one node's uploads.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Bytes a second; none: no cap.
    rate: Option<f64>,
    tokens: f64,
    filled: Stamp,
    piece: usize,
}

impl Pace {
    /// At most `kbit` kilobits a second; 0: no cap.
    pub fn new(kbit: u32, now: Stamp) -> Self {
        let rate = (kbit > 0).then(|| f64::from(kbit) * 125.0);
        Self { rate, tokens: 0.0, filled: now, piece: 4 * LEAST }
    }

    /// The size of the next piece, in bytes.
    pub fn piece(&self) -> usize {
        let half_a_second = self.rate.map_or(usize::MAX, |rate| (rate / 2.0) as usize);
        self.piece.min(half_a_second).clamp(1024, MAX_PIECE)
    }

    /// How long to wait until `bytes` may go.
    pub fn wait(&mut self, bytes: usize, now: Stamp) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        // A burst is no longer than a second: what was not used is gone.
        self.tokens = (self.tokens + now.since(self.filled).as_secs_f64() * rate).min(rate.max(bytes as f64));
        self.filled = now;
        Duration::from_secs_f64(((bytes as f64 - self.tokens) / rate).max(0.0))
    }

    /// `bytes` went, or may have gone, in `took`.
    pub fn went(&mut self, bytes: usize, took: Duration) {
        self.tokens -= bytes as f64;
        if took < AIM {
            self.piece = (self.piece * 2).min(MAX_PIECE);
        } else if took > 2 * AIM {
            self.piece = (self.piece / 2).max(LEAST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_pieces_stays_within_the_cap_and_uses_it() {
        let mut now = Stamp::default();
        let mut pace = Pace::new(800, now);
        let (mut sent, mut worst_second, mut window) = (0u64, 0u64, std::collections::VecDeque::new());
        while now.mono < Duration::from_secs(3600) {
            let piece = pace.piece();
            now = now.plus(pace.wait(piece, now) + Duration::from_micros(10));
            pace.went(piece, Duration::from_millis(3));
            sent += piece as u64;
            window.push_back((now, piece as u64));
            while window.front().is_some_and(|(at, _)| now.since(*at) > Duration::from_secs(1)) {
                window.pop_front();
            }
            worst_second = worst_second.max(window.iter().map(|(_, n)| n).sum());
        }
        let allowed = 3600 * 100_000;
        assert!(sent <= allowed + 100_000, "{sent} bytes of {allowed}");
        assert!(sent >= allowed * 98 / 100, "{sent} bytes of {allowed}");
        assert!(worst_second <= 200_000, "{worst_second} bytes within one second");
    }

    #[test]
    fn idle_time_saves_up_no_more_than_a_second() {
        let mut now = Stamp::default();
        let mut pace = Pace::new(800, now);
        now = now.plus(Duration::from_secs(600));
        let mut burst = 0;
        while pace.wait(pace.piece(), now) == Duration::ZERO {
            let piece = pace.piece();
            pace.went(piece, Duration::from_millis(3));
            burst += piece;
        }
        assert!(burst <= 100_000, "{burst}");
    }

    #[test]
    fn without_a_cap_pieces_fit_the_link() {
        let mut pace = Pace::new(0, Stamp::default());
        for _ in 0..20 {
            pace.went(pace.piece(), Duration::from_millis(20));
        }
        assert_eq!(pace.piece(), MAX_PIECE);
        for _ in 0..20 {
            pace.went(pace.piece(), Duration::from_secs(8));
        }
        assert_eq!(pace.piece(), LEAST);
        assert_eq!(pace.wait(1 << 30, Stamp::default()), Duration::ZERO);
    }
}
