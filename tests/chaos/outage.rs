//! Broker, centre or line away for three days. The node's part (store and publisher) runs in a process of its own, whose
//! memory is measured, on a clock that is put forward; broker and centre are real. Then everything comes back, and new
//! alerts must not wait behind what has gathered.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use clap::ValueEnum;
use jiff::tz::TimeZone;
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use wardwatch::base::clock::SystemClock;
use wardwatch::base::types::{Severity, Snapshot};
use wardwatch::base::{Clock, Stamp};
use wardwatch::config::MqttConfig;
use wardwatch::publish::presence::CameraStatuses;
use wardwatch::publish::{self, Health};
use wardwatch::store::{BALLAST, Settings, Store};
use wardwatch::wire::event::Origin;
use wardwatch::wire::topic::NodeTopics;

use super::say;
use super::script::{Script, sha256};
use super::support::broker::Mosquitto;
use super::support::proxy::{Line, Proxy};
use super::support::site::{Site, WARD};
use super::tally::percentile;

const NODE: &str = "node-1";
const AWAY: Duration = Duration::from_secs(72 * 3600);
/// Events that make the process warm before it is measured.
const WARM: u64 = 300;
/// Between two new alerts while the backlog drains.
const ALERT_EVERY: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(600);
const MIB: u64 = 1 << 20;
/// SQLite's log between two checkpoints, and a row's share of the database without its picture.
const LOG: u64 = 16 * MIB;
const EVENT: u64 = 8 << 10;

/// What is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Missing {
    Broker,
    Centre,
    Link,
}

/// What the node's process is started with.
#[derive(clap::Args, Clone, Debug)]
pub struct NodeArguments {
    #[arg(long)]
    directory: PathBuf,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    events: u64,
    #[arg(long)]
    quota_mb: u64,
    #[arg(long)]
    seed: u64,
}

/// What it measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    rss_before: u64,
    rss_most: u64,
    /// Pictures waiting at the most, and database with its log at the most, in bytes.
    pictures_most: u64,
    disk_most: u64,
    dropped: u64,
    rows_waiting: u64,
    commits_a_second: u64,
    /// From the return until the first receipt.
    reconnect_ms: i64,
    /// From the first receipt until the backlog was gone.
    drain_ms: i64,
    /// Events and rows of the backlog that drained then.
    drained_events: u64,
    drained_rows: u64,
    /// From commit to receipt of the alerts that came meanwhile, sorted.
    alerts_ms: Vec<i64>,
}

/// The machine's clocks, put forward; the wall clock begins three days ago.
#[derive(Default)]
struct LateClock(AtomicU64);

impl Clock for LateClock {
    fn now(&self) -> Stamp {
        let now = SystemClock.now().plus(Duration::from_millis(self.0.load(Ordering::Relaxed)));
        Stamp { wall_ms: now.wall_ms - AWAY.as_millis() as i64, ..now }
    }
}

/// The outage as seen from outside; the promises that were broken. `timed`: also those about time.
pub fn run(binary: &Path, missing: Missing, events: u64, quota_mb: u64, timed: bool) -> Vec<String> {
    let site = Site::new();
    let mut broker = Mosquitto::start("max_queued_messages 0\nmax_queued_bytes 67108864");
    let line = Proxy::start(broker.port);
    let config = site.common("none") + &site.centre(&format!("host = \"127.0.0.1\"\nport = {}\n", broker.port));
    let config = site.write("centre.toml", &config);
    let centre = || {
        let mut command = Command::new(binary);
        command.arg("run").arg("--config").arg(&config).env_remove("RUST_LOG");
        site.start(command, &config)
    };
    let mut running = centre();
    let arguments = NodeArguments { directory: site.path("node"), port: line.port, events, quota_mb, seed: 1 };
    let mut node = Node::start(&arguments);
    node.expect("ready");
    match missing {
        Missing::Broker => broker.kill(),
        Missing::Centre => running.kill(),
        Missing::Link => line.set(Line::BlackHole),
    }
    node.order("away");
    node.expect("full");
    match missing {
        Missing::Broker => broker.go(),
        Missing::Centre => running = centre(),
        Missing::Link => line.set(Line::Whole),
    }
    node.order("back");
    let measured: Measured = serde_json::from_str(&node.expect("{")).expect("its own words");
    node.end();
    let mut broken = judge(&measured, events, quota_mb, timed);
    if running.stop() != 0 {
        broken.push("the centre did not stop in order".into());
    }
    broken.extend(compare(&site));
    report(missing, events, quota_mb, &measured);
    broken
}

