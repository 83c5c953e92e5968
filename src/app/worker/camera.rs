//! One camera inside a worker: its threads (receive detect, receive record, decode, task, record) and what they share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use super::live::{Frames, Tap, Watched};
use super::outbound::Outbound;
use super::pulse::{self, Pulse};
use super::record::{RecordControl, RecordLoop};
use super::stream::{Stream, StreamReport, Supervisor, decode_loop};
use crate::app::camera::{CameraTask, SiteSettings};
use crate::app::{join, thread};
use crate::base::types::{
    CameraCounters, CameraHealth, CameraId, CameraState, Detection, EventReport, FaultKind, Frame, Phase, Snapshot,
    StreamRole,
};
use crate::base::{Clock, Result, Stamp, trajectory};
use crate::config::{RecordConfig, Roll, TrackConfig};
use crate::detect::{Mailbox, Put};
use crate::ingest::decode::decode_nearest;
use crate::ingest::receive::Endpoint;
use crate::privacy::Masks;
use crate::record::audio::Listen;
use crate::record::recorder::{Recorder, Settings};
use crate::rules::IdSource;
use crate::rules::schedule::Schedule;
use crate::track::Tracker;
use crate::track::trajectory::Trajectories;
use crate::wire::ipc::{CameraAssignment, CameraSecrets, LiveWant, PictureWant, StreamSettings, StreamWant, ToNode};

/// Frames and their detections that may wait for the camera's task.
const TASK_QUEUE: usize = 4;
/// Longest time a snapshot's picture from the record stream may take.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(2);
/// How often learned phantoms and where objects went are told to the node.
const TELL_INTERVAL: Duration = Duration::from_secs(30);

/// What every camera of a worker uses.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) outbound: Arc<Outbound>,
    pub(super) mailbox: Arc<Mailbox<CameraId, Frame>>,
    pub(super) live: Arc<Frames>,
    pub(super) track: TrackConfig,
    pub(super) site: SiteSettings,
    pub(super) ring_bytes: usize,
    pub(super) record: RecordConfig,
    pub(super) boot_id: String,
    pub(super) pulse: Arc<Pulse>,
}

enum TaskInput {
    Detected(Box<(Frame, Vec<Detection>)>),
    Reconfigure(Box<CameraAssignment>),
    Stop,
}

#[derive(Default)]
struct Counts {
    inferred: AtomicU64,
    replaced: AtomicU64,
    dropped: AtomicU64,
    detections: AtomicU64,
    events: AtomicU64,
}

/// A camera being watched.
pub(super) struct CameraRuntime {
    assignment: CameraAssignment,
    detect: Arc<Stream>,
    record: Option<Arc<Stream>>,
    recording: Arc<RecordControl>,
    fps: Arc<Mutex<f32>>,
    /// It has rules, for which somebody has to look.
    detecting: Arc<AtomicBool>,
    /// What becomes a live picture.
    tap: Arc<Tap>,
    watched: Watched,
    masks: Mutex<Masks>,
    task: SyncSender<TaskInput>,
    counts: Arc<Counts>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    site: SiteSettings,
    clock: Arc<dyn Clock>,
}

