//! Cuts one camera's stream into segments: where a keyframe stands after long enough, where the stream breaks off or
//! changes, where the disk refuses. Says what happened as [`Note`]s. It waits for nothing but the disk.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::audio::{AudioTrack, Listen};
use super::boxes::{self, Part, Splitter};
use super::mux::Mux;
use super::segment;
use super::writer::{FragmentTimes, SegmentWriter, Subject};
use crate::base::types::{AccessUnit, CameraId, Codec, Gap, GapReason, Segment, StreamParams, StreamRole};
use crate::base::{Error, ErrorKind, Result, Stamp};

/// A stream that is silent for this long is away.
const AWAY: Duration = Duration::from_secs(5);
/// Between tries while the disk or the mux refuses.
pub const RETRY: Duration = Duration::from_secs(10);
/// A mux has nothing to wait for: its end comes at once.
const MUX_DEADLINE: Duration = Duration::from_secs(1);
/// Timestamps that step back or forward by more than this do not continue what came before. Less is reordering, or a
/// camera that drops pictures.
const BACK: Duration = Duration::from_secs(1);
const FORWARD: Duration = Duration::from_secs(3);
/// A keyframe this much before a segment's time is up cuts it: timestamps jitter, and the next may be seconds away.
const EARLY: Duration = Duration::from_millis(100);
/// A shorter gap is none: a slow camera's pictures are that far apart.
const MIN_GAP_MS: i64 = 1500;

/// What a recorder is made for.
#[derive(Clone, Debug)]
pub struct Settings {
    pub camera: CameraId,
    pub stream: StreamRole,
    pub dir: PathBuf,
    pub segment: Duration,
    /// Recording stops when less is free.
    pub min_free_bytes: u64,
    pub boot_id: String,
}

/// What the index and the camera's status are to know.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    Opened(Segment),
    Closed(Segment),
    GapBegan(Gap),
    /// UTC milliseconds.
    GapEnded(i64),
    /// Why nothing is recorded although it should be; none when it is again.
    Fault(Option<String>),
}

/// See the module.
pub struct Recorder {
    settings: Settings,
    /// Where the sound comes from, if it is to be recorded.
    listen: Option<Listen>,
    /// The connection of the last sound that was recorded, and a time right after its begin: no segment repeats it.
    heard: (u64, Duration),
    running: Option<Running>,
    /// It was said that the stream's pictures are not sent in the order in which they are shown.
    told_order: bool,
    last: Option<Last>,
    /// Since when nothing has come, if nothing came yet.
    waiting_since: Stamp,
    /// Every missing second is a gap; otherwise only those that the disk costs.
    continuous: bool,
    gap_open: bool,
    /// Nothing is to be recorded at this hour.
    out_of_hours: bool,
    retry_at: Duration,
    /// Files that the disk would not let be ended, below the recording directory.
    unended: Vec<String>,
    fault: Option<String>,
    notes: Vec<Note>,
}

/// The newest picture.
struct Last {
    pts: Duration,
    arrived: Stamp,
    end: Stamp,
    params: Arc<StreamParams>,
}

struct Running {
    mux: Mux,
    splitter: Splitter,
    init: Bytes,
    writer: Option<SegmentWriter>,
    start: Stamp,
    base: Duration,
    connection: u64,
    audio: Option<AudioTrack>,
    params: Arc<StreamParams>,
    /// Arrival of what was fed and is in no fragment yet, by time since the first picture.
    fed: VecDeque<(Duration, Stamp)>,
}

impl Recorder {
    /// A recorder that waits for its first picture.
    pub fn new(settings: Settings, now: Stamp) -> Self {
        Self {
            settings,
            listen: None,
            heard: (0, Duration::ZERO),
            running: None,
            told_order: false,
            last: None,
            waiting_since: now,
            continuous: false,
            gap_open: false,
            out_of_hours: false,
            retry_at: Duration::ZERO,
            unended: Vec::new(),
            fault: None,
            notes: Vec::new(),
        }
    }

    /// Has the sound recorded that `listen` gives.
    pub fn with_audio(self, listen: Option<Listen>) -> Self {
        Self { listen, ..self }
    }

    /// What there is to tell since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Whether a segment is being made.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether every missing second is a gap from now on.
    pub fn set_continuous(&mut self, continuous: bool, now: Stamp) {
        if self.continuous == continuous {
            return;
        }
        self.continuous = continuous;
        self.out_of_hours = false;
        self.waiting_since = now;
        self.last = None;
        // Nothing is expected any more.
        if !continuous && std::mem::take(&mut self.gap_open) {
            self.notes.push(Note::GapEnded(now.wall_ms));
        }
    }

