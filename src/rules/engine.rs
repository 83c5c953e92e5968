//! All rules of one camera: feeds each the objects it cares about, while its schedule is open, and the event book with
//! what they say.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::events::{Beginning, Book, Header, Outcome};
use super::subjects::{Memory, Scene};
use super::{Built, IdSource, Look, Places, Schedule, Signal, build};
use crate::base::types::{CameraId, Direction, EventReport, NamedLine, SnapshotInfo, Zone};
use crate::base::{Result, Stamp};
use crate::config::RuleConfig;

/// The wall clock jumped when it and the monotonic clock disagree by more than this from one frame to the next.
const JUMP: Duration = Duration::from_secs(2);
/// A camera's clock is wrong when it is off by more than this.
const CAMERA_OFF: Duration = Duration::from_secs(60);
/// A crossing waits this long for its object to become sure enough.
const PENDING: Duration = Duration::from_secs(3);

/// What a camera's rules are made of.
pub struct Settings<'a> {
    pub config_revision: u64,
    pub zones: &'a [Zone],
    pub lines: &'a [NamedLine],
    pub rules: &'a [RuleConfig],
}

/// The rules of one camera and their events. Frames come in the order of time.
pub struct RuleSet {
    camera: CameraId,
    model: String,
    timezone: TimeZone,
    config_revision: u64,
    ids: IdSource,
    rules: Vec<Active>,
    memory: Memory,
    book: Book,
    last_frame: Option<(Stamp, Option<i64>)>,
}

struct Active {
    config: RuleConfig,
    built: Built,
    schedule: Option<Schedule>,
    /// Objects that have had their event.
    alerted: BTreeSet<u64>,
    /// Crossings by objects that are not sure enough yet.
    pending: Vec<(u64, Direction, Stamp)>,
    /// Places of the rule that stay quiet, until when: the zones by their index, or the line as 0.
    quiet: Vec<Option<Stamp>>,
}

/// What one frame's turn reads and writes beside the rule itself.
struct Turn<'a> {
    scene: &'a Scene<'a>,
    memory: &'a Memory,
    book: &'a mut Book,
    ids: &'a mut IdSource,
}

impl RuleSet {
    /// The rules of `camera` with `settings`. `model` is named in events.
    ///
    /// # Errors
    /// When a rule is wrong (see [`super::check`]).
    pub fn new(
        camera: CameraId,
        model: String,
        timezone: TimeZone,
        ids: IdSource,
        settings: &Settings<'_>,
    ) -> Result<Self> {
        let rules = settings.rules.iter().map(|r| Active::new(r, settings, &timezone)).collect::<Result<_>>()?;
        Ok(Self {
            camera,
            model,
            timezone,
            config_revision: settings.config_revision,
            ids,
            rules,
            memory: Memory::default(),
            book: Book::default(),
            last_frame: None,
        })
    }

    /// Looks at one frame.
    pub fn step(&mut self, scene: &Scene<'_>) -> Vec<Outcome> {
        let now = scene.now;
        let suspect = self.clocks_disagree(scene);
        self.last_frame = Some((now, scene.camera_time_ms));
        for object in self.memory.update(scene) {
            self.rules.iter_mut().for_each(|r| r.forget(object));
        }
        let mut out = self.close_windows(now, suspect);
        for rule in &mut self.rules {
            if !rule.is_open(now) {
                continue;
            }
            let subjects = self.memory.subjects(now, &rule.config.labels);
            let aspect = scene.width as f32 / scene.height.max(1) as f32;
            let signals = rule.built.logic.look(&Look { now, aspect, subjects: &subjects });
            let turn = &mut Turn { scene, memory: &self.memory, book: &mut self.book, ids: &mut self.ids };
            rule.apply(&signals, turn);
        }
        out.extend(self.advance(now, Some(scene), suspect));
        out
    }

    /// Lets time pass without a frame, so that events end although the camera is silent.
    pub fn tick(&mut self, now: Stamp) -> Vec<EventReport> {
        let closed = self.close_windows(now, false);
        let due = self.advance(now, None, false);
        closed.into_iter().chain(due).map(|o| o.report).collect()
    }

    /// Puts the picture made for `report`, of a frame that had arrived at `at`, into it and into the event's later
    /// reports.
    pub fn attach(&mut self, report: &mut EventReport, snapshot: SnapshotInfo, at: Stamp) {
        self.book.attach(report, snapshot, at);
    }

