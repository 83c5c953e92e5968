//! The worker process: reads up to eight cameras for its node, and may die at any time (decoders are C code fed by
//! strangers). Started by the node, never by a person.
//!
//! Orders come over one Unix socket; addresses and passwords come on standard input, one JSON line a camera, so that
//! neither the process list nor a dump of the socket shows them. When standard input ends the node is gone, and so is
//! the worker.

mod camera;
mod outbound;
mod record;
pub mod stream;

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use super::camera::SiteSettings;
use super::{join, thread};
use crate::base::clock::SystemClock;
use crate::base::types::{CameraId, Frame};
use crate::base::{Clock, Error, ErrorKind, Result};
use crate::detect::{Detector, Mailbox, Take};
use crate::wire::ipc::{
    CameraAssignment, CameraSecrets, Decoder, PROTOCOL, ToNode, ToWorker, WorkerSetup, WorkerStats,
};
use camera::{CameraRuntime, Shared};
use outbound::Outbound;

/// How long the secrets of an assignment may take: they were written before it.
const SECRETS_DEADLINE: Duration = Duration::from_secs(5);

/// Runs until the node says stop or goes away.
///
/// # Errors
/// When the node cannot be reached or speaks another protocol, or when the detector cannot be loaded.
pub fn run(socket: &Path) -> Result<()> {
    let socket = UnixStream::connect(socket).map_err(|e| {
        Error::io("the node cannot be reached", socket, e).hint("workers are started by `wardwatch run`, not by hand")
    })?;
    let outbound = Arc::new(Outbound::default());
    let vault = Arc::new(Vault::default());
    let writer = {
        let (outbound, socket) = (outbound.clone(), clone(&socket)?);
        thread("to node", move || outbound.write_to(socket))?
    };
    watch_stdin(vault.clone(), clone(&socket)?)?;
    outbound.send(ToNode::Hello { protocol: PROTOCOL, pid: std::process::id() }, Bytes::new());
    let result = serve(Messages::new(socket), &outbound, &vault);
    if let Err(e) = &result {
        outbound.send(ToNode::Failed { message: e.to_string() }, Bytes::new());
    }
    outbound.send(ToNode::Bye, Bytes::new());
    outbound.close();
    join(writer);
    result
}

fn clone(socket: &UnixStream) -> Result<UnixStream> {
    socket.try_clone().map_err(|e| Error::io("the socket cannot be shared", "socket", e))
}

fn serve(mut messages: Messages, outbound: &Arc<Outbound>, vault: &Vault) -> Result<()> {
    let Some(first) = messages.next()? else { return Ok(()) };
    let ToWorker::Setup(setup) = first else {
        return Err(Error::new(ErrorKind::Invalid, "the node's first message is not the set-up"));
    };
    if setup.protocol != PROTOCOL {
        return Err(Error::new(ErrorKind::Invalid, "node and worker are of different versions")
            .hint("finish the upgrade and start wardwatch again"));
    }
    crate::ingest::init()?;
    let worker = Worker::start(&setup, outbound.clone())?;
    let result = loop {
        match messages.next() {
            Ok(Some(ToWorker::Assign(assignment))) => worker.assign(*assignment, vault),
            Ok(Some(ToWorker::Release { camera })) => worker.release(&camera),
            Ok(Some(ToWorker::Stop) | None) => break Ok(()),
            Ok(Some(ToWorker::Setup(_))) => tracing::warn!("a second set-up is ignored"),
            Err(e) => break Err(e),
        }
    };
    worker.stop();
    result
}

/// The node's messages.
struct Messages {
    socket: UnixStream,
    decoder: Decoder,
}

impl Messages {
    fn new(socket: UnixStream) -> Self {
        Self { socket, decoder: Decoder::default() }
    }

    /// The next message; `None` when the node has closed the connection.
    fn next(&mut self) -> Result<Option<ToWorker>> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some((message, _)) = self.decoder.pull()? {
                return Ok(Some(message));
            }
            match self.socket.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(n) => self.decoder.push(&chunk[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("cannot read from the node", "socket", e)),
            }
        }
    }
}

/// Secrets by camera, as they came on standard input.
#[derive(Default)]
struct Vault {
    secrets: Mutex<HashMap<CameraId, CameraSecrets>>,
    arrived: Condvar,
}

impl Vault {
    fn put(&self, secrets: CameraSecrets) {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).insert(secrets.camera.clone(), secrets);
        self.arrived.notify_all();
    }

    /// The secrets of `camera` of at least `generation`.
    fn get(&self, camera: &CameraId, generation: u64) -> Option<CameraSecrets> {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let missing =
            |s: &mut HashMap<CameraId, CameraSecrets>| s.get(camera).is_none_or(|s| s.generation < generation);
        let (secrets, _) =
            self.arrived.wait_timeout_while(secrets, SECRETS_DEADLINE, missing).unwrap_or_else(PoisonError::into_inner);
        secrets.get(camera).filter(|s| s.generation >= generation).cloned()
    }
}

/// Reads secrets until standard input ends; then the node is gone and the socket is shut, which ends the worker.
fn watch_stdin(vault: Arc<Vault>, socket: UnixStream) -> Result<()> {
    thread("secrets", move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            match serde_json::from_str::<CameraSecrets>(&line) {
                Ok(secrets) => vault.put(secrets),
                // The error's text could quote the line.
                Err(_) => tracing::error!("a camera's secrets cannot be understood"),
            }
        }
        if let Err(e) = socket.shutdown(std::net::Shutdown::Read) {
            tracing::debug!("the socket was closed already: {e}");
        }
    })
    .map(drop)
}

