//! Recordings as an operator handles them: the real binary's `clip` and `fsck`, and what a running node deletes.

use std::path::PathBuf;
use std::time::Duration;

use wardwatch::base::types::{Gap, GapReason, Segment};
use wardwatch::record::segment::{Sidecar, sidecar_path};
use wardwatch::store::sqlite;

use crate::support::broker::Mosquitto;
use crate::support::post::open_store;
use crate::support::rtsp::{Camera, h264};
use crate::support::segments::{Recipe, duration, flip, pictures, sha256};
use crate::support::site::{Site, wardwatch};
use crate::support::stimulus;
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(60);
const NO_BROKER: &str = "host = \"127.0.0.1\"\nport = 1\n";

/// A document with the recorded camera, which is away, and `more` of it.
fn camera_document(more: &str) -> String {
    format!("revision = 1\n[[camera]]\nid = \"ngo-1\"\n[camera.detect]\nurl = \"rtsp://127.0.0.1:9/x\"\n{more}")
}

/// A stopped node with recordings.
struct Archive {
    site: Site,
    config: PathBuf,
    rows: Vec<Segment>,
}

impl Archive {
    fn new(recipes: &[Recipe], gaps: &[(i64, i64, GapReason)]) -> Self {
        let site = Site::new();
        let config = site.write("node.toml", &(site.common("none") + &site.node("", NO_BROKER)));
        site.write("cameras.toml", &camera_document(""));
        let mut rows: Vec<Segment> = recipes.iter().map(|r| r.make(&site.path("node/record"))).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (store, _) = open_store(&site.path("node"), 1 << 20);
            for row in &mut rows {
                row.id = store.segment_closed(row.clone()).await.expect("indexed");
            }
            for (from, to, reason) in gaps {
                let camera = "ngo-1".parse().expect("valid");
                let gap = Gap { id: 0, camera, start_ms: *from, end_ms: Some(*to), reason: *reason };
                store.gap_began(gap).await.expect("noted");
            }
        });
        let archive = Self { site, config, rows };
        archive.is_free();
        archive
    }

    fn database(&self) -> PathBuf {
        self.site.path("node/node.db")
    }

    fn is_free(&self) {
        until("the store is closed", LONG, || !sqlite::in_use(&self.database()));
    }

    fn file(&self, n: usize) -> PathBuf {
        self.site.path("node/record").join(&self.rows[n].path)
    }

    fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        let command = &args[0..1];
        let done = wardwatch().args(command).arg("--config").arg(&self.config).args(&args[1..]).output().expect("runs");
        let text = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8(text).expect("text"))
    }

    fn clip(&self, from: &str, to: &str) -> (Option<i32>, String) {
        let out = self.site.path("clip.mp4");
        let out = out.to_str().expect("text");
        self.run(&["clip", "--camera", "ngo-1", "--from", from, "--to", to, "-o", out])
    }
}

// The first recipe's start is 2025-11-24T16:00:00Z.
#[test]
fn clip_writes_the_file_says_what_is_missing_and_exits_as_promised() {
    let start = Recipe::default().start_ms;
    let gap = (start + 10_000, start + 30_000, GapReason::Offline);
    let archive = Archive::new(&[Recipe::at(0), Recipe::at(30)], &[gap]);
    let (code, report) = archive.clip("2025-11-24T23:00:04+07:00", "2025-11-24T23:00:36+07:00");
    assert_eq!(code, Some(0), "{report}");
    assert!(report.contains("covers   2025-11-24T23:00:04.000+07:00 to 2025-11-24T23:00:36.000+07:00"), "{report}");
    assert!(
        report.contains("missing  2025-11-24T23:00:10.000+07:00 to 2025-11-24T23:00:30.000+07:00: offline"),
        "{report}"
    );
    let clip = archive.site.path("clip.mp4");
    assert!(report.contains(&sha256(&std::fs::read(&clip).expect("written"))), "{report}");
    assert_eq!(pictures(&clip).len(), 120);

    let (code, text) = archive.clip("2025-11-24T23:00:04+07:00", "2025-11-24T23:00:36+07:00");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("not overwritten"), "{text}");
    std::fs::remove_file(&clip).expect("there");
    let (code, text) = archive.clip("2025-11-24T23:00:15+07:00", "2025-11-24T23:00:25+07:00");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("nothing is recorded in this range: offline"), "{text}");
    let (code, text) = archive.clip("2025-11-24 23:00", "2025-11-24T23:00:25+07:00");
    assert_eq!(code, Some(2), "{text}");
    let args =
        ["clip", "--camera", "ngo-9", "--from", "2025-11-24T23:00:00Z", "--to", "2025-11-24T23:01:00Z", "-o", "x.mp4"];
    let (code, text) = archive.run(&args);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("cameras with recordings: ngo-1"), "{text}");
    assert!(!clip.exists());
}

