//! What of a camera's stream is wanted on disk, from its mode and its events. Pure; times are monotonic.

use std::collections::HashSet;
use std::time::Duration;

use crate::config::{RecordingMode, Roll};

/// What is wanted at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Nothing,
    /// What arrives.
    All,
    /// What arrives, and what has arrived from this moment on.
    Since(Duration),
}

/// See the module.
#[derive(Debug)]
pub struct Demand {
    mode: RecordingMode,
    /// When the mode came into force: what was before it is nobody's.
    changed: Duration,
    open: HashSet<String>,
    /// Where what is wanted begins: the pre-roll of the first event of a series without a pause. How far back it really
    /// goes the ring decides.
    from: Duration,
    /// Nothing open: until then.
    until: Duration,
}

impl Demand {
    /// A camera without events, for which `mode` was always in force.
    pub fn new(mode: RecordingMode) -> Self {
        let zero = Duration::ZERO;
        Self { mode, changed: zero, open: HashSet::new(), from: zero, until: zero }
    }

    /// The mode in force.
    pub fn mode(&self) -> RecordingMode {
        self.mode
    }

    /// Puts `mode` in force.
    pub fn set_mode(&mut self, mode: RecordingMode, now: Duration) {
        if mode != self.mode {
            (self.mode, self.changed) = (mode, now);
        }
    }

    /// An event of a rule with this `roll` has begun.
    pub fn began(&mut self, event: &str, at: Duration, roll: Roll) {
        let from = at.saturating_sub(roll.pre);
        if self.open.is_empty() && at > self.until {
            self.from = from;
        }
        self.from = self.from.min(from);
        self.open.insert(event.to_owned());
    }

    /// An event has ended; its objects were last seen at `at`.
    pub fn ended(&mut self, event: &str, at: Duration, roll: Roll) {
        if self.open.remove(event) {
            self.until = self.until.max(at + roll.post);
        }
    }

    /// What is wanted of pictures that arrive at `at`.
    pub fn at(&self, at: Duration) -> Want {
        match self.mode {
            RecordingMode::Off => Want::Nothing,
            RecordingMode::Continuous => Want::All,
            RecordingMode::Events if !self.open.is_empty() || at < self.until => {
                Want::Since(self.from.max(self.changed))
            }
            RecordingMode::Events => Want::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn events_that_follow_each_other_are_one_wish() {
        let mut demand = Demand::new(RecordingMode::Events);
        assert_eq!(demand.at(s(50)), Want::Nothing);
        let roll = Roll::default();
        demand.began("a", s(100), roll);
        assert_eq!(demand.at(s(101)), Want::Since(s(95)));
        demand.began("b", s(105), roll);
        demand.ended("a", s(106), roll);
        demand.ended("never begun", s(500), roll);
        assert_eq!(demand.at(s(200)), Want::Since(s(95)), "b goes on");
        demand.ended("b", s(205), roll);
        assert_eq!((demand.at(s(214)), demand.at(s(215))), (Want::Since(s(95)), Want::Nothing));
        // Within the time after the last one it is the same wish, later another one.
        demand.began("c", s(214), roll);
        assert_eq!(demand.at(s(214)), Want::Since(s(95)));
        demand.ended("c", s(220), roll);
        demand.began("d", s(300), roll);
        assert_eq!(demand.at(s(300)), Want::Since(s(295)));
    }

    #[test]
    fn every_event_gets_what_its_own_rule_asks_for() {
        let roll = |pre, post| Roll { pre: s(pre), post: s(post) };
        let mut demand = Demand::new(RecordingMode::Events);
        demand.began("a", s(100), roll(2, 0));
        assert_eq!(demand.at(s(100)), Want::Since(s(98)));
        demand.began("b", s(100), roll(30, 60));
        assert_eq!(demand.at(s(101)), Want::Since(s(70)), "the longer one");
        demand.ended("b", s(110), roll(30, 60));
        demand.ended("a", s(120), roll(2, 0));
        assert_eq!((demand.at(s(169)), demand.at(s(170))), (Want::Since(s(70)), Want::Nothing));
    }

    #[test]
    fn nothing_from_before_a_mode_came_into_force_is_wanted() {
        let mut demand = Demand::new(RecordingMode::Off);
        demand.began("a", s(100), Roll::default());
        assert_eq!(demand.at(s(100)), Want::Nothing);
        demand.set_mode(RecordingMode::Events, s(103));
        assert_eq!(demand.at(s(104)), Want::Since(s(103)));
        demand.set_mode(RecordingMode::Events, s(110));
        assert_eq!(demand.at(s(110)), Want::Since(s(103)), "no change");
        demand.set_mode(RecordingMode::Continuous, s(111));
        assert_eq!(demand.at(s(112)), Want::All);
    }
}