type Cameras = Arc<RwLock<HashMap<CameraId, Arc<CameraRuntime>>>>;

/// The running worker.
struct Worker {
    shared: Shared,
    cameras: Cameras,
    threads: Vec<std::thread::JoinHandle<()>>,
    stopping: Arc<(Mutex<bool>, Condvar)>,
}

impl Worker {
    fn start(setup: &WorkerSetup, outbound: Arc<Outbound>) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let detector = Detector::load(&setup.detect)?;
        let (model, provider) = (detector.model().to_owned(), detector.provider().to_owned());
        let shared = Shared {
            clock: clock.clone(),
            outbound: outbound.clone(),
            mailbox: Arc::new(Mailbox::new()),
            track: setup.track.clone(),
            site: SiteSettings::new(&setup.timezone, setup.snapshot.clone(), &model)?,
            ring_bytes: setup.ring_bytes,
            record: setup.record.clone(),
            boot_id: setup.boot_id.clone(),
        };
        let cameras = Cameras::default();
        let times = Arc::new(Mutex::new(Vec::new()));
        let stopping = Arc::new((Mutex::new(false), Condvar::new()));
        let detect = {
            let (mailbox, cameras, times) = (shared.mailbox.clone(), cameras.clone(), times.clone());
            thread("detect", move || detect_loop(detector, &mailbox, &cameras, &times, &*clock))?
        };
        let stats = {
            let (cameras, outbound, stopping) = (cameras.clone(), outbound.clone(), stopping.clone());
            thread("stats", move || stats_loop(&cameras, &times, &outbound, &stopping))?
        };
        outbound.send(ToNode::Ready { model, provider }, Bytes::new());
        Ok(Self { shared, cameras, threads: vec![detect, stats], stopping })
    }

    fn lookup(&self, camera: &CameraId) -> Option<Arc<CameraRuntime>> {
        self.cameras.read().unwrap_or_else(PoisonError::into_inner).get(camera).cloned()
    }

    fn assign(&self, assignment: CameraAssignment, vault: &Vault) {
        let id = assignment.id.clone();
        if let Some(running) = self.lookup(&id) {
            if !running.must_reconnect(&assignment) {
                running.reconfigure(assignment);
                return;
            }
            self.release(&id);
        }
        let Some(secrets) = vault.get(&id, assignment.secrets_generation) else {
            tracing::error!(camera = id.as_str(), "its address did not come from the node");
            return;
        };
        match CameraRuntime::start(assignment, &secrets, &self.shared) {
            Ok(runtime) => {
                self.cameras.write().unwrap_or_else(PoisonError::into_inner).insert(id, runtime);
            }
            Err(e) => tracing::error!(camera = id.as_str(), "{e}"),
        }
    }

    fn release(&self, camera: &CameraId) {
        let runtime = self.cameras.write().unwrap_or_else(PoisonError::into_inner).remove(camera);
        if let Some(runtime) = runtime {
            runtime.stop(&self.shared);
        }
    }

    fn stop(self) {
        let cameras: Vec<CameraId> =
            self.cameras.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        // All streams stop at once; each then needs its own moment to end.
        std::thread::scope(|scope| {
            for camera in &cameras {
                scope.spawn(|| self.release(camera));
            }
        });
        self.shared.mailbox.close();
        *self.stopping.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stopping.1.notify_all();
        for handle in self.threads {
            join(handle);
        }
    }
}

/// The one detector looks at one frame after another, cameras taking turns.
fn detect_loop(
    mut detector: Detector,
    mailbox: &Mailbox<CameraId, Frame>,
    cameras: &Cameras,
    times: &Mutex<Vec<f32>>,
    clock: &dyn Clock,
) {
    loop {
        let (camera, frame) = match mailbox.take(Duration::from_secs(1)) {
            Take::Item(camera, frame) => (camera, frame),
            Take::Nothing => continue,
            Take::Closed => return,
        };
        let runtime = cameras.read().unwrap_or_else(PoisonError::into_inner).get(&camera).cloned();
        let Some(runtime) = runtime else { continue };
        let frame = runtime.mask(&frame);
        let begun = clock.now();
        match detector.detect(&frame) {
            Ok(detections) => {
                let took = clock.now().since(begun).as_secs_f32();
                times.lock().unwrap_or_else(PoisonError::into_inner).push(took);
                runtime.detected(frame, detections);
            }
            Err(e) => tracing::error!(camera = camera.as_str(), "{e}"),
        }
    }
}

/// Tells the node once a second what has been counted.
fn stats_loop(cameras: &Cameras, times: &Mutex<Vec<f32>>, outbound: &Outbound, stopping: &(Mutex<bool>, Condvar)) {
    loop {
        let stop = stopping.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (stop, _) = stopping
            .1
            .wait_timeout_while(stop, Duration::from_secs(1), |stop| !*stop)
            .unwrap_or_else(PoisonError::into_inner);
        let ending = *stop;
        drop(stop);
        let counted = cameras.read().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = counted.iter().map(|(id, c)| (id.clone(), c.counters())).collect();
        drop(counted);
        list.sort_by(|a, b| a.0.cmp(&b.0));
        let inference_seconds = std::mem::take(&mut *times.lock().unwrap_or_else(PoisonError::into_inner));
        outbound.send(ToNode::Stats(WorkerStats { cameras: list, inference_seconds }), Bytes::new());
        if ending {
            return;
        }
    }
}
