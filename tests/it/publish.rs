//! The publisher: what happens to messages nobody takes, what a node says of itself, and lines that are slow or closed to
//! strangers.

use std::collections::BTreeSet;
use std::time::Duration;

use wardwatch::base::ErrorKind;
use wardwatch::base::types::Phase;
use wardwatch::centre::store::CentreStore;
use wardwatch::publish::link::Message;
use wardwatch::wire::status::{PeerState, PeerStatus};

use crate::support::broker::Mosquitto;
use crate::support::post::{
    CAMERA, Client, Publisher, Running, camera_status, log, new_id, now, open_store, picture, report, topics, until,
    with_picture,
};
use crate::support::proxy::{Line, Proxy};

const QUOTA: u64 = 1 << 30;

fn to(topic: String) -> Message {
    Message { topic, payload: "{}".into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_the_access_list_forbids_is_parked_and_the_others_go_on() {
    log();
    let directory = tempfile::tempdir().expect("dir");
    let acl = directory.path().join("acl");
    let forbidden = "topic readwrite #\ntopic deny wardwatch/v1/+/+/camera/forbidden/event\n";
    std::fs::write(&acl, forbidden).expect("written");
    let broker = Mosquitto::start(&format!("acl_file {}", acl.display()));
    let (store, _) = open_store(directory.path(), QUOTA);
    let mut publisher = Publisher::start(store.clone(), broker.mqtt());
    let centre = Running::start(&directory.path().join("centre"), broker.mqtt());
    publisher.until_health("the centre is seen", |h| h.centre_online).await;
    for camera in [CAMERA, "forbidden", CAMERA] {
        let mut r = report(&new_id(), Phase::Started);
        r.camera = Some(camera.parse().expect("valid"));
        store.commit(r, None, now()).await.expect("commits");
    }
    until("all but one are receipted", || async {
        let d = store.depths().await.expect("readable");
        (d.pending, d.sent, d.parked) == (0, 0, 1)
    })
    .await;
    publisher.kill().await;
    centre.stop().await.expect("stops");
}

/// Commits a picture too large for the broker between two small ones; the large one is parked, the rest arrives.
async fn a_large_picture_is_parked(limit: &str) {
    log();
    let broker = Mosquitto::start(limit);
    let directory = tempfile::tempdir().expect("dir");
    let (store, _) = open_store(directory.path(), QUOTA);
    let mut publisher = Publisher::start(store.clone(), broker.mqtt());
    let centre = Running::start(&directory.path().join("centre"), broker.mqtt());
    publisher.until_health("the centre is seen", |h| h.centre_online).await;
    for size in [2000, 30_000, 2000] {
        let snapshot = picture(size);
        let r = with_picture(report(&new_id(), Phase::Started), &snapshot);
        store.commit(r, Some(snapshot), now()).await.expect("commits");
    }
    until("all but one are receipted", || async {
        let d = store.depths().await.expect("readable");
        (d.pending, d.sent, d.parked) == (0, 0, 1)
    })
    .await;
    let events = centre.centre.store().events(10).await.expect("readable");
    assert_eq!(events.iter().filter(|e| e.snapshot.is_some()).count(), 2);
    assert_eq!(events.len(), 3, "the event itself is small");
    publisher.kill().await;
    centre.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_above_the_announced_limit_is_parked_and_the_others_go_on() {
    a_large_picture_is_parked("max_packet_size 20000").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_above_a_limit_nobody_announced_is_found_and_parked() {
    // mosquitto answers with code 0x95, which rumqttc takes for a broken connection.
    a_large_picture_is_parked("message_size_limit 20000").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_with_one_name_the_younger_yields() {
    let (broker, directory) = (Mosquitto::start(""), tempfile::tempdir().expect("dir"));
    let (store, _) = open_store(&directory.path().join("a"), QUOTA);
    let (other_store, _) = open_store(&directory.path().join("b"), QUOTA);
    let mut older = Publisher::start(store, broker.mqtt());
    older.until_health("the older is connected", |h| h.connected).await;
    let mut younger = Publisher::start(other_store, broker.mqtt());
    younger.until_health("the younger notices and leaves", |h| h.name_taken && !h.connected).await;
    older.until_health("the older notices and stays", |h| h.name_taken && h.connected).await;
    let mut client = Client::connect(broker.mqtt()).await.expect("connects");
    client.subscribe(&[topics().status()]).await;
    let boot_id = older.boot_id.clone();
    client.hear("the older has the last word", |_, p| is_status(p, PeerState::Online, &boot_id)).await;
    older.kill().await;
    younger.kill().await;
}

fn is_status(payload: &[u8], state: PeerState, boot_id: &str) -> bool {
    serde_json::from_slice::<PeerStatus>(payload).is_ok_and(|s| s.state == state && s.boot_id == boot_id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_says_that_it_is_there_that_it_stops_and_that_it_is_gone() {
    let (broker, directory) = (Mosquitto::start(""), tempfile::tempdir().expect("dir"));
    let mut client = Client::connect(broker.mqtt()).await.expect("connects");
    client.subscribe(&["wardwatch/v1/#".into()]).await;
    let (store, _) = open_store(directory.path(), QUOTA);
    let mut publisher = Publisher::start(store.clone(), broker.mqtt());
    let boot_id = publisher.boot_id.clone();
    client.hear("online", |_, p| is_status(p, PeerState::Online, &boot_id)).await;
    publisher.until_health("connected", |h| h.connected).await;
    // The will of a run that the broker missed late must not stand.
    let late = PeerStatus { state: PeerState::Offline, version: "0".into(), boot_id: "old".into(), since: "".into() };
    let payload = serde_json::to_vec(&late).expect("JSON").into();
    client.publish(Message { topic: topics().status(), payload, retain: true, ..Default::default() }).await;
    client.hear("online again", |_, p| is_status(p, PeerState::Online, &boot_id)).await;
    let camera = CAMERA.parse().expect("valid");
    publisher.cameras.send_replace([(camera, camera_status("online", &boot_id))].into());
    client.hear("the camera", |topic, p| topic.ends_with("ngo-12-a/status") && !p.is_empty()).await;
    publisher.cameras.send_replace(Default::default());
    client.hear("the camera is removed", |topic, p| topic.ends_with("ngo-12-a/status") && p.is_empty()).await;
    publisher.stop().await.expect("stops");
    client.hear("stopping", |_, p| is_status(p, PeerState::Stopping, &boot_id)).await;
    client.hear("offline", |_, p| is_status(p, PeerState::Offline, &boot_id)).await;
    // Killed, its will speaks.
    let publisher = Publisher::start(store, broker.mqtt());
    let boot_id = publisher.boot_id.clone();
    client.hear("online", |_, p| is_status(p, PeerState::Online, &boot_id)).await;
    publisher.kill().await;
    client.hear("offline", |_, p| is_status(p, PeerState::Offline, &boot_id)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_cameras_leave_room_for_events() {
    let (broker, directory) = (Mosquitto::start(""), tempfile::tempdir().expect("dir"));
    let (store, _) = open_store(directory.path(), QUOTA);
    let centre = Running::start(&directory.path().join("centre"), broker.mqtt());
    let mut publisher = Publisher::start(store.clone(), broker.mqtt());
    publisher.until_health("the centre is seen", |h| h.centre_online).await;
    let name = |n: usize| format!("camera-{n}").parse().expect("valid");
    let cameras = (0..700).map(|n| (name(n), camera_status("online", &publisher.boot_id))).collect();
    publisher.cameras.send_replace(cameras);
    store.commit(report(&new_id(), Phase::Started), None, now()).await.expect("commits");
    publisher.drained().await;
    until("all cameras are online", || async {
        let cameras = centre.centre.store().cameras().await.expect("readable");
        cameras.iter().filter(|c| c.current).count() == 700
    })
    .await;
    assert!(publisher.health.borrow().trouble.is_none());
    publisher.stop().await.expect("stops");
    centre.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_centres_of_one_ward_the_younger_yields() {
    let (broker, directory) = (Mosquitto::start(""), tempfile::tempdir().expect("dir"));
    let first = Running::start(&directory.path().join("a"), broker.mqtt());
    first.connected().await;
    let second = Running::start(&directory.path().join("b"), broker.mqtt());
    let mut health = second.centre.health();
    let told = health.wait_for(|h| h.trouble.as_ref().is_some_and(|t| t.contains("was first")));
    tokio::time::timeout(Duration::from_secs(20), told).await.expect("in time").expect("running");
    assert!(first.centre.health().borrow().connected);
    // The first one has the last word on the topic, and goes on.
    let (store, _) = open_store(directory.path(), QUOTA);
    let publisher = Publisher::start(store.clone(), broker.mqtt());
    store.commit(report(&new_id(), Phase::Started), None, now()).await.expect("commits");
    publisher.drained().await;
    assert_eq!(first.centre.store().events(10).await.expect("readable").len(), 1);
    publisher.stop().await.expect("stops");
    second.kill().await;
    first.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_centre_rows_stay_and_stopping_does_not_wait() {
    let (broker, directory) = (Mosquitto::start(""), tempfile::tempdir().expect("dir"));
    let (store, _) = open_store(directory.path(), QUOTA);
    let mut publisher = Publisher::start_with(store.clone(), broker.mqtt(), Duration::from_secs(3600));
    for _ in 0..20 {
        store.commit(report(&new_id(), Phase::Started), None, now()).await.expect("commits");
    }
    publisher.until_health("the window is full", |h| h.depths.sent == 16 && h.depths.pending == 4).await;
    tokio::time::timeout(Duration::from_secs(3), publisher.stop()).await.expect("does not wait").expect("stops");
    assert_eq!(store.depths().await.expect("readable").pending, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_slow_line_nothing_is_sent_twice() {
    let (broker, directory) = (Mosquitto::start(""), tempfile::tempdir().expect("dir"));
    let (store, _) = open_store(directory.path(), QUOTA);
    let centre = Running::start(&directory.path().join("centre"), broker.mqtt());
    centre.connected().await;
    let mut watch = Client::connect(broker.mqtt()).await.expect("connects");
    watch.subscribe(&["wardwatch/v1/+/+/camera/+/snapshot/+".into()]).await;
    let mut ids = BTreeSet::new();
    for _ in 0..20 {
        let (id, snapshot) = (new_id(), picture(50_000));
        let r = with_picture(report(&id, Phase::Started), &snapshot);
        store.commit(r, Some(snapshot), now()).await.expect("commits");
        ids.insert(id);
    }
    // A megabyte takes four seconds; receipts are missed after one.
    let mut mqtt = broker.mqtt();
    let line = Proxy::start(broker.port);
    line.set(Line::Slow(250_000));
    mqtt.port = Some(line.port);
    let publisher = Publisher::start_with(store.clone(), mqtt, Duration::from_secs(1));
    while !ids.is_empty() {
        let (topic, ..) = watch.hear("a picture", |_, _| true).await;
        let id = topic.rsplit('/').next().expect("its event");
        assert!(ids.remove(id), "{topic} came twice");
    }
    publisher.drained().await;
    publisher.kill().await;
    centre.stop().await.expect("stops");
}

/// Runs openssl, which makes what the tests of encryption need.
fn openssl(directory: &std::path::Path, arguments: &str) {
    let output = std::process::Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output()
        .expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn an_encrypted_connection_needs_a_certificate_of_the_right_authority() {
    let directory = tempfile::tempdir().expect("dir");
    for ca in ["ca", "other"] {
        let make = format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={ca} -keyout {ca}.key -out {ca}.pem"
        );
        openssl(directory.path(), &make);
    }
    std::fs::write(directory.path().join("ext"), "subjectAltName=DNS:localhost").expect("written");
    openssl(
        directory.path(),
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout broker.key -out broker.csr",
    );
    openssl(
        directory.path(),
        "x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out broker.pem",
    );
    let at = |name: &str| directory.path().join(name);
    let tls = format!("certfile {}\nkeyfile {}", at("broker.pem").display(), at("broker.key").display());
    let broker = Mosquitto::start(&tls);
    let mqtt = |ca: &str| wardwatch::config::MqttConfig {
        host: "localhost".into(),
        tls: true,
        ca: Some(at(ca)),
        ..broker.mqtt()
    };
    let mut client = Client::connect(mqtt("ca.pem")).await.expect("connects");
    assert_eq!(client.publish(to("wardwatch/v1/x".into())).await, None);
    let e = Client::connect(mqtt("other.pem")).await.err().expect("refused");
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");
    let e = Client::connect(mqtt("missing.pem")).await.err().expect("refused");
    assert_eq!(e.kind(), ErrorKind::Config, "{e}");
}