    /// Takes the next picture; `missed` others before it were not seen.
    pub fn step(&mut self, unit: &AccessUnit, missed: u64, now: Stamp) {
        if unit.params.codec == Codec::Mjpeg {
            self.finish(None);
            self.waiting_since = unit.arrived;
            let why = "is MJPEG, which cannot be recorded; set it to H.264 or H.265";
            if self.fault.is_none() {
                tracing::warn!(camera = self.settings.camera.as_str(), "{why}");
            }
            return self.set_fault(Some(why.into()));
        }
        if let Some(reason) = self.break_before(unit, missed) {
            let end = self.last.as_ref().map(|l| l.end);
            self.finish(None);
            if let Some(end) = end.filter(|e| unit.arrived.wall_ms - e.wall_ms > MIN_GAP_MS) {
                self.gap(reason, end.wall_ms, Some(unit.arrived.wall_ms));
            }
        }
        let long = |r: &Running| unit.pts.saturating_sub(r.base) + EARLY >= self.settings.segment;
        // Or the clock was set since: the next file begins with the right time.
        let ends = |r: &Running| long(r) || segment::clock_was_set(r.start, unit.arrived);
        if unit.keyframe && self.running.as_ref().is_some_and(ends) {
            self.finish(Some(unit.arrived));
        }
        self.look_at_order(unit);
        self.note_last(unit);
        self.end_the_unended(now);
        if self.running.is_none() && unit.keyframe && now.mono >= self.retry_at {
            match Running::start(unit) {
                Ok(running) => self.running = Some(running),
                Err(e) => return self.failed(&e, unit.arrived, now),
            }
        }
        if let Some(running) = &mut self.running {
            let fed = running.feed(unit);
            let result = self.pump(now).and(fed);
            if let Err(e) = result {
                self.failed(&e, unit.arrived, now);
            }
        }
    }

    /// Time passes without a picture.
    pub fn tick(&mut self, now: Stamp) {
        self.end_the_unended(now);
        let since = self.last.as_ref().map_or(self.waiting_since, |l| l.arrived);
        if now.since(since) < AWAY {
            return;
        }
        let begin = self.last.as_ref().map_or(since, |l| l.end);
        self.finish(None);
        if self.continuous && !self.gap_open {
            self.gap(GapReason::Offline, begin.wall_ms, None);
        }
    }

    /// Ends the segment, if one is being made, at `end` or where its pictures end.
    pub fn finish(&mut self, end: Option<Stamp>) {
        let Some(running) = &self.running else { return };
        if let Err(e) = running.mux.finish(MUX_DEADLINE) {
            tracing::debug!(camera = self.settings.camera.as_str(), "{e}");
        }
        let at = self.last.as_ref().map_or(running.start, |l| l.end);
        let closed = self.pump(at).and_then(|()| {
            let Some(writer) = self.running.as_mut().and_then(|r| r.writer.take()) else { return Ok(None) };
            let path = writer.segment().path.clone();
            writer.close(end).inspect_err(|_| self.unended.push(path))
        });
        match closed {
            Ok(closed) => self.notes.extend(closed.map(Note::Closed)),
            Err(e) => self.failed(&e, at, at),
        }
        self.running = None;
    }

    /// The hours in which recording is in force are over, or have not begun.
    pub fn out_of_hours(&mut self, now: Stamp) {
        self.waiting_since = now;
        if std::mem::replace(&mut self.out_of_hours, true) {
            return;
        }
        self.finish(None);
        self.last = None;
        if std::mem::take(&mut self.gap_open) {
            self.notes.push(Note::GapEnded(now.wall_ms));
        }
        self.gap(GapReason::Schedule, now.wall_ms, None);
        self.set_fault(None);
    }

    /// They have begun: from here on what is missing is missing for another reason.
    pub fn in_hours(&mut self, now: Stamp) {
        if std::mem::take(&mut self.out_of_hours) && std::mem::take(&mut self.gap_open) {
            self.notes.push(Note::GapEnded(now.wall_ms));
        }
    }

    /// Recording was switched off at `now`.
    pub fn switched_off(&mut self, now: Stamp) {
        self.finish(None);
        if self.continuous {
            if std::mem::take(&mut self.gap_open) {
                self.notes.push(Note::GapEnded(now.wall_ms));
            }
            self.gap(GapReason::Off, now.wall_ms, None);
            // It stays open until something is recorded again.
            self.gap_open = false;
        }
        self.set_fault(None);
    }

    /// Why `unit` does not continue the picture before it, if it does not.
    fn break_before(&self, unit: &AccessUnit, missed: u64) -> Option<GapReason> {
        let last = self.last.as_ref()?;
        if !Arc::ptr_eq(&last.params, &unit.params) {
            // A new connection has parameters of its own, even if they are the same.
            return Some(if last.params == unit.params { GapReason::Offline } else { GapReason::CodecChange });
        }
        if missed > 0 {
            return Some(GapReason::Paused);
        }
        let jumps = unit.pts + BACK < last.pts || unit.pts > last.pts + FORWARD;
        jumps.then_some(GapReason::Offline)
    }

