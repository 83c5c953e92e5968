//! The publisher and the supervised mosquitto: who may say what, what happens to messages nobody takes, and what dies
//! and comes back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use wardwatch::base::types::Phase;
use wardwatch::base::{ErrorKind, Stamp};
use wardwatch::centre::store::CentreStore;
use wardwatch::config::{BrokerConfig, Secret};
use wardwatch::publish::broker::{Broker, Role};
use wardwatch::publish::link::Message;
use wardwatch::publish::outbox::{Input, Output, Pump, WINDOW};
use wardwatch::store::{Row, Store};
use wardwatch::wire::event::Event;
use wardwatch::wire::receipt::Receipt;
use wardwatch::wire::status::{PeerState, PeerStatus};

use crate::support::broker::Mosquitto;
use crate::support::post::{
    CAMERA, Client, NODE, Publisher, Running, WARD, camera_status, event_message, log, new_id, now, open_store, origin,
    picture, picture_message, report, topics, until, with_picture,
};

const QUOTA: u64 = 1 << 30;

fn config(directory: &tempfile::TempDir, port: u16) -> BrokerConfig {
    BrokerConfig {
        port,
        program: "mosquitto".into(),
        state_dir: directory.path().join("broker"),
        watch_pictures: false,
    }
}

async fn broker(directory: &tempfile::TempDir, port: u16) -> Broker {
    Broker::start(&config(directory, port), WARD, NODE).await.expect("mosquitto starts")
}

fn event() -> Event {
    Event::new(&report(&new_id(), Phase::Started), 1, 1, &origin())
}

fn to(topic: String) -> Message {
    Message { topic, payload: "{}".into(), ..Default::default() }
}

