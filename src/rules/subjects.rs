//! What is remembered of each object beyond the frame at hand: its best score, the way it came, and that it is the same
//! object when its tracker has lost it and found it again under another number. Somebody who loiters for a minute is
//! rarely one track.

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

/// A new track continues a lost one that was last detected at most this long ago. Shorter than the usual grace of a
/// rule, so that a stranger who is taken for someone just gone would have joined that one's event anyway.
const LINK_WITHIN: Duration = Duration::from_secs(4);
/// How far a foot may be from where it was last seen, in heights of the box: at once, for each second since, at most.
/// A person walks about 0.8 of their height in a second.
const LINK_AT_ONCE: f32 = 0.35;
const LINK_A_SECOND: f32 = 0.8;
const LINK_AT_MOST: f32 = 1.5;
/// Boxes of one object differ in height by no more than this factor in that time.
const LINK_SIZE: f32 = 1.6;

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
    /// The object it belongs to: a number of this memory's own, the same for tracks that continue each other.
    object: u64,
    pub(super) label: Label,
    pub(super) best_score: f32,
    /// Of the last frame that showed it.
    pub(super) bbox: RelativeBox,
    pub(super) score: f32,
    pub(super) seen_now: bool,
    stationary: bool,
    /// Last frame that showed it, detected or predicted.
    shown: Stamp,
    /// Where its foot was in the last frame that it was detected in, and when.
    seen: (Stamp, Point),
    /// Where its foot was first, and how far from there it has been, in heights of its box.
    origin: Point,
    moved: f32,
    trail: Trail,
}

/// All tracks of a camera.
#[derive(Default)]
pub(super) struct Memory {
    known: BTreeMap<u64, Known>,
    objects: u64,
}

impl Memory {
    /// Takes in a frame; returns the objects that are over.
    pub(super) fn update(&mut self, scene: &Scene<'_>) -> Vec<u64> {
        for known in self.known.values_mut() {
            known.seen_now = false;
        }
        // Those that are known first: only what none of them claims can be continued by a new track.
        let (old, new): (Vec<&Track>, Vec<&Track>) = scene.tracks.iter().partition(|t| self.known.contains_key(&t.id));
        for t in old {
            self.show(t, scene);
        }
        // A new track begins with a detection; a predicted one is what is left of a track that was continued.
        for t in new.into_iter().filter(|t| t.seen_now) {
            let bbox = t.bbox.relative(scene.width, scene.height);
            let known = match self.lost_like(t, &bbox, scene).and_then(|lost| self.known.remove(&lost)) {
                Some(lost) => lost,
                None => {
                    self.objects += 1;
                    Known {
                        object: self.objects,
                        label: t.label.clone(),
                        best_score: 0.0,
                        bbox,
                        score: t.score,
                        seen_now: false,
                        stationary: false,
                        shown: scene.now,
                        seen: (scene.now, bbox.foot()),
                        origin: bbox.foot(),
                        moved: 0.0,
                        trail: Trail::default(),
                    }
                }
            };
            self.known.insert(t.id, known);
            self.show(t, scene);
        }
        let mut over: Vec<u64> = Vec::new();
        self.known.retain(|_, k| {
            let keep = scene.now.since(k.shown) <= FORGET_AFTER;
            if !keep {
                over.push(k.object);
            }
            keep
        });
        over
    }

    fn show(&mut self, t: &Track, scene: &Scene<'_>) {
        let Some(known) = self.known.get_mut(&t.id) else { return };
        let bbox = t.bbox.relative(scene.width, scene.height);
        known.best_score = known.best_score.max(t.score);
        (known.bbox, known.score, known.seen_now) = (bbox, t.score, t.seen_now);
        (known.stationary, known.shown) = (t.stationary, scene.now);
        if t.seen_now {
            known.seen = (scene.now, bbox.foot());
            known.moved = known.moved.max(heights(known.origin, bbox.foot(), bbox.height(), scene));
            known.trail.push(scene.now, bbox.foot());
        }
    }

    /// The track that `t` most likely continues: not detected in this frame, of the same class and size, and last
    /// detected where `t` can have come from.
    fn lost_like(&self, t: &Track, bbox: &RelativeBox, scene: &Scene<'_>) -> Option<u64> {
        let heights_away = |k: &Known| heights(k.seen.1, bbox.foot(), bbox.height().max(k.bbox.height()), scene);
        self.known
            .iter()
            .filter(|(_, k)| !k.seen_now && k.label == t.label && scene.now.since(k.seen.0) <= LINK_WITHIN)
            .filter(|(_, k)| {
                let ratio = bbox.height() / k.bbox.height().max(1e-3);
                (1.0 / LINK_SIZE..=LINK_SIZE).contains(&ratio)
            })
            .map(|(id, k)| (*id, heights_away(k), scene.now.since(k.seen.0).as_secs_f32()))
            .filter(|(_, away, gone)| *away <= (LINK_AT_ONCE + LINK_A_SECOND * gone).min(LINK_AT_MOST))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(id, _, _)| id)
    }

    /// A track by its number.
    pub(super) fn get(&self, track: u64) -> Option<&Known> {
        self.known.get(&track)
    }

    /// An object, with the number of its track at present.
    pub(super) fn object(&self, object: u64) -> Option<(u64, &Known)> {
        self.known.iter().find(|(_, k)| k.object == object).map(|(id, k)| (*id, k))
    }

    /// The objects that this frame shows, with a label among `labels`, as rules see them.
    pub(super) fn subjects(&self, now: Stamp, labels: &[String]) -> Vec<Subject> {
        let shown = self.known.values().filter(|k| k.shown == now && labels.iter().any(|l| **l == *k.label));
        shown
            .map(|k| Subject {
                object: k.object,
                foot: k.bbox.foot(),
                height: k.bbox.height(),
                seen_now: k.seen_now,
                stationary: k.stationary,
                moved: k.moved,
            })
            .collect()
    }

    /// The way of `track`, in seconds from `start`.
    pub(super) fn path(&self, track: u64, start: Stamp) -> Vec<PathPoint> {
        self.known.get(&track).map(|k| k.trail.path(start)).unwrap_or_default()
    }
}

/// The distance between two points of the picture, in heights of a box on it.
fn heights(a: Point, b: Point, height: f32, scene: &Scene<'_>) -> f32 {
    let aspect = scene.width as f32 / scene.height.max(1) as f32;
    ((a.x - b.x) * aspect).hypot(a.y - b.y) / height.max(1e-3)
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