    /// RTP carries no time of decoding, and the times of showing that arrive for B-frames are not exact: what is recorded
    /// of them plays unevenly.
    fn look_at_order(&mut self, unit: &AccessUnit) {
        let back = |last: &Last| Arc::ptr_eq(&last.params, &unit.params) && unit.pts < last.pts;
        if !self.told_order && self.last.as_ref().is_some_and(back) {
            self.told_order = true;
            tracing::warn!(
                camera = self.settings.camera.as_str(),
                "sends B-frames, which are not recorded well; switch them off in the camera (profile Baseline, or B-frames 0)"
            );
        }
    }

    fn note_last(&mut self, unit: &AccessUnit) {
        let before = self.last.as_ref().filter(|l| Arc::ptr_eq(&l.params, &unit.params));
        let step = before.map_or(Duration::ZERO, |l| unit.pts.saturating_sub(l.pts)).min(Duration::from_secs(1));
        let (arrived, end) = (unit.arrived, unit.arrived.plus(step));
        self.last = Some(Last { pts: unit.pts, arrived, end, params: unit.params.clone() });
    }

    fn gap(&mut self, reason: GapReason, start_ms: i64, end_ms: Option<i64>) {
        if self.gap_open || !(self.continuous || reason == GapReason::DiskFull) {
            return;
        }
        self.gap_open = end_ms.is_none();
        let camera = self.settings.camera.clone();
        self.notes.push(Note::GapBegan(Gap { id: 0, camera, start_ms, end_ms, reason }));
    }

    fn set_fault(&mut self, fault: Option<String>) {
        if self.fault != fault {
            self.notes.push(Note::Fault(fault.clone()));
            self.fault = fault;
        }
    }

    /// The disk or the mux refused: what is there is kept, and after a while it is tried again.
    fn failed(&mut self, e: &Error, at: Stamp, now: Stamp) {
        let disk = matches!(e.kind(), ErrorKind::Exhausted | ErrorKind::Io | ErrorKind::NotFound);
        let running = self.running.take();
        let mut lost_from = running.as_ref().map_or(at, |r| r.start).wall_ms;
        if let Some(writer) = running.and_then(|r| r.writer) {
            let path = writer.segment().path.clone();
            match writer.abandon() {
                Ok(Some(kept)) => {
                    lost_from = kept.end_ms.unwrap_or(lost_from);
                    self.notes.push(Note::Closed(kept));
                }
                Ok(None) => {}
                Err(e) => {
                    tracing::error!(path, "a recording cannot be ended yet: {e}");
                    self.unended.push(path);
                }
            }
        }
        self.retry_at = now.mono + RETRY;
        if disk {
            self.gap(GapReason::DiskFull, lost_from, None);
        }
        // One line an outage.
        if self.fault.is_none() {
            tracing::error!(camera = self.settings.camera.as_str(), "recording stops, and is tried again: {e}");
        }
        self.set_fault(Some(match disk {
            true => "is not recorded: the disk is full or refuses to write".into(),
            false => format!("is not recorded: {}", e.message()),
        }));
    }

    /// Ends what the disk would not let be ended before. If it never does, the node's next start will.
    fn end_the_unended(&mut self, now: Stamp) {
        if self.unended.is_empty() || now.mono < self.retry_at {
            return;
        }
        let mut refused = None;
        for path in std::mem::take(&mut self.unended) {
            match segment::recover(&self.settings.dir, &path) {
                Ok(kept) => self.notes.extend(kept.map(Note::Closed)),
                Err(e) => {
                    self.unended.push(path);
                    refused = Some(e);
                }
            }
        }
        if let Some(e) = refused {
            tracing::debug!(camera = self.settings.camera.as_str(), "{e}");
            self.retry_at = now.mono + RETRY;
        }
    }

    /// Puts on disk what the mux has made.
    fn pump(&mut self, now: Stamp) -> Result<()> {
        let Some(running) = &mut self.running else { return Ok(()) };
        for bytes in running.mux.take() {
            for part in running.splitter.push(&bytes)? {
                match part {
                    Part::Init(init) => running.init = init,
                    Part::Fragment(fragment) => {
                        if running.append(&fragment, &self.settings, self.listen.as_ref(), &mut self.heard)? {
                            self.notes.extend(running.writer.as_ref().map(|w| Note::Opened(w.segment().clone())));
                            self.gap_open = false;
                        }
                    }
                }
            }
        }
        let Some(writer) = &mut running.writer else { return Ok(()) };
        if writer.sync_if_due(now.mono)? {
            enough_room(&self.settings)?;
        }
        self.set_fault(None);
        Ok(())
    }
}

