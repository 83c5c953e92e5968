//! The scripted worker: the node starts it in place of the real one and cannot tell. It speaks the real protocol
//! ([`wardwatch::wire::ipc`]) and says what the script has, at the script's rate, until it is killed or told to stop.

use std::io::{BufRead, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use wardwatch::base::clock::SystemClock;
use wardwatch::base::types::{CameraHealth, CameraState, Codec};
use wardwatch::base::{Clock, Stamp};
use wardwatch::wire::ipc::{self, Decoder, PROTOCOL, SandboxReport, ToNode, ToWorker, WorkerStats};

use super::script::{Journal, JournalWriter, Script, camera};

/// Where journal and orders lie, how many events a second, and the seed: by the environment, which the node hands on.
pub const DIRECTORY: &str = "WARDWATCH_CHAOS_DIR";
pub const RATE: &str = "WARDWATCH_CHAOS_RATE";
pub const SEED: &str = "WARDWATCH_CHAOS_SEED";

pub const JOURNAL: &str = "journal";
/// When this file is there the script comes to its end.
pub const ENOUGH: &str = "enough";

/// Events after each other, and then a pause.
const BURST: u64 = 20;
const LULL: Duration = Duration::from_millis(250);
const BEAT: Duration = Duration::from_secs(1);
/// An event's later reports come so many events after its start.
const UPDATE_AFTER: u64 = 2;
const END_AFTER: u64 = 4;

/// An order of the node, or the end of it.
enum Order {
    Assign(String),
    Stop,
    Gone,
}

/// Runs until stopped. Errors are whatever the node's death brings about.
pub fn run(socket: &Path) -> std::io::Result<()> {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).expect("set by the suite"));
    let (rate, seed) = (number(RATE).expect("set"), number(SEED).expect("set"));
    let socket = UnixStream::connect(socket)?;
    let (sender, orders) = mpsc::channel();
    let from_node = socket.try_clone()?;
    let gone = sender.clone();
    std::thread::spawn(move || listen(from_node, &sender));
    // The node's death ends standard input.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() {
                break;
            }
        }
        gone.send(Order::Gone).ok();
    });
    let journal = directory.join(JOURNAL);
    let next = Journal::read(&journal).next_event();
    let mut teller = Teller {
        socket,
        script: Script::new(seed),
        journal: JournalWriter::open(&journal)?,
        open: Vec::new(),
        next,
        enough: directory.join(ENOUGH),
        step: Duration::from_micros(1_000_000 / rate.max(1)),
    };
    teller.send(&ToNode::Hello { protocol: PROTOCOL, pid: std::process::id() }, &[])?;
    let sandbox = SandboxReport::default();
    teller.send(&ToNode::Ready { model: "script@00000000".into(), provider: "script".into(), sandbox }, &[])?;
    teller.tell(&orders)
}

fn listen(mut socket: UnixStream, orders: &mpsc::Sender<Order>) {
    let (mut decoder, mut chunk) = (Decoder::default(), vec![0; 16 * 1024]);
    loop {
        match decoder.pull::<ToWorker>() {
            Ok(Some((ToWorker::Assign(a), _))) => drop(orders.send(Order::Assign(a.id.to_string()))),
            Ok(Some((ToWorker::Stop, _))) => drop(orders.send(Order::Stop)),
            Ok(Some(_)) => {}
            Ok(None) => match socket.read(&mut chunk) {
                Ok(n @ 1..) => decoder.push(&chunk[..n]),
                _ => break,
            },
            Err(_) => break,
        }
    }
    orders.send(Order::Gone).ok();
}

/// An event that was begun in this life and not ended.
struct Open {
    n: u64,
    started_at: Stamp,
    said: usize,
}

struct Teller {
    socket: UnixStream,
    script: Script,
    journal: JournalWriter,
    open: Vec<Open>,
    next: u64,
    enough: PathBuf,
    step: Duration,
}

impl Teller {
    fn tell(&mut self, orders: &Receiver<Order>) -> std::io::Result<()> {
        let mut assigned = 0;
        let mut finished = false;
        let mut beaten = SystemClock.now();
        loop {
            // A worker that says nothing is taken for hung.
            if SystemClock.now().since(beaten) >= BEAT {
                beaten = SystemClock.now();
                self.send(&ToNode::Stats(WorkerStats::default()), &[])?;
            }
            let pause = if self.next.is_multiple_of(BURST) { self.step + LULL } else { self.step };
            match orders.recv_timeout(pause) {
                Ok(Order::Assign(camera)) => {
                    assigned += 1;
                    self.online(&camera)?;
                }
                Ok(Order::Stop) => {
                    self.end_all()?;
                    return self.send(&ToNode::Bye, &[]);
                }
                Ok(Order::Gone) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                // As a real worker, it speaks of a camera only once it has it.
                Err(RecvTimeoutError::Timeout) if assigned < super::script::CAMERAS.len() || finished => {}
                Err(RecvTimeoutError::Timeout) if self.enough.exists() => {
                    self.end_all()?;
                    self.journal.finished()?;
                    finished = true;
                }
                Err(RecvTimeoutError::Timeout) => self.step()?,
            }
        }
    }

    /// Begins one event and goes on with those that are due.
    fn step(&mut self) -> std::io::Result<()> {
        let n = self.next;
        self.next += 1;
        self.open.push(Open { n, started_at: SystemClock.now(), said: 0 });
        for mut event in std::mem::take(&mut self.open) {
            let reports = self.script.reports(event.n).len();
            let due = match n - event.n {
                END_AFTER.. => reports,
                UPDATE_AFTER.. => reports - 1,
                _ => 1,
            };
            self.say(&mut event, due)?;
            if event.said < reports {
                self.open.push(event);
            }
        }
        Ok(())
    }

    fn end_all(&mut self) -> std::io::Result<()> {
        for mut event in std::mem::take(&mut self.open) {
            let all = self.script.reports(event.n).len();
            self.say(&mut event, all)?;
        }
        Ok(())
    }

    fn say(&mut self, event: &mut Open, until: usize) -> std::io::Result<()> {
        while event.said < until {
            event.said += 1;
            let (report, jpeg) = self.script.report(event.n, event.said, event.started_at, SystemClock.now());
            self.journal.said(event.n, event.said)?;
            self.send(&ToNode::Event(Box::new(report)), &jpeg)?;
        }
        Ok(())
    }

    fn online(&mut self, id: &str) -> std::io::Result<()> {
        let now = SystemClock.now();
        let health = CameraHealth {
            camera: id.parse().unwrap_or_else(|_| camera(0)),
            state: CameraState::Online,
            fault: None,
            detail: None,
            since: now,
            codec: Some(Codec::H264),
            width: 640,
            height: 360,
            fps: 10.0,
            last_frame: Some(now),
        };
        self.send(&ToNode::Health(health), &Bytes::new())
    }

    fn send(&mut self, message: &ToNode, blob: &[u8]) -> std::io::Result<()> {
        let bytes = ipc::encode(message, blob).map_err(std::io::Error::other)?;
        self.socket.write_all(&bytes)
    }
}
