//! Commands in both stores: what the centre sends when, what becomes of answers in any order, and what a node remembers.

use std::sync::Arc;

use serde_json::json;
use wardwatch::base::ErrorKind;
use wardwatch::base::Stamp;
use wardwatch::base::types::{CameraId, Phase};
use wardwatch::centre::store::{
    Asked, CameraInfoStore, CentreStore, CommandStore, Item, LinkStore, Outcome, SqliteStore,
};
use wardwatch::config::{RecordingMode, Sharing};
use wardwatch::wire::channel::CameraInfo;
use wardwatch::wire::command::{Answer, AnswerState, Command, HoldState};
use wardwatch::wire::link::ClipNote;
use wardwatch::wire::status::{PeerState, PeerStatus};

use crate::support::post::{CAMERA, new_id, now, open_store, report};

/// 24/11/2026, 12:00 UTC.
const NOW: i64 = 1_795_521_600_000;
const DAY: i64 = 86_400_000;

fn command(ask: serde_json::Value) -> Command {
    let mut command = json!({
        "schema": "wardwatch.command/1", "id": new_id(), "issuer": "an", "reason": "case 7",
        "issued_at": "2026-11-24T12:00:00Z", "expires_at": "2026-12-01T12:00:00Z",
    });
    command.as_object_mut().expect("an object").extend(ask.as_object().expect("an object").clone());
    serde_json::from_value(command).expect("a command")
}

fn of_range(kind: &str) -> Command {
    command(json!({"kind": kind, "camera": "ngo-12", "from": "2026-11-24T11:00:00Z", "to": "2026-11-24T11:10:00Z"}))
}

fn release(hold: &Command) -> Command {
    command(json!({"kind": "release", "hold": hold.id}))
}

fn told(command: &Command, state: AnswerState, hold: Option<HoldState>) -> Answer {
    Answer { hold, ..Answer::new(&command.id, state, "") }
}

struct Centre {
    store: SqliteStore,
    _directory: tempfile::TempDir,
}

impl Centre {
    /// Knows `node-1`, which is there, and `node-2`.
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, writer, _) = SqliteStore::open(directory.path(), NOW).expect("opens");
        std::thread::spawn(move || writer.run());
        let centre = Self { store, _directory: directory };
        for node in ["node-1", "node-2"] {
            centre.status(node, PeerState::Online).await;
        }
        centre
    }

    async fn status(&self, node: &str, state: PeerState) {
        let (version, boot_id, since) = ("0".into(), "boot".into(), "2026-11-24T12:00:00Z".into());
        let status = Some(PeerStatus { state, version, boot_id, since });
        self.commit(Item::Node { node: node.into(), status }).await;
    }

    async fn commit(&self, item: Item) -> Outcome {
        self.store.commit(Arc::new(vec![item]), NOW).await.expect("committed").remove(0)
    }

    async fn order(&self, node: &str, command: &Command) {
        self.store.order(node.into(), command.clone()).await.expect("kept");
    }

    async fn answer(&self, node: &str, answer: Answer) -> Outcome {
        self.commit(Item::Answer { node: node.into(), answer }).await
    }

    async fn asked(&self, command: &Command) -> Asked {
        self.store.asked(command.id.clone()).await.expect("readable").expect("there")
    }

    async fn pending(&self, node: &str, now_ms: i64) -> Vec<String> {
        let pending = self.store.pending(now_ms).await.expect("readable");
        pending.into_iter().filter(|p| p.node == node).map(|p| p.id).collect()
    }
}