    /// No picture could be made for event `id`; another frame will be asked for.
    pub fn picture_failed(&mut self, id: &str) {
        self.book.picture_failed(id);
    }

    /// Takes over new rules. A rule that is the same goes on undisturbed; a changed one keeps its open events and whom
    /// it has alerted; events of a rule that is gone end.
    ///
    /// # Errors
    /// When a rule is wrong; then nothing has changed.
    pub fn reconfigure(&mut self, settings: &Settings<'_>, now: Stamp) -> Result<Vec<EventReport>> {
        let mut fresh =
            settings.rules.iter().map(|r| Active::new(r, settings, &self.timezone)).collect::<Result<Vec<_>>>()?;
        self.config_revision = settings.config_revision;
        for new in &mut fresh {
            let is_old = |r: &Active| r.config.name == new.config.name && r.config.kind == new.config.kind;
            let Some(index) = self.rules.iter().position(is_old) else { continue };
            let old = self.rules.swap_remove(index);
            if old.same_as(new) {
                *new = old;
            } else {
                new.alerted = old.alerted;
                let events = self.book.open.iter_mut().filter(|e| e.rule == new.config.name);
                events.for_each(|e| e.set_severity(new.config.severity));
            }
        }
        // What is left of the old rules is gone.
        let gone: BTreeSet<String> = self.rules.drain(..).map(|r| r.config.name).collect();
        self.rules = fresh;
        let header = header(&self.camera, &self.model, self.config_revision, self.last_frame, now, false);
        Ok(self.book.end(now, &self.memory, &header, |e| gone.contains(&e.rule)))
    }

    /// Ends every open event: the camera is let go of, or the process stops.
    pub fn end_all(&mut self, now: Stamp) -> Vec<EventReport> {
        let header = header(&self.camera, &self.model, self.config_revision, self.last_frame, now, false);
        self.book.end(now, &self.memory, &header, |_| true)
    }

    /// Whether an event is open.
    pub fn has_open_events(&self) -> bool {
        !self.book.open.is_empty()
    }

    fn close_windows(&mut self, now: Stamp, suspect: bool) -> Vec<Outcome> {
        let mut out = Vec::new();
        let header = header(&self.camera, &self.model, self.config_revision, self.last_frame, now, suspect);
        for rule in self.rules.iter_mut().filter(|r| !r.is_open(now)) {
            rule.built.logic.reset();
            rule.pending.clear();
            let ended = self.book.end(now, &self.memory, &header, |e| e.rule == rule.config.name);
            out.extend(ended.into_iter().map(|report| Outcome { report, picture: false }));
        }
        self.hush(now, &out);
        out
    }

    fn advance(&mut self, now: Stamp, scene: Option<&Scene<'_>>, suspect: bool) -> Vec<Outcome> {
        let header = header(&self.camera, &self.model, self.config_revision, self.last_frame, now, suspect);
        let out = self.book.advance(now, scene, &self.memory, &header);
        self.hush(now, &out);
        out
    }

    /// Places whose events have just ended stay quiet for their rule's cool-down.
    fn hush(&mut self, now: Stamp, out: &[Outcome]) {
        for report in out.iter().map(|o| &o.report).filter(|r| r.ended_at.is_some()) {
            let Some(rule) = self.rules.iter_mut().find(|r| r.config.name == report.rule) else { continue };
            let until = now.plus(rule.config.cooldown);
            for (place, quiet) in rule.quiet.iter_mut().enumerate() {
                let concerned = match rule.built.zones.get(place) {
                    Some(zone) => report.zones.iter().any(|z| z.name == zone.name),
                    None => true,
                };
                if concerned {
                    *quiet = Some(until);
                }
            }
        }
    }

    fn clocks_disagree(&self, scene: &Scene<'_>) -> bool {
        let jumped = self.last_frame.is_some_and(|(last, _)| {
            let wall = scene.now.wall_ms - last.wall_ms;
            let mono = scene.now.mono.as_millis() as i64 - last.mono.as_millis() as i64;
            wall.abs_diff(mono) > JUMP.as_millis() as u64
        });
        let off = scene.camera_time_ms.is_some_and(|t| t.abs_diff(scene.now.wall_ms) > CAMERA_OFF.as_millis() as u64);
        jumped || off
    }
}

