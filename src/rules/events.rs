//! The event book: turns what rules say in each frame into events with a beginning, updates and an end.
//!
//! - Objects that enter a rule's zones while an event of that rule is young join it: one alert for one group. An event
//!   that has been open for [`JOIN`] takes nobody in any more: who comes then deserves an alert of their own.
//! - An object is alerted once by a zone rule. Whoever stays is no news: an event that has been open for [`LONGEST`]
//!   ends, and its objects start no other. A line fires at each crossing.
//! - Times inside an event run on the monotonic clock from its start, so they never go backwards; when the wall clock
//!   jumps the event says so.

use std::time::Duration;

use super::subjects::{Known, Memory, Scene};
use crate::base::Stamp;
use crate::base::geometry::RelativeBox;
use crate::base::types::{
    CameraId, Direction, EventReport, Label, NamedLine, PathPoint, Phase, Severity, SnapshotInfo, Zone,
};

/// New objects join an event of their rule for this long after it began.
const JOIN: Duration = Duration::from_secs(300);
/// An event ends after this long even if its objects stay.
const LONGEST: Duration = Duration::from_secs(3600);
/// An open event reports at least this often.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Shortest time between two pictures of one event: encoding costs more than detecting.
const PICTURE_EVERY: Duration = Duration::from_secs(1);
/// A picture is clearly better when its quality is this many times that of the picture it replaces.
const CLEARLY_BETTER: f32 = 1.25;
/// Track ids listed in an event.
const MAX_TRACKS: usize = 64;

/// What the book wants to have published.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub report: EventReport,
    /// The frame at hand is a better picture of this event than it has: make a snapshot of it and hand it to
    /// [`super::RuleSet::attach`].
    pub picture: bool,
}

/// One event that has not ended.
pub(super) struct OpenEvent {
    id: String,
    /// Name and kind of its rule.
    pub(super) rule: String,
    kind: String,
    severity: Severity,
    pub(super) started: Stamp,
    last_report: Stamp,
    last_present: Stamp,
    grace: Duration,
    pub(super) zones: Vec<Zone>,
    pub(super) line: Option<NamedLine>,
    direction: Option<Direction>,
    pub(super) objects: Vec<u64>,
    tracks: Vec<u64>,
    /// Who takes part in the frame of `last_present`.
    present: Vec<u64>,
    /// The most that took part in one frame: a tracker that loses someone and finds them again under another number makes
    /// one person two tracks, never two people at once.
    count: u32,
    best: Best,
    score: f32,
    path: Vec<PathPoint>,
    snapshot: Option<SnapshotInfo>,
    best_at: Stamp,
    last_picture: Stamp,
    suspect: bool,
    /// Something changed that is reported at once.
    news: bool,
    begun: bool,
}

/// The object in the picture.
struct Best {
    track: u64,
    label: Label,
    bbox: RelativeBox,
    quality: f32,
}

/// What every report of a camera has in common at this moment.
pub(super) struct Header<'a> {
    pub(super) camera: &'a CameraId,
    pub(super) model: &'a str,
    pub(super) config_revision: u64,
    /// Arrival of the last frame, and its camera time.
    pub(super) arrived: Stamp,
    pub(super) camera_time_ms: Option<i64>,
    /// A clock jumped or disagrees at this very frame.
    pub(super) suspect: bool,
}

/// How an event begins.
pub(super) struct Beginning<'a> {
    pub(super) id: String,
    pub(super) rule: &'a str,
    pub(super) kind: &'a str,
    pub(super) severity: Severity,
    pub(super) grace: Duration,
    pub(super) zones: Vec<Zone>,
    pub(super) line: Option<NamedLine>,
    pub(super) direction: Option<Direction>,
    pub(super) object: u64,
    pub(super) track: u64,
}

/// The events of one camera that have not ended, oldest first.
#[derive(Default)]
pub(super) struct Book {
    pub(super) open: Vec<OpenEvent>,
}

