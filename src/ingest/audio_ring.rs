//! The last of one stream's sound, bounded in bytes, beside the ring of its pictures: readers of pictures never meet it.
//! The recorder asks it for what belongs to a stretch of time; the writer never waits.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::Stamp;
use crate::base::audio::AudioUnit;
use crate::base::types::AccessUnit;

/// A minute of what cameras send, and more of what is made of G.711.
const LIMIT: usize = 1 << 20;
/// Sound that is this much behind the pictures is waited for before they are recorded, and no longer: what comes later
/// than that goes without.
const PATIENCE: Duration = Duration::from_millis(600);
/// Sound that has not come for so long has stopped, and is not waited for at all.
const STOPPED: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Kept {
    units: VecDeque<AudioUnit>,
    bytes: usize,
    closed: bool,
}

/// See the module.
#[derive(Default)]
pub struct AudioRing {
    kept: Mutex<Kept>,
    changed: Condvar,
}

impl AudioRing {
    // A std mutex: held for a few pushes, never across I/O.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a unit; the oldest leave when it is too much.
    pub fn push(&self, unit: AudioUnit) {
        let mut kept = self.lock();
        kept.bytes += unit.data.len();
        kept.units.push_back(unit);
        while kept.bytes > LIMIT {
            let Some(oldest) = kept.units.pop_front() else { break };
            kept.bytes -= oldest.data.len();
        }
        drop(kept);
        self.changed.notify_all();
    }

    /// Nobody waits any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// What `connection` has sent that begins from `from` until before `to`.
    pub fn between(&self, connection: u64, from: Duration, to: Duration) -> Vec<AudioUnit> {
        let wanted = |u: &&AudioUnit| u.connection == connection && u.pts >= from && u.pts < to;
        self.lock().units.iter().filter(wanted).cloned().collect()
    }

    /// Waits, but not long, for the sound of the time before `picture`.
    pub fn wait_for(&self, picture: &AccessUnit, now: Stamp) {
        let kept = self.lock();
        let patience = kept.patience(picture, now);
        if !patience.is_zero() {
            let behind = |k: &mut Kept| !k.patience(picture, now).is_zero();
            drop(self.changed.wait_timeout_while(kept, patience, behind));
        }
    }
}

impl Kept {
    /// How long the sound before `picture` is to be waited for; zero when it is there, or will not come.
    fn patience(&self, picture: &AccessUnit, now: Stamp) -> Duration {
        let newest = self.units.back().filter(|u| u.connection == picture.connection && !self.closed);
        let behind = newest.is_some_and(|n| n.end() < picture.pts && now.since(n.arrived) <= STOPPED);
        if behind { PATIENCE.saturating_sub(now.since(picture.arrived)) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::base::audio::AudioParams;
    use crate::base::types::{Codec, StreamParams};

    fn unit(connection: u64, ms: u64, bytes: usize) -> AudioUnit {
        let params = Arc::new(AudioParams::parse(&[0x15, 0x88]).expect("AAC"));
        let arrived = Stamp { mono: Duration::from_millis(ms), wall_ms: 0 };
        AudioUnit { pts: Duration::from_millis(ms), arrived, connection, params, data: vec![0; bytes].into() }
    }

    #[test]
    fn it_gives_what_one_connection_sent_in_a_stretch_of_time_and_stays_small() {
        let ring = AudioRing::default();
        for n in 0..10 {
            ring.push(unit(1, n * 128, 30));
        }
        ring.push(unit(2, 128, 30));
        let ms = Duration::from_millis;
        let found = |connection, from, to| {
            let units = ring.between(connection, ms(from), ms(to));
            units.iter().map(|u| u.pts.as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(found(1, 128, 385), [128, 256, 384]);
        assert_eq!(found(2, 0, 9999), [128]);
        ring.push(unit(2, 256, LIMIT - 40));
        assert_eq!((found(1, 0, 9999), found(2, 0, 9999)), (vec![], vec![128, 256]));
    }

    #[test]
    fn what_has_stopped_or_is_too_late_is_not_waited_for() {
        let ring = AudioRing::default();
        let at = |ms| Stamp { mono: Duration::from_millis(ms), wall_ms: 0 };
        let params = StreamParams { codec: Codec::H264, width: 0, height: 0, fps: 0.0, caps: String::new() };
        let picture = AccessUnit {
            seq: 0,
            connection: 1,
            pts: Duration::from_secs(10),
            keyframe: true,
            arrived: at(10_000),
            camera_time_ms: None,
            params: Arc::new(params),
            data: Bytes::new(),
        };
        let patience = |ms| ring.lock().patience(&picture, at(ms)).as_millis();
        assert_eq!(patience(10_000), 0, "there is none");
        ring.push(unit(1, 8_000, 30));
        assert_eq!(patience(10_000), 0, "it has stopped");
        ring.push(unit(1, 9_700, 30));
        assert_eq!([10_000, 10_200, 10_700].map(patience), [600, 400, 0]);
        ring.push(unit(2, 9_700, 30));
        assert_eq!(patience(10_000), 0, "another connection's is none of this one's");
        ring.push(unit(1, 9_900, 30));
        assert_eq!(patience(10_000), 0, "it is there");
        ring.push(unit(1, 9_800, 30));
        ring.close();
        assert_eq!(patience(10_000), 0, "nobody waits any more");
    }
}
