//! kill -9 of workers, of the node and of all at once while many cameras are recorded, at moments drawn by lot. After
//! each: how much is missing, whether what is there plays, whether disk and index agree.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cameras::{Cameras, Kind};
use crate::post::{LONG, Post, now_ms};
use crate::support::site::{Process, kill};
use crate::support::wait::until;
use crate::{Options, quantile};

/// Beyond the longest fragment.
const ALLOWANCE: f64 = 0.5;

const KINDS: [&str; 3] = ["workers", "node", "all"];

pub fn run(options: &Options) -> Vec<String> {
    let mut kinds = Vec::new();
    for gop_seconds in [1, 2, 4, 10] {
        for (kbits, height) in [(100, 360), (340, 360), (2000, 720)] {
            kinds.push(Kind { h265: false, gop_seconds, kbits, height });
        }
    }
    kinds.extend([2, 10].map(|gop_seconds| Kind { h265: true, gop_seconds, kbits: 340, height: 360 }));
    let cameras = Cameras::start(&kinds);
    let post = Post::new(&cameras.ports, kinds.len().div_ceil(2));
    let mut running = post.run();
    let mut moments = Lot(options.seed | 1);
    let mut broken = Vec::new();
    let mut lost: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    let mut longest: f64 = 0.0;
    let mut begun = 0;
    for round in 0..options.rounds as usize {
        post.all_record(begun);
        let moment = now_ms() + moments.below(11_000) as i64;
        until("the moment", LONG, || now_ms() >= moment);
        let how = round % KINDS.len();
        let killed = strike(&mut running, how);
        begun = now_ms();
        if how > 0 {
            running = post.run();
        }
        until("what was cut off is ended", LONG, || {
            post.count(&format!("state = 'open' AND start_ms < {killed}")) == 0
        });
        for n in 0..kinds.len() {
            let rows = post.rows(n);
            let Some(last) = rows.iter().rfind(|r| r.start_ms < killed) else {
                broken.push(format!("camera c{n} has nothing before kill {round}"));
                continue;
            };
            let fragments = post.sidecar(last).fragments;
            longest = fragments.iter().map(|f| f.duration_ns as f64 / 1e9).fold(longest, f64::max);
            lost.entry((n, how)).or_default().push(((killed - last.end_ms) as f64 / 1000.0).max(0.0));
            broken.extend(post.plays(last));
        }
        broken.extend(post.fsck().map(|found| format!("fsck after kill {round}: {found}")));
        println!("kill {} of {}: {} at {killed}", round + 1, options.rounds, KINDS[how]);
    }
    running.stop();
    broken.extend(post.fsck().map(|found| format!("fsck after the stop: {found}")));
    table(&kinds, &lost, longest);
    let worst = lost.values().flatten().copied().fold(0.0, f64::max);
    if worst > longest + ALLOWANCE {
        broken.push(format!("{worst:.2} s are missing; a fragment is {longest:.2} s"));
    }
    broken
}

/// Kills; the moment (UTC milliseconds) after which nothing can have been written.
fn strike(running: &mut Process, how: usize) -> i64 {
    let workers = running.workers();
    match KINDS[how] {
        "workers" => workers.iter().for_each(|pid| kill(*pid, "KILL")),
        "node" => running.kill(),
        _ => {
            // The node first: it must not find out.
            running.signal("STOP");
            workers.iter().for_each(|pid| kill(*pid, "KILL"));
            running.kill();
        }
    }
    let killed = now_ms();
    // Workers of a killed node end by themselves.
    let gone = |pid: &u32| !std::path::Path::new(&format!("/proc/{pid}/exe")).exists();
    until("the workers are gone", Duration::from_secs(30), || workers.iter().all(gone));
    killed
}

fn table(kinds: &[Kind], lost: &BTreeMap<(usize, usize), Vec<f64>>, longest: f64) {
    println!("seconds missing before a kill, p50 / max (longest fragment {longest:.2} s)");
    println!("{:<26}{:>9}{:>16}{:>16}{:>16}", "", "kills", KINDS[0], KINDS[1], KINDS[2]);
    for (n, kind) in kinds.iter().enumerate() {
        let codec = if kind.h265 { "H.265" } else { "H.264" };
        let name = format!("{codec} GOP {:>2} s {:>4} kbit/s", kind.gop_seconds, kind.kbits);
        let of = |how: usize| lost.get(&(n, how)).cloned().unwrap_or_default();
        let kills: usize = (0..KINDS.len()).map(|how| of(how).len()).sum();
        let cells: String = (0..KINDS.len())
            .map(|how| {
                let mut values = of(how);
                let cell = format!("{:.2} / {:.2}", quantile(&mut values, 0.5), quantile(&mut values, 1.0));
                format!("{cell:>16}")
            })
            .collect();
        println!("{name:<26}{kills:>9}{cells}");
    }
    let all = |how: usize| lost.iter().filter(|((_, h), _)| *h == how).flat_map(|(_, v)| v.clone()).collect::<Vec<_>>();
    for (how, name) in KINDS.iter().enumerate() {
        let mut values = all(how);
        let (half, most) = (quantile(&mut values, 0.5), quantile(&mut values, 1.0));
        println!("{name}: {} camera-kills, p50 {half:.2} s, max {most:.2} s", values.len());
    }
}

/// A small generator (xorshift64); quality does not matter, repeatability does.
pub struct Lot(pub u64);

impl Lot {
    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
