//! Recording and the node's database when the disk fails under them: syncs that report an error, a disk at its floor, a
//! database that is torn while it is in use.

use std::time::Duration;

use wardwatch::base::types::Phase;

use crate::record::{RULE, Recording, camera};
use crate::support::disk::SmallDisk;
use crate::support::inject::Injection;
use crate::support::post::{new_id, now, open_store, report};
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
    until("the first walk is over", LONG, || events("ended_ms IS NOT NULL") == 1);
    let Some(injection) = Injection::of_syncs(running.pid(), "1") else { return };
    until("the second walk is over", LONG + WALK + PAUSE, || events("ended_ms IS NOT NULL") == 2);
    drop(injection);
    let log = running.log();
    assert!(log.contains("event waits for the store") && log.contains("opened anew"), "{log}");
    assert!(log.contains("the database is in order") && !log.contains("event refused"), "{log}");
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

#[tokio::test]
async fn a_database_that_is_torn_while_it_is_in_use_is_put_aside_and_nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open_store(directory.path(), 1 << 20);
    let ids: Vec<String> = (0..40).map(|_| new_id()).collect();
    for id in &ids {
        store.commit(report(id, Phase::Started), None, now()).await.expect("commits");
    }
    // Everything from its second page on is overwritten, as a failing disk may do; the log still has what is new.
    let path = directory.path().join("node.db");
    let length = std::fs::metadata(&path).expect("there").len() as usize;
    let mut bytes = std::fs::read(&path).expect("readable");
    bytes[4096.min(length)..].fill(0x5a);
    std::fs::write(&path, &bytes).expect("writable");
    let log = directory.path().join("node.db-wal");
    std::fs::write(&log, b"").expect("writable");
    let mut taken = 0;
    for _ in 0..5 {
        taken += usize::from(store.commit(report(&new_id(), Phase::Started), None, now()).await.is_ok());
    }
    assert!(taken >= 3, "only {taken} of 5 were taken");
    let aside = std::fs::read_dir(directory.path()).expect("readable").flatten();
    let aside = aside.filter(|e| e.file_name().to_string_lossy().contains(".corrupt-")).count();
    assert!(aside >= 1, "the torn one was put aside");
    assert!(store.depths().await.expect("readable").pending >= taken as u64);
}
