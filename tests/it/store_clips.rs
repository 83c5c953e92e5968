//! Clips, holds and masks in the node's store.

use std::time::Duration;

use wardwatch::base::geometry::{Point, Polygon};
use wardwatch::base::types::{CameraId, ClipInfo, Codec, Phase, Segment, SegmentState, StreamRole};
use wardwatch::base::{ErrorKind, Stamp};
use wardwatch::store::clip::{Clip, NewClip};
use wardwatch::store::hold::{Hold, Holding};
use wardwatch::store::{Body, Store};
use wardwatch::wire::event::Event;
use wardwatch::wire::receipt::Receipt;

use crate::support::post::{CAMERA, new_id, now, open_store, report};

fn camera() -> CameraId {
    CAMERA.parse().expect("valid")
}

fn clip(name: &str, span: (i64, i64), complete: bool, deliver: bool) -> NewClip {
    let sha256 = format!("{name:0>64}");
    let path = format!("{}/{sha256}.mp4", &sha256[..2]);
    let (from_ms, to_ms) = span;
    let info =
        ClipInfo { sha256, bytes: 1000, from_ms, to_ms, codec: Codec::H264, masked: false, complete, missing_ms: 0 };
    NewClip { camera: camera(), command: None, path, info, deliver }
}

async fn events(store: &Store) -> Vec<Event> {
    let rows = store.next_batch(100, usize::MAX, now()).await.expect("readable");
    let json = |body| match body {
        Body::Event(json) => serde_json::from_slice(&json).ok(),
        Body::Snapshot { .. } => None,
    };
    rows.into_iter().filter_map(|r| json(r.body)).collect()
}

/// What the index has, by name.
fn all(directory: &std::path::Path) -> Vec<Clip> {
    wardwatch::store::reader::Reader::open(&directory.join("node.db")).expect("there").clips().expect("readable")
}

#[tokio::test]
async fn a_clip_is_told_in_a_revision_and_no_later_report_forgets_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open_store(directory.path(), 1 << 20);
    let id = new_id();
    store.commit(report(&id, Phase::Started), None, now()).await.expect("committed");
    let told = store.set_clip(id.clone(), clip("a", (0, 1000), false, false), now()).await.expect("committed");
    assert_eq!(told.map(|c| c.revision), Some(2));
    store.commit(report(&id, Phase::Updated), None, now()).await.expect("committed");
    assert_eq!(store.events_without_clip(0).await.expect("readable"), [], "it goes on");
    store.commit(report(&id, Phase::Ended), None, now()).await.expect("committed");
    let newest = |events: Vec<Event>| events.into_iter().max_by_key(|e| e.revision).expect("some");
    let last = newest(events(&store).await);
    assert_eq!((last.revision, last.clip.as_ref().map(|c| c.complete)), (4, Some(false)));
    let missing = store.events_without_clip(0).await.expect("readable");
    assert_eq!(missing.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), [id.as_str()]);

    store.set_clip(id.clone(), clip("b", (0, 2000), true, false), now()).await.expect("committed").expect("told");
    let late = store.set_clip(id.clone(), clip("c", (0, 1500), false, false), now()).await.expect("committed");
    assert_eq!(late, None, "what is whole is not replaced by a part");
    let last = newest(events(&store).await);
    assert_eq!(last.clip.map(|c| c.sha256), Some(format!("{:0>64}", "b")));
    assert_eq!(store.events_without_clip(0).await.expect("readable"), []);
    let forgotten = store.set_clip(new_id(), clip("d", (0, 1), true, false), now()).await.expect("committed");
    assert_eq!(forgotten, None);
    assert_eq!(all(directory.path()).len(), 4);
}

