//! The centre's doors as clumsy or hostile clients use them: requests that cannot be understood, bodies that nobody
//! reads, connections without end.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use reqwest::{Method, Url};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use wardwatch::centre::account::Role;

use crate::api::Post;
use crate::support::broker::Mosquitto;
use crate::support::site::{Site, free_port, get, metric};
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(60);

/// One connection, of which a client with a pool would think that it goes on.
struct Wire(BufReader<TcpStream>);

impl Wire {
    async fn open(post: &Post) -> Self {
        let url = post.base.parse::<Url>().expect("an address");
        let host = url.host_str().expect("a host");
        Self(BufReader::new(TcpStream::connect((host, url.port().expect("a port"))).await.expect("it listens")))
    }

    /// Sends a request to log in and gives the status, and whether the answer says that it is the last.
    async fn post(&mut self, headers: &str, body: &str) -> (u16, bool) {
        let request = format!("POST /api/v1/session HTTP/1.1\r\nhost: phuong\r\n{headers}\r\n{body}");
        self.0.write_all(request.as_bytes()).await.expect("sent");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).await.expect("answered"), 0, "it closed: {head:?}");
        }
        let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let length = value("content-length").and_then(|v| v.parse().ok()).expect("a length");
        self.0.read_exact(&mut vec![0; length]).await.expect("the body");
        (head[9..12].parse().expect("a status"), value("connection") == Some("close"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_what_was_not_read_leaves_the_connection_or_ends_it_by_word() {
    let post = Post::new("").await;
    let mut wire = Wire::open(&post).await;
    let json = "content-type: application/json\r\n";
    let [small, large] = [1usize << 20, 3 << 20].map(|size| "x".repeat(size));
    for body in ["{}", &small, &large] {
        let of_length = format!("{json}content-length: {}\r\n", body.len());
        let expected = if body == "{}" { 400 } else { 413 };
        assert_eq!(wire.post(&of_length, body).await, (expected, false), "{}", body.len());
    }
    let pieces = format!("{:x}\r\n{small}\r\n0\r\n\r\n", small.len());
    assert_eq!(wire.post(&format!("{json}transfer-encoding: chunked\r\n"), &pieces).await, (413, false));
    // Not even looked at.
    let other = format!("content-type: text/plain\r\ncontent-length: {}\r\n", small.len());
    assert_eq!(wire.post(&other, &small).await, (400, false));
    // More than anybody reads to no purpose.
    let endless = format!("content-type: text/plain\r\ncontent-length: {}\r\n", 1u64 << 40);
    assert_eq!(wire.post(&endless, "").await, (400, true));
    let mut wire = Wire::open(&post).await;
    let waits = "content-type: text/plain\r\ncontent-length: 9\r\nexpect: 100-continue\r\n";
    assert_eq!(wire.post(waits, "").await, (400, true), "who waits to be asked is not waited for");
    post.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_are_refused_in_the_apis_own_form() {
    let post = Post::new("").await;
    let officer = post.log_in(Role::DutyOfficer).await;
    for path in [
        "/events?limit=0",
        "/events?limit=201",
        "/events?after=zz",
        "/events?camera=nothing",
        "/events?severity=crime",
        "/events?from_ms=2&to_ms=1",
        "/events?from_ms=never",
        "/report?from_ms=0",
    ] {
        let answer = officer.ask(Method::GET, path, None).await;
        assert_eq!(answer.status(), 400, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
    }
    for path in ["/events/node-1/none", "/events/node-1/..%2f..%2fetc", "/nothing", "/cameras/node-1/none"] {
        assert_eq!(officer.status(Method::GET, path, None).await, 404, "{path}");
    }
    let login = "/session";
    for body in ["", "{", "[]", "{\"name\":1,\"password\":\"canary-7\"}", "{\"password\":\"canary-7\"}"] {
        let request = post.nobody().request(Method::POST, login).header("content-type", "application/json");
        let answer = request.body(body).send().await.expect("answered");
        assert_eq!(answer.status(), 400, "{body}");
        assert!(!answer.text().await.expect("read").contains("canary"));
    }
    let large = "x".repeat(1 << 20);
    let request = post.nobody().request(Method::POST, login).header("content-type", "application/json");
    assert_eq!(request.body(large).send().await.expect("answered").status(), 413);
    let form = post.nobody().request(Method::POST, login).header("content-type", "text/plain").body("{}");
    assert_eq!(form.send().await.expect("answered").status(), 400);
    post.stop().await;
}

#[test]
fn connections_without_end_are_refused_and_leave_files_for_everything_else() {
    let (site, broker, page, door) = (Site::new(), Mosquitto::start(""), free_port(), free_port());
    let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
    let doors = format!("[centre.web]\nlisten = \"127.0.0.1:{page}\"\n[centre.link]\nlisten = \"127.0.0.1:{door}\"\n");
    let config = site.write("centre.toml", &(site.common("m") + &site.centre(&mqtt) + &doors));
    // A quarter of them for each door.
    let mut few = Command::new("prlimit");
    few.arg("--nofile=256").arg(env!("CARGO_BIN_EXE_wardwatch")).arg("run").arg("--config").arg(&config);
    few.env_remove("RUST_LOG");
    let centre = site.start(few, &config);
    let connect = || std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, door));
    until("the door is open", LONG, || connect().is_ok());
    let mut held = Vec::new();
    let refused = || metric(site.centre_port, "wardwatch_centre_connections_refused_total{door=\"centre.link\"}");
    until("further ones are refused", LONG, || {
        held.extend((0..100).filter_map(|_| connect().ok()));
        refused() >= Some(200.0)
    });
    let files = std::fs::read_dir(format!("/proc/{}/fd", centre.pid())).expect("Linux").count();
    assert!(files < 192, "{files} files are open");
    assert_eq!(get(page, "/api/v1/site").map(|answer| answer.0), Some(200), "the other door is open");
    drop(held);
    until("there is place again", LONG, || get(door, "/nothing").is_some_and(|answer| answer.0 == 404));
    assert_eq!(centre.log().matches("holds all the connections").count(), 1, "it is said once");
    assert_eq!(centre.stop(), 0);
}
