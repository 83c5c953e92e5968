//! Clips under faults, from the camera to the centre's disk: cameras that show a scripted scene, and kill -9 of workers,
//! of the process that masks clips, of node, centre and broker, at moments drawn by lot. In the end every event that the
//! node has must be at the centre with the one clip that its recording gives, whole, byte for byte and playable.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use crate::Options;
use crate::kills::Lot;
use crate::post::{LONG, now_ms};
use crate::support::broker::Mosquitto;
use crate::support::segments::{pictures, sha256};
use crate::support::site::{Process, Site, free_port, kill, wardwatch};
use crate::support::stimulus::{self, SceneCamera};
use crate::support::wait::{until, until_or};

const NODE: &str = "node/node.db";
const CENTRE: &str = "centre/centre.db";
const KINDS: [&str; 5] = ["transcode", "worker", "node", "centre", "broker"];
/// So long before the end of the scene there is still a clip to come.
const LAST_MASKED: Duration = Duration::from_secs(20);
const MASK: &str = "[[camera.mask]]\npolygon = [[0.0, 0.0], [0.25, 0.0], [0.25, 0.3], [0.0, 0.3]]\n";
/// Camera, recording mode, what else it has.
const CAMERAS: [(&str, &str, &str); 4] =
    [("always", "continuous", ""), ("events", "events", ""), ("masked", "continuous", MASK), ("both", "events", MASK)];

struct Post {
    site: Site,
    broker: Mosquitto,
    link: u16,
}

/// An event as the node has it in the end.
struct Ended {
    id: String,
    camera: String,
    revision: i64,
    from_ms: i64,
    to_ms: i64,
}

/// Prints its table; returns the promises that were broken.
pub fn run(options: &Options) -> Vec<String> {
    let walks = options.rounds;
    let mut post = Post { site: Site::new(), broker: Mosquitto::start(""), link: free_port() };
    let scene = stimulus::scene(&post.site.path(""), walks);
    let shown = SceneCamera::start(&scene, None);
    post.configure(&shown.url());
    let mut centre = post.centre();
    post.enrol();
    let mut node = post.node();
    let (mut moments, mut struck) = (Lot(options.seed | 1), BTreeMap::<&str, u32>::new());
    let ends = SceneCamera::walk(walks);
    while shown.position() < ends {
        let moment = now_ms() + 2_000 + moments.below(4_000) as i64;
        until("the moment", LONG, || now_ms() >= moment);
        // Clips are masked within a second, some time after each walk.
        let kinds = if ends.saturating_sub(shown.position()) > LAST_MASKED { &KINDS[..] } else { &KINDS[1..] };
        let kind = kinds[moments.below(kinds.len() as u64) as usize];
        let hit = match kind {
            "worker" => strike_child(&node, "worker", &mut moments),
            "transcode" => {
                until("a clip is being masked", LONG, || strike_child(&node, "transcode", &mut moments));
                true
            }
            "node" => {
                node.kill();
                node = post.node();
                true
            }
            "centre" => {
                centre.kill();
                centre = post.centre();
                true
            }
            _ => {
                post.broker.kill();
                post.broker.go();
                true
            }
        };
        *struck.entry(kind).or_default() += u32::from(hit);
    }
    // Whoever asks anew sees the scene from its beginning.
    drop(shown);
    let events = post.settled();
    let mut broken = Vec::new();
    let (mut clips, mut holed, mut bare) = (0, 0, 0);
    for event in &events {
        match post.examine(event) {
            Ok(Some(missing_ms)) => {
                clips += 1;
                holed += u32::from(missing_ms > 0);
            }
            Ok(None) => bare += 1,
            Err(why) => broken.push(format!("event {} of {}: {why}", event.id, event.camera)),
        }
    }
    broken.extend(post.strangers(&events));
    for process in [node, centre] {
        let code = process.stop();
        if code != 0 {
            broken.push(format!("the exit code of a stop was {code}"));
        }
    }
    if !broken.is_empty() {
        post.site.keep();
        println!("everything stays in {}", post.site.path("").display());
    }
    let kinds: Vec<String> = struck.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    println!(
        "{} kills ({}): {} events, {clips} clips at the centre",
        struck.values().sum::<u32>(),
        kinds.join(", "),
        events.len()
    );
    println!(
        "  {holed} clips say that something is missing; {bare} events of which nothing was recorded; {} wrong",
        broken.len()
    );
    broken
}

