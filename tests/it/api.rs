//! API v1 as a stranger, each role and an owner see it: the document, the matrix of roles and routes, the access log, media
//! in ranges, the stream, sessions. Real HTTP against a running centre.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use wardwatch::app::centre::{Centre, Ward};
use wardwatch::base::Clock;
use wardwatch::base::clock::SystemClock;
use wardwatch::centre::account::{LinkKind, Role};
use wardwatch::centre::api::v1;
use wardwatch::centre::store::{CameraInfoStore, CentreStore, Item, LinkStore, SqliteStore};
use wardwatch::config::{
    CentreConfig, ClipStore, MqttConfig, RecordingMode, Sharing, WebConfig, tls_believing_nobody, tls_client,
};
use wardwatch::wire::channel::CameraInfo;
use wardwatch::wire::event::SnapshotJson;
use wardwatch::wire::link::ClipNote;

use crate::support::made::Made;
use crate::support::post::until;
use crate::support::routes::ROUTES;
use crate::support::site::{Site, free_port};

pub const OWN: &str = "ngo-12-a";
pub const OTHER: &str = "ngo-12-b";
pub const PASSWORD: &str = "mưa rơi trên phố cổ";

/// A centre with two cameras, an event of each with a picture, and a clip of the first.
pub struct Post {
    pub site: Site,
    pub centre: Centre,
    shutdown: watch::Sender<bool>,
    pub base: String,
    pub event: String,
    other: String,
    clip: (String, Vec<u8>),
    picture: Vec<u8>,
}

fn info(camera: &str, sharing: Sharing) -> CameraInfo {
    CameraInfo {
        id: camera.parse().expect("a name"),
        name: format!("Camera {camera}"),
        area: "Tổ 5".into(),
        position: Some([21.02, 105.82]),
        sharing,
        recording: RecordingMode::Events,
        audio: false,
        zones: Vec::new(),
        lines: Vec::new(),
        masks: Vec::new(),
        rules: Vec::new(),
    }
}

impl Post {
    pub async fn new(base_path: &str) -> Self {
        Self::configured(base_path, |_, _| {}).await
    }

    /// With a change to its configuration.
    pub async fn configured(base_path: &str, change: impl FnOnce(&Site, &mut CentreConfig)) -> Self {
        let site = Site::new();
        let directory = site.path("centre");
        let now_ms = SystemClock.now().wall_ms;
        let (event, other) = (Made::new(), Made { camera: OTHER.into(), ..Made::new() });
        let picture = b"\xff\xd8 a picture \xff\xd9".to_vec();
        let clip: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let sha256 = hex::encode(Sha256::digest(&clip));
        {
            let (store, writer, _) = SqliteStore::open(&directory, now_ms).expect("opens");
            let writing = std::thread::spawn(move || writer.run());
            let snapshot = |m: &Made| Item::Snapshot {
                node: m.node.clone(),
                camera: m.camera.parse().expect("a name"),
                event: m.id.clone(),
                sha256: hex::encode(Sha256::digest(&picture)),
                jpeg: Bytes::from(picture.clone()),
            };
            let items = vec![event.item(), other.item(), snapshot(&event), snapshot(&other)];
            store.commit(Arc::new(items), now_ms).await.expect("committed");
            let cameras = vec![info(OWN, Sharing::ScheduledLive), info(OTHER, Sharing::EventsOnly)];
            store.describe("node-1".into(), 7, cameras, now_ms).await.expect("described");
            let note = ClipNote {
                sha256: sha256.clone(),
                bytes: clip.len() as u64,
                camera: OWN.parse().expect("a name"),
                event: Some(event.id.clone()),
                command: None,
                from_ms: event.started_ms,
                to_ms: event.started_ms + 10_000,
                masked: false,
                complete: true,
            };
            store.add_clip("node-1".into(), note, now_ms).await.expect("indexed");
            drop(store);
            tokio::task::spawn_blocking(move || writing.join()).await.expect("joined").expect("no panic");
        }
        let file = directory.join("clips").join(&sha256[..2]).join(format!("{sha256}.mp4"));
        std::fs::create_dir_all(file.parent().expect("a directory")).expect("writable");
        std::fs::write(&file, &clip).expect("writable");
        let port = free_port();
        let web = WebConfig {
            listen: ([127, 0, 0, 1], port).into(),
            tls: None,
            base_path: base_path.into(),
            trusted_proxies: Vec::new(),
            public_url: None,
            map: Default::default(),
        };
        let mut config = CentreConfig {
            state_dir: directory.clone(),
            listen: ([127, 0, 0, 1], 0).into(),
            mqtt: None,
            clips: ClipStore::Directory(directory.join("clips")),
            link: None,
            web: Some(web),
            webhooks: Vec::new(),
            escalate_after: None,
        };
        change(&site, &mut config);
        let encrypted = config.web.as_ref().is_some_and(|w| w.tls.is_some());
        let (shutdown, stop) = watch::channel(false);
        // Nobody is there: the page works without a broker, and says so.
        let mqtt = MqttConfig {
            host: "127.0.0.1".into(),
            port: Some(free_port()),
            user: None,
            password: None,
            tls: false,
            ca: None,
            allow_plaintext: false,
        };
        let ward = Ward { id: "o-cho-dua", name: "Ô Chợ Dừa", timezone: "Asia/Ho_Chi_Minh" };
        let centre = Centre::start(&config, ward, mqtt, Arc::new(SystemClock), stop).expect("starts");
        // Its certificate is one of a name.
        let (scheme, host) = if encrypted { ("https", "localhost") } else { ("http", "127.0.0.1") };
        let base = format!("{scheme}://{host}:{port}{base_path}");
        let clip = (sha256, clip);
        let post = Self { site, centre, shutdown, base, event: event.id, other: other.id, clip, picture };
        let commander = post.log_in(Role::Commander).await;
        until("the page knows the cameras", || async {
            let cameras = commander.json("/cameras").await;
            cameras["items"].as_array().is_some_and(|c| c.len() == 2 && c[0]["name"] == "Camera ngo-12-a")
        })
        .await;
        post
    }