impl CameraRuntime {
    /// Starts the camera's threads.
    pub(super) fn start(assignment: CameraAssignment, secrets: &CameraSecrets, shared: &Shared) -> Result<Arc<Self>> {
        let id = assignment.id.clone();
        let detect = Stream::new(shared.ring_bytes);
        // Without a rule nobody asks what is to be seen: such a camera is recorded, not looked at.
        let detecting = Arc::new(AtomicBool::new(!assignment.rules.is_empty()));
        detect.set_decoded(!assignment.rules.is_empty());
        let record = assignment.record.as_ref().map(|_| Stream::new(shared.ring_bytes));
        let (task, inputs) = sync_channel(TASK_QUEUE);
        let counts = Arc::new(Counts::default());
        let fps = Arc::new(Mutex::new(assignment.detect_fps));
        let mut threads = Vec::new();

        let recording = Arc::new(RecordControl::new(assignment.recording, hours(&assignment, &shared.site)));
        let worker = CameraWorker::new(&assignment, shared, record.clone(), recording.clone(), counts.clone())?;
        threads.push(shared.pulse.thread(&format!("task {id}"), &id, move || worker.run(&inputs))?);

        let (mailbox, camera, replaced) = (shared.mailbox.clone(), id.clone(), counts.clone());
        mailbox.add(id.clone());
        shared.live.add(id.clone());
        let tap = Arc::new(Tap::default());
        let (looks, shown, live) = (detecting.clone(), tap.clone(), shared.live.clone());
        let deliver = Arc::new(move |frame: Frame| {
            if shown.takes(frame.arrived.mono) {
                live.put(&camera, frame.clone());
            }
            if looks.load(Ordering::Relaxed) && mailbox.put(&camera, frame) == Put::Replaced {
                replaced.replaced.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (name, stream, wanted) = (id.to_string(), detect.clone(), fps.clone());
        let decode = move || decode_loop(&name, &stream, &wanted, deliver);
        threads.push(shared.pulse.thread(&format!("decode {id}"), &id, decode)?);

        let health = Arc::new(Health::new(id.clone(), shared.outbound.clone()));
        let recorder = recorder(&assignment, record.as_ref().unwrap_or(&detect), &recording, shared);
        let told = health.clone();
        threads.push(thread(&format!("record {id}"), move || recorder.run(|fault| told.recording(fault)))?);
        let mut receive = |role: StreamRole, settings: &StreamSettings, stream: &Arc<Stream>| -> Result<()> {
            let supervisor = supervisor(&id, role, settings, secrets, stream, shared);
            let health = health.clone();
            let receive = move || supervisor.run(|r| health.report(role, r));
            threads.push(shared.pulse.thread(&format!("receive {id}"), &id, receive)?);
            Ok(())
        };
        receive(StreamRole::Detect, &assignment.detect, &detect)?;
        if let (Some(settings), Some(stream)) = (&assignment.record, &record) {
            receive(StreamRole::Record, settings, stream)?;
        }
        Ok(Arc::new(Self {
            masks: Mutex::new(Masks::new(assignment.masks.clone())),
            threads: Mutex::new(threads),
            site: shared.site.clone(),
            clock: shared.clock.clone(),
            assignment,
            detect,
            record,
            recording,
            fps,
            detecting,
            tap,
            watched: Watched::default(),
            task,
            counts,
        }))
    }

    /// Whether `new` needs other connections than the camera has.
    pub(super) fn must_reconnect(&self, new: &CameraAssignment) -> bool {
        let old = &self.assignment;
        old.secrets_generation != new.secrets_generation || old.detect != new.detect || old.record != new.record
    }

    /// Takes over what does not need a new connection: zones, lines, rules, masks, rate.
    pub(super) fn reconfigure(&self, new: CameraAssignment) {
        *self.fps.lock().unwrap_or_else(PoisonError::into_inner) = new.detect_fps;
        *self.masks.lock().unwrap_or_else(PoisonError::into_inner) = Masks::new(new.masks.clone());
        // Ending a segment takes the recording thread's time, not this one's.
        self.recording.set_mode(new.recording, hours(&new, &self.site), self.clock.now());
        self.detecting.store(!new.rules.is_empty(), Ordering::Relaxed);
        self.open_or_close();
        if self.task.send(TaskInput::Reconfigure(Box::new(new))).is_err() {
            tracing::error!(camera = self.assignment.id.as_str(), "its task has ended");
        }
    }

    /// Who looks has changed: begins to decode what only they want, or stops.
    pub(super) fn show(&self, want: &LiveWant, shared: &Shared) {
        self.tap.set(want.picture);
        self.open_or_close();
        let source = |want: &StreamWant| match (&self.record, want.role) {
            (Some(record), None | Some(StreamRole::Record)) => record.clone(),
            _ => self.detect.clone(),
        };
        self.watched.set(&self.assignment.id, &want.streams, source, &shared.outbound);
    }

    /// What its live pictures are to be like; none when nobody looks any more.
    pub(super) fn picture_want(&self) -> Option<PictureWant> {
        self.tap.want()
    }

    fn open_or_close(&self) {
        self.detect.set_decoded(self.detecting.load(Ordering::Relaxed) || self.tap.want().is_some());
    }

    /// `frame` with this camera's masks burned in.
    pub(super) fn mask(&self, frame: &Frame) -> Frame {
        self.masks.lock().unwrap_or_else(PoisonError::into_inner).burn(frame)
    }

    /// Hands a frame's detections to the camera's task; never waits, because other cameras share the detector.
    pub(super) fn detected(&self, frame: Frame, detections: Vec<Detection>) {
        self.counts.inferred.fetch_add(1, Ordering::Relaxed);
        self.counts.detections.fetch_add(detections.len() as u64, Ordering::Relaxed);
        if let Err(TrySendError::Full(_)) = self.task.try_send(TaskInput::Detected(Box::new((frame, detections)))) {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What its stages have counted.
    pub(super) fn counters(&self) -> CameraCounters {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let record_reconnects = self.record.as_ref().map_or(0, |r| get(&r.reconnects));
        CameraCounters {
            frames_in: get(&self.detect.units),
            inferred: get(&self.counts.inferred),
            frames_replaced: get(&self.counts.replaced),
            results_dropped: get(&self.counts.dropped),
            units_skipped: get(&self.detect.skipped),
            gops_evicted: self.detect.ring.evicted_gops() + self.record.as_ref().map_or(0, |r| r.ring.evicted_gops()),
            detections: get(&self.counts.detections),
            events: get(&self.counts.events),
            reconnects: get(&self.detect.reconnects) + record_reconnects,
        }
    }

    /// Ends the camera in the order of its data: receive, decode, task (which ends its open events).
    pub(super) fn stop(&self, shared: &Shared) {
        self.detect.stop();
        if let Some(record) = &self.record {
            record.stop();
        }
        self.recording.stop();
        shared.mailbox.remove(&self.assignment.id);
        shared.live.remove(&self.assignment.id);
        self.watched.stop().into_iter().for_each(join);
        // The task may be gone already; then there is nothing to end.
        self.task.send(TaskInput::Stop).ok();
        for handle in std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner)) {
            join(handle);
        }
    }
}

/// When recording is in force.
fn hours(assignment: &CameraAssignment, site: &SiteSettings) -> Option<Schedule> {
    assignment.recording_hours.as_ref().map(|h| Schedule::new(h, site.timezone.clone()))
}

fn recorder(
    assignment: &CameraAssignment,
    stream: &Arc<Stream>,
    control: &Arc<RecordControl>,
    shared: &Shared,
) -> RecordLoop {
    let id = &assignment.id;
    let settings = Settings {
        camera: id.clone(),
        stream: if assignment.record.is_some() { StreamRole::Record } else { StreamRole::Detect },
        dir: shared.record.dir.clone(),
        segment: Duration::from_secs(shared.record.segment_seconds.into()),
        // The other half is for events.
        min_free_bytes: shared.record.disk_floor_bytes / 2,
        boot_id: shared.boot_id.clone(),
    };
    let wanted = assignment.record.as_ref().unwrap_or(&assignment.detect).audio;
    let heard = stream.clone();
    let listen: Listen = Box::new(move |connection, from, to| heard.audio.between(connection, from, to));
    RecordLoop {
        camera: id.clone(),
        recorder: Recorder::new(settings, shared.clock.now()).with_audio(wanted.then_some(listen)),
        stream: stream.clone(),
        control: control.clone(),
        clock: shared.clock.clone(),
        outbound: shared.outbound.clone(),
    }
}

fn supervisor(
    id: &CameraId,
    role: StreamRole,
    settings: &StreamSettings,
    secrets: &CameraSecrets,
    stream: &Arc<Stream>,
    shared: &Shared,
) -> Supervisor {
    let secret = secrets.streams.iter().find(|s| s.role == role);
    let name = match role {
        StreamRole::Detect => id.to_string(),
        StreamRole::Record => format!("{id} (record)"),
    };
    // FNV-1a: any spread of names over seeds will do.
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    Supervisor {
        endpoint: Endpoint {
            url: secret.map(|s| s.url.clone()).unwrap_or_default(),
            user: secret.and_then(|s| s.user.clone()),
            password: secret.and_then(|s| s.password.clone()),
            transport: settings.transport,
            latency_ms: settings.latency_ms,
            tls_pin: settings.tls_pin.clone(),
        },
        name,
        stream: stream.clone(),
        clock: shared.clock.clone(),
        decoded: role == StreamRole::Detect,
        audio: settings.audio,
        seed,
    }
}

/// Joins the reports of a camera's streams into its health.
struct Health {
    camera: CameraId,
    outbound: Arc<Outbound>,
    streams: Mutex<Streams>,
}

#[derive(Default)]
struct Streams {
    detect: Option<StreamReport>,
    record: Option<StreamReport>,
    logged: Option<(CameraState, Option<FaultKind>)>,
    /// Why nothing is recorded.
    recording: Option<String>,
}

impl Health {
    fn new(camera: CameraId, outbound: Arc<Outbound>) -> Self {
        Self { camera, outbound, streams: Mutex::default() }
    }

    fn report(&self, role: StreamRole, report: StreamReport) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        match role {
            StreamRole::Detect => streams.detect = Some(report),
            StreamRole::Record => streams.record = Some(report),
        }
        self.tell(streams);
    }

    fn recording(&self, fault: Option<String>) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.recording = fault;
        self.tell(streams);
    }

    fn tell(&self, mut streams: MutexGuard<'_, Streams>) {
        let (Some(detect), record) = (&streams.detect, &streams.record) else { return };
        // The detect stream decides on the state; a failing record stream is told beside it.
        let record_fault = record.as_ref().and_then(|r| r.fault.as_ref());
        let (fault, detail) = match (&detect.fault, record_fault) {
            (Some(f), _) => (Some(f.kind), Some(f.detail.clone())),
            (None, Some(f)) => (Some(f.kind), Some(format!("its record stream {}", f.detail))),
            (None, None) => (None, streams.recording.clone()),
        };
        let health = CameraHealth {
            camera: self.camera.clone(),
            state: detect.state,
            fault,
            detail,
            since: detect.since,
            codec: detect.codec,
            width: detect.width,
            height: detect.height,
            fps: detect.fps,
            last_frame: detect.last_frame,
        };
        // Reports repeat; the log tells changes only.
        if streams.logged.replace((health.state, fault)) != Some((health.state, fault)) {
            let detail = health.detail.as_deref().unwrap_or_default();
            match fault {
                None => tracing::info!(camera = self.camera.as_str(), state = health.state.as_str(), "camera"),
                Some(_) => tracing::warn!(camera = self.camera.as_str(), state = health.state.as_str(), "{detail}"),
            }
        }
        drop(streams);
        self.outbound.send(ToNode::Health(health), Bytes::new());
    }
}

fn rolls(assignment: &CameraAssignment) -> HashMap<String, Roll> {
    assignment.rules.iter().map(|r| (r.name.clone(), r.roll)).collect()
}

/// The camera's task: track, rules, events, snapshots.
struct CameraWorker {
    id: CameraId,
    clock: Arc<dyn Clock>,
    outbound: Arc<Outbound>,
    tracker: Tracker,
    task: CameraTask,
    record: Option<Arc<Stream>>,
    recording: Arc<RecordControl>,
    /// What each rule wants recorded around its events.
    rolls: HashMap<String, Roll>,
    counts: Arc<Counts>,
    /// Where objects went; none when nobody is to know.
    trajectories: Option<Trajectories>,
    told: Duration,
}

impl CameraWorker {
    fn new(
        assignment: &CameraAssignment,
        shared: &Shared,
        record: Option<Arc<Stream>>,
        recording: Arc<RecordControl>,
        counts: Arc<Counts>,
    ) -> Result<Self> {
        Ok(Self {
            id: assignment.id.clone(),
            clock: shared.clock.clone(),
            outbound: shared.outbound.clone(),
            tracker: Tracker::new(&shared.track, assignment.phantoms.clone()),
            task: CameraTask::new(assignment, &shared.site, IdSource::live())?,
            record,
            recording,
            rolls: rolls(assignment),
            counts,
            trajectories: (shared.track.keep_hours > 0).then(Trajectories::default),
            told: shared.clock.now().mono,
        })
    }

