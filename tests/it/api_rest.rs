//! API v1: holds, the map's background, small thumbnails, tags of answers, the stream for clients without headers, and an
//! alert that nobody takes. Real HTTP against a running centre.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wardwatch::base::Clock;
use wardwatch::base::clock::SystemClock;
use wardwatch::centre::account::Role;
use wardwatch::centre::store::{CentreStore, Item};
use wardwatch::config::{PlanConfig, TilesConfig, TlsFiles};
use wardwatch::wire::event::SnapshotJson;
use wardwatch::wire::status::{PeerState, PeerStatus};

use crate::api::{OTHER, OWN, PASSWORD, Post, Somebody, heard, upgrade};
use crate::support::made::Made;
use crate::support::post::until;

async fn commit(post: &Post, items: Vec<Item>) {
    post.centre.store().commit(Arc::new(items), SystemClock.now().wall_ms).await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_listed_for_who_may_release_it() {
    let post = Post::configured("", |_, _| {}).await;
    let status =
        PeerStatus { state: PeerState::Offline, version: "1".into(), boot_id: "b".into(), since: String::new() };
    commit(&post, vec![Item::Node { node: "node-1".into(), status: Some(status) }]).await;
    let (commander, officer) = (post.log_in(Role::Commander).await, post.log_in(Role::DutyOfficer).await);
    let from_ms = Made::new().started_ms;
    let mut asked = Vec::new();
    for camera in [OWN, OTHER] {
        let range = json!({ "from_ms": from_ms, "to_ms": from_ms + 1000, "reason": "tìm xe" });
        let answer = commander.ask(Method::POST, &format!("/cameras/node-1/{camera}/holds"), Some(range)).await;
        assert_eq!(answer.status(), 202);
        let ordered: Value = serde_json::from_slice(&answer.bytes().await.expect("read")).expect("JSON");
        asked.push(ordered["command"].clone());
    }
    let held = officer.json("/holds?active=true").await;
    let ids: Vec<_> = held["items"].as_array().expect("items").iter().map(|h| h["id"].clone()).collect();
    assert_eq!(ids, [asked[1].clone(), asked[0].clone()], "newest first");
    let first = &held["items"][1];
    assert_eq!((first["camera"].as_str(), first["why"].as_str()), (Some(OWN), Some("tìm xe")));
    assert_eq!((first["state"].as_str(), first["active"].as_bool()), (Some("pending"), Some(true)));
    assert_eq!((first["from_ms"].as_i64(), first["camera_name"].as_str()), (Some(from_ms), Some("Camera ngo-12-a")));
    let database = rusqlite::Connection::open(post.site.path("centre/centre.db")).expect("opens");
    database.execute("UPDATE hold SET state = 'released' WHERE id = ?1", [ids[0].as_str()]).expect("released");
    assert_eq!(officer.json("/holds?active=true").await["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(officer.json("/holds").await["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(officer.json("/holds?limit=1").await["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(officer.status(Method::GET, "/holds?limit=501", None).await, 400);
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_maps_background_is_for_who_is_logged_in_and_leads_nowhere_else() {
    let post = Post::configured("", |site, config| {
        let column = site.path("tiles/16/52137");
        std::fs::create_dir_all(&column).expect("writable");
        std::fs::write(column.join("28851.png"), b"a tile").expect("writable");
        std::fs::write(column.join("28852.webp"), b"another").expect("writable");
        std::fs::write(site.path("secret.png"), b"canary").expect("writable");
        let map = &mut config.web.as_mut().expect("a page").map;
        let plan = site.write("ward.png", "a picture");
        map.plan = Some(PlanConfig { file: plan, corners: [[21.0, 105.8], [21.1, 105.9]] });
        map.tiles = Some(TilesConfig { directory: site.path("tiles"), min_zoom: 15, max_zoom: 17 });
    })
    .await;
    let who = post.log_in(Role::Auditor).await;
    let map = who.json("/map").await;
    assert_eq!(map["plan"]["corners"], json!([[21.0, 105.8], [21.1, 105.9]]));
    assert_eq!(map["tiles"], json!({ "min_zoom": 15, "max_zoom": 17 }));
    for (path, kind, body) in [
        ("/map/plan", "image/png", "a picture"),
        ("/map/tiles/16/52137/28851", "image/png", "a tile"),
        ("/map/tiles/16/52137/28852", "image/webp", "another"),
    ] {
        assert_eq!(post.nobody().status(Method::GET, path, None).await, 401, "{path}");
        let answer = who.ask(Method::GET, path, None).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (200, &kind.parse().expect("ascii")));
        let tag = answer.headers()["etag"].clone();
        assert_eq!(answer.text().await.expect("read"), body);
        let again = who.request(Method::GET, path).header("if-none-match", tag).send().await.expect("answered");
        assert_eq!(again.status(), 304, "{path}");
    }
    for path in [
        "/map/tiles/14/0/0",
        "/map/tiles/16/52137/1",
        "/map/tiles/16/52137/28851.png",
        "/map/tiles/16/..%2F..%2F/secret",
        "/map/tiles/16/%2E%2E/28851",
        "/map/tiles/16/52137%2F..%2F..%2F../secret.png",
        "/map/tiles/..%2f/..%2f/secret",
        "/map/tiles/99999999999/0/0",
    ] {
        let answer = who.ask(Method::GET, path, None).await;
        assert_eq!(answer.status(), 404, "{path}");
        assert!(!answer.text().await.expect("read").contains("canary"), "{path}");
    }
    let bare = Post::configured("", |_, _| {}).await;
    let who = bare.log_in(Role::Owner).await;
    assert_eq!(who.json("/map").await, json!({ "plan": null, "tiles": null }));
    assert_eq!(who.status(Method::GET, "/map/plan", None).await, 404);
    bare.stop().await;
    post.stop().await;
}

/// A JPEG with a pattern.
fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let picture = image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, (x ^ y) as u8]));
    let mut out = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut out, image::ImageFormat::Jpeg).expect("encodes");
    out.into_inner()
}

