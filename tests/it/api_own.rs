//! One's own account over API v1: second factors, open sessions; and how guessing gets slow, by simulated time.

use reqwest::Method;
use serde_json::{Value, json};
use wardwatch::base::Clock;
use wardwatch::base::clock::SystemClock;
use wardwatch::centre::account::Role;
use wardwatch::centre::sign::one_time_code;
use wardwatch::centre::store::account::AccountStore;
use wardwatch::centre::store::{SessionStore, SqliteStore};

use crate::api::{PASSWORD, Post, Somebody};

/// The code of `secret`, so many steps from now.
fn code(secret: &str, ahead: i64) -> String {
    let step = SystemClock.now().wall_ms / 30_000 + ahead;
    one_time_code(&data_encoding::BASE32.decode(secret.as_bytes()).expect("base32"), step.unsigned_abs(), 6)
}

async fn body(answer: reqwest::Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.expect("read")).expect("JSON")
}

/// An officer `name` with a password: her id.
async fn officer(post: &Post, commander: &Somebody, name: &str) -> String {
    let new = json!({ "name": name, "display_name": "Lan Anh", "role": "duty_officer" });
    let added = body(commander.ask(Method::POST, "/users", Some(new)).await).await;
    let set = json!({ "token": added["link_token"], "password": PASSWORD });
    assert_eq!(post.nobody().status(Method::POST, "/session/link", Some(set)).await, 200);
    added["user"]["id"].as_str().expect("an id").to_owned()
}

