//! Where objects went is kept for a day, and says what a rule that was drawn later would have seen.

use std::path::Path;
use std::time::Duration;

use wardwatch::base::Stamp;
use wardwatch::base::geometry::RelativeBox;
use wardwatch::base::trajectory::{TrackPoint, Trajectory};
use wardwatch::store::reader::Reader;
use wardwatch::store::sqlite;

use crate::event_clips::{Post, camera};
use crate::support::post::{CAMERA, open_store};
use crate::support::site::wardwatch;
use crate::support::stimulus::{self, SceneCamera};
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 86_400_000;

fn piece(track: u64, start_ms: i64) -> Trajectory {
    let bbox = RelativeBox { left: 0.25, top: 0.5, right: 0.5, bottom: 0.75 };
    let point = |s| TrackPoint { after: Duration::from_secs(s), bbox, score: 1.0, stationary: s > 5 };
    let points = vec![point(0), point(10)];
    Trajectory { track, since_ms: start_ms, label: "person".into(), start_ms, width: 640, height: 360, points }
}

fn kept(directory: &Path, from_ms: i64, to_ms: i64) -> Vec<Trajectory> {
    let reader = Reader::open(&directory.join("node.db")).expect("there");
    reader.tracks(&CAMERA.parse().expect("valid"), from_ms, to_ms).expect("readable")
}

#[tokio::test]
async fn tracks_leave_after_their_time_and_those_of_a_wrong_clock_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open_store(directory.path(), 1 << 20);
    let now = Stamp { wall_ms: 10 * DAY_MS, ..Stamp::default() };
    let of = |t: Trajectory| (CAMERA.parse().expect("valid"), t);
    let (old, new, future) = (piece(1, 9 * DAY_MS - 20_000), piece(2, 9 * DAY_MS + 20_000), piece(3, 400 * DAY_MS));
    let before = now.wall_ms - DAY_MS;
    assert_eq!(store.keep_tracks(vec![of(old), of(new.clone()), of(future)], before, now).await.expect("kept"), 2);
    assert_eq!(kept(directory.path(), 0, i64::MAX), [new]);
    let (start, end) = (9 * DAY_MS + 20_000, 9 * DAY_MS + 30_000);
    assert_eq!(kept(directory.path(), end, i64::MAX).len(), 1, "what it touches counts");
    assert_eq!(kept(directory.path(), end + 1, i64::MAX), []);
    assert_eq!(kept(directory.path(), 0, start), []);
    assert_eq!(store.keep_tracks(vec![], before + DAY_MS, now).await.expect("forgotten"), 1);
}

#[tokio::test]
async fn a_damaged_piece_is_left_out_and_the_others_are_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open_store(directory.path(), 1 << 20);
    let now = Stamp { wall_ms: DAY_MS, ..Stamp::default() };
    let pieces = [1, 2].map(|n| (CAMERA.parse().expect("valid"), piece(n, DAY_MS - 60_000)));
    store.keep_tracks(pieces.into(), 0, now).await.expect("kept");
    drop(store);
    until("the database is closed", LONG, || !sqlite::in_use(&directory.path().join("node.db")));
    let connection = rusqlite::Connection::open(directory.path().join("node.db")).expect("there");
    connection.execute("UPDATE track SET points = x'01ff' WHERE track = 1", []).expect("written");
    drop(connection);
    assert_eq!(kept(directory.path(), 0, i64::MAX).iter().map(|t| t.track).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_node_keeps_where_objects_went_and_forgets_it_when_told_to_keep_nothing() {
    let post = Post::new();
    let scene = stimulus::scene(&post.site.path(""), 1);
    let shown = SceneCamera::start(&scene, None);
    post.site.write("cameras.toml", &format!("revision = 1\n{}", camera("ngo-1", &shown.url(), "off", "")));
    let node = post.run();
    let ended = "SELECT COUNT(*) FROM event WHERE phase = 'ended' AND camera <> ''";
    until("the figure has walked by", LONG, || post.site.number("node/node.db", ended) == Some(1));
    // What came last is written when the node stops.
    assert_eq!(node.stop(), 0);
    let out = wardwatch()
        .args([
            "tracks",
            "--camera",
            "ngo-1",
            "--from",
            "2026-01-01T00:00:00+07:00",
            "--to",
            "2100-01-01T00:00:00+07:00",
        ])
        .arg("--config")
        .arg(post.site.path("node.toml"))
        .output()
        .expect("runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let lines: Vec<serde_json::Value> =
        String::from_utf8_lossy(&out.stdout).lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert!(!lines.is_empty() && lines.iter().all(|l| l["label"] == "person" && l["camera"] == "ngo-1"), "{lines:?}");
    // From left to right through the whole picture, as the rule in the middle never saw it.
    let lefts: Vec<f64> = lines
        .iter()
        .flat_map(|l| l["points"].as_array().expect("points"))
        .map(|p| p[1].as_f64().expect("left"))
        .collect();
    assert!(lefts.windows(2).all(|w| w[0] <= w[1] + 0.01), "{lefts:?}");
    let (first, last) = (lefts[0], lefts[lefts.len() - 1]);
    assert!(first < 0.2 && last > 0.6, "from {first} to {last}");

    let site = std::fs::read_to_string(post.site.path("node.toml")).expect("there");
    post.site.write("node.toml", &site.replace("[track]\n", "[track]\nkeep_hours = 0\n"));
    let node = post.run();
    let none = "SELECT COUNT(*) = 0 FROM track";
    until("nothing is kept", LONG, || post.site.number("node/node.db", none) == Some(1));
    assert_eq!(node.stop(), 0);
}
