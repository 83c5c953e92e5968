//! The whole path, black box: real binary, real mosquitto, real RTSP, a scripted scene of known count.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::support::broker::Mosquitto;
use crate::support::site::{self, Site, get, metric};
use crate::support::stimulus::{self, PAUSE, SceneCamera, WALK};
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(60);

fn intrusion(id: &str, url: &str, extra: &str) -> String {
    format!(
        "[[camera]]\nid = \"{id}\"\n[camera.detect]\nurl = \"{url}\"\nfps = 10\n{extra}\n\
         [[camera.zone]]\nname = \"giua\"\npolygon = [[0.2, 0.5], [0.8, 0.5], [0.8, 1.0], [0.2, 1.0]]\n\
         [[camera.rule]]\nname = \"vao\"\nkind = \"intrusion\"\nzones = [\"giua\"]\ninertia = 2\ngrace_seconds = 1\n\n"
    )
}

fn mqtt(broker: &Mosquitto) -> String {
    format!("host = \"127.0.0.1\"\nport = {}\n", broker.port)
}

/// Cameras' events with their newest revision, as a database has them.
fn newest(site: &Site, database: &str) -> Vec<Vec<String>> {
    site.rows(database, "SELECT id, revision, phase FROM event WHERE camera <> '' ORDER BY id").unwrap_or_default()
}

/// Waits for a moment of the scene.
fn at(camera: &SceneCamera, moment: Duration) {
    until("the scene goes on", LONG, || camera.position() >= moment);
}

#[test]
fn broker_worker_and_centre_killed_in_the_middle_lose_and_double_nothing() {
    const WALKS: u32 = 5;
    let site = Site::new();
    let model = stimulus::model(&site.path("models"));
    let scene = stimulus::scene(&site.path(""), WALKS);
    let mut broker = Mosquitto::start("");
    let node_config = site.write("node.toml", &(site.common(&model) + &site.node("", &mqtt(&broker))));
    let centre_config = site.write("centre.toml", &(site.common(&model) + &site.centre(&mqtt(&broker))));
    let camera = SceneCamera::start(&scene, None);
    site.write("cameras.toml", &format!("revision = 1\n{}", intrusion("ngo-1", &camera.url(), "")));
    let node = site.run(&node_config);
    let mut centre = site.run(&centre_config);

    at(&camera, SceneCamera::walk(0) + WALK / 2);
    broker.kill();
    at(&camera, SceneCamera::walk(0) + WALK + PAUSE / 2);
    broker.go();

    at(&camera, SceneCamera::walk(1) + WALK / 2);
    centre.kill();
    // The walk ends without a centre, and so does the next one.
    at(&camera, SceneCamera::walk(2) + WALK);
    let mut centre = site.run(&centre_config);

    // Between two walks, when no event is open: its successor must be there for the next.
    at(&camera, SceneCamera::walk(2) + WALK + PAUSE / 2);
    let workers = node.workers();
    assert_eq!(workers.len(), 1, "one worker has the one camera");
    site::kill(workers[0], "KILL");
    until("the worker is replaced", Duration::from_secs(5), || {
        node.workers().first().is_some_and(|w| *w != workers[0])
    });

    at(&camera, SceneCamera::walk(3) + WALK / 2);
    broker.kill();
    centre.kill();
    broker.go();
    let centre = site.run(&centre_config);
    at(&camera, SceneCamera::walk(WALKS - 1) + WALK + PAUSE / 2);

    until("every event ended at the node", LONG, || {
        let events = newest(&site, "node/node.db");
        events.len() >= WALKS as usize && events.iter().all(|e| e[2] == "ended")
    });
    until("everything is receipted", LONG, || site.number("node/node.db", "SELECT COUNT(*) FROM outbox") == Some(0));
    let events = newest(&site, "centre/centre.db");
    assert_eq!(events.len(), WALKS as usize, "one event a walk: {events:?}");
    assert_eq!(events, newest(&site, "node/node.db"), "the centre has the last revision of each");
    pictures_are_there(&site);
    let told = site.rows("centre/centre.db", "SELECT rule, phase, severity FROM event WHERE kind = 'system'");
    let told = told.expect("the centre's database");
    assert_eq!(told, [["worker-down", "ended", "notice"]], "what the node told of itself");
    assert_eq!(node.stop(), 0);
    assert_eq!(centre.stop(), 0);
}

