//! The node's side of recording: what workers say of their files goes into the index, and what a worker or an earlier run
//! left open is ended from its sidecar. An index that cannot be written costs rows, no video: sidecars can rebuild it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::counter;

use super::system::{Condition, SystemEvents};
use crate::base::Result;
use crate::base::telemetry as names;
use crate::base::types::{CameraId, Gap, GapReason, Segment};
use crate::config::{CamerasDocument, RecordingMode};
use crate::record::segment;
use crate::store::Store;

/// Cloneable; shared by the tasks of all workers.
#[derive(Clone)]
pub(super) struct Recordings {
    store: Store,
    dir: PathBuf,
    system: SystemEvents,
    modes: Arc<Mutex<HashMap<CameraId, RecordingMode>>>,
}

impl Recordings {
    pub(super) fn new(store: Store, dir: PathBuf, system: SystemEvents) -> Self {
        Self { store, dir, system, modes: Arc::default() }
    }

    /// Ends what the last run left open. From there to the first new file is a gap, for cameras that are recorded always.
    pub(super) async fn begin(&self, document: &CamerasDocument) {
        self.set_modes(document);
        self.recover(None).await;
        for camera in &document.cameras {
            self.interrupted(&camera.id).await;
        }
    }

    /// From the last file of `camera` to the next one is a gap, if it is recorded always.
    pub(super) async fn interrupted(&self, camera: &CameraId) {
        if !self.is_continuous(camera) {
            return;
        }
        let last = self.store.last_recorded(camera.clone()).await;
        if let Some(Some(start_ms)) = report(camera, last) {
            self.gap_began(down(camera.clone(), start_ms)).await;
        }
    }

    pub(super) fn set_modes(&self, document: &CamerasDocument) {
        let modes = document.cameras.iter().map(|c| (c.id.clone(), c.recording.mode)).collect();
        *self.modes.lock().unwrap_or_else(PoisonError::into_inner) = modes;
    }

    fn is_continuous(&self, camera: &CameraId) -> bool {
        let modes = self.modes.lock().unwrap_or_else(PoisonError::into_inner);
        modes.get(camera) == Some(&RecordingMode::Continuous)
    }

    pub(super) async fn opened(&self, segment: Segment) {
        self.system.end(&Condition::DiskFull, segment.camera.as_str());
        report(&segment.camera.clone(), self.store.segment_opened(segment).await);
    }

    pub(super) async fn closed(&self, segment: Segment) {
        counter!(names::RECORD_BYTES, "camera" => segment.camera.to_string()).increment(segment.bytes);
        counter!(names::RECORD_SEGMENTS, "camera" => segment.camera.to_string()).increment(1);
        report(&segment.camera.clone(), self.store.segment_closed(segment).await);
    }

    pub(super) async fn gap_began(&self, gap: Gap) {
        let (camera, reason) = (gap.camera.to_string(), gap.reason.as_str());
        counter!(names::RECORD_GAPS, "camera" => camera, "reason" => reason).increment(1);
        if gap.reason == GapReason::DiskFull && gap.end_ms.is_none() {
            self.system.begin(Condition::DiskFull, gap.camera.as_str());
        }
        report(&gap.camera.clone(), self.store.gap_began(gap).await);
    }

    pub(super) async fn gap_ended(&self, camera: CameraId, at_ms: i64) {
        self.system.end(&Condition::DiskFull, camera.as_str());
        report(&camera, self.store.gap_ended(camera.clone(), at_ms).await);
    }

    /// Ends the open files of `camera`, whose worker is gone, or of all.
    pub(super) async fn recover(&self, camera: Option<&CameraId>) {
        let open = match self.store.open_segments(camera.cloned()).await {
            Ok(open) => open,
            Err(e) => return tracing::error!("recordings stay open in the index until the next start: {e}"),
        };
        for segment in open {
            let (dir, path) = (self.dir.clone(), segment.path.clone());
            let found = tokio::task::spawn_blocking(move || segment::recover(&dir, &path)).await;
            match found {
                Ok(Ok(Some(found))) => {
                    tracing::info!(
                        path = found.path,
                        fragments = found.fragments,
                        "a recording that was cut off is ended"
                    );
                    let gap = camera.zip(found.end_ms).map(|(c, end_ms)| down(c.clone(), end_ms));
                    self.closed(found).await;
                    if let Some(gap) = gap.filter(|g| self.is_continuous(&g.camera)) {
                        self.gap_began(gap).await;
                    }
                }
                Ok(Ok(None)) => {
                    report(&segment.camera, self.store.remove_segment(segment.id).await);
                }
                Ok(Err(e)) => tracing::error!(path = segment.path, "a recording that was cut off stays open: {e}"),
                Err(e) => tracing::error!(path = segment.path, "a recording cannot be looked at: {e}"),
            }
        }
    }
}

fn down(camera: CameraId, start_ms: i64) -> Gap {
    Gap { id: 0, camera, start_ms, end_ms: None, reason: GapReason::NodeDown }
}

fn report<T>(camera: &CameraId, result: Result<T>) -> Option<T> {
    result.inspect_err(|e| tracing::error!(camera = camera.as_str(), "the index of recordings is behind: {e}")).ok()
}
