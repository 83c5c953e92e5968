//! A clip of any range that the centre asks for, with real cameras, node, broker, centre and link: it arrives as it was
//! cut, with masks, with what is missing, and once.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::broker::Mosquitto;
use crate::support::segments::{pictures, sha256};
use crate::support::site::{Process, Site, free_port, get, wardwatch};
use crate::support::stimulus::{self, SceneCamera};
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(90);
const MASK: &str = "[[camera.mask]]\npolygon = [[0.0, 0.0], [0.25, 0.0], [0.25, 0.3], [0.0, 0.3]]\n";

struct Post {
    site: Site,
    _broker: Mosquitto,
    _shown: SceneCamera,
}

impl Post {
    /// Three cameras that record the same scene, one of them masked, one of which only events are shared; node and centre
    /// are enrolled and run.
    fn new() -> (Self, Process, Process) {
        let (site, broker, port) = (Site::new(), Mosquitto::start(""), free_port());
        let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
        let model = stimulus::model(&site.path("models"));
        let door = format!("[centre.link]\nlisten = \"127.0.0.1:{port}\"\n");
        site.write("centre.toml", &(site.common("m") + &site.centre(&mqtt) + &door));
        let rest = format!("[node.link]\nurl = \"http://127.0.0.1:{port}\"\n[record]\ndisk_floor_mb = 0\n");
        site.write("node.toml", &(site.common(&model) + &site.node("", &mqtt) + &rest));
        let shown = SceneCamera::start(&stimulus::scene(&site.path(""), 3), None);
        // Without a rule there are no clips of events among those that are asked for.
        let camera = |id, sharing, rest| {
            let url = shown.url();
            format!(
                "[[camera]]\nid = \"{id}\"\nsharing = \"{sharing}\"\n[camera.detect]\nurl = \"{url}\"\n[camera.recording]\nmode = \"continuous\"\n{rest}"
            )
        };
        let cameras = camera("ngo-1", "on_request", "")
            + &camera("ngo-2", "on_request", MASK)
            + &camera("ngo-3", "events_only", "");
        site.write("cameras.toml", &format!("revision = 1\n{cameras}"));
        let centre = site.run(&site.path("centre.toml"));
        let post = Self { site, _broker: broker, _shown: shown };
        let up = || get(post.site.centre_port, "/healthz").is_some();
        until("the centre is up", LONG, || up() && post.site.path("centre/control.sock").exists());
        let code = post.run(&["enrol-code", "--node", "node-1"], "centre.toml");
        post.run(&["enrol", "--code", code.lines().next().expect("a code")], "node.toml");
        let node = post.node();
        until("all cameras record", LONG, || post.on_node("SELECT COUNT(DISTINCT camera) FROM segment") == Some(3));
        (post, centre, node)
    }

    fn node(&self) -> Process {
        self.site.run(&self.site.path("node.toml"))
    }

    fn on_node(&self, sql: &str) -> Option<i64> {
        self.site.number("node/node.db", sql)
    }