/// Every event's picture is a file of its content at the centre, and decodes.
fn pictures_are_there(site: &Site) {
    let pictures =
        site.rows("centre/centre.db", "SELECT snapshot FROM event WHERE camera <> ''").expect("the centre's database");
    assert!(!pictures.is_empty());
    for row in pictures {
        let sha = &row[0];
        let path = site.path(&format!("centre/snapshots/{}/{}/{sha}.jpg", &sha[..2], &sha[2..4]));
        let jpeg = std::fs::read(&path).expect("the picture is there");
        assert_eq!(hex::encode(Sha256::digest(&jpeg)), *sha);
        image::load_from_memory(&jpeg).expect("it decodes");
    }
}

#[test]
fn a_worker_killed_within_an_event_ends_it_and_is_back() {
    let site = Site::new();
    let model = stimulus::model(&site.path("models"));
    let scene = stimulus::scene(&site.path(""), 3);
    let broker = Mosquitto::start("");
    let config = site.common(&model) + &site.node("", &mqtt(&broker)) + &site.centre(&mqtt(&broker));
    let config = site.write("both.toml", &config);
    let camera = SceneCamera::start(&scene, None);
    site.write("cameras.toml", &format!("revision = 1\n{}", intrusion("ngo-1", &camera.url(), "")));
    let both = site.run(&config);
    until("an event is open", LONG, || {
        site.number("node/node.db", "SELECT COUNT(*) FROM event WHERE phase <> 'ended' AND camera <> ''") == Some(1)
    });
    let first = newest(&site, "node/node.db")[0][0].clone();
    site::kill(both.workers()[0], "KILL");
    until("the open event is ended", LONG, || {
        newest(&site, "node/node.db").iter().any(|e| e[0] == first && e[2] == "ended")
    });
    at(&camera, SceneCamera::walk(2));
    until("its successor sees the next walk", LONG, || newest(&site, "node/node.db").len() >= 2);
    until("the restart is counted", LONG, || metric(site.node_port, "wardwatch_worker_restarts_total") == Some(1.0));
    until("the centre agrees", LONG, || newest(&site, "centre/centre.db") == newest(&site, "node/node.db"));
    assert_eq!(both.stop(), 0);
}

#[test]
fn the_picture_comes_from_the_better_stream_and_its_masks_are_burned_in() {
    let site = Site::new();
    let model = stimulus::model(&site.path("models"));
    let scene = stimulus::scene(&site.path(""), 2);
    let broker = Mosquitto::start("");
    let config = site.common(&model) + &site.node("", &mqtt(&broker)) + &site.centre(&mqtt(&broker));
    let config = site.write("both.toml", &config);
    // The same scene twice as large, at the same moment: a camera's main stream.
    let large = site.path("large.mp4");
    stimulus::enlarge(&scene, &large);
    let [detect, record] = SceneCamera::together([&scene, &large]);
    let streams = format!("[camera.record]\nurl = \"{}\"\n", record.url());
    let mask = "[[camera.mask]]\npolygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 0.3], [0.0, 0.3]]\n";
    let camera = intrusion("ngo-1", &detect.url(), &(streams + mask));
    site.write("cameras.toml", &format!("revision = 1\n{camera}"));
    let both = site.run(&config);
    let ended = || newest(&site, "centre/centre.db").iter().any(|e| e[2] == "ended");
    until("an event made the whole trip", LONG, ended);
    let row = site.rows("centre/centre.db", "SELECT snapshot FROM event").expect("it is there").remove(0);
    let path = site.path(&format!("centre/snapshots/{}/{}/{}.jpg", &row[0][..2], &row[0][2..4], row[0]));
    let picture = image::open(path).expect("it decodes").to_luma8();
    assert_eq!(picture.dimensions(), (640, 480), "of the record stream");
    // The figure is white from 1/6 of the height down; above 0.3 the mask is grey.
    let brightest = |from: u32, to: u32| {
        (from..to).flat_map(|y| (0..640).map(move |x| (x, y))).map(|(x, y)| picture.get_pixel(x, y)[0]).max()
    };
    assert!(brightest(0, 140).is_some_and(|b| b < 160), "nothing of the figure above the mask's edge");
    assert!(brightest(150, 400).is_some_and(|b| b > 220), "and all of it below");
    assert_eq!(both.stop(), 0);
}

