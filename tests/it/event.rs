//! The public event JSON: its schema, its golden, and that what is really published keeps to them.

use jiff::tz::TimeZone;
use wardwatch::base::Stamp;
use wardwatch::base::geometry::{Point, Polygon};
use wardwatch::base::types::{NamedLine, PathPoint, Phase, SnapshotInfo, Zone};
use wardwatch::wire::event::{Event, MAX_BYTES, Origin};

use crate::support::broker::Mosquitto;
use crate::support::post::{Client, Publisher, new_id, now, open_store, picture, report, with_picture};

/// Compares with a file; with `WARDWATCH_BLESS=1` writes it instead.
pub fn assert_file(path: &str, content: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("WARDWATCH_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("inside")).expect("made");
        std::fs::write(&path, content).expect("written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == content,
        "{} is not what the code makes; if that is meant, run the test with WARDWATCH_BLESS=1",
        path.display()
    );
}

fn schema() -> serde_json::Value {
    serde_json::from_str(&Event::json_schema().expect("a schema")).expect("JSON")
}

/// A report with every field set and fixed times.
fn full() -> Event {
    let at = |s: i64| Stamp { mono: Default::default(), wall_ms: 1_795_461_064_120 + s * 1000 };
    let mut r = report("01980000-0000-7000-8000-000000000001", Phase::Ended);
    (r.started_at, r.updated_at, r.ended_at, r.best_at, r.arrived_at) = (at(0), at(9), Some(at(9)), at(2), at(9));
    r.camera_time_ms = Some(at(8).wall_ms);
    r.line = Some(NamedLine { name: "cong".into(), points: [Point::new(0.1, 0.2), Point::new(0.3, 0.4)] });
    r.direction = Some(wardwatch::base::types::Direction::LeftToRight);
    r.snapshot = Some(SnapshotInfo { sha256: "ab".repeat(32), bytes: 48123, width: 1280, height: 720 });
    let timezone = TimeZone::get("Asia/Ho_Chi_Minh").expect("bundled");
    let origin = Origin { ward: "o-cho-dua".into(), node: "node-1".into(), boot_id: "boot".into(), timezone };
    Event::new(&r, 3, 4711, &origin)
}

#[test]
fn the_schema_in_docs_is_the_one_the_code_makes() {
    assert_file("docs/event.schema.json", &Event::json_schema().expect("a schema"));
}

#[test]
fn the_events_json_does_not_change_unnoticed() {
    let json = serde_json::to_string_pretty(&full()).expect("JSON") + "\n";
    assert_file("tests/fixtures/event.json", &json);
    assert!(jsonschema::is_valid(&schema(), &serde_json::from_str(&json).expect("JSON")));
    assert_eq!(serde_json::from_str::<Event>(&json).expect("reads back"), full());
}

#[test]
fn a_consumer_may_meet_unknown_fields() {
    let mut json = serde_json::to_value(full()).expect("JSON");
    json["invented_later"] = 7.into();
    assert!(jsonschema::is_valid(&schema(), &json));
    serde_json::from_value::<Event>(json).expect("still readable");
}

#[test]
fn an_event_stays_below_its_limit_whatever_it_holds() {
    let mut r = report(&new_id(), Phase::Updated);
    let corner = |n: usize| Point::new(0.123 + n as f32 / 1e4, 0.456);
    let zone = |n: usize| Zone { name: format!("zone-{n}"), polygon: Polygon((0..64).map(corner).collect()) };
    r.zones = (0..32).map(zone).collect();
    r.path = (0..5000).map(|n| PathPoint { seconds: n as f32, at: corner(n) }).collect();
    r.tracks = (0..5000).collect();
    let origin = crate::support::post::origin();
    let json = Event::new(&r, 1, 1, &origin).to_bounded_json().expect("fits");
    assert!(json.len() < MAX_BYTES, "{}", json.len());
    assert!(jsonschema::is_valid(&schema(), &serde_json::from_slice(&json).expect("JSON")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_really_published_keeps_to_the_schema() {
    let (broker, directory) = (Mosquitto::start(""), tempfile::tempdir().expect("dir"));
    let mut client = Client::connect(broker.mqtt()).await.expect("connects");
    client.subscribe(&["wardwatch/v1/+/+/camera/+/event".into()]).await;
    let (store, _) = open_store(directory.path(), 1 << 30);
    let publisher = Publisher::start(store.clone(), broker.mqtt());
    let (id, snapshot) = (new_id(), picture(1000));
    store.commit(with_picture(report(&id, Phase::Started), &snapshot), Some(snapshot), now()).await.expect("commits");
    store.commit(report(&id, Phase::Ended), None, now()).await.expect("commits");
    let validator = jsonschema::validator_for(&schema()).expect("a schema");
    for revision in [1, 2] {
        let (_, payload, retained) = client.hear("a revision", |_, _| true).await;
        let json = serde_json::from_slice(&payload).expect("JSON");
        assert!(validator.is_valid(&json), "{json}");
        assert_eq!(json["revision"], revision);
        assert!(!retained);
    }
    publisher.kill().await;
}
