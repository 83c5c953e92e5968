//! A police post under test: real node, worker, broker and centre in processes of their own, two lines that can break,
//! and the hands that break them. Every wait has an end; dropping it kills what it started.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wardwatch::base::clock::SystemClock;
use wardwatch::base::{Clock, Stamp};

use super::oracle::Places;
use super::plan::{Break, Fault, Kind, Side};
use super::script::{CAMERAS, Journal, KIND};
use super::support::broker::Mosquitto;
use super::support::onnx;
use super::support::proxy::{Blow, Line, Proxy};
use super::support::site::{Process, Site, children, metric};
use super::support::wait::until_or;
use super::worker;

/// Longer than any recovery should take: keep-alives, then the longest pause between two tries.
const PATIENCE: Duration = Duration::from_secs(120);
/// A slow line passes so many bytes a second.
const SLOW: usize = 12_000;
/// Commits are at debug level.
const NODE_LOG: &str = "info,wardwatch::app::node=debug,ort=warn,rumqttc=warn";

/// Set by a signal: every wait ends then.
pub static INTERRUPTED: AtomicBool = AtomicBool::new(false);

pub fn now_ms() -> i64 {
    SystemClock.now().wall_ms
}

pub struct Post {
    pub site: Site,
    binary: PathBuf,
    broker: Mosquitto,
    broker_is_up: bool,
    node_line: Proxy,
    centre_line: Proxy,
    node: Option<Process>,
    centre: Option<Process>,
    node_config: PathBuf,
    centre_config: PathBuf,
    environment: Vec<(&'static str, String)>,
    log: LogTail,
    /// When the present centre was started, in UTC milliseconds.
    pub centre_began_ms: i64,
    began: Stamp,
    limit: Duration,
}

impl Post {
    /// Writes configuration and script and starts everything. After `limit` every wait fails.
    pub fn start(binary: PathBuf, seed: u64, rate: u64, limit: Duration) -> Self {
        let site = Site::new();
        let broker = Mosquitto::start("max_queued_messages 0\nmax_queued_bytes 67108864");
        let (node_line, centre_line) = (Proxy::start(broker.port), Proxy::start(broker.port));
        let model = onnx::stimulus_model(&site.path("models"));
        let mqtt = |line: &Proxy| format!("host = \"127.0.0.1\"\nport = {}\n", line.port);
        let node = site.common(&model) + &site.node("", &mqtt(&node_line));
        let centre = site.common(&model) + &site.centre(&mqtt(&centre_line));
        let (node_config, centre_config) = (site.write("node.toml", &node), site.write("centre.toml", &centre));
        // The scripted worker never connects to a camera.
        let camera = |id: &str| format!("[[camera]]\nid = \"{id}\"\n[camera.detect]\nurl = \"rtsp://127.0.0.1:9/\"\n");
        site.write("cameras.toml", &format!("revision = 1\n{}", CAMERAS.map(camera).concat()));
        let environment = vec![
            (worker::DIRECTORY, site.path("").display().to_string()),
            (worker::RATE, rate.to_string()),
            (worker::SEED, seed.to_string()),
            ("RUST_LOG", NODE_LOG.to_owned()),
        ];
        let log = LogTail { path: node_config.with_extension("log"), read: 0 };
        let began = SystemClock.now();
        let (node, centre) = (None, None);
        let mut post = Self {
            site,
            binary,
            broker,
            broker_is_up: true,
            node_line,
            centre_line,
            node,
            centre,
            node_config,
            centre_config,
            environment,
            log,
            centre_began_ms: 0,
            began,
            limit,
        };
        post.start_centre();
        post.start_node();
        post
    }

    fn start_node(&mut self) {
        // The suite's own program, so that it is also what the node starts as its worker; the node's code is the library's.
        let program = std::env::current_exe().expect("Linux");
        let mut command = Command::new(program);
        command.arg("node").arg("--config").arg(&self.node_config);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.node = Some(self.site.start(command, &self.node_config));
    }

    fn start_centre(&mut self) {
        let mut command = Command::new(&self.binary);
        command.arg("run").arg("--config").arg(&self.centre_config).env_remove("RUST_LOG");
        self.centre_began_ms = now_ms();
        self.centre = Some(self.site.start(command, &self.centre_config));
    }

    /// Waits; panics, which kills everything, after [`PATIENCE`], at the run's end, or when interrupted.
    pub fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let state = || {
            let outbox = self.site.rows("node/node.db", "SELECT state, COUNT(*) FROM outbox GROUP BY state");
            format!("{what}; outbox {outbox:?}, files in {}", self.site.path("").display())
        };
        until_or(state, PATIENCE, || {
            assert!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
            assert!(SystemClock.now().since(self.began) < self.limit, "the run took longer than it may: {}", state());
            holds()
        });
    }

    /// Lets time pass: a fault lasts.
    pub fn pass(&self, ms: u64) {
        let begun = SystemClock.now();
        self.wait("time passes", || SystemClock.now().since(begun) >= Duration::from_millis(ms));
    }

    /// Waits for the node's next commit.
    pub fn wait_for_commit(&mut self) {
        let mut log = std::mem::take(&mut self.log);
        log.skip();
        self.wait("the node commits something", || log.has_committed());
        self.log = log;
    }