#[test]
fn a_new_revision_of_the_cameras_document_leaves_other_cameras_alone() {
    let site = Site::new();
    let model = stimulus::model(&site.path("models"));
    let scene = stimulus::scene(&site.path(""), 3);
    let broker = Mosquitto::start("");
    let config = site.write("node.toml", &(site.common(&model) + &site.node("", &mqtt(&broker))));
    let (one, two) = (SceneCamera::start(&scene, None), SceneCamera::start(&scene, None));
    let unchanged = intrusion("ngo-1", &one.url(), "");
    let document = |revision: u32, rest: &str| format!("revision = {revision}\n{unchanged}{rest}");
    site.write("cameras.toml", &document(1, &intrusion("ngo-2", &two.url(), "")));
    let node = site.run(&config);
    let online = |camera: &str| {
        let line = format!("wardwatch_camera_state{{camera=\"{camera}\",state=\"online\"}}");
        metric(site.node_port, &line) == Some(1.0)
    };
    until("both cameras are online", LONG, || online("ngo-1") && online("ngo-2"));
    let workers = node.workers();

    // A document that is wrong changes nothing and says why.
    site.write("cameras.toml", &document(2, "[[camera]]\nid = \"ngo-1\"\n"));
    node.signal("HUP");
    until("the refusal is logged", LONG, || node.log().contains("not applied"));
    assert!(online("ngo-2"));

    // One camera leaves, another comes.
    site.write("cameras.toml", &document(3, &intrusion("ngo-3", &two.url(), "")));
    node.signal("HUP");
    until("the new camera is online", LONG, || online("ngo-3"));
    let removed = "wardwatch_camera_state{camera=\"ngo-2\",state=\"removed\"}";
    until("the old one is gone", LONG, || metric(site.node_port, removed) == Some(1.0));
    let reconnects = "wardwatch_reconnects_total{camera=\"ngo-1\"}";
    until("counters have come", LONG, || metric(site.node_port, reconnects).is_some());
    assert_eq!(metric(site.node_port, reconnects), Some(0.0), "the other camera was not touched");
    assert_eq!(node.workers(), workers);
    assert_eq!(node.stop(), 0);
}

#[test]
fn what_is_missing_at_the_start_is_said_and_the_rest_works() {
    let site = Site::new();
    let broker = Mosquitto::stopped("");
    let config = site.common("no-such-model") + &site.node("", &mqtt(&broker)) + &site.centre(&mqtt(&broker));
    let config = site.write("both.toml", &config);
    site.write("cameras.toml", "revision = 1\n");
    let mut refused = site.run(&config);
    assert_eq!(refused.exit_code(), 1);
    assert!(refused.log().contains("no-such-model.toml"), "{}", refused.log());

    // A port that somebody else has.
    let model = stimulus::model(&site.path("models"));
    let text = site.common(&model) + &site.node("", &mqtt(&broker)) + &site.centre(&mqtt(&broker));
    std::fs::write(&config, text).expect("writable");
    let taken = std::net::TcpListener::bind(("127.0.0.1", site.node_port)).expect("it was free");
    let mut refused = site.run(&config);
    assert_eq!(refused.exit_code(), 1);
    assert!(refused.log().contains("another program uses the port"), "{}", refused.log());
    drop(taken);

    // No broker: it runs, says that it is not ready and why.
    let both = site.run(&config);
    until("it answers", LONG, || get(site.node_port, "/healthz").is_some_and(|(code, _)| code == 200));
    let (code, text) = get(site.node_port, "/readyz").expect("it answers");
    assert!(code == 503 && text.contains("no broker"), "{code} {text}");
    assert_eq!(both.stop(), 0);
}

#[test]
fn a_damaged_model_is_named_and_taken_when_it_is_whole_again() {
    let site = Site::new();
    let model = stimulus::model(&site.path("models"));
    let broker = Mosquitto::start("");
    let config = site.common(&model) + &site.node("", &mqtt(&broker)) + &site.centre(&mqtt(&broker));
    let config = site.write("both.toml", &config);
    let nobody = format!("rtsp://127.0.0.1:{}/x", site::free_port());
    site.write("cameras.toml", &format!("revision = 1\n{}", intrusion("ngo-1", &nobody, "")));
    let weights = site.path(&format!("models/{model}.onnx"));
    let whole = std::fs::read(&weights).expect("just made");
    std::fs::write(&weights, &whole[..whole.len() / 2]).expect("writable");
    let both = site.run(&config);
    until("the file is named", LONG, || both.log().contains(&format!("{model}.onnx")));
    let (code, text) = get(site.node_port, "/readyz").expect("the node itself runs");
    assert!(code == 503 && text.contains("no workers"), "{code} {text}");
    std::fs::write(&weights, &whole).expect("writable");
    until("it is ready by itself", LONG, || get(site.node_port, "/readyz").is_some_and(|(code, _)| code == 200));
    assert_eq!(both.stop(), 0);
}

