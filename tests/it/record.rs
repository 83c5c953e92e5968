//! Recording through the real binary: what is on disk plays, is what the index and the sidecars say, and survives kills.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};
use wardwatch::record::segment::{Sidecar, sidecar_path};

use crate::support::broker::Mosquitto;
use crate::support::disk::SmallDisk;
use crate::support::rtsp::{Camera, h264, h264_small, h265, mjpeg};
use crate::support::site::{self, Process, Site, metric};
use crate::support::stimulus::{self, SceneCamera};
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(60);
const DATABASE: &str = "node/node.db";

/// A node that records; there is no broker, which it does not need for that.
pub struct Recording {
    pub site: Site,
    config: PathBuf,
}

/// A row of the index.
pub struct Row {
    pub path: String,
    pub start_ms: i64,
    pub end_ms: i64,
    bytes: u64,
    sha256: String,
    fragments: usize,
    state: String,
    size: (u32, u32),
}

impl Recording {
    pub fn new(record: &str) -> Self {
        Self::with_floor(0, record)
    }

    pub fn with_floor(floor_mb: u32, record: &str) -> Self {
        let site = Site::new();
        let model = stimulus::model(&site.path("models"));
        let broker = Mosquitto::stopped("");
        let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
        let text =
            site.common(&model) + &site.node("", &mqtt) + &format!("[record]\ndisk_floor_mb = {floor_mb}\n{record}");
        let config = site.write("node.toml", &text);
        Self { site, config }
    }

    pub fn cameras(&self, revision: u32, cameras: &[String]) {
        self.site.write("cameras.toml", &format!("revision = {revision}\n{}", cameras.concat()));
    }

    pub fn run(&self) -> Process {
        self.site.run(&self.config)
    }

    pub fn rows(&self, wanted: &str) -> Vec<Row> {
        let sql = format!(
            "SELECT path, start_ms, end_ms, bytes, sha256, fragments, state, width, height FROM segment
             WHERE {wanted} ORDER BY start_ms"
        );
        let number = |text: &str| text.parse::<i64>().unwrap_or_default();
        let rows = self.site.rows(DATABASE, &sql).unwrap_or_default();
        let row = |r: Vec<String>| Row {
            path: r[0].clone(),
            start_ms: number(&r[1]),
            end_ms: number(&r[2]),
            bytes: number(&r[3]) as u64,
            sha256: r[4].clone(),
            fragments: number(&r[5]) as usize,
            state: r[6].clone(),
            size: (number(&r[7]) as u32, number(&r[8]) as u32),
        };
        rows.into_iter().map(row).collect()
    }

    pub fn count(&self, wanted: &str) -> usize {
        self.rows(wanted).len()
    }

    /// Reason, start and end of each gap; an open one ends at 0.
    pub fn gaps(&self) -> Vec<(String, i64, i64)> {
        let sql = "SELECT reason, start_ms, COALESCE(end_ms, 0) FROM gap ORDER BY start_ms";
        let rows = self.site.rows(DATABASE, sql).unwrap_or_default();
        rows.into_iter().map(|r| (r[0].clone(), r[1].parse().expect("ms"), r[2].parse().expect("ms"))).collect()
    }

    pub fn file(&self, row: &Row) -> PathBuf {
        self.site.path("node/record").join(&row.path)
    }

