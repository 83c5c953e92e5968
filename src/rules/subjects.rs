//! What is remembered of each track beyond the frame at hand: its best score and the way it came.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Subject;
use crate::base::Stamp;
use crate::base::geometry::{PixelBox, Point, RelativeBox};
use crate::base::types::{Label, PathPoint, Track};

/// A track that no frame has shown for this long is over: trackers hide a lost track and may bring it back.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// Points kept of a way. A longer way is thinned out.
const MAX_TRAIL: usize = 64;
/// An event's path begins this long before its start.
const BEFORE: Duration = Duration::from_secs(30);

/// One frame with the tracks as they stand after it.
pub struct Scene<'a> {
    /// When the frame had arrived.
    pub now: Stamp,
    /// That frame's time by the camera's clock, UTC milliseconds.
    pub camera_time_ms: Option<i64>,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    pub tracks: &'a [Track],
    /// How sharp the picture is within a box of this frame, 0..=1. Asked only when a better snapshot is at stake.
    pub sharpness: &'a dyn Fn(&PixelBox) -> f32,
}

/// A track as remembered.
pub(super) struct Known {
    pub(super) label: Label,
    pub(super) best_score: f32,
    /// Of the last frame that showed it.
    pub(super) bbox: RelativeBox,
    pub(super) score: f32,
    pub(super) seen_now: bool,
    stationary: bool,
    last: Stamp,
    trail: Trail,
}

/// All tracks of a camera.
#[derive(Default)]
pub(super) struct Memory {
    known: BTreeMap<u64, Known>,
}

impl Memory {
    /// Takes in a frame; returns the tracks that are over.
    pub(super) fn update(&mut self, scene: &Scene<'_>) -> Vec<u64> {
        for known in self.known.values_mut() {
            known.seen_now = false;
        }
        for t in scene.tracks {
            let bbox = t.bbox.relative(scene.width, scene.height);
            let known = self.known.entry(t.id).or_insert_with(|| Known {
                label: t.label.clone(),
                best_score: 0.0,
                bbox,
                score: t.score,
                seen_now: false,
                stationary: false,
                last: scene.now,
                trail: Trail::default(),
            });
            known.best_score = known.best_score.max(t.score);
            (known.bbox, known.score, known.seen_now) = (bbox, t.score, t.seen_now);
            (known.stationary, known.last) = (t.stationary, scene.now);
            if t.seen_now {
                known.trail.push(scene.now, bbox.foot());
            }
        }
        let mut over: Vec<u64> = Vec::new();
        self.known.retain(|id, k| {
            let keep = scene.now.since(k.last) <= FORGET_AFTER;
            if !keep {
                over.push(*id);
            }
            keep
        });
        over
    }

    pub(super) fn get(&self, track: u64) -> Option<&Known> {
        self.known.get(&track)
    }

    /// The tracks that this frame shows, with a label among `labels`, as rules see them.
    pub(super) fn subjects(&self, now: Stamp, labels: &[String]) -> Vec<Subject> {
        let shown = self.known.iter().filter(|(_, k)| k.last == now && labels.iter().any(|l| **l == *k.label));
        shown
            .map(|(id, k)| Subject {
                track: *id,
                foot: k.bbox.foot(),
                height: k.bbox.height(),
                seen_now: k.seen_now,
                stationary: k.stationary,
            })
            .collect()
    }

    /// The way of `track`, in seconds from `start`.
    pub(super) fn path(&self, track: u64, start: Stamp) -> Vec<PathPoint> {
        self.known.get(&track).map(|k| k.trail.path(start)).unwrap_or_default()
    }
}

/// A way of bounded length: when it is full, every other point of it goes and the next ones come half as often.
struct Trail {
    points: Vec<(Stamp, Point)>,
    every: Duration,
}

impl Default for Trail {
    fn default() -> Self {
        Self { points: Vec::new(), every: Duration::from_millis(200) }
    }
}

impl Trail {
    fn push(&mut self, now: Stamp, at: Point) {
        if self.points.last().is_some_and(|(last, _)| now.since(*last) < self.every) {
            return;
        }
        if self.points.len() == MAX_TRAIL {
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.every *= 2;
        }
        self.points.push((now, at));
    }

    fn path(&self, start: Stamp) -> Vec<PathPoint> {
        let recent = self.points.iter().filter(|(at, _)| start.since(*at) <= BEFORE);
        recent
            .map(|(at, p)| {
                let seconds = at.since(start).as_secs_f32() - start.since(*at).as_secs_f32();
                PathPoint { seconds, at: *p }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_way_stays_short_and_keeps_its_beginning() {
        let mut trail = Trail::default();
        let mut now = Stamp::default();
        for i in 0..50_000 {
            trail.push(now, Point::new(i as f32, 0.0));
            now = now.plus(Duration::from_millis(100));
        }
        let path = trail.path(Stamp::default());
        assert!((MAX_TRAIL / 2..=MAX_TRAIL).contains(&path.len()), "{}", path.len());
        assert_eq!(path[0].at.x, 0.0);
        assert!(path.windows(2).all(|w| w[0].seconds < w[1].seconds));
    }

    #[test]
    fn a_path_is_relative_to_its_event_and_begins_shortly_before_it() {
        let mut trail = Trail::default();
        let start = Stamp::default().plus(Duration::from_secs(100));
        for s in [10, 80, 99, 101] {
            trail.push(Stamp::default().plus(Duration::from_secs(s)), Point::new(0.0, 0.0));
        }
        let seconds: Vec<f32> = trail.path(start).iter().map(|p| p.seconds).collect();
        assert_eq!(seconds, [-20.0, -1.0, 1.0]);
    }
}