impl Running {
    fn start(unit: &AccessUnit) -> Result<Self> {
        Ok(Self {
            mux: Mux::start(&unit.params)?,
            splitter: Splitter::default(),
            init: Bytes::new(),
            writer: None,
            start: unit.arrived,
            base: unit.pts,
            connection: unit.connection,
            audio: None,
            params: unit.params.clone(),
            fed: VecDeque::new(),
        })
    }

    fn feed(&mut self, unit: &AccessUnit) -> Result<()> {
        let pts = unit.pts.saturating_sub(self.base);
        self.fed.push_back((pts, unit.arrived));
        self.mux.feed(unit, pts)
    }

    /// Writes a fragment; true if that began the file.
    fn append(
        &mut self,
        fragment: &[u8],
        settings: &Settings,
        listen: Option<&Listen>,
        heard: &mut (u64, Duration),
    ) -> Result<bool> {
        let no_sense = || Error::new(ErrorKind::Internal, "the mux made a fragment that cannot be understood");
        let times = boxes::times(fragment).ok_or_else(no_sense)?;
        let scale = boxes::timescale(&self.init).ok_or_else(no_sense)?;
        let seconds = |ticks: u64| Duration::from_nanos((u128::from(ticks) * 1_000_000_000 / u128::from(scale)) as u64);
        let (pts, duration) = (seconds(times.start), seconds(times.duration));
        let times = FragmentTimes { arrived: self.arrival(pts), pts, duration, keyframe: times.keyframe };
        let begins = self.writer.is_none();
        let sounding = listen.and_then(|l| self.sounding(fragment, pts + duration, l, heard));
        let fragment = sounding.as_deref().unwrap_or(fragment);
        if begins {
            self.writer = Some(self.create(settings)?);
        }
        let writer = self.writer.as_mut().ok_or_else(no_sense)?;
        writer.append(fragment, times)?;
        Ok(begins)
    }

    /// `fragment`, which ends at `end`, with the sound of its time; none when it stays as it is. What is wrong with the sound
    /// never costs a picture.
    fn sounding(
        &mut self,
        fragment: &[u8],
        end: Duration,
        listen: &Listen,
        heard: &mut (u64, Duration),
    ) -> Option<Vec<u8>> {
        let from = if heard.0 == self.connection { self.base.max(heard.1) } else { self.base };
        let units = listen(self.connection, from, self.base + end);
        // A file's head is written once: sound that begins later is the next file's.
        if let (None, Some(first)) = (&self.writer, units.first()) {
            let begun = AudioTrack::begin(&self.init, &first.params);
            let (track, init) = begun.inspect_err(|e| tracing::debug!("a file without sound: {e}")).ok()?;
            (self.audio, self.init) = (Some(track), init);
        }
        let added = self.audio.as_mut()?.add(fragment, self.base, &units);
        if let Some(last) = units.last() {
            *heard = (self.connection, last.pts + Duration::from_nanos(1));
        }
        added.inspect_err(|e| tracing::debug!("a fragment without sound: {e}")).ok()
    }

    fn create(&self, settings: &Settings) -> Result<SegmentWriter> {
        std::fs::create_dir_all(&settings.dir)
            .map_err(|e| Error::io("the recording directory cannot be made", &settings.dir, e))?;
        enough_room(settings)?;
        SegmentWriter::create(&settings.dir, &self.subject(settings), &self.init)
    }

    /// When the picture at `pts` had arrived. Fragments come in order: what is before it is not asked for again.
    fn arrival(&mut self, pts: Duration) -> Stamp {
        let nearer = |a: &(Duration, Stamp), b: &(Duration, Stamp)| b.0.abs_diff(pts) <= a.0.abs_diff(pts);
        while self.fed.len() > 1 && nearer(&self.fed[0], &self.fed[1]) {
            self.fed.pop_front();
        }
        self.fed.front().map_or(self.start, |(_, arrived)| *arrived)
    }

    fn subject(&self, settings: &Settings) -> Subject {
        Subject {
            camera: settings.camera.clone(),
            stream: settings.stream,
            codec: self.params.codec,
            width: self.params.width,
            height: self.params.height,
            start: self.start,
            boot_id: settings.boot_id.clone(),
        }
    }
}

fn enough_room(settings: &Settings) -> Result<()> {
    let at = |e: rustix::io::Errno| Error::io("the disk cannot be looked at", &settings.dir, e.into());
    let disk = rustix::fs::statvfs(&settings.dir).map_err(at)?;
    let free = disk.f_bavail * disk.f_frsize;
    if free >= settings.min_free_bytes {
        return Ok(());
    }
    let text =
        format!("only {} MiB of the disk are free, of {} kept for events", free >> 20, settings.min_free_bytes >> 20);
    Err(Error::new(ErrorKind::Exhausted, text).at(settings.dir.display()))
}
