//! The supervised mosquitto: who may say what, what a stranger sees, and what dies and comes back.

use std::os::unix::fs::PermissionsExt;

use tokio::sync::watch;
use wardwatch::base::ErrorKind;
use wardwatch::base::types::Phase;
use wardwatch::centre::store::CentreStore;
use wardwatch::config::{BrokerConfig, Secret};
use wardwatch::publish::broker::{Broker, Role};
use wardwatch::publish::link::Message;
use wardwatch::wire::event::Event;

use crate::support::post::{
    CAMERA, Client, NODE, Publisher, Running, WARD, event_message, log, new_id, now, open_store, origin, picture,
    picture_message, report, topics, until, with_picture,
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
    let command = t.command();
    let other_node = t.status().replace(NODE, "node-2");
    for topic in [t.receipt(), command.clone(), other_node, t.centre_status(), "elsewhere".into()] {
        assert!(refused(Role::Node, &topic).await, "a node may not write {topic}");
    }
    for topic in [t.event(&camera), t.status(), t.answer(), "elsewhere".into()] {
        assert!(refused(Role::Centre, &topic).await, "the centre may not write {topic}");
    }
    for topic in [t.event(&camera), t.receipt(), t.command(), t.answer(), t.centre_status()] {
        assert!(refused(Role::Watch, &topic).await, "a watching person may not write {topic}");
    }
    for topic in [t.receipt(), command, t.centre_status()] {
        assert!(!refused(Role::Centre, &topic).await, "the centre must write {topic}");
    }
    assert!(!refused(Role::Node, &t.answer()).await, "a node must answer");
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
