//! One worker process as the node sees it: started, spoken to over its socket, started again when it dies.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::super::watchdog::PRIVATE;
use super::dump::Dump;
use super::sink::Sink;
use super::vigil::{Hang, Input, Vigil};
use crate::app::telemetry;
use crate::base::types::{CameraId, Phantom};
use crate::base::{Clock, Error, ErrorKind, Result};
use crate::config::{Camera, Sandbox};
use crate::link::watches::LiveWants;
use crate::wire::ipc::{
    self, CameraAssignment, CameraSecrets, Decoder, LiveWant, PROTOCOL, ToNode, ToWorker, WorkerSetup,
};

/// A worker that has said nothing for this long after its start is given up.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// A worker that was told to stop gets this long to end its events.
const STOP_DEADLINE: Duration = Duration::from_secs(4);
/// A worker that lived this long restarts at once; a shorter life doubles the pause.
const HEALTHY_LIFE: Duration = Duration::from_secs(10);
/// How often a worker is looked at.
const LOOK: Duration = Duration::from_secs(1);
const RESTART_MIN: Duration = Duration::from_millis(100);
const RESTART_MAX: Duration = Duration::from_secs(30);
/// The longest pause of cameras that share a worker: most of them have done nothing.
const RESTART_SHARED: Duration = Duration::from_millis(400);
/// Signals that a process brings upon itself. Whatever else ends it comes from outside: a person, or the kernel when the
/// whole machine is out of memory.
const OWN_SIGNALS: [i32; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP, libc::SIGSYS];

/// The cameras a worker should have.
#[derive(Clone, Default)]
pub(super) struct Desired {
    pub(super) revision: u64,
    /// Camera and the generation of its secrets.
    pub(super) cameras: Vec<(Camera, u64)>,
    pub(super) stop: bool,
    /// It stops because its cameras go to other workers.
    pub(super) passed_on: bool,
}

/// A worker died of itself. It is started again when whoever hears of it has decided who is to be in it.
pub(super) struct Death {
    pub(super) worker: usize,
    /// What it was reading.
    pub(super) cameras: Vec<CameraId>,
    /// Whose stream it hung on, if that is known.
    pub(super) blame: Option<CameraId>,
    /// Dropped when it is decided.
    pub(super) decided: oneshot::Sender<()>,
}

/// What a worker is started with.
pub(super) struct WorkerProcess {
    pub(super) index: usize,
    pub(super) program: PathBuf,
    /// Only wardwatch may enter it: who connects here gets orders.
    pub(super) run_dir: PathBuf,
    pub(super) setup: WorkerSetup,
    pub(super) sink: Sink,
    pub(super) dump: Dump,
    /// How long nothing need be heard of it.
    pub(super) silence: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) deaths: mpsc::Sender<Death>,
    /// What somebody looks at.
    pub(super) live: watch::Receiver<LiveWants>,
}

enum End {
    Stopped,
    Died(Error),
    /// It lives, but must not.
    Unfit(Unfit),
}

/// Why the node ends a worker.
struct Unfit {
    /// For the metric.
    reason: &'static str,
    error: Error,
    /// Whose stream it hung on, if that is known.
    camera: Option<CameraId>,
    /// Whether a camera may have brought it about.
    own_doing: bool,
}

/// What is known of one life of a worker when it is over.
#[derive(Default)]
struct Life {
    /// Cameras that it was given.
    cameras: Vec<CameraId>,
    /// How it ended, unless the node had to kill it for what it did.
    status: Option<ExitStatus>,
}

/// Whether a worker's end is its own doing, and so perhaps a camera's.
fn is_own_doing(status: Option<ExitStatus>) -> bool {
    match status.map(|s| (s.signal(), s)) {
        // Ended by the node, which had its reasons, or it gave its socket up and stayed.
        None => true,
        Some((Some(signal), _)) => OWN_SIGNALS.contains(&signal),
        Some((None, _)) => true,
    }
}

