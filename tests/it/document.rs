//! The cameras document changed through the API of a running site: node and centre in one real process, real cameras, real
//! files. What is put in force, what is refused, and where a password can be found.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use wardwatch::config::{CamerasDocument, cameras_from, tls_believing_nobody};

use crate::support::broker::Mosquitto;
use crate::support::disk::SmallDisk;
use crate::support::rtsp::{self, Camera};
use crate::support::site::{Process, Site, free_port, metric, wardwatch};
use crate::support::stimulus::{self, SceneCamera};
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(90);
const CANARY: &str = "mat-khau-kanarienvogel";
const DOCUMENT: &str = "/nodes/node-1/document";

/// A site whose cameras document is `cameras` after its revision, with an account for whoever changes it.
struct Post {
    site: Site,
    config: PathBuf,
    process: Process,
    page: u16,
    runtime: Runtime,
    client: Client,
    cookie: String,
    _broker: Mosquitto,
}

impl Post {
    fn new(cameras: &str) -> Self {
        Self::with(Site::new(), cameras)
    }

    fn with(site: Site, cameras: &str) -> Self {
        let (broker, page, door) = (Mosquitto::start(""), free_port(), free_port());
        let model = stimulus::model(&site.path("models"));
        let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
        let links = format!(
            "[centre.web]\nlisten = \"127.0.0.1:{page}\"\n[centre.link]\nlisten = \"127.0.0.1:{door}\"\n[node.link]\n\
             [record]\ndisk_floor_mb = 0\n"
        );
        let text = site.common(&model) + &site.node("cameras_per_worker = 1", &mqtt) + &site.centre(&mqtt) + &links;
        let config = site.write("wardwatch.toml", &text);
        site.write("cameras.toml", &format!("# Hỏi An trước khi sửa.\nrevision = 1\n{cameras}"));
        let process = site.run(&config);
        let runtime = Runtime::new().expect("a runtime");
        let client = Client::builder()
            .tls_backend_preconfigured(tls_believing_nobody().expect("a configuration"))
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client");
        let cookie = String::new();
        let mut post = Self { site, config, process, page, runtime, client, cookie, _broker: broker };
        post.log_in("lan.anh", "technician");
        until("the node's channel stands", LONG, || post.get(DOCUMENT).0 == 200);
        post
    }

    /// From now on it is this person who asks.
    fn log_in(&mut self, name: &str, role: &str) {
        until("the page is open", LONG, || std::net::TcpStream::connect(("127.0.0.1", self.page)).is_ok());
        let mut said = String::new();
        until("the account is made", LONG, || {
            let mut add = wardwatch();
            add.args(["user", "add", name, "--role", role, "--config"]).arg(&self.config).env_remove("RUST_LOG");
            let added = add.output().expect("the binary is built");
            said = String::from_utf8_lossy(&added.stdout).into_owned();
            added.status.success()
        });
        let token = said.lines().next().expect("a code");
        let body = json!({"token": token, "password": "mưa rơi trên phố cổ"});
        let answer = self.send(Method::POST, "/session/link", None, Some(body));
        assert_eq!(answer.status(), 200);
        let cookie = answer.headers()["set-cookie"].to_str().expect("text");
        self.cookie = cookie.split(';').next().expect("a cookie").to_owned();
    }

