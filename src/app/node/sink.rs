//! Where workers' messages go: events to the store, health to the status board, counters to the metrics.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use metrics::{counter, gauge, histogram};
use tokio::sync::watch;

use super::clips::Clips;
use super::live::Live;
use super::recordings::Recordings;
use super::system::{Condition, SystemEvents};
use super::tracks::Tracks;
use crate::base::telemetry as names;
use crate::base::trajectory;
use crate::base::types::{CameraCounters, CameraHealth, CameraId, CameraState, EventReport, Phantom, Snapshot};
use crate::base::{Clock, ErrorKind, Result, Stamp};
use crate::publish::presence::CameraStatuses;
use crate::store::Store;
use crate::wire::event::{Origin, rfc3339};
use crate::wire::ipc::{Layer, SandboxReport, ToNode, WorkerStats};
use crate::wire::status::CameraStatus;

/// Between tries to commit while the disk is full or failing.
const COMMIT_RETRY: Duration = Duration::from_secs(1);

/// Whether the store may take the same again later.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Exhausted | ErrorKind::Io | ErrorKind::Timeout | ErrorKind::Corrupt)
}

/// Who keeps what is no event.
pub(super) struct Keepers {
    pub(super) recordings: Recordings,
    pub(super) clips: Clips,
    pub(super) tracks: Tracks,
    pub(super) live: Live,
}

/// Cloneable; shared by the tasks of all workers.
#[derive(Clone)]
pub(super) struct Sink(Arc<Inner>);

struct Inner {
    store: Store,
    keepers: Keepers,
    system: SystemEvents,
    clock: Arc<dyn Clock>,
    origin: Origin,
    statuses: watch::Sender<CameraStatuses>,
    config_revision: AtomicU64,
    counted: Mutex<HashMap<CameraId, CameraCounters>>,
    /// By worker: whether its detector is loaded.
    ready: Mutex<BTreeMap<usize, bool>>,
}