    /// Somebody of a role, an owner with the camera of his own.
    pub async fn log_in(&self, role: Role) -> Somebody {
        let accounts = self.centre.accounts().expect("there is a page");
        let own = (role == Role::Owner).then(|| BTreeSet::from([("node-1".to_owned(), OWN.to_owned())]));
        let name = format!("{}-{}", role.as_str(), uuid::Uuid::new_v4().simple());
        let (user, _, _) = accounts.add(&name, "Lan Anh", role, own, None).await.expect("added");
        let (token, _) = accounts.link(&user.id, LinkKind::Login, None).await.expect("a link");
        let mut who = self.nobody();
        let answer = who.ask(Method::POST, "/session/link", Some(json!({ "token": token }))).await;
        assert_eq!(answer.status(), 200);
        let cookie = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        who.cookie = cookie.split(';').next().map(str::to_owned);
        who
    }

    pub fn nobody(&self) -> Somebody {
        let ca = self.site.path("ca.pem");
        Somebody::believing(ca.exists().then_some(&*ca), &self.base)
    }

    pub async fn stop(self) {
        self.shutdown.send(true).ok();
        self.centre.join().await.expect("stops");
        drop(self.site);
    }
}

#[derive(Clone)]
pub struct Somebody {
    client: Client,
    base: String,
    pub cookie: Option<String>,
}

impl Somebody {
    /// Nobody yet, at the page whose address begins so.
    pub fn at(base: &str) -> Self {
        Self::believing(None, base)
    }

    fn believing(ca: Option<&std::path::Path>, base: &str) -> Self {
        let tls = match ca {
            Some(ca) => tls_client(Some(ca), "the centre").expect("a configuration"),
            None => tls_believing_nobody().expect("a configuration"),
        };
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(20))
            .build()
            .expect("a client");
        Self { client, base: base.to_owned(), cookie: None }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}/api/v1{path}", self.base));
        match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        }
    }

    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        request.send().await.expect("answered")
    }

    pub async fn status(&self, method: Method, path: &str, body: Option<Value>) -> u16 {
        self.ask(method, path, body).await.status().as_u16()
    }

    pub async fn json(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path, None).await;
        let text = answer.bytes().await.expect("read");
        serde_json::from_slice(&text).unwrap_or_else(|_| panic!("{path}: {}", String::from_utf8_lossy(&text)))
    }
}

