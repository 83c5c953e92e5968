//! What rules would have made of tracks that were kept: the real [`RuleSet`], stepped over the ways of a day as over a
//! camera's frames. Pure, and the same for the same tracks. While nothing is there no frame is made up: time only passes.
//!
//! **What may differ from the camera's own hours.** Kept are points, not frames: a box is known to within a hundredth of
//! the picture, and between two points it is taken to have moved evenly, so a rule may fire a frame or two earlier or
//! later. The score of a frame that was not kept is that of the point before it, so an object that was sure enough in one
//! frame only may be missed. Tracks that stood in what a changed mask covers are still there, and what a removed mask
//! covered is not: a rehearsal draws zones, lines and rules, not masks. On the street clip of the tests the same rules
//! fire for the same objects, a tenth of a second apart at most.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::{IdSource, RuleSet, Scene, Settings};
use crate::base::geometry::{Point, RelativeBox};
use crate::base::trajectory::{LONGEST_STEP, MOVING_STEP, TrackPoint, Trajectory};
use crate::base::types::{CameraId, EventReport, Label, Severity, Track};
use crate::base::{Result, Stamp};

/// After this long without anything, what comes is new to the rules: they have forgotten all tracks.
const QUIET: Duration = Duration::from_secs(60);
/// How closely time passes while nothing is there and no event is open; schedules are by the minute.
const IDLE: Duration = Duration::from_secs(1);
/// Frames between two looks whether the answer is still wanted.
const PATIENCE: u32 = 512;
/// The shortest and the longest time between two frames.
const STEPS_MS: (i64, i64) = (50, 10_000);

/// The whole way of one object, of all pieces of its track.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// The tracker's number, and when the track began.
    pub track: u64,
    pub since_ms: i64,
    pub label: Label,
    width: u32,
    height: u32,
    /// By rising time, UTC milliseconds; at least one.
    points: Vec<(i64, TrackPoint)>,
}

/// An event that there would have been.
#[derive(Clone, Debug, PartialEq)]
pub struct Firing {
    pub rule: String,
    pub kind: String,
    pub severity: Severity,
    pub label: Label,
    /// Indices into the ways: whoever it began with, then whoever joined.
    pub ways: Vec<usize>,
    /// UTC milliseconds.
    pub at_ms: i64,
    pub end_ms: i64,
}

/// The rules to rehearse.
pub struct Draft<'a> {
    pub camera: &'a CameraId,
    pub settings: Settings<'a>,
    /// Frames a second.
    pub fps: f32,
    /// Of schedules.
    pub timezone: &'a TimeZone,
}

/// Joins pieces to ways, those that begin first coming first.
pub fn join(mut pieces: Vec<Trajectory>) -> Vec<Way> {
    pieces.sort_by_key(|p| (p.start_ms, p.track));
    let mut ways: BTreeMap<(i64, u64), Way> = BTreeMap::new();
    for piece in pieces.into_iter().filter(|p| !p.points.is_empty()) {
        let way = ways.entry((piece.since_ms, piece.track)).or_insert_with(|| Way {
            track: piece.track,
            since_ms: piece.since_ms,
            label: piece.label.clone(),
            width: piece.width,
            height: piece.height,
            points: Vec::new(),
        });
        let last = way.points.last().map_or(i64::MIN, |(ms, _)| *ms);
        let points = piece.points.iter().map(|p| (piece.start_ms + p.after.as_millis() as i64, *p));
        // The clock may have been set back between two pieces.
        way.points.extend(points.filter(|(ms, _)| *ms > last));
    }
    let mut ways: Vec<Way> = ways.into_values().filter(|w| !w.points.is_empty()).collect();
    ways.sort_by_key(|w| (w.from_ms(), w.since_ms, w.track));
    ways
}

impl Way {
    /// UTC milliseconds of the first point.
    pub fn from_ms(&self) -> i64 {
        self.points.first().map_or(0, |(ms, _)| *ms)
    }

    /// UTC milliseconds of the last point.
    pub fn to_ms(&self) -> i64 {
        self.points.last().map_or(0, |(ms, _)| *ms)
    }

    /// Where its foot went, in at most `most` points with both ends among them.
    pub fn path(&self, most: usize) -> Vec<Point> {
        let last = self.points.len() - 1;
        let wanted = self.points.len().min(most.max(2));
        let index = |n: usize| if wanted > 1 { n * last / (wanted - 1) } else { 0 };
        (0..wanted).map(|n| self.points[index(n)].1.bbox.foot()).collect()
    }
}

/// What `draft` would have made of `ways`, as [`join`] gives them, oldest first. `None` once `wanted` says that nobody
/// waits for it any more.
///
/// # Errors
/// When a rule is wrong (see [`super::check`]).
pub fn rehearse(ways: &[Way], draft: &Draft<'_>, wanted: &dyn Fn() -> bool) -> Result<Option<Vec<Firing>>> {
    let step = ((1000.0 / draft.fps.max(0.01)) as i64).clamp(STEPS_MS.0, STEPS_MS.1);
    let (ids, zone) = (IdSource::derived(b"rehearsal"), draft.timezone.clone());
    let rules = RuleSet::new(draft.camera.clone(), String::new(), zone, ids, &draft.settings)?;
    let Some(first) = ways.first() else { return Ok(Some(Vec::new())) };
    let mut stage = Stage { ways, rules, begun_ms: first.from_ms(), firings: Vec::new(), by_event: BTreeMap::new() };
    let (mut present, mut next, mut frames): (Vec<Present>, _, _) = (Vec::new(), 0, 0u32);
    let mut now_ms = first.from_ms();
    while next < ways.len() || !present.is_empty() {
        if present.is_empty() {
            let then = ways[next].from_ms();
            stage.pass(now_ms, Some(then), step);
            now_ms = now_ms.max(then);
        }
        while ways.get(next).is_some_and(|w| w.from_ms() <= now_ms) {
            present.push(Present { way: next, at: 0 });
            next += 1;
        }
        stage.frame(&mut present, now_ms, step);
        present.retain(|p| ways[p.way].to_ms() > now_ms);
        now_ms += step;
        frames += 1;
        if frames.is_multiple_of(PATIENCE) && !wanted() {
            return Ok(None);
        }
    }
    let end_ms = stage.pass(now_ms, None, step);
    Ok(Some(stage.end(end_ms)))
}