impl Book {
    /// Opens an event with one object in it.
    pub(super) fn begin(&mut self, b: Beginning<'_>, scene: &Scene<'_>, known: &Known) {
        self.open.push(OpenEvent {
            id: b.id,
            rule: b.rule.to_owned(),
            kind: b.kind.to_owned(),
            severity: b.severity,
            started: scene.now,
            last_report: scene.now,
            last_present: scene.now,
            grace: b.grace,
            zones: b.zones,
            line: b.line,
            direction: b.direction,
            objects: vec![b.object],
            tracks: vec![b.track],
            present: vec![b.object],
            count: 1,
            best: Best {
                track: b.track,
                label: known.label.clone(),
                bbox: known.bbox,
                quality: quality(known, scene, 0.0),
            },
            score: known.best_score,
            path: Vec::new(),
            snapshot: None,
            best_at: scene.now,
            last_picture: scene.now,
            suspect: false,
            news: true,
            begun: false,
        });
    }

    /// Ends what is over, looks for better pictures, and reports what is due. `scene` is `None` when only time passed.
    pub(super) fn advance(
        &mut self,
        now: Stamp,
        scene: Option<&Scene<'_>>,
        memory: &Memory,
        header: &Header<'_>,
    ) -> Vec<Outcome> {
        let mut out = Vec::new();
        self.open.retain_mut(|e| {
            e.suspect |= header.suspect;
            let ended = now.since(e.last_present) > e.grace || now.since(e.started) > LONGEST;
            if ended && e.begun {
                out.push(Outcome { report: e.report(now, Phase::Ended, memory, header), picture: false });
                return false;
            }
            let picture = !e.begun || scene.is_some_and(|s| e.look_for_better(s, memory));
            if e.news || picture || now.since(e.last_report) >= REPORT_EVERY {
                let phase = if e.begun { Phase::Updated } else { Phase::Started };
                out.push(Outcome { report: e.report(now, phase, memory, header), picture });
                e.begun = true;
            }
            true
        });
        out
    }

    /// Ends the events that `which` picks, whatever their objects do.
    pub(super) fn end(
        &mut self,
        now: Stamp,
        memory: &Memory,
        header: &Header<'_>,
        which: impl Fn(&OpenEvent) -> bool,
    ) -> Vec<EventReport> {
        let mut out = Vec::new();
        self.open.retain_mut(|e| {
            if !which(e) {
                return true;
            }
            e.suspect |= header.suspect;
            out.push(e.report(now, Phase::Ended, memory, header));
            false
        });
        out
    }

    /// Puts a picture of a frame that had arrived at `at` into `report` and its event.
    pub(super) fn attach(&mut self, report: &mut EventReport, snapshot: SnapshotInfo, at: Stamp) {
        report.snapshot = Some(snapshot.clone());
        if let Some(e) = self.open.iter_mut().find(|e| e.id == report.id) {
            e.snapshot = Some(snapshot);
            // Another stream's frame may be from a moment before or after the one that was looked at.
            e.best_at = at;
            report.best_at = e.at(at);
        }
    }

    /// No picture could be made: the next frame may try again.
    pub(super) fn picture_failed(&mut self, id: &str) {
        if let Some(e) = self.open.iter_mut().find(|e| e.id == id) {
            e.best.quality = 0.0;
        }
    }
}

impl OpenEvent {
    /// Whether a new object may still join.
    pub(super) fn takes_in(&self, now: Stamp) -> bool {
        now.since(self.started) <= JOIN
    }

