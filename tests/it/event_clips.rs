//! The clips of events on a real node: there in time, whole, told of, and never lost by a kill.

use std::path::PathBuf;
use std::time::Duration;

use wardwatch::wire::event::{Event, PhaseJson, parse_rfc3339};

use crate::support::broker::Mosquitto;
use crate::support::segments::{pictures, sha256};
use crate::support::site::{Process, Site};
use crate::support::stimulus::{self, SceneCamera};
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(60);

/// A node without a broker, on which everything waits in the outbox, and cameras that show one scene.
pub struct Post {
    pub site: Site,
    config: PathBuf,
    _broker: Mosquitto,
}

impl Post {
    pub fn new() -> Self {
        let site = Site::new();
        let model = stimulus::model(&site.path("models"));
        let broker = Mosquitto::stopped("");
        let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
        let record = "[record]\ndisk_floor_mb = 0\n";
        let config = site.write("node.toml", &(site.common(&model) + &site.node("", &mqtt) + record));
        Self { site, config, _broker: broker }
    }

    pub fn run(&self) -> Process {
        self.site.run(&self.config)
    }

    pub fn clips(&self, wanted: &str) -> Vec<ClipRow> {
        let sql = format!(
            "SELECT id, camera, event, path, sha256, from_ms, to_ms, complete, masked FROM clip WHERE {wanted}"
        );
        let rows = self.site.rows("node/node.db", &sql).unwrap_or_default();
        let number = |r: &[String], n: usize| r[n].parse().expect("a number");
        rows.into_iter()
            .map(|r| ClipRow {
                camera: r[1].clone(),
                event: r[2].clone(),
                file: self.site.path("node/record/.clips").join(&r[3]),
                sha256: r[4].clone(),
                from_ms: number(&r, 5),
                to_ms: number(&r, 6),
                complete: r[7] == "1",
                masked: r[8] == "1",
            })
            .collect()
    }

    /// The newest revision of an event, as it waits for the centre.
    pub fn newest(&self, event: &str) -> Event {
        let sql = format!(
            "SELECT CAST(payload AS TEXT) FROM outbox WHERE event = '{event}' AND kind = 'event' ORDER BY revision DESC"
        );
        let rows = self.site.rows("node/node.db", &sql).expect("readable");
        serde_json::from_str(&rows[0][0]).expect("an event")
    }
}

pub struct ClipRow {
    pub camera: String,
    pub event: String,
    pub file: PathBuf,
    pub sha256: String,
    pub from_ms: i64,
    pub to_ms: i64,
    pub complete: bool,
    pub masked: bool,
}

pub fn camera(id: &str, url: &str, mode: &str, rest: &str) -> String {
    format!(
        "[[camera]]\nid = \"{id}\"\n[camera.detect]\nurl = \"{url}\"\nfps = 10\n[camera.recording]\nmode = \"{mode}\"\n{rest}\
         [[camera.zone]]\nname = \"giua\"\npolygon = [[0.2, 0.5], [0.8, 0.5], [0.8, 1.0], [0.2, 1.0]]\n\
         [[camera.rule]]\nname = \"vao\"\nkind = \"intrusion\"\nzones = [\"giua\"]\ninertia = 2\ngrace_seconds = 1\n\
         pre_roll_seconds = 2\npost_roll_seconds = 3\n\n"
    )
}

fn ms(time: &str) -> i64 {
    parse_rfc3339(time).expect("a time")
}

#[test]
fn an_event_gets_a_clip_of_what_its_rule_asks_for_and_a_revision_that_tells_of_it() {
    let post = Post::new();
    let scene = stimulus::scene(&post.site.path(""), 1);
    let shown = SceneCamera::start(&scene, None);
    let cameras = camera("always", &shown.url(), "continuous", "") + &camera("events", &shown.url(), "events", "");
    post.site.write("cameras.toml", &format!("revision = 1\n{cameras}"));
    let node = post.run();
    until("both cameras' events have their clips", LONG, || post.clips("complete = 1").len() == 2);
    for row in post.clips("complete = 1 ORDER BY camera") {
        let bytes = std::fs::read(&row.file).expect("there");
        assert_eq!(sha256(&bytes), row.sha256);
        let event = post.newest(&row.event);
        assert_eq!((event.phase, event.camera.as_deref()), (PhaseJson::Ended, Some(row.camera.as_str())));
        let clip = event.clip.expect("the revision tells of it");
        assert_eq!((clip.sha256, clip.bytes, clip.complete), (row.sha256, bytes.len() as u64, true));
        assert_eq!((ms(&clip.from), ms(&clip.to), clip.missing_ms), (row.from_ms, row.to_ms, 0));
        // A keyframe comes every second, and a fragment is as long.
        let (before, after) = (ms(&event.started_at) - row.from_ms, row.to_ms - ms(&event.ended_at.expect("ended")));
        assert!((1_900..3_500).contains(&before), "{} begins {before} ms before", row.camera);
        assert!((2_900..5_000).contains(&after), "{} ends {after} ms after", row.camera);
        let shown = pictures(&row.file);
        let seconds = (row.to_ms - row.from_ms) as f64 / 1000.0;
        assert!(shown[0].1 && (shown.len() as f64 / 10.0 - seconds).abs() < 0.5, "{} in {seconds} s", shown.len());
    }
    assert_eq!(node.stop(), 0);
}
