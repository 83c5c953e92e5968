//! Whether a worker still does its work, judged from what it says and how it counts. Pure: the time is an argument.
//!
//! A worker hangs when nothing is heard of it, when one of its threads does not get on, or when frames come and none is
//! looked at. What the node itself slept through, or spent waiting for its own disk, is no worker's fault.

use std::time::Duration;

use crate::base::Stamp;
use crate::base::types::CameraId;
use crate::wire::ipc::WorkerStats;

/// Without an input for this long the node was held up itself; it looks about once a second.
const HELD_UP: Duration = Duration::from_secs(5);
/// Loading a model and warming it up may take this long.
const STARTING: Duration = Duration::from_secs(120);
/// Frames may come for this many silences before one must have been looked at.
const IDLE_SILENCES: u32 = 2;

/// What the node sees of a worker.
pub(super) enum Input<'a> {
    /// Its detector is loaded.
    Ready,
    /// Any message was taken over, wherever it had to go.
    Heard,
    Stats(&'a WorkerStats),
    /// About once a second.
    Tick,
}

/// Why a worker must be ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hang {
    pub(super) what: String,
    /// Whose stream it hangs on, if that is known.
    pub(super) camera: Option<CameraId>,
}

/// One worker's watch, from its start to its end.
pub(super) struct Vigil {
    silence: Duration,
    ready: bool,
    looked: Duration,
    heard: Duration,
    /// Frames looked at and frames overwritten, and when the first number last changed.
    inferred: (u64, u64, Duration),
}

impl Vigil {
    /// Of a worker started `now` that may be silent for `silence`.
    pub(super) fn new(silence: Duration, now: Stamp) -> Self {
        Self { silence, ready: false, looked: now.mono, heard: now.mono, inferred: (0, 0, now.mono) }
    }

    /// Takes note of `input`; says when the worker is to be given up.
    pub(super) fn step(&mut self, input: Input<'_>, now: Stamp) -> Option<Hang> {
        let now = now.mono;
        let missed = now.saturating_sub(std::mem::replace(&mut self.looked, now));
        if missed > HELD_UP {
            self.heard = now;
            self.inferred.2 = now;
        }
        match input {
            Input::Ready => {
                self.ready = true;
                self.heard = now;
                None
            }
            Input::Heard => {
                self.heard = now;
                None
            }
            Input::Stats(stats) => {
                self.heard = now;
                self.stuck(stats).or_else(|| self.idle(stats, now))
            }
            Input::Tick => {
                let limit = if self.ready { self.silence } else { STARTING.max(self.silence) };
                let silent = now.saturating_sub(self.heard);
                let what = || format!("nothing was heard of it for {} s", silent.as_secs());
                (silent >= limit).then(|| Hang { what: what(), camera: None })
            }
        }
    }

