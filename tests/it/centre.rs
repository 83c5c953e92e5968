//! From the node's store over a real mosquitto to the centre's store and back: nothing is lost, nothing counts twice.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use wardwatch::base::clock::SystemClock;
use wardwatch::base::types::{CameraId, Phase};
use wardwatch::base::{Error, ErrorKind, Result};
use wardwatch::centre::store::{Asked, CommandStore, Pending};
use wardwatch::centre::store::{CentreStore, Item, Outcome, SqliteStore, StoredCamera, StoredEvent, StoredNode};
use wardwatch::centre::{Health, Notice, receive};
use wardwatch::publish::link::{Link, Message};
use wardwatch::store::Store;
use wardwatch::wire::command::Command;
use wardwatch::wire::event::{Event, SnapshotJson};
use wardwatch::wire::receipt::Receipt;

use crate::support::broker::Mosquitto;
use crate::support::post::{
    Client, NODE, Publisher, Running, WARD, camera_status, event_message, new_id, now, open_store, origin, picture,
    picture_message, report, topics, until, with_picture,
};

const QUOTA: u64 = 1 << 30;

/// Commits `n` events with a picture each, from start to end; returns their ids.
async fn commit_events(store: &Store, n: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..n {
        let (id, snapshot) = (new_id(), picture(2000));
        let started = with_picture(report(&id, Phase::Started), &snapshot);
        store.commit(started, Some(snapshot.clone()), now()).await.expect("commits");
        store.commit(with_picture(report(&id, Phase::Ended), &snapshot), None, now()).await.expect("commits");
        ids.push(id);
    }
    ids
}

