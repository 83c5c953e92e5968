//! Recording and the node's database when the disk fails under them: syncs that report an error, a disk at its floor, a
//! database that is torn while it is in use.

use std::time::Duration;

use wardwatch::store::{SCHEMA, sqlite};

use crate::record::{RULE, Recording, camera};
use crate::support::disk::SmallDisk;
use crate::support::inject::Injection;
use crate::support::rtsp::{Camera, h264_small};
use crate::support::site::wardwatch;
use crate::support::stimulus::{self, PAUSE, SceneCamera, WALK};
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(60);

fn fsck(node: &Recording) -> (Option<i32>, String) {
    let done = wardwatch().args(["fsck", "--config"]).arg(node.site.path("node.toml")).output().expect("runs");
    (done.status.code(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
}

#[test]
fn a_recording_whose_sync_fails_is_read_again_from_the_disk_and_the_next_one_begun() {
    let node = Recording::new("segment_seconds = 600\n");
    let footage = Camera::start(h264_small());
    node.cameras(1, &[camera("ngo-1", &footage.url(), "continuous")]);
    let running = node.run();
    until("a recording grows", LONG, || node.count("state = 'open'") == 1);
    // The sync of the file, and that of the attempt to end it.
    let Some(injection) = Injection::of_syncs(running.workers()[0], "1..2") else { return };
    until("it is told", LONG, || running.log().contains("a recording cannot be ended yet"));
    until("the gap is noted", LONG, || node.gaps().iter().any(|g| g.0 == "disk_full" && g.2 == 0));
    until("it is ended later", LONG, || node.count("state = 'recovered'") == 1);
    until("and recording goes on", LONG, || node.count("state = 'open'") == 1);
    drop(injection);
    until("the gap is over", LONG, || node.gaps().iter().all(|g| g.2 != 0));
    assert_eq!(running.stop(), 0);
    let rows = node.rows("TRUE");
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert!(node.check(row).frames > 0);
    }
    let gap = &node.gaps()[0];
    assert!(rows[0].end_ms >= gap.1 - 10_000 && gap.2 == rows[1].start_ms, "{gap:?}");
    let (code, text) = fsck(&node);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn an_event_whose_commit_cannot_be_synced_is_committed_all_the_same() {
    let node = Recording::new("");
    let scene = stimulus::scene(&node.site.path(""), 2);
    let shown = SceneCamera::start(&scene, None);
    node.cameras(1, &[camera("ngo-1", &shown.url(), "off").replace("fps = 5", "fps = 10") + RULE]);
    let running = node.run();
    let events = |wanted: &str| {
        node.site.number("node/node.db", &format!("SELECT COUNT(*) FROM event WHERE {wanted}")).unwrap_or(-1)
    };
    until("the first walk is over", LONG, || events("phase = 'ended'") == 1);
    let Some(injection) = Injection::of_syncs(running.pid(), "1") else { return };
    until("the second walk is over", LONG + WALK + PAUSE, || events("phase = 'ended'") == 2);
    drop(injection);
    let log = running.log();
    assert!(log.contains("opened anew") && log.contains("the database is in order"), "{log}");
    assert!(!log.contains("event refused"), "{log}");
    assert_eq!(running.stop(), 0);
    let check = node.site.rows("node/node.db", "PRAGMA quick_check");
    assert_eq!(check, Some(vec![vec!["ok".to_owned()]]));
    assert_eq!(events("TRUE"), 2);
}

#[test]
fn at_half_the_floor_recording_stops_says_so_and_goes_on_by_itself() {
    let Some(disk) = SmallDisk::mount(64) else {
        eprintln!("not tested: tmpfs cannot be mounted here");
        return;
    };
    let record = format!("dir = \"{}\"\n", disk.path().join("record").display());
    let node = Recording::with_floor(32, &record);
    let footage = Camera::start(h264_small());
    node.cameras(1, &[camera("ngo-1", &footage.url(), "continuous")]);
    let running = node.run();
    until("a recording grows", LONG, || node.count("state = 'open'") == 1);
    // Someone else's file; every recording there is is being written, so that nothing may be deleted.
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![1; 52 << 20]).expect("there is room");
    until("the gap is noted", LONG, || node.gaps().iter().any(|g| g.0 == "disk_full" && g.2 == 0));
    until("the status says so", LONG, || running.log().contains("recording stops, and is tried again"));
    assert!(running.log().contains("of the disk are free, of 16 kept for events"), "{}", running.log());
    std::fs::remove_file(filler).expect("there");
    until("it goes on", LONG, || node.count("state = 'open'") == 1);
    until("the gap is over", LONG, || node.gaps().iter().all(|g| g.2 != 0));
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_disk_that_is_mounted_after_the_start_is_recorded_on() {
    let node = Recording::new("");
    let footage = Camera::start(h264_small());
    node.cameras(1, &[camera("ngo-1", &footage.url(), "continuous")]);
    let running = node.run();
    until("a recording grows", LONG, || node.count("state = 'open'") == 1);
    let before = running.workers();
    let Some(disk) = SmallDisk::mount_at(&node.site.path("node/record"), 64) else {
        eprintln!("not tested: tmpfs cannot be mounted here");
        return;
    };
    until("the worker is another one", LONG, || running.workers().first().is_some_and(|pid| !before.contains(pid)));
    assert!(running.log().contains("a disk was mounted or taken away"), "{}", running.log());
    let files = || std::fs::read_dir(disk.path().join("ngo-1")).map_or(0, Iterator::count);
    until("it records on the disk", LONG, || files() > 0 && node.count("state = 'open'") == 1);
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_database_that_is_torn_while_the_node_runs_is_made_anew_and_told_of() {
    let node = Recording::new("");
    let scene = stimulus::scene(&node.site.path(""), 4);
    let shown = SceneCamera::start(&scene, None);
    node.cameras(1, &[camera("ngo-1", &shown.url(), "off").replace("fps = 5", "fps = 10") + RULE]);
    let running = node.run();
    let number = |sql: &str| node.site.number("node/node.db", sql).unwrap_or(-1);
    until("the first walk is over", LONG, || number("SELECT COUNT(*) FROM event WHERE phase = 'ended'") == 1);
    let used = number("SELECT value FROM meta WHERE key = 'seq'");
    tear(&node.site.path("node/node.db"));
    let told = "SELECT COUNT(*) FROM event WHERE json_extract(report, '$.rule') = 'database-rebuilt'";
    until("it is told", LONG, || number(told) == 1);
    until("a later walk is an event", LONG, || {
        number("SELECT COUNT(*) FROM event WHERE camera <> '' AND phase = 'ended'") >= 1
    });
    assert_eq!(running.stop(), 0);
    let log = running_log(&node);
    assert!(log.contains("the database is corrupt and was put aside"), "{log}");
    assert!(!log.contains("event refused"), "{log}");
    let seq = "json_extract(CAST(payload AS TEXT), '$.seq')";
    let first = format!("SELECT MIN({seq}) FROM outbox WHERE payload IS NOT NULL AND {seq} > {used}");
    assert!(number(&first) > 1_700_000_000_000, "numbers go on where none was given out");
}

fn running_log(node: &Recording) -> String {
    std::fs::read_to_string(node.site.path("node.log")).expect("it logs")
}

/// Everything in the file but its first page becomes rubbish, also for a process that has it open.
fn tear(database: &std::path::Path) {
    use std::os::unix::fs::FileExt;
    let other = rusqlite::Connection::open(database).expect("opens");
    other.busy_timeout(Duration::from_secs(5)).expect("set");
    // A change by another connection makes the node forget the pages it has in memory.
    other.execute("INSERT INTO boot VALUES ('another', 0)", []).expect("written");
    other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("moved into the file");
    let file = std::fs::File::options().write(true).open(database).expect("ours");
    let length = file.metadata().expect("there").len() as usize;
    file.write_all_at(&vec![0x5a; length - 4096], 4096).expect("written");
}

#[test]
fn a_database_is_opened_anew_with_what_is_on_disk_and_a_torn_one_is_put_aside() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("node.db");
    let mut opened = sqlite::open(&path, SCHEMA, 0).expect("made");
    let gap = "INSERT INTO gap (camera, start_ms, reason) VALUES ('ngo-1', 1, 'offline')";
    opened.connection.execute(gap, []).expect("written");
    let gaps = |c: &rusqlite::Connection| c.query_row("SELECT COUNT(*) FROM gap", [], |r| r.get::<_, i64>(0));
    assert_eq!(sqlite::reopen(&path, SCHEMA, &mut opened.connection).expect("in order"), None);
    assert_eq!(gaps(&opened.connection), Ok(1), "what was committed is there");
    let bytes = std::fs::read(&path).expect("readable");
    std::fs::write(&path, [&bytes[..4096], &vec![0x5a; bytes.len() - 4096]].concat()).expect("writable");
    let aside = sqlite::reopen(&path, SCHEMA, &mut opened.connection).expect("a new one").expect("put aside");
    assert!(aside.exists());
    assert_eq!(gaps(&opened.connection), Ok(0));
    // As long as the disk does not let it, it is not open, and it is open again once it does.
    std::fs::rename(directory.path(), directory.path().with_extension("away")).expect("renamed");
    assert!(sqlite::reopen(&path, SCHEMA, &mut opened.connection).is_err());
    assert!(opened.connection.execute(gap, []).is_err(), "nothing is taken meanwhile");
    std::fs::rename(directory.path().with_extension("away"), directory.path()).expect("renamed");
    assert_eq!(sqlite::reopen(&path, SCHEMA, &mut opened.connection).expect("in order"), None);
    assert_eq!(gaps(&opened.connection), Ok(0));
}
