//! How much memory a worker needs: one node, one worker, 1, 4 and 8 cameras of 720p, 15 pictures a second, 2 Mbit/s, all
//! recorded, decoded and looked at five times a second by the default detector, with a rule each. What is resident is read
//! every second, as the node does, over some minutes.

use std::os::unix::fs::symlink;
use std::time::Duration;

use crate::cameras::{Cameras, Kind};
use crate::post::{LONG, now_ms};
use crate::support::site::{Process, Site, free_port, metric, root};
use crate::support::wait::until;

const MODEL: &str = "yolox-nano";
const MIB: f64 = (1 << 20) as f64;

pub fn run(minutes: u32) {
    let profile = if cfg!(debug_assertions) { "debug build" } else { "release build" };
    println!("a worker's resident memory in MiB, {MODEL}, {minutes} min each; {profile}");
    println!("  {:<9}{:>8}{:>8}{:>8}{:>8}{:>12}", "cameras", "10 s", "1 min", "end", "most", "inferred/s");
    for cameras in [1, 4, 8] {
        measure(cameras, i64::from(minutes) * 60_000);
    }
}

fn measure(cameras: usize, span_ms: i64) {
    let kind = Kind { h265: false, gop_seconds: 2, kbits: 2000, height: 720 };
    let running = Cameras::start(&vec![kind; cameras]);
    let site = Site::new();
    let node = start(&site, &running.ports);
    let online = |n: usize| {
        metric(site.node_port, &format!("wardwatch_camera_state{{camera=\"c{n}\",state=\"online\"}}")) == Some(1.0)
    };
    until("all are online", LONG, || (0..cameras).all(online));
    let workers = node.workers();
    assert_eq!(workers.len(), 1, "one worker has them all");
    let (begun, looked_at) = (now_ms(), inferred(&site, cameras));
    let mut seen: Vec<f64> = Vec::new();
    until("the time is over", Duration::from_secs(3600), || {
        let passed = now_ms() - begun;
        if passed >= seen.len() as i64 * 1000 {
            seen.push(resident(workers[0]));
        }
        passed >= span_ms
    });
    let rate = (inferred(&site, cameras) - looked_at) * 1000.0 / (now_ms() - begun) as f64;
    let at = |second: usize| seen.get(second).copied().unwrap_or(f64::NAN);
    let most = seen.iter().copied().fold(0.0, f64::max);
    let end = at(seen.len() - 1);
    println!("  {cameras:<9}{:>8.0}{:>8.0}{end:>8.0}{most:>8.0}{rate:>12.1}", at(10), at(60));
    assert_eq!(node.stop(), 0);
}

fn start(site: &Site, ports: &[u16]) -> Process {
    for file in [format!("{MODEL}.onnx"), format!("{MODEL}.toml")] {
        let from = root().join("models").join(&file);
        symlink(from.canonicalize().expect("`make setup` fetches it"), site.path("models").join(&file)).expect("new");
    }
    let node = site.node("cameras_per_worker = 8\n", &format!("host = \"127.0.0.1\"\nport = {}\n", free_port()));
    let config = site.write("node.toml", &(site.common(MODEL) + &node + "[record]\ndisk_floor_mb = 0\n"));
    let camera = |(n, port): (usize, &u16)| {
        format!(
            "[[camera]]\nid = \"c{n}\"\n[camera.detect]\nurl = \"{}\"\nfps = 5\n[camera.recording]\n\
             mode = \"continuous\"\n[[camera.zone]]\nname = \"all\"\n\
             polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]\n[[camera.rule]]\nname = \"in\"\n\
             kind = \"intrusion\"\nzones = [\"all\"]\n",
            Cameras::url(*port)
        )
    };
    let cameras: String = ports.iter().enumerate().map(camera).collect();
    site.write("cameras.toml", &format!("revision = 1\n{cameras}"));
    site.run(&config)
}

/// Frames looked at so far, all cameras.
fn inferred(site: &Site, cameras: usize) -> f64 {
    let of = |n| metric(site.node_port, &format!("wardwatch_frames_inferred_total{{camera=\"c{n}\"}}")).unwrap_or(0.0);
    (0..cameras).map(of).sum()
}

fn resident(pid: u32) -> f64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("it runs");
    let pages: f64 = statm.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * rustix::param::page_size() as f64 / MIB
}