fn judge(m: &Measured, events: u64, quota_mb: u64, timed: bool) -> Vec<String> {
    let mut broken = Vec::new();
    let mut promise = |holds: bool, what: String| {
        if !holds {
            broken.push(what);
        }
    };
    let grown = m.rss_most.saturating_sub(m.rss_before);
    promise(grown <= 20 * MIB, format!("the process grew by {} MiB", grown / MIB));
    promise(m.pictures_most <= quota_mb * MIB, format!("pictures took {} bytes", m.pictures_most));
    // Pictures, the database's log, and what stays of an event: its last state, three messages of it at the most.
    let disk = quota_mb * MIB + LOG + (events + WARM) * EVENT;
    promise(m.disk_most <= disk, format!("the database took {} MiB of {}", m.disk_most / MIB, disk / MIB));
    promise(m.dropped > 0, "the quota was never reached, so nothing was tried".into());
    promise(m.drained_events > 0 && !m.alerts_ms.is_empty(), "nothing drained, so nothing was tried".into());
    if timed {
        let rate = m.drained_events as i64 * 1000 / m.drain_ms.max(1);
        promise(rate >= 100, format!("the backlog drained at {rate} events a second"));
        let p99 = percentile(&m.alerts_ms, 0.99);
        promise(p99 <= 2000, format!("alerts took {p99} ms (p99) while the backlog drained"));
    }
    broken
}

fn report(missing: Missing, events: u64, quota_mb: u64, m: &Measured) {
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    say(&format!(
        "{missing:?} away for 72 h with {events} events: memory {:.1} MiB before, {:.1} MiB at the most; {} pictures dropped \
         by the quota of {quota_mb} MiB, {:.1} MiB of pictures and {:.1} MiB of database at the most; {} rows waited; {} \
         commits a second",
        mib(m.rss_before),
        mib(m.rss_most),
        m.dropped,
        mib(m.pictures_most),
        mib(m.disk_most),
        m.rows_waiting,
        m.commits_a_second
    ));
    let seconds = m.drain_ms.max(1) as f64 / 1000.0;
    say(&format!(
        "  back: first receipt after {} ms, then {} events ({} rows) in {seconds:.1} s: {:.0} events a second; {} alerts \
         meanwhile, from commit to receipt p50 {} ms, p99 {} ms, longest {} ms",
        m.reconnect_ms,
        m.drained_events,
        m.drained_rows,
        m.drained_events as f64 / seconds,
        m.alerts_ms.len(),
        percentile(&m.alerts_ms, 0.5),
        percentile(&m.alerts_ms, 0.99),
        percentile(&m.alerts_ms, 1.0)
    ));
}

/// Whatever the node has, the centre has in its last revision, with its picture unless the quota took it.
fn compare(site: &Site) -> Vec<String> {
    let newest = |database: &str| {
        let rows = site.rows(database, "SELECT id, revision, phase, snapshot FROM event").expect("readable");
        rows.into_iter().map(|r| (r[0].clone(), r[1..].to_vec())).collect::<BTreeMap<_, _>>()
    };
    let (node, centre) = (newest("node/node.db"), newest("centre/centre.db"));
    let mut broken: Vec<String> = node
        .iter()
        .filter(|(id, state)| centre.get(*id) != Some(*state))
        .map(|(id, state)| format!("event {id} is {state:?} at the node and {:?} at the centre", centre.get(id)))
        .collect();
    if centre.len() != node.len() {
        broken.push(format!("the centre has {} events, the node {}", centre.len(), node.len()));
    }
    let pictures: BTreeSet<&String> = node.values().map(|state| &state[2]).filter(|sha| !sha.is_empty()).collect();
    for sha in pictures {
        let path = site.path(&format!("centre/snapshots/{}/{}/{sha}.jpg", &sha[..2], &sha[2..4]));
        if std::fs::read(&path).map(|jpeg| sha256(&jpeg)).ok().as_ref() != Some(sha) {
            broken.push(format!("picture {sha} is not at the centre as it was"));
        }
    }
    broken.truncate(20);
    broken
}

