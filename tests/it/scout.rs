//! What helps to set cameras up, as the page asks for it: a running node with its children and real cameras, a centre with
//! its API, and everything in between.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use image::GenericImageView;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use wardwatch::app::centre::{Centre, Ward};
use wardwatch::base::Clock;
use wardwatch::base::clock::SystemClock;
use wardwatch::centre::account::{LinkKind, Role};
use wardwatch::centre::api::{digest, new_secret};
use wardwatch::centre::store::LinkStore;
use wardwatch::config::{CentreConfig, CentreLinkConfig, ClipStore, WebConfig, tls_believing_nobody};
use wardwatch::link::discovery::search_from;
use wardwatch::link::identity;
use wardwatch::store::sqlite;
use wardwatch::wire::link::Identity;

use crate::rehearsal::walk;
use crate::support::broker::Mosquitto;
use crate::support::post::{open_store, until};
use crate::support::rtsp::{Camera, h264_small};
use crate::support::site::{Process, Site, WARD, free_port};
use crate::support::{post, stimulus, wait};

const LONG: Duration = Duration::from_secs(60);
const NODE: &str = "node-1";
/// Stands for a password; must never be seen.
const CANARY: &str = "kanarienvogel";

/// A node's process, and a centre with a page.
struct Post {
    site: Site,
    _broker: Mosquitto,
    node: Process,
    centre: Centre,
    shutdown: watch::Sender<bool>,
    base: String,
}

struct Somebody {
    client: Client,
    base: String,
    cookie: String,
}

impl Post {
    /// `cameras` is the document after its revision; `before` sees the site before the node starts.
    async fn new(cameras: &str, before: impl AsyncFnOnce(&Site)) -> Self {
        post::log();
        let site = Site::new();
        let (broker, port, web_port) = (Mosquitto::start(""), free_port(), free_port());
        let model = stimulus::model(&site.path("models"));
        let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
        let link = format!("[node.link]\nurl = \"http://127.0.0.1:{port}\"\n");
        site.write("node.toml", &format!("{}{}{link}", site.common(&model), site.node("", &mqtt)));
        site.write("cameras.toml", &format!("revision = 1\n{cameras}"));
        let secret = new_secret().expect("random");
        std::fs::create_dir_all(site.path("node")).expect("writable");
        let who = Identity { ward: WARD.into(), node: NODE.into(), secret: secret.clone() };
        identity::save(&site.path("node"), &who).expect("writable");
        before(&site).await;
        let here = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let link = CentreLinkConfig { listen: here(port), tls: None, max_clip_bytes: 1 << 20, incoming_bytes: 1 << 20 };
        let web = WebConfig {
            listen: here(web_port),
            tls: None,
            base_path: String::new(),
            trusted_proxies: Vec::new(),
            map: None,
            public_url: None,
        };
        let config = CentreConfig {
            state_dir: site.path("centre"),
            listen: here(0),
            mqtt: None,
            clips: ClipStore::Directory(site.path("centre/clips")),
            link: Some(link),
            escalate_after: None,
            webhooks: Vec::new(),
            web: Some(web),
        };
        let (shutdown, stop) = watch::channel(false);
        let ward = Ward { id: WARD, name: WARD, timezone: "Asia/Ho_Chi_Minh" };
        let centre = Centre::start(&config, ward, broker.mqtt(), Arc::new(SystemClock), stop).expect("starts");
        centre.store().enrol_here(NODE.into(), digest(&secret), SystemClock.now().wall_ms).await.expect("enrolled");
        let node = site.run(&site.path("node.toml"));
        let base = format!("http://127.0.0.1:{web_port}/api/v1");
        let post = Self { site, _broker: broker, node, centre, shutdown, base };
        let commander = post.log_in(Role::Commander).await;
        let wanted = cameras.matches("[[camera]]").count();
        until("the node is there and its cameras are known", || async {
            let answer = commander
                .ask(Method::POST, &format!("/nodes/{NODE}/probe"), Some(json!({ "camera": "khong-co" })))
                .await;
            let known = commander.json(&commander.ask(Method::GET, "/cameras", None).await.text().await.expect("text"));
            answer.status() != 503 && known["items"].as_array().is_some_and(|all| all.len() == wanted)
        })
        .await;
        post
    }