#[test]
fn a_password_is_in_no_log_metric_message_process_list_dump_or_database() {
    const CAMERA_CANARY: &str = "kanarienvogel-7";
    const MQTT_CANARY: &str = "zeisig-9";
    let site = Site::new();
    let model = stimulus::model(&site.path("models"));
    let scene = stimulus::scene(&site.path(""), 2);
    let broker = Mosquitto::start("");
    let camera = SceneCamera::start(&scene, Some(("viewer".into(), CAMERA_CANARY.into())));
    let with_password = camera.url().replace("rtsp://", &format!("rtsp://viewer:{CAMERA_CANARY}@"));
    // One that is refused, because refusals are what gets logged; and one that is not there at all.
    let wrong = camera.url().replace("rtsp://", &format!("rtsp://viewer:{CAMERA_CANARY}x@"));
    let absent = format!("rtsp://viewer:{CAMERA_CANARY}@127.0.0.1:{}/{CAMERA_CANARY}", site::free_port());
    let document =
        intrusion("ngo-1", &with_password, "") + &intrusion("ngo-2", &wrong, "") + &intrusion("ngo-3", &absent, "");
    site.write("cameras.toml", &format!("revision = 1\n{document}"));
    let link = mqtt(&broker) + &format!("user = \"someone\"\npassword = \"{MQTT_CANARY}\"\n");
    let dump = format!("ipc_dump = \"{}\"", site.path("ipc.jsonl").display());
    let text = site.common(&model) + &site.node(&dump, &link) + &site.centre(&link);
    let config = site.write("both.toml", &text);
    let heard = Listener::start(&broker);
    let both = site.run_with(&config, &[("RUST_LOG", "trace")]);

    until("an event made the whole trip", LONG, || newest(&site, "centre/centre.db").iter().any(|e| e[2] == "ended"));
    let state = |camera: &str, state: &str| {
        metric(site.node_port, &format!("wardwatch_camera_state{{camera=\"{camera}\",state=\"{state}\"}}")) == Some(1.0)
    };
    until("the refused camera is known as such", LONG, || state("ngo-2", "auth_failed"));
    until("the absent camera is known as such", LONG, || state("ngo-3", "offline"));
    let metrics = get(site.node_port, "/metrics").expect("it answers").1;
    let mut processes = Vec::new();
    for pid in both.workers().into_iter().chain([both.pid()]) {
        for file in ["cmdline", "environ"] {
            processes.extend(std::fs::read(format!("/proc/{pid}/{file}")).expect("it is ours"));
        }
    }
    let log = std::fs::read(config.with_extension("log")).expect("it logs");
    assert_eq!(both.stop(), 0);
    let messages = heard.stop();
    let read = |name: &str| std::fs::read(site.path(name)).expect(name);
    let places = [
        ("log", log),
        ("metrics", metrics.into_bytes()),
        ("process list", processes),
        ("MQTT", messages),
        ("IPC dump", read("ipc.jsonl")),
        ("node's database", read("node/node.db")),
        ("centre's database", read("centre/centre.db")),
    ];
    for (place, bytes) in places {
        assert!(bytes.len() > 40, "there is something to look through in the {place}");
        for canary in [CAMERA_CANARY, MQTT_CANARY] {
            let found = bytes.windows(canary.len()).any(|w| w == canary.as_bytes());
            assert!(!found, "{canary} stands in the {place}");
        }
    }
}

/// `mosquitto_sub` on everything: what a stranger on the broker would see.
struct Listener(std::process::Child);

impl Listener {
    fn start(broker: &Mosquitto) -> Self {
        let child = std::process::Command::new("mosquitto_sub")
            .args(["-V", "mqttv5", "-h", "127.0.0.1", "-t", "#", "-v", "-p", &broker.port.to_string()])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("mosquitto-clients is installed");
        Self(child)
    }

    /// What it heard.
    fn stop(mut self) -> Vec<u8> {
        self.0.kill().expect("it is ours");
        let mut heard = Vec::new();
        let mut stdout = self.0.stdout.take().expect("piped");
        std::io::Read::read_to_end(&mut stdout, &mut heard).expect("readable");
        self.0.wait().expect("it ends");
        heard
    }
}