    /// `object`, tracked as `track`, takes part in this frame, in `zone`.
    pub(super) fn present(&mut self, object: u64, track: u64, zone: &Zone, now: Stamp, score: f32) {
        if self.last_present != now {
            self.present.clear();
            self.last_present = now;
        }
        if !self.present.contains(&object) {
            self.present.push(object);
            self.count = self.count.max(self.present.len() as u32);
        }
        self.score = self.score.max(score);
        if !self.objects.contains(&object) {
            self.objects.push(object);
        }
        if !self.tracks.contains(&track) {
            self.tracks.push(track);
        }
        if !self.zones.iter().any(|z| z.name == zone.name) {
            self.zones.push(zone.clone());
            self.news = true;
        }
    }

    /// The rule was changed while its event was open.
    pub(super) fn set_severity(&mut self, severity: Severity) {
        self.news |= self.severity != severity;
        self.severity = severity;
    }

    fn look_for_better(&mut self, scene: &Scene<'_>, memory: &Memory) -> bool {
        if scene.now.since(self.last_picture) < PICTURE_EVERY {
            return false;
        }
        let mut found = false;
        for &track in &self.tracks {
            let Some(known) = memory.get(track).filter(|k| k.seen_now) else { continue };
            let asked = self.best.quality * if found { 1.0 } else { CLEARLY_BETTER };
            let quality = quality(known, scene, asked);
            if quality > asked {
                self.best = Best { track, label: known.label.clone(), bbox: known.bbox, quality };
                found = true;
            }
        }
        if found {
            self.best_at = scene.now;
            self.last_picture = scene.now;
        }
        found
    }

    /// `now` on the event's own time.
    fn at(&self, now: Stamp) -> Stamp {
        if now.mono < self.started.mono {
            return Stamp {
                mono: now.mono,
                wall_ms: self.started.wall_ms - self.started.since(now).as_millis() as i64,
            };
        }
        Stamp { mono: now.mono, wall_ms: self.started.wall_ms + now.since(self.started).as_millis() as i64 }
    }

    fn report(&mut self, now: Stamp, phase: Phase, memory: &Memory, header: &Header<'_>) -> EventReport {
        self.last_report = now;
        self.news = false;
        // A track that is over, or continued by another, has no way any more: keep what was known of it.
        let path = memory.path(self.best.track, self.started);
        if !path.is_empty() {
            self.path = path;
        }
        EventReport {
            id: self.id.clone(),
            camera: Some(header.camera.clone()),
            model: header.model.to_owned(),
            rule: self.rule.clone(),
            kind: self.kind.clone(),
            message: None,
            phase,
            severity: self.severity,
            started_at: self.started,
            updated_at: self.at(now),
            ended_at: (phase == Phase::Ended).then(|| self.at(now)),
            best_at: self.at(self.best_at),
            arrived_at: self.at(header.arrived),
            camera_time_ms: header.camera_time_ms,
            clock_suspect: self.suspect,
            zones: self.zones.clone(),
            line: self.line.clone(),
            direction: self.direction,
            label: self.best.label.clone(),
            score: self.score,
            count: self.count,
            tracks: self.tracks.iter().take(MAX_TRACKS).copied().collect(),
            bbox: self.best.bbox,
            path: self.path.clone(),
            snapshot: self.snapshot.clone(),
            clip: None,
            config_revision: header.config_revision,
        }
    }
}

/// How good a picture of `known` this frame is, 0..=1: sure, large, whole, sharp. Sharpness is measured only if the rest
/// could reach `asked`.
fn quality(known: &Known, scene: &Scene<'_>, asked: f32) -> f32 {
    const EDGE: f32 = 0.005;
    let b = known.bbox;
    let cut = b.left < EDGE || b.top < EDGE || b.right > 1.0 - EDGE || b.bottom > 1.0 - EDGE;
    let area = ((b.right - b.left) * (b.bottom - b.top)).clamp(0.0, 1.0);
    let without = known.score * area.sqrt() * if cut { 0.5 } else { 1.0 };
    if without <= asked {
        return 0.0;
    }
    let sharpness = (scene.sharpness)(&b.pixels(scene.width, scene.height)).clamp(0.0, 1.0);
    without * (0.5 + 0.5 * sharpness)
}