    fn send(&self, method: Method, path: &str, tag: Option<&str>, body: Option<Value>) -> Response {
        let mut request = self.client.request(method, format!("http://127.0.0.1:{}/api/v1{path}", self.page));
        request = request.header("cookie", &self.cookie);
        if let Some(tag) = tag {
            request = request.header("if-match", tag);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        // Its time runs out by the runtime's clock.
        self.runtime.block_on(async { request.send().await }).expect("answered")
    }

    fn read(&self, answer: Response) -> (u16, Value) {
        let status = answer.status().as_u16();
        let body = self.runtime.block_on(answer.bytes()).expect("read");
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    fn get(&self, path: &str) -> (u16, Value) {
        self.read(self.send(Method::GET, path, None, None))
    }

    fn document(&self) -> Value {
        let (status, document) = self.get(DOCUMENT);
        assert_eq!(status, 200, "{document}");
        document
    }

    fn camera(&self, id: &str) -> Value {
        let cameras = self.document()["cameras"].clone();
        cameras.as_array().expect("a list").iter().find(|c| c["id"] == id).expect("it is there").clone()
    }

    fn patch(&self, revision: u64, body: Value) -> (u16, Value) {
        self.read(self.send(Method::PATCH, DOCUMENT, Some(&format!("\"{revision}\"")), Some(body)))
    }

    fn put(&self, revision: u64, camera: &Value) -> (u16, Value) {
        self.patch(revision, json!({"edits": [{"edit": "put", "camera": camera}]}))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.site.path("cameras.toml")).expect("there")
    }

    fn on_disk(&self) -> CamerasDocument {
        cameras_from(self.text(), Path::new("cameras.toml"), &|_, _, _| Ok(())).expect("a sound document")
    }

    fn online(&self, camera: &str) -> bool {
        let line = format!("wardwatch_camera_state{{camera=\"{camera}\",state=\"online\"}}");
        metric(self.site.node_port, &line) == Some(1.0)
    }

    fn files(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.site.path(directory)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// A camera that nothing connects to.
fn listed(id: &str, extra: &str) -> String {
    format!(
        "[[camera]]\nid = \"{id}\"\nsharing = \"listed\"\n[camera.detect]\nurl = \"rtsp://10.0.0.9/{id}\"\n{extra}\n"
    )
}

fn code(body: &Value) -> &str {
    body["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default()
}

#[test]
fn a_zone_drawn_at_the_centre_fires_and_disturbs_no_other_camera() {
    let site = Site::new();
    let scene = stimulus::scene(&site.path(""), 24);
    let (shown, other) = (SceneCamera::start(&scene, None), Camera::start(rtsp::h264_small()));
    let camera = |id: &str, url: &str| {
        format!("[[camera]] # {id}\nid = \"{id}\"\n[camera.detect]\nurl = \"{url}\" # đừng đổi\nfps = 10\n")
    };
    let cameras = camera("ngo-1", &shown.url()) + &camera("ngo-2", &other.url());
    let post = Post::with(site, &cameras);
    until("both are online", LONG, || post.online("ngo-1") && post.online("ngo-2"));
    let neighbour = post.process.worker_of(other.port).expect("it is read");

    let mut camera = post.camera("ngo-1");
    camera["zone"] = json!([{"name": "giua", "polygon": [[0.2, 0.5], [0.8, 0.5], [0.8, 1.0], [0.2, 1.0]]}]);
    camera["rule"] = json!([{"name": "vao", "kind": "intrusion", "zones": ["giua"], "inertia": 2, "grace_seconds": 1}]);
    let (status, body) = post.put(1, &camera);
    assert_eq!((status, &body), (200, &json!({"revision": 2, "checked": false})));

    // The file is the truth, with the technician's remarks.
    let text = post.text();
    assert!(text.contains("# Hỏi An trước khi sửa.") && text.contains("[[camera]] # ngo-1"), "{text}");
    assert_eq!(text.matches("# đừng đổi").count(), 2, "{text}");
    assert_eq!(post.on_disk().cameras[0].rules.len(), 1);
    assert_eq!(post.files("node/cameras"), ["1.toml"]);
    assert_eq!(post.document()["revision"], 2);

    until("the rule fires", LONG, || {
        post.site
            .number("node/node.db", "SELECT COUNT(*) FROM event WHERE camera = 'ngo-1' AND report ->> 'rule' = 'vao'")
            > Some(0)
    });
    until("the centre knows the zone and the revision", LONG, || {
        let camera = post.get("/cameras/node-1/ngo-1").1;
        camera["config_revision"] == 2 && camera["zones"][0]["name"] == "giua"
    });
    assert_eq!(post.process.worker_of(other.port), Some(neighbour), "the neighbour's worker is the same");
    assert_eq!(metric(post.site.node_port, "wardwatch_reconnects_total{camera=\"ngo-2\"}"), Some(0.0));

    // Who changed what is written down, and not what it says.
    let log = post.get("/log").1;
    let row = log["items"].as_array().expect("a list").iter().find(|r| r["camera"] == "ngo-1").expect("a row");
    assert_eq!((&row["action"], &row["object"]), (&json!("camera.edit"), &json!("document: zone, rule")), "{row}");
    assert!(post.process.log().contains("cameras document changed from the centre"));
    assert_eq!(post.process.stop(), 0);
}

#[test]
fn a_password_from_the_centre_is_in_its_file_and_nowhere_else() {
    let source = Camera::with_password(rtsp::h264_small(), CANARY);
    let mut post = Post::new(&listed("ngo-0", ""));
    let new =
        json!({"id": "ngo-9", "name": "Ngõ 9", "detect": {"url": source.url(), "user": "viewer", "password": CANARY}});
    let (status, body) = post.put(1, &new);
    assert_eq!(status, 200, "{body}");
    until("it is online", LONG, || post.online("ngo-9"));
    assert_eq!(post.camera("ngo-9")["detect"], json!({"url": source.url(), "user": "viewer", "password_set": true}));
    let directory = post.site.path("node/secrets");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&directory.join("ngo-9.detect.2"))), (0o700, 0o600));

    // A change beside it keeps it, and what comes back says no more than that there is one.
    let mut camera = post.camera("ngo-9");
    camera["name"] = json!("Ngõ 9, cổng sau");
    assert_eq!(post.put(2, &camera).0, 200);
    assert_eq!(post.camera("ngo-9")["detect"]["password_set"], true);
    // Somewhere else it does not go.
    camera["detect"]["url"] = json!("rtsp://127.0.0.2:8554/stream");
    camera["sharing"] = json!("listed");
    assert_eq!(post.put(3, &camera).0, 200);
    assert_eq!(post.camera("ngo-9")["detect"]["password_set"], false);
    // The document of before names it still.
    assert_eq!(post.files("node/secrets"), ["ngo-9.detect.2"]);

    let mut answers = String::new();
    post.log_in("an", "commander");
    for path in [DOCUMENT, "/log", "/cameras", "/nodes", "/cameras/node-1/ngo-9"] {
        answers += &post.get(path).1.to_string();
    }
    assert!(!answers.contains(CANARY));
    assert!(!post.process.log().contains(CANARY));
    assert_eq!(post.process.stop(), 0);
    let found = holding(&post.site.path(""), CANARY.as_bytes());
    assert_eq!(found, [directory.join("ngo-9.detect.2")]);
}

/// Files below `directory` that have `what` in them.
fn holding(directory: &Path, what: &[u8]) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.path());
    let has =
        |path: &PathBuf| std::fs::read(path).is_ok_and(|bytes| bytes.windows(what.len()).any(|window| window == what));
    entries
        .flat_map(
            |path| if path.is_dir() { holding(&path, what) } else { Some(path).filter(has).into_iter().collect() },
        )
        .collect()
}