/// kill -9 of one of the node's processes that was started with `argument`; whether there was one.
fn strike_child(node: &Process, argument: &str, moments: &mut Lot) -> bool {
    let is = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|c| c.split(|b| *b == 0).nth(1) == Some(argument.as_bytes()))
    };
    let all: Vec<u32> = node.workers().into_iter().filter(is).collect();
    let Some(pid) = all.get(moments.below(all.len().max(1) as u64) as usize) else { return false };
    kill(*pid, "KILL");
    true
}

impl Post {
    fn configure(&self, url: &str) {
        let model = stimulus::model(&self.site.path("models"));
        let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", self.broker.port);
        let node = self.site.node("cameras_per_worker = 2\n", &mqtt);
        let link = format!("[node.link]\nurl = \"http://127.0.0.1:{}\"\n[record]\ndisk_floor_mb = 0\n", self.link);
        self.site.write("node.toml", &(self.site.common(&model) + &node + &link));
        let link = format!("[centre.link]\nlisten = \"127.0.0.1:{}\"\n", self.link);
        self.site.write("centre.toml", &(self.site.common(&model) + &self.site.centre(&mqtt) + &link));
        let camera = |(id, mode, rest): &(&str, &str, &str)| {
            format!(
                "[[camera]]\nid = \"{id}\"\n[camera.detect]\nurl = \"{url}\"\nfps = 10\n[camera.recording]\nmode = \"{mode}\"\n\
                 {rest}[[camera.zone]]\nname = \"giua\"\npolygon = [[0.2, 0.5], [0.8, 0.5], [0.8, 1.0], [0.2, 1.0]]\n\
                 [[camera.rule]]\nname = \"vao\"\nkind = \"intrusion\"\nzones = [\"giua\"]\ninertia = 2\ngrace_seconds = 1\n\
                 pre_roll_seconds = 1\npost_roll_seconds = 2\n\n"
            )
        };
        let cameras: String = CAMERAS.iter().map(camera).collect();
        self.site.write("cameras.toml", &format!("revision = 1\n{cameras}"));
    }

    fn node(&self) -> Process {
        self.site.run(&self.site.path("node.toml"))
    }

    fn centre(&self) -> Process {
        let centre = self.site.run(&self.site.path("centre.toml"));
        until("the centre's door is open", LONG, || TcpStream::connect((Ipv4Addr::LOCALHOST, self.link)).is_ok());
        centre
    }

    fn enrol(&self) {
        let command = |arguments: &[&str], config: &str| {
            let mut command = wardwatch();
            command.arg(arguments[0]).arg("--config").arg(self.site.path(config)).args(&arguments[1..]);
            let done = command.output().expect("it runs");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8(done.stdout).expect("text")
        };
        let said = command(&["enrol-code", "--node", "node-1"], "centre.toml");
        command(&["enrol", "--code", said.lines().next().expect("a code")], "node.toml");
    }

    /// Waits until nothing is on its way any more; the events of the cameras.
    fn settled(&self) -> Vec<Ended> {
        let count = |sql: &str| self.site.number(NODE, sql).unwrap_or(-1);
        let begun = || now_ms() - count("SELECT COALESCE(MAX(started_ms), 0) FROM event WHERE camera <> ''");
        let open = || count("SELECT COUNT(*) FROM event WHERE phase <> 'ended' AND camera <> ''");
        let waiting = || count("SELECT COUNT(*) FROM outbox");
        let undelivered = || count("SELECT COUNT(*) FROM clip WHERE deliver = 1 AND delivered_ms IS NULL");
        // Events without any recording get none: those are told apart below.
        let unmade = || {
            let sql = "SELECT COUNT(*) FROM event WHERE camera <> '' AND NOT EXISTS
                         (SELECT 1 FROM clip WHERE clip.event = event.id AND complete = 1)
                       AND EXISTS (SELECT 1 FROM segment WHERE segment.camera = event.camera
                         AND segment.start_ms < json_extract(event.report, '$.ended_at.wall_ms') + 2000
                         AND segment.end_ms > json_extract(event.report, '$.started_at.wall_ms') - 1000)";
            count(sql)
        };
        let said = || {
            format!(
                "{} open, {} without a clip, {} undelivered, {} rows wait",
                open(),
                unmade(),
                undelivered(),
                waiting()
            )
        };
        until_or(said, Duration::from_secs(180), || {
            begun() > 20_000 && open() == 0 && unmade() == 0 && undelivered() == 0 && waiting() == 0
        });
        let sql = "SELECT id, camera, revision, json_extract(report, '$.started_at.wall_ms') - 1000,
                     json_extract(report, '$.ended_at.wall_ms') + 2000 FROM event WHERE camera <> '' ORDER BY started_ms";
        let rows = self.site.rows(NODE, sql).expect("readable");
        let number = |text: &str| text.parse().expect("a number");
        let event = |r: Vec<String>| Ended {
            id: r[0].clone(),
            camera: r[1].clone(),
            revision: number(&r[2]),
            from_ms: number(&r[3]),
            to_ms: number(&r[4]),
        };
        rows.into_iter().map(event).collect()
    }

