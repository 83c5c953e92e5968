//! Sixteen cameras fall silent at once with their connections open, and come back together: when that is seen, when each
//! is recorded again, and how often they are asked meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cameras::{Cameras, Kind};
use crate::post::{LONG, Post, now_ms};
use crate::quantile;
use crate::relay::Relay;
use crate::support::wait::until;

const CAMERAS: usize = 16;
const GOP_SECONDS: u32 = 2;
/// Long enough for the retries to have become rare.
const SILENCE_MS: i64 = 90_000;

pub fn run() -> Vec<String> {
    let kind = Kind { h265: false, gop_seconds: GOP_SECONDS, kbits: 340, height: 360 };
    let cameras = Cameras::start(&[kind; CAMERAS]);
    let relays: Vec<Relay> = cameras.ports.iter().map(|port| Relay::start(*port)).collect();
    let ports: Vec<u16> = relays.iter().map(|r| r.port).collect();
    let post = Post::new(&ports, 8);
    let running = post.run();
    post.all_record(0);
    until("all are online", LONG, || post.cameras_in("online").len() == CAMERAS);

    let silent = now_ms();
    relays.iter().for_each(Relay::hold);
    let mut seen: BTreeMap<usize, f64> = BTreeMap::new();
    until("all are seen to be offline", LONG, || {
        for n in post.cameras_in("offline") {
            seen.entry(n).or_insert((now_ms() - silent) as f64 / 1000.0);
        }
        seen.len() == CAMERAS
    });
    until("they were silent for long", Duration::from_secs(120), || now_ms() - silent >= SILENCE_MS);

    let back = now_ms();
    relays.iter().for_each(Relay::release);
    post.all_record(back);
    let mut again: Vec<f64> = (0..CAMERAS)
        .filter_map(|n| post.rows(n).into_iter().find(|r| r.start_ms >= back))
        .map(|row| (row.start_ms - back) as f64 / 1000.0)
        .collect();
    let mut seen: Vec<f64> = seen.into_values().collect();
    let (late, slow) = (quantile(&mut seen, 1.0), quantile(&mut again, 1.0));
    println!("{CAMERAS} cameras silent for {} s at once, GOP {GOP_SECONDS} s", SILENCE_MS / 1000);
    println!("  seen after            p50 {:.2} s, max {late:.2} s", quantile(&mut seen, 0.5));
    println!("  recorded again after  p50 {:.2} s, max {slow:.2} s", quantile(&mut again, 0.5));
    let counts = connections(&relays, silent, back);
    let asked = format!("{:.1} connections a second on average, {} in the busiest", counts.mean, counts.busiest);
    println!("  while silent          {asked}; {} at most to one camera", counts.one_camera);
    println!("  after their return    {} connections to {CAMERAS} cameras", counts.after);
    assert_eq!(running.stop(), 0);
    let mut broken = Vec::new();
    if late > 10.0 {
        broken.push(format!("a silent camera was seen after {late:.1} s"));
    }
    if slow > 3.0 + f64::from(GOP_SECONDS) {
        broken.push(format!("a camera that came back was recorded after {slow:.1} s"));
    }
    broken
}

struct Counts {
    mean: f64,
    busiest: usize,
    /// Most connections to one camera in one second.
    one_camera: usize,
    after: usize,
}

fn connections(relays: &[Relay], silent: i64, back: i64) -> Counts {
    let busiest = |times: &[i64]| {
        let mut seconds: BTreeMap<i64, usize> = BTreeMap::new();
        times.iter().for_each(|t| *seconds.entry((t - silent) / 1000).or_default() += 1);
        seconds.into_values().max().unwrap_or(0)
    };
    let during = |r: &Relay| r.connections().into_iter().filter(|t| (silent..back).contains(t)).collect::<Vec<i64>>();
    let all: Vec<i64> = relays.iter().flat_map(during).collect();
    Counts {
        mean: all.len() as f64 * 1000.0 / (back - silent) as f64,
        busiest: busiest(&all),
        one_camera: relays.iter().map(|r| busiest(&during(r))).max().unwrap_or(0),
        after: relays.iter().flat_map(Relay::connections).filter(|t| *t >= back).count(),
    }
}