    fn stuck(&self, stats: &WorkerStats) -> Option<Hang> {
        let late = stats.late.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds))?;
        let what = || format!("its thread `{}` has not moved for {:.0} s", late.thread, late.seconds);
        (late.seconds >= self.silence.as_secs_f32()).then(|| Hang { what: what(), camera: late.camera.clone() })
    }

    fn idle(&mut self, stats: &WorkerStats, now: Duration) -> Option<Hang> {
        let sum =
            |of: fn(&crate::base::types::CameraCounters) -> u64| stats.cameras.iter().map(|(_, c)| of(c)).sum::<u64>();
        let (inferred, replaced) = (sum(|c| c.inferred), sum(|c| c.frames_replaced));
        let (before, waiting, since) = self.inferred;
        // Only overwritten frames prove that frames come; cameras that leave take their numbers with them.
        if inferred != before || replaced <= waiting {
            self.inferred = (inferred, replaced, now);
            return None;
        }
        let idle = now.saturating_sub(since);
        let what = || format!("frames come, but its detector has looked at none for {} s", idle.as_secs());
        (idle >= self.silence * IDLE_SILENCES).then(|| Hang { what: what(), camera: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::types::CameraCounters;
    use crate::wire::ipc::LateThread;

    const SILENCE: Duration = Duration::from_secs(15);

    fn at(seconds: u64) -> Stamp {
        Stamp { mono: Duration::from_secs(seconds), wall_ms: 0 }
    }

    fn camera() -> CameraId {
        "ngo-1".parse().expect("valid")
    }

    fn counted(inferred: u64, frames_replaced: u64) -> WorkerStats {
        let counters = CameraCounters { inferred, frames_replaced, ..CameraCounters::default() };
        WorkerStats { cameras: vec![(camera(), counters)], ..WorkerStats::default() }
    }

    fn late(seconds: f32) -> WorkerStats {
        let late = vec![LateThread { thread: "decode ngo-1".into(), camera: Some(camera()), seconds }];
        WorkerStats { late, ..WorkerStats::default() }
    }

    /// A worker that became ready at 0, and the first second in which it is given up while `input` comes every second.
    fn given_up(mut input: impl FnMut(u64) -> WorkerStats) -> Option<(u64, Hang)> {
        let mut vigil = Vigil::new(SILENCE, at(0));
        assert_eq!(vigil.step(Input::Ready, at(0)), None);
        (1..120).find_map(|second| {
            let hang =
                vigil.step(Input::Stats(&input(second)), at(second)).or_else(|| vigil.step(Input::Tick, at(second)));
            hang.map(|hang| (second, hang))
        })
    }

    #[test]
    fn silence_is_a_hang_once_it_has_started() {
        let mut vigil = Vigil::new(SILENCE, at(0));
        for second in 0..60 {
            assert_eq!(vigil.step(Input::Tick, at(second)), None, "it may load its model");
        }
        vigil.step(Input::Ready, at(60));
        for second in 60..75 {
            assert_eq!(vigil.step(Input::Tick, at(second)), None, "{second}");
        }
        assert!(vigil.step(Input::Tick, at(75)).is_some_and(|h| h.what.contains("15 s")));
    }

    #[test]
    fn a_start_that_never_ends_is_a_hang() {
        let mut vigil = Vigil::new(SILENCE, at(0));
        assert_eq!((0..200).find(|s| vigil.step(Input::Tick, at(*s)).is_some()), Some(STARTING.as_secs()));
    }

    #[test]
    fn a_thread_that_stands_is_a_hang_of_its_camera_though_others_speak() {
        let (second, hang) = given_up(|second| late(second as f32)).expect("it hangs");
        assert_eq!((second, hang.camera), (15, Some(camera())));
        assert_eq!(given_up(|_| late(14.0)), None, "slow is not dead");
    }

    #[test]
    fn a_detector_that_looks_at_nothing_while_frames_come_is_a_hang() {
        let (second, hang) = given_up(|second| counted(100, second)).expect("it hangs");
        assert_eq!(second, 31);
        assert!(hang.what.contains("detector"), "{}", hang.what);
        assert_eq!(given_up(|second| counted(second, 7 * second)), None, "slow");
        assert_eq!(given_up(|_| counted(100, 50)), None, "no camera sends anything");
    }

    #[test]
    fn what_the_node_slept_through_is_nobody_s_fault() {
        let mut vigil = Vigil::new(SILENCE, at(0));
        vigil.step(Input::Ready, at(0));
        vigil.step(Input::Stats(&counted(5, 5)), at(1));
        assert_eq!(vigil.step(Input::Tick, at(100)), None, "its clock went on without it");
        assert_eq!(vigil.step(Input::Stats(&counted(5, 6)), at(101)), None);
        assert_eq!(vigil.step(Input::Heard, at(300)), None, "it waited for its disk");
        assert_eq!(vigil.step(Input::Stats(&counted(5, 9)), at(301)), None);
        assert_eq!(vigil.step(Input::Tick, at(302)), None);
    }
}