fn header<'a>(
    camera: &'a CameraId,
    model: &'a str,
    config_revision: u64,
    last_frame: Option<(Stamp, Option<i64>)>,
    now: Stamp,
    suspect: bool,
) -> Header<'a> {
    let (arrived, camera_time_ms) = last_frame.unwrap_or((now, None));
    Header { camera, model, config_revision, arrived, camera_time_ms, suspect }
}

impl Active {
    fn new(config: &RuleConfig, settings: &Settings<'_>, timezone: &TimeZone) -> Result<Self> {
        let built = build(config, &Places { zones: settings.zones, lines: settings.lines })?;
        Ok(Self {
            quiet: vec![None; built.zones.len().max(1)],
            schedule: config.schedule.as_ref().map(|s| Schedule::new(s, timezone.clone())),
            config: config.clone(),
            built,
            alerted: BTreeSet::new(),
            pending: Vec::new(),
        })
    }

    fn same_as(&self, other: &Active) -> bool {
        self.config == other.config && self.built.zones == other.built.zones && self.built.line == other.built.line
    }

    fn is_open(&self, now: Stamp) -> bool {
        self.schedule.as_ref().is_none_or(|s| s.is_open(now))
    }

    fn forget(&mut self, object: u64) {
        self.built.logic.forget(object);
        self.alerted.remove(&object);
    }

    /// Whether an object has what it takes to start or join an event. Judged at the signal, not before: a person who is
    /// sure only after the line has still crossed it.
    fn qualifies(&self, object: u64, memory: &Memory) -> bool {
        memory
            .object(object)
            .is_some_and(|(_, k)| k.best_score >= self.config.min_score && k.bbox.height() >= self.config.min_height)
    }

    fn is_quiet(&self, place: usize, now: Stamp) -> bool {
        self.quiet.get(place).copied().flatten().is_some_and(|until| now.mono < until.mono)
    }

    fn apply(&mut self, signals: &[Signal], turn: &mut Turn<'_>) {
        let now = turn.scene.now;
        let mut crossings = std::mem::take(&mut self.pending);
        for signal in signals {
            match *signal {
                Signal::Present { object, zone } => self.present(object, zone, turn),
                Signal::Crossed { object, direction } => crossings.push((object, direction, now)),
            }
        }
        for crossing in crossings {
            let (object, direction, when) = crossing;
            if self.qualifies(object, turn.memory) {
                if !self.is_quiet(0, now) {
                    self.begin(object, Vec::new(), Some(direction), turn);
                }
            } else if now.since(when) <= PENDING {
                self.pending.push(crossing);
            }
        }
    }

    fn present(&mut self, object: u64, zone: usize, turn: &mut Turn<'_>) {
        let now = turn.scene.now;
        let (Some((track, known)), Some(place)) = (turn.memory.object(object), self.built.zones.get(zone)) else {
            return;
        };
        let mut mine = turn.book.open.iter_mut().filter(|e| e.rule == self.config.name);
        // Whoever takes part already does so whatever size or score it has now.
        if let Some(event) = mine.find(|e| e.objects.contains(&object)) {
            return event.present(object, track, place, now, known.best_score);
        }
        if self.alerted.contains(&object) || self.is_quiet(zone, now) || !self.qualifies(object, turn.memory) {
            return;
        }
        let young = turn.book.open.iter_mut().find(|e| e.rule == self.config.name && e.takes_in(now));
        match young {
            Some(event) => event.present(object, track, place, now, known.best_score),
            None => self.begin(object, vec![place.clone()], None, turn),
        }
        self.alerted.insert(object);
    }

    fn begin(&self, object: u64, zones: Vec<Zone>, direction: Option<Direction>, turn: &mut Turn<'_>) {
        let Some((track, known)) = turn.memory.object(object) else { return };
        let beginning = Beginning {
            id: turn.ids.next(turn.scene.now, &self.config.name),
            rule: &self.config.name,
            kind: &self.config.kind,
            severity: self.config.severity,
            grace: self.built.grace,
            zones,
            line: self.built.line.clone(),
            direction,
            object,
            track,
        };
        turn.book.begin(beginning, turn.scene, known);
    }
}
