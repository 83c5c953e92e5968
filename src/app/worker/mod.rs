//! The worker process: reads up to eight cameras for its node, and may die at any time (decoders are C code fed by
//! strangers). Started by the node, never by a person.
//!
//! Orders come over one Unix socket; addresses and passwords come on standard input, one JSON line a camera, so that
//! neither the process list nor a dump of the socket shows them. When standard input ends the node is gone, and so is
//! the worker.

mod camera;
mod live;
mod outbound;
mod pulse;
mod record;
pub mod stream;

use std::collections::HashMap;
use std::io::ErrorKind as Io;
use std::io::{BufRead, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use super::camera::SiteSettings;
use super::{join, sandbox, thread};
use crate::base::clock::SystemClock;
use crate::base::types::{CameraId, Frame};
use crate::base::{Clock, Error, ErrorKind, Result};
use crate::detect::{Detector, Mailbox, Take};
use crate::wire::ipc::{
    self, CameraAssignment, CameraSecrets, Decoder, LateThread, LiveWant, PROTOCOL, SandboxReport, ToNode, ToWorker,
    WorkerSetup, WorkerStats,
};
use camera::{CameraRuntime, Shared};
use outbound::Outbound;
use pulse::{Listener, Pulse};

/// How long the secrets of an assignment may take: they were written before it.
const SECRETS_DEADLINE: Duration = Duration::from_secs(5);
/// How often a main thread without orders tells that it is alive.
const LOOK_UP: Duration = Duration::from_secs(1);
/// The address space that may be written counts more than what is in use, stacks of threads above all: the limit that
/// the kernel enforces is this many times the one that the node watches. It stops a single huge allocation.
const DATA_FOR_MEMORY: u64 = 4;
/// How long a worker whose node is gone may take to end in order.
const LAST_BREATH: Duration = Duration::from_secs(20);

/// Runs until the node says stop or goes away.
///
/// # Errors
/// When the node cannot be reached or speaks another protocol, when the detector cannot be loaded, or when the sandbox
/// is required and cannot be had.
pub fn run(socket: &Path) -> Result<()> {
    let socket = UnixStream::connect(socket).map_err(|e| {
        Error::io("the node cannot be reached", socket, e).hint("workers are started by `wardwatch run`, not by hand")
    })?;
    say(&socket, &ToNode::Hello { protocol: PROTOCOL, pid: std::process::id() })?;
    let mut messages = Messages::new(clone(&socket)?);
    // The sandbox holds the calling thread and those that it starts: until it stands there is only this one.
    let prepared = match prepare(&mut messages) {
        Ok(Some(prepared)) => prepared,
        Ok(None) => return Ok(()),
        Err(e) => {
            say(&socket, &ToNode::Failed { message: e.to_string() })?;
            return Err(e);
        }
    };
    let outbound = Arc::new(Outbound::default());
    let vault = Arc::new(Vault::default());
    let writer = {
        let (outbound, socket) = (outbound.clone(), clone(&socket)?);
        thread("to node", move || outbound.write_to(socket))?
    };
    watch_stdin(vault.clone(), clone(&socket)?)?;
    let result = serve(prepared, messages, &outbound, &vault);
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

/// Says something before there is a thread for it.
fn say(mut socket: &UnixStream, message: &ToNode) -> Result<()> {
    let bytes = ipc::encode(message, &[])?;
    socket.write_all(&bytes).map_err(|e| Error::io("cannot write to the node", "socket", e))
}

/// Takes the set-up, loads what is loaded from all over the file system, and shuts the process in. `None` when the node
/// has gone.
fn prepare(messages: &mut Messages) -> Result<Option<(Box<WorkerSetup>, SandboxReport)>> {
    let setup = match messages.next()? {
        None => return Ok(None),
        Some(ToWorker::Setup(setup)) => setup,
        Some(_) => return Err(Error::new(ErrorKind::Invalid, "the node's first message is not the set-up")),
    };
    if setup.protocol != PROTOCOL {
        return Err(Error::new(ErrorKind::Invalid, "node and worker are of different versions")
            .hint("finish the upgrade and start wardwatch again"));
    }
    sandbox::limit(DATA_FOR_MEMORY * setup.memory_bytes)?;
    // Looks for plug-ins, in a process of its own if there are new ones.
    crate::ingest::init()?;
    if let Err(e) = std::fs::create_dir_all(&setup.record.dir) {
        tracing::warn!("the recording directory cannot be made, nothing will be recorded: {e}");
    }
    let policy = sandbox::Policy::of_worker(&setup.detect, &setup.record.dir);
    let report = sandbox::enter(&policy, setup.sandbox)?;
    Ok(Some((setup, report)))
}

fn serve(
    (setup, sandbox): (Box<WorkerSetup>, SandboxReport),
    mut messages: Messages,
    outbound: &Arc<Outbound>,
    vault: &Vault,
) -> Result<()> {
    let worker = Worker::start(&setup, outbound.clone(), sandbox)?;
    worker.shared.pulse.watch("orders", None);
    messages.look_up_now_and_then()?;
    let result = loop {
        match messages.next() {
            Ok(Some(ToWorker::Assign(assignment))) => worker.assign(*assignment, vault),
            Ok(Some(ToWorker::Release { camera })) => worker.release(&camera),
            Ok(Some(ToWorker::Live { camera, want })) => worker.show(&camera, &want),
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

    /// From now on a quiet node does not keep the thread from telling that it is alive.
    fn look_up_now_and_then(&self) -> Result<()> {
        let set = self.socket.set_read_timeout(Some(LOOK_UP));
        set.map_err(|e| Error::io("the socket takes no limit", "socket", e))
    }

    /// The next message; `None` when the node has closed the connection.
    fn next(&mut self) -> Result<Option<ToWorker>> {
        let mut chunk = [0; 16 * 1024];
        loop {
            pulse::beat();
            if let Some((message, _)) = self.decoder.pull()? {
                return Ok(Some(message));
            }
            match self.socket.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(n) => self.decoder.push(&chunk[..n]),
                Err(e) if matches!(e.kind(), Io::Interrupted | Io::WouldBlock | Io::TimedOut) => {}
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
        // A thread that hangs must not keep a camera's only connection for ever.
        std::thread::sleep(LAST_BREATH);
        tracing::error!("the node is gone and this worker does not end; it is ended now");
        std::process::abort();
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
    fn start(setup: &WorkerSetup, outbound: Arc<Outbound>, sandbox: SandboxReport) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let detector = Detector::load(&setup.detect)?;
        let (model, provider) = (detector.model().to_owned(), detector.provider().to_owned());
        let shared = Shared {
            clock: clock.clone(),
            outbound: outbound.clone(),
            mailbox: Arc::new(Mailbox::new()),
            live: Arc::new(live::Frames::new()),
            track: setup.track.clone(),
            site: SiteSettings::new(&setup.timezone, setup.snapshot.clone(), &model)?,
            ring_bytes: setup.ring_bytes,
            record: setup.record.clone(),
            boot_id: setup.boot_id.clone(),
            pulse: Arc::new(Pulse::default()),
        };
        let cameras = Cameras::default();
        let times = Arc::new(Mutex::new(Vec::new()));
        let stopping = Arc::new((Mutex::new(false), Condvar::new()));
        let detect = {
            let (mailbox, cameras, times) = (shared.mailbox.clone(), cameras.clone(), times.clone());
            let (pulse, clock) = (shared.pulse.clone(), clock.clone());
            thread("detect", move || {
                pulse.watch("detect", None);
                detect_loop(detector, &mailbox, &cameras, &times, &*clock);
            })?
        };
        let pictures = {
            let (frames, outbound, cameras) = (shared.live.clone(), outbound.clone(), cameras.clone());
            let pulse = shared.pulse.clone();
            thread("live", move || {
                pulse.watch("live", None);
                live::pictures(&frames, &outbound, |camera, frame| {
                    let runtime = cameras.read().unwrap_or_else(PoisonError::into_inner).get(camera).cloned()?;
                    Some((runtime.mask(frame), runtime.picture_want()?))
                });
            })?
        };
        let stats = {
            let (cameras, outbound, stopping) = (cameras.clone(), outbound.clone(), stopping.clone());
            let pulse = shared.pulse.clone();
            thread("stats", move || {
                let mut listener = Listener::default();
                stats_loop(&cameras, &times, &outbound, &stopping, || pulse.late(&mut listener, clock.now()));
            })?
        };
        outbound.send(ToNode::Ready { model, provider, sandbox }, Bytes::new());
        Ok(Self { shared, cameras, threads: vec![detect, pictures, stats], stopping })
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

    /// Who looks at `camera` has changed.
    fn show(&self, camera: &CameraId, want: &LiveWant) {
        if let Some(runtime) = self.lookup(camera) {
            runtime.show(want, &self.shared);
        }
    }

    fn release(&self, camera: &CameraId) {
        let runtime = self.cameras.write().unwrap_or_else(PoisonError::into_inner).remove(camera);
        if let Some(runtime) = runtime {
            pulse::excused(|| runtime.stop(&self.shared));
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
        self.shared.live.close();
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
        pulse::beat();
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
fn stats_loop(
    cameras: &Cameras,
    times: &Mutex<Vec<f32>>,
    outbound: &Outbound,
    stopping: &(Mutex<bool>, Condvar),
    mut late: impl FnMut() -> Vec<LateThread>,
) {
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
        outbound.send(ToNode::Stats(WorkerStats { cameras: list, inference_seconds, late: late() }), Bytes::new());
        if ending {
            return;
        }
    }
}
