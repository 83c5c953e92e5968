//! How soon something is seen on the page: `make bench-page`. Two parts, both by default, or one by its name.
//!
//! `feed`: the real program as a centre, behind a real broker; a node's own publisher that commits 50 events a second; 99
//! listeners of the event stream, and one Chromium on the page. Prints how long after the centre's commit each was heard and
//! seen, what the centre took of processor and memory, and how soon the page is there. `live`: how old a live picture is.
//! Exit code 1 when a promise is not kept. It is no part of `cargo test`.
#![allow(clippy::print_stdout)] // its tables are what it is for

mod crowd;
mod live;
#[allow(dead_code)] // the integration tests' helpers; only some are needed here
#[path = "../it/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use wardwatch::base::types::{Phase, Severity, Snapshot, SnapshotInfo};

use crowd::Crowd;
use support::broker::Mosquitto;
use support::post::{Publisher, new_id, now, open_store, report, with_picture};
use support::site::{Site, free_port, root, wardwatch};

/// What 99 of 100 alerts are to be seen within.
const PROMISE_MS: i64 = 1000;
/// Every so manieth event is an alert.
const ALERTS: u64 = 5;

struct Options {
    seconds: u64,
    rate: u64,
    listeners: usize,
    /// A directory that `bench-query --keep` made: its store is copied and used.
    store: Option<PathBuf>,
}

fn options() -> Options {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).cloned();
    let number = |name: &str, otherwise| text(name).and_then(|t| t.parse().ok()).unwrap_or(otherwise);
    Options {
        seconds: number("--seconds", 60),
        rate: number("--rate", 50),
        listeners: number("--listeners", 99) as usize,
        store: text("--store").map(PathBuf::from),
    }
}

fn main() -> ExitCode {
    let (options, parts) = (options(), ["feed", "live"]);
    let named: Vec<String> = std::env::args().skip(1).filter(|a| parts.contains(&a.as_str())).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|n| n == part);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut ended = ExitCode::SUCCESS;
    if wanted("feed") {
        ended = runtime.block_on(run(&options));
    }
    if wanted("live") {
        println!("\none camera in full for {} s", options.seconds);
        let live = runtime.block_on(live::run(options.seconds));
        ended = if ended == ExitCode::SUCCESS { live } else { ended };
    }
    ended
}