/// A way that goes on.
struct Present {
    way: usize,
    /// The last of its points that is not later than the frame at hand.
    at: usize,
}

struct Stage<'a> {
    ways: &'a [Way],
    rules: RuleSet,
    begun_ms: i64,
    firings: Vec<Firing>,
    /// Index into `firings`.
    by_event: BTreeMap<String, usize>,
}

impl Stage<'_> {
    fn stamp(&self, ms: i64) -> Stamp {
        Stamp { mono: Duration::from_millis(ms.saturating_sub(self.begun_ms).max(0) as u64), wall_ms: ms }
    }

    fn frame(&mut self, present: &mut [Present], now_ms: i64, step: i64) {
        let now = self.stamp(now_ms);
        let Some(size) = present.first().map(|p| &self.ways[p.way]) else { return };
        let (width, height) = (size.width, size.height);
        let mut tracks = Vec::with_capacity(present.len());
        for p in present {
            let way = &self.ways[p.way];
            while way.points.get(p.at + 1).is_some_and(|(ms, _)| *ms <= now_ms) {
                p.at += 1;
            }
            let Some(point) = seen(&way.points[p.at..], now_ms, step) else { continue };
            tracks.push(Track {
                // Numbers of trackers come again after a restart; those of ways do not.
                id: p.way as u64 + 1,
                label: way.label.clone(),
                bbox: point.bbox.pixels(width, height),
                score: point.score,
                first_seen: self.stamp(way.from_ms()),
                seen_now: true,
                stationary: point.stationary,
            });
        }
        let scene = Scene { now, camera_time_ms: None, width, height, tracks: &tracks, sharpness: &|_| 1.0 };
        let outcomes = self.rules.step(&scene);
        outcomes.iter().for_each(|outcome| self.hear(&outcome.report));
    }

    /// Lets the time from `from_ms` to `to_ms`, in which nothing is there, pass as far as rules can tell; without
    /// `to_ms`, until no event is open. Gives the last moment.
    fn pass(&mut self, from_ms: i64, to_ms: Option<i64>, step: i64) -> i64 {
        let mut now_ms = from_ms;
        while to_ms.is_none_or(|to| now_ms < to) {
            let open = self.rules.has_open_events();
            if !open && (to_ms.is_none() || now_ms - from_ms > QUIET.as_millis() as i64) {
                break;
            }
            let now = self.stamp(now_ms);
            self.rules.tick(now).iter().for_each(|report| self.hear(report));
            now_ms += if open { step } else { IDLE.as_millis() as i64 };
        }
        now_ms
    }

    fn hear(&mut self, report: &EventReport) {
        let ways = report.tracks.iter().map(|id| (*id as usize).saturating_sub(1));
        let index = *self.by_event.entry(report.id.clone()).or_insert_with(|| {
            self.firings.push(Firing {
                rule: report.rule.clone(),
                kind: report.kind.clone(),
                severity: report.severity,
                label: report.label.clone(),
                ways: Vec::new(),
                at_ms: report.started_at.wall_ms,
                end_ms: report.started_at.wall_ms,
            });
            self.firings.len() - 1
        });
        let firing = &mut self.firings[index];
        for way in ways {
            if !firing.ways.contains(&way) {
                firing.ways.push(way);
            }
        }
        firing.end_ms = report.ended_at.unwrap_or(report.updated_at).wall_ms;
    }

    fn end(mut self, end_ms: i64) -> Vec<Firing> {
        let now = self.stamp(end_ms);
        self.rules.end_all(now).iter().for_each(|report| self.hear(report));
        self.firings
    }
}

/// What a frame at `now_ms` had shown of an object that `points` tells of, the first being the last one before; `None`
/// when it was hidden then.
fn seen(points: &[(i64, TrackPoint)], now_ms: i64, step: i64) -> Option<TrackPoint> {
    let (from_ms, a) = points.first()?;
    let Some((to_ms, b)) = points.get(1).filter(|_| now_ms > *from_ms) else { return Some(*a) };
    let longest = if a.stationary { LONGEST_STEP } else { MOVING_STEP };
    // Points come with frames, which are late now and then.
    let longest = longest.as_millis() as i64 + (2 * step).max(500);
    if to_ms - from_ms > longest {
        return (now_ms - from_ms < step).then_some(*a);
    }
    let part = (now_ms - from_ms) as f32 / (to_ms - from_ms).max(1) as f32;
    let between = |a: f32, b: f32| a + (b - a) * part;
    let bbox = RelativeBox {
        left: between(a.bbox.left, b.bbox.left),
        top: between(a.bbox.top, b.bbox.top),
        right: between(a.bbox.right, b.bbox.right),
        bottom: between(a.bbox.bottom, b.bbox.bottom),
    };
    Some(TrackPoint { bbox, ..*a })
}
