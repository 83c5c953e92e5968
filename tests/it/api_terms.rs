//! API v1: who is told what, and what is written down of it. Real HTTP against a running centre.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use wardwatch::base::Clock;
use wardwatch::base::clock::SystemClock;
use wardwatch::centre::account::{CameraKey, LinkKind, Role};
use wardwatch::centre::store::{CentreStore, Item};

use crate::api::{OTHER, OWN, PASSWORD, Post, Somebody, heard};
use crate::support::made::Made;

async fn plain() -> Post {
    Post::configured("", |_, _| {}).await
}

async fn body(answer: reqwest::Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.expect("read")).expect("JSON")
}

async fn commit(post: &Post, made: &Made) {
    let items: Vec<Item> = vec![made.item()];
    post.centre.store().commit(Arc::new(items), SystemClock.now().wall_ms).await.expect("committed");
}

/// The token of a one-time link for a new account.
async fn link_for(post: &Post, name: &str, role: Role, cameras: Option<BTreeSet<CameraKey>>) -> String {
    let accounts = post.centre.accounts().expect("there is a page");
    let (user, _, _) = accounts.add(name, name, role, cameras, None).await.expect("added");
    accounts.link(&user.id, LinkKind::Login, None).await.expect("a link").0
}

/// Something that everybody who may know of an event hears at once.
async fn stir(who: &Somebody, event: &str) {
    let note = json!({ "text": "đã gọi" });
    assert_eq!(who.status(Method::POST, &format!("/events/node-1/{event}/notes"), Some(note)).await, 201);
}

