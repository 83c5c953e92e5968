//! Where objects went, kept for a day: gathered from the workers, written down all at once now and then. Nothing else
//! waits for it, and when the disk runs full it is the first to be left out.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::counter;
use tokio::task::JoinHandle;

use crate::base::telemetry as names;
use crate::base::trajectory::Trajectory;
use crate::base::types::CameraId;
use crate::base::{Clock, Result};
use crate::config::{NodeConfig, TrackConfig};
use crate::record::retention;
use crate::store::Store;

const EVERY: Duration = Duration::from_secs(30);

/// More pieces do not wait to be written.
const ROOM: usize = 20_000;

/// Cloneable.
#[derive(Clone)]
pub(super) struct Tracks(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    keep_ms: i64,
    state_dir: PathBuf,
    /// Below it nothing is written: the rest of the disk is for events.
    least_free: u64,
    waiting: Mutex<Vec<(CameraId, Trajectory)>>,
}

impl Tracks {
    /// The keeper, and the task that writes now and then what has come, and forgets what has had its time.
    pub(super) fn start(
        config: &TrackConfig,
        node: &NodeConfig,
        store: Store,
        clock: Arc<dyn Clock>,
    ) -> (Self, JoinHandle<()>) {
        let tracks = Self(Arc::new(Inner {
            store,
            clock,
            keep_ms: i64::from(config.keep_hours) * 3_600_000,
            state_dir: node.state_dir.clone(),
            // Recordings stop there, too.
            least_free: node.record.disk_floor_bytes / 2,
            waiting: Mutex::default(),
        }));
        let writing = tracks.clone();
        let task = tokio::spawn(async move {
            let mut interval = tokio::time::interval(EVERY);
            loop {
                interval.tick().await;
                writing.write().await;
            }
        });
        (tracks, task)
    }

    /// Takes over pieces of `camera`'s tracks; returns at once.
    pub(super) fn add(&self, camera: &CameraId, pieces: Vec<Trajectory>) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let room = ROOM.saturating_sub(waiting.len());
        dropped(pieces.len().saturating_sub(room));
        waiting.extend(pieces.into_iter().take(room).map(|piece| (camera.clone(), piece)));
    }

    /// Writes the last of it.
    pub(super) async fn finish(self) {
        self.write().await;
    }

    /// Writes what has come; what the store does not take is lost.
    async fn write(&self) {
        let pieces = std::mem::take(&mut *self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let (count, now) = (pieces.len(), self.0.clock.now());
        let room = match self.has_room() {
            Ok(room) => room,
            Err(e) => {
                tracing::warn!("{e}");
                false
            }
        };
        if !room {
            return dropped(count);
        }
        if let Err(e) = self.0.store.keep_tracks(pieces, now.wall_ms - self.0.keep_ms, now).await {
            tracing::warn!("{e}");
            dropped(count);
        }
    }

    fn has_room(&self) -> Result<bool> {
        Ok(!*self.0.store.reserve_in_use().borrow() && retention::free_bytes(&self.0.state_dir)? >= self.0.least_free)
    }
}

fn dropped(pieces: usize) {
    if pieces > 0 {
        counter!(names::TRACKS_DROPPED).increment(pieces as u64);
    }
}