#[tokio::test]
async fn an_interim_clip_leaves_when_nothing_names_it_any_more() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open_store(directory.path(), 1 << 20);
    let id = new_id();
    store.commit(report(&id, Phase::Started), None, now()).await.expect("committed");
    store.set_clip(id.clone(), clip("a", (0, 1000), false, true), now()).await.expect("committed");
    let rows = store.next_batch(100, usize::MAX, now()).await.expect("readable");
    store.mark_sent(rows.iter().map(|r| r.id).collect(), now()).await.expect("marked");
    store.commit(report(&id, Phase::Ended), None, now()).await.expect("committed");
    assert_eq!(store.superseded_clips().await.expect("readable"), [], "there is no other yet");
    assert!(all(directory.path())[0].awaited);
    store.set_clip(id.clone(), clip("b", (0, 2000), true, true), now()).await.expect("committed");
    let awaited: Vec<bool> = all(directory.path()).iter().map(|c| c.awaited).collect();
    assert_eq!(awaited, [false, true], "the centre gets the whole one only");
    assert_eq!(store.superseded_clips().await.expect("readable"), [], "a message that is out names it");
    let receipt = Receipt { events: vec![(id.clone(), 1), (id, 2)], snapshots: vec![] };
    store.receipt(receipt, now()).await.expect("receipted");
    let left = store.superseded_clips().await.expect("readable");
    assert_eq!(left.iter().map(|c| c.sha256.trim_start_matches('0')).collect::<Vec<_>>(), ["a"]);
    let retired = store.retire_clip(left[0].id, false).await.expect("retired").expect("it was there");
    assert!(retired.last && retired.path == left[0].path);
    assert_eq!(store.retire_clip(left[0].id, false).await.expect("nothing to do"), None);
}

#[tokio::test]
async fn neither_what_is_held_nor_what_the_centre_waits_for_is_retired() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open_store(directory.path(), 1 << 20);
    let add =
        async |name: &str, deliver| store.add_clip(clip(name, (0, 1000), true, deliver), now()).await.expect("noted");
    let (plain, awaited) = (add("a", false).await, add("b", true).await);
    let twin = add("a", false).await;
    assert_eq!(store.retire_clip(awaited, false).await.expect("asked"), None);
    let retired = store.retire_clip(plain, false).await.expect("asked").expect("retired");
    assert!(!retired.last, "another row has the same file");
    let holding = store.hold(hold("h", 500, 600), now()).await.expect("held");
    assert!(matches!(holding, Holding::Held { clips: 2, .. }), "{holding:?}");
    let later = add("c", false).await;
    for id in [awaited, twin, later] {
        assert_eq!(store.retire_clip(id, true).await.expect("asked"), None, "{id} is held");
    }
    store.release("h".into()).await.expect("released").expect("it was there");
    assert!(store.retire_clip(awaited, true).await.expect("asked").is_some(), "the disk leaves no choice");
}

fn hold(id: &str, from_ms: i64, to_ms: i64) -> Hold {
    let (reason, issuer) = ("why".into(), "who".into());
    Hold { id: id.into(), camera: camera(), from_ms, to_ms, reason, issuer }
}

fn segment(start_ms: i64, end_ms: Option<i64>) -> Segment {
    Segment {
        id: 0,
        camera: camera(),
        path: format!("{CAMERA}/19700101/{start_ms}-0.mp4"),
        stream: StreamRole::Record,
        codec: Codec::H264,
        width: 640,
        height: 480,
        start_ms,
        end_ms,
        start_mono_ns: 0,
        boot_id: "b".into(),
        bytes: 100,
        sha256: None,
        fragments: 1,
        state: if end_ms.is_some() { SegmentState::Closed } else { SegmentState::Open },
        held: false,
    }
}

async fn held(store: &Store) -> Vec<i64> {
    let all = store.segments(camera(), i64::MIN, i64::MAX).await.expect("readable");
    all.iter().filter(|s| s.held).map(|s| s.start_ms).collect()
}