/// What the log has of an action, newest first.
async fn log(commander: &Somebody, action: &str) -> Vec<Value> {
    commander.json(&format!("/log?action={action}&limit=200")).await["items"].as_array().expect("items").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_ends_its_stream_however_much_there_is_to_hear() {
    let post = plain().await;
    let officer = post.log_in(Role::DutyOfficer).await;
    let commander = post.log_in(Role::Commander).await;
    let me = officer.json("/session").await["user"]["id"].as_str().expect("an id").to_owned();
    let mut stream = officer.ask(Method::GET, "/stream", None).await;
    heard(&mut stream, &mut String::new(), "event: hello").await.expect("greeted");
    assert_eq!(commander.status(Method::PATCH, &format!("/users/{me}"), Some(json!({ "disabled": true }))).await, 204);
    let ended = async {
        let mut text = String::new();
        loop {
            // Something every half second: no pause that a look at the session could wait for.
            stir(&commander, &post.event).await;
            match tokio::time::timeout(Duration::from_millis(500), stream.chunk()).await {
                Ok(Ok(Some(piece))) => text.push_str(&String::from_utf8_lossy(&piece)),
                Ok(Ok(None) | Err(_)) => break text,
                Err(_) => {}
            }
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the stream ends");
    assert!(text.contains("event: triage"), "there was something to hear: {text}");
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_a_reason_and_a_camera_of_another_node_are_rows_of_their_own() {
    let post = plain().await;
    let commander = post.log_in(Role::Commander).await;
    let investigator = post.log_in(Role::Investigator).await;
    let path = format!("/events/node-1/{}/snapshot", post.event);
    for case in ["12/HS", "12/HS", "13/HS"] {
        assert_eq!(investigator.status(Method::GET, &format!("{path}?case={case}"), None).await, 200);
    }
    let cases: Vec<_> = log(&commander, "snapshot.view").await.iter().map(|r| r["case"].clone()).collect();
    assert_eq!(cases, ["13/HS", "12/HS"]);
    // Without a case there is neither a picture nor a list to take away; a list that is taken says for which.
    assert_eq!(investigator.status(Method::GET, &path, None).await, 403);
    assert_eq!(investigator.status(Method::GET, "/events.csv", None).await, 403);
    assert_eq!(investigator.status(Method::GET, "/events.csv?case=12/HS", None).await, 200);
    let rows = log(&commander, "export").await;
    assert_eq!((rows.len(), &rows[0]["case"]), (1, &json!("12/HS")));
    // The same name on two nodes is two neighbours' cameras: nobody is away, but it was tried.
    for node in ["node-1", "node-2"] {
        let made = Made { node: node.into(), ..Made::new() };
        commit(&post, &made).await;
        assert_eq!(commander.status(Method::GET, &format!("/events/{node}/{}", made.id), None).await, 200);
    }
    let nodes: Vec<_> = log(&commander, "event.view").await.iter().map(|r| r["node"].clone()).collect();
    assert_eq!(nodes, ["node-2", "node-1"]);
    // Counting is searching.
    assert_eq!(commander.status(Method::GET, "/events/counts?text=ngo", None).await, 200);
    let searches = log(&commander, "search").await;
    assert!(
        searches.iter().any(|r| r["object"].as_str().is_some_and(|o| o.contains("\"text\":\"ngo\""))),
        "{searches:?}"
    );
    // What is read of the log is in it, by what it was read for.
    let read = log(&commander, "log.view").await;
    assert!(read.iter().any(|r| r["object"].as_str().is_some_and(|o| o.contains("snapshot.view"))), "{read:?}");
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_cut_down_to_some_cameras_opens_no_others_and_hears_of_no_others() {
    let post = plain().await;
    let commander = post.log_in(Role::Commander).await;
    let own = Some([("node-1".to_owned(), OWN.to_owned())].into());
    let token = link_for(&post, "pho", Role::Commander, own).await;
    let mut deputy = post.nobody();
    let answer = deputy.ask(Method::POST, "/session/link", Some(json!({ "token": token }))).await;
    deputy.cookie = answer.headers()["set-cookie"].to_str().ok().and_then(|c| c.split(';').next()).map(str::to_owned);
    let until_ms = SystemClock.now().wall_ms + 60_000;
    let emergency = |cameras: Value| Some(json!({ "cameras": cameras, "reason": "cháy", "until_ms": until_ms }));
    assert_eq!(deputy.status(Method::POST, "/emergencies", emergency(Value::Null)).await, 403);
    assert_eq!(deputy.status(Method::POST, "/emergencies", emergency(json!([["node-1", OTHER]]))).await, 404);
    assert_eq!(deputy.status(Method::POST, "/emergencies", emergency(json!([["node-1", OWN]]))).await, 201);
    let others = body(commander.ask(Method::POST, "/emergencies", emergency(json!([["node-1", OTHER]]))).await).await;
    let id = others["id"].as_str().expect("an id");
    assert_eq!(deputy.status(Method::DELETE, &format!("/emergencies/{id}"), None).await, 404);
    let cameras = |list: Value| {
        let items = list["items"].as_array().expect("items").clone();
        items.iter().map(|e| e["cameras"][0][1].clone()).collect::<Vec<_>>()
    };
    assert_eq!(cameras(deputy.json("/emergencies").await), [OWN]);
    let owner = post.log_in(Role::Owner).await;
    assert_eq!(cameras(owner.json("/emergencies").await), [OWN]);
    assert_eq!(commander.json("/emergencies").await["items"].as_array().map(Vec::len), Some(2));
    // Nor does he read who looked at others' cameras.
    commander.status(Method::GET, &format!("/cameras/node-1/{OTHER}/picture"), None).await;
    commander.status(Method::GET, &format!("/events/node-1/{}/snapshot", post.event), None).await;
    let rows = deputy.json("/log?limit=200").await;
    let rows = rows["items"].as_array().expect("items");
    assert!(!rows.is_empty() && rows.iter().all(|r| r["camera"] == OWN), "{rows:?}");
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_nodes_are_for_who_looks_after_nodes() {
    let post = plain().await;
    let officer = post.log_in(Role::DutyOfficer).await;
    let investigator = post.log_in(Role::Investigator).await;
    let auditor = post.log_in(Role::Auditor).await;
    let mut streams = Vec::new();
    for who in [&officer, &investigator, &auditor] {
        let mut stream = who.ask(Method::GET, "/stream", None).await;
        heard(&mut stream, &mut String::new(), "event: hello").await.expect("greeted");
        streams.push(stream);
    }
    let disk = Made { camera: String::new(), kind: "system".into(), rule: "disk-full".into(), ..Made::new() };
    commit(&post, &disk).await;
    let after = Made::new();
    commit(&post, &after).await;
    let listed = async |who: &Somebody| {
        let list = who.json("/events?limit=200").await.to_string();
        (list.contains(&disk.id), list.contains(&after.id))
    };
    assert_eq!(listed(&officer).await, (true, true));
    assert_eq!(listed(&investigator).await, (false, true));
    let told = async |stream: &mut reqwest::Response, last: &str| {
        let mut text = String::new();
        heard(stream, &mut text, last).await.expect("heard");
        text.contains(&disk.id)
    };
    for event in [&disk, &after] {
        stir(&officer, &event.id).await;
    }
    assert!(told(&mut streams[0], &after.id).await);
    assert!(!told(&mut streams[1], &after.id).await);
    // An auditor hears of no event at all: of the next ping only.
    assert!(!told(&mut streams[2], "event: ping").await);
    drop(streams);
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_are_found_by_the_names_that_people_use() {
    let post = plain().await;
    let officer = post.log_in(Role::DutyOfficer).await;
    let found =
        async |text: &str| officer.json(&format!("/events?text={text}")).await["items"].as_array().map(Vec::len);
    assert_eq!(found("to%205").await, Some(2), "both are in Tổ 5");
    assert_eq!(found("camera%20ngo-12-b").await, Some(1));
    assert_eq!(found("to%206").await, Some(0));
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_forwarded_addresses_only_the_trusted_proxys_own_counts() {
    let trusting = |_: &_, config: &mut wardwatch::config::CentreConfig| {
        config.web.as_mut().expect("a page").trusted_proxies = vec![[127, 0, 0, 1].into()];
    };
    for (trusted, expected) in [(true, "from 10.0.0.9"), (false, "from 127.0.0.1")] {
        let post = match trusted {
            true => Post::configured("", trusting).await,
            false => plain().await,
        };
        let commander = post.log_in(Role::Commander).await;
        let token = link_for(&post, "lan", Role::DutyOfficer, None).await;
        let nobody = post.nobody();
        let login = nobody
            .request(Method::POST, "/session/link")
            // The client's own claim, then a proxy's line.
            .header("x-forwarded-for", "6.6.6.6, 7.7.7.7")
            .header("x-forwarded-for", "8.8.8.8, 10.0.0.9")
            .header("content-type", "application/json")
            .body(json!({ "token": token }).to_string());
        assert_eq!(login.send().await.expect("answered").status(), 200);
        let opened = log(&commander, "session.open").await;
        assert_eq!(opened[0]["object"], expected);
        post.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_hides_the_host_is_named_by_the_public_address() {
    let named = |_: &_, config: &mut wardwatch::config::CentreConfig| {
        config.web.as_mut().expect("a page").public_url = "https://phuong.example/wardwatch".parse().ok();
    };
    let post = Post::configured("", named).await;
    let commander = post.log_in(Role::Commander).await;
    let send = async |origin: &str| {
        let request = commander.request(Method::POST, &format!("/events/node-1/{}/notes", post.event));
        let request = request.header("origin", origin).header("content-type", "application/json");
        request.body(json!({ "text": "đã gọi" }).to_string()).send().await.expect("answered").status().as_u16()
    };
    assert_eq!(send("https://phuong.example").await, 201);
    for strange in ["https://phuong.example.com", "http://phuong.example", "https://", "null", "https://phuong.exam"] {
        assert_eq!(send(strange).await, 403, "{strange}");
    }
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_methods_addresses_and_ranges_are_answered_as_http_says() {
    let post = plain().await;
    let officer = post.log_in(Role::DutyOfficer).await;
    let wrong = officer.ask(Method::PUT, "/events", None).await;
    assert_eq!(wrong.status(), 405);
    let allowed = wrong.headers()["allow"].to_str().expect("text").to_owned();
    assert!(allowed.contains("GET"), "{allowed}");
    assert_eq!(wrong.headers()["content-type"], "application/problem+json");
    let garbled = officer.ask(Method::GET, "/events/node-1/%FF", None).await;
    assert_eq!(
        (garbled.status().as_u16(), &garbled.headers()["content-type"]),
        (400, &"application/problem+json".parse().expect("ascii"))
    );
    let sha256 = officer.json(&format!("/events/node-1/{}", post.event)).await["clips"][0]["sha256"].clone();
    let path = format!("/events/node-1/{}/clips/{}", post.event, sha256.as_str().expect("a hash"));
    let range = async |asked: &str| {
        let answer = officer.request(Method::GET, &path).header("range", asked).send().await.expect("answered");
        (answer.status().as_u16(), answer.headers().get("content-range").map(|v| v.to_str().expect("text").to_owned()))
    };
    assert_eq!(range("bytes=100000-").await, (416, Some("bytes */100000".into())));
    assert_eq!(range("items=0-1").await, (200, None), "a unit that nobody knows is no range");
    assert_eq!(range("bytes=0-1,5-6").await, (200, None), "several are sent whole");
    assert_eq!(range("bytes=0-1").await, (206, Some("bytes 0-1/100000".into())));
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_an_account_are_not_forgotten_for_want_of_room_and_a_set_password_is_in_the_log() {
    let post = plain().await;
    let commander = post.log_in(Role::Commander).await;
    let new = json!({ "name": "lan", "display_name": "Lan Anh", "role": "duty_officer" });
    let added = body(commander.ask(Method::POST, "/users", Some(new)).await).await;
    let set = json!({ "token": added["link_token"], "password": PASSWORD });
    assert_eq!(post.nobody().status(Method::POST, "/session/link", Some(set)).await, 200);
    let changed = log(&commander, "password.change").await;
    assert_eq!((changed.len(), &changed[0]["user"]["id"]), (1, &added["user"]["id"]));
    let guess = || Some(json!({ "name": "LAN", "password": "khong-phai-the" }));
    for _ in 0..5 {
        assert_eq!(post.nobody().status(Method::POST, "/session", guess()).await, 401);
    }
    // From many other addresses somebody tries a thousand names that nobody has.
    let store = post.centre.store();
    let database = rusqlite::Connection::open(post.site.path("centre/centre.db")).expect("opens");
    let later = SystemClock.now().wall_ms + 1;
    for n in 0..1100 {
        use wardwatch::centre::store::AccountStore;
        let keys = vec![("name", format!("n{n}")), ("address", format!("10.0.{}.{}", n / 250, n % 250))];
        store.attempt(keys, later).await.expect("counted");
    }
    drop(store);
    let row = "SELECT count FROM login_failure WHERE kind = 'user' AND key = ?1";
    let id = added["user"]["id"].as_str().expect("an id");
    assert_eq!(database.query_row(row, [id], |r| r.get::<_, i64>(0)).expect("her row is there"), 5);
    let names: i64 = database
        .query_row("SELECT COUNT(*) FROM login_failure WHERE kind = 'name'", [], |r| r.get(0))
        .expect("counted");
    assert_eq!(names, 1024);
    post.stop().await;
}