#[test]
fn the_openapi_document_is_the_published_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let made = v1::openapi() + "\n";
    if std::env::var_os("WARDWATCH_BLESS").is_some() {
        std::fs::write(path, &made).expect("writable");
    }
    let published = std::fs::read_to_string(path).unwrap_or_default();
    assert!(made == published, "docs/openapi.json is not what the routes say; WARDWATCH_BLESS=1 writes it anew");
}

/// Routes of the document that nobody has decided about, and decisions about routes that are gone.
#[test]
fn every_route_has_an_entry_in_the_matrix() {
    let document: Value = serde_json::from_str(&v1::openapi()).expect("JSON");
    let (mut routes, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            routes.insert((method.clone(), path.clone()));
            let name = operation["operationId"].as_str().expect("each has a name");
            assert!(names.insert(name.to_owned()), "{name} is the name of two operations");
        }
    }
    let decided: BTreeSet<_> = ROUTES.iter().map(|(m, p, _)| ((*m).to_owned(), (*p).to_owned())).collect();
    assert_eq!(decided.len(), ROUTES.len(), "an entry comes twice");
    assert_eq!(routes, decided);
}

impl Post {
    /// A sound request for a route: one that the role alone decides about.
    fn concrete(&self, method: &str, path: &str) -> (Method, String, Option<Value>) {
        let id = if path.starts_with("/events") { self.event.as_str() } else { "01a20e7c-0000-7000-8000-000000000000" };
        let at = path.replace("{node}", "node-1").replace("{camera}", OWN).replace("{id}", id);
        let at = at.replace("{sha256}", &self.clip.0).replace("{z}/{x}/{y}", "16/52137/28851");
        let now_ms = SystemClock.now().wall_ms;
        let span =
            json!({ "from_ms": Made::new().started_ms, "to_ms": Made::new().started_ms + 1000, "reason": "tìm xe" });
        let query = match path {
            "/report" | "/cameras/{node}/{camera}/recordings" => format!("?from_ms={}&to_ms={now_ms}", now_ms - 1000),
            "/cameras/{node}/{camera}/still" => format!("?at_ms={now_ms}"),
            "/live/wall" | "/live/camera" => format!("?camera=node-1/{OWN}"),
            "/events/{node}/{id}/snapshot" | "/events/{node}/{id}/thumbnail" | "/events.csv" => {
                "?case=12/HS".to_owned()
            }
            _ => String::new(),
        };
        let body = match (method, path) {
            ("post", "/session") => Some(json!({ "name": "ai", "password": "khong-biet" })),
            ("post", "/session/link") => Some(json!({ "token": "0" })),
            ("put", "/session/password") => Some(json!({ "old": "x", "new": PASSWORD })),
            ("put", "/me/totp") => Some(json!({ "code": "123456" })),
            ("post" | "delete", "/me/totp") => Some(json!({ "password": "khong-biet" })),
            ("post", p) if p.ends_with("/triage") => Some(json!({ "action": "own", "version": 9 })),
            ("post", p) if p.ends_with("/notes") => Some(json!({ "text": "đã gọi" })),
            ("post", p) if p.ends_with("/join") => Some(json!({ "node": "node-1", "id": self.other })),
            ("post", p) if p.ends_with("/clips") || p.ends_with("/holds") => Some(span),
            ("delete", "/holds/{id}") => Some(json!({ "reason": "xong" })),
            ("post", "/snoozes") => {
                Some(json!({ "node": "node-1", "camera": OWN, "until_ms": now_ms + 60_000, "reason": "mưa" }))
            }
            ("post", "/emergencies") => Some(json!({ "cameras": null, "reason": "cháy", "until_ms": now_ms + 1000 })),
            ("post", "/nodes/{node}/rehearsal") => Some(json!({ "camera": { "id": OWN } })),
            ("post", "/nodes/{node}/probe") => Some(json!({ "camera": OWN, "stream": "detect" })),
            ("post", "/users") => Some(json!({ "name": "giam-sat", "display_name": "Giám sát", "role": "auditor" })),
            ("patch", "/nodes/{node}/document") => Some(json!({ "edits": [{ "edit": "remove", "id": OWN }] })),
            ("patch", _) => Some(json!({})),
            _ => None,
        };
        (method.to_uppercase().parse().expect("a method"), format!("{at}{query}"), body)
    }
}