/// The node's process.
struct Node {
    child: Child,
    orders: Option<ChildStdin>,
    said: Receiver<String>,
}

impl Node {
    fn start(a: &NodeArguments) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("Linux"))
            .arg("outage-node")
            .arg("--directory")
            .arg(&a.directory)
            .args(["--port", &a.port.to_string(), "--events", &a.events.to_string()])
            .args(["--quota-mb", &a.quota_mb.to_string(), "--seed", &a.seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (sender, said) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let orders = child.stdin.take();
        Self { child, orders, said }
    }

    fn order(&mut self, word: &str) {
        writeln!(self.orders.as_mut().expect("open"), "{word}").expect("the node's process lives");
    }

    /// Waits for the next line, which must begin with `start`.
    fn expect(&self, start: &str) -> String {
        let line = self.said.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("the node never said {start}: {e}"));
        assert!(line.starts_with(start), "the node says: {line}");
        line
    }

    fn end(mut self) {
        drop(self.orders.take());
        assert!(self.child.wait().expect("it ends").success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // After `end` it is gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The process itself: does what standard input says and tells what it measured.
pub fn node(arguments: NodeArguments) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut member = Member::start(arguments);
        let mut orders = std::io::stdin().lock().lines().map_while(Result::ok);
        member.commit(0..WARM, Duration::ZERO).await;
        member.drained().await;
        say("ready");
        orders.next();
        member.away().await;
        say("full");
        orders.next();
        member.back().await;
        say(&serde_json::to_string(&member.measured).expect("JSON"));
        member.stop().await;
        orders.next();
    });
}

struct Member {
    arguments: NodeArguments,
    script: Script,
    clock: Arc<LateClock>,
    store: Store,
    stop: watch::Sender<bool>,
    publishing: tokio::task::JoinHandle<wardwatch::base::Result<()>>,
    writing: std::thread::JoinHandle<()>,
    reader: Connection,
    measured: Measured,
}

impl Member {
    fn start(arguments: NodeArguments) -> Self {
        let clock = Arc::new(LateClock::default());
        let boot_id = uuid::Uuid::now_v7().to_string();
        let origin = Origin { ward: WARD.into(), node: NODE.into(), boot_id: boot_id.clone(), timezone: TimeZone::UTC };
        let settings = Settings { origin, snapshot_quota_bytes: arguments.quota_mb * MIB, ballast_bytes: BALLAST };
        let path = arguments.directory.join("node.db");
        let (store, writer, _) = Store::open(&path, settings, clock.now()).expect("opens");
        let writing = std::thread::spawn(move || writer.run());
        let (stop, shutdown) = watch::channel(false);
        let settings = publish::Settings {
            topics: NodeTopics::new(WARD, NODE),
            boot_id,
            timezone: TimeZone::UTC,
            receipt_timeout: Duration::from_secs(30),
            jitter_seed: 7,
        };
        let wiring = publish::Wiring {
            pulse: Default::default(),
            desk: publish::command::Desk::closed(),
            store: store.clone(),
            cameras: watch::channel(CameraStatuses::new()).1,
            health: watch::channel(Health::default()).0,
            clock: clock.clone(),
            shutdown,
        };
        let mqtt = MqttConfig {
            host: "127.0.0.1".into(),
            port: Some(arguments.port),
            user: None,
            password: None,
            tls: false,
            ca: None,
            allow_plaintext: false,
        };
        let publishing = tokio::spawn(publish::run(mqtt, settings, wiring));
        let reader = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("opens");
        reader.busy_timeout(Duration::from_secs(5)).expect("set");
        let script = Script::new(arguments.seed);
        Self { arguments, script, clock, store, stop, publishing, writing, reader, measured: Measured::default() }
    }

    /// Commits whole events, putting the clock forward by `step` after each.
    async fn commit(&mut self, events: std::ops::Range<u64>, step: Duration) {
        for n in events {
            let begun = self.clock.now();
            for k in 1..=self.script.reports(n).len() {
                self.report(n, k, begun, None).await;
            }
            self.clock.0.fetch_add(step.as_millis() as u64, Ordering::Relaxed);
            if n % 100 == 0 {
                self.measure().await;
            }
        }
    }

