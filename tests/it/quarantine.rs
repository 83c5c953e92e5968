//! A camera that ends its workers: found, let go of, tried again; the others go on. What a decoder's crash looks like to
//! the node comes from outside: whichever worker has a connection to the camera gets the signal that `abort` raises. (Of a
//! SIGSEGV that no access of its own caused, the runtime's handler for stack overflows would take the first for itself.)

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::support::broker::Mosquitto;
use crate::support::post::Client;
use crate::support::rtsp::{self, Camera};
use crate::support::site::{self, Process, Site, metric};
use crate::support::stimulus;
use crate::support::wait::{until, until_or};

const LONG: Duration = Duration::from_secs(60);
const DATABASE: &str = "node/node.db";
const CULPRIT: &str = "ngo-2";

/// Four recorded cameras, three of them in one worker.
struct Ward {
    site: Site,
    broker: Mosquitto,
    cameras: Vec<(String, Camera)>,
}

impl Ward {
    fn new() -> Self {
        let cameras = (1..=4).map(|n| (format!("ngo-{n}"), Camera::start(rtsp::h264_small())));
        Self { site: Site::new(), broker: Mosquitto::start(""), cameras: cameras.collect() }
    }

    fn document(&self, revision: u32, fps_of_culprit: u32) {
        let camera = |(id, camera): &(String, Camera)| {
            let fps = if id == CULPRIT { fps_of_culprit } else { 5 };
            format!(
                "[[camera]]\nid = \"{id}\"\n[camera.detect]\nurl = \"{}\"\nfps = {fps}\n[camera.recording]\n\
                 mode = \"continuous\"\n\n",
                camera.url()
            )
        };
        let cameras: String = self.cameras.iter().map(camera).collect();
        self.site.write("cameras.toml", &format!("revision = {revision}\n{cameras}"));
    }

    fn run(&self) -> Process {
        let model = stimulus::model(&self.site.path("models"));
        let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", self.broker.port);
        let node = self.site.node("cameras_per_worker = 3\n", &mqtt);
        let config = self.site.write("node.toml", &(self.site.common(&model) + &node));
        self.document(1, 5);
        self.site.run(&config)
    }

    fn port(&self, id: &str) -> u16 {
        self.cameras.iter().find(|(other, _)| other == id).expect("there is one").1.port
    }

    /// Whether this camera's newest file grows and was begun after that of number `after`.
    fn records(&self, id: &str, after: i64) -> bool {
        let sql = format!("SELECT COUNT(*) FROM segment WHERE camera = '{id}' AND state = 'open' AND id > {after}");
        self.site.number(DATABASE, &sql) == Some(1)
    }

    fn newest_file(&self) -> i64 {
        self.site.number(DATABASE, "SELECT MAX(id) FROM segment").unwrap_or(0)
    }

    /// What is missing of a camera's recording so far, in milliseconds.
    fn gaps(&self, id: &str) -> Vec<i64> {
        let sql = format!("SELECT end_ms - start_ms FROM gap WHERE camera = '{id}' AND end_ms > start_ms ORDER BY id");
        let rows = self.site.rows(DATABASE, &sql).expect("the index");
        rows.iter().map(|r| r[0].parse().expect("a number")).collect()
    }

    fn status(&self, id: &str) -> Value {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut client = Client::connect(self.broker.mqtt()).await.expect("connects");
            client.subscribe(&[format!("wardwatch/v1/+/+/camera/{id}/status")]).await;
            let (_, payload, _) = client.hear("its status", |_, payload| !payload.is_empty()).await;
            serde_json::from_slice(&payload).expect("JSON")
        })
    }

    fn state(&self, id: &str, state: &str) -> bool {
        let line = format!("wardwatch_camera_state{{camera=\"{id}\",state=\"{state}\"}}");
        metric(self.site.node_port, &line) == Some(1.0)
    }

    /// Phase and severity of each event about a quarantine.
    fn told(&self) -> Vec<Vec<String>> {
        let sql = "SELECT phase, severity FROM event WHERE report ->> 'rule' = 'camera-quarantined' ORDER BY id";
        self.site.rows(DATABASE, sql).expect("the node's database")
    }
}

