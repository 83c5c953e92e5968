//! The GOP ring: the last seconds of one stream's encoded access units, bounded in bytes. Readers hold a cursor; a
//! reader that is too slow loses whole groups of pictures and is told how many units, the writer never waits.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::Stamp;
use crate::base::types::AccessUnit;

/// The ring itself: no locks, no clock.
#[derive(Debug)]
pub struct GopRing {
    units: VecDeque<AccessUnit>,
    bytes: usize,
    limit: usize,
    next_seq: u64,
    /// Nothing can be decoded before the next keyframe.
    awaiting_keyframe: bool,
    evicted_gops: u64,
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// The next unit and how many the reader missed before it.
    Unit { unit: T, missed: u64 },
    /// Nothing new.
    Empty,
    /// The stream is over.
    Closed,
}

impl GopRing {
    /// A ring of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { units: VecDeque::new(), bytes: 0, limit, next_seq: 0, awaiting_keyframe: true, evicted_gops: 0 }
    }

    /// Adds a unit and gives it its sequence number; false if it was useless (no keyframe came before it).
    pub fn push(&mut self, mut unit: AccessUnit) -> bool {
        unit.seq = self.next_seq;
        self.next_seq += 1;
        if self.awaiting_keyframe && !unit.keyframe {
            return false;
        }
        self.awaiting_keyframe = false;
        self.bytes += unit.data.len();
        self.units.push_back(unit);
        while self.bytes > self.limit {
            self.evict_oldest_gop();
        }
        true
    }

    /// Says that what follows does not continue what came before (a new connection).
    pub fn discontinue(&mut self) {
        self.awaiting_keyframe = true;
    }

    fn evict_oldest_gop(&mut self) {
        self.evicted_gops += 1;
        let mut first = true;
        while self.units.front().is_some_and(|u| first || !u.keyframe) {
            first = false;
            if let Some(unit) = self.units.pop_front() {
                self.bytes -= unit.data.len();
            }
        }
        // One group larger than the whole ring: its rest could not be decoded either.
        if self.units.is_empty() {
            self.awaiting_keyframe = true;
        }
    }

    /// The unit at or after `cursor`. After a loss it is a keyframe, so that decoding can go on.
    pub fn read(&self, cursor: u64) -> Read<AccessUnit> {
        let start = self.units.partition_point(|u| u.seq < cursor);
        let Some(first) = self.units.get(start) else {
            return Read::Empty;
        };
        if first.seq == cursor {
            return Read::Unit { unit: first.clone(), missed: 0 };
        }
        match self.units.range(start..).find(|u| u.keyframe) {
            Some(unit) => Read::Unit { unit: unit.clone(), missed: unit.seq - cursor },
            None => Read::Empty,
        }
    }

    /// Everything needed to decode the picture nearest to `at`: from its keyframe up to it.
    pub fn gop_at(&self, at: Stamp) -> Vec<AccessUnit> {
        let nearest =
            self.units.iter().enumerate().min_by_key(|(_, u)| u.arrived.mono.abs_diff(at.mono)).map(|(index, _)| index);
        let Some(nearest) = nearest else { return Vec::new() };
        let keyframe = (0..=nearest).rev().find(|i| self.units[*i].keyframe).unwrap_or(nearest);
        self.units.range(keyframe..=nearest).cloned().collect()
    }

    /// The last keyframe that had arrived by `at`, or the first there is: where to read from to have everything since.
    pub fn seek(&self, at: Duration) -> Option<u64> {
        let mut keyframes = self.units.iter().filter(|u| u.keyframe);
        let first = keyframes.next()?;
        Some(keyframes.take_while(|u| u.arrived.mono <= at).last().unwrap_or(first).seq)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Groups of pictures dropped to stay within the limit.
    pub fn evicted_gops(&self) -> u64 {
        self.evicted_gops
    }
}

/// A ring between the thread that receives and those that read.
pub struct SharedRing {
    state: Mutex<(GopRing, bool)>,
    changed: Condvar,
}