    async fn report(&mut self, n: u64, k: usize, begun: Stamp, severity: Option<Severity>) {
        let (mut report, jpeg) = self.script.report(n, k, begun, self.clock.now());
        report.severity = severity.unwrap_or(report.severity);
        let info = report.snapshot.clone().filter(|_| !jpeg.is_empty());
        let snapshot = info.map(|info| Snapshot { info, jpeg });
        let done = self.store.commit(report, snapshot, self.clock.now()).await.expect("commits");
        self.measured.dropped += u64::from(done.snapshots_dropped);
    }

    async fn measure(&mut self) {
        let depths = self.store.depths().await.expect("readable");
        let size = |name: &str| std::fs::metadata(self.arguments.directory.join(name)).map_or(0, |m| m.len());
        let m = &mut self.measured;
        m.rss_most = m.rss_most.max(rss());
        m.pictures_most = m.pictures_most.max(depths.snapshot_bytes);
        m.disk_most = m.disk_most.max(size("node.db") + size("node.db-wal"));
        m.rows_waiting = depths.pending + depths.sent + depths.parked;
    }

    fn count(&self, sql: &str, event: &str) -> u64 {
        let mut statement = self.reader.prepare_cached(sql).expect("the schema is known");
        statement.query_row([event], |r| r.get(0)).expect("readable")
    }

    async fn drained(&self) {
        let mut looks = tokio::time::interval(LOOK);
        while self.count("SELECT COUNT(*) FROM outbox WHERE event <> ?1", "") > 0 {
            looks.tick().await;
        }
    }

    async fn away(&mut self) {
        let events = self.arguments.events;
        self.measured.rss_before = rss();
        let begun = SystemClock.now();
        self.commit(WARM..WARM + events, AWAY / events as u32).await;
        self.measure().await;
        let took = SystemClock.now().since(begun).as_millis() as u64;
        let commits: u64 = (WARM..WARM + events).map(|n| self.script.reports(n).len() as u64).sum();
        self.measured.commits_a_second = commits * 1000 / took.max(1);
    }

    /// Lets the backlog drain while an alert comes every now and then.
    async fn back(&mut self) {
        const WAITING: &str = "SELECT COUNT(*) FROM outbox WHERE event < ?1";
        const EVENTS: &str = "SELECT COUNT(DISTINCT event) FROM outbox WHERE event < ?1";
        const RECEIPTED: &str =
            "SELECT NOT EXISTS (SELECT 1 FROM outbox WHERE event = ?1 AND kind = 'event' AND revision = 1)";
        let mut next = WARM + self.arguments.events;
        let newer = self.script.id(next);
        let (returned, rows) = (self.clock.now(), self.count(WAITING, &newer));
        let mut looks = tokio::time::interval(LOOK);
        while self.count(WAITING, &newer) == rows {
            looks.tick().await;
        }
        let began = self.clock.now();
        self.measured.reconnect_ms = began.since(returned).as_millis() as i64;
        self.measured.drained_events = self.count(EVENTS, &newer);
        self.measured.drained_rows = self.count(WAITING, &newer);
        let mut open: Vec<(String, Stamp)> = Vec::new();
        let mut said = began;
        loop {
            looks.tick().await;
            let now = self.clock.now();
            let (there, waiting): (Vec<_>, Vec<_>) = open.drain(..).partition(|(id, _)| self.count(RECEIPTED, id) == 1);
            open = waiting;
            self.measured.alerts_ms.extend(there.iter().map(|(_, at)| now.since(*at).as_millis() as i64));
            if self.count(WAITING, &newer) == 0 {
                break;
            }
            if now.since(said) >= ALERT_EVERY {
                said = now;
                self.report(next, 1, now, Some(Severity::Alert)).await;
                open.push((self.script.id(next), now));
                next += 1;
            }
        }
        self.measured.drain_ms = self.clock.now().since(began).as_millis() as i64;
        self.measured.alerts_ms.sort_unstable();
        for (id, at) in open {
            while self.count(RECEIPTED, &id) == 0 {
                looks.tick().await;
            }
            self.measured.alerts_ms.push(self.clock.now().since(at).as_millis() as i64);
        }
        self.measured.alerts_ms.sort_unstable();
        self.drained().await;
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.publishing.await.expect("no panic").expect("stops");
        drop((self.store, self.reader));
        tokio::task::spawn_blocking(move || self.writing.join()).await.expect("no panic").expect("it closes");
    }
}

/// Memory of this process in bytes.
fn rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("Linux");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("a number") * 1024
}
