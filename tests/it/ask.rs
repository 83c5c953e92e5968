//! What the centre asks of a node, with real processes and a real broker: holds, their release, whatever the order, a node
//! that is away or killed, and commands of strangers.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::command::keeps_to;
use crate::support::broker::Mosquitto;
use crate::support::site::{Process, Site, get, metric, wardwatch};
use crate::support::stimulus::{self, SceneCamera};
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(60);
const RANGE: [&str; 4] = ["--from", "20/11/2026 17:00:00", "--to", "2026-11-20T10:10:00Z"];
const COMMAND: &str = "wardwatch/v1/o-cho-dua/node-1/command";
const ANSWER: &str = "wardwatch/v1/o-cho-dua/node-1/answer";
const FIRST: &str = "01980000-0000-7000-8000-000000000001";
const SECOND: &str = "01980000-0000-7000-8000-000000000002";

/// Two cameras that do not answer, and one whose owner shares nothing.
const CAMERAS: &str = "revision = 1\n[[camera]]\nid = \"ngo-12\"\n[camera.detect]\nurl = \"rtsp://127.0.0.1:9/a\"\n\
    [[camera]]\nid = \"ngo-13\"\n[camera.detect]\nurl = \"rtsp://127.0.0.1:9/b\"\n\
    [[camera]]\nid = \"ngo-14\"\nsharing = \"listed\"\n[camera.detect]\nurl = \"rtsp://127.0.0.1:9/c\"\n";

struct Post {
    site: Site,
    broker: Mosquitto,
}

impl Post {
    fn new() -> Self {
        let post = Self { site: Site::new(), broker: Mosquitto::start("max_queued_messages 5000") };
        let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", post.broker.port);
        let model = stimulus::model(&post.site.path("models"));
        let centre = format!("{}{}", post.site.common("m"), post.site.centre(&mqtt));
        let node = format!("{}{}", post.site.common(&model), post.site.node("", &mqtt));
        post.site.write("centre.toml", &centre);
        post.site.write("node.toml", &node);
        post.site.write("cameras.toml", CAMERAS);
        post
    }

    fn run(&self, config: &str) -> Process {
        self.site.run(&self.site.path(config))
    }

    fn online(&self) -> Option<i64> {
        self.site.number("centre/centre.db", "SELECT COUNT(*) FROM node WHERE state = 'online'")
    }

    /// A centre that can be asked: before that, whoever asks takes its database.
    fn centre(&self) -> Process {
        let centre = self.run("centre.toml");
        let healthy = || get(self.site.centre_port, "/healthz").is_some();
        until("the centre is up", LONG, || healthy() && self.site.path("centre/control.sock").exists());
        centre
    }

    /// A centre, and a node that it knows.
    fn both(&self) -> (Process, Process) {
        let (centre, node) = (self.centre(), self.run("node.toml"));
        until("the node is known", LONG, || self.online() == Some(1));
        (centre, node)
    }

    /// A node that can hear what is published.
    fn node(&self) -> Process {
        let node = self.run("node.toml");
        until("the node is connected", LONG, || self.count("wardwatch_broker_connected") == 1.0);
        node
    }

    fn count(&self, metric_line: &str) -> f64 {
        metric(self.site.node_port, metric_line).unwrap_or(0.0)
    }

    fn commands(&self, state: &str) -> f64 {
        self.count(&format!("wardwatch_commands_total{{state=\"{state}\"}}"))
    }

    fn try_ask(&self, arguments: &[&str]) -> Output {
        let mut command = wardwatch();
        command.arg("ask").args(arguments).arg("--config").arg(self.site.path("centre.toml"));
        command.env_remove("RUST_LOG").output().expect("it runs")
    }