    /// What its clip says is missing, in ms; none when nothing of it was recorded and so there is no clip.
    fn examine(&self, event: &Ended) -> Result<Option<i64>, String> {
        let id = &event.id;
        let last = format!("SELECT revision, json FROM revision WHERE id = '{id}' ORDER BY revision DESC LIMIT 1");
        let [revision, json] = &self.row(CENTRE, &last)?[..] else { return Err("the centre does not know it".into()) };
        if *revision != event.revision.to_string() {
            return Err(format!("the centre has revision {revision}, the node {}", event.revision));
        }
        let told: serde_json::Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
        let made =
            format!("SELECT sha256, path, masked, to_ms - from_ms FROM clip WHERE event = '{id}' AND complete = 1");
        let made = self.site.rows(NODE, &made).ok_or("the node's database cannot be read")?;
        let [clip] = &made[..] else {
            return match (made.len(), told["clip"].is_null()) {
                (0, true) if self.recorded(event) == 0 => Ok(None),
                (n, _) => Err(format!("{n} clips, told {}, {} recordings", told["clip"], self.recorded(event))),
            };
        };
        let (hash, masked) = (&clip[0], event.camera == "masked" || event.camera == "both");
        if told["clip"]["sha256"] != hash.as_str()
            || told["clip"]["complete"] != true
            || told["clip"]["masked"] != masked
        {
            return Err(format!("the last revision tells of {}", told["clip"]));
        }
        if clip[2] != i64::from(masked).to_string() {
            return Err("it is masked, or not, against the document".into());
        }
        let there = format!("SELECT COUNT(*) FROM clip WHERE event = '{id}' AND sha256 = '{hash}' AND complete = 1");
        if self.site.number(CENTRE, &there) != Some(1) {
            return Err("the centre has no row, or more than one, of its clip".into());
        }
        let object = self.object(hash);
        let bytes = std::fs::read(&object).map_err(|e| format!("{}: {e}", object.display()))?;
        if sha256(&bytes) != *hash {
            return Err("the centre's file is another".into());
        }
        let seconds = clip[3].parse::<f64>().map_err(|e| e.to_string())? / 1000.0;
        let missing = told["clip"]["missing_ms"].as_i64().ok_or("missing_ms is no number")?;
        let shown = pictures(&object).len() as f64 / 10.0;
        if (shown - (seconds - missing as f64 / 1000.0)).abs() > 0.7 {
            return Err(format!("{shown} s of pictures in a clip of {seconds} s, {missing} ms missing"));
        }
        Ok(Some(missing))
    }

    /// Clips that belong to no event, or came twice.
    fn strangers(&self, events: &[Ended]) -> Vec<String> {
        let known: BTreeSet<&str> = events.iter().map(|e| e.id.as_str()).collect();
        let rows = self.site.rows(CENTRE, "SELECT event, COUNT(*) FROM clip WHERE complete = 1 GROUP BY event");
        let rows = rows.expect("readable");
        let strange = rows.iter().filter(|r| r[1] != "1" || !known.contains(r[0].as_str()));
        strange.map(|r| format!("the centre has {} whole clips of event {}", r[1], r[0])).collect()
    }

    fn recorded(&self, event: &Ended) -> i64 {
        let Ended { camera, from_ms, to_ms, .. } = event;
        let sql = format!(
            "SELECT COUNT(*) FROM segment WHERE camera = '{camera}' AND start_ms < {to_ms} AND end_ms > {from_ms}"
        );
        self.site.number(NODE, &sql).unwrap_or(-1)
    }

    fn row(&self, database: &str, sql: &str) -> Result<Vec<String>, String> {
        let rows = self.site.rows(database, sql).ok_or_else(|| format!("{database} cannot be read"))?;
        Ok(rows.into_iter().next().unwrap_or_default())
    }

    fn object(&self, hash: &str) -> PathBuf {
        self.site.path(&format!("centre/clips/{}/{hash}.mp4", &hash[..2]))
    }
}