    async fn log_in(&self, role: Role) -> Somebody {
        let accounts = self.centre.accounts().expect("there is a page");
        let name = format!("{}-{}", role.as_str(), uuid::Uuid::new_v4().simple());
        let (user, _, _) = accounts.add(&name, "Lan Anh", role, None, None).await.expect("added");
        let (token, _) = accounts.link(&user.id, LinkKind::Login, None).await.expect("a link");
        let tls = tls_believing_nobody().expect("a configuration");
        let client = Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(LONG).build();
        let mut who = Somebody { client: client.expect("a client"), base: self.base.clone(), cookie: String::new() };
        let answer = who.ask(Method::POST, "/session/link", Some(json!({ "token": token }))).await;
        assert_eq!(answer.status(), 200);
        let cookie = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
        who.cookie = cookie.split(';').next().expect("a cookie").to_owned();
        who
    }

    async fn stop(self) -> Site {
        assert_eq!(tokio::task::spawn_blocking(move || self.node.stop()).await.expect("no panic"), 0);
        self.shutdown.send(true).ok();
        self.centre.join().await.expect("stops");
        self.site
    }
}

impl Somebody {
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).header("cookie", &self.cookie);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        request.send().await.expect("answered")
    }

    fn json(&self, text: &str) -> Value {
        assert!(!text.contains(CANARY), "a password shows: {text}");
        serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"))
    }

    async fn post(&self, what: &str, body: Value) -> (u16, Value) {
        let answer = self.ask(Method::POST, &format!("/nodes/{NODE}/{what}"), Some(body)).await;
        let status = answer.status().as_u16();
        (status, self.json(&answer.text().await.expect("text")))
    }

    async fn probe(&self, body: Value) -> Value {
        let (status, answer) = self.post("probe", body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

fn picture(base64: &Value) -> image::DynamicImage {
    let jpeg = data_encoding::BASE64.decode(base64.as_str().expect("a picture").as_bytes());
    image::load_from_memory(&jpeg.expect("base64")).expect("it decodes")
}

/// Files below `directory` that hold `text`.
fn holding(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(text.len()).any(|w| w == text.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

/// A camera that nobody can reach: its tracks are made up, its address is of no matter.
fn drafted(id: &str, left: f64) -> Value {
    let (right, bottom) = (left + 0.2, 1.0);
    json!({
        "id": id, "detect": { "url_withheld": true, "host": "192.0.2.1:554", "password_set": true, "fps": 5 },
        "zone": [{ "name": "giua", "polygon": [[left, 0.5], [right, 0.5], [right, bottom], [left, bottom]] }],
        "rule": [
            { "name": "vao", "kind": "intrusion", "zones": ["giua"] },
            { "name": "lang-vang", "kind": "loitering", "zones": ["giua"], "dwell_seconds": 20, "schedule": "luon" },
        ],
    })
}

const NOWHERE: &str = "[[schedule]]\nname = \"luon\"\nwindows = [{ from = \"00:00\", to = \"00:00\" }]\n\
    [[camera]]\nid = \"ngo-1\"\n[camera.detect]\nurl = \"rtsp://192.0.2.1/x\"\n\
    [[camera.zone]]\nname = \"goc\"\npolygon = [[0.9, 0.0], [1.0, 0.0], [1.0, 0.1]]\n\
    [[camera.rule]]\nname = \"vao\"\nkind = \"intrusion\"\nzones = [\"goc\"]\n\
    [[camera.rule]]\nname = \"cu\"\nkind = \"intrusion\"\nzones = [\"goc\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_drafted_zone_shows_at_once_which_of_the_kept_tracks_would_have_fired() {
    let begun_ms = SystemClock.now().wall_ms - 3_600_000;
    let post = Post::new(NOWHERE, async |site: &Site| {
        let (store, _) = open_store(&site.path("node"), 1 << 20);
        let pieces = [walk(1, begun_ms, 10, 0), walk(2, begun_ms + 600_000, 10, 60)].concat();
        let pieces = pieces.into_iter().map(|piece| ("ngo-1".parse().expect("valid"), piece)).collect();
        store.keep_tracks(pieces, 0, SystemClock.now()).await.expect("kept");
        drop(store);
        let database = site.path("node/node.db");
        wait::until("the database is closed", LONG, || !sqlite::in_use(&database));
    })
    .await;
    let technician = post.log_in(Role::Technician).await;
    let (status, seen) = technician.post("rehearsal", json!({ "camera": drafted("ngo-1", 0.4) })).await;
    assert_eq!(status, 200, "{seen}");
    assert_eq!(
        seen["rules"],
        json!([
            { "rule": "vao", "before": 0, "after": 2 },
            { "rule": "lang-vang", "before": null, "after": 1 },
            { "rule": "cu", "before": 0, "after": null },
        ])
    );
    assert_eq!((&seen["tracks_total"], &seen["cut"]), (&json!(2), &json!(false)));
    let firings = seen["firings"].as_array().expect("a list");
    let told: Vec<_> = firings.iter().map(|f| (f["rule"].as_str().expect("text"), f["track"].clone())).collect();
    assert_eq!(told, [("vao", json!(0)), ("vao", json!(1)), ("lang-vang", json!(1))]);
    assert_eq!(seen["tracks"][1]["fired"], json!(["lang-vang", "vao"]));
    let path = seen["tracks"][0]["path"].as_array().expect("a path");
    assert!((2..=60).contains(&path.len()) && path[0][0].as_f64() < path[path.len() - 1][0].as_f64(), "{path:?}");
    // The zone is drawn where nobody goes.
    let mut aside = drafted("ngo-1", 0.4);
    aside["zone"][0]["polygon"] = json!([[0.4, 0.0], [0.6, 0.0], [0.6, 0.2]]);
    let (_, seen) = technician.post("rehearsal", json!({ "camera": aside })).await;
    assert_eq!((&seen["firings"], &seen["tracks"][0]["fired"]), (&json!([]), &json!([])), "{seen}");
    // Of a shorter time.
    let (_, seen) =
        technician.post("rehearsal", json!({ "camera": drafted("ngo-1", 0.4), "to_ms": begun_ms + 300_000 })).await;
    assert_eq!((&seen["tracks_total"], &seen["rules"][0]["after"]), (&json!(1), &json!(1)), "{seen}");
    // What is wrong is told by its key; what could name a file is not looked at.
    let mut wrong = drafted("ngo-1", 0.4);
    wrong["rule"][1]["dwell_seconds"] = json!(0);
    wrong["detect"]["password"] = json!("file:/etc/hostname");
    let (status, problem) = technician.post("rehearsal", json!({ "camera": wrong })).await;
    assert_eq!(
        (status, &problem["camera"], &problem["key"]),
        (422, &json!("ngo-1"), &json!("rule[1].dwell_seconds")),
        "{problem}"
    );
    assert_eq!(problem["type"], "urn:wardwatch:problem:document_rejected");
    let officer = post.log_in(Role::DutyOfficer).await;
    assert_eq!(officer.post("rehearsal", json!({ "camera": drafted("ngo-1", 0.4) })).await.0, 403);
    assert_eq!(technician.post("rehearsal", json!({ "camera": {} })).await.0, 400);
    let site = post.stop().await;
    let logged = site.number("centre/centre.db", "SELECT COUNT(*) FROM access_log WHERE object = 'rehearsal ngo-1'");
    assert_eq!(logged, Some(1), "once in a while");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_tried_with_a_picture_and_its_password_is_seen_nowhere() {
    let shown = Camera::with_password(h264_small(), CANARY);
    let post = Post::new("", async |_: &Site| {}).await;
    let technician = post.log_in(Role::Technician).await;
    let answer = technician.probe(json!({ "url": shown.url(), "user": "viewer", "password": CANARY })).await;
    assert_eq!((&answer["ok"], &answer["codec"]), (&json!(true), &json!("h264")), "{answer}");
    assert_eq!((&answer["width"], &answer["height"]), (&json!(640), &json!(360)));
    assert_eq!(picture(&answer["jpeg"]).dimensions(), (640, 360));
    assert!(answer["kbit_s"].as_f64() > Some(0.0) && answer["fps"].as_f64() > Some(1.0), "{answer}");
    // In the address it works, too.
    let within = shown.url().replace("rtsp://", &format!("rtsp://viewer:{CANARY}@"));
    assert_eq!(technician.probe(json!({ "url": within })).await["ok"], true);
    let answer = technician.probe(json!({ "url": shown.url(), "user": "viewer", "password": "another" })).await;
    assert_eq!(answer["ok"], false);
    assert!(answer["detail"].as_str().is_some_and(|t| t.contains("refuses the user or the password")), "{answer}");
    let answer = technician.probe(json!({ "url": "rtsp://127.0.0.1:9/x" })).await;
    assert!(answer["detail"].as_str().is_some_and(|t| t.contains("cannot be reached")), "{answer}");
    // What stands for a secret elsewhere is a password of just these letters here.
    let answer =
        technician.probe(json!({ "url": shown.url(), "user": "viewer", "password": "file:/etc/hostname" })).await;
    assert!(answer["detail"].as_str().is_some_and(|t| t.contains("refuses the user or the password")), "{answer}");
    for url in ["file:/etc/passwd", "http://127.0.0.1/", "${HOME}"] {
        assert_eq!(technician.post("probe", json!({ "url": url, "password": CANARY })).await.0, 400, "{url}");
    }
    let site = post.stop().await;
    assert_eq!(holding(&site.path(""), CANARY), Vec::<String>::new());
    let rows = site.rows(
        "centre/centre.db",
        "SELECT DISTINCT object FROM access_log WHERE action = 'camera.edit' AND camera IS NULL ORDER BY 1",
    );
    assert_eq!(rows, Some(vec![vec![format!("probe 127.0.0.1:{}", shown.port)], vec!["probe 127.0.0.1:9".into()]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_known_camera_a_picture_is_shown_only_as_its_owner_agreed() {
    let [events, live, listed] = [h264_small(), h264_small(), h264_small()].map(Camera::start);
    let other = Camera::with_password(h264_small(), CANARY);
    let camera = |id: &str, url: String, sharing: &str, rest: &str| {
        format!("[[camera]]\nid = \"{id}\"\nsharing = \"{sharing}\"\n[camera.detect]\nurl = \"{url}\"\n{rest}\n")
    };
    let mask = "[[camera.mask]]\npolygon = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]\n";
    let document = [
        camera("kin", events.url(), "events_only", ""),
        camera("mo", live.url(), "scheduled_live", mask),
        camera("danh-ba", listed.url(), "listed", ""),
    ];
    let post = Post::new(&document.concat(), async |_: &Site| {}).await;
    let (commander, technician) = (post.log_in(Role::Commander).await, post.log_in(Role::Technician).await);
    let known = json!({ "camera": "kin", "stream": "detect" });
    for body in
        [known, json!({ "url": events.url() }), json!({ "url": events.url().replace("127.0.0.1", "localhost") })]
    {
        let answer = commander.probe(body.clone()).await;
        assert_eq!((&answer["ok"], &answer["jpeg"]), (&json!(true), &Value::Null), "{body}: {answer}");
    }
    let answer = commander.probe(json!({ "camera": "mo", "stream": "detect" })).await;
    let shown = picture(&answer["jpeg"]);
    for (x, y) in [(10, 10), (300, 180), (5, 350)] {
        let grey = shown.get_pixel(x, y).0;
        assert!(grey[..3].iter().all(|c| c.abs_diff(grey[0]) < 12), "masked: {grey:?}");
        assert_eq!(grey[0].abs_diff(shown.get_pixel(10, 10).0[0]) / 8, 0, "one colour");
    }
    assert_eq!(technician.probe(json!({ "camera": "mo", "stream": "detect" })).await["jpeg"], Value::Null);
    // A camera of a host that has several, and of none of them the address.
    let answer = commander.probe(json!({ "url": other.url(), "user": "viewer", "password": CANARY })).await;
    assert_eq!((&answer["ok"], &answer["jpeg"]), (&json!(true), &Value::Null), "{answer}");
    let answer = commander.probe(json!({ "camera": "danh-ba", "stream": "detect" })).await;
    assert!(answer["detail"].as_str().is_some_and(|t| t.contains("register only")), "{answer}");
    let answer = commander.probe(json!({ "camera": "mo", "stream": "record" })).await;
    assert_eq!(answer["ok"], false, "{answer}");
    assert_eq!(post.log_in(Role::DutyOfficer).await.post("probe", json!({ "camera": "mo" })).await.0, 403);
    let site = post.stop().await;
    let seen = "SELECT COUNT(*) FROM access_log WHERE action = 'live.view' AND object = 'picture mo'";
    assert_eq!(site.number("centre/centre.db", seen), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_picture_is_shown_masked_and_only_as_its_owner_agreed() {
    let shown = Camera::start(h264_small());
    let camera = |id: &str, sharing: &str| {
        let url = shown.url();
        format!(
            "[[camera]]\nid = \"{id}\"\nsharing = \"{sharing}\"\n[camera.detect]\nurl = \"{url}\"\n\
             [camera.recording]\nmode = \"continuous\"\n\
             [[camera.mask]]\npolygon = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]\n"
        )
    };
    let document = [camera("xin", "on_request"), camera("kin", "events_only")];
    let post = Post::new(&document.concat(), async |_: &Site| {}).await;
    let officer = post.log_in(Role::DutyOfficer).await;
    let still = async |camera: &str, at_ms: i64| {
        officer.ask(Method::GET, &format!("/cameras/{NODE}/{camera}/still?at_ms={at_ms}&width=320"), None).await
    };
    assert_eq!(still("xin", 1_000_000).await.status(), 404, "of a time without recordings");
    until("there is a recording", || async { still("xin", SystemClock.now().wall_ms).await.status() == 200 }).await;
    let at_ms = SystemClock.now().wall_ms;
    let answer = still("xin", at_ms).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"image/jpeg".parse().expect("valid"))
    );
    let taken: i64 = answer.headers()["wardwatch-at-ms"].to_str().expect("text").parse().expect("a number");
    assert!(taken <= at_ms && at_ms - taken < 60_000, "{taken} {at_ms}");
    let picture = image::load_from_memory(&answer.bytes().await.expect("read")).expect("it decodes");
    assert_eq!(picture.dimensions(), (320, 180));
    let same = |x: u32, y: u32| picture.get_pixel(x, y).0[0].abs_diff(128) < 8;
    assert!([(5, 5), (80, 90), (150, 170)].iter().all(|(x, y)| same(*x, *y)), "masked");
    assert!((165..315).any(|x| !same(x, 90)), "and the rest is not");
    // Nothing has happened there.
    assert_eq!(still("kin", at_ms).await.status(), 404);
    assert_eq!(still("ai", at_ms).await.status(), 404);
    let wide = format!("/cameras/{NODE}/xin/still?at_ms={at_ms}&width=4000");
    assert_eq!(officer.ask(Method::GET, &wide, None).await.status(), 400);
    let technician = post.log_in(Role::Technician).await;
    assert_eq!(technician.ask(Method::GET, &format!("/cameras/{NODE}/xin/still?at_ms=5"), None).await.status(), 403);
    let site = post.stop().await;
    let rows = "SELECT COUNT(*) FROM access_log WHERE action = 'recording.view' AND object = 'stills xin'";
    assert!(matches!(site.number("centre/centre.db", rows), Some(1 | 2)), "once in ten minutes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_on_the_network_is_listed_once_and_rubbish_is_not() {
    let responder = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let SocketAddr::V4(target) = responder.local_addr().expect("bound") else { panic!("IPv4") };
    let answering = tokio::spawn(async move {
        let mut question = vec![0; 65_536];
        loop {
            let (length, from) = responder.recv_from(&mut question).await.expect("received");
            let text = String::from_utf8_lossy(&question[..length]).into_owned();
            assert!(text.contains("dn:NetworkVideoTransmitter") && text.contains("discovery/Probe<"), "{text}");
            let camera = r#"<?xml version="1.0"?><e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"><e:Body><d:ProbeMatches><d:ProbeMatch><d:Types>dn:NetworkVideoTransmitter</d:Types><d:Scopes>onvif://www.onvif.org/name/Dahua onvif://www.onvif.org/hardware/IPC-HFW2431</d:Scopes><d:XAddrs>http://127.0.0.1/onvif/device_service http://10.9.9.9/evil</d:XAddrs></d:ProbeMatch></d:ProbeMatches></e:Body></e:Envelope>"#;
            let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>"#;
            for answer in [&vec![b'<'; 60_000][..], bomb.as_bytes(), &[0xff; 100], camera.as_bytes(), camera.as_bytes()]
            {
                responder.send_to(answer, from).await.expect("sent");
            }
        }
    });
    let found = search_from(&[Ipv4Addr::LOCALHOST], target, Duration::from_secs(2)).await.expect("asked");
    let [camera] = &found[..] else { panic!("{found:?}") };
    assert_eq!((camera.name.as_deref(), camera.hardware.as_deref()), (Some("Dahua"), Some("IPC-HFW2431")));
    assert_eq!(
        (camera.vendor, &camera.xaddrs[..]),
        (Some("dahua"), &["http://127.0.0.1/onvif/device_service".to_owned()][..])
    );
    assert!(!answering.is_finished(), "it saw a sound question");
    answering.abort();
    // Whom nobody answers: nothing is found, and that is no error.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let target = SocketAddrV4::new(Ipv4Addr::LOCALHOST, silent.local_addr().expect("bound").port());
    assert_eq!(search_from(&[Ipv4Addr::LOCALHOST], target, Duration::from_millis(300)).await.expect("asked"), []);
    assert!(search_from(&[], target, Duration::from_millis(300)).await.is_err());
}