/// Asks for a WebSocket.
pub fn upgrade(request: RequestBuilder) -> RequestBuilder {
    request
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

impl Somebody {
    /// The status of a sound request, also for a WebSocket.
    async fn try_route(&self, (method, path, body): (Method, String, Option<Value>)) -> u16 {
        let mut request = self.request(method, &path);
        if path.starts_with("/live/") {
            request = upgrade(request);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        request.send().await.expect("answered").status().as_u16()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_use_what_the_matrix_says_and_nothing_else() {
    let post = Post::new("").await;
    for role in Role::ALL {
        for (method, path, allowed) in ROUTES {
            // A session of its own where one may end.
            let request = post.concrete(method, path);
            let strange = post.nobody().try_route(request.clone()).await;
            let Some(allowed) = allowed else {
                assert_ne!(strange, 403, "{method} {path} without logging in");
                continue;
            };
            assert_eq!(strange, 401, "{method} {path} without logging in");
            let who = post.log_in(role).await;
            let status = who.try_route(request).await;
            match allowed.contains(&role) {
                // Of the own password, 401 says that the old one is wrong.
                true if *path == "/session/password" || (*path == "/me/totp" && *method != "put") => {
                    assert_eq!(status, 401, "as {role:?}")
                }
                true => assert!(!matches!(status, 401 | 403 | 405), "{method} {path} as {role:?}: {status}"),
                false => assert_eq!(status, 403, "{method} {path} as {role:?}"),
            }
        }
    }
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_reaches_his_camera_and_no_other() {
    let post = Post::new("").await;
    let owner = post.log_in(Role::Owner).await;
    let events = owner.json("/events").await;
    let cameras: Vec<_> = events["items"].as_array().expect("items").iter().map(|e| e["camera"].clone()).collect();
    assert_eq!(cameras, [OWN]);
    assert_eq!(owner.json("/cameras").await["items"].as_array().map(Vec::len), Some(1));
    let other = &post.other;
    for path in [
        format!("/events/node-1/{other}"),
        format!("/events/node-1/{other}/snapshot"),
        format!("/events/node-1/{other}/thumbnail"),
        format!("/cameras/node-1/{OTHER}"),
        format!("/cameras/node-1/{OTHER}/picture"),
    ] {
        assert_eq!(owner.status(Method::GET, &path, None).await, 404, "{path}");
    }
    let asked = owner.json(&format!("/events?camera=node-1/{OTHER}")).await;
    assert_eq!(asked["items"], json!([]));
    // An officer, too, sees live only what is shared live.
    let officer = post.log_in(Role::DutyOfficer).await;
    let refused = officer.ask(Method::GET, &format!("/cameras/node-1/{OTHER}/picture"), None).await;
    assert_eq!(refused.status(), 403);
    let text = refused.text().await.expect("read");
    assert!(text.contains("\"reason\":\"sharing\""), "{text}");
    // A declared emergency opens it, until it ends.
    let commander = post.log_in(Role::Commander).await;
    let until_ms = SystemClock.now().wall_ms + 60_000;
    let declared = json!({ "cameras": [["node-1", OTHER]], "reason": "cháy nhà", "until_ms": until_ms });
    let answer = commander.ask(Method::POST, "/emergencies", Some(declared)).await;
    assert_eq!(answer.status(), 201);
    let emergency: Value = serde_json::from_slice(&answer.bytes().await.expect("read")).expect("JSON");
    let camera = officer.json(&format!("/cameras/node-1/{OTHER}")).await;
    assert_eq!(camera["may"]["live"], true);
    let id = emergency["id"].as_str().expect("an id");
    assert_eq!(commander.status(Method::DELETE, &format!("/emergencies/{id}"), None).await, 204);
    assert_eq!(officer.json(&format!("/cameras/node-1/{OTHER}")).await["may"]["live"], false);
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_looked_at_is_written_down_first_and_otherwise_not_shown() {
    let post = Post::new("").await;
    let officer = post.log_in(Role::DutyOfficer).await;
    let path = format!("/events/node-1/{}/snapshot", post.event);
    for _ in 0..3 {
        let answer = officer.ask(Method::GET, &path, None).await;
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert_eq!(answer.bytes().await.expect("read"), post.picture);
    }
    let log = officer.json("/log").await;
    let rows = log["items"].as_array().expect("items");
    let seen: Vec<_> = rows.iter().filter(|r| r["action"] == "snapshot.view").collect();
    assert_eq!(seen.len(), 1, "one row a session and picture: {rows:?}");
    assert_eq!((seen[0]["node"].as_str(), seen[0]["camera"].as_str()), (Some("node-1"), Some(OWN)));
    // The owner reads who looked.
    let owner = post.log_in(Role::Owner).await;
    let his = owner.json("/log?action=snapshot.view").await;
    assert_eq!(his["items"][0]["user"]["display_name"], "Lan Anh");
    let fresh = post.log_in(Role::DutyOfficer).await;
    let database = rusqlite::Connection::open(post.site.path("centre/centre.db")).expect("opens");
    database.execute_batch("ALTER TABLE access_log RENAME TO away").expect("renamed");
    for path in [path, format!("/events/node-1/{}/clips/{}", post.event, post.clip.0), "/events".into()] {
        let answer = fresh.ask(Method::GET, &path, None).await;
        assert!(answer.status().is_server_error(), "{path}: {}", answer.status());
    }
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_is_logged_whole_in_rows_that_fit() {
    let post = Post::new("").await;
    let many: Vec<Made> = (0..150).map(|n| Made { started_ms: Made::new().started_ms - n, ..Made::new() }).collect();
    let shown = |made: &Made| match made.item() {
        Item::Event { node, mut event, times, .. } => {
            let sha256 = hex::encode(Sha256::digest(&post.picture));
            event.snapshot = Some(SnapshotJson { sha256, bytes: 10, width: 4, height: 3 });
            let json = Bytes::from(event.to_json().expect("JSON"));
            Item::Event { node, event, json, times }
        }
        item => item,
    };
    let items = many.iter().map(shown).collect();
    post.centre.store().commit(Arc::new(items), SystemClock.now().wall_ms).await.expect("committed");
    let officer = post.log_in(Role::DutyOfficer).await;
    let cameras = vec!["camera=node-1/ngo-12-a"; 60].join("&");
    let list = officer.json(&format!("/events?limit=200&{cameras}")).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(151));
    let log = officer.json("/log?action=snapshot.view&limit=200").await;
    let rows: Vec<&str> = log["items"].as_array().expect("rows").iter().filter_map(|r| r["object"].as_str()).collect();
    for event in &many {
        assert!(rows.iter().any(|row| row.contains(&event.id)), "{} is in no row", event.id);
    }
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clips_come_whole_and_in_ranges() {
    let post = Post::new("").await;
    let officer = post.log_in(Role::DutyOfficer).await;
    let path = format!("/events/node-1/{}/clips/{}", post.event, post.clip.0);
    let whole = officer.ask(Method::GET, &path, None).await;
    assert_eq!((whole.status().as_u16(), &whole.headers()["accept-ranges"]), (200, &"bytes".parse().expect("ascii")));
    let tag = whole.headers()["etag"].clone();
    assert_eq!(whole.bytes().await.expect("read"), post.clip.1);
    let part = officer.request(Method::GET, &path).header("range", "bytes=500-999").send().await.expect("answered");
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], "bytes 500-999/100000");
    assert_eq!(part.bytes().await.expect("read"), post.clip.1[500..1000]);
    let beyond = officer.request(Method::GET, &path).header("range", "bytes=100000-").send().await.expect("answered");
    assert_eq!(beyond.status(), 416);
    let known = officer.request(Method::GET, &path).header("if-none-match", tag).send().await.expect("answered");
    assert_eq!(known.status(), 304);
    post.stop().await;
}

/// Lines of a stream until one begins with `wanted`.
pub async fn heard(stream: &mut Response, text: &mut String, wanted: &str) -> Option<()> {
    while !text.contains(wanted) {
        text.push_str(&String::from_utf8_lossy(&stream.chunk().await.ok()??));
    }
    Some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_tells_of_triage_and_resumes_where_it_broke_off() {
    let post = Post::new("").await;
    let (officer, commander) = (post.log_in(Role::DutyOfficer).await, post.log_in(Role::Commander).await);
    let mut stream = officer.ask(Method::GET, "/stream", None).await;
    let mut text = String::new();
    heard(&mut stream, &mut text, "event: hello").await.expect("greeted");
    heard(&mut stream, &mut text, "\n\n").await.expect("a whole line");
    assert!(text.contains("\"resumed\":false"), "{text}");
    let last = text.split("id: ").nth(1).and_then(|t| t.lines().next()).expect("an id").to_owned();
    let path = format!("/events/node-1/{}/triage", post.event);
    let own = json!({ "action": "own", "version": 0 });
    assert_eq!(commander.status(Method::POST, &path, Some(own.clone())).await, 200);
    heard(&mut stream, &mut text, "event: triage").await.expect("told");
    drop(stream);
    // Whoever saw an older version is told who was faster.
    let late = officer.ask(Method::POST, &path, Some(own)).await;
    assert_eq!(late.status(), 409);
    assert!(late.text().await.expect("read").contains("\"owner\":\"Lan Anh\""));
    let request = officer.request(Method::GET, "/stream").header("last-event-id", &last);
    let mut again = request.send().await.expect("answered");
    let mut text = String::new();
    heard(&mut again, &mut text, "event: triage").await.expect("what was missed");
    assert!(text.contains("\"resumed\":true"), "{text}");
    drop(again);
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_begin_with_a_link_and_a_password_and_end_when_they_must() {
    let post = Post::new("/wardwatch").await;
    let commander = post.log_in(Role::Commander).await;
    let new = json!({ "name": "lan.anh", "display_name": "Lan Anh", "role": "duty_officer" });
    let added = commander.ask(Method::POST, "/users", Some(new)).await;
    assert_eq!(added.status(), 201);
    let added: Value = serde_json::from_slice(&added.bytes().await.expect("read")).expect("JSON");
    let token = added["link_token"].as_str().expect("a token");
    let nobody = post.nobody();
    let link = |password: Option<&str>| json!({ "token": token, "password": password });
    let needed = nobody.ask(Method::POST, "/session/link", Some(link(None))).await;
    assert!(needed.text().await.expect("read").contains("password-needed"));
    assert_eq!(nobody.status(Method::POST, "/session/link", Some(link(Some("lan.anh2026")))).await, 400);
    assert_eq!(nobody.status(Method::POST, "/session/link", Some(link(Some(PASSWORD)))).await, 200);
    assert_eq!(nobody.status(Method::POST, "/session/link", Some(link(Some(PASSWORD)))).await, 401, "used up");
    let login = |password: &str| json!({ "name": "Lan.Anh", "password": password });
    let answer = nobody.ask(Method::POST, "/session", Some(login(PASSWORD))).await;
    assert_eq!(answer.status(), 200);
    let cookie = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
    assert!(cookie.contains("Path=/wardwatch/"), "{cookie}");
    let lan = Somebody { cookie: cookie.split(';').next().map(str::to_owned), ..post.nobody() };
    assert_eq!(lan.status(Method::GET, "/session", None).await, 200);
    // Another site cannot act in her name.
    let forged = lan.request(Method::DELETE, "/session").header("sec-fetch-site", "cross-site");
    assert_eq!(forged.send().await.expect("answered").status(), 403);
    let forged = lan.request(Method::DELETE, "/session").header("origin", "https://evil.example");
    assert_eq!(forged.send().await.expect("answered").status(), 403);
    // Disabled, she has no session any more.
    let id = added["user"]["id"].as_str().expect("an id");
    let change = Some(json!({ "disabled": true }));
    assert_eq!(commander.status(Method::PATCH, &format!("/users/{id}"), change).await, 204);
    assert_eq!(lan.status(Method::GET, "/session", None).await, 401);
    // Guessing gets slow, and says for how long.
    let mut statuses = Vec::new();
    for _ in 0..7 {
        statuses.push(nobody.ask(Method::POST, "/session", Some(login("sai-mat-khau"))).await);
    }
    let last = statuses.pop().expect("some");
    assert_eq!(last.status(), 429);
    assert!(last.headers().contains_key("retry-after"));
    // The page is below its path, and knows it.
    let page = nobody.client.get(format!("{}/", post.base)).send().await.expect("answered");
    assert!(page.headers()["content-security-policy"].to_str().expect("text").contains("default-src 'none'"));
    assert!(page.text().await.expect("read").contains("<base href=\"/wardwatch/\">"));
    let bare = nobody.client.get(&post.base).send().await.expect("answered");
    assert_eq!(bare.headers()["location"], "/wardwatch/");
    post.stop().await;
}