impl SharedRing {
    /// An open ring of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { state: Mutex::new((GopRing::new(limit), false)), changed: Condvar::new() }
    }

    // A std mutex: held for a few pushes, never across I/O.
    fn lock(&self) -> MutexGuard<'_, (GopRing, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`GopRing::push`]. Wakes the readers.
    pub fn push(&self, unit: AccessUnit) -> bool {
        let kept = self.lock().0.push(unit);
        if kept {
            self.changed.notify_all();
        }
        kept
    }

    /// See [`GopRing::discontinue`].
    pub fn discontinue(&self) {
        self.lock().0.discontinue();
    }

    /// No more units will come; readers see [`Read::Closed`] after the last.
    pub fn close(&self) {
        self.lock().1 = true;
        self.changed.notify_all();
    }

    /// The unit at or after `cursor`, waiting at most `timeout` for it.
    pub fn read(&self, cursor: u64, timeout: Duration) -> Read<AccessUnit> {
        let state = self.lock();
        let waiting = |s: &mut (GopRing, bool)| !s.1 && matches!(s.0.read(cursor), Read::Empty);
        let (state, _) =
            self.changed.wait_timeout_while(state, timeout, waiting).unwrap_or_else(PoisonError::into_inner);
        match state.0.read(cursor) {
            Read::Empty if state.1 => Read::Closed,
            read => read,
        }
    }

    /// See [`GopRing::gop_at`].
    pub fn gop_at(&self, at: Stamp) -> Vec<AccessUnit> {
        self.lock().0.gop_at(at)
    }

    /// See [`GopRing::seek`].
    pub fn seek(&self, at: Duration) -> Option<u64> {
        self.lock().0.seek(at)
    }

    /// See [`GopRing::evicted_gops`].
    pub fn evicted_gops(&self) -> u64 {
        self.lock().0.evicted_gops()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::base::types::{Codec, StreamParams};

    fn unit(keyframe: bool, bytes: usize, ms: u64) -> AccessUnit {
        let params = StreamParams { codec: Codec::H264, width: 0, height: 0, fps: 0.0, caps: String::new() };
        AccessUnit {
            seq: 0,
            connection: 0,
            pts: Duration::from_millis(ms),
            keyframe,
            arrived: Stamp { mono: Duration::from_millis(ms), wall_ms: ms as i64 },
            camera_time_ms: None,
            params: Arc::new(params),
            data: Bytes::from(vec![0; bytes]),
        }
    }

    #[test]
    fn the_picture_nearest_to_an_event_comes_with_its_keyframe() {
        let mut ring = GopRing::new(1 << 20);
        for i in 0..40u64 {
            ring.push(unit(i % 10 == 0, 100, i * 100));
        }
        let at = Stamp { mono: Duration::from_millis(2340), wall_ms: 0 };
        let seqs: Vec<u64> = ring.gop_at(at).iter().map(|u| u.seq).collect();
        assert_eq!(seqs, [20, 21, 22, 23]);
    }

    #[test]
    fn reading_from_a_moment_begins_at_the_keyframe_before_it() {
        let mut ring = GopRing::new(1 << 20);
        assert_eq!(ring.seek(Duration::ZERO), None);
        for i in 5..40u64 {
            ring.push(unit(i % 10 == 0, 100, i * 100));
        }
        let at = |ms| ring.seek(Duration::from_millis(ms));
        assert_eq!([at(0), at(1999), at(2000), at(99_000)], [Some(5), Some(5), Some(15), Some(25)]);
    }

    #[test]
    fn a_group_larger_than_the_ring_is_let_go_until_the_next_keyframe() {
        let mut ring = GopRing::new(1000);
        assert!(ring.push(unit(true, 900, 0)));
        assert!(ring.push(unit(false, 200, 100)));
        assert!(!ring.push(unit(false, 200, 200)), "its keyframe is gone");
        assert!(ring.push(unit(true, 500, 300)));
        assert_eq!((ring.bytes(), ring.evicted_gops()), (500, 1));
        assert!(matches!(ring.read(0), Read::Unit { missed: 3, .. }));
    }

    proptest! {
        #[test]
        fn a_reader_of_any_speed_sees_order_and_restarts_at_keyframes(
            pushes in prop::collection::vec((any::<bool>(), 1usize..400, 0usize..4), 1..200), limit in 400usize..3000,
        ) {
            let mut ring = GopRing::new(limit);
            let (mut cursor, mut ms) = (0u64, 0);
            for (keyframe, bytes, reads) in pushes {
                ms += 40;
                ring.push(unit(keyframe, bytes, ms));
                prop_assert!(ring.bytes() <= limit);
                for _ in 0..reads {
                    if let Read::Unit { unit, missed } = ring.read(cursor) {
                        prop_assert_eq!(unit.seq, cursor + missed);
                        prop_assert!(missed == 0 || unit.keyframe);
                        cursor = unit.seq + 1;
                    }
                }
            }
        }
    }
}