#[test]
#[allow(clippy::print_stdout)] // what was lost is worth reading
fn the_camera_that_ends_its_worker_is_let_go_of_and_the_others_go_on() {
    let ward = Ward::new();
    let node = ward.run();
    let all: Vec<&str> = ward.cameras.iter().map(|(id, _)| id.as_str()).collect();
    until("all record", LONG, || all.iter().all(|id| ward.records(id, 0)));
    let elsewhere = node.worker_of(ward.port("ngo-4")).expect("connected");

    let mut deaths = 0;
    while !ward.state(CULPRIT, "quarantined") {
        let before = ward.newest_file();
        let worker = node.worker_of(ward.port(CULPRIT)).expect("connected");
        site::kill(worker, "ABRT");
        deaths += 1;
        assert!(deaths <= 5, "it should have been found");
        let again = || ward.records(CULPRIT, before) && node.worker_of(ward.port(CULPRIT)).is_some();
        let others = || ["ngo-1", "ngo-3"].iter().all(|id| ward.records(id, 0));
        let said = || format!("after death {deaths} it is read again or let go of, and the others record");
        until_or(said, LONG, || others() && (again() || ward.state(CULPRIT, "quarantined")));
    }
    assert_eq!(deaths, 5);

    assert_eq!(metric(ward.site.node_port, "wardwatch_cameras_quarantined"), Some(1.0));
    let status = ward.status(CULPRIT);
    assert_eq!(status["state"], "quarantined", "{status}");
    assert!(status["detail"].as_str().is_some_and(|d| d.contains("5 times")), "{status}");
    assert!(status["retry_at"].is_string(), "{status}");
    until("the node tells of it", LONG, || ward.told() == [["started", "alert"]]);
    assert_eq!(node.worker_of(ward.port(CULPRIT)), None, "nobody reads it");

    until("the others are together again", LONG, || {
        let workers: BTreeSet<u32> = node.workers().into_iter().collect();
        let theirs = ["ngo-1", "ngo-3"].map(|id| node.worker_of(ward.port(id)));
        theirs[0].is_some() && theirs[0] == theirs[1] && workers.len() == 2
    });
    let before = ward.newest_file();
    until("and are recorded on", LONG, || ["ngo-1", "ngo-3"].iter().all(|id| ward.records(id, before)));
    for id in ["ngo-1", "ngo-3"] {
        let gaps = ward.gaps(id);
        println!("{id}: missing, in ms, one for each death or move: {gaps:?}");
        assert!(gaps.len() <= 4, "at most three deaths and a move: {gaps:?}");
    }
    assert_eq!(node.worker_of(ward.port("ngo-4")), Some(elsewhere), "another worker's camera is not touched");
    assert_eq!(metric(ward.site.node_port, "wardwatch_reconnects_total{camera=\"ngo-4\"}"), Some(0.0));
    assert_eq!(ward.gaps("ngo-4"), Vec::<i64>::new(), "and loses nothing");

    ward.document(2, 4);
    node.signal("HUP");
    until("it is read again", LONG, || ward.state(CULPRIT, "online") && ward.records(CULPRIT, before));
    let alone = node.worker_of(ward.port(CULPRIT)).expect("connected");
    let beside: Vec<&&str> = all.iter().filter(|id| node.worker_of(ward.port(id)) == Some(alone)).collect();
    assert_eq!(beside, [&CULPRIT], "in a worker of its own");
    assert_eq!(metric(ward.site.node_port, "wardwatch_cameras_quarantined"), Some(0.0));
    until("the node tells of it", LONG, || ward.told() == [["ended", "alert"]]);
    assert_eq!(node.worker_of(ward.port("ngo-4")), Some(elsewhere));
    assert_eq!(node.stop(), 0);
}

#[test]
fn who_is_killed_from_outside_blames_no_camera() {
    let ward = Ward::new();
    let node = ward.run();
    let (one, two) = (ward.port("ngo-1"), ward.port("ngo-2"));
    for kill in 1..=6 {
        let both = || node.worker_of(one).is_some() && node.worker_of(one) == node.worker_of(two);
        until_or(|| format!("both are read by one worker before kill {kill}"), LONG, both);
        let worker = node.worker_of(one).expect("connected");
        site::kill(worker, "KILL");
        until("it is gone", LONG, || !node.workers().contains(&worker));
    }
    until("both are read as before", LONG, || {
        ward.state("ngo-1", "online") && ward.state("ngo-2", "online") && node.worker_of(one) == node.worker_of(two)
    });
    assert_eq!(metric(ward.site.node_port, "wardwatch_cameras_quarantined"), Some(0.0));
    assert_eq!(ward.told(), Vec::<Vec<String>>::new());
    assert_eq!(node.stop(), 0);
}