    fn run(&self, arguments: &[&str], config: &str) -> String {
        let output = wardwatch().args(arguments).arg("--config").arg(self.site.path(config)).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn ask(&self, camera: &str, from_ms: i64, to_ms: i64) -> String {
        let time = |ms| jiff::Timestamp::from_millisecond(ms).expect("in range").to_string();
        let (from, to) = (time(from_ms), time(to_ms));
        let ask = ["ask", "clip", "--node", "node-1", "--camera", camera, "--reason", "case 7"];
        let said = self.run(&[&ask[..], &["--from", &from, "--to", &to]].concat(), "centre.toml");
        line(&said, "mã / id")
    }

    /// Waits until it stands so; gives the node's answer.
    fn becomes(&self, id: &str, standing: &str) -> Value {
        let look = || line(&self.run(&["ask", "status", id], "centre.toml"), "trạng thái / state");
        until(standing, LONG, || look().ends_with(&format!(" / {standing}")));
        let answer = self.site.rows("centre/centre.db", &format!("SELECT answer FROM command WHERE id = '{id}'"));
        serde_json::from_str(&answer.expect("readable")[0][0]).expect("JSON")
    }

    /// The file at the centre, after a look that it is what the answer says and what the node has.
    fn delivered(&self, id: &str, answer: &Value) -> PathBuf {
        let sum = answer["clip"]["sha256"].as_str().expect("a hash");
        let place = format!("{}/{sum}.mp4", &sum[..2]);
        let (there, here) =
            (self.site.path(&format!("centre/clips/{place}")), self.site.path(&format!("node/record/.clips/{place}")));
        let bytes = std::fs::read(&there).expect("it is here");
        assert_eq!(
            (sha256(&bytes).as_str(), bytes.len() as u64),
            (sum, answer["clip"]["bytes"].as_u64().expect("bytes"))
        );
        assert_eq!(bytes, std::fs::read(here).expect("the node has it"));
        let row = |of: &str| format!("SELECT COUNT(*) FROM clip WHERE command = '{id}' AND sha256 = '{sum}' AND {of}");
        // The node hears of it after the centre has it.
        let heard = row("event IS NULL AND delivered_ms IS NOT NULL");
        until("the node knows that it was delivered", LONG, || self.on_node(&heard) == Some(1));
        assert_eq!(self.site.number("centre/centre.db", &row("event = ''")), Some(1));
        there
    }
}

fn line(said: &str, label: &str) -> String {
    said.lines().find_map(|l| l.strip_prefix(label)).unwrap_or_else(|| panic!("{label}: {said}")).trim().to_owned()
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[test]
fn a_range_that_is_asked_for_arrives_with_its_masks_and_says_what_is_missing() {
    let (post, centre, node) = Post::new();
    let began = post.on_node("SELECT MAX(start_ms) FROM segment").expect("a number");
    until("ten seconds are recorded", LONG, || now_ms() > began + 10_000);
    // Up to this moment: the recorder is waited for. And from before anything was recorded.
    let to = now_ms();
    let (plain, masked) = (post.ask("ngo-1", began - 60_000, to), post.ask("ngo-2", began + 1000, to));
    let before = post.ask("ngo-1", began - 120_000, began - 60_000);
    let unshared = post.ask("ngo-3", began + 1000, to);

    let answer = post.becomes(&plain, "delivered");
    let missing = answer["missing"].as_array().expect("a list");
    assert_eq!(missing.len(), 1, "{answer}");
    assert_eq!((&answer["clip"]["masked"], &missing[0]["why"]), (&false.into(), &"not_recorded".into()));
    let said = post.run(&["ask", "status", &plain], "centre.toml");
    assert!(line(&said, "thiếu / missing").contains("never recorded"), "{said}");
    let file = post.delivered(&plain, &answer);
    assert_eq!(line(&said, "tệp / file"), file.display().to_string());
    let seconds = pictures(&file).len() as f64 / 10.0;
    let asked = (to - began) as f64 / 1000.0;
    assert!((seconds - asked).abs() < 2.5, "{seconds} s of {asked} s");

    let answer = post.becomes(&masked, "delivered");
    assert_eq!((&answer["clip"]["masked"], &answer["clip"]["codec"]), (&true.into(), &"h264".into()));
    assert_eq!(answer["missing"], Value::Array(vec![]));
    assert!(pictures(&post.delivered(&masked, &answer)).len() > 80);

    let answer = post.becomes(&before, "failed");
    assert_eq!((&answer["clip"], &answer["missing"][0]["why"]), (&Value::Null, &"not_recorded".into()));
    assert!(answer["detail"].as_str().expect("text").contains("nothing is recorded"));

    let answer = post.becomes(&unshared, "refused");
    assert!(answer["detail"].as_str().expect("text").contains("shares events"), "{answer}");

    // As if the answer had been lost: it is given again, not made again.
    let (clips, done) =
        (post.on_node("SELECT COUNT(*) FROM clip WHERE command IS NOT NULL"), post.becomes(&plain, "delivered"));
    let connection = rusqlite::Connection::open(post.site.path("centre/centre.db")).expect("opens");
    connection.busy_timeout(LONG).expect("set");
    connection.execute("UPDATE command SET state = 'pending', answer = NULL", []).expect("set");
    drop(connection);
    assert_eq!(post.becomes(&plain, "delivered"), done);
    assert_eq!(post.on_node("SELECT COUNT(*) FROM clip WHERE command IS NOT NULL"), clips);
    assert_eq!(clips, Some(2));
    assert_eq!((node.stop(), centre.stop()), (0, 0));
}

#[test]
fn a_node_killed_while_it_makes_a_clip_makes_it_after_its_start_and_once() {
    let (post, centre, mut node) = Post::new();
    let began = post.on_node("SELECT MAX(start_ms) FROM segment").expect("a number");
    until("ten seconds are recorded", LONG, || now_ms() > began + 10_000);
    let id = post.ask("ngo-2", began + 1000, now_ms());
    let work = || {
        let all = std::fs::read_dir(post.site.path("node/record/.clips")).into_iter().flatten().flatten();
        all.filter(|e| e.file_name().to_string_lossy().starts_with('.')).count()
    };
    until("it is at work", LONG, || work() > 0);
    node.kill();
    assert_eq!(post.on_node("SELECT COUNT(*) FROM command"), Some(0), "neither clip nor answer were there");
    let node = post.node();
    let answer = post.becomes(&id, "delivered");
    post.delivered(&id, &answer);
    assert_eq!(post.on_node("SELECT COUNT(*) FROM clip WHERE command IS NOT NULL"), Some(1));
    until("nothing is left of it", LONG, || work() == 0);
    assert_eq!((node.stop(), centre.stop()), (0, 0));
}