impl WorkerProcess {
    /// Keeps the worker running until `desired` says stop.
    pub(super) async fn supervise(self, mut desired: watch::Receiver<Desired>) {
        let mut pause = RESTART_MIN;
        loop {
            let begun = Instant::now();
            let mut life = Life::default();
            let end = self.run_once(&mut desired, &mut life).await;
            let mut cameras: Vec<CameraId> = desired.borrow().cameras.iter().map(|(c, _)| c.id.clone()).collect();
            cameras.extend(life.cameras.iter().filter(|c| !cameras.contains(c)).cloned().collect::<Vec<_>>());
            let stop = desired.borrow().stop;
            let blame = match end {
                Ok(End::Stopped) => {
                    if desired.borrow().passed_on {
                        self.sink.passed_on(&cameras).await;
                    }
                    return;
                }
                Ok(End::Died(_) | End::Unfit(_)) | Err(_) if stop => {
                    return self.sink.worker_gone(self.index, &cameras, false).await;
                }
                Ok(End::Unfit(Unfit { error, camera, .. })) => {
                    tracing::error!(worker = self.index, "{error}");
                    camera
                }
                Ok(End::Died(e)) | Err(e) => {
                    tracing::error!(worker = self.index, "{e}");
                    None
                }
            };
            self.sink.worker_gone(self.index, &cameras, true).await;
            let before = desired.borrow().cameras.len();
            if !life.cameras.is_empty() && is_own_doing(life.status) && self.decide(&life, blame, &mut desired).await {
                return;
            }
            let after = desired.borrow().cameras.len();
            let longest = if life.cameras.is_empty() || after <= 1 { RESTART_MAX } else { RESTART_SHARED };
            // Those who stay behind when a suspect leaves begin anew.
            let anew = begun.elapsed() >= HEALTHY_LIFE || after < before;
            pause = if anew { RESTART_MIN } else { (pause * 2).min(longest) };
            let stopped = async { desired.wait_for(|d| d.stop).await.is_ok() };
            if timeout(pause, stopped).await.is_ok() {
                return;
            }
            metrics::counter!(crate::base::telemetry::WORKER_RESTARTS).increment(1);
        }
    }

    /// Waits until it is decided what follows from a death; true: this worker is to end.
    async fn decide(&self, life: &Life, blame: Option<CameraId>, desired: &mut watch::Receiver<Desired>) -> bool {
        let (decided, decision) = oneshot::channel();
        let death = Death { worker: self.index, cameras: life.cameras.clone(), blame, decided };
        let wait = async {
            // When nobody decides any more the node is stopping.
            if self.deaths.send(death).await.is_ok() {
                decision.await.ok();
            }
        };
        tokio::select! {
            () = wait => {}
            _ = desired.wait_for(|d| d.stop) => {}
        }
        desired.borrow().stop
    }

    async fn run_once(&self, desired: &mut watch::Receiver<Desired>, life: &mut Life) -> Result<End> {
        let path = self.run_dir.join(format!("worker-{}.sock", self.index));
        let (mut child, stdin, socket) = self.start(&path).await?;
        let (read, write) = socket.into_split();
        let mut orders = Orders {
            write,
            stdin,
            given: HashMap::new(),
            shown: LiveWants::new(),
            dump: self.dump.clone(),
            index: self.index,
        };
        orders.send(&ToWorker::Setup(Box::new(self.setup.clone()))).await?;
        let end = self.converse(read, &mut orders, desired, child.id()).await;
        life.cameras = orders.given.keys().cloned().collect();
        life.cameras.sort();
        drop(orders);
        let misdeed = matches!(&end, Ok(End::Unfit(unfit)) if unfit.own_doing);
        if let Ok(End::Unfit(unfit)) = &end {
            metrics::counter!(crate::base::telemetry::WORKER_KILLS, "reason" => unfit.reason).increment(1);
            // It would not take an order; an error means that it is gone already.
            child.start_kill().ok();
        }
        match timeout(STOP_DEADLINE, child.wait()).await {
            Ok(Ok(status)) => {
                life.status = Some(status).filter(|_| !misdeed);
                match end {
                    Ok(End::Died(e)) => Ok(End::Died(e.source(status.to_string()))),
                    end => end,
                }
            }
            Ok(Err(e)) => Err(Error::new(ErrorKind::Internal, "a worker cannot be waited for").source(e)),
            Err(_) => {
                tracing::warn!(worker = self.index, "does not end; killing it");
                child
                    .kill()
                    .await
                    .map_err(|e| Error::new(ErrorKind::Internal, "a worker cannot be killed").source(e))?;
                end
            }
        }
    }

