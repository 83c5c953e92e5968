//! The index of recordings: files and gaps by time, what is open, what may leave first.

use wardwatch::base::types::{CameraId, Codec, Gap, GapReason, Segment, SegmentState, StreamRole};
use wardwatch::store::Store;

use crate::support::post::open_store;

fn camera(name: &str) -> CameraId {
    name.parse().expect("valid")
}

fn growing(name: &str, start_ms: i64) -> Segment {
    Segment {
        id: 0,
        camera: camera(name),
        path: format!("{name}/19700101/{start_ms}-0.mp4"),
        stream: StreamRole::Record,
        codec: Codec::H265,
        width: 1920,
        height: 1080,
        start_ms,
        end_ms: None,
        start_mono_ns: u64::try_from(start_ms).expect("positive") * 1_000_000,
        boot_id: "b".into(),
        bytes: 0,
        sha256: None,
        fragments: 0,
        state: SegmentState::Open,
        held: false,
    }
}

fn ended(name: &str, start_ms: i64, end_ms: i64) -> Segment {
    Segment {
        end_ms: Some(end_ms),
        bytes: 1000,
        sha256: Some("ab".repeat(32)),
        fragments: 9,
        state: SegmentState::Closed,
        ..growing(name, start_ms)
    }
}

fn open(name: &str, start_ms: i64, reason: GapReason) -> Gap {
    Gap { id: 0, camera: camera(name), start_ms, end_ms: None, reason }
}

async fn starts(store: &Store, name: &str, from_ms: i64, to_ms: i64) -> Vec<i64> {
    store.segments(camera(name), from_ms, to_ms).await.expect("readable").iter().map(|s| s.start_ms).collect()
}

#[tokio::test]
async fn a_segment_is_found_by_its_time_from_its_opening_to_its_removal() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open_store(directory.path(), 1 << 20);
    let id = store.segment_opened(growing("a", 1000)).await.expect("indexed");
    let as_stored = Segment { id, ..growing("a", 1000) };
    assert_eq!(store.segments(camera("a"), 5000, 6000).await.expect("readable"), std::slice::from_ref(&as_stored));
    assert_eq!(store.open_segments(None).await.expect("readable"), [as_stored]);
    assert_eq!(store.last_recorded(camera("a")).await.expect("readable"), None, "it has no end yet");

    assert_eq!(store.segment_closed(ended("a", 1000, 2000)).await.expect("indexed"), id, "the same row");
    // One whose opening was never announced.
    store.segment_closed(ended("a", 2000, 3000)).await.expect("indexed");
    store.segment_closed(ended("b", 1500, 2500)).await.expect("indexed");
    let as_stored = Segment { id, ..ended("a", 1000, 2000) };
    assert_eq!(store.segments(camera("a"), 0, 2000).await.expect("readable"), [as_stored]);
    assert_eq!(starts(&store, "a", 1999, 2001).await, [1000, 2000]);
    assert_eq!(starts(&store, "a", 3000, 9000).await, Vec::<i64>::new());
    assert_eq!(store.last_recorded(camera("a")).await.expect("readable"), Some(3000));
    assert!(store.open_segments(Some(camera("a"))).await.expect("readable").is_empty());

    store.segment_opened(growing("a", 3000)).await.expect("indexed");
    let oldest = |name: Option<&str>| {
        let (store, name) = (store.clone(), name.map(camera));
        async move { store.oldest_unheld_segments(name, 2).await.expect("readable") }
    };
    assert_eq!(oldest(None).await.iter().map(|s| s.start_ms).collect::<Vec<_>>(), [1000, 1500]);
    assert_eq!(oldest(Some("b")).await.len(), 1);
    store.remove_segment(id).await.expect("removed");
    assert_eq!(oldest(Some("a")).await.iter().map(|s| s.start_ms).collect::<Vec<_>>(), [2000], "not what is open");
}

#[tokio::test]
async fn a_gap_lasts_until_it_ends_or_a_segment_opens() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open_store(directory.path(), 1 << 20);
    store.gap_began(open("a", 1000, GapReason::Offline)).await.expect("noted");
    store.gap_began(open("a", 1500, GapReason::NodeDown)).await.expect("nothing to add");
    store.gap_began(open("b", 1500, GapReason::DiskFull)).await.expect("noted");
    let gaps = |name: &str, from: i64, to: i64| {
        let (store, name) = (store.clone(), camera(name));
        async move {
            let gaps = store.gaps(name, from, to).await.expect("readable");
            gaps.into_iter().map(|g| (g.start_ms, g.end_ms, g.reason)).collect::<Vec<_>>()
        }
    };
    assert_eq!(gaps("a", 5000, 6000).await, [(1000, None, GapReason::Offline)]);
    store.segment_opened(growing("a", 4000)).await.expect("indexed");
    assert_eq!(gaps("a", 0, 6000).await, [(1000, Some(4000), GapReason::Offline)]);
    assert_eq!(gaps("a", 4000, 6000).await, []);
    store.gap_ended(camera("b"), 1500).await.expect("ended");
    assert_eq!(gaps("b", 0, 6000).await, [], "it had no length");
    // Known with both ends, whatever is open.
    store.gap_began(open("a", 5000, GapReason::Off)).await.expect("noted");
    let change = Gap { end_ms: Some(4800), ..open("a", 4700, GapReason::CodecChange) };
    store.gap_began(change).await.expect("noted");
    assert_eq!(gaps("a", 4000, 6000).await.len(), 2);
}