    /// The file is what its row and its sidecar say, and plays from its first picture.
    pub fn check(&self, row: &Row) -> Played {
        let path = self.file(row);
        let bytes = std::fs::read(&path).expect("the file is there");
        assert_eq!((bytes.len() as u64, &hex(&bytes)), (row.bytes, &row.sha256), "{}", row.path);
        let sidecar = Sidecar::read(&sidecar_path(&path)).expect("readable");
        assert_eq!(sidecar.fragments.len(), row.fragments);
        assert_eq!(sidecar.closing.is_some(), row.state == "closed");
        for f in &sidecar.fragments {
            assert_eq!(hex(&bytes[f.offset as usize..(f.offset + f.bytes) as usize]), f.sha256);
        }
        assert!(sidecar.fragments[0].keyframe && sidecar.fragments[0].pts_ns == 0);
        let played = play(&path);
        assert_eq!(played.size, row.size);
        played
    }
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// What ffprobe makes of a file.
#[derive(Debug)]
pub struct Played {
    codec: String,
    size: (u32, u32),
    pub frames: u32,
    pub seconds: f64,
}

pub fn play(path: &Path) -> Played {
    let probe = |arguments: &[&str]| {
        let basics = ["-v", "error", "-select_streams", "v", "-of", "csv=p=0"];
        let out = Command::new("ffprobe").args(basics).args(arguments).arg(path).output();
        let out = out.expect("ffprobe is installed");
        assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let stream = probe(&["-count_frames", "-show_entries", "stream=codec_name,width,height,nb_read_frames"]);
    let stream: Vec<&str> = stream.trim().split(',').collect();
    let packets = probe(&["-show_entries", "packet=pts_time,duration_time,flags"]);
    let first = packets.lines().next().expect("a picture");
    assert!(first.starts_with("0.0") && first.contains('K'), "begins at zero with a keyframe: {first}");
    let ends = packets.lines().map(|l| {
        let mut fields = l.split(',').map(|f| f.parse::<f64>().unwrap_or_default());
        fields.next().unwrap_or_default() + fields.next().unwrap_or_default()
    });
    Played {
        codec: stream[0].to_owned(),
        size: (stream[1].parse().expect("width"), stream[2].parse().expect("height")),
        frames: stream[3].parse().expect("frames"),
        seconds: ends.fold(0.0, f64::max),
    }
}

pub fn camera(id: &str, url: &str, mode: &str) -> String {
    format!(
        "[[camera]]\nid = \"{id}\"\n[camera.detect]\nurl = \"{url}\"\nfps = 5\n[camera.recording]\nmode = \"{mode}\"\n"
    )
}

/// Without a rule a camera is recorded and not looked at.
pub const RULE: &str = "[[camera.zone]]\nname = \"giua\"\npolygon = [[0.2, 0.5], [0.8, 0.5], [0.8, 1.0], [0.2, 1.0]]\n\
    [[camera.rule]]\nname = \"vao\"\nkind = \"intrusion\"\nzones = [\"giua\"]\ninertia = 2\ngrace_seconds = 1\n";
/// Whether nothing was recorded. The directory itself is there: workers are shut in to it.
fn is_empty(dir: &std::path::Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

#[test]
fn a_continuous_recording_is_whole_segments_without_a_second_missing() {
    let node = Recording::new("segment_seconds = 2\n");
    let footage = Camera::start(h264());
    node.cameras(1, &[camera("ngo-1", &footage.url(), "continuous")]);
    let running = node.run();
    until("some segments are ended", LONG, || node.count("state = 'closed'") >= 4);
    let bytes = "wardwatch_record_bytes_total{camera=\"ngo-1\"}";
    until("they are counted", LONG, || metric(node.site.node_port, bytes).is_some_and(|b| b > 0.0));
    assert_eq!(running.stop(), 0);
    assert_eq!(node.count("state = 'open'"), 0, "a stop ends what is open");

    let rows = node.rows("camera = 'ngo-1'");
    let played: Vec<Played> = rows.iter().map(|r| node.check(r)).collect();
    assert!(played.iter().all(|p| p.codec == "h264" && p.frames > 0), "{played:?}");
    assert!(played[..played.len() - 1].iter().all(|p| p.frames == 20), "cut at keyframes: {played:?}");
    for pair in rows.windows(2) {
        assert_eq!(pair[0].end_ms, pair[1].start_ms, "one begins where the other ends");
    }
    let seconds: f64 = played.iter().map(|p| p.seconds).sum();
    let wall = (rows[rows.len() - 1].end_ms - rows[0].start_ms) as f64 / 1000.0;
    assert!((seconds - wall).abs() < 1.0, "{seconds} s of video in {wall} s");
    assert_eq!(node.gaps(), []);
}

#[test]
fn a_worker_and_a_node_that_are_killed_leave_what_their_sidecars_name() {
    let node = Recording::new("segment_seconds = 600\n");
    let footage = Camera::start(h264());
    node.cameras(1, &[camera("ngo-1", &footage.url(), "continuous")]);
    let mut running = node.run();
    let named = |nth: usize| {
        let rows = node.rows("state = 'open'");
        let sidecar = rows.first().and_then(|r| Sidecar::read(&sidecar_path(&node.file(r))).ok());
        sidecar.map_or(0, |s| s.fragments.len()) >= nth
    };
    until("some fragments are on disk", LONG, || named(3));
    site::kill(running.workers()[0], "KILL");
    until("the file is ended from its sidecar", LONG, || node.count("state = 'recovered'") == 1);
    until("the next one grows", LONG, || named(2));
    let recovered = &node.rows("state = 'recovered'")[0];
    let played = node.check(recovered);
    assert!(played.frames >= 25, "{played:?}");

    running.kill();
    let running = node.run();
    until("that one, too, is ended", LONG, || node.count("state <> 'open'") == 2);
    until("and another one grows", LONG, || node.count("state = 'open'") == 1);
    assert_eq!(running.stop(), 0);
    let rows = node.rows("TRUE");
    assert_eq!(rows.len(), 3);
    for row in &rows {
        node.check(row);
    }
    let gaps = node.gaps();
    assert_eq!(gaps.iter().map(|g| g.0.as_str()).collect::<Vec<_>>(), ["node_down"; 2]);
    for (gap, pair) in gaps.iter().zip(rows.windows(2)) {
        assert_eq!((gap.1, gap.2), (pair[0].end_ms, pair[1].start_ms), "from file to file");
    }
}

#[test]
fn events_are_recorded_with_what_came_before_and_after_them() {
    let node = Recording::new("segment_seconds = 600\n");
    let scene = stimulus::scene(&node.site.path(""), 1);
    let shown = SceneCamera::start(&scene, None);
    node.cameras(1, &[camera("ngo-1", &shown.url(), "events").replace("fps = 5", "fps = 10") + RULE]);
    let running = node.run();
    let event = || {
        let rows = node
            .site
            .rows(DATABASE, "SELECT started_ms FROM event WHERE camera <> '' ORDER BY started_ms")
            .unwrap_or_default();
        rows.first().map(|r| r[0].parse::<i64>().expect("ms"))
    };
    let mut before = true;
    until("an event is there", LONG, || {
        let directory = std::fs::read_dir(node.site.path("node/record"));
        let files = directory.is_ok_and(|mut entries| entries.next().is_some());
        let event = event().is_some();
        before &= event || !files;
        event
    });
    assert!(before, "nothing is on disk before the first event");
    until("its recording is ended", LONG, || node.count("state = 'closed'") == 1);
    let (row, started) = (&node.rows("state = 'closed'")[0], event().expect("seen"));
    let played = node.check(row);
    assert!((4_900..7_000).contains(&(started - row.start_ms)), "{} before {started}", row.start_ms);
    assert!((10_000..18_000).contains(&(row.end_ms - started)), "{} after {started}", row.end_ms);
    let wall = (row.end_ms - row.start_ms) as f64 / 1000.0;
    assert!((played.seconds - wall).abs() < 1.0, "{played:?} in {wall} s");
    assert_eq!(running.stop(), 0);
    assert_eq!(node.gaps(), [], "nothing is missing when nothing is wanted");
}

#[test]
fn a_change_of_resolution_or_codec_begins_a_new_segment_and_mjpeg_is_refused() {
    let node = Recording::new("segment_seconds = 4\n");
    let (mut one, two, three) = (Camera::start(h264()), Camera::start(h265()), Camera::start(mjpeg()));
    let cameras = [("ngo-1", &one), ("ngo-2", &two), ("ngo-3", &three)];
    node.cameras(1, &cameras.map(|(id, c)| camera(id, &c.url(), "continuous")));
    let running = node.run();
    let closed =
        |id: &str, width: u32| node.count(&format!("camera = '{id}' AND width = {width} AND state = 'closed'"));
    until("the first is recorded", LONG, || closed("ngo-1", 768) >= 1);
    one.restart(h264_small());
    until("it is recorded in its new size", LONG, || closed("ngo-1", 640) >= 1);
    one.restart(h265());
    until("and in its new codec", LONG, || node.count("camera = 'ngo-1' AND codec = 'h265' AND state = 'closed'") >= 1);
    until("the H.265 camera is recorded", LONG, || closed("ngo-2", 768) >= 1);
    until("the refusal is said", LONG, || running.log().contains("MJPEG, which cannot be recorded"));
    assert_eq!(running.stop(), 0);
    assert_eq!(node.count("camera = 'ngo-3'"), 0);
    for row in node.rows("TRUE") {
        let played = node.check(&row);
        assert!(played.frames > 0, "{played:?}");
    }
    assert!(node.gaps().iter().all(|g| ["codec_change", "offline"].contains(&g.0.as_str())), "{:?}", node.gaps());
    assert!(!node.gaps().is_empty(), "a camera that starts anew sends nothing for a while");
}

#[test]
fn a_new_mode_is_in_force_without_a_new_connection() {
    let node = Recording::new("segment_seconds = 600\n");
    let footage = Camera::start(h264_small());
    node.cameras(1, &[camera("ngo-1", &footage.url(), "off") + RULE]);
    let running = node.run();
    let inferred = || metric(node.site.node_port, "wardwatch_frames_inferred_total{camera=\"ngo-1\"}").unwrap_or(0.0);
    until("it is watched", LONG, || inferred() > 5.0);
    assert!(is_empty(&node.site.path("node/record")));
    // Its only rule goes: it is recorded, and looked at no more; with a rule again it is watched again.
    node.cameras(2, &[camera("ngo-1", &footage.url(), "continuous")]);
    running.signal("HUP");
    until("a recording grows", LONG, || node.count("state = 'open'") == 1);
    let seen = inferred();
    let received = || metric(node.site.node_port, "wardwatch_frames_in_total{camera=\"ngo-1\"}").unwrap_or(0.0);
    let before = received();
    until("pictures come", LONG, || received() > before + 30.0);
    assert!(inferred() <= seen + 5.0, "nobody asks what is on them");
    node.cameras(3, &[camera("ngo-1", &footage.url(), "continuous") + RULE]);
    running.signal("HUP");
    until("it is watched again", LONG, || inferred() > seen + 10.0);
    node.cameras(4, &[camera("ngo-1", &footage.url(), "off") + RULE]);
    running.signal("HUP");
    until("it is ended", LONG, || node.count("state = 'closed'") == 1);
    until("the timeline says why", LONG, || node.gaps().iter().any(|g| g.0 == "off" && g.2 == 0));
    node.cameras(5, &[camera("ngo-1", &footage.url(), "continuous")]);
    running.signal("HUP");
    until("another one grows", LONG, || node.count("state = 'open'") == 1);
    until("the gap is over", LONG, || node.gaps().iter().all(|g| g.2 != 0));
    assert_eq!(metric(node.site.node_port, "wardwatch_reconnects_total{camera=\"ngo-1\"}"), Some(0.0));
    assert_eq!(running.stop(), 0);
    for row in node.rows("TRUE") {
        node.check(&row);
    }
}

#[test]
fn on_a_full_disk_recording_stops_and_watching_goes_on() {
    let Some(disk) = SmallDisk::mount(8) else {
        eprintln!("not tested: tmpfs cannot be mounted here");
        return;
    };
    let node = Recording::new(&format!("segment_seconds = 600\ndir = \"{}\"\n", disk.path().join("record").display()));
    let mut footage = Camera::start(h264_small());
    node.cameras(1, &[camera("ngo-1", &footage.url(), "continuous") + RULE]);
    let running = node.run();
    until("a recording grows", LONG, || node.count("state = 'open'") == 1);
    let filler = disk.fill();
    until("it stops", LONG, || node.gaps().iter().any(|g| g.0 == "disk_full" && g.2 == 0));
    let told = || {
        let sql = "SELECT json_extract(report, '$.rule'), phase, severity, camera FROM event
                   WHERE json_extract(report, '$.kind') = 'system'";
        node.site.rows(DATABASE, sql).unwrap_or_default()
    };
    until("that is an event", LONG, || told() == [["disk-full", "started", "alert", ""]]);
    until("what was there is ended", LONG, || node.count("state = 'recovered'") == 1);
    let inferred = || metric(node.site.node_port, "wardwatch_frames_inferred_total{camera=\"ngo-1\"}").unwrap_or(0.0);
    let seen = inferred();
    until("watching goes on", LONG, || inferred() > seen + 20.0);
    std::fs::remove_file(filler).expect("there");
    until("recording goes on", LONG, || node.count("state = 'open'") == 1);
    until("the gap is over", LONG, || node.gaps().iter().all(|g| g.2 != 0));
    until("and the event, too", LONG, || told() == [["disk-full", "ended", "alert", ""]]);
    assert_eq!(running.log().matches("recording stops").count(), 1, "one line an outage");
    // The camera loses power: what is there is ended, and the time is a gap.
    footage.stop();
    until("that is a gap", LONG, || node.gaps().iter().any(|g| g.0 == "offline" && g.2 == 0));
    until("and the file is ended", LONG, || node.count("state = 'closed'") == 1);
    assert_eq!(running.stop(), 0);
    for row in node.rows("TRUE") {
        let path = disk.path().join("record").join(&row.path);
        let bytes = std::fs::read(&path).expect("there");
        assert_eq!((bytes.len() as u64, hex(&bytes)), (row.bytes, row.sha256));
        assert!(play(&path).frames > 0);
    }
}

#[test]
fn out_of_its_hours_nothing_is_recorded_and_the_timeline_says_why() {
    let node = Recording::new("segment_seconds = 600\n");
    let footage = Camera::start(h264_small());
    // Hours that hold always, and hours that never come: one minute, half a day from now.
    let now = wardwatch::base::Clock::now(&wardwatch::base::clock::SystemClock).wall_ms;
    let zone = jiff::tz::TimeZone::get("Asia/Ho_Chi_Minh").expect("bundled");
    let later = jiff::Timestamp::from_millisecond(now + 12 * 3_600_000).expect("in range");
    let later = zone.to_datetime(later);
    let minute = |minutes: i8| format!("{:02}:{:02}", later.hour(), (later.minute() / 2) + minutes);
    let hours = format!(
        "[[schedule]]\nname = \"luon\"\nwindows = [{{ from = \"00:00\", to = \"24:00\" }}]\n\
         [[schedule]]\nname = \"kia\"\nwindows = [{{ from = \"{}\", to = \"{}\" }}]\n",
        minute(0),
        minute(1)
    );
    let within = |name: &str| {
        hours.clone() + &camera("ngo-1", &footage.url(), "continuous") + &format!("schedule = \"{name}\"\n")
    };
    node.cameras(1, &[within("kia")]);
    let running = node.run();
    until("the timeline says why", LONG, || node.gaps().iter().any(|g| g.0 == "schedule" && g.2 == 0));
    let received = || metric(node.site.node_port, "wardwatch_frames_in_total{camera=\"ngo-1\"}").unwrap_or(0.0);
    until("pictures come", LONG, || received() > 30.0);
    assert_eq!(node.count("TRUE"), 0, "nothing is on disk");
    node.cameras(2, &[within("luon")]);
    running.signal("HUP");
    until("a recording grows", LONG, || node.count("state = 'open'") == 1);
    until("the gap is over", LONG, || node.gaps().iter().all(|g| g.2 != 0));
    node.cameras(3, &[within("kia")]);
    running.signal("HUP");
    until("it is ended", LONG, || node.count("state = 'closed'") == 1);
    until("and that is a gap", LONG, || node.gaps().iter().filter(|g| g.0 == "schedule").count() == 2);
    assert_eq!(running.stop(), 0);
    assert!(node.gaps().iter().all(|g| g.0 == "schedule"), "{:?}", node.gaps());
    node.check(&node.rows("TRUE")[0]);
}