#[tokio::test]
async fn a_few_of_each_node_that_is_there_are_sent_and_clips_last() {
    let centre = Centre::new().await;
    let clips: Vec<Command> = (0..40).map(|_| of_range("clip")).collect();
    for clip in &clips {
        centre.order("node-1", clip).await;
    }
    let (hold, other) = (of_range("hold"), of_range("clip"));
    centre.order("node-1", &hold).await;
    centre.order("node-2", &other).await;
    let first = centre.pending("node-1", NOW).await;
    assert_eq!((first.len(), &first[0], &first[1]), (16, &hold.id, &clips[0].id));
    assert_eq!(centre.pending("node-2", NOW).await, [other.id.as_str()], "the other's backlog is not its own");
    centre.status("node-1", PeerState::Offline).await;
    assert!(centre.pending("node-1", NOW).await.is_empty());
    let stranger = centre.store.order("node-3".into(), of_range("hold")).await.expect_err("never here");
    assert_eq!(stranger.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_expires_is_not_sent_and_ends_but_a_late_answer_counts() {
    let centre = Centre::new().await;
    let (hold, clip) = (of_range("hold"), of_range("clip"));
    centre.order("node-1", &hold).await;
    centre.order("node-1", &clip).await;
    assert_eq!(centre.pending("node-1", NOW + 7 * DAY - 1).await.len(), 2);
    assert!(centre.pending("node-1", NOW + 7 * DAY).await.is_empty());
    assert_eq!(centre.asked(&hold).await.state, "pending", "it may have been done in the last moment");
    assert!(centre.pending("node-1", NOW + 7 * DAY + 60_001).await.is_empty());
    let ended = centre.asked(&hold).await;
    assert_eq!((ended.state.as_str(), ended.hold.as_deref()), ("expired", Some("failed")));
    assert_eq!(centre.asked(&clip).await.state, "expired");
    centre.answer("node-1", told(&hold, AnswerState::Done, Some(HoldState::Held))).await;
    let ended = centre.asked(&hold).await;
    assert_eq!((ended.state.as_str(), ended.hold.as_deref()), ("done", Some("held")));
}

#[tokio::test]
async fn the_row_ends_right_in_whatever_order_answers_come() {
    let centre = Centre::new().await;
    let hold = of_range("hold");
    let end = release(&hold);
    centre.order("node-1", &hold).await;
    centre.order("node-1", &end).await;
    let held = || told(&hold, AnswerState::Done, Some(HoldState::Held));
    assert_eq!(centre.answer("node-2", held()).await, Outcome::Conflict, "it was not asked");
    let never = told(&of_range("hold"), AnswerState::Done, Some(HoldState::Held));
    assert_eq!(centre.answer("node-1", never).await, Outcome::Conflict, "nobody asked for it");
    let released = told(&end, AnswerState::Done, Some(HoldState::Released));
    assert_eq!(centre.answer("node-1", released.clone()).await, Outcome::Status);
    assert_eq!(centre.answer("node-1", held()).await, Outcome::Status);
    assert_eq!(centre.answer("node-1", held()).await, Outcome::Duplicate);
    assert_eq!(centre.answer("node-1", released).await, Outcome::Duplicate);
    assert_eq!(centre.asked(&hold).await.hold.as_deref(), Some("released"));
    assert!(centre.pending("node-1", NOW).await.is_empty());

    let clip = of_range("clip");
    centre.order("node-1", &clip).await;
    let state =
        async |state| (centre.answer("node-1", told(&clip, state, None)).await, centre.asked(&clip).await.state);
    assert_eq!(state(AnswerState::Refused).await, (Outcome::Status, "refused".into()));
    assert_eq!(state(AnswerState::Expired).await, (Outcome::Conflict, "refused".into()));
    assert_eq!(state(AnswerState::Done).await, (Outcome::Status, "done".into()), "a repeat was done after all");
    assert_eq!(state(AnswerState::Refused).await, (Outcome::Conflict, "done".into()));
    assert_eq!(centre.store.all_asked(2).await.expect("readable").len(), 2);
}

#[tokio::test]
async fn a_clip_that_was_delivered_is_known_until_the_camera_is_described_anew() {
    let centre = Centre::new().await;
    let (asked, other) = (of_range("clip"), of_range("clip"));
    for command in [&asked, &other] {
        centre.order("node-1", command).await;
    }
    let camera: CameraId = "ngo-12".parse().expect("a name");
    let delivered = async |since_ms| {
        let found = centre.store.delivered("node-1".into(), camera.clone(), since_ms).await.expect("readable");
        found.into_iter().map(|a| a.command.id).collect::<Vec<_>>()
    };
    assert!(delivered(0).await.is_empty(), "nothing came yet");
    let note = |command: &Command, complete| ClipNote {
        sha256: "0".repeat(64),
        bytes: 9,
        camera: camera.clone(),
        event: None,
        command: Some(command.id.clone()),
        from_ms: NOW,
        to_ms: NOW + 1,
        masked: false,
        complete,
    };
    centre.store.add_clip("node-1".into(), note(&other, false), NOW).await.expect("kept");
    centre.store.add_clip("node-1".into(), note(&asked, true), NOW).await.expect("kept");
    assert_eq!(delivered(NOW).await, std::slice::from_ref(&asked.id), "what is not whole may become whole");
    assert!(delivered(NOW + 1).await.is_empty(), "it was asked for before");
    assert!(centre.store.delivered("node-2".into(), camera.clone(), 0).await.expect("readable").is_empty());
    centre.store.describe("node-1".into(), 2, Vec::new(), NOW).await.expect("kept");
    assert_eq!(delivered(0).await.len(), 1, "another camera was described");
    let info = CameraInfo {
        id: camera.clone(),
        name: String::new(),
        area: String::new(),
        position: None,
        sharing: Sharing::OnRequest,
        recording: RecordingMode::Events,
        audio: false,
        zones: Vec::new(),
        lines: Vec::new(),
        masks: vec![vec![[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]],
        rules: Vec::new(),
    };
    centre.store.describe("node-1".into(), 3, vec![info], NOW).await.expect("kept");
    assert!(delivered(0).await.is_empty(), "it may be masked now");
}

#[tokio::test]
async fn a_node_remembers_a_bounded_number_of_commands_for_long_enough() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open_store(directory.path(), 1 << 20);
    let fill = |received_ms: i64| {
        let connection = rusqlite::Connection::open(directory.path().join("node.db")).expect("opens");
        connection.busy_timeout(std::time::Duration::from_secs(30)).expect("set");
        let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
                   INSERT OR REPLACE INTO command SELECT 'c' || i, 'hold', '{}', 0, ?1, '{}' FROM n";
        connection.execute(sql, [received_ms]).expect("filled");
    };
    let (first, at) = (of_range("clip"), now());
    let answer = told(&first, AnswerState::Failed, None);
    fill(at.wall_ms - 8 * DAY);
    let full = store.answer_command(first.clone(), answer.clone(), at).await.expect_err("full");
    assert_eq!(full.kind(), ErrorKind::Unavailable);
    assert_eq!(store.command_answer(first.id.clone()).await.expect("readable"), None);
    assert!(store.command_answer("c1".into()).await.expect("readable").is_some(), "what is remembered is answered");
    fill(at.wall_ms - 9 * DAY);
    let kept = store.answer_command(first.clone(), answer, at).await.expect("there is room");
    assert_eq!(store.command_answer(first.id.clone()).await.expect("readable").as_ref(), Some(&kept));
    let other = told(&first, AnswerState::Done, None);
    assert_eq!(store.answer_command(first, other, at).await.expect("readable"), kept, "the first answer stays");
}

#[tokio::test]
async fn what_lies_about_events_is_told_from_what_does_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open_store(directory.path(), 1 << 20);
    let at = |ms| Stamp { wall_ms: NOW + ms, ..now() };
    for (from, to) in [(100_000, 110_000), (125_000, 130_000), (300_000, 310_000)] {
        let id = new_id();
        let mut event = report(&id, Phase::Started);
        (event.started_at, event.updated_at) = (at(from), at(from));
        store.commit(event.clone(), None, at(from)).await.expect("committed");
        (event.phase, event.ended_at, event.updated_at) = (Phase::Ended, Some(at(to)), at(to));
        store.commit(event, None, at(to)).await.expect("committed");
    }
    let camera: CameraId = CAMERA.parse().expect("valid");
    for (range, about) in [
        ((100_000, 110_000), true),
        ((90_000, 140_000), true),
        ((89_999, 120_000), false),
        ((90_000, 140_001), false),
        ((105_000, 305_000), false),
        ((295_000, 299_000), true),
        ((0, 1_000), false),
    ] {
        let (from, to) = (NOW + range.0, NOW + range.1);
        assert_eq!(
            store.is_about_events(camera.clone(), (from, to), 10_000).await.expect("readable"),
            about,
            "{range:?}"
        );
        let other = "ngo-99".parse().expect("valid");
        assert!(!store.is_about_events(other, (from, to), 10_000).await.expect("readable"));
    }
}