async fn run(options: &Options) -> ExitCode {
    println!(
        "{} events a second for {} s, {} listeners, one Chromium",
        options.rate, options.seconds, options.listeners
    );
    let (site, broker) = (Site::new(), Mosquitto::start(""));
    let port = free_port();
    let mqtt = format!("host = \"127.0.0.1\"\nport = {}", broker.port);
    let text = format!("{}[centre.web]\nlisten = \"127.0.0.1:{port}\"\n", site.common("none") + &site.centre(&mqtt));
    let config = site.write("wardwatch.toml", &text);
    if let Some(store) = &options.store {
        std::fs::create_dir(site.path("centre")).expect("writable");
        std::fs::copy(store.join("centre.db"), site.path("centre/centre.db")).expect("a store of bench-query --keep");
    }
    let address = format!("http://127.0.0.1:{port}");
    let token = account(&config);
    let process = site.run(&config);
    let pid = process.pid();
    support::post::until("the page answers", || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
    })
    .await;
    let cookie = crowd::log_in(&address, &token).await;
    let crowd = Crowd::gather(&address, &cookie, options.listeners).await;
    let mut browser = Browser::open(&address, &cookie, options.store.is_some());
    browser.ready().await;

    let (store, _) = open_store(&site.path("node"), 1 << 30);
    let publisher = Publisher::start(store.clone(), broker.mqtt());
    let (before, began) = (cpu_seconds(pid), now());
    let alerts = publish(&publisher, options).await;
    let passed = now().since(began).as_secs_f64();
    let cores = (cpu_seconds(pid) - before) / passed;
    publisher.drained().await;
    support::wait::until_async("the last alert is heard", Duration::from_secs(10), || async {
        crowd.heard(alerts.last().expect("there were some"))
    })
    .await;

    let seen = browser.close().await;
    let committed = crowd.committed();
    println!("\n| after the centre's commit | of | p50 ms | p99 ms | max ms |\n|---|--:|--:|--:|--:|");
    row("heard on a stream, all events", crowd.waits());
    let visible: Vec<i64> = alerts.iter().filter_map(|id| Some(seen.get(id)? - committed.get(id)?)).collect();
    let missed = alerts.len() - visible.len();
    let p99 = row("alert seen in the browser", visible);
    println!(
        "\n{} alerts, {missed} not seen; the centre: {cores:.2} cores, {} MiB at most",
        alerts.len(),
        peak_mib(pid)
    );
    drop(publisher);
    drop(process);
    if missed == 0 && p99 <= PROMISE_MS { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The one-time token of a new commander.
fn account(config: &Path) -> String {
    let out = wardwatch()
        .args(["user", "add", "chi-huy", "--role", "commander", "--config"])
        .arg(config)
        .output()
        .expect("the binary is built");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("text");
    let token = text.split("#/link/").nth(1).and_then(|rest| rest.split_whitespace().next());
    token.unwrap_or_else(|| panic!("no link in: {text}")).to_owned()
}

/// Node, with a script of this directory.
fn script(name: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(root().join("tests/page-bench").join(name));
    command.arg(std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".into()));
    command
}

/// Commits at the rate; ids of the alerts.
async fn publish(publisher: &Publisher, options: &Options) -> Vec<String> {
    let pictures: Vec<Vec<u8>> = (0..8).map(picture).collect();
    let mut pace = tokio::time::interval(Duration::from_micros(1_000_000 / options.rate.max(1)));
    let mut alerts = Vec::new();
    for n in 0..options.rate * options.seconds {
        pace.tick().await;
        let id = new_id();
        let mut jpeg = pictures[n as usize % pictures.len()].clone();
        // What follows the end of a JPEG is no part of the picture, but of its hash.
        jpeg.extend(n.to_be_bytes());
        let sha256 = hex::encode(Sha256::digest(&jpeg));
        let info = SnapshotInfo { sha256, bytes: jpeg.len() as u64, width: 640, height: 360 };
        let snapshot = Snapshot { info, jpeg: Bytes::from(jpeg) };
        let mut event = with_picture(report(&id, Phase::Started), &snapshot);
        if n % ALERTS == 0 {
            alerts.push(id);
        } else {
            event.severity = Severity::Notice;
        }
        publisher.store.commit(event, Some(snapshot), now()).await.expect("commits");
    }
    alerts
}

/// A picture like a camera's: some 30 kB.
fn picture(n: u32) -> Vec<u8> {
    let mut dice = support::made::Dice(n.into());
    let image = image::RgbImage::from_fn(640, 360, |x, y| {
        let noise = dice.roll(24) as u8;
        image::Rgb([(x / 4) as u8 + noise, (y / 2) as u8 + noise, (n * 20) as u8 + noise])
    });
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 60).encode_image(&image).expect("encodes");
    jpeg.into_inner()
}

/// The p99.
fn row(what: &str, mut waits: Vec<i64>) -> i64 {
    waits.sort_unstable();
    let Some(last) = waits.len().checked_sub(1) else {
        println!("| {what} | 0 | - | - | - |");
        return i64::MAX;
    };
    let at = |share: f64| waits[((waits.len() as f64 * share) as usize).min(last)];
    println!("| {what} | {} | {} | {} | {} |", waits.len(), at(0.5), at(0.99), waits[last]);
    at(0.99)
}

/// User and system time of a process, in seconds.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let ticks: f64 = fields[11..13].iter().map(|f| f.parse::<f64>().expect("a number")).sum();
    // USER_HZ is 100 on every Linux that this runs on.
    ticks / 100.0
}

fn peak_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|l| l.starts_with("VmHWM")).expect("the kernel tells");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("a number") / 1024
}

/// Chromium, driven by `feed.mjs`.
struct Browser {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    /// `events`: there are some already.
    fn open(address: &str, cookie: &str, events: bool) -> Self {
        let mut child = script("feed.mjs")
            .args([address, cookie, if events { "yes" } else { "no" }])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node is installed");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> Value {
        let line = self.lines.next_line().await.expect("readable").expect("the browser says something");
        serde_json::from_str(&line).expect("JSON")
    }

    /// Waits for the page, and says how soon it was there.
    async fn ready(&mut self) {
        let line = self.line().await;
        let loads = line["ready"].as_array().expect("loads").clone();
        let median = |key: &str| {
            let mut all: Vec<f64> = loads.iter().filter_map(|l| l[key].as_f64()).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).map_or("-".to_owned(), |v| format!("{v:.0}"))
        };
        println!(
            "the page without a cache, median of {}: first paint {} ms, first events {} ms, {} bytes",
            loads.len(),
            median("paint_ms"),
            median("rows_ms"),
            median("bytes")
        );
    }

    /// When it saw which event, UTC milliseconds.
    async fn close(mut self) -> HashMap<String, i64> {
        drop(self.child.stdin.take());
        let line = self.line().await;
        let seen = line["seen"].as_object().expect("seen").clone();
        self.child.wait().await.expect("it ends");
        seen.into_iter().filter_map(|(id, at)| Some((id, at.as_i64()?))).collect()
    }
}