#[tokio::test]
async fn each_role_can_write_its_own_topics_and_no_other() {
    let directory = tempfile::tempdir().expect("dir");
    let broker = broker(&directory, 0).await;
    // mosquitto 2.0.11 hangs up on whoever was refused, so every attempt has a connection of its own.
    let refused = async |role: Role, topic: &str| {
        let mut client = Client::connect(broker.mqtt(role)).await.expect("connects");
        client.publish(to(topic.to_owned())).await.is_some_and(|r| r.permanent)
    };
    let t = topics();
    let camera = CAMERA.parse().expect("valid");
    let command = t.receipt().replace("receipt", "command");
    let other_node = t.status().replace(NODE, "node-2");
    for topic in [t.receipt(), command.clone(), other_node, t.centre_status(), "elsewhere".into()] {
        assert!(refused(Role::Node, &topic).await, "a node may not write {topic}");
    }
    for topic in [t.event(&camera), t.status(), "elsewhere".into()] {
        assert!(refused(Role::Centre, &topic).await, "the centre may not write {topic}");
    }
    for topic in [t.event(&camera), t.receipt(), t.centre_status()] {
        assert!(refused(Role::Watch, &topic).await, "a watching person may not write {topic}");
    }
    for topic in [t.receipt(), command, t.centre_status()] {
        assert!(!refused(Role::Centre, &topic).await, "the centre must write {topic}");
    }
    // A watching person hears the event, and not the picture before it.
    let mut watch = Client::connect(broker.mqtt(Role::Watch)).await.expect("connects");
    let mut node = Client::connect(broker.mqtt(Role::Node)).await.expect("connects");
    watch.subscribe(&["#".into()]).await;
    let (event, snapshot) = (event(), picture(500));
    assert_eq!(node.publish(picture_message(&event.id, &snapshot)).await, None);
    assert_eq!(node.publish(event_message(&event)).await, None);
    let (topic, ..) = watch.hear("anything of a camera", |topic, _| topic.contains("/camera/")).await;
    assert!(topic.ends_with("/event"), "{topic}");
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
        r.camera = camera.parse().expect("valid");
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

#[tokio::test]
async fn a_stranger_is_refused_and_no_password_can_be_seen() {
    let directory = tempfile::tempdir().expect("dir");
    let broker = broker(&directory, 0).await;
    for password in [None, Some(Secret::new("wrong"))] {
        let mqtt = wardwatch::config::MqttConfig { password, ..broker.mqtt(Role::Node) };
        let e = Client::connect(mqtt).await.err().expect("refused");
        assert_eq!(e.kind(), ErrorKind::Unauthorized, "{e}");
    }
    let command = std::fs::read(format!("/proc/{}/cmdline", broker.pid().expect("runs"))).expect("readable");
    let command = String::from_utf8_lossy(&command).into_owned();
    for role in [Role::Node, Role::Centre, Role::Watch] {
        let mqtt = broker.mqtt(role);
        let password = mqtt.password.as_ref().expect("has one").expose();
        assert!(password.len() >= 32 && !command.contains(password));
        assert!(!format!("{mqtt:?}").contains(password));
        let users = std::fs::read_to_string(directory.path().join("broker/users")).expect("readable");
        assert!(!users.contains(password), "hashed");
    }
    for entry in std::fs::read_dir(directory.path().join("broker")).expect("there") {
        let entry = entry.expect("readable");
        let mode = entry.metadata().expect("readable").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervised_broker_that_is_killed_comes_back_and_nothing_is_lost() {
    log();
    let directory = tempfile::tempdir().expect("dir");
    let broker = broker(&directory, 0).await;
    let (node_mqtt, centre_mqtt) = (broker.mqtt(Role::Node), broker.mqtt(Role::Centre));
    let pid = broker.pid().expect("runs");
    let pid_file = directory.path().join("broker/mosquitto.pid");
    let (stop, stopping) = watch::channel(false);
    let supervisor = tokio::spawn(broker.run(stopping));
    let (store, _) = open_store(directory.path(), QUOTA);
    let mut publisher = Publisher::start(store.clone(), node_mqtt);
    let centre = Running::start(&directory.path().join("centre"), centre_mqtt);
    publisher.until_health("the centre is seen", |h| h.centre_online).await;
    for n in 0..60 {
        if n == 30 {
            kill(pid);
        }
        let snapshot = picture(2000);
        let r = with_picture(report(&new_id(), Phase::Started), &snapshot);
        store.commit(r, Some(snapshot), now()).await.expect("commits");
    }
    until("there is another process", || async {
        std::fs::read_to_string(&pid_file).is_ok_and(|p| p != pid.to_string())
    })
    .await;
    publisher.drained().await;
    assert_eq!(centre.centre.store().events(1000).await.expect("readable").len(), 60);
    publisher.stop().await.expect("stops");
    centre.stop().await.expect("stops");
    stop.send(true).expect("runs");
    supervisor.await.expect("ends");
    assert!(!pid_file.exists(), "stopped in order");
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is ours");
}

#[tokio::test]
async fn what_a_killed_node_left_running_is_ended_at_the_next_start() {
    let directory = tempfile::tempdir().expect("dir");
    let first = broker(&directory, 0).await;
    let (pid, port) = (first.pid().expect("runs"), first.port());
    let password = first.mqtt(Role::Watch).password;
    // As kill -9 of the node would: nobody ends the child.
    std::mem::forget(first);
    let second = broker(&directory, port).await;
    assert_ne!(second.pid(), Some(pid));
    assert!(std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty(), "the old one is gone");
    assert_eq!(second.mqtt(Role::Watch).password, password, "a watching person keeps theirs");
    Client::connect(second.mqtt(Role::Node)).await.expect("connects");
}

#[tokio::test]
async fn a_pid_that_belongs_to_someone_else_is_not_touched() {
    let directory = tempfile::tempdir().expect("dir");
    std::fs::create_dir_all(directory.path().join("broker")).expect("made");
    std::fs::write(directory.path().join("broker/mosquitto.pid"), std::process::id().to_string()).expect("written");
    broker(&directory, 0).await;
}

#[tokio::test]
async fn a_taken_port_and_a_missing_mosquitto_are_said_plainly() {
    let directory = tempfile::tempdir().expect("dir");
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("binds");
    let port = taken.local_addr().expect("bound").port();
    let e = Broker::start(&config(&directory, port), WARD, NODE).await.err().expect("refused");
    assert!(e.kind() == ErrorKind::Unavailable && e.to_string().contains("is taken"), "{e}");
    let missing = BrokerConfig { program: "/nowhere/mosquitto".into(), ..config(&directory, 0) };
    let e = Broker::start(&missing, WARD, NODE).await.err().expect("refused");
    assert!(e.kind() == ErrorKind::NotFound && e.to_string().contains("apt-get install mosquitto"), "{e}");
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

/// One step of a bad day: the pump and a real store against a broker and a centre that fail in every way.
#[derive(Clone, Debug)]
enum Mishap {
    Commit {
        event: usize,
        end: bool,
    },
    /// The broker takes the oldest message it has not answered, and passes it to the centre if that is there.
    Take,
    /// The centre's receipts for what it has reach the node.
    Receipt,
    /// They get lost instead.
    LoseReceipt,
    BreakOff,
    Connect,
    CentreDies,
    CentreComes,
    Timeout,
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        8 => (0..8usize, any::<bool>()).prop_map(|(event, end)| Mishap::Commit { event, end }),
        12 => Just(Mishap::Take),
        8 => Just(Mishap::Receipt),
        2 => Just(Mishap::LoseReceipt),
        2 => Just(Mishap::BreakOff),
        4 => Just(Mishap::Connect),
        1 => Just(Mishap::CentreDies),
        2 => Just(Mishap::CentreComes),
        1 => Just(Mishap::Timeout),
    ]
}

struct Day {
    store: Store,
    pump: Pump,
    clock: Stamp,
    connected: bool,
    wire: VecDeque<Row>,
    centre: Option<u32>,
    boots: u32,
    /// What the centre has, and the receipts it has not delivered.
    has: BTreeSet<(String, u32)>,
    receipts: Vec<(String, u32)>,
    open: BTreeMap<usize, String>,
    newest: BTreeMap<String, u32>,
}

impl Day {
    async fn feed(&mut self, input: Input) {
        let mut outputs = VecDeque::from(self.pump.step(input));
        while let Some(output) = outputs.pop_front() {
            let answer = match output {
                Output::ResetSent => self.store.reset_sent().await.map(|_| None),
                Output::Fetch { rows, bytes } => {
                    self.store.next_batch(rows, bytes, self.clock).await.map(|r| Some(Input::Rows(r)))
                }
                Output::Send(rows) => {
                    assert!(self.connected);
                    let ids = rows.iter().map(|r| r.id).collect();
                    self.wire.extend(rows);
                    self.store.mark_sent(ids, self.clock).await.map(|()| None)
                }
                Output::Expire { centre_there } => self
                    .store
                    .expire_sent(Duration::from_secs(30), centre_there, self.clock)
                    .await
                    .map(|e| Some(Input::Expired(e))),
                Output::Touch(rows) => self.store.touch_sent(rows, self.clock).await.map(|()| None),
                Output::Park { .. } => panic!("nothing here deserves it"),
            };
            if let Some(answer) = answer.expect("the store works") {
                outputs.extend(self.pump.step(answer));
            }
        }
        assert!(self.pump.in_flight() <= WINDOW);
        assert!(self.store.depths().await.expect("readable").sent <= WINDOW as u64);
    }

    async fn apply(&mut self, mishap: Mishap) {
        self.clock = self.clock.plus(Duration::from_millis(10));
        match mishap {
            Mishap::Commit { event, end } => {
                let (id, phase) = match self.open.get(&event) {
                    None => (self.open.entry(event).or_insert_with(new_id).clone(), Phase::Started),
                    Some(id) if end => (id.clone(), Phase::Ended),
                    Some(id) => (id.clone(), Phase::Updated),
                };
                if phase == Phase::Ended {
                    self.open.remove(&event);
                }
                let committed = self.store.commit(report(&id, phase), None, self.clock).await.expect("commits");
                self.newest.insert(id, committed.revision);
                self.feed(Input::Wake).await;
            }
            Mishap::Take if self.connected => {
                if let Some(row) = self.wire.pop_front() {
                    if self.centre.is_some() {
                        self.has.insert((row.event.clone(), row.revision));
                        self.receipts.push((row.event, row.revision));
                    }
                    self.feed(Input::Acked { row: row.id, refused: None }).await;
                }
            }
            Mishap::Receipt if self.connected => {
                let receipt = Receipt { events: std::mem::take(&mut self.receipts), snapshots: vec![] };
                let done = self.store.receipt(receipt, self.clock).await.expect("receipted");
                self.feed(Input::Receipted(done.rows)).await;
            }
            Mishap::LoseReceipt => self.receipts.clear(),
            Mishap::BreakOff if self.connected => {
                self.connected = false;
                self.wire.clear();
                self.feed(Input::Disconnected { objection: false }).await;
            }
            Mishap::Connect if !self.connected => {
                self.connected = true;
                self.feed(Input::Connected { max_packet: 1 << 20 }).await;
                self.tell_centre(true).await;
            }
            Mishap::CentreDies => {
                self.centre = None;
                self.receipts.clear();
                self.tell_centre(false).await;
            }
            Mishap::CentreComes if self.centre.is_none() => {
                self.boots += 1;
                self.centre = Some(self.boots);
                self.tell_centre(false).await;
            }
            Mishap::Timeout => {
                self.clock = self.clock.plus(Duration::from_secs(31));
                self.feed(Input::Tick).await;
            }
            _ => {}
        }
    }

    async fn tell_centre(&mut self, retained: bool) {
        if self.connected {
            let boot_id = self.boots.to_string();
            self.feed(Input::Centre { online: self.centre.is_some(), boot_id, retained }).await;
        }
    }

    /// Everything works again: the outbox must empty itself, and the centre must have the newest of everything.
    async fn recover(mut self) {
        // A row's time begins at the first tick after the broker took it, so that two are needed.
        for mishap in [Mishap::Connect, Mishap::CentreComes, Mishap::Timeout, Mishap::Timeout] {
            self.apply(mishap).await;
        }
        // A row that went unanswered too often was put aside; the hour has passed.
        self.store.retry_parked().await.expect("retried");
        self.feed(Input::Wake).await;
        for _ in 0..2000 {
            let depths = self.store.depths().await.expect("readable");
            if depths.pending + depths.sent == 0 {
                break;
            }
            self.apply(Mishap::Take).await;
            self.apply(Mishap::Receipt).await;
        }
        let depths = self.store.depths().await.expect("readable");
        assert_eq!((depths.pending, depths.sent, depths.parked), (0, 0, 0));
        for (id, newest) in self.newest {
            assert!(self.has.contains(&(id.clone(), 1)), "the start of {id} is missing");
            assert!(self.has.contains(&(id.clone(), newest)), "revision {newest} of {id} is missing");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_fails_everything_arrives_once_it_works_again(mishaps in proptest::collection::vec(mishap(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let directory = tempfile::tempdir().expect("dir");
            let (store, _) = open_store(directory.path(), QUOTA);
            let mut day = Day {
                store, pump: Pump::default(), clock: now(), connected: false, wire: VecDeque::new(), centre: None,
                boots: 0, has: BTreeSet::new(), receipts: vec![], open: BTreeMap::new(), newest: BTreeMap::new(),
            };
            for mishap in mishaps {
                day.apply(mishap).await;
            }
            day.recover().await;
        });
    }
}

/// Passes bytes from clients to `port` at `bytes_per_second`, as a poor line would, and back at once; returns its port.
async fn slow_line(port: u16, bytes_per_second: usize) -> u16 {
    const TICK: Duration = Duration::from_millis(20);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("binds");
    let own = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let broker = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("there");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_broker, mut to_broker) = broker.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_broker, &mut to_client).await });
            tokio::spawn(async move {
                let mut chunk = vec![0; bytes_per_second / 50];
                let mut ticks = tokio::time::interval(TICK);
                while let Ok(n @ 1..) = from_client.read(&mut chunk).await {
                    ticks.tick().await;
                    to_broker.write_all(&chunk[..n]).await.expect("there");
                }
            });
        }
    });
    own
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
    mqtt.port = Some(slow_line(broker.port, 250_000).await);
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
