//! The workers of a node: started, given their cameras, told to end. Which camera is in which worker, and which camera
//! is read at all, is decided by [`Places`]; this puts it into practice.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::places::{Input, Output, Places};
use super::process::{Death, Desired, WorkerProcess};
use super::sink::Sink;
use super::system::Condition;
use crate::base::Clock;
use crate::base::telemetry::CAMERAS_QUARANTINED;
use crate::base::types::{CameraId, CameraState};
use crate::config::{Camera, CamerasDocument, Sharing};

/// How often it is looked whose time is over.
const LOOK: Duration = Duration::from_secs(1);
/// Deaths that wait to be heard; each holds its worker up.
const ROOM: usize = 16;

/// Makes the process of worker `index`, which tells its deaths there.
pub(super) type MakeWorker = Box<dyn Fn(usize, mpsc::Sender<Death>) -> WorkerProcess + Send>;

/// All workers of a node.
pub(super) struct Fleet {
    make: MakeWorker,
    sink: Sink,
    clock: Arc<dyn Clock>,
    places: Places,
    /// With those that are to end.
    workers: BTreeMap<usize, watch::Sender<Desired>>,
    /// Each gives its number back when it ends.
    tasks: JoinSet<usize>,
    known: BTreeMap<CameraId, (Camera, u64)>,
    /// Cameras that wait for the end of the worker that still has them: some can be read by one only.
    leaving: HashMap<CameraId, usize>,
    quarantined: HashMap<CameraId, Condition>,
    revision: u64,
    deaths: mpsc::Receiver<Death>,
    told: mpsc::Sender<Death>,
    looks: Interval,
}

impl Fleet {
    pub(super) fn new(make: MakeWorker, per_worker: usize, sink: Sink, clock: Arc<dyn Clock>) -> Self {
        let (told, deaths) = mpsc::channel(ROOM);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        gauge!(CAMERAS_QUARANTINED).set(0.0);
        Self {
            make,
            sink,
            clock,
            places: Places::new(per_worker),
            workers: BTreeMap::new(),
            tasks: JoinSet::new(),
            known: BTreeMap::new(),
            leaving: HashMap::new(),
            quarantined: HashMap::new(),
            revision: 0,
            deaths,
            told,
            looks,
        }
    }

    /// Puts `document` in force.
    pub(super) fn apply(&mut self, document: &CamerasDocument) {
        self.revision = document.revision;
        self.sink.set_config_revision(document.revision);
        self.sink.recordings().set_modes(document);
        let cameras: Vec<Camera> = document.cameras.iter().filter_map(shared).collect();
        let gone: Vec<CameraId> =
            self.known.keys().filter(|id| cameras.iter().all(|c| c.id != **id)).cloned().collect();
        for camera in gone {
            self.known.remove(&camera);
            self.leaving.remove(&camera);
            self.release(&camera);
            self.place(Input::Removed(&camera), None);
            self.sink.forget(&camera);
        }
        for camera in &cameras {
            let (generation, before) = (self.generation(camera), self.known.get(&camera.id));
            let (is_new, is_changed) = (before.is_none(), before.is_some_and(|(known, _)| known != camera));
            self.known.insert(camera.id.clone(), (camera.clone(), generation));
            if is_new {
                self.sink.announce(&camera.id, CameraState::Connecting);
                self.place(Input::Added(&camera.id), None);
            } else if is_changed {
                self.place(Input::Changed(&camera.id), None);
            }
        }
        self.arrange();
    }

    /// Waits for whatever comes next and does what follows from it.
    pub(super) async fn turn(&mut self) {
        tokio::select! {
            Some(death) = self.deaths.recv() => {
                let input = Input::Died { cameras: &death.cameras, blame: death.blame.as_ref() };
                self.place(input, Some(death.worker));
                self.arrange();
                // Its worker goes on when this is dropped.
                drop(death.decided);
            }
            Some(ended) = self.tasks.join_next() => self.ended(ended.map_err(|e| e.to_string())),
            _ = self.looks.tick() => {
                self.place(Input::Tick, None);
                self.arrange();
            }
        }
    }

    /// Lets the places decide, and tells what they say; `dead`: the worker that has let go of its cameras already.
    fn place(&mut self, input: Input<'_>, dead: Option<usize>) {
        for output in self.places.step(input, self.clock.now()) {
            match output {
                Output::Moved { camera, from } => {
                    let to = self.places.worker_of(&camera);
                    tracing::warn!(camera = camera.as_str(), from, to, "goes to another worker");
                    if dead != Some(from) {
                        self.leaving.entry(camera).or_insert(from);
                    }
                }
                Output::Held { camera, deaths, until } => {
                    tracing::error!(camera = camera.as_str(), deaths, "ends its workers: it is let go of for a time");
                    let condition = self.sink.quarantined(&camera, deaths, until);
                    self.quarantined.insert(camera, condition);
                }
                Output::Tried(camera) => {
                    tracing::warn!(camera = camera.as_str(), "is tried again, in a worker of its own");
                    self.release(&camera);
                    self.sink.announce(&camera, CameraState::Connecting);
                }
            }
        }
        gauge!(CAMERAS_QUARANTINED).set(self.places.held() as f64);
    }

    fn release(&mut self, camera: &CameraId) {
        if let Some(condition) = self.quarantined.remove(camera) {
            self.sink.released(&condition);
        }
    }

    /// Starts and ends workers, and tells each what it should have.
    fn arrange(&mut self) {
        let wanted: Vec<usize> = self.places.workers().collect();
        for index in &wanted {
            if !self.workers.contains_key(index) {
                self.start(*index);
            }
        }
        for (index, worker) in &self.workers {
            if !wanted.contains(index) {
                worker.send_if_modified(|desired| {
                    desired.passed_on = true;
                    !std::mem::replace(&mut desired.stop, true)
                });
                continue;
            }
            let is_here = |id: &CameraId| self.places.worker_of(id) == Some(*index) && !self.leaving.contains_key(id);
            let cameras: Vec<(Camera, u64)> =
                self.known.iter().filter(|(id, _)| is_here(id)).map(|(_, known)| known.clone()).collect();
            worker.send_if_modified(|desired| {
                let same = desired.revision == self.revision && desired.cameras == cameras;
                (desired.revision, desired.cameras) = (self.revision, cameras);
                !same
            });
        }
    }

    fn start(&mut self, index: usize) {
        let (desired, orders) = watch::channel(Desired::default());
        self.sink.expect_worker(index);
        let process = (self.make)(index, self.told.clone());
        self.tasks.spawn(async move {
            process.supervise(orders).await;
            index
        });
        self.workers.insert(index, desired);
    }

    fn ended(&mut self, ended: Result<usize, String>) {
        match ended {
            Ok(index) => {
                self.workers.remove(&index);
                self.leaving.retain(|_, from| *from != index);
                self.sink.worker_ended(index);
                self.place(Input::Ended(index), None);
                self.arrange();
            }
            Err(e) => tracing::error!("a worker's task failed: {e}"),
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

    /// Asks every worker to end its events and stop, and waits until all have.
    pub(super) async fn stop(mut self) {
        // Nobody decides any more.
        drop(self.deaths);
        for worker in self.workers.values() {
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
