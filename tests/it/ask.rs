//! What the centre asks of a node, with real processes and a real broker: holds, their release, a node that is away, and
//! commands of strangers.

use std::process::Command;
use std::time::Duration;

use crate::support::broker::Mosquitto;
use crate::support::site::{Process, Site, metric, wardwatch};
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(60);
const RANGE: [&str; 4] = ["--from", "2026-11-20T10:00:00Z", "--to", "2026-11-20T10:10:00Z"];

struct Post {
    site: Site,
    broker: Mosquitto,
}

impl Post {
    fn new() -> Self {
        let post = Self { site: Site::new(), broker: Mosquitto::start("") };
        let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", post.broker.port);
        let model = crate::support::stimulus::model(&post.site.path("models"));
        let centre = format!("{}{}", post.site.common("m"), post.site.centre(&mqtt));
        let node = format!("{}{}", post.site.common(&model), post.site.node("", &mqtt));
        post.site.write("centre.toml", &centre);
        post.site.write("node.toml", &node);
        post.site.write("cameras.toml", "revision = 1\n");
        post
    }

    fn run(&self, config: &str) -> Process {
        self.site.run(&self.site.path(config))
    }

    /// Asks; gives the id and how it stands.
    fn ask(&self, arguments: &[&str]) -> (String, String) {
        let mut command = wardwatch();
        command.arg("ask").args(arguments).arg("--config").arg(self.site.path("centre.toml"));
        let output = command.env_remove("RUST_LOG").output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("text");
        let (id, state) = text.lines().next().and_then(|l| l.split_once(' ')).expect("an id and a state");
        (id.to_owned(), state.to_owned())
    }

    fn hold(&self, camera: &str) -> String {
        let hold = ["hold", "--node", "node-1", "--camera", camera, "--reason", "case 7", "--issuer", "an"];
        let (id, state) = self.ask(&[&hold[..], &RANGE[..]].concat());
        assert_eq!(state, "pending");
        id
    }

    fn becomes(&self, id: &str, state: &str) {
        until(state, LONG, || self.ask(&["status", id]).1 == state);
    }

    /// A clip of the range that [`RANGE`] covers.
    fn clip(&self) {
        let connection = rusqlite::Connection::open(self.site.path("node/node.db")).expect("opens");
        connection.busy_timeout(LONG).expect("set");
        connection
            .execute(
                "INSERT INTO clip (camera, path, sha256, bytes, from_ms, to_ms, masked, complete, created_ms)
                 VALUES ('ngo-12', 'a.mp4', 'aa', 1, unixepoch('2026-11-20 10:01:00') * 1000,
                         unixepoch('2026-11-20 10:02:00') * 1000, 0, 1, unixepoch() * 1000)",
                [],
            )
            .expect("inserted");
    }
}

#[test]
fn what_is_there_is_held_until_it_is_released_and_what_is_gone_is_too_late() {
    let post = Post::new();
    let centre = post.run("centre.toml");
    let node = post.run("node.toml");
    until("the node is known", LONG, || {
        post.site.number("centre/centre.db", "SELECT COUNT(*) FROM node WHERE state = 'online'") == Some(1)
    });
    post.clip();
    let (there, gone) = (post.hold("ngo-12"), post.hold("ngo-13"));
    post.becomes(&there, "held");
    post.becomes(&gone, "too_late");
    let held = || post.site.number("node/node.db", "SELECT held FROM clip");
    assert_eq!(held(), Some(1), "retention leaves it");
    let kept = post.site.rows("node/node.db", "SELECT id, reason, issuer FROM hold").expect("readable");
    assert_eq!(kept, [[there.as_str(), "case 7", "an"]]);

    let (release, _) = post.ask(&["release", &there]);
    post.becomes(&release, "answered");
    post.becomes(&there, "released");
    assert_eq!(held(), Some(0), "it may leave");
    assert_eq!((node.stop(), centre.stop()), (0, 0));
}

#[test]
fn a_node_that_is_away_is_asked_when_it_comes_back_and_a_repeat_is_answered_but_not_done() {
    let post = Post::new();
    let mut centre = post.run("centre.toml");
    let node = post.run("node.toml");
    let online = || post.site.number("centre/centre.db", "SELECT COUNT(*) FROM node WHERE state = 'online'");
    until("the node is known", LONG, || online() == Some(1));
    post.clip();
    assert_eq!(node.stop(), 0);
    until("the node is gone", LONG, || online() == Some(0));
    let id = post.hold("ngo-12");
    centre.kill();
    let centre = post.run("centre.toml");
    assert_eq!(post.ask(&["status", &id]).1, "pending");
    let node = post.run("node.toml");
    post.becomes(&id, "held");

    // As if the answer had been lost: the centre asks again.
    let connection = rusqlite::Connection::open(post.site.path("centre/centre.db")).expect("opens");
    connection.busy_timeout(LONG).expect("set");
    connection.execute("UPDATE command SET state = 'pending'", []).expect("set");
    connection.execute("UPDATE hold SET state = 'pending'", []).expect("set");
    post.becomes(&id, "held");
    let done = metric(post.site.node_port, "wardwatch_commands_total{state=\"done\"}");
    assert_eq!(done, Some(1.0), "it was done once");
    assert_eq!((node.stop(), centre.stop()), (0, 0));
}

#[test]
fn commands_that_are_not_sound_are_counted_and_change_nothing() {
    let post = Post::new();
    let node = post.run("node.toml");
    let health = || metric(post.site.node_port, "wardwatch_broker_connected");
    until("the node is connected", LONG, || health() == Some(1.0));
    let refused = || metric(post.site.node_port, "wardwatch_commands_total{state=\"refused\"}").unwrap_or(0.0);
    let port = post.broker.port.to_string();
    for (sent, payload) in ["{}", "[[[[", &"x".repeat(100_000)].into_iter().enumerate() {
        let file = post.site.write("payload", payload);
        until("it was refused", LONG, || {
            let mut command = Command::new("mosquitto_pub");
            command.args(["-V", "mqttv5", "-q", "1", "-h", "127.0.0.1", "-p", &port, "-f"]).arg(&file);
            let sent_now = command.args(["-t", "wardwatch/v1/o-cho-dua/node-1/command"]).status().expect("it runs");
            assert!(sent_now.success());
            refused() > sent as f64
        });
    }
    assert_eq!(
        post.site.number("node/node.db", "SELECT (SELECT COUNT(*) FROM command) + (SELECT COUNT(*) FROM hold)"),
        Some(0)
    );
    assert_eq!(node.stop(), 0);
}
