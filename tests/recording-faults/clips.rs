//! How long an event's clip takes, from the end of its post-roll to its row and revision: cameras that are recorded
//! always, only around events, and with a mask, all of one scripted scene. Then what it costs to make a 720p clip anew.

use std::process::Command;

use wardwatch::base::Clock;
use wardwatch::base::clock::SystemClock;

use crate::cameras::{Cameras, Kind};
use crate::post::{LONG, Post};
use crate::quantile;
use crate::support::site::{Site, free_port, wardwatch};
use crate::support::stimulus::{self, PAUSE, SceneCamera, WALK};
use crate::support::wait::until;

/// Promised for cameras without masks, in seconds.
const PROMISED: f64 = 3.0;
const POST_ROLL: u32 = 3;
const MODES: [(&str, &str, &str); 3] = [
    ("always", "continuous", ""),
    ("events", "events", ""),
    ("masked", "continuous", "[[camera.mask]]\npolygon = [[0.0, 0.0], [0.25, 0.0], [0.25, 0.3], [0.0, 0.3]]\n"),
];

/// Prints its tables; returns the promises that were broken.
pub fn run(walks: u32) -> Vec<String> {
    let site = Site::new();
    let model = stimulus::model(&site.path("models"));
    let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", free_port());
    let config = site.common(&model) + &site.node("", &mqtt) + "[record]\ndisk_floor_mb = 0\n";
    let config = site.write("node.toml", &config);
    let scene = stimulus::scene(&site.path(""), walks);
    let shown = SceneCamera::start(&scene, None);
    let camera = |(id, mode, rest): &(&str, &str, &str)| {
        format!(
            "[[camera]]\nid = \"{id}\"\n[camera.detect]\nurl = \"{}\"\nfps = 10\n[camera.recording]\nmode = \"{mode}\"\n{rest}\
             [[camera.zone]]\nname = \"giua\"\npolygon = [[0.2, 0.5], [0.8, 0.5], [0.8, 1.0], [0.2, 1.0]]\n\
             [[camera.rule]]\nname = \"vao\"\nkind = \"intrusion\"\nzones = [\"giua\"]\ninertia = 2\ngrace_seconds = 1\n\
             pre_roll_seconds = 1\npost_roll_seconds = {POST_ROLL}\n\n",
            shown.url()
        )
    };
    let cameras: String = MODES.iter().map(camera).collect();
    site.write("cameras.toml", &format!("revision = 1\n{cameras}"));
    let node = site.run(&config);
    let all = "SELECT COUNT(*) FROM clip WHERE complete = 1";
    let wanted = i64::from(walks) * MODES.len() as i64;
    let long = (WALK + PAUSE) * walks + LONG;
    until("every event has its clip", long, || site.number("node/node.db", all) == Some(wanted));
    println!(
        "{walks} events a camera, 320x240, {POST_ROLL} s post-roll: seconds from its end to the revision with the clip"
    );
    println!("  {:<10}{:>8}{:>8}{:>8}", "", "p50", "p99", "max");
    let mut broken = Vec::new();
    for (id, ..) in MODES {
        let mut seconds = latencies(&site, id);
        let (p50, p99, max) = (quantile(&mut seconds, 0.5), quantile(&mut seconds, 0.99), quantile(&mut seconds, 1.0));
        println!("  {id:<10}{p50:>8.2}{p99:>8.2}{max:>8.2}");
        if id != "masked" && p99 > PROMISED {
            broken.push(format!("{id}: a clip took {p99:.2} s, promised {PROMISED} s"));
        }
    }
    drop(node);
    anew();
    broken
}

/// From the end of each event's post-roll to its clip's commit.
fn latencies(site: &Site, camera: &str) -> Vec<f64> {
    let sql = format!(
        "SELECT clip.created_ms - json_extract(event.report, '$.ended_at.wall_ms') - {POST_ROLL}000 FROM clip
         JOIN event ON event.id = clip.event WHERE clip.complete = 1 AND clip.camera = '{camera}'"
    );
    let rows = site.rows("node/node.db", &sql).expect("readable");
    rows.iter().map(|r| r[0].parse::<f64>().expect("a number") / 1000.0).collect()
}

/// A recording of a 720p street, clipped as it is and with a mask burned in.
fn anew() {
    let kinds = [false, true].map(|h265| Kind { h265, gop_seconds: 2, kbits: 2000, height: 720 });
    let cameras = Cameras::start(&kinds);
    let post = Post::new(&cameras.ports, 2);
    let node = post.run();
    let recorded = |n: usize| post.rows(n).iter().filter(|r| r.end_ms > 0).map(|r| r.end_ms - r.start_ms).sum::<i64>();
    until("half a minute is recorded", LONG, || (0..kinds.len()).all(|n| recorded(n) > 30_000));
    node.stop();
    println!("720p15, 2 Mbit/s, 20 s of it on a machine that does nothing else: seconds for a second of the clip");
    for (n, kind) in kinds.iter().enumerate() {
        let start = post.rows(n)[0].start_ms;
        let time = |ms: i64| jiff::Timestamp::from_millisecond(start + ms).expect("in range").to_string();
        for (what, mask) in [("as it is", ""), ("masked", MODES[2].2)] {
            let camera = format!("[[camera]]\nid = \"c{n}\"\n[camera.detect]\nurl = \"rtsp://127.0.0.1:9/x\"\n{mask}");
            post.site.write("cameras.toml", &format!("revision = 2\n{camera}"));
            let begun = SystemClock.now();
            let done = clip(&post, n, &time(2_000), &time(22_000), &post.site.path(&format!("{n}-{}.mp4", mask.len())));
            let took = SystemClock.now().since(begun);
            let codec = if kind.h265 { "H.265" } else { "H.264" };
            println!("  {codec} {what:<10}{:>8.3}", took.as_secs_f64() / 20.0);
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
    }
}

fn clip(post: &Post, n: usize, from: &str, to: &str, out: &std::path::Path) -> std::process::Output {
    let mut command: Command = wardwatch();
    command.args(["clip", "--camera", &format!("c{n}"), "--from", from, "--to", to, "--config"]);
    command.arg(post.site.path("node.toml")).arg("-o").arg(out).output().expect("runs")
}
