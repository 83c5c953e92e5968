//! Tracks in, trajectories out: thins the way of each object to what is worth keeping. Pure; who calls it decides when
//! pieces are cut.

use std::collections::BTreeMap;

use crate::base::Stamp;
use crate::base::geometry::RelativeBox;
use crate::base::trajectory::{LONGEST_STEP, MOVING_STEP, TrackPoint, Trajectory};
use crate::base::types::Track;

/// A point is worth keeping when an edge has moved by this part of the picture: detectors tremble by less.
const MOVED: f32 = 0.01;

/// The ways of one camera's objects since they were last taken.
#[derive(Default)]
pub struct Trajectories {
    /// By the tracker's number; those that are over, too.
    pieces: BTreeMap<u64, Piece>,
}

struct Piece {
    kept: Trajectory,
    begun: Stamp,
    /// Where it was seen last, if that was not kept.
    latest: Option<TrackPoint>,
}

impl Trajectories {
    /// Takes in one frame of `width` × `height` pixels with its tracks. Only what was detected in it counts.
    pub fn step(&mut self, tracks: &[Track], width: u32, height: u32, now: Stamp) {
        for track in tracks.iter().filter(|t| t.seen_now) {
            let piece = self.pieces.entry(track.id).or_insert_with(|| Piece::new(track, width, height, now));
            piece.see(TrackPoint {
                after: now.since(piece.begun),
                bbox: track.bbox.relative(width, height),
                score: track.score,
                stationary: track.stationary,
            });
        }
    }

    /// What came together since the last time, oldest tracks first. Tracks that live on go on in a new piece.
    pub fn take(&mut self) -> Vec<Trajectory> {
        std::mem::take(&mut self.pieces).into_values().map(Piece::end).collect()
    }
}

impl Piece {
    fn new(track: &Track, width: u32, height: u32, now: Stamp) -> Self {
        let kept = Trajectory {
            track: track.id,
            since_ms: track.first_seen.wall_ms,
            label: track.label.clone(),
            start_ms: now.wall_ms,
            width,
            height,
            points: Vec::new(),
        };
        Self { kept, begun: now, latest: None }
    }

    fn see(&mut self, point: TrackPoint) {
        let Some(last) = self.kept.points.last() else { return self.kept.points.push(point) };
        let longest = if point.stationary { LONGEST_STEP } else { MOVING_STEP };
        let since = point.after.saturating_sub(last.after);
        if since >= longest || point.stationary != last.stationary || has_moved(&last.bbox, &point.bbox) {
            self.kept.points.push(point);
            self.latest = None;
        } else {
            self.latest = Some(point);
        }
    }

    fn end(mut self) -> Trajectory {
        self.kept.points.extend(self.latest);
        self.kept
    }
}

fn has_moved(a: &RelativeBox, b: &RelativeBox) -> bool {
    [a.left - b.left, a.top - b.top, a.right - b.right, a.bottom - b.bottom].iter().any(|d| d.abs() >= MOVED)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::geometry::PixelBox;

    fn at(ms: u64) -> Stamp {
        Stamp { wall_ms: 1_000_000, ..Stamp::default() }.plus(Duration::from_millis(ms))
    }

    fn track(left: f32, stationary: bool, seen_now: bool) -> Track {
        Track {
            id: 3,
            label: "person".into(),
            bbox: PixelBox { left, top: 100.0, width: 40.0, height: 100.0 },
            score: 0.7,
            first_seen: at(0),
            seen_now,
            stationary,
        }
    }

    #[test]
    fn what_stands_still_costs_little_and_where_it_was_last_is_known() {
        let mut all = Trajectories::default();
        for i in 0..600 {
            // It trembles by two pixels.
            all.step(&[track(200.0 + (i % 2 * 2) as f32, i >= 50, true)], 640, 360, at(i * 200));
        }
        let [piece] = &all.take()[..] else { panic!("one track") };
        let moving = 10 + 1;
        assert_eq!(piece.points.len(), moving + 109_800 / 5000 + 1);
        assert_eq!(piece.points.last().map(|p| p.after), Some(Duration::from_millis(599 * 200)));
        let longest = piece.points.windows(2).map(|w| w[1].after - w[0].after).max();
        assert_eq!(longest, Some(LONGEST_STEP));
    }

    #[test]
    fn what_moves_is_known_to_within_a_hundredth_of_the_picture() {
        let mut all = Trajectories::default();
        let seen: Vec<f32> = (0..100u8).map(|i| f32::from(i) * 5.0).collect();
        for (i, left) in seen.iter().enumerate() {
            all.step(
                &[track(*left, false, true), Track { id: 9, ..track(0.0, false, false) }],
                640,
                360,
                at(i as u64 * 100),
            );
        }
        let [piece] = &all.take()[..] else { panic!("what was only predicted is no track") };
        assert_eq!((piece.track, piece.since_ms, piece.start_ms), (3, 1_000_000, 1_000_000));
        for (i, left) in seen.iter().enumerate() {
            let before = piece.points.iter().rfind(|p| p.after <= Duration::from_millis(i as u64 * 100));
            let off = before.map(|p| (p.bbox.left - left / 640.0).abs());
            assert!(off.is_some_and(|o| o < MOVED), "{i}: {off:?}");
        }
    }

    #[test]
    fn a_piece_ends_where_it_is_taken_and_the_track_goes_on_in_the_next() {
        let mut all = Trajectories::default();
        for i in 0..20 {
            all.step(&[track(200.0, false, true)], 640, 360, at(i * 100));
            if i == 9 {
                assert_eq!(all.take()[0].end_ms(), 1_000_900);
            }
        }
        let [piece] = &all.take()[..] else { panic!("one track") };
        assert_eq!((piece.since_ms, piece.start_ms, piece.end_ms()), (1_000_000, 1_001_000, 1_001_900));
        assert_eq!(all.take(), []);
    }
}