#[tokio::test]
async fn a_hold_keeps_what_is_there_and_what_comes_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open_store(directory.path(), 1 << 20);
    for start in [0, 10, 20, 30] {
        store.segment_closed(segment(start, Some(start + 10))).await.expect("indexed");
    }
    let at = |ms| Stamp { mono: Duration::ZERO, wall_ms: ms };
    let Holding::Held { segments, .. } = store.hold(hold("one", 12, 25), at(40)).await.expect("asked") else {
        panic!("it is there")
    };
    assert_eq!(segments.iter().map(|s| s.start_ms).collect::<Vec<_>>(), [10, 20]);
    assert_eq!(held(&store).await, [10, 20]);
    let same = store.hold(hold("one", 12, 25), at(50)).await.expect("asked again");
    assert!(matches!(same, Holding::Held { .. }));
    let other = store.hold(hold("one", 12, 26), at(50)).await.expect_err("another range");
    assert_eq!(other.kind(), ErrorKind::Invalid);

    // A range that is not over: what grows into it and what begins in it.
    store.segment_opened(segment(40, None)).await.expect("indexed");
    let coming = store.hold(hold("two", 45, 100), at(44)).await.expect("asked");
    assert!(matches!(coming, Holding::Held { .. }), "{coming:?}");
    store.segment_closed(segment(40, Some(50))).await.expect("indexed");
    store.segment_closed(segment(90, Some(110))).await.expect("indexed");
    store.segment_closed(segment(110, Some(120))).await.expect("indexed");
    assert_eq!(held(&store).await, [10, 20, 40, 90]);
    for row in store.segments(camera(), i64::MIN, i64::MAX).await.expect("readable") {
        assert_eq!(store.retire_segment(row.id).await.expect("asked"), !row.held);
    }

    store.hold(hold("three", 22, 24), at(120)).await.expect("held");
    assert_eq!(store.holds().await.expect("readable").len(), 3);
    store.release("one".into()).await.expect("asked").expect("it was there");
    assert_eq!(held(&store).await, [20, 40, 90], "another hold has the second");
    assert_eq!(store.release("one".into()).await.expect("asked"), None);
    let late = store.hold(hold("four", 0, 9), at(120)).await.expect("asked");
    assert!(matches!(late, Holding::TooLate { .. }), "{late:?}");
    assert_eq!(store.holds().await.expect("readable").len(), 2, "a hold of nothing is none");
    let empty = store.hold(hold("five", 9, 9), at(120)).await.expect_err("no range");
    assert_eq!(empty.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn every_mask_that_was_in_force_in_a_range_is_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open_store(directory.path(), 1 << 20);
    let mask = |x: f32| Polygon(vec![Point::new(x, 0.0), Point::new(1.0, 0.0), Point::new(1.0, 1.0)]);
    let (hour, now) = (3_600_000, 1_795_000_000_000);
    assert_eq!(store.masks(camera(), 0, 1).await.expect("readable"), None, "nothing is known");
    for (since, masks) in [(0, vec![mask(0.1)]), (1, vec![mask(0.1)]), (2, vec![mask(0.1), mask(0.2)]), (4, vec![])] {
        store.note_masks(camera(), masks, now + since * hour).await.expect("noted");
    }
    let between = async |from: i64, to: i64| {
        let found = store.masks(camera(), now + from, now + to).await.expect("readable").expect("known");
        found.iter().map(|p| (p.0[0].x * 10.0).round() as u32).collect::<Vec<_>>()
    };
    assert_eq!(between(-100 * hour, -99 * hour).await, [1], "what was before is not known");
    assert_eq!(between(hour / 2, hour).await, [1]);
    assert_eq!(between(hour, 3 * hour).await, [1, 2]);
    assert_eq!(between(5 * hour, 6 * hour).await, [0; 0]);
    assert_eq!(between(3 * hour, 6 * hour).await, [1, 2]);
    assert_eq!(between(4 * hour + 30_000, 6 * hour).await, [1, 2], "clocks are not that exact");
    // The clock is set back, and another document comes.
    store.note_masks(camera(), vec![mask(0.3)], now + 3 * hour).await.expect("noted");
    assert_eq!(between(3 * hour + 120_000, 3 * hour + 180_000).await, [1, 2, 3]);
}
