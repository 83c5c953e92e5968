//! Which worker has which camera. A camera keeps its worker for as long as it is in the document, so that a change to
//! one camera touches no other.

use std::collections::HashMap;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::process::{Desired, WorkerProcess};
use super::sink::Sink;
use crate::base::types::CameraId;
use crate::config::{Camera, CamerasDocument, Sharing};

/// Makes the process of worker `index`.
pub(super) type MakeWorker = Box<dyn Fn(usize) -> WorkerProcess + Send>;

/// All workers of a node.
pub(super) struct Fleet {
    make: MakeWorker,
    per_worker: usize,
    sink: Sink,
    workers: Vec<watch::Sender<Desired>>,
    tasks: JoinSet<()>,
    place: HashMap<CameraId, usize>,
    known: HashMap<CameraId, (Camera, u64)>,
}

impl Fleet {
    pub(super) fn new(make: MakeWorker, per_worker: usize, sink: Sink) -> Self {
        Self {
            make,
            per_worker,
            sink,
            workers: Vec::new(),
            tasks: JoinSet::new(),
            place: HashMap::new(),
            known: HashMap::new(),
        }
    }

    /// Puts `document` in force.
    pub(super) fn apply(&mut self, document: &CamerasDocument) {
        self.sink.set_config_revision(document.revision);
        self.sink.recordings().set_modes(document);
        let cameras: Vec<Camera> = document.cameras.iter().filter_map(shared).collect();
        let gone: Vec<CameraId> =
            self.place.keys().filter(|id| cameras.iter().all(|c| c.id != **id)).cloned().collect();
        for camera in gone {
            self.place.remove(&camera);
            self.known.remove(&camera);
            self.sink.forget(&camera);
        }
        for camera in &cameras {
            if !self.place.contains_key(&camera.id) {
                let worker = self.with_room();
                self.place.insert(camera.id.clone(), worker);
                self.sink.announce(&camera.id, crate::base::types::CameraState::Connecting);
            }
            let generation = self.generation(camera);
            self.known.insert(camera.id.clone(), (camera.clone(), generation));
        }
        for (index, worker) in self.workers.iter().enumerate() {
            let mine = cameras
                .iter()
                .filter(|c| self.place.get(&c.id) == Some(&index))
                .filter_map(|c| self.known.get(&c.id).cloned())
                .collect();
            worker.send_modify(|desired| {
                desired.revision = document.revision;
                desired.cameras = mine;
            });
        }
    }

    /// The generation of a camera's secrets: one more whenever an address or a credential changed.
    fn generation(&self, camera: &Camera) -> u64 {
        match self.known.get(&camera.id) {
            None => 1,
            Some((known, generation)) if known.detect == camera.detect && known.record == camera.record => *generation,
            Some((_, generation)) => generation + 1,
        }
    }

    /// A worker with room for one more camera, started if need be.
    fn with_room(&mut self) -> usize {
        for index in 0..self.workers.len() {
            if self.place.values().filter(|w| **w == index).count() < self.per_worker {
                return index;
            }
        }
        let index = self.workers.len();
        let (desired, orders) = watch::channel(Desired::default());
        self.sink.expect_worker(index);
        self.tasks.spawn((self.make)(index).supervise(orders));
        self.workers.push(desired);
        index
    }

    /// Asks every worker to end its events and stop, and waits until all have.
    pub(super) async fn stop(mut self) {
        for worker in &self.workers {
            worker.send_modify(|desired| desired.stop = true);
        }
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(e) = ended {
                tracing::error!("a worker's task failed: {e}");
            }
        }
    }
}

/// A camera as far as its owner shares it; `None` when it is not to be connected to.
fn shared(camera: &Camera) -> Option<Camera> {
    match camera.sharing {
        Sharing::Listed => None,
        Sharing::OnRequest => Some(Camera { rules: Vec::new(), ..camera.clone() }),
        Sharing::EventsOnly | Sharing::ScheduledLive => Some(camera.clone()),
    }
}