    async fn start(&self, path: &Path) -> Result<(Child, Option<ChildStdin>, UnixStream)> {
        if let Err(e) = tokio::fs::remove_file(path).await
            && e.kind() != std::io::ErrorKind::NotFound
        {
            return Err(Error::io("an old worker socket cannot be removed", path, e));
        }
        let listener = UnixListener::bind(path).map_err(|e| Error::io("a worker's socket cannot be made", path, e))?;
        let mut command = Command::new(&self.program);
        for name in PRIVATE {
            command.env_remove(name);
        }
        let mut child = command
            .arg("worker")
            .arg("--socket")
            .arg(path)
            .env(tracing_subscriber::EnvFilter::DEFAULT_ENV, telemetry::filter())
            // Ctrl-C in a terminal goes to the whole group; a worker stops when its node says so.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| Error::io("a worker cannot be started", &self.program, e))?;
        // Child::wait closes a standard input that it finds, and with it the worker.
        let stdin = child.stdin.take();
        let accepted = tokio::select! {
            accepted = timeout(HELLO_DEADLINE, listener.accept()) => accepted,
            status = child.wait() => {
                let status = status.map(|s| s.to_string()).unwrap_or_default();
                return Err(Error::new(ErrorKind::Internal, format!("a worker ended before it connected ({status})")));
            }
        };
        match accepted {
            Ok(Ok((socket, _))) => Ok((child, stdin, socket)),
            Ok(Err(e)) => Err(Error::io("a worker cannot connect", path, e)),
            Err(_) => Err(Error::new(ErrorKind::Timeout, "a worker did not connect within ten seconds")),
        }
    }

    /// Notes the memory of the worker; an end when it is too much.
    fn weigh(&self, pid: Option<u32>) -> Option<End> {
        let bytes = resident_bytes(pid?)?;
        metrics::gauge!(crate::base::telemetry::WORKER_MEMORY, "worker" => self.index.to_string()).set(bytes as f64);
        let limit = self.setup.memory_bytes;
        let text = || format!("a worker takes {} MiB, more than {}; it is ended", bytes >> 20, limit >> 20);
        let error =
            || Error::new(ErrorKind::Exhausted, text()).hint("if no camera is to blame, raise worker_memory_mb");
        (bytes > limit).then(|| End::Unfit(Unfit { reason: "memory", error: error(), camera: None, own_doing: true }))
    }

    /// An end when another directory is where the recordings go than the one that the worker was let into.
    fn displaced(&self, before: Option<(u64, u64)>) -> Option<End> {
        let dir = &self.setup.record.dir;
        let displaced = self.setup.sandbox != Sandbox::Off && before.is_some() && directory(dir) != before;
        let text = "a disk was mounted or taken away where recordings go; the worker is started again for it";
        let error = || Error::new(ErrorKind::Unavailable, text).at(dir.display());
        displaced.then(|| End::Unfit(Unfit { reason: "disk", error: error(), camera: None, own_doing: false }))
    }