#[test]
fn fsck_finds_what_does_not_agree_and_repairs_what_can_be_repaired() {
    let archive = Archive::new(&[Recipe::at(0), Recipe::at(10), Recipe::at(20)], &[]);
    let (code, text) = archive.run(&["fsck"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("3 segments, 30 fragments") && text.contains("0 problems"), "{text}");

    let sidecar = Sidecar::read(&sidecar_path(&archive.file(0))).expect("there");
    flip(&archive.file(0), sidecar.fragments[3].offset + 200);
    std::fs::remove_file(archive.file(1)).expect("there");
    let unknown = Recipe::at(30).make(&archive.site.path("node/record"));
    let left = archive.file(2).with_extension("tmp");
    std::fs::write(&left, "x").expect("writable");
    std::fs::write(archive.file(2).with_file_name("notes.txt"), "x").expect("writable");
    let (code, text) = archive.run(&["fsck"]);
    assert_eq!(code, Some(1), "{text}");
    let says = |kind: &str, what: &str| text.lines().any(|l| l.starts_with(kind) && l.contains(what));
    assert!(
        says("DAMAGED", &format!("{}: fragment 3 of 2025-11-24T23:00:03.000+07:00", archive.rows[0].path)),
        "{text}"
    );
    assert!(says("no file", &archive.rows[1].path), "{text}");
    assert!(says("orphan", &archive.rows[1].path.replace(".mp4", ".json")), "{text}");
    assert!(says("no row", &unknown.path), "{text}");
    assert!(says("temporary", ".tmp") && says("foreign", "notes.txt"), "{text}");
    assert!(left.exists(), "without --repair nothing is changed");
    assert_eq!(archive.run(&["fsck"]), (code, text), "and asking again gives the same answer");

    let (store, _) = open_store(&archive.site.path("node"), 1 << 20);
    let (code, text) = archive.run(&["fsck", "--repair"]);
    assert!(code == Some(1) && text.contains("stop it first"), "{text}");
    drop(store);
    archive.is_free();

    let (code, text) = archive.run(&["fsck", "--repair"]);
    assert_eq!(code, Some(1), "what is damaged stays damaged: {text}");
    assert!(text.contains("4 mended, 2 left"), "{text}");
    let rows = archive.site.rows("node/node.db", "SELECT path, state, fragments FROM segment ORDER BY start_ms");
    let row = |r: &Segment, state: &str| vec![r.path.clone(), state.into(), "10".into()];
    let expected = [row(&archive.rows[0], "closed"), row(&archive.rows[2], "closed"), row(&unknown, "recovered")];
    assert_eq!(rows.expect("readable"), expected);
    assert!(!left.exists() && archive.file(2).exists() && sidecar_path(&archive.file(2)).exists());
    let (_, text) = archive.run(&["fsck"]);
    assert!(text.contains("2 problems"), "{text}");
}

/// H.265 is kept as it is; a copy for players that do not know it has the same pictures at the same times.
#[test]
fn a_clip_of_h265_can_be_had_as_h264_with_the_same_times() {
    let archive =
        Archive::new(&[Recipe { h264: false, ..Recipe::at(0) }, Recipe { h264: false, ..Recipe::at(10) }], &[]);
    let range = ["--from", "2025-11-24T23:00:05+07:00", "--to", "2025-11-24T23:00:15+07:00"];
    let clip = |more: &[&str], name: &str| {
        let out = archive.site.path(name);
        let place = ["-o", out.to_str().expect("text")];
        let (code, text) = archive.run(&[&["clip", "--camera", "ngo-1"], &range[..], &place[..], more].concat());
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(&sha256(&std::fs::read(&out).expect("written"))), "{text}");
        out
    };
    let (plain, copy) = (clip(&[], "plain.mp4"), clip(&["--h264"], "copy.mp4"));
    assert_eq!((codec(&plain).as_str(), codec(&copy).as_str()), ("hevc", "h264"));
    let (before, after) = (pictures(&plain), pictures(&copy));
    assert_eq!(before.len(), after.len());
    assert!(before.iter().zip(&after).all(|(a, b)| (a.0 - b.0).abs() < 0.002), "{before:?} {after:?}");
    let keys: Vec<f64> = after.iter().filter(|p| p.1).map(|p| p.0).collect();
    assert!(keys.windows(2).all(|k| k[1] - k[0] < 1.05), "a keyframe every second: {keys:?}");
    // What is H.264 already stays bit for bit.
    let archive = Archive::new(&[Recipe::at(0)], &[]);
    let (_, with) = archive.clip("2025-11-24T23:00:02+07:00", "2025-11-24T23:00:06+07:00");
    std::fs::remove_file(archive.site.path("clip.mp4")).expect("there");
    let out = archive.site.path("clip.mp4");
    let args =
        ["clip", "--camera", "ngo-1", "--from", "2025-11-24T23:00:02+07:00", "--to", "2025-11-24T23:00:06+07:00"];
    let (_, without) = archive.run(&[&args[..], &["--h264", "-o", out.to_str().expect("text")]].concat());
    assert_eq!(with, without);
}