/// An event with the picture `jpeg`, and its id.
async fn with_picture(post: &Post, jpeg: &[u8]) -> String {
    let made = Made::new();
    let sha256 = hex::encode(Sha256::digest(jpeg));
    let Item::Event { node, mut event, times, .. } = made.item() else { panic!("an event") };
    event.snapshot = Some(SnapshotJson { sha256: sha256.clone(), bytes: jpeg.len() as u64, width: 4, height: 3 });
    let json = Bytes::from(event.to_json().expect("JSON"));
    let picture = Item::Snapshot {
        node: node.clone(),
        camera: made.camera.parse().expect("a name"),
        event: made.id.clone(),
        sha256,
        jpeg: Bytes::from(jpeg.to_vec()),
    };
    commit(post, vec![Item::Event { node, event, json, times }, picture]).await;
    made.id
}

async fn thumbnail(who: &Somebody, event: &str) -> Vec<u8> {
    let answer = who.ask(Method::GET, &format!("/events/node-1/{event}/thumbnail"), None).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    answer.bytes().await.expect("read").to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn thumbnails_are_small_and_made_once() {
    let post = Post::configured("", |_, _| {}).await;
    let officer = post.log_in(Role::DutyOfficer).await;
    let (large, narrow) = (jpeg(1280, 720), jpeg(200, 300));
    let event = with_picture(&post, &large).await;
    let small = thumbnail(&officer, &event).await;
    let size = image::load_from_memory(&small).expect("a JPEG");
    assert_eq!((size.width(), size.height()), (320, 180));
    assert!(small.len() * 4 < large.len(), "{} of {}", small.len(), large.len());
    // Kept: it comes again although the file is another now.
    let sha256 = hex::encode(Sha256::digest(&large));
    let file = post.site.path("centre/snapshots").join(&sha256[..2]).join(&sha256[2..4]).join(format!("{sha256}.jpg"));
    std::fs::write(&file, &narrow).expect("writable");
    assert_eq!(thumbnail(&officer, &event).await, small);
    let event = with_picture(&post, &narrow).await;
    assert_eq!(thumbnail(&officer, &event).await, narrow, "what is small enough stays as it is");
    // Not a JPEG that we can read: whole.
    let event = with_picture(&post, b"\xff\xd8 something else \xff\xd9").await;
    assert_eq!(thumbnail(&officer, &event).await, b"\xff\xd8 something else \xff\xd9");
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_has_not_changed_is_told_so_and_media_are_never_kept() {
    let post = Post::configured("", |_, _| {}).await;
    let officer = post.log_in(Role::DutyOfficer).await;
    let event = format!("/events/node-1/{}", post.event);
    for path in ["/cameras", "/nodes", event.as_str()] {
        let answer = officer.ask(Method::GET, path, None).await;
        assert_eq!(answer.headers()["cache-control"], "private, no-cache", "{path}");
        assert_eq!(answer.headers()["content-type"], "application/json");
        let tag = answer.headers()["etag"].clone();
        assert!(tag.to_str().expect("ascii").starts_with("W/\""));
        let known = |who: &Somebody| who.request(Method::GET, path).header("if-none-match", tag.clone());
        let again = known(&officer).send().await.expect("answered");
        assert_eq!((again.status().as_u16(), again.headers()["etag"] == tag), (304, true), "{path}");
        assert!(again.bytes().await.expect("read").is_empty());
        // Who may not see it is not told that it has not changed.
        assert_eq!(known(&post.nobody()).send().await.expect("answered").status(), 401);
    }
    let tag = officer.ask(Method::GET, &event, None).await.headers()["etag"].clone();
    let note = json!({ "text": "đã gọi" });
    assert_eq!(officer.status(Method::POST, &format!("{event}/notes"), Some(note)).await, 201);
    let changed = officer.request(Method::GET, &event).header("if-none-match", tag).send().await.expect("answered");
    assert_eq!(changed.status(), 200);
    let picture = officer.ask(Method::GET, &format!("{event}/snapshot"), None).await;
    assert_eq!(picture.headers()["cache-control"], "no-store");
    assert_eq!(officer.ask(Method::GET, "/events", None).await.headers()["cache-control"], "no-store");
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_nobody_takes_is_called_up_on_every_page() {
    let post = Post::configured("", |_, config| config.escalate_after = Some(Duration::from_secs(1))).await;
    let officer = post.log_in(Role::DutyOfficer).await;
    let mut stream = officer.ask(Method::GET, "/stream", None).await;
    let mut text = String::new();
    heard(&mut stream, &mut text, "event: hello").await.expect("greeted");
    let (waits, taken) = (Made::new(), Made::new());
    commit(&post, vec![waits.item(), taken.item()]).await;
    let own = json!({ "action": "own", "version": 0 });
    assert_eq!(officer.status(Method::POST, &format!("/events/node-1/{}/triage", taken.id), Some(own)).await, 200);
    let called = |made: &Made, text: &str| {
        text.lines().any(|line| line.contains(&made.id) && line.contains("\"escalated\":true"))
    };
    while !called(&waits, &text) {
        text.push_str(&String::from_utf8_lossy(&stream.chunk().await.expect("open").expect("more")));
    }
    let of = |made: &Made| format!("/events/node-1/{}", made.id);
    until("it is marked", || async { officer.json(&of(&waits)).await["summary"]["triage"]["escalated"] == true }).await;
    assert!(!called(&taken, &text), "somebody has it");
    assert_eq!(officer.json(&of(&taken)).await["summary"]["triage"]["escalated"], false, "somebody has it");
    let history = officer.json(&of(&waits)).await["history"].clone();
    assert!(history.as_array().is_some_and(|h| h.iter().any(|s| s["kind"] == "escalate")), "{history}");
    drop(stream);
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_headers_resumes_the_stream_too() {
    let post = Post::configured("", |_, _| {}).await;
    let commander = post.log_in(Role::Commander).await;
    let mut stream = commander.ask(Method::GET, "/stream", None).await;
    let mut text = String::new();
    heard(&mut stream, &mut text, "event: hello").await.expect("greeted");
    heard(&mut stream, &mut text, "\n\n").await.expect("a whole line");
    let last = text.split("id: ").nth(1).and_then(|t| t.lines().next()).expect("an id").to_owned();
    drop(stream);
    let own = json!({ "action": "own", "version": 0 });
    let path = format!("/events/node-1/{}/triage", post.event);
    assert_eq!(commander.status(Method::POST, &path, Some(own)).await, 200);
    let mut again = commander.ask(Method::GET, &format!("/stream?last_event_id={last}"), None).await;
    let mut text = String::new();
    heard(&mut again, &mut text, "event: triage").await.expect("what was missed");
    assert!(text.contains("\"resumed\":true"), "{text}");
    drop(again);
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_name_is_looked_at_like_a_new_one_and_a_plain_request_is_no_socket() {
    let post = Post::configured("", |_, _| {}).await;
    let commander = post.log_in(Role::Commander).await;
    let users = commander.json("/users").await;
    let id = users["items"][0]["id"].as_str().expect("an id").to_owned();
    for name in ["", " ", "Lan\nAnh", "Lan\u{200b}Anh", &"a".repeat(65)] {
        let change = json!({ "display_name": name });
        assert_eq!(commander.status(Method::PATCH, &format!("/users/{id}"), Some(change)).await, 400, "{name:?}");
    }
    let change = json!({ "display_name": "Trần Lan Anh" });
    assert_eq!(commander.status(Method::PATCH, &format!("/users/{id}"), Some(change)).await, 204);
    let answer = commander.ask(Method::GET, &format!("/live/wall?camera=node-1/{OWN}"), None).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_speaks_tls_by_itself_and_nothing_else_at_that_door() {
    let post = Post::configured("/phuong", |site, config| {
        site.certificates();
        let web = config.web.as_mut().expect("there is a page");
        web.tls = Some(TlsFiles { cert: site.path("cert.pem"), key: site.path("key.pem") });
    })
    .await;
    // Logging in, an answer, the stream, a socket.
    let mut officer = post.nobody();
    let commander = post.log_in(Role::Commander).await;
    let added = json!({ "name": "lan", "display_name": "Lan Anh", "role": "duty_officer" });
    let added = commander.ask(Method::POST, "/users", Some(added)).await.bytes().await.expect("read");
    let added: Value = serde_json::from_slice(&added).expect("JSON");
    let link = json!({ "token": added["link_token"], "password": PASSWORD });
    let answer = officer.ask(Method::POST, "/session/link", Some(link)).await;
    let cookie = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
    assert!(cookie.contains("; Secure") && cookie.contains("Path=/phuong"), "{cookie}");
    officer.cookie = cookie.split(';').next().map(str::to_owned);
    assert_eq!(officer.json("/events").await["items"].as_array().map(Vec::len), Some(2));
    let mut stream = officer.ask(Method::GET, "/stream", None).await;
    heard(&mut stream, &mut String::new(), "event: hello").await.expect("greeted");
    drop(stream);
    let wall = officer.request(Method::GET, &format!("/live/wall?camera=node-1/{OWN}"));
    assert_eq!(upgrade(wall).send().await.expect("answered").status(), 101);
    // A renewed certificate, here of another authority, is taken over while it runs.
    post.site.certificates();
    until("the renewed certificate is shown", || async {
        post.nobody().request(Method::GET, "/site").send().await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    // Who comes without it hears nothing of the page.
    let plain = Somebody::at(&post.base.replace("https://", "http://"));
    assert!(plain.request(Method::GET, "/site").send().await.is_err());
    post.stop().await;
}