    fn run(mut self, inputs: &Receiver<TaskInput>) {
        loop {
            pulse::beat();
            match inputs.recv_timeout(Duration::from_millis(500)) {
                Ok(TaskInput::Detected(seen)) => self.step(&seen.0, &seen.1),
                Ok(TaskInput::Reconfigure(assignment)) => self.reconfigure(&assignment),
                // No frame came: what is open ends in its time all the same.
                Err(RecvTimeoutError::Timeout) => {
                    let ended = self.task.tick(self.clock.now());
                    self.send_all(ended);
                }
                Ok(TaskInput::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.clock.now().mono.saturating_sub(self.told) >= TELL_INTERVAL {
                self.tell();
            }
        }
        let ended = self.task.end_all(self.clock.now());
        self.send_all(ended);
        self.tell();
    }

    fn step(&mut self, frame: &Frame, detections: &[Detection]) {
        let tracks = self.tracker.step(detections, frame.width, frame.height, frame.arrived);
        if let Some(all) = &mut self.trajectories {
            all.step(&tracks, frame.width, frame.height, frame.arrived);
        }
        let record = self.record.clone();
        let mut better = |at: Stamp| {
            let units = record.as_ref()?.ring.gop_at(at);
            match decode_nearest(&units, SNAPSHOT_DEADLINE) {
                Ok(frame) => Some(frame),
                Err(e) => {
                    tracing::debug!("the snapshot comes from the detect stream: {e}");
                    None
                }
            }
        };
        for (report, snapshot) in self.task.step(frame, &tracks, &mut better) {
            self.send(report, snapshot);
        }
    }

    fn reconfigure(&mut self, assignment: &CameraAssignment) {
        match self.task.reconfigure(assignment, self.clock.now()) {
            Ok(ended) => {
                // What ended belonged to the old rules.
                self.send_all(ended);
                self.rolls = rolls(assignment);
            }
            // The node checked the document before it sent it.
            Err(e) => tracing::error!(camera = self.id.as_str(), "{e}; the rules stay as they were"),
        }
    }

    fn send_all(&self, reports: Vec<EventReport>) {
        for report in reports {
            self.send(report, None);
        }
    }

    fn send(&self, report: EventReport, snapshot: Option<Snapshot>) {
        self.recording.event(&report, self.rolls.get(&report.rule).copied().unwrap_or_default());
        if report.phase == Phase::Started {
            self.counts.events.fetch_add(1, Ordering::Relaxed);
        }
        self.outbound.send(ToNode::Event(Box::new(report)), snapshot.map(|s| s.jpeg).unwrap_or_default());
    }

    /// Tells the node what was learned of the place, and where objects went.
    fn tell(&mut self) {
        self.told = self.clock.now().mono;
        let phantoms = self.tracker.phantoms();
        self.outbound.send(ToNode::Phantoms { camera: self.id.clone(), phantoms }, Bytes::new());
        let pieces = self.trajectories.as_mut().map(Trajectories::take).unwrap_or_default();
        if pieces.is_empty() {
            return;
        }
        match trajectory::pack_all(&pieces) {
            Ok(packed) => self.outbound.send(ToNode::Trajectories { camera: self.id.clone() }, packed.into()),
            Err(e) => tracing::error!(camera = self.id.as_str(), "{e}"),
        }
    }
}
