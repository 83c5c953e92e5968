//! What recording alone costs: eight cameras of 720p, 15 pictures a second, 2 Mbit/s, recorded by a node and by one
//! ffmpeg a camera (`-c copy -f segment`), by turns. User and system time of all processes of each; the cameras run in
//! another process and do not count.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::cameras::{Cameras, Kind};
use crate::post::{LONG, Post, now_ms};
use crate::quantile;
use crate::support::site::children;
use crate::support::wait::until;

const CAMERAS: usize = 8;
const WARM_UP_MS: i64 = 10_000;
const SPAN_MS: i64 = 40_000;

pub fn run(rounds: u32) {
    let kind = Kind { h265: false, gop_seconds: 2, kbits: 2000, height: 720 };
    let cameras = Cameras::start(&[kind; CAMERAS]);
    let profile = if cfg!(debug_assertions) { "debug build: not what a post runs" } else { "release build" };
    println!("{CAMERAS} cameras of 720p15, 2 Mbit/s; {} s a turn; {profile}", SPAN_MS / 1000);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        ours.push(node(&cameras));
        theirs.push(ffmpeg(&cameras));
        let (a, b) = (ours.last().copied().unwrap_or(0.0), theirs.last().copied().unwrap_or(0.0));
        println!("  round {round}: wardwatch {a:.2} % of a core a camera, ffmpeg {b:.2} %");
    }
    let (a, b) = (quantile(&mut ours, 0.5), quantile(&mut theirs, 0.5));
    println!("  median: wardwatch {a:.2} %, ffmpeg {b:.2} %, ratio {:.2}", a / b);
}

fn node(cameras: &Cameras) -> f64 {
    let post = Post::new(&cameras.ports, CAMERAS);
    let running = post.run();
    post.all_record(0);
    let mut pids = vec![running.pid()];
    pids.extend(running.workers());
    let share = share(&pids);
    assert_eq!(running.stop(), 0);
    share
}

fn ffmpeg(cameras: &Cameras) -> f64 {
    let directory = tempfile::tempdir().expect("a directory");
    let start = |(n, port): (usize, &u16)| {
        Command::new("ffmpeg")
            .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-rtsp_transport", "tcp", "-i"])
            .arg(Cameras::url(*port))
            .args(["-an", "-c", "copy", "-f", "segment", "-segment_time", "10", "-reset_timestamps", "1"])
            .arg(directory.path().join(format!("c{n}-%03d.mp4")))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ffmpeg is installed")
    };
    let mut running: Vec<Child> = cameras.ports.iter().enumerate().map(start).collect();
    let files = || std::fs::read_dir(directory.path()).map_or(0, Iterator::count);
    until("all are written", LONG, || files() >= CAMERAS);
    let pids: Vec<u32> = running.iter().map(Child::id).collect();
    let share = share(&pids);
    for child in &mut running {
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
    }
    share
}

/// Percent of one core a camera, after a while to settle.
fn share(pids: &[u32]) -> f64 {
    let wait = |span: i64| {
        let end = now_ms() + span;
        until("the time is over", Duration::from_secs(600), || now_ms() >= end);
    };
    wait(WARM_UP_MS);
    let (before, begun) = (ticks(pids), now_ms());
    wait(SPAN_MS);
    let seconds = (now_ms() - begun) as f64 / 1000.0;
    (ticks(pids) - before) / seconds / CAMERAS as f64
}

/// User and system time of processes and their children, in ticks, of which a second has a hundred.
fn ticks(pids: &[u32]) -> f64 {
    let of = |pid: u32| -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        // After the name, which stands in brackets: the 12th and 13th fields.
        let rest = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        rest.split_whitespace().skip(11).take(2).map(|t| t.parse::<f64>().expect("a number")).sum()
    };
    let all: Vec<u32> = pids.iter().flat_map(|p| children(*p)).chain(pids.iter().copied()).collect();
    let unique: std::collections::BTreeSet<u32> = all.into_iter().collect();
    unique.into_iter().map(of).sum()
}