    /// Passes orders and takes messages until the worker ends.
    async fn converse(
        &self,
        read: OwnedReadHalf,
        orders: &mut Orders,
        desired: &mut watch::Receiver<Desired>,
        pid: Option<u32>,
    ) -> Result<End> {
        let mut vigil = Vigil::new(self.silence, self.clock.now());
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut messages = Messages { read, decoder: Decoder::default(), chunk: vec![0; 64 * 1024] };
        let mut ready = false;
        let mut recordings = None;
        let mut stop_at: Option<Instant> = None;
        let mut live = self.live.clone();
        desired.mark_changed();
        loop {
            let deadline = stop_at.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                message = messages.next() => match message {
                    Ok(Some((message, blob))) => {
                        self.dump.record(self.index, "to_node", &message);
                        match message {
                            ToNode::Bye if stop_at.is_some() => return Ok(End::Stopped),
                            ToNode::Bye => {}
                            ToNode::Hello { protocol: PROTOCOL, pid } => tracing::info!(worker = self.index, pid, "started"),
                            ToNode::Hello { protocol, .. } => {
                                return Err(Error::new(ErrorKind::Invalid, format!("a worker speaks protocol {protocol}")));
                            }
                            ToNode::Failed { message } => {
                                self.sink.worker_failed(self.index);
                                return Ok(End::Died(Error::new(ErrorKind::Unavailable, message)));
                            }
                            ToNode::Ready { model, provider, sandbox } => {
                                tracing::info!(worker = self.index, model, provider, sandbox = sandbox.describe(), "ready");
                                self.sink.sandboxed(self.index, &sandbox);
                                self.sink.worker_ready(self.index);
                                vigil.step(Input::Ready, self.clock.now());
                                ready = true;
                                recordings = directory(&self.setup.record.dir);
                                desired.mark_changed();
                            }
                            ToNode::Stats(stats) => {
                                let hang = vigil.step(Input::Stats(&stats), self.clock.now());
                                self.sink.take(ToNode::Stats(stats), blob).await?;
                                if let Some(hang) = hang.filter(|_| stop_at.is_none()) {
                                    return Ok(hung(&hang));
                                }
                            }
                            other => {
                                self.sink.take(other, blob).await?;
                                vigil.step(Input::Heard, self.clock.now());
                            }
                        }
                    }
                    Ok(None) if stop_at.is_some() => return Ok(End::Stopped),
                    Ok(None) => return Ok(End::Died(Error::new(ErrorKind::Unavailable, "the worker died"))),
                    Err(e) => return Ok(End::Died(e)),
                },
                _ = look.tick(), if stop_at.is_none() => {
                    if let Some(hang) = vigil.step(Input::Tick, self.clock.now()) {
                        return Ok(hung(&hang));
                    }
                    if let Some(end) = self.weigh(pid).or_else(|| self.displaced(recordings)) {
                        return Ok(end);
                    }
                }
                changed = desired.changed() => {
                    let wanted = desired.borrow_and_update().clone();
                    if (changed.is_err() || wanted.stop) && stop_at.is_none() {
                        // A worker that is dying cannot take the order; its end is seen by the read above.
                        orders.send(&ToWorker::Stop).await.ok();
                        stop_at = Some(Instant::now() + STOP_DEADLINE);
                    } else if ready && stop_at.is_none() {
                        let wants = live.borrow_and_update().clone();
                        if orders.reconcile(&wanted, &self.sink).await.is_err() || orders.show(&wants).await.is_err() {
                            tracing::debug!(worker = self.index, "orders could not be delivered");
                        }
                    }
                }
                Ok(()) = live.changed(), if ready && stop_at.is_none() => {
                    let wants = live.borrow_and_update().clone();
                    // A worker that is dying is asked again when it is back.
                    orders.show(&wants).await.ok();
                }
                () = tokio::time::sleep_until(deadline), if stop_at.is_some() => {
                    return Ok(End::Died(Error::new(ErrorKind::Timeout, "the worker did not stop in time")));
                }
            }
        }
    }
}

fn hung(hang: &Hang) -> End {
    let error = Error::new(ErrorKind::Timeout, format!("a worker hangs: {}; it is ended", hang.what));
    let error = hang.camera.iter().fold(error, |error, camera| error.camera(camera));
    End::Unfit(Unfit { reason: "hang", error, camera: hang.camera.clone(), own_doing: true })
}