#[test]
fn a_backup_has_the_passwords_that_came_from_the_centre() {
    let post = Post::new("");
    let new = json!({"id": "a", "sharing": "listed", "detect": {"url": "rtsp://10.0.0.9/a", "user": "u", "password": CANARY}});
    assert_eq!(post.put(1, &new).0, 200);
    assert_eq!(post.process.stop(), 0);
    let (archive, config) = (post.site.path("backup.tar"), post.config);
    let run = |command: &mut Command| {
        let out = command.env_remove("RUST_LOG").output().expect("the binary is built");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    run(wardwatch().arg("backup").arg("--config").arg(&config).arg("-o").arg(&archive));
    let secret = post.site.path("node/secrets/a.detect.2");
    std::fs::remove_file(&secret).expect("there");
    run(wardwatch().args(["restore", "--force", "--from"]).arg(&archive).arg("--config").arg(&config));
    assert_eq!(std::fs::read_to_string(&secret).expect("it is back"), CANARY);
}

#[test]
fn what_is_wrong_or_too_late_changes_nothing() {
    let cameras = "[[schedule]]\nname = \"dem\"\nwindows = [{ from = \"22:00\", to = \"05:00\" }]\n".to_owned()
        + &listed("ngo-1", "[[camera.zone]]\nname = \"san\"\npolygon = [[0, 0], [1, 0], [1, 1]]")
        + &listed("ngo-2", "");
    let mut post = Post::new(&cameras);
    let before = (post.text(), post.files(""), post.files("node"));
    let rejected = |camera: &Value, key: &str| {
        let (status, body) = post.put(1, camera);
        assert_eq!((status, code(&body)), (422, "document_rejected"), "{body}");
        assert_eq!((&body["camera"], &body["key"]), (&camera["id"], &json!(key)), "{body}");
        assert!(!body.to_string().contains(CANARY), "{body}");
        body
    };
    let with = |key: &str, value: Value| {
        let mut camera = post.camera("ngo-1");
        camera[key] = value;
        camera
    };
    let body = rejected(&with("zone", json!([{"name": "san", "polygon": [[0, 0], [1, 0]]}])), "zone[0].polygon");
    assert!(body["hint"].as_str().is_some_and(|h| h.contains("polygon")), "{body}");
    let rule = json!([{"name": "r", "kind": "intrusion", "zones": ["khong-co"]}]);
    rejected(&with("rule", rule), "rule[0].zones");
    let rule = json!([{"name": "r", "kind": "intrusion", "zones": ["san"], "labels": ["voi"]}]);
    rejected(&with("rule", rule), "rule[0].labels");
    let rule = json!([{"name": "r", "kind": "intrusion", "zones": ["san"], "schedule": "trua"}]);
    rejected(&with("rule", rule), "rule[0].schedule");
    rejected(&with("detect", json!({"url": "file:/etc/passwd"})), "detect.url");
    rejected(&with("detect", json!({"password": "file:/etc/shadow"})), "detect.password");
    rejected(&with("detect", json!({"password": CANARY, "latency_ms": "nhanh"})), "detect.latency_ms");
    rejected(&with("khong-co", json!(1)), "khong-co");
    // All or none.
    let mut good = post.camera("ngo-2");
    good["name"] = json!("Khác");
    let edits = json!([{"edit": "put", "camera": good}, {"edit": "remove", "id": "khong-co"}]);
    assert_eq!(post.patch(1, json!({"edits": edits})).0, 422);
    // Only checked.
    let (status, body) = post.patch(1, json!({"edits": [{"edit": "put", "camera": good}], "check": true}));
    assert_eq!((status, body), (200, json!({"revision": 1, "checked": true})));
    // Not understood at all.
    let edits = json!({"edits": [{"edit": "put", "camera": good}]});
    assert_eq!(post.read(post.send(Method::PATCH, DOCUMENT, None, Some(edits.clone()))).0, 400);
    assert_eq!(post.patch(1, json!({"edits": []})).0, 400);
    assert_eq!(post.patch(1, json!({"edits": [{"edit": "burn"}]})).0, 400);
    let large = json!({"edits": [{"edit": "put", "camera": {"id": "x", "name": "x".repeat(600 << 10)}}]});
    assert_eq!(post.patch(1, large).0, 413);
    assert_eq!(post.send(Method::PATCH, "/nodes/node-2/document", Some("\"1\""), Some(edits.clone())).status(), 503);
    assert_eq!((post.text(), post.files(""), post.files("node")), before, "nothing is left behind");

    // Two editors: who comes second sees it.
    assert_eq!(post.patch(1, edits.clone()).0, 200);
    let (status, body) = post.patch(1, edits.clone());
    assert_eq!((status, code(&body), &body["revision"]), (412, "conflict", &json!(2)), "{body}");

    // Changed by hand and not in force: not written over. A remark is no change.
    let file = post.site.path("cameras.toml");
    let by_hand = |text: String| std::fs::write(&file, text).expect("writable");
    by_hand(post.text() + "# một ghi chú\n");
    assert_eq!(post.put(2, &good).0, 200);
    assert!(post.text().ends_with("# một ghi chú\n"));
    by_hand(post.text().replace("revision = 3", "revision = 4").replace("\"dem\"", "\"khuya\""));
    let (status, body) = post.put(3, &good);
    assert_eq!((status, code(&body)), (412, "conflict"), "{body}");
    assert!(body["detail"].as_str().is_some_and(|d| d.contains("by hand")), "{body}");
    by_hand("revision = ".to_owned());
    assert_eq!(post.put(3, &good).0, 412);
    assert_eq!(post.text(), "revision = ");
    by_hand(
        std::fs::read_to_string(post.site.path("node/cameras/2.toml"))
            .expect("kept")
            .replace("revision = 2", "revision = 9"),
    );
    post.process.signal("HUP");
    until("it is in force", LONG, || post.document()["revision"] == 9);
    assert_eq!(post.put(9, &good).0, 200);

    // Schedules, and a camera that leaves.
    let schedule = json!({"name": "trua", "windows": [{"days": ["mon"], "from": "12:00", "to": "13:00"}]});
    let edits = json!([{"edit": "put_schedule", "schedule": schedule}, {"edit": "remove_schedule", "name": "dem"},
        {"edit": "remove", "id": "ngo-2"}]);
    assert_eq!(post.patch(10, json!({"edits": edits, "reason": "dọn dẹp"})).0, 200);
    let document = post.document();
    assert_eq!((&document["schedules"], document["cameras"].as_array().map(Vec::len)), (&json!([schedule]), Some(1)));
    post.log_in("truc", "duty_officer");
    assert_eq!((post.get(DOCUMENT).0, post.patch(11, json!({"edits": []})).0), (403, 403));
    assert_eq!(post.process.stop(), 0);
}

#[test]
fn more_is_shown_only_with_a_reason() {
    let mask = "[[camera.mask]]\npolygon = [[0.1, 0.1], [0.4, 0.1], [0.4, 0.4], [0.1, 0.4]]\n";
    let post = Post::new(&listed("ngo-1", mask));
    let mut camera = post.camera("ngo-1");
    camera["sharing"] = json!("on_request");
    camera["mask"] = json!([]);
    let (status, body) = post.put(1, &camera);
    assert_eq!((status, code(&body)), (409, "consent_needed"), "{body}");
    let widened = json!([{"camera": "ngo-1", "what": "sharing"}, {"camera": "ngo-1", "what": "mask"}]);
    assert_eq!(body["widened"], widened);
    let edits = json!([{"edit": "put", "camera": camera}]);
    assert_eq!(post.patch(1, json!({"edits": edits, "reason": "  "})).0, 409);
    assert!(post.on_disk().cameras[0].masks.len() == 1);
    let reason = "chủ nhà đồng ý, biên bản 12";
    assert_eq!(post.patch(1, json!({"edits": edits, "reason": reason})).0, 200);
    assert!(post.on_disk().cameras[0].masks.is_empty());
    let rows = post.get("/log").1["items"].clone();
    assert!(rows.as_array().expect("a list").iter().any(|r| r["reason"] == reason), "{rows}");
    let log = post.process.log();
    assert!(log.contains("shows more than before") && log.contains(reason), "the node's own log says so");
    // Less is shown without a word.
    camera["sharing"] = json!("listed");
    assert_eq!(post.put(2, &camera).0, 200);
    assert_eq!(post.process.stop(), 0);
}

#[test]
fn where_the_node_may_not_write_it_says_how_to_mend_it() {
    let Some(disk) = SmallDisk::mount(4) else { return };
    let post = Post::new(&listed("ngo-1", ""));
    let (link, real) = (post.site.path("cameras.toml"), disk.path().join("real.toml"));
    std::fs::write(&real, post.text()).expect("writable");
    std::fs::remove_file(&link).expect("there");
    symlink(&real, &link).expect("a link");
    let remount = |how: &str| {
        let done = Command::new("mount").args(["-o", how]).arg(disk.path()).status().expect("mount");
        assert!(done.success());
    };
    remount("remount,ro");
    let mut camera = post.camera("ngo-1");
    camera["name"] = json!("Ngõ 1");
    let (status, body) = post.put(1, &camera);
    assert_eq!((status, code(&body)), (422, "document_rejected"), "{body}");
    assert!(body["hint"].as_str().is_some_and(|h| h.contains("symbolic link")), "{body}");
    // Where it may, the link stays a link.
    remount("remount,rw");
    assert_eq!(post.put(1, &camera).0, 200);
    assert!(link.is_symlink());
    assert!(std::fs::read_to_string(&real).expect("there").contains("Ngõ 1"));
    assert_eq!(std::fs::read_dir(disk.path()).expect("there").count(), 1, "nothing is left beside it");
    assert_eq!(post.process.stop(), 0);
}

#[test]
fn a_node_that_is_killed_while_it_changes_has_the_old_document_or_the_new_one() {
    let mut post = Post::new(&listed("ngo-1", ""));
    let camera = |n: u64| {
        json!({"id": "ngo-1", "name": format!("Lần {n}"), "sharing": "listed",
            "detect": {"url": "rtsp://10.0.0.9/x", "user": "u", "password": format!("{CANARY}-{n}")}})
    };
    for round in 0..4u32 {
        let base = post.document()["revision"].as_u64().expect("a number");
        // Some changes go through, and one is cut off wherever it is.
        let url = format!("http://127.0.0.1:{}/api/v1{DOCUMENT}", post.page);
        let (client, cookie) = (post.client.clone(), post.cookie.clone());
        let changing = post.runtime.spawn(async move {
            for n in base.. {
                let body = json!({"edits": [{"edit": "put", "camera": camera(n)}]});
                let request = client.patch(&url).header("cookie", &cookie).header("if-match", format!("\"{n}\""));
                let sent = request.header("content-type", "application/json").body(body.to_string()).send().await;
                if !sent.is_ok_and(|answer| answer.status() == 200) {
                    break;
                }
            }
        });
        let wanted = base + 1 + u64::from(round);
        until("some changes", LONG, || post.on_disk().revision >= wanted);
        post.process.kill();
        post.runtime.block_on(changing).expect("it ends");
        let revision = post.on_disk().revision;
        post.process = post.site.run(&post.config);
        let page = ("127.0.0.1", post.page);
        until("the page is open", LONG, || std::net::TcpStream::connect(page).is_ok());
        until("it is there again", LONG, || post.get(DOCUMENT).0 == 200);
        let document = post.document();
        assert_eq!(document["revision"], revision);
        assert_eq!(document["cameras"][0]["name"], format!("Lần {}", revision - 1));
        assert_eq!(document["cameras"][0]["detect"]["password_set"], true);
        assert!(!post.files("").iter().any(|name| name.ends_with(".new")), "{:?}", post.files(""));
        assert!(post.files("node/cameras").len() <= 10);
        // Those of the document in force and of the ten before it.
        assert!(post.files("node/secrets").len() <= 11, "{:?}", post.files("node/secrets"));
    }
    assert_eq!(post.process.stop(), 0);
}