/// Every event has both revisions and its picture, and nothing else is there.
async fn assert_complete(centre: &Running, ids: &[String]) {
    let store = centre.centre.store();
    let events = store.events(10_000).await.expect("readable");
    assert_eq!(events.len(), ids.len());
    for event in &events {
        assert!(ids.contains(&event.event.id));
        assert_eq!(event.event.revision, 2);
        let path = event.snapshot.as_ref().expect("its picture came");
        assert!(path.exists(), "{}", path.display());
        let revisions = store.revisions(event.node.clone(), event.event.id.clone()).await.expect("readable");
        assert_eq!(revisions.len(), 2, "started and ended, once each");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_with_its_picture_reaches_the_centre_and_leaves_the_outbox_on_its_receipt() {
    let (broker, node, post) =
        (Mosquitto::start(""), tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let (store, _) = open_store(node.path(), QUOTA);
    let publisher = Publisher::start(store.clone(), broker.mqtt());
    let centre = Running::start(post.path(), broker.mqtt());
    let ids = commit_events(&store, 3).await;
    publisher.drained().await;
    assert_complete(&centre, &ids).await;
    publisher
        .cameras
        .send_replace([("ngo-12-a".parse().expect("valid"), camera_status("online", &publisher.boot_id))].into());
    let cameras = centre.centre.store();
    until("the camera is online", || async {
        cameras.cameras().await.expect("readable").iter().any(|c| c.current && c.status.state == "online")
    })
    .await;
    publisher.stop().await.expect("stops");
    until("the camera no longer counts", || async {
        cameras.cameras().await.expect("readable").iter().all(|c| !c.current)
    })
    .await;
    drop(cameras);
    centre.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_broker_in_the_middle_loses_nothing() {
    let (mut broker, node, post) =
        (Mosquitto::start(""), tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let (store, _) = open_store(node.path(), QUOTA);
    let mut publisher = Publisher::start(store.clone(), broker.mqtt());
    let centre = Running::start(post.path(), broker.mqtt());
    publisher.until_health("the centre is seen", |h| h.centre_online).await;
    let mut ids = commit_events(&store, 100).await;
    broker.kill();
    ids.extend(commit_events(&store, 100).await);
    broker.go();
    ids.extend(commit_events(&store, 100).await);
    publisher.drained().await;
    assert_complete(&centre, &ids).await;
    publisher.kill().await;
    centre.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_centre_that_dies_and_comes_back_gets_everything_once() {
    let (broker, node, post) =
        (Mosquitto::start(""), tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let (store, _) = open_store(node.path(), QUOTA);
    // No timeout here: the centre's return alone must bring back what it had not receipted.
    let mut publisher = Publisher::start_with(store.clone(), broker.mqtt(), Duration::from_secs(3600));
    let centre = Running::start(post.path(), broker.mqtt());
    publisher.until_health("the centre is seen", |h| h.centre_online).await;
    let mut ids = commit_events(&store, 50).await;
    centre.kill().await;
    ids.extend(commit_events(&store, 50).await);
    let centre = Running::start(post.path(), broker.mqtt());
    ids.extend(commit_events(&store, 50).await);
    publisher.drained().await;
    assert_complete(&centre, &ids).await;
    publisher.kill().await;
    centre.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_late_is_waited_for() {
    let (mut broker, node, post) =
        (Mosquitto::stopped(""), tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let (store, _) = open_store(node.path(), QUOTA);
    let mut publisher = Publisher::start(store.clone(), broker.mqtt());
    let centre = Running::start(post.path(), broker.mqtt());
    publisher.until_health("it says why", |h| h.trouble.is_some()).await;
    let ids = commit_events(&store, 5).await;
    broker.go();
    publisher.drained().await;
    assert_complete(&centre, &ids).await;
    publisher.stop().await.expect("stops");
    centre.stop().await.expect("stops");
}

fn event(id: &str, revision: u32) -> Event {
    let phase = if revision == 1 { Phase::Started } else { Phase::Updated };
    Event::new(&report(id, phase), revision, revision.into(), &origin())
}

/// A client that stands for a node and listens to the receipts.
async fn node_client(broker: &Mosquitto) -> Client {
    let mut client = Client::connect(broker.mqtt()).await.expect("connects");
    client.subscribe(&[topics().receipt()]).await;
    client
}

async fn receipted(client: &mut Client, what: &str, holds: impl Fn(&Receipt) -> bool) {
    client.hear(what, |_, p| holds(&serde_json::from_slice(p).expect("a receipt"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_count_once_and_are_receipted_again() {
    let (broker, post) = (Mosquitto::start(""), tempfile::tempdir().expect("dir"));
    let centre = Running::start(post.path(), broker.mqtt());
    centre.connected().await;
    let mut client = node_client(&broker).await;
    let (id, snapshot) = (new_id(), picture(1000));
    let message = event_message(&event(&id, 1));
    for _ in 0..3 {
        client.0.publish(message.clone(), 1).expect("room");
        receipted(&mut client, "the event", |r| r.events == [(id.clone(), 1)]).await;
        client.0.publish(picture_message(&id, &snapshot), 1).expect("room");
        receipted(&mut client, "the picture", |r| r.snapshots == [snapshot.info.sha256.clone()]).await;
    }
    let store = centre.centre.store();
    assert_eq!(store.revisions(NODE.into(), id).await.expect("readable").len(), 1);
    drop(store);
    centre.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_revision_may_come_first_and_the_newest_is_shown() {
    let (broker, post) = (Mosquitto::start(""), tempfile::tempdir().expect("dir"));
    let centre = Running::start(post.path(), broker.mqtt());
    centre.connected().await;
    let mut notices = centre.centre.notices();
    let mut client = node_client(&broker).await;
    let (id, snapshot) = (new_id(), picture(1000));
    // The picture before its event, and the third revision before the first.
    client.0.publish(picture_message(&id, &snapshot), 1).expect("room");
    receipted(&mut client, "the picture", |r| !r.snapshots.is_empty()).await;
    for revision in [3, 1, 2] {
        let mut e = event(&id, revision);
        e.score = revision as f32 / 10.0;
        e.snapshot = Some(SnapshotJson { sha256: snapshot.info.sha256.clone(), bytes: 1000, width: 1280, height: 720 });
        client.0.publish(event_message(&e), 1).expect("room");
        receipted(&mut client, "the revision", |r| r.events == [(id.clone(), revision)]).await;
    }
    let store = centre.centre.store();
    let shown = store.event(NODE.into(), id.clone()).await.expect("readable").expect("there");
    assert_eq!((shown.event.revision, shown.event.score), (3, 0.3));
    assert!(shown.snapshot.expect("came before").exists());
    assert_eq!(store.revisions(NODE.into(), id.clone()).await.expect("readable").len(), 3);
    let mut told = Vec::new();
    while let Ok(notice) = notices.try_recv() {
        match &*notice {
            Notice::Event(e) => {
                assert!(e.snapshot.is_some() && (0..60_000).contains(&e.latency_ms), "{e:?}");
                told.push((e.event.revision, e.newest));
            }
            Notice::Snapshot { event, path, .. } => assert!(*event == id && path.exists()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, [(3, true), (1, false), (2, false)]);
    drop(store);
    centre.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_malformed_oversized_foreign_or_contradictory_is_counted_and_does_no_harm() {
    let (broker, post) = (Mosquitto::start(""), tempfile::tempdir().expect("dir"));
    let centre = Running::start(post.path(), broker.mqtt());
    centre.connected().await;
    let mut client = node_client(&broker).await;
    let (id, snapshot) = (new_id(), picture(1000));
    let good = event_message(&event(&id, 1));
    let changed = |change: fn(&mut Event)| {
        let mut e = event(&id, 1);
        change(&mut e);
        Message { payload: e.to_json().expect("JSON").into(), ..good.clone() }
    };
    let text = |text: &str| Message { payload: text.as_bytes().to_vec().into(), ..good.clone() };
    let with_properties = |properties: &[(&str, &str)]| Message {
        properties: properties.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        ..picture_message(&id, &snapshot)
    };
    let (mut not_jpeg, mut other_bytes) = (picture_message(&id, &snapshot), picture_message(&id, &snapshot));
    not_jpeg.payload = b"<script>".to_vec().into();
    other_bytes.payload = picture(1000).jpeg;
    let bad = [
        text(""),
        text("{"),
        text("[]"),
        text("{\"schema\":\"wardwatch.event/1\"}"),
        Message { payload: vec![0xff; 100].into(), ..good.clone() },
        Message { payload: [&good.payload[..], &[b' '; 20_000]].concat().into(), ..good.clone() },
        Message { topic: topics().event(&"another".parse().expect("valid")), ..good.clone() },
        Message { topic: good.topic.replace(NODE, "node-2"), ..good.clone() },
        Message { topic: good.topic.replace(NODE, "Node_2"), ..good.clone() },
        changed(|e| e.revision = 0),
        changed(|e| e.id = "../../etc/passwd".into()),
        changed(|e| e.ward = "elsewhere".into()),
        changed(|e| e.schema = "wardwatch.event/2".into()),
        changed(|e| e.started_at = "yesterday".into()),
        changed(|e| e.seq = u64::MAX),
        changed(|e| {
            e.snapshot = Some(SnapshotJson { sha256: "../../../x".into(), bytes: 1, width: 1, height: 1 });
        }),
        not_jpeg,
        other_bytes,
        with_properties(&[]),
        with_properties(&[("event-id", &id), ("sha256", "../../../../etc/x")]),
        with_properties(&[("event-id", &new_id()), ("sha256", &snapshot.info.sha256)]),
        Message { topic: topics().status(), payload: "nonsense".into(), ..Default::default() },
    ];
    let n = bad.len() as u64;
    for message in bad {
        assert_eq!(client.publish(message).await, None);
    }
    let mut health = centre.centre.health();
    health.wait_for(|h| h.refused >= n).await.expect("running");
    let store = centre.centre.store();
    assert_eq!(store.events(10).await.expect("readable"), []);
    // The next good one is taken, and its receipt is the first that was sent at all.
    client.0.publish(good, 1).expect("room");
    receipted(&mut client, "the good one", |r| r.events == [(id.clone(), 1)] && r.snapshots.is_empty()).await;
    assert_eq!(health.borrow().refused, n);
    drop(store);
    centre.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_content_under_a_known_revision_is_not_receipted() {
    let (broker, post) = (Mosquitto::start(""), tempfile::tempdir().expect("dir"));
    let centre = Running::start(post.path(), broker.mqtt());
    centre.connected().await;
    let mut client = node_client(&broker).await;
    let (id, later) = (new_id(), new_id());
    let mut forged = event(&id, 1);
    forged.label = Some("dog".into());
    client.0.publish(event_message(&event(&id, 1)), 1).expect("room");
    receipted(&mut client, "the first", |r| r.events == [(id.clone(), 1)]).await;
    client.0.publish(event_message(&forged), 1).expect("room");
    client.0.publish(event_message(&event(&later, 1)), 1).expect("room");
    receipted(&mut client, "the next", |r| {
        assert!(!r.events.contains(&(id.clone(), 1)), "receipted though it is not what is stored");
        r.events.contains(&(later.clone(), 1))
    })
    .await;
    let store = centre.centre.store();
    let shown = store.event(NODE.into(), id).await.expect("readable").expect("there");
    assert_eq!(shown.event.label.as_deref(), Some("person"));
    drop(store);
    centre.stop().await.expect("stops");
}

/// A store whose disk is full until room is made.
#[derive(Clone)]
struct Full {
    store: SqliteStore,
    full: watch::Receiver<bool>,
}

impl CommandStore for Full {
    async fn order(&self, node: String, command: Command) -> Result<()> {
        self.store.order(node, command).await
    }

    async fn pending(&self, now_ms: i64) -> Result<Vec<Pending>> {
        self.store.pending(now_ms).await
    }

    async fn asked(&self, id: String) -> Result<Option<Asked>> {
        self.store.asked(id).await
    }

    async fn delivered(&self, node: String, camera: CameraId, since_ms: i64) -> Result<Vec<Asked>> {
        self.store.delivered(node, camera, since_ms).await
    }

    async fn all_asked(&self, limit: usize) -> Result<Vec<Asked>> {
        self.store.all_asked(limit).await
    }
}

impl CentreStore for Full {
    async fn commit(&self, batch: Arc<Vec<Item>>, now_ms: i64) -> Result<Vec<Outcome>> {
        if *self.full.borrow() {
            return Err(Error::new(ErrorKind::Exhausted, "no space left"));
        }
        self.store.commit(batch, now_ms).await
    }
    async fn events(&self, limit: usize) -> Result<Vec<StoredEvent>> {
        self.store.events(limit).await
    }
    async fn event(&self, node: String, id: String) -> Result<Option<StoredEvent>> {
        self.store.event(node, id).await
    }
    async fn revisions(&self, node: String, id: String) -> Result<Vec<String>> {
        self.store.revisions(node, id).await
    }
    async fn nodes(&self) -> Result<Vec<StoredNode>> {
        self.store.nodes().await
    }
    async fn cameras(&self) -> Result<Vec<StoredCamera>> {
        self.store.cameras().await
    }
    async fn snapshot(&self, sha256: String) -> Result<Option<PathBuf>> {
        self.store.snapshot(sha256).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_at_the_centre_means_no_receipt_until_there_is_room() {
    let (broker, post, node) =
        (Mosquitto::start(""), tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let (store, writer, _) = SqliteStore::open(post.path(), 0).expect("opens");
    std::thread::spawn(move || writer.run());
    let (room, full) = watch::channel(true);
    let (health_sender, mut health) = watch::channel(Health::default());
    let (stop, shutdown) = watch::channel(false);
    let settings =
        receive::Settings { ward: WARD.into(), boot_id: new_id(), timezone: jiff::tz::TimeZone::UTC, jitter_seed: 1 };
    let wiring = receive::Wiring {
        store: Full { store: store.clone(), full },
        notices: tokio::sync::broadcast::channel(16).0,
        health: health_sender,
        clock: Arc::new(SystemClock),
        shutdown,
    };
    let task = tokio::spawn(receive::run(broker.mqtt(), settings, wiring));
    let (node_store, _) = open_store(node.path(), QUOTA);
    let publisher = Publisher::start_with(node_store.clone(), broker.mqtt(), Duration::from_secs(3600));
    let ids = commit_events(&node_store, 30).await;
    health.wait_for(|h| h.store_trouble.is_some()).await.expect("running");
    let depths = node_store.depths().await.expect("readable");
    assert_eq!(depths.pending + depths.sent, 90, "nothing was receipted");
    room.send(false).expect("running");
    publisher.drained().await;
    assert_eq!(store.events(100).await.expect("readable").len(), ids.len());
    assert!(health.borrow().store_trouble.is_none());
    stop.send(true).expect("running");
    task.await.expect("no panic").expect("stops");
    publisher.stop().await.expect("stops");
}
