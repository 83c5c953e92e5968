//! The clips of events on a real node: there in time, whole, told of, and never lost by a kill.

use std::path::PathBuf;
use std::time::Duration;

use wardwatch::wire::event::{Event, PhaseJson, parse_rfc3339};

use crate::support::broker::Mosquitto;
use crate::support::browser::play;
use crate::support::segments::{pictures, sha256};
use crate::support::site::{Process, Site, wardwatch};
use crate::support::stimulus::{self, SceneCamera};
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(60);

/// A node without a broker, on which everything waits in the outbox, and cameras that show one scene.
pub struct Post {
    pub site: Site,
    config: PathBuf,
    _broker: Mosquitto,
}

impl Post {
    pub fn new() -> Self {
        let site = Site::new();
        let model = stimulus::model(&site.path("models"));
        let broker = Mosquitto::stopped("");
        let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
        let record = "[record]\ndisk_floor_mb = 0\n";
        let config = site.write("node.toml", &(site.common(&model) + &site.node("", &mqtt) + record));
        Self { site, config, _broker: broker }
    }

    pub fn run(&self) -> Process {
        self.site.run(&self.config)
    }

    pub fn clips(&self, wanted: &str) -> Vec<ClipRow> {
        let sql = format!(
            "SELECT id, camera, event, path, sha256, from_ms, to_ms, complete, masked FROM clip WHERE {wanted}"
        );
        let rows = self.site.rows("node/node.db", &sql).unwrap_or_default();
        let number = |r: &[String], n: usize| r[n].parse().expect("a number");
        rows.into_iter()
            .map(|r| ClipRow {
                camera: r[1].clone(),
                event: r[2].clone(),
                file: self.site.path("node/record/.clips").join(&r[3]),
                sha256: r[4].clone(),
                from_ms: number(&r, 5),
                to_ms: number(&r, 6),
                complete: r[7] == "1",
                masked: r[8] == "1",
            })
            .collect()
    }

    /// The newest revision of an event, as it waits for the centre.
    pub fn newest(&self, event: &str) -> Event {
        let sql = format!(
            "SELECT CAST(payload AS TEXT) FROM outbox WHERE event = '{event}' AND kind = 'event' ORDER BY revision DESC"
        );
        let rows = self.site.rows("node/node.db", &sql).expect("readable");
        serde_json::from_str(&rows[0][0]).expect("an event")
    }
}

pub struct ClipRow {
    pub camera: String,
    pub event: String,
    pub file: PathBuf,
    pub sha256: String,
    pub from_ms: i64,
    pub to_ms: i64,
    pub complete: bool,
    pub masked: bool,
}

pub fn camera(id: &str, url: &str, mode: &str, rest: &str) -> String {
    format!(
        "[[camera]]\nid = \"{id}\"\n[camera.detect]\nurl = \"{url}\"\nfps = 10\n[camera.recording]\nmode = \"{mode}\"\n{rest}\
         [[camera.zone]]\nname = \"giua\"\npolygon = [[0.2, 0.5], [0.8, 0.5], [0.8, 1.0], [0.2, 1.0]]\n\
         [[camera.rule]]\nname = \"vao\"\nkind = \"intrusion\"\nzones = [\"giua\"]\ninertia = 2\ngrace_seconds = 1\n\
         pre_roll_seconds = 2\npost_roll_seconds = 3\n\n"
    )
}

fn ms(time: &str) -> i64 {
    parse_rfc3339(time).expect("a time")
}

/// To its end, with all its pictures, in the browser that an officer has.
fn plays_in_a_browser(file: &std::path::Path, size: (u32, u32)) {
    let (played, pictures) = (play(file), pictures(file));
    assert!(played.error.is_empty() && (played.width, played.height) == size, "{played:?}");
    let seconds = pictures.len() as f64 / 10.0;
    assert!(
        (played.duration - seconds).abs() < 0.3 && (played.at - played.duration).abs() < 0.3,
        "{played:?} {seconds}"
    );
    // It may drop some to keep pace, which it counts as well.
    assert!(f64::from(played.frames) > pictures.len() as f64 * 0.8, "{played:?} of {}", pictures.len());
}