/// Which directory is at `path`: device and inode.
fn directory(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

/// Resident memory of a process; `None` when it is gone.
fn resident_bytes(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

struct Messages {
    read: OwnedReadHalf,
    decoder: Decoder,
    chunk: Vec<u8>,
}

impl Messages {
    /// Cancel-safe: bytes read are in the decoder before anything else is awaited.
    async fn next(&mut self) -> Result<Option<(ToNode, Vec<u8>)>> {
        loop {
            if let Some(message) = self.decoder.pull()? {
                return Ok(Some(message));
            }
            match self.read.read(&mut self.chunk).await {
                Ok(0) => return Ok(None),
                Ok(n) => self.decoder.push(&self.chunk[..n]),
                // A killed worker's socket may end in a reset.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
                Err(e) => return Err(Error::io("cannot read from a worker", "socket", e)),
            }
        }
    }
}

/// The node's side of the two channels to a worker, and what it was told.
struct Orders {
    write: OwnedWriteHalf,
    stdin: Option<ChildStdin>,
    given: HashMap<CameraId, (u64, Camera, u64)>,
    /// What it was told of who looks.
    shown: LiveWants,
    dump: Dump,
    index: usize,
}

impl Orders {
    async fn send(&mut self, message: &ToWorker) -> Result<()> {
        self.dump.record(self.index, "to_worker", message);
        let bytes = ipc::encode(message, &[])?;
        self.write.write_all(&bytes).await.map_err(|e| Error::io("cannot write to a worker", "socket", e))
    }

    /// Addresses and passwords go by standard input, never by the socket.
    async fn send_secrets(&mut self, camera: &Camera, generation: u64) -> Result<()> {
        let mut line = serde_json::to_vec(&CameraSecrets::new(camera, generation))
            .map_err(|_| Error::new(ErrorKind::Internal, "a camera's secrets cannot be encoded").camera(&camera.id))?;
        line.push(b'\n');
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        let written = match stdin.write_all(&line).await {
            Ok(()) => stdin.flush().await,
            failed => failed,
        };
        written.map_err(|e| Error::io("cannot write to a worker", "standard input", e))
    }

    /// Tells it who looks at its cameras, where that has changed.
    async fn show(&mut self, wants: &LiveWants) -> Result<()> {
        let nobody = LiveWant::default();
        for camera in self.given.keys().cloned().collect::<Vec<_>>() {
            let want = wants.get(&camera).unwrap_or(&nobody);
            if self.shown.get(&camera).unwrap_or(&nobody) != want {
                self.send(&ToWorker::Live { camera: camera.clone(), want: want.clone() }).await?;
                self.shown.insert(camera, want.clone());
            }
        }
        Ok(())
    }

    /// Sends what differs between what the worker has and what it should have.
    async fn reconcile(&mut self, wanted: &Desired, sink: &Sink) -> Result<()> {
        let gone: Vec<CameraId> =
            self.given.keys().filter(|id| wanted.cameras.iter().all(|(c, _)| c.id != **id)).cloned().collect();
        for camera in gone {
            self.given.remove(&camera);
            self.shown.remove(&camera);
            self.send(&ToWorker::Release { camera }).await?;
        }
        for (camera, generation) in &wanted.cameras {
            let now = (wanted.revision, camera.clone(), *generation);
            if self.given.get(&camera.id) == Some(&now) {
                continue;
            }
            let known = self.given.get(&camera.id).map(|(_, _, generation)| *generation);
            if known != Some(*generation) {
                // It connects anew, and knows of nobody who looks.
                self.shown.remove(&camera.id);
                self.send_secrets(camera, *generation).await?;
            }
            let phantoms: Vec<Phantom> = sink.phantoms(&camera.id).await;
            let assignment = CameraAssignment::new(camera, wanted.revision, *generation, phantoms);
            self.send(&ToWorker::Assign(Box::new(assignment))).await?;
            self.given.insert(camera.id.clone(), now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_killed_from_outside_proves_nothing_about_cameras() {
        for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            assert!(!is_own_doing(Some(ExitStatus::from_raw(signal))), "{signal}");
        }
        for signal in OWN_SIGNALS {
            assert!(is_own_doing(Some(ExitStatus::from_raw(signal))), "{signal}");
            assert!(is_own_doing(Some(ExitStatus::from_raw(signal | 0x80))), "{signal}, with a core dump");
        }
        assert!(is_own_doing(Some(ExitStatus::from_raw(1 << 8))), "it gave up");
        assert!(is_own_doing(None), "the node had its reasons");
    }
}