fn codec(path: &std::path::Path) -> String {
    let out = std::process::Command::new("ffprobe")
        .args(["-loglevel", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .expect("ffprobe is installed");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

const MASK: &str = "[[camera.mask]]\npolygon = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]\n";

#[test]
fn without_its_masks_there_is_no_clip_of_a_camera() {
    let archive = Archive::new(&[Recipe::at(0)], &[]);
    archive.site.write("cameras.toml", &camera_document(MASK));
    // What was recorded can be joined but not decoded, and so not masked.
    let sidecar = sidecar_path(&archive.file(0));
    let text = std::fs::read_to_string(&sidecar).expect("there");
    let mut bytes = std::fs::read(archive.file(0)).expect("there");
    let spoilt = text.lines().map(|line| {
        let Ok(mut f) = serde_json::from_str::<wardwatch::base::types::Fragment>(line) else { return line.to_owned() };
        let whole = &mut bytes[f.offset as usize..][..f.bytes as usize];
        let data = whole.windows(4).position(|w| w == b"mdat").expect("there") + 8;
        whole[data..].fill(0);
        f.sha256 = sha256(whole);
        serde_json::to_string(&f).expect("JSON")
    });
    let spoilt: Vec<String> = spoilt.collect();
    std::fs::write(&sidecar, spoilt.join("\n") + "\n").expect("writable");
    std::fs::write(archive.file(0), bytes).expect("writable");
    let entries = || std::fs::read_dir(archive.site.path("")).expect("there").flatten().map(|e| e.file_name());
    let before: std::collections::BTreeSet<_> = entries().collect();
    let (code, text) = archive.clip("2025-11-24T23:00:02+07:00", "2025-11-24T23:00:06+07:00");
    assert!(code == Some(1) && text.contains("an encoder failed"), "{text}");
    assert_eq!(entries().collect::<std::collections::BTreeSet<_>>(), before, "nothing is left behind");

    // Nothing is known of its masks.
    std::fs::remove_file(archive.site.path("cameras.toml")).expect("there");
    let (code, text) = archive.clip("2025-11-24T23:00:02+07:00", "2025-11-24T23:00:06+07:00");
    assert!(code == Some(2) && text.contains("nothing is known of its masks"), "{text}");
    assert!(!archive.site.path("clip.mp4").exists());
}

#[test]
fn what_is_held_stays_until_it_is_released() {
    use wardwatch::base::Clock;
    // Older than `keep_days`, not so old that the clock would be doubted.
    let first = wardwatch::base::clock::SystemClock.now().wall_ms / 1000 * 1000 - 10 * 86_400_000;
    let recipe = |seconds: i64| Recipe { start_ms: first + seconds * 1000, ..Recipe::default() };
    let mut archive = Archive::new(&[recipe(0), recipe(20), recipe(40)], &[]);
    let time = |seconds: i64| jiff::Timestamp::from_millisecond(first + seconds * 1000).expect("in range").to_string();
    let hold = |archive: &Archive, from: i64, to: i64| {
        let (from, to) = (time(from), time(to));
        archive.run(&["hold", "--camera", "ngo-1", "--from", &from, "--to", &to, "--reason", "vụ 17"])
    };
    // The node is stopped: the store is free.
    let (code, text) = hold(&archive, 12, 35);
    assert_eq!(code, Some(0), "{text}");
    let missing: Vec<&str> = text.lines().filter(|l| l.starts_with("missing")).collect();
    assert!(text.contains("1 recordings of") && missing.len() == 2, "before it and after it: {text}");
    let id = text.split_whitespace().nth(1).expect("an id").to_owned();
    archive.is_free();

    let broker = Mosquitto::start("");
    let model = stimulus::model(&archive.site.path("models"));
    let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
    let settings = archive.site.common(&model) + &archive.site.node("", &mqtt) + "[record]\ndisk_floor_mb = 1\n";
    archive.config = archive.site.write("node.toml", &settings);
    let paths = || archive.site.rows("node/node.db", "SELECT path FROM segment ORDER BY start_ms").unwrap_or_default();
    let node = archive.site.run(&archive.config);
    until("only what is held is left", LONG, || paths() == [vec![archive.rows[1].path.clone()]]);
    until("the node answers", LONG, || archive.run(&["hold", "--list"]).0 == Some(0));
    let (_, text) = archive.run(&["hold", "--list"]);
    assert!(text.contains(&id) && text.contains("vụ 17") && text.lines().count() == 1, "{text}");
    let (code, text) = hold(&archive, 0, 8);
    assert!(code == Some(1) && text.contains("too late"), "{text}");
    let (code, text) = hold(&archive, 100 * 86_400, 101 * 86_400);
    assert!(code == Some(0) && text.contains("0 recordings") && !text.contains("missing"), "what is to come: {text}");
    let (code, text) = archive.run(&["hold", "--release", "no-such-hold"]);
    assert!(code == Some(1) && text.contains("no such hold"), "{text}");
    assert!(archive.file(1).exists());
    let (code, text) = archive.run(&["hold", "--release", &id]);
    assert!(code == Some(0) && text.contains("vụ 17"), "{text}");
    assert_eq!(node.stop(), 0);
    let node = archive.site.run(&archive.config);
    until("its time is over at once", LONG, || paths().is_empty() && !archive.file(1).exists());
    assert_eq!(node.stop(), 0);
}

#[test]
fn fsck_knows_clips() {
    let archive = Archive::new(&[Recipe::at(0)], &[]);
    let dir = archive.site.path("node/record/.clips");
    let write = |text: &str, name: &str| {
        let path = format!("{}/{name}.mp4", &name[..2]);
        let file = dir.join(&path);
        std::fs::create_dir_all(file.parent().expect("has one")).expect("writable");
        std::fs::write(file, text).expect("writable");
        path
    };
    let good = write("pictures", &sha256(b"pictures"));
    let damaged = write("pixtures", &sha256(b"other pictures"));
    let unknown = write("nobody's", &sha256(b"nobody's"));
    std::fs::create_dir(dir.join(".wardwatch-work-x")).expect("writable");
    let connection = rusqlite::Connection::open(archive.database()).expect("there");
    for (path, held) in [(&good, 0), (&damaged, 0), (&format!("aa/{}.mp4", "aa".repeat(32)), 1)] {
        connection
            .execute(
                "INSERT INTO clip (camera, path, sha256, bytes, from_ms, to_ms, masked, complete, created_ms, held)
                 VALUES ('ngo-1', ?1, substr(?1, 4, 64), 8, 0, 1, 0, 1, 0, ?2)",
                rusqlite::params![path, held],
            )
            .expect("writable");
    }
    drop(connection);
    let (code, text) = archive.run(&["fsck"]);
    assert_eq!(code, Some(1), "{text}");
    let says = |text: &str, kind: &str, what: &str| text.lines().any(|l| l.starts_with(kind) && l.contains(what));
    assert!(says(&text, "DAMAGED", &damaged) && says(&text, "no row", &unknown), "{text}");
    assert!(says(&text, "no file", "HELD") && says(&text, "temporary", ".wardwatch-work-x"), "{text}");
    assert!(text.contains("3 clips looked at; 4 problems") && dir.join(&unknown).exists(), "{text}");
    let (code, text) = archive.run(&["fsck", "--repair"]);
    assert!(code == Some(1) && text.contains("3 mended, 1 left"), "{text}");
    assert!(!dir.join(&unknown).exists() && dir.join(&good).exists() && dir.join(&damaged).exists());
    let (_, text) = archive.run(&["fsck"]);
    assert!(text.contains("2 clips looked at; 1 problems"), "{text}");
}

#[test]
fn fsck_does_not_forget_everything_because_a_disk_is_not_mounted() {
    let archive = Archive::new(&[Recipe::at(0)], &[]);
    std::fs::rename(archive.site.path("node/record"), archive.site.path("elsewhere")).expect("renamed");
    let (code, text) = archive.run(&["fsck", "--repair"]);
    assert!(code == Some(1) && text.contains("is the disk mounted?"), "{text}");
    assert_eq!(archive.site.number("node/node.db", "SELECT COUNT(*) FROM segment"), Some(1));
}

#[test]
fn a_node_finds_lost_rows_at_its_start_and_deletes_what_has_had_its_time_but_nothing_held() {
    use wardwatch::base::Clock;
    // Ten days ago: too old for a week, and no leap of the clock.
    let ago = wardwatch::base::clock::SystemClock.now().wall_ms - 10 * 86_400_000;
    let old = |seconds: i64| Recipe { start_ms: ago + seconds * 1000, ..Recipe::default() };
    let mut archive = Archive::new(&[old(0), old(10), old(20)], &[]);
    let connection = rusqlite::Connection::open(archive.database()).expect("there");
    let held = connection.execute("UPDATE segment SET held = 1 WHERE id = ?1", [archive.rows[1].id]);
    assert_eq!(held.expect("writable"), 1);
    drop(connection);
    // Written just now by a run that was cut off before the index knew it.
    let now = wardwatch::base::clock::SystemClock.now().wall_ms;
    let recent = Recipe { start_ms: now - 20_000, ..Recipe::default() }.make(&archive.site.path("node/record"));
    let broker = Mosquitto::start("");
    let model = stimulus::model(&archive.site.path("models"));
    let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
    let site = &archive.site;
    archive.config =
        site.write("node.toml", &(site.common(&model) + &site.node("", &mqtt) + "[record]\ndisk_floor_mb = 1\n"));
    let paths = |sql: &str| site.rows("node/node.db", sql).unwrap_or_default();
    let node = site.run(&archive.config);
    let kept = [vec![archive.rows[1].path.clone(), "closed".into()], vec![recent.path.clone(), "recovered".into()]];
    until("the old ones are gone, the lost one is found", LONG, || {
        paths("SELECT path, state FROM segment ORDER BY start_ms") == kept
    });
    until("files go with their rows", LONG, || !archive.file(0).exists() && !archive.file(2).exists());
    assert!(archive.file(1).exists() && sidecar_path(&archive.file(1)).exists());
    assert!(!sidecar_path(&archive.file(0)).exists());
    assert_eq!(node.stop(), 0);

    // No disk has so much room: everything goes that is not held, and the node says that it can do no more.
    let floor = "[record]\ndisk_floor_mb = 1000000000\n";
    let config = site.write("full.toml", &(site.common(&model) + &site.node("", &mqtt) + floor));
    let node = site.run(&config);
    until("only what is held is left", LONG, || paths("SELECT path, state FROM segment") == kept[..1]);
    until("it says so", LONG, || node.log().contains("every recording left is held"));
    assert_eq!(node.stop(), 0);
    assert!(archive.file(1).exists());
}

/// Real footage through the real recorder, then everything that is done with it.
#[test]
fn what_a_node_records_is_clipped_while_it_runs_and_checked_while_it_runs_and_after() {
    let site = Site::new();
    let model = stimulus::model(&site.path("models"));
    let broker = Mosquitto::stopped("");
    let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
    let record = "[record]\ndisk_floor_mb = 0\nsegment_seconds = 4\n";
    let config = site.write("node.toml", &(site.common(&model) + &site.node("", &mqtt) + record));
    let archive = Archive { site, config, rows: Vec::new() };
    let mut camera = Camera::start(h264());
    let recorded = format!(
        "revision = 1\n[[camera]]\nid = \"ngo-1\"\n[camera.detect]\nurl = \"{}\"\nfps = 5\n[camera.recording]\nmode = \"continuous\"\n",
        camera.url()
    );
    archive.site.write("cameras.toml", &recorded);
    let node = archive.site.run(&archive.config);
    let number = |sql: &str| archive.site.number("node/node.db", sql).unwrap_or_default();
    let span = "SELECT MAX(end_ms) - MIN(start_ms) FROM segment";
    until("fifteen seconds are recorded", LONG, || number(span) >= 15_000);

    let start = number("SELECT MIN(start_ms) FROM segment");
    let time = |ms: i64| jiff::Timestamp::from_millisecond(ms).expect("in range").to_string();
    let (code, report) = archive.clip(&time(start + 5_000), &time(start + 11_000));
    assert_eq!(code, Some(0), "{report}");
    assert!(!report.contains("missing") && !report.contains("ends "), "{report}");
    let clip = archive.site.path("clip.mp4");
    let shown = pictures(&clip);
    // Up to one group of pictures (2 s) more before, one fragment (1 s) more behind.
    let length = duration(&clip);
    assert!((5.9..9.1).contains(&length), "{length} s\n{report}");
    assert!((shown.len() as f64 / 10.0 - length).abs() < 0.3, "{} pictures in {length} s", shown.len());
    assert!(shown[0].1 && shown.windows(2).all(|w| w[1].0 > w[0].0), "{shown:?}");
    std::fs::remove_file(&clip).expect("there");

    camera.stop();
    until("the gap is noted", LONG, || number("SELECT COUNT(*) FROM gap WHERE reason = 'offline'") == 1);
    camera.restart(h264());
    until("it is over", LONG, || number("SELECT COUNT(*) FROM gap WHERE end_ms IS NOT NULL") == 1);
    let over = number("SELECT end_ms FROM gap");
    let after = format!("SELECT COUNT(*) FROM segment WHERE state = 'closed' AND start_ms >= {}", over - 100);
    until("some is recorded after it", LONG, || number(&after) >= 1);
    let (code, report) = archive.clip(&time(start), &time(over + 3_000));
    assert_eq!(code, Some(0), "{report}");
    let missing: Vec<&str> = report.lines().filter(|l| l.starts_with("missing")).collect();
    assert!(missing.len() == 1 && missing[0].contains(": offline"), "{report}");
    let shown = pictures(&clip);
    assert!(shown.windows(2).all(|w| w[1].0 > w[0].0 && w[1].0 - w[0].0 < 1.0), "it plays through: {shown:?}");

    let (code, text) = archive.run(&["fsck"]);
    assert_eq!(code, Some(0), "a running node is in order: {text}");
    assert_eq!(node.stop(), 0);
    let (code, text) = archive.run(&["fsck"]);
    assert_eq!(code, Some(0), "and so is a stopped one: {text}");

    let paths = archive.site.rows("node/node.db", "SELECT path FROM segment ORDER BY start_ms").expect("readable");
    let file = |n: usize| archive.site.path("node/record").join(&paths[n][0]);
    std::fs::remove_file(file(0)).expect("there");
    let fragment = Sidecar::read(&sidecar_path(&file(1))).expect("there").fragments[1].clone();
    flip(&file(1), fragment.offset + fragment.bytes / 2);
    let (code, text) = archive.run(&["fsck"]);
    assert_eq!(code, Some(1), "{text}");
    let says = |kind: &str, what: &str| text.lines().any(|l| l.starts_with(kind) && l.contains(what));
    assert!(says("no file", &paths[0][0]) && says("DAMAGED", &format!("{}: fragment 1 of", paths[1][0])), "{text}");
}