#[test]
fn an_event_gets_a_clip_of_what_its_rule_asks_for_and_a_revision_that_tells_of_it() {
    let post = Post::new();
    let scene = stimulus::scene(&post.site.path(""), 1);
    let shown = SceneCamera::start(&scene, None);
    let cameras = camera("always", &shown.url(), "continuous", "") + &camera("events", &shown.url(), "events", "");
    post.site.write("cameras.toml", &format!("revision = 1\n{cameras}"));
    let node = post.run();
    until("both cameras' events have their clips", LONG, || post.clips("complete = 1").len() == 2);
    for row in post.clips("complete = 1 ORDER BY camera") {
        let bytes = std::fs::read(&row.file).expect("there");
        assert_eq!(sha256(&bytes), row.sha256);
        let event = post.newest(&row.event);
        assert_eq!((event.phase, event.camera.as_deref()), (PhaseJson::Ended, Some(row.camera.as_str())));
        let clip = event.clip.expect("the revision tells of it");
        assert_eq!((clip.sha256, clip.bytes, clip.complete), (row.sha256, bytes.len() as u64, true));
        assert_eq!((ms(&clip.from), ms(&clip.to), clip.missing_ms), (row.from_ms, row.to_ms, 0));
        // A keyframe comes every second, and a fragment is as long.
        let (before, after) = (ms(&event.started_at) - row.from_ms, row.to_ms - ms(&event.ended_at.expect("ended")));
        assert!((1_900..3_500).contains(&before), "{} begins {before} ms before", row.camera);
        assert!((2_900..5_000).contains(&after), "{} ends {after} ms after", row.camera);
        let shown = pictures(&row.file);
        let seconds = (row.to_ms - row.from_ms) as f64 / 1000.0;
        assert!(shown[0].1 && (shown.len() as f64 / 10.0 - seconds).abs() < 0.5, "{} in {seconds} s", shown.len());
        plays_in_a_browser(&row.file, (320, 240));
    }
    assert_eq!(node.stop(), 0);
}

/// Colours that nothing else in the scene has, where the mask is.
const CANARY: &str = "drawbox=x=0:y=0:w=80:h=72:color=magenta:t=fill,drawbox=x=16:y=16:w=40:h=32:color=lime:t=fill";
const MASK: &str = "[[camera.mask]]\npolygon = [[0.0, 0.0], [0.25, 0.0], [0.25, 0.3], [0.0, 0.3]]\n";

/// The most that any chroma sample of any picture is away from grey; the scene itself is black and white.
fn colour(file: &std::path::Path) -> u8 {
    let out = std::process::Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-i"])
        .arg(file)
        .args(["-pix_fmt", "yuv420p", "-f", "rawvideo", "-"])
        .output()
        .expect("ffmpeg is installed");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let (luma, picture) = (320 * 240, 320 * 240 * 3 / 2);
    assert!(!out.stdout.is_empty() && out.stdout.len().is_multiple_of(picture));
    let chroma = out.stdout.chunks_exact(picture).flat_map(|p| &p[luma..]);
    chroma.map(|v| v.abs_diff(128)).max().unwrap_or(0)
}

/// How far luma well inside of the mask is away from its grey.
fn brightness_under_the_mask(file: &std::path::Path) -> u8 {
    let out = std::process::Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-i"])
        .arg(file)
        .args(["-vf", "crop=64:56:8:8", "-pix_fmt", "gray", "-f", "rawvideo", "-"])
        .output()
        .expect("ffmpeg is installed");
    out.stdout.iter().map(|v| v.abs_diff(128)).max().expect("pictures")
}

