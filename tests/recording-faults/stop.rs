//! SIGTERM while sixteen cameras are recorded, four of them silent, four that never answer a TEARDOWN, and no broker:
//! how long it takes, and whether every file is ended in order.

use crate::cameras::{Cameras, Kind};
use crate::post::{LONG, Post, now_ms};
use crate::relay::Relay;
use crate::support::wait::until;

const CAMERAS: usize = 16;
const DEADLINE: f64 = 10.0;

pub fn run() -> Vec<String> {
    let kind = Kind { h265: false, gop_seconds: 2, kbits: 340, height: 360 };
    let cameras = Cameras::start(&[kind; CAMERAS]);
    let relays: Vec<Relay> = cameras.ports.iter().map(|port| Relay::start(*port)).collect();
    let ports: Vec<u16> = relays.iter().map(|r| r.port).collect();
    let post = Post::new(&ports, 8);
    let mut running = post.run();
    post.all_record(0);
    relays[4..8].iter().for_each(Relay::swallow_teardown);
    relays[..4].iter().for_each(Relay::hold);
    // Two are stalled already and being asked again, two have only just fallen silent.
    relays[2..4].iter().for_each(Relay::release);
    until("the first are offline", LONG, || post.cameras_in("offline").len() == 2);
    relays[2..4].iter().for_each(Relay::hold);

    let told = now_ms();
    running.signal("TERM");
    let code = running.exit_code();
    let took = (now_ms() - told) as f64 / 1000.0;
    let (open, closed) = (post.count("state = 'open'"), post.count("state = 'closed'"));
    let recovered = post.count("state = 'recovered'");
    println!("SIGTERM with {CAMERAS} recorded cameras, 4 silent, 4 without an answer to TEARDOWN, no broker");
    println!("  exit code {code} after {took:.2} s; {closed} segments closed, {open} open, {recovered} recovered");
    let mut broken = Vec::new();
    if code != 0 || took > DEADLINE || open != 0 || recovered != 0 {
        broken.push("a stop in order".to_owned());
    }
    for n in 0..CAMERAS {
        let rows = post.rows(n);
        let unclosed = rows.iter().filter(|r| post.sidecar(r).closing.is_none()).count();
        if rows.is_empty() || unclosed > 0 {
            broken.push(format!("camera c{n}: {unclosed} of {} files have no closing line", rows.len()));
        }
    }
    broken.extend(post.fsck());
    broken
}