    /// Asks; gives the id, how it stands, and all that was said.
    fn ask(&self, arguments: &[&str]) -> (String, String, String) {
        let output = self.try_ask(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("text");
        let line = |label: &str| text.lines().find_map(|l| l.strip_prefix(label)).expect("a line").trim().to_owned();
        let state = line("trạng thái / state").rsplit_once(" / ").expect("two languages").1.to_owned();
        (line("mã / id"), state, text)
    }

    fn hold(&self, camera: &str) -> String {
        let hold = ["hold", "--node", "node-1", "--camera", camera, "--reason", "case 7", "--issuer", "an"];
        let (id, state, _) = self.ask(&[&hold[..], &RANGE[..]].concat());
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

    fn on_node(&self, sql: &str) -> Option<i64> {
        self.site.number("node/node.db", sql)
    }

    fn sent_to(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-V", "mqttv5", "-q", "1", "-h", "127.0.0.1", "-p", &self.broker.port.to_string()]);
        command
    }

    /// Publishes lines as messages, without a centre.
    fn publish(&self, lines: &str, more: &[&str]) {
        let mut command = self.sent_to("mosquitto_pub");
        command.args(["-t", COMMAND]).args(more).stdin(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("taken");
        assert!(child.wait().expect("it ends").success());
    }

    fn listen(&self) -> Child {
        let mut command = self.sent_to("mosquitto_sub");
        command.args(["-t", ANSWER, "-C", "1", "-W", "60"]).stdout(Stdio::piped());
        command.spawn().expect("it runs")
    }

    /// Publishes a command until it is answered, as the centre does.
    fn told(&self, command: &str) -> Value {
        let mut child = self.listen();
        until("it is answered", LONG, || {
            self.publish(command, &["-l"]);
            child.try_wait().expect("it is ours").is_some()
        });
        let output = child.wait_with_output().expect("it ended");
        let answer = serde_json::from_slice(&output.stdout).expect("an answer");
        assert!(keeps_to("answer.schema.json", &answer), "{answer}");
        answer
    }
}

fn command(id: &str, rest: &str) -> String {
    let at = |seconds: i64| {
        let now = jiff::Timestamp::now().as_second() + seconds;
        jiff::Timestamp::from_second(now).expect("in range").to_string()
    };
    format!(
        "{{\"schema\":\"wardwatch.command/1\",\"id\":\"{id}\",\"issuer\":\"an\",\"reason\":\"case 7\",\
         \"issued_at\":\"{}\",\"expires_at\":\"{}\",{rest}}}",
        at(-10),
        at(3600)
    )
}

fn hold(id: &str) -> String {
    let range = "\"from\":\"2026-11-20T10:00:00Z\",\"to\":\"2026-11-20T10:10:00Z\"";
    command(id, &format!("\"kind\":\"hold\",\"camera\":\"ngo-12\",{range}"))
}

fn release(id: &str, hold: &str) -> String {
    command(id, &format!("\"kind\":\"release\",\"hold\":\"{hold}\""))
}

#[test]
fn what_is_there_is_held_until_it_is_released_and_what_is_gone_is_too_late() {
    let post = Post::new();
    let (centre, node) = post.both();
    post.clip();
    let (there, gone, listed, unknown) =
        (post.hold("ngo-12"), post.hold("ngo-13"), post.hold("ngo-14"), post.hold("ngo-15"));
    post.becomes(&there, "held");
    post.becomes(&gone, "too_late");
    post.becomes(&listed, "refused");
    post.becomes(&unknown, "refused");
    let said = post.ask(&["status", &gone]).2;
    assert!(said.contains("20/11/2026 17:00:00 UTC+7 – 20/11/2026 17:10:00 UTC+7: chưa từng ghi"), "{said}");
    assert!(post.ask(&["status", &listed]).2.contains("`listed`"));
    let held = || post.on_node("SELECT held FROM clip");
    assert_eq!(held(), Some(1), "retention leaves it");
    let kept = post.site.rows("node/node.db", "SELECT id, reason, issuer FROM hold").expect("readable");
    assert_eq!((kept.len(), kept[0][0].as_str(), kept[0][1].as_str()), (1, there.as_str(), "case 7"));
    assert!(kept[0][2].starts_with("an (local:"), "{}", kept[0][2]);

    let (release, state, _) = post.ask(&["release", &there, "--reason", "case 7 is closed", "--wait=60"]);
    assert_eq!(state, "done");
    post.becomes(&there, "released");
    assert_eq!(held(), Some(0), "it may leave");
    for (id, word) in [(&release, "no hold"), (&there, "released"), (&gone, "too_late"), (&FIRST.to_owned(), "nothing")]
    {
        let output = post.try_ask(&["release", id, "--reason", "again"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(word), "{id}: {said}");
    }
    let stranger = ["hold", "--node", "node-9", "--camera", "ngo-12", "--reason", "x"];
    assert!(!post.try_ask(&[&stranger[..], &RANGE[..]].concat()).status.success(), "no such node");

    let list = String::from_utf8(post.try_ask(&["status"]).stdout).expect("text");
    assert_eq!(list.lines().count(), 5, "{list}");
    assert!(list.lines().all(|l| l.contains("an (local:") || l.contains("case 7 is closed")), "{list}");
    let audit = "SELECT COUNT(*) FROM command WHERE issuer <> '' AND reason <> '' AND answered_ms IS NOT NULL";
    assert_eq!(post.site.number("centre/centre.db", audit), Some(5));
    for row in post.site.rows("centre/centre.db", "SELECT body, answer FROM command").expect("readable") {
        let [sent, answered] = [0, 1].map(|n| serde_json::from_str(&row[n]).expect("JSON"));
        assert!(keeps_to("command.schema.json", &sent) && keeps_to("answer.schema.json", &answered), "{row:?}");
    }
    assert_eq!((node.stop(), centre.stop()), (0, 0));
}

#[test]
fn a_node_that_is_away_is_asked_when_it_comes_back_and_a_repeat_is_answered_but_not_done() {
    let post = Post::new();
    let (mut centre, node) = post.both();
    post.clip();
    assert_eq!(node.stop(), 0);
    until("the node is gone", LONG, || post.online() == Some(0));
    let id = post.hold("ngo-12");
    centre.kill();
    let mut centre = post.centre();
    assert_eq!(post.ask(&["status", &id]).1, "pending");
    let node = post.run("node.toml");
    post.becomes(&id, "held");

    // As if the answer had been lost with a centre that died before it was on disk: it asks again.
    centre.kill();
    let connection = rusqlite::Connection::open(post.site.path("centre/centre.db")).expect("opens");
    connection.execute("UPDATE command SET state = 'pending', answer = NULL", []).expect("set");
    connection.execute("UPDATE hold SET state = 'pending'", []).expect("set");
    drop(connection);
    let centre = post.centre();
    post.becomes(&id, "held");
    assert_eq!((post.commands("done"), post.commands("repeated")), (1.0, 1.0), "it was done once");
    assert_eq!((node.stop(), centre.stop()), (0, 0));
}

#[test]
fn a_node_killed_before_its_answer_is_heard_answers_after_its_start_and_does_it_no_second_time() {
    let post = Post::new();
    let mut node = post.node();
    post.clip();
    // Nobody hears the answer.
    until("it is held", LONG, || {
        post.publish(&hold(FIRST), &["-l"]);
        post.on_node("SELECT COUNT(*) FROM hold") == Some(1)
    });
    node.kill();
    let made = "SELECT created_ms FROM hold";
    let created = post.on_node(made);
    let node = post.node();
    let answer = post.told(&hold(FIRST));
    assert_eq!((&answer["id"], &answer["state"], &answer["hold"]), (&FIRST.into(), &"done".into(), &"held".into()));
    assert_eq!(post.on_node(made), created);
    assert!(post.commands("repeated") >= 1.0 && post.commands("done") == 0.0);

    // What was released is not held again by a hold that comes late.
    assert_eq!(post.told(&release(SECOND, FIRST))["hold"], "released");
    assert_eq!(post.told(&hold(FIRST)), answer);
    assert_eq!(post.on_node("SELECT COUNT(*) + (SELECT SUM(held) FROM clip) FROM hold"), Some(0));
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_release_that_overtakes_its_hold_has_the_last_word() {
    let post = Post::new();
    let mut node = post.node();
    post.clip();
    assert_eq!(post.told(&release(SECOND, FIRST))["hold"], "released");
    node.kill();
    let node = post.node();
    let answer = post.told(&hold(FIRST));
    assert_eq!((&answer["state"], &answer["hold"]), (&"done".into(), &"released".into()));
    assert_eq!(post.on_node("SELECT COUNT(*) + (SELECT SUM(held) FROM clip) FROM hold"), Some(0));
    assert_eq!(node.stop(), 0);
}

#[test]
fn what_the_store_cannot_keep_is_not_answered_and_comes_again() {
    let post = Post::new();
    let node = post.node();
    post.clip();
    let connection = rusqlite::Connection::open(post.site.path("node/node.db")).expect("opens");
    connection.busy_timeout(LONG).expect("set");
    connection.execute_batch("BEGIN IMMEDIATE").expect("nobody else may write");
    post.publish(&hold(FIRST), &["-l"]);
    until("it is put off", LONG, || post.commands("put_off") == 1.0);
    assert_eq!(post.commands("refused") + post.commands("done"), 0.0);
    connection.execute_batch("COMMIT").expect("over");
    assert_eq!(post.on_node("SELECT COUNT(*) FROM hold"), Some(0));
    assert_eq!(post.told(&hold(FIRST))["hold"], "held");
    assert_eq!(node.stop(), 0);
}

#[test]
fn what_has_expired_or_is_not_of_this_time_is_not_done() {
    let post = Post::new();
    let node = post.node();
    post.clip();
    let altered = |field: &str, seconds: i64| {
        let mut command: Value = serde_json::from_str(&hold(FIRST)).expect("JSON");
        let at = jiff::Timestamp::now().as_second() + seconds;
        command[field] = jiff::Timestamp::from_second(at).expect("in range").to_string().into();
        command.to_string()
    };
    assert_eq!(post.told(&altered("expires_at", -1))["state"], "expired");
    assert_eq!(post.told(&altered("issued_at", 600))["state"], "refused");
    assert_eq!(post.told(&altered("expires_at", 8 * 86400))["state"], "refused", "good for too long");
    assert_eq!(post.on_node("SELECT COUNT(*) + (SELECT COUNT(*) FROM command) FROM hold"), Some(0));
    assert_eq!(post.told(&hold(FIRST))["hold"], "held", "nothing of it was remembered");
    assert_eq!(node.stop(), 0);
}

#[test]
fn strangers_are_bounded_and_counted_and_alerts_go_on() {
    let post = Post::new();
    let scene = stimulus::scene(&post.site.path(""), 1);
    let shown = SceneCamera::start(&scene, None);
    let camera = crate::event_clips::camera("ngo-12", &shown.url(), "off", "");
    post.site.write("cameras.toml", &format!("revision = 1\n{camera}"));
    post.publish(&hold(FIRST), &["-s", "-r"]);
    let (centre, node) = post.both();
    until("what was retained is counted", LONG, || post.commands("malformed") >= 1.0);
    post.publish("", &["-n", "-r"]);
    let nothing = "SELECT (SELECT COUNT(*) FROM command) + (SELECT COUNT(*) FROM hold)";
    let noise = ["{}", "[[[[", "null", &"x".repeat(100_000), &"[".repeat(8000)].join("\n");
    post.publish(&noise, &["-l"]);
    until("the noise is counted", LONG, || post.commands("malformed") >= 7.0);
    let later = hold(FIRST).replace("command/1", "command/2");
    assert_eq!(post.told(&later)["state"], "refused", "a newer version is told so");
    assert_eq!(post.told(&hold(FIRST).replace("\"hold\"", "\"format\""))["state"], "refused");
    assert_eq!(post.on_node(nothing), Some(0), "nothing of it was done");

    // A flood of sound ones, while somebody walks through the picture.
    let flood: Vec<String> = (0..1000).map(|n| hold(&format!("01980000-0000-7000-8000-00000001{n:04}"))).collect();
    let event = || post.site.number("centre/centre.db", "SELECT COUNT(*) FROM event WHERE phase = 'ended'");
    let before = event();
    post.publish(&flood.join("\n"), &["-l"]);
    until("the event is at the centre", LONG, || event() == Some(1));
    assert_eq!(before, Some(0), "it was not there before the flood");
    assert_eq!(post.told(&hold(SECOND))["hold"], "too_late", "and the node still obeys");
    let taken = post.commands("done") + post.commands("put_off");
    assert!(taken > 1000.0, "{taken} of the flood were counted");
    assert!(post.on_node("SELECT COUNT(*) FROM command").is_some_and(|n| n <= 1001));
    let conflicts = metric(post.site.centre_port, "wardwatch_centre_refused_total{reason=\"conflict\"}");
    assert!(conflicts > Some(0.0), "answers to what the centre never asked are refused");
    assert_eq!((node.stop(), centre.stop()), (0, 0));
}