#[test]
fn no_pixel_under_a_mask_reaches_a_clip() {
    let post = Post::new();
    let scene = stimulus::scene_with(&post.site.path(""), 1, stimulus::WALK, CANARY);
    let shown = SceneCamera::start(&scene, None);
    post.site.write("cameras.toml", &format!("revision = 1\n{}", camera("ngo-1", &shown.url(), "continuous", MASK)));
    let node = post.run();
    until("the event has its clip", LONG, || post.clips("complete = 1").len() == 1);
    let row = post.clips("complete = 1").remove(0);
    let clip = post.newest(&row.event).clip.expect("told");
    assert!(row.masked && row.complete && clip.masked && clip.codec == "h264");
    // The mask goes; what was recorded under it stays hidden.
    post.site.write("cameras.toml", &format!("revision = 2\n{}", camera("ngo-1", &shown.url(), "continuous", "")));
    node.signal("HUP");
    until("the document is applied", LONG, || node.log().contains("cameras document applied"));
    let out = post.site.path("clip.mp4");
    let time = |ms: i64| jiff::Timestamp::from_millisecond(ms).expect("in range").to_string();
    let made = wardwatch()
        .args(["clip", "--camera", "ngo-1", "--from", &time(row.from_ms), "--to", &time(row.to_ms), "--config"])
        .arg(&post.config)
        .arg("-o")
        .arg(&out)
        .output()
        .expect("runs");
    let report = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(
        made.status.success() && report.contains("masks burned in"),
        "{report}{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let recorded = post.site.rows("node/node.db", "SELECT path FROM segment ORDER BY start_ms LIMIT 1").expect("there");
    assert!(colour(&post.site.path("node/record").join(&recorded[0][0])) > 60, "the recording has the canary");
    for file in [&row.file, &out] {
        assert!(colour(file) < 12, "colour in {}", file.display());
        assert!(brightness_under_the_mask(file) < 12, "something under the mask of {}", file.display());
        let shown = pictures(file);
        let seconds = (row.to_ms - row.from_ms) as f64 / 1000.0;
        assert!(shown[0].1 && (shown.len() as f64 / 10.0 - seconds).abs() < 1.5, "{} in {seconds} s", shown.len());
        assert!(shown.windows(2).all(|w| (w[1].0 - w[0].0 - 0.1).abs() < 0.06), "its times are those of the camera");
        let keys: Vec<f64> = shown.iter().filter(|p| p.1).map(|p| p.0).collect();
        assert!(keys.windows(2).all(|k| k[1] - k[0] < 1.2), "{keys:?}");
        plays_in_a_browser(file, (320, 240));
    }
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_clip_survives_a_kill_before_it_is_made_and_leaves_nothing_behind() {
    let post = Post::new();
    let scene = stimulus::scene(&post.site.path(""), 1);
    let shown = SceneCamera::start(&scene, None);
    post.site.write("cameras.toml", &format!("revision = 1\n{}", camera("ngo-1", &shown.url(), "continuous", "")));
    let mut node = post.run();
    let ended = "SELECT COUNT(*) FROM event WHERE phase = 'ended' AND camera <> ''";
    until("the event is over", LONG, || post.site.number("node/node.db", ended) == Some(1));
    node.kill();
    assert_eq!(post.clips("1").len(), 0, "its post-roll was not over");
    // As if it had died between a file and its row, and while it made one.
    let dir = post.site.path("node/record/.clips");
    let stray = dir.join("ab").join(format!("{}.mp4", "ab".repeat(32)));
    std::fs::create_dir_all(stray.parent().expect("has one")).expect("writable");
    std::fs::write(&stray, "x").expect("writable");
    std::fs::create_dir(dir.join(".wardwatch-work-dead")).expect("writable");
    let node = post.run();
    until("the event has its clip", LONG, || post.clips("complete = 1").len() == 1);
    assert!(!stray.exists() && !dir.join(".wardwatch-work-dead").exists());
    let row = post.clips("1").remove(0);
    let event = post.newest(&row.event);
    assert_eq!(event.clip.map(|c| c.sha256), Some(row.sha256));
    assert!(pictures(&row.file).len() > 20);
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_long_event_has_a_clip_before_it_is_over() {
    let post = Post::new();
    let scene = stimulus::scene_with(&post.site.path(""), 1, Duration::from_secs(70), "null");
    let shown = SceneCamera::start(&scene, None);
    post.site.write("cameras.toml", &format!("revision = 1\n{}", camera("ngo-1", &shown.url(), "events", "")));
    let node = post.run();
    until("it has one while it goes on", 2 * LONG, || post.clips("complete = 0").len() == 1);
    let interim = post.clips("complete = 0").remove(0);
    let event = post.newest(&interim.event);
    assert_eq!(event.phase, PhaseJson::Updated);
    assert!(event.clip.is_some_and(|c| !c.complete && c.sha256 == interim.sha256));
    assert!(pictures(&interim.file).len() > 280, "half a minute");
    until("and a whole one after it", 2 * LONG, || post.clips("complete = 1").len() == 1);
    let whole = post.clips("complete = 1").remove(0);
    let event = post.newest(&whole.event);
    assert_eq!((event.phase, event.clip.map(|c| c.sha256)), (PhaseJson::Ended, Some(whole.sha256)));
    assert!(whole.from_ms == interim.from_ms && whole.to_ms > interim.to_ms + 2_000);
    assert_eq!(node.stop(), 0);
}