    /// The worker's process, once it is there.
    fn worker(&self) -> u32 {
        let node = self.node.as_ref().expect("a worker is killed only while its node runs").pid();
        let mut found = None;
        self.wait("the node has a worker", || {
            found = children(node).first().copied();
            found.is_some()
        });
        found.expect("just found")
    }

    /// Breaks something; returns when, in UTC milliseconds.
    pub fn inject(&mut self, fault: &Fault) -> i64 {
        match (fault.kind, fault.how) {
            (Kind::Broker, _) => {
                self.broker.kill();
                self.broker_is_up = false;
            }
            (Kind::Node, _) => {
                if let Some(mut node) = self.node.take() {
                    node.kill();
                }
            }
            (Kind::Centre, _) => {
                if let Some(mut centre) = self.centre.take() {
                    centre.kill();
                }
            }
            (Kind::Worker, _) => kill_hard(self.worker()),
            (Kind::Link, Some((how, side))) => self.lines(side).into_iter().for_each(|line| break_line(line, how)),
            (Kind::Link, None) => {}
        }
        now_ms()
    }

    /// Ends a fault: what was killed is started, a line is whole.
    pub fn mend(&mut self, fault: &Fault) {
        match (fault.kind, fault.how) {
            (Kind::Broker, _) if !self.broker_is_up => {
                self.broker.go();
                self.broker_is_up = true;
            }
            (Kind::Node, _) if self.node.is_none() => self.start_node(),
            (Kind::Centre, _) if self.centre.is_none() => self.start_centre(),
            (Kind::Link, Some((_, side))) => self.lines(side).into_iter().for_each(|line| line.set(Line::Whole)),
            _ => {}
        }
    }

    fn lines(&self, side: Side) -> Vec<&Proxy> {
        match side {
            Side::Node => vec![&self.node_line],
            Side::Centre => vec![&self.centre_line],
            Side::Both => vec![&self.node_line, &self.centre_line],
        }
    }

    /// Waits until the centre has committed an event that began after `after_ms`; returns when it did.
    pub fn wait_for_recovery(&self, after_ms: i64) -> i64 {
        let sql =
            format!("SELECT MIN(first_committed_ms) FROM event WHERE started_ms > {after_ms} AND kind = '{KIND}'");
        let mut at = None;
        self.wait("an event that began after the fault is at the centre", || {
            at = self.site.number("centre/centre.db", &sql);
            at.is_some()
        });
        at.expect("just found")
    }

    /// Events that were begun so far.
    pub fn said_events(&self) -> u64 {
        Journal::read(&self.site.path(worker::JOURNAL)).next_event()
    }

    /// Tells the script to end and waits until everything has arrived and the outbox is empty; returns how many revisions
    /// the centre's present process has told its listeners of.
    pub fn finish(&self) -> usize {
        self.site.write(worker::ENOUGH, "");
        let journal = self.site.path(worker::JOURNAL);
        self.wait("the script has said everything", || Journal::read(&journal).finished);
        let number = |sql: &str| self.site.number("node/node.db", sql);
        self.wait("every event has ended", || {
            number("SELECT COUNT(*) FROM event WHERE phase <> 'ended' AND camera <> ''") == Some(0)
        });
        self.wait("everything is receipted", || number("SELECT COUNT(*) FROM outbox") == Some(0));
        metric(self.site.centre_port, "wardwatch_centre_committed_total{kind=\"event\"}").unwrap_or(0.0) as usize
    }

    /// Stops node and centre in order; their exit codes.
    pub fn stop(&mut self) -> [i32; 2] {
        [self.node.take(), self.centre.take()].map(|process| process.map_or(-1, Process::stop))
    }

    pub fn places(&self) -> Places {
        Places {
            node_db: self.site.path("node/node.db"),
            node_log: self.node_config.with_extension("log"),
            centre_db: self.site.path("centre/centre.db"),
            snapshots: self.site.path("centre/snapshots"),
            journal: self.site.path(worker::JOURNAL),
        }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.site.keep();
        }
    }
}

fn kill_hard(pid: u32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
        // It may have ended by itself just now.
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
}

fn break_line(line: &Proxy, how: Break) {
    match how {
        Break::Cut => line.set(Line::Cut),
        Break::BlackHole => line.set(Line::BlackHole),
        Break::Slow => line.set(Line::Slow(SLOW)),
        Break::Reset => line.strike(Blow::Reset),
        Break::BrokerUnaware => line.strike(Blow::ServerUnaware),
        Break::ClientUnaware => line.strike(Blow::ClientUnaware),
    }
}

/// The end of the node's log.
#[derive(Default)]
struct LogTail {
    path: PathBuf,
    read: u64,
}

impl LogTail {
    /// What is there already does not count.
    fn skip(&mut self) {
        self.read = std::fs::metadata(&self.path).map_or(0, |m| m.len());
    }

    fn has_committed(&mut self) -> bool {
        let mut text = Vec::new();
        let read = std::fs::File::open(&self.path)
            .and_then(|mut f| f.seek(SeekFrom::Start(self.read)).map(|_| f))
            .and_then(|mut f| f.read_to_end(&mut text));
        self.read += read.unwrap_or(0) as u64;
        String::from_utf8_lossy(&text).contains("\"event committed\"")
    }
}