impl Sink {
    pub(super) fn new(
        store: Store,
        keepers: Keepers,
        system: SystemEvents,
        clock: Arc<dyn Clock>,
        origin: Origin,
        statuses: watch::Sender<CameraStatuses>,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            keepers,
            system,
            clock,
            origin,
            statuses,
            config_revision: AtomicU64::new(0),
            counted: Mutex::default(),
            ready: Mutex::default(),
        }))
    }

    /// The index of recordings.
    pub(super) fn recordings(&self) -> &Recordings {
        &self.0.keepers.recordings
    }

    /// The node's run.
    pub(super) fn boot_id(&self) -> &str {
        &self.0.origin.boot_id
    }

    /// Takes a message over. Waits for the store: events are never dropped, so a full disk holds the worker up.
    pub(super) async fn take(&self, message: ToNode, blob: Vec<u8>) -> Result<()> {
        match message {
            ToNode::Event(report) => self.commit(*report, Bytes::from(blob)).await,
            ToNode::Health(health) => self.health(&health),
            ToNode::Stats(stats) => self.stats(&stats),
            ToNode::Phantoms { camera, phantoms } => {
                if let Err(e) = self.0.store.set_phantoms(camera.clone(), phantoms).await {
                    tracing::warn!(camera = camera.as_str(), "{e}");
                }
            }
            ToNode::Trajectories { camera } => match trajectory::unpack_all(&blob) {
                Ok(pieces) => self.0.keepers.tracks.add(&camera, pieces),
                Err(e) => tracing::warn!(camera = camera.as_str(), "{e}"),
            },
            ToNode::SegmentOpened(segment) => self.0.keepers.recordings.opened(*segment).await,
            ToNode::SegmentClosed(segment) => self.0.keepers.recordings.closed(*segment).await,
            ToNode::GapBegan(gap) => self.0.keepers.recordings.gap_began(gap).await,
            ToNode::GapEnded { camera, at_ms } => self.0.keepers.recordings.gap_ended(camera, at_ms).await,
            live @ (ToNode::LivePicture { .. } | ToNode::LiveMedia { .. } | ToNode::LiveEnded { .. }) => {
                self.0.keepers.live.take(live, blob.into());
            }
            ToNode::Hello { .. } | ToNode::Ready { .. } | ToNode::Failed { .. } | ToNode::Bye => {}
        }
        Ok(())
    }

    async fn commit(&self, report: EventReport, jpeg: Bytes) {
        // Without new bytes the report names a picture that was committed before.
        let snapshot = report
            .snapshot
            .as_ref()
            .filter(|_| !jpeg.is_empty())
            .map(|info| Snapshot { info: info.clone(), jpeg: jpeg.clone() });
        let mut complained = false;
        // The store mends a corrupt database itself, once it has been found out.
        let mut corrupt = 0;
        loop {
            match self.0.store.commit(report.clone(), snapshot.clone(), self.0.clock.now()).await {
                Ok(committed) => {
                    if committed.snapshots_dropped > 0 {
                        self.0.system.begin(Condition::SnapshotsDropped, "store");
                    }
                    tracing::debug!(
                        camera = report.place(),
                        event = committed.id,
                        revision = committed.revision,
                        phase = report.phase.as_str(),
                        "event committed"
                    );
                    self.0.keepers.clips.reported(&report);
                    return;
                }
                Err(e) if corrupt < 3 && is_passing(e.kind()) => {
                    corrupt += u32::from(e.kind() == ErrorKind::Corrupt);
                    if !complained {
                        tracing::error!(camera = report.place(), "event waits for the store: {e}");
                        complained = true;
                    }
                    tokio::time::sleep(COMMIT_RETRY).await;
                }
                // A commit whose sync failed may be there all the same once the database is opened anew.
                Err(e) if complained && e.kind() == ErrorKind::Invalid => {
                    tracing::info!(camera = report.place(), event = report.id, "is stored already: {e}");
                    return;
                }
                Err(e) => {
                    tracing::error!(camera = report.place(), event = report.id, "event refused: {e}");
                    return;
                }
            }
        }
    }

    fn health(&self, health: &CameraHealth) {
        self.state_metric(&health.camera, health.state);
        let status = self.status(health);
        self.0.statuses.send_modify(|all| {
            all.insert(health.camera.clone(), status);
        });
    }

    fn status(&self, h: &CameraHealth) -> CameraStatus {
        let time = |ms| rfc3339(ms, &self.0.origin.timezone);
        CameraStatus {
            state: h.state.as_str().to_owned(),
            fault: h.fault.map(|f| f.as_str().to_owned()),
            detail: h.detail.clone(),
            since: time(h.since.wall_ms),
            codec: h.codec.map(|c| c.as_str().to_owned()),
            width: h.width,
            height: h.height,
            fps: h.fps,
            last_frame: h.last_frame.map(|s| time(s.wall_ms)),
            boot_id: self.0.origin.boot_id.clone(),
            config_revision: self.0.config_revision.load(Ordering::Relaxed),
            retry_at: None,
        }
    }

    fn state_metric(&self, camera: &CameraId, now: CameraState) {
        for state in CameraState::ALL {
            let value = if state == now { 1.0 } else { 0.0 };
            gauge!(names::CAMERA_STATE, "camera" => camera.to_string(), "state" => state.as_str()).set(value);
        }
    }

    /// A worker counts from zero; the metrics go on from where its predecessor stopped.
    fn stats(&self, stats: &WorkerStats) {
        let mut counted = self.0.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for (camera, now) in &stats.cameras {
            let before = counted.insert(camera.clone(), *now).unwrap_or_default();
            let add = |name: &'static str, now: u64, before: u64| {
                let more = if now >= before { now - before } else { now };
                counter!(name, "camera" => camera.to_string()).increment(more);
            };
            add(names::FRAMES_IN, now.frames_in, before.frames_in);
            add(names::FRAMES_INFERRED, now.inferred, before.inferred);
            add(names::FRAMES_REPLACED, now.frames_replaced, before.frames_replaced);
            add(names::RESULTS_DROPPED, now.results_dropped, before.results_dropped);
            add(names::UNITS_SKIPPED, now.units_skipped, before.units_skipped);
            add(names::GOPS_EVICTED, now.gops_evicted, before.gops_evicted);
            add(names::DETECTIONS, now.detections, before.detections);
            add(names::EVENTS, now.events, before.events);
            add(names::RECONNECTS, now.reconnects, before.reconnects);
        }
        for seconds in &stats.inference_seconds {
            histogram!(names::INFERENCE_SECONDS).record(f64::from(*seconds));
        }
    }

    /// What `camera`'s workers have learned before.
    pub(super) async fn phantoms(&self, camera: &CameraId) -> Vec<Phantom> {
        self.0.store.phantoms(camera.clone()).await.unwrap_or_else(|e| {
            tracing::warn!(camera = camera.as_str(), "what was learned of it cannot be read: {e}");
            Vec::new()
        })
    }

    /// A worker ended, or `died`: what it had open ends, its cameras wait for its successor.
    pub(super) async fn worker_gone(&self, index: usize, cameras: &[CameraId], died: bool) {
        self.0.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(index, false);
        if died {
            self.0.system.begin(Condition::WorkerDown(index), "fleet");
        }
        let now = self.0.clock.now();
        for camera in cameras {
            self.0.counted.lock().unwrap_or_else(PoisonError::into_inner).remove(camera);
            match self.0.store.end_open_events(Some(camera.clone()), now).await {
                Ok(ended) if !ended.is_empty() => {
                    tracing::warn!(
                        camera = camera.as_str(),
                        "{} open events were ended with their worker",
                        ended.len()
                    );
                    self.0.keepers.clips.look_again().await;
                }
                Ok(_) => {}
                Err(e) => tracing::error!(camera = camera.as_str(), "open events stay open until the next start: {e}"),
            }
            self.0.keepers.recordings.recover(Some(camera)).await;
            self.announce(camera, CameraState::Restarting);
        }
    }

    /// A worker ended in order because its cameras go to others.
    pub(super) async fn passed_on(&self, cameras: &[CameraId]) {
        for camera in cameras {
            self.0.counted.lock().unwrap_or_else(PoisonError::into_inner).remove(camera);
            self.0.keepers.recordings.interrupted(camera).await;
        }
    }

    /// The process of a worker that is needed no more has ended.
    pub(super) fn worker_ended(&self, index: usize) {
        self.0.ready.lock().unwrap_or_else(PoisonError::into_inner).remove(&index);
        self.0.system.end(&Condition::WorkerDown(index), "fleet");
        gauge!(names::WORKER_MEMORY, "worker" => index.to_string()).set(0.0);
    }

    /// `camera` is not read until then; the condition ends when it is read again.
    pub(super) fn quarantined(&self, camera: &CameraId, deaths: usize, until: Stamp) -> Condition {
        let retry_at = rfc3339(until.wall_ms, &self.0.origin.timezone);
        let mut status = self.status(&self.of_node(camera, CameraState::Quarantined));
        status.detail = Some(match deaths {
            1 => "its worker died again soon after it was tried again".to_owned(),
            _ => format!("its worker died {deaths} times within ten minutes, at last with it alone"),
        });
        status.retry_at = Some(retry_at.clone());
        self.state_metric(camera, CameraState::Quarantined);
        self.0.statuses.send_modify(|all| {
            all.insert(camera.clone(), status);
        });
        let condition = Condition::CameraQuarantined { camera: camera.clone(), deaths, retry_at };
        self.0.system.begin(condition.clone(), "fleet");
        condition
    }

    /// It is read again, or no longer in the document.
    pub(super) fn released(&self, condition: &Condition) {
        self.0.system.end(condition, "fleet");
    }

    /// Sets a camera's state on behalf of the node itself.
    pub(super) fn announce(&self, camera: &CameraId, state: CameraState) {
        self.health(&self.of_node(camera, state));
    }

    fn of_node(&self, camera: &CameraId, state: CameraState) -> CameraHealth {
        CameraHealth {
            camera: camera.clone(),
            state,
            fault: None,
            detail: None,
            since: self.0.clock.now(),
            codec: None,
            width: 0,
            height: 0,
            fps: 0.0,
            last_frame: None,
        }
    }

    /// A camera left the document: its retained status is taken off the broker, its state shows as removed.
    pub(super) fn forget(&self, camera: &CameraId) {
        self.state_metric(camera, CameraState::Removed);
        self.0.statuses.send_modify(|all| {
            all.remove(camera);
        });
    }

    /// Shows which layers of its sandbox a worker has.
    pub(super) fn sandboxed(&self, index: usize, report: &SandboxReport) {
        for layer in Layer::ALL {
            let there = report.enforced.contains(&layer) && report.missing.iter().all(|(missing, _)| *missing != layer);
            let labels = [("worker", index.to_string()), ("layer", layer.as_str().to_owned())];
            gauge!(names::WORKER_SANDBOX, &labels).set(f64::from(u8::from(there)));
        }
    }

    pub(super) fn worker_ready(&self, index: usize) {
        self.0.system.end(&Condition::WorkerDown(index), "fleet");
        self.0.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(index, true);
    }

    pub(super) fn worker_failed(&self, index: usize) {
        self.0.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(index, false);
    }

    /// Whether every worker that was started has its detector loaded.
    pub(super) fn workers_ready(&self) -> bool {
        self.0.ready.lock().unwrap_or_else(PoisonError::into_inner).values().all(|ready| *ready)
    }

    /// Expects a worker that has not reported yet.
    pub(super) fn expect_worker(&self, index: usize) {
        self.0.ready.lock().unwrap_or_else(PoisonError::into_inner).entry(index).or_insert(false);
    }

    pub(super) fn set_config_revision(&self, revision: u64) {
        self.0.system.set_config_revision(revision);
        self.0.config_revision.store(revision, Ordering::Relaxed);
    }
}
