//! The decode gate: says of each access unit, before it is decoded, whether the detector needs it.

use crate::base::types::{AccessUnit, Codec};

/// Decides per unit. Pure: it sees units in order and keeps what it needs.
#[derive(Debug)]
pub struct Gate {
    interval: std::time::Duration,
    last: Option<std::time::Duration>,
}

impl Gate {
    /// A gate for a detector that wants `fps` frames a second.
    pub fn new(fps: f32) -> Self {
        Self { interval: interval(fps), last: None }
    }

    /// Goes on at another rate.
    pub fn set_fps(&mut self, fps: f32) {
        self.interval = interval(fps);
    }

    /// Whether `unit` must be decoded. A unit that others depend on always is; in a stream of keyframes only (MJPEG)
    /// those beyond the wanted rate are skipped before they cost anything.
    pub fn step(&mut self, unit: &AccessUnit) -> bool {
        if unit.params.codec != Codec::Mjpeg {
            return true;
        }
        self.due(unit.arrived.mono)
    }

    /// Whether a frame that arrived at `at` is wanted at the wanted rate; for frames that had to be decoded anyway.
    /// Keeps to the grid of the rate, so that 15 fps thinned to 5 are every third frame in spite of jitter.
    pub fn due(&mut self, at: std::time::Duration) -> bool {
        let tolerance = self.interval.mul_f32(0.25);
        match self.last {
            Some(last) if at + tolerance < last + self.interval => false,
            Some(last) => {
                let grid = last + self.interval;
                self.last = Some(if at.saturating_sub(grid) > self.interval { at } else { grid });
                true
            }
            None => {
                self.last = Some(at);
                true
            }
        }
    }
}

fn interval(fps: f32) -> std::time::Duration {
    std::time::Duration::from_secs_f32(1.0 / fps.max(0.1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fifteen_frames_a_second_thinned_to_five_are_every_third() {
        let mut gate = Gate::new(5.0);
        let jitter = [0, 9, -7, 4, -12, 11, 0, -3];
        let taken: Vec<usize> = (0..60)
            .filter(|i| {
                let ms = 1000 + (*i as i64) * 1000 / 15 + jitter[i % jitter.len()];
                gate.due(Duration::from_millis(ms as u64))
            })
            .collect();
        assert_eq!(taken.len(), 20, "{taken:?}");
    }

    #[test]
    fn another_rate_holds_from_the_next_frame_on() {
        let mut gate = Gate::new(1.0);
        let (mut before, mut after) = (0, 0);
        for ms in (0..4000).step_by(100) {
            let (fps, taken) = if ms < 2000 { (1.0, &mut before) } else { (5.0, &mut after) };
            gate.set_fps(fps);
            *taken += u32::from(gate.due(Duration::from_millis(ms)));
        }
        assert!((2..=3).contains(&before) && (9..=10).contains(&after), "{before} {after}");
    }

    #[test]
    fn after_a_pause_the_next_frame_is_taken_and_no_burst_follows() {
        let mut gate = Gate::new(5.0);
        let times = [0u64, 200, 400, 9000, 9066, 9133, 9200];
        let taken: Vec<u64> = times.into_iter().filter(|t| gate.due(Duration::from_millis(*t))).collect();
        assert_eq!(taken, [0, 200, 400, 9000, 9200]);
    }
}
