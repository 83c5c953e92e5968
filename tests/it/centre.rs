//! From the node's store over a real mosquitto to the centre's store and back: nothing is lost, nothing counts twice.

use std::time::Duration;

use wardwatch::base::types::Phase;
use wardwatch::centre::store::CentreStore;
use wardwatch::store::Store;

use crate::support::broker::Mosquitto;
use crate::support::post::{
    Publisher, Running, camera_status, new_id, now, open_store, picture, report, until, with_picture,
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
