//! Many listeners of the event stream, each a connection of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use reqwest::{Client, Response};
use serde_json::{Value, json};
use wardwatch::config::tls_believing_nobody;

use crate::support::post::{now, until};

/// Those who listen, and what they heard.
pub struct Crowd(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    there: usize,
    /// By event: when the centre committed it, UTC milliseconds.
    committed: HashMap<String, i64>,
    /// Of each event at each listener, in milliseconds.
    waits: Vec<i64>,
}

impl Crowd {
    /// Has `listeners` listen, all of one session.
    pub async fn gather(address: &str, cookie: &str, listeners: usize) -> Self {
        let client = client();
        let crowd = Self(Arc::default());
        for _ in 0..listeners {
            let request = client.get(format!("{address}/api/v1/stream")).header("cookie", cookie);
            tokio::spawn(listen(request.send().await.expect("answers"), crowd.0.clone()));
        }
        until("everybody listens", || async { crowd.lock().there == listeners }).await;
        crowd
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.0.lock().expect("no panic")
    }

    pub fn heard(&self, id: &str) -> bool {
        self.lock().committed.contains_key(id)
    }

    pub fn committed(&self) -> HashMap<String, i64> {
        self.lock().committed.clone()
    }

    pub fn waits(&self) -> Vec<i64> {
        self.lock().waits.clone()
    }
}

/// Uses a one-time set-up link up; the session's cookie, `name=value`.
pub async fn log_in(address: &str, token: &str) -> String {
    let body = json!({ "token": token, "password": "mưa rơi trên phố cổ" }).to_string();
    let request = client().post(format!("{address}/api/v1/session/link")).header("content-type", "application/json");
    let answer = request.body(body).send().await.expect("answers");
    assert!(answer.status().is_success(), "{}", answer.status());
    answer.headers()["set-cookie"].to_str().expect("text").split(';').next().expect("one").to_owned()
}

fn client() -> Client {
    let tls = tls_believing_nobody().expect("a configuration");
    Client::builder().tls_backend_preconfigured(tls).no_proxy().build().expect("a client")
}

/// Reads lines until the connection ends.
async fn listen(mut answer: Response, heard: Arc<Mutex<Heard>>) {
    assert!(answer.status().is_success(), "{}", answer.status());
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        let at = now().wall_ms;
        text.extend_from_slice(&chunk);
        let Some(end) = text.windows(2).rposition(|w| w == b"\n\n") else { continue };
        let whole: Vec<u8> = text.drain(..end + 2).collect();
        let mut heard = heard.lock().expect("no panic");
        for message in String::from_utf8_lossy(&whole).split("\n\n") {
            let field = |name: &str| message.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
            match (field("event"), field("data")) {
                (Some("hello"), _) => heard.there += 1,
                (Some("event"), Some(data)) => note(&mut heard, data, at),
                _ => {}
            }
        }
    }
}

fn note(heard: &mut Heard, data: &str, at: i64) {
    let event: Value = serde_json::from_str(data).expect("JSON");
    let (Some(id), Some(1)) = (event["id"].as_str(), event["revision"].as_i64()) else { return };
    let committed = event["first_committed_ms"].as_i64().expect("a time");
    heard.committed.insert(id.to_owned(), committed);
    heard.waits.push(at - committed);
}