/// What a login brings: its status, the problem's name, and whoever got in.
async fn log_in(post: &Post, name: &str, code: Option<&str>) -> (u16, String, Somebody) {
    let mut who = post.nobody();
    let login = json!({ "name": name, "password": PASSWORD, "code": code });
    let answer = who.ask(Method::POST, "/session", Some(login)).await;
    let cookie = answer.headers().get("set-cookie").and_then(|c| c.to_str().ok());
    who.cookie = cookie.and_then(|c| c.split(';').next()).map(str::to_owned);
    let (status, said) = (answer.status().as_u16(), body(answer).await);
    let problem = said["type"].as_str().and_then(|t| t.rsplit(':').next()).unwrap_or_default().to_owned();
    (status, problem, who)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_asked_for_from_its_confirmation_on_and_no_code_is_taken_twice() {
    let post = Post::configured("", |_, _| {}).await;
    let commander = post.log_in(Role::Commander).await;
    let id = officer(&post, &commander, "lan.anh").await;
    let (_, _, lan) = log_in(&post, "lan.anh", None).await;
    let (_, _, elsewhere) = log_in(&post, "lan.anh", None).await;
    let confirm = |code: String| Some(json!({ "code": code }));
    assert_eq!(lan.status(Method::PUT, "/me/totp", confirm("123456".into())).await, 409, "nothing was begun");
    let begin = |password: &str| Some(json!({ "password": password }));
    assert_eq!(lan.status(Method::POST, "/me/totp", begin("khong-biet")).await, 401, "who finds her page open");
    let begun = body(lan.ask(Method::POST, "/me/totp", begin(PASSWORD)).await).await;
    let secret = begun["secret"].as_str().expect("a secret").to_owned();
    assert!(begun["uri"].as_str().is_some_and(|u| u.contains(&format!("secret={secret}&"))), "{begun}");
    assert!(begun["qr_svg"].as_str().is_some_and(|svg| svg.contains("<svg")));
    assert_eq!(log_in(&post, "lan.anh", None).await.0, 200, "what is not confirmed is not asked for");
    assert_eq!(lan.status(Method::PUT, "/me/totp", confirm(code(&secret, 9))).await, 400);
    let first = code(&secret, -1);
    assert_eq!(lan.status(Method::PUT, "/me/totp", confirm(first.clone())).await, 204);
    assert_eq!(lan.status(Method::GET, "/session", None).await, 200);
    assert_eq!(elsewhere.status(Method::GET, "/session", None).await, 401, "other sessions end");
    assert_eq!(lan.json("/session").await["totp"], true);
    assert_eq!(lan.status(Method::POST, "/me/totp", begin(PASSWORD)).await, 409, "there is one");

    let refused = |(status, problem, _): (u16, String, Somebody)| (status, problem);
    let needed = (401, "totp-needed".to_owned());
    let wrong = (401, "wrong-code".to_owned());
    assert_eq!(refused(log_in(&post, "lan.anh", None).await), needed);
    assert_eq!(refused(log_in(&post, "lan.anh", Some("000000")).await), wrong);
    assert_eq!(refused(log_in(&post, "lan.anh", Some(&first)).await), wrong, "it was taken at the confirmation");
    let next = code(&secret, 1);
    assert_eq!(log_in(&post, "lan.anh", Some(&next)).await.0, 200);
    assert_eq!(refused(log_in(&post, "lan.anh", Some(&next)).await), wrong, "it was taken");
    // A link is no way around it.
    let link = body(commander.ask(Method::POST, &format!("/users/{id}/link"), None).await).await;
    let set = json!({ "token": link["link_token"], "password": PASSWORD });
    assert_eq!(body(post.nobody().ask(Method::POST, "/session/link", Some(set.clone())).await).await["title"], {
        "a code of the second factor is asked for"
    });
    let drop = |password: &str| Some(json!({ "password": password }));
    assert_eq!(lan.status(Method::DELETE, "/me/totp", drop("khong-biet")).await, 401);
    // She lost her phone: the commander sees that there is one, and takes it away.
    let users = commander.json("/users").await;
    let row = users["items"].as_array().expect("items").iter().find(|u| u["id"] == id.as_str()).expect("her");
    assert_eq!(row["totp"], true);
    assert!(!users.to_string().contains(&secret));
    assert_eq!(commander.status(Method::DELETE, &format!("/users/{id}/totp"), None).await, 204);
    assert_eq!(post.nobody().status(Method::POST, "/session/link", Some(set)).await, 200);
    assert_eq!(log_in(&post, "lan.anh", None).await.0, 200);
    let log = commander.json("/log?action=totp.on&action=totp.off").await;
    assert_eq!(log["items"].as_array().map(Vec::len), Some(2), "{log}");
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_codes_count_as_guesses_and_the_owner_may_take_the_factor_away() {
    let post = Post::configured("", |_, _| {}).await;
    let commander = post.log_in(Role::Commander).await;
    officer(&post, &commander, "binh").await;
    let (_, _, binh) = log_in(&post, "binh", None).await;
    let begun = body(binh.ask(Method::POST, "/me/totp", Some(json!({ "password": PASSWORD }))).await).await;
    let secret = begun["secret"].as_str().expect("one").to_owned();
    assert_eq!(binh.status(Method::PUT, "/me/totp", Some(json!({ "code": code(&secret, -1) }))).await, 204);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(log_in(&post, "binh", Some("000000")).await.0);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
    // From another address, too, he has to wait: it counts for the name.
    let database = rusqlite::Connection::open(post.site.path("centre/centre.db")).expect("opens");
    database.execute("DELETE FROM login_failure WHERE kind = 'address'", []).expect("forgotten");
    assert_eq!(log_in(&post, "binh", Some(&code(&secret, 1))).await.0, 429);
    database.execute("DELETE FROM login_failure", []).expect("forgotten");
    assert_eq!(binh.status(Method::DELETE, "/me/totp", Some(json!({ "password": PASSWORD }))).await, 204);
    assert_eq!(log_in(&post, "binh", None).await.0, 200);
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_sessions_are_seen_and_ended_by_their_user_and_by_a_commander() {
    let post = Post::configured("", |_, _| {}).await;
    let commander = post.log_in(Role::Commander).await;
    let id = officer(&post, &commander, "lan.anh").await;
    let (_, _, first) = log_in(&post, "lan.anh", None).await;
    let (_, _, second) = log_in(&post, "lan.anh", None).await;
    let listed = first.json("/me/sessions").await;
    let items = listed["items"].as_array().expect("items").clone();
    // The third is that of the link.
    assert_eq!(items.len(), 3, "{listed}");
    let current: Vec<_> = items.iter().filter(|s| s["current"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0]["address"], "127.0.0.1");
    let token = first.cookie.as_deref().and_then(|c| c.split_once('=')).expect("a cookie").1.to_owned();
    assert!(!listed.to_string().contains(&token));
    let own = second.json("/me/sessions").await;
    let other =
        own["items"].as_array().expect("items").iter().find(|s| s["current"] == true).expect("one")["id"].clone();
    let path = format!("/me/sessions/{}", other.as_str().expect("an id"));
    assert_eq!(commander.status(Method::DELETE, &path, None).await, 404, "it is nobody else's");
    assert_eq!(first.status(Method::DELETE, &path, None).await, 204);
    assert_eq!(first.status(Method::DELETE, &path, None).await, 404);
    assert_eq!(second.status(Method::GET, "/session", None).await, 401);
    assert_eq!(commander.status(Method::DELETE, &format!("/users/{id}/sessions"), None).await, 204);
    assert_eq!(first.status(Method::GET, "/session", None).await, 401);
    assert_eq!(commander.status(Method::DELETE, "/users/nobody/sessions", None).await, 404);
    let log = commander.json("/log?action=session.close").await;
    assert_eq!(log["items"].as_array().map(Vec::len), Some(2), "{log}");
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_counted_across_a_restart_and_forgotten_after_a_day() {
    let directory = tempfile::tempdir().expect("a directory");
    let open = || {
        let (store, writer, _) = SqliteStore::open(directory.path(), 0).expect("opens");
        (store, std::thread::spawn(move || writer.run()))
    };
    let keys = || vec![("name", "lan".to_owned()), ("address", "10.0.0.9".to_owned())];
    let (mut now, mut tries, mut waits) = (1_000_000_000, 0, Vec::new());
    let (mut store, mut thread) = open();
    while now < 1_000_000_000 + 3_600_000 {
        match store.attempt(keys(), now).await.expect("counted") {
            None => tries += 1,
            Some(wait) => {
                // Refused unseen: another try does not make it longer.
                assert_eq!(store.attempt(keys(), now).await.expect("counted"), Some(wait));
                waits.push(wait / 1000);
                now += wait as i64;
                if waits.len() == 4 {
                    drop(store);
                    tokio::task::spawn_blocking(move || thread.join()).await.expect("joined").expect("no panic");
                    (store, thread) = open();
                }
            }
        }
    }
    assert_eq!(waits[..11], [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900]);
    assert!(tries <= 19, "{tries} guesses in an hour");
    let name = || vec![("name", "lan".to_owned()), ("address", "10.0.0.10".to_owned())];
    assert!(store.attempt(name(), now - 1).await.expect("counted").is_some(), "another address is no way around it");
    let other = || vec![("name", "binh".to_owned()), ("address", "10.0.0.10".to_owned())];
    assert_eq!(store.attempt(other(), now).await.expect("counted"), None, "others are not held up");
    let tomorrow = now + 24 * 3_600_000;
    for _ in 0..5 {
        assert_eq!(store.attempt(keys(), tomorrow).await.expect("counted"), None);
    }
    assert!(store.attempt(keys(), tomorrow).await.expect("counted").is_some());
    store.succeeded(keys()).await.expect("forgotten");
    assert_eq!(store.attempt(keys(), tomorrow).await.expect("counted"), None);
    assert_eq!(store.factor("nobody".into()).await.expect("readable"), None);
}
