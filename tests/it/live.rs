//! Live pictures and streams through the real link door: a node's process with its worker and sample cameras, and a
//! centre whose hub the test asks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use wardwatch::app::centre::{Centre, Ward};
use wardwatch::base::Clock;
use wardwatch::base::clock::SystemClock;
use wardwatch::base::types::{CameraId, StreamRole};
use wardwatch::centre::api::new_secret;
use wardwatch::centre::live::{Frames, Hub, LiveState, LiveStream, Picture, Piece, View};
use wardwatch::centre::store::{CameraInfoStore, LinkStore};
use wardwatch::config::{CentreConfig, CentreLinkConfig, ClipStore, Sharing};
use wardwatch::link::channel::{self, Heard, Say};
use wardwatch::link::identity;
use wardwatch::wire::channel::{Emergency, Ending, Refusal};
use wardwatch::wire::link::Identity;

use crate::support::broker::Mosquitto;
use crate::support::rtsp::{self, Camera};
use crate::support::site::{Process, Site, WARD, free_port, kill, metric};
use crate::support::wait::until;
use crate::support::{post, stimulus};

const LONG: Duration = Duration::from_secs(60);
const NODE: &str = "node-1";
/// The left half of the picture.
const MASK: &str = "[[camera.mask]]\npolygon = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]\n";

/// A broker, a node's directory and identity, and a centre that can be started and ended.
struct Post {
    site: Site,
    broker: Mosquitto,
    port: u16,
    secret: String,
    runtime: Runtime,
}

struct RunningCentre {
    centre: Centre,
    shutdown: watch::Sender<bool>,
}

impl Post {
    /// `cameras` is the document after its revision.
    fn new(cameras: &str) -> Self {
        post::log();
        let site = Site::new();
        let (broker, port) = (Mosquitto::start(""), free_port());
        let model = stimulus::model(&site.path("models"));
        let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
        let link = format!("[node.link]\nurl = \"http://127.0.0.1:{port}\"\n");
        site.write("node.toml", &format!("{}{}{link}", site.common(&model), site.node("", &mqtt)));
        site.write("cameras.toml", &format!("revision = 1\n{cameras}"));
        let secret = new_secret().expect("random");
        std::fs::create_dir_all(site.path("node")).expect("writable");
        let who = Identity { ward: WARD.into(), node: NODE.into(), secret: secret.clone() };
        identity::save(&site.path("node"), &who).expect("writable");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Self { site, broker, port, secret, runtime: runtime.expect("a runtime") }
    }

    fn centre(&self) -> RunningCentre {
        let (shutdown, stop) = watch::channel(false);
        let link = CentreLinkConfig {
            listen: ([127, 0, 0, 1], self.port).into(),
            tls: None,
            max_clip_bytes: 1 << 20,
            incoming_bytes: 1 << 20,
        };
        let config = CentreConfig {
            state_dir: self.site.path("centre"),
            listen: ([127, 0, 0, 1], 0).into(),
            mqtt: None,
            clips: ClipStore::Directory(self.site.path("centre/clips")),
            link: Some(link),
            webhooks: Vec::new(),
            escalate_after: None,
            web: None,
        };
        let mqtt = self.broker.mqtt();
        let centre = self.runtime.block_on(async {
            let ward = Ward { id: WARD, name: WARD, timezone: "Asia/Ho_Chi_Minh" };
            let centre = Centre::start(&config, ward, mqtt, Arc::new(SystemClock), stop);
            let centre = centre.expect("the centre starts");
            let hash = wardwatch::centre::api::digest(&self.secret);
            centre.store().enrol_here(NODE.into(), hash, SystemClock.now().wall_ms).await.expect("enrolled");
            centre
        });
        RunningCentre { centre, shutdown }
    }

    fn node(&self) -> Process {
        self.site.run(&self.site.path("node.toml"))
    }

    fn connected(&self, hub: &Hub) {
        until("the channel stands", LONG, || hub.connected(NODE));
    }

    /// Waits for a view for which `holds`.
    fn view(&self, what: &str, frames: &mut Frames, holds: impl Fn(&View) -> bool) -> View {
        self.runtime.block_on(async {
            let found = async {
                let mut view = frames.view();
                while !holds(&view) {
                    view = frames.next().await;
                }
                view
            };
            let found = tokio::time::timeout(LONG, found).await;
            found.unwrap_or_else(|_| panic!("never: {what}, it is {:?}", frames.view().state))
        })
    }

    fn picture(&self, frames: &mut Frames) -> Arc<Picture> {
        self.view("a picture", frames, |v| v.picture.is_some()).picture.expect("there")
    }
}

impl RunningCentre {
    fn stop(self, post: &Post) {
        self.shutdown.send(true).ok();
        post.runtime.block_on(self.centre.join()).expect("an orderly end");
    }
}

fn camera(id: &str) -> CameraId {
    id.parse().expect("valid")
}

/// A camera without rules.
fn plain(id: &str, source: &Camera, sharing: &str, extra: &str) -> String {
    format!(
        "[[camera]]\nid = \"{id}\"\nname = \"Ngõ {id}\"\nsharing = \"{sharing}\"\n[camera.detect]\nurl = \"{}\"\n{extra}\n",
        source.url()
    )
}

fn rule() -> &'static str {
    "[[camera.zone]]\nname = \"san\"\npolygon = [[0.2, 0.5], [0.8, 0.5], [0.8, 1.0]]\n\
     [[camera.rule]]\nname = \"vao\"\nkind = \"loitering\"\nzones = [\"san\"]\ndwell_seconds = 30\n"
}

fn emergency(until_ms: i64) -> Option<Emergency> {
    Some(Emergency { id: "e-77".into(), who: "Trung tá An".into(), reason: "cướp ở ngõ 12".into(), until_ms })
}

/// Whether the worker decodes anything: a decoder's input has a thread of this name.
fn decoders(node: &Process) -> usize {
    let of = |pid: &u32| std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let names =
        node.workers().iter().flat_map(of).map(|t| std::fs::read_to_string(t.path().join("comm"))).collect::<Vec<_>>();
    names.into_iter().flatten().filter(|name| name.trim() == "encoded:src").count()
}

#[test]
fn a_camera_without_rules_is_decoded_only_while_somebody_looks_and_its_masks_are_burned_in() {
    let source = Camera::start(rtsp::h264_small());
    let post = Post::new(&plain("ngo-1", &source, "scheduled_live", MASK));
    let centre = post.centre();
    let hub = centre.centre.hub();
    let node = post.node();
    post.connected(&hub);
    until("the camera is online", LONG, || {
        metric(post.site.node_port, "wardwatch_camera_state{camera=\"ngo-1\",state=\"online\"}") == Some(1.0)
    });
    assert_eq!(decoders(&node), 0, "nobody looks");

    let mut first = hub.frames(NODE, &camera("ngo-1"), 1.0, None);
    let picture = post.picture(&mut first);
    let pixels = image::load_from_memory(&picture.jpeg).expect("a JPEG").to_rgb8();
    assert_eq!(pixels.dimensions(), (picture.width, picture.height));
    assert_eq!(pixels.dimensions(), (640, 360));
    // Eight pixels from the edge: JPEG mixes neighbours in blocks.
    let covered = (0..360).flat_map(|y| (0..310).map(move |x| (x, y)));
    let grey = |x, y| pixels.get_pixel(x, y).0.iter().all(|v| v.abs_diff(130) <= 12);
    assert!(covered.clone().all(|(x, y)| grey(x, y)), "the masked half is not grey");
    let seen: BTreeSet<[u8; 3]> = (330..640).map(|x| pixels.get_pixel(x, 180).0).collect();
    assert!(seen.len() > 20, "the other half shows the street");

    // Another looks at the same camera, more often: they share what comes, at the higher rate.
    let mut second = hub.frames(NODE, &camera("ngo-1"), 2.0, None);
    let fast = post.view("two a second", &mut second, |v| v.picture.as_ref().is_some_and(|p| p.fps > 1.5));
    assert!(fast.picture.is_some_and(|p| p.fps < 2.6), "no more than two");
    assert_eq!(metric(post.site.node_port, "wardwatch_live_watches"), Some(1.0));
    assert_eq!(decoders(&node), 1);
    drop(second);
    post.view("one a second", &mut first, |v| v.picture.as_ref().is_some_and(|p| p.fps < 1.3));
    drop(first);
    until("nobody decodes any more", LONG, || decoders(&node) == 0);
    assert_eq!(metric(post.site.node_port, "wardwatch_frames_inferred_total{camera=\"ngo-1\"}").unwrap_or(0.0), 0.0);

    // Nothing of it remains.
    let jpegs = walk(&post.site.path("")).into_iter().filter(|p| p.extension().is_some_and(|e| e == "jpg"));
    assert_eq!(jpegs.count(), 0);
    assert_eq!(node.stop(), 0);
    drop(hub);
    centre.stop(&post);
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn the_node_holds_to_its_owner_s_terms_whatever_the_centre_asks() {
    let source = Camera::start(rtsp::h264_small());
    let private = plain("ngo-1", &source, "events_only", rule());
    let post = Post::new(&(private + &plain("ngo-2", &source, "listed", "")));
    let centre = post.centre();
    let hub = centre.centre.hub();
    let mut early = hub.frames(NODE, &camera("ngo-1"), 1.0, None);
    assert_eq!(early.view().state, LiveState::Away, "no channel yet");
    let node = post.node();
    let refused = LiveState::Refused(Refusal::Sharing);
    post.view("a refusal", &mut early, |v| v.state == refused);
    assert_eq!(early.view().picture, None);

    let now = SystemClock.now().wall_ms;
    let mut over = hub.frames(NODE, &camera("ngo-1"), 1.0, emergency(now - 1));
    post.view("an emergency that is over", &mut over, |v| v.state == LiveState::Refused(Refusal::Emergency));
    let mut unknown = hub.frames(NODE, &camera("ngo-9"), 1.0, None);
    post.view("a camera of nobody", &mut unknown, |v| v.state == LiveState::Refused(Refusal::Camera));

    let mut allowed = hub.frames(NODE, &camera("ngo-1"), 1.0, emergency(now + 600_000));
    post.picture(&mut allowed);
    let mut listed = hub.frames(NODE, &camera("ngo-2"), 1.0, emergency(now + 600_000));
    post.view("not even then", &mut listed, |v| v.state == refused);
    assert_eq!(early.view(), View { state: refused, picture: None }, "who looks without it still sees nothing");
    let log = node.log();
    let lines: Vec<&str> = log.lines().filter(|l| l.contains("under an emergency")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(["ngo-1", "e-77", "Trung tá An", "cướp ở ngõ 12"].iter().all(|w| lines[0].contains(w)), "{}", lines[0]);
    assert!(metric(post.site.node_port, "wardwatch_live_refused_total{reason=\"sharing\"}").is_some_and(|n| n >= 2.0));

    // The owner changes his mind: it ends, and an emergency is needed no more where he shares it.
    let shared = plain("ngo-1", &source, "scheduled_live", rule());
    post.site.write("cameras.toml", &format!("revision = 2\n{shared}"));
    node.signal("HUP");
    post.picture(&mut early);
    assert_eq!(node.stop(), 0);
    post.view("the node is gone", &mut early, |v| v.state == LiveState::Away && v.picture.is_none());
    drop((early, over, unknown, allowed, listed, hub));
    centre.stop(&post);
}

#[test]
fn a_killed_worker_and_a_broken_channel_are_back_and_a_dead_centre_leaves_no_gate_open() {
    let source = Camera::start(rtsp::h264_small());
    let post = Post::new(&plain("ngo-1", &source, "scheduled_live", ""));
    let centre = post.centre();
    let hub = centre.centre.hub();
    let node = post.node();
    let mut frames = hub.frames(NODE, &camera("ngo-1"), 2.0, None);
    let before = post.picture(&mut frames);
    kill(node.workers()[0], "KILL");
    let killed_ms = SystemClock.now().wall_ms;
    let later = post.view("pictures again", &mut frames, |v| v.picture.as_ref().is_some_and(|p| p.at_ms > killed_ms));
    assert!(later.picture.expect("there").at_ms > before.at_ms);

    // As kill -9 would: no goodbye is said.
    drop((frames, hub));
    post.runtime.block_on(centre.centre.kill());
    until("the gate is closed", LONG, || decoders(&node) == 0);
    let centre = post.centre();
    let hub = centre.centre.hub();
    let mut frames = hub.frames(NODE, &camera("ngo-1"), 1.0, None);
    post.picture(&mut frames);
    assert_eq!(node.stop(), 0);
    drop((frames, hub));
    centre.stop(&post);
}

#[test]
fn the_centre_knows_the_cameras_and_never_how_they_are_reached() {
    const CANARY: &str = "c4n4ry-Secret";
    let source = Camera::with_password(rtsp::h264_small(), CANARY);
    let extra = format!("user = \"viewer\"\npassword = \"{CANARY}\"\n{}{MASK}", rule());
    let text = plain("ngo-1", &source, "events_only", &extra)
        .replace("sharing", "position = [21.02, 105.83]\narea = \"Tổ 5\"\nsharing");
    let post = Post::new(&(text.clone() + &plain("ngo-2", &source, "listed", "")));
    let centre = post.centre();
    let store = centre.centre.store();
    let node = post.node();
    let described = || post.runtime.block_on(store.descriptions()).expect("readable");
    until("the cameras are described", LONG, || described().len() == 2);
    let info = &described()[0];
    assert_eq!((info.node.as_str(), info.revision, info.camera.id.as_str()), (NODE, 1, "ngo-1"));
    assert_eq!((info.camera.name.as_str(), info.camera.area.as_str()), ("Ngõ ngo-1", "Tổ 5"));
    assert_eq!((info.camera.position, info.camera.sharing), (Some([21.02, 105.83]), Sharing::EventsOnly));
    assert_eq!((info.camera.zones.len(), info.camera.masks.len(), info.camera.masks[0].len()), (1, 1, 4));
    let rule = &info.camera.rules[0];
    assert_eq!((rule.kind.as_str(), rule.zones[0].as_str(), rule.dwell_seconds), ("loitering", "san", Some(30.0)));

    post.site.write("cameras.toml", &format!("revision = 2\n{text}"));
    node.signal("HUP");
    until("the other is forgotten", LONG, || described().len() == 1 && described()[0].revision == 2);
    let rows = post.site.rows("centre/centre.db", "SELECT json FROM camera_info").expect("the database").concat();
    for secret in [CANARY, "rtsp", "viewer", &source.port.to_string()] {
        assert!(!rows.concat().contains(secret), "{secret}: {rows:?}");
    }
    assert_eq!(node.stop(), 0);
    drop(store);
    centre.stop(&post);
}

/// What a player would have got when `holds` of all pieces so far.
fn play(post: &Post, stream: &mut LiveStream, holds: impl Fn(&[Piece]) -> bool) -> Vec<Piece> {
    post.runtime.block_on(async {
        let mut pieces = Vec::new();
        let all = async {
            while !holds(&pieces) {
                let Some(piece) = stream.next().await else { break };
                pieces.push(piece);
            }
        };
        tokio::time::timeout(LONG, all).await.expect("it plays");
        pieces
    })
}

fn bytes(pieces: &[Piece]) -> Vec<u8> {
    let of = |piece: &Piece| match piece {
        Piece::Init { bytes, .. } | Piece::Fragment { bytes, .. } => bytes.to_vec(),
        Piece::End(_) => Vec::new(),
    };
    pieces.iter().flat_map(of).collect()
}

#[test]
fn a_stream_plays_from_a_keyframe_on_and_who_is_slow_loses_it() {
    let source = Camera::start(rtsp::h264_small());
    let better = Camera::start(rtsp::h265());
    let record = format!("[camera.record]\nurl = \"{}\"\n", better.url());
    let text = plain("ngo-1", &source, "scheduled_live", "") + &plain("ngo-2", &source, "scheduled_live", MASK);
    let post = Post::new(&(text + &plain("ngo-3", &source, "scheduled_live", &record)));
    let centre = post.centre();
    let hub = centre.centre.hub();
    let node = post.node();
    post.connected(&hub);
    let watch = |id: &str| hub.stream(NODE, &camera(id), None, None);

    let mut stream = watch("ngo-1");
    let pieces = play(&post, &mut stream, |p| p.len() >= 8);
    assert!(
        matches!(&pieces[0], Piece::Init { mime, .. } if mime.starts_with("video/mp4; codecs=\"avc1.")),
        "{:?}",
        pieces[0]
    );
    assert!(matches!(&pieces[1], Piece::Fragment { keyframe: true, .. }), "it begins with a keyframe");
    let file = post.site.path("live.mp4");
    std::fs::write(&file, bytes(&pieces)).expect("writable");
    let probed = std::process::Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-select_streams", "v:0", "-of", "csv=p=0"])
        .args(["-show_entries", "stream=codec_name,width,nb_read_frames"])
        .arg(&file)
        .output()
        .expect("ffprobe is installed");
    let told = String::from_utf8_lossy(&probed.stdout).trim().to_owned();
    assert!(probed.status.success() && probed.stderr.is_empty(), "{}", String::from_utf8_lossy(&probed.stderr));
    assert!(told.starts_with("h264,640,"), "{told}");
    // Fragments are of 0.4 s at ten pictures a second.
    let frames: u32 = told.rsplit(',').next().and_then(|n| n.parse().ok()).expect("a number");
    assert!((7 * 3..=7 * 6).contains(&frames), "{frames} pictures in seven fragments");
    std::fs::remove_file(&file).expect("there");
    let Some(Piece::Fragment { at_ms, .. }) = pieces.last() else { panic!("{:?}", pieces.last()) };
    tracing::info!(behind_ms = SystemClock.now().wall_ms - at_ms, "the newest fragment's beginning, when it is here");

    let mut masked = watch("ngo-2");
    assert_eq!(play(&post, &mut masked, |p| !p.is_empty()), [Piece::End(LiveState::Masked)]);
    let mut full = watch("ngo-3");
    let pieces = play(&post, &mut full, |p| p.len() >= 2);
    assert!(matches!(&pieces[0], Piece::Init { mime, .. } if mime.contains("hvc1.1.")), "{:?}", pieces[0]);
    let mut others = [watch("ngo-1"), watch("ngo-1")];
    play(&post, &mut others[1], |p| !p.is_empty());
    let mut fifth = watch("ngo-1");
    assert_eq!(play(&post, &mut fifth, |p| !p.is_empty()), [Piece::End(LiveState::Refused(Refusal::Busy))]);
    assert_eq!(decoders(&node), 4, "four muxes, and nothing is decoded");

    // Nobody reads `others[0]`; the others go on, and so does the camera.
    let ends = |p: &[Piece]| matches!(p.last(), Some(Piece::End(_)));
    drop((full, fifth));
    until("who is slow loses the stream", LONG, || {
        post.runtime.block_on(async { tokio::time::timeout(Duration::from_millis(20), stream.next()).await }).ok();
        post.runtime.block_on(async { tokio::time::timeout(Duration::from_millis(20), others[1].next()).await }).ok();
        metric(post.site.node_port, "wardwatch_live_watches") == Some(2.0)
    });
    let pieces = play(&post, &mut others[0], ends);
    assert_eq!(pieces.last(), Some(&Piece::End(LiveState::Ended(Ending::Slow))));
    drop(others);
    drop(stream);
    // A browser that cannot show H.265 takes the sub-stream.
    let mut sub = hub.stream(NODE, &camera("ngo-3"), Some(StreamRole::Detect), None);
    let pieces = play(&post, &mut sub, |p| p.len() >= 2);
    assert!(matches!(&pieces[0], Piece::Init { mime, .. } if mime.contains("avc1.")), "{:?}", pieces[0]);
    drop(sub);
    until("nothing is muxed any more", LONG, || decoders(&node) == 0);
    let left = walk(&post.site.path("")).into_iter().filter(|p| p.extension().is_some_and(|e| e == "mp4"));
    assert_eq!(left.count(), 0, "nothing of it is kept");
    assert_eq!(node.stop(), 0);
    drop((hub, masked));
    centre.stop(&post);
}

#[test]
fn recordings_are_listed_with_their_gaps() {
    let source = Camera::start(rtsp::h264_small());
    let post = Post::new(&plain("ngo-1", &source, "events_only", "[camera.recording]\nmode = \"continuous\"\n"));
    let centre = post.centre();
    let hub = centre.centre.hub();
    let ask = |id: &str, from_ms, to_ms| post.runtime.block_on(hub.recordings(NODE, &camera(id), from_ms, to_ms));
    assert!(ask("ngo-1", 0, 1).is_err(), "nobody is there");
    let mut node = post.node();
    post.connected(&hub);
    let begun = SystemClock.now().wall_ms - 60_000;
    let now = || SystemClock.now().wall_ms;
    until("something is recorded", LONG, || ask("ngo-1", begun, now()).is_ok_and(|r| !r.segments.is_empty()));
    node.kill();
    until("it is noticed", LONG, || !hub.connected(NODE));
    let node = post.node();
    post.connected(&hub);
    until("there are two files and a gap", LONG, || {
        ask("ngo-1", begun, now()).is_ok_and(|r| r.segments.len() == 2 && !r.gaps.is_empty())
    });
    let to_ms = now();
    let all = ask("ngo-1", begun, to_ms).expect("answered");
    assert!(all.gaps.iter().any(|g| g.reason == "node_down"), "{all:?}");
    assert!(all.segments.iter().all(|s| begun <= s.from_ms && s.from_ms <= s.to_ms && s.to_ms <= to_ms), "{all:?}");
    assert!(!all.cut);
    assert_eq!(ask("ngo-9", begun, to_ms).expect("answered"), Default::default());
    for (from, to) in [(5, 4), (-1, 4), (0, 32 * 24 * 3600 * 1000)] {
        assert!(ask("ngo-1", from, to).is_err(), "{from} {to}");
    }
    assert_eq!(node.stop(), 0);
    drop(hub);
    centre.stop(&post);
}

#[test]
fn strangers_and_rubbish_are_shown_the_door_and_a_newer_channel_takes_the_older_one_s_place() {
    let post = Post::new("");
    let centre = post.centre();
    let hub = centre.centre.hub();
    let url = format!("http://127.0.0.1:{}", post.port).parse().expect("a URL");
    let config = wardwatch::config::NodeLinkConfig { url, ca: None, bandwidth_kbit: 0 };
    let who = |secret: &str| Identity { ward: WARD.into(), node: NODE.into(), secret: secret.into() };
    post.runtime.block_on(async {
        let stranger = channel::open(&config, &who(&"0".repeat(64))).await.err().expect("refused");
        assert_eq!(stranger.kind(), wardwatch::base::ErrorKind::Unauthorized);
        assert!(!hub.connected(NODE));
        let open = || async { channel::open(&config, &who(&post.secret)).await.expect("opens") };
        let end = |mut listener: channel::Listener| async move {
            loop {
                match listener.next().await {
                    Ok(Heard::Text(_) | Heard::Alive) => {}
                    Err(e) => return e.to_string(),
                }
            }
        };
        let (_first, listener) = open().await;
        let (mut second, hears) = open().await;
        let why = tokio::time::timeout(LONG, end(listener)).await.expect("it ends");
        assert!(why.contains("another channel"), "{why}");
        assert!(hub.connected(NODE), "the second stands");
        second.say(Say::Text("{\"type\":\"cameras\",\"revision\":1,\"cameras\":[{}]}".into())).await.expect("sent");
        let why = tokio::time::timeout(LONG, end(hears)).await.expect("it ends");
        assert!(why.contains("cannot be understood"), "{why}");
        for rubbish in [vec![], vec![0xff; 4], vec![0, 0, 0, 200, 1, 2, 3], b"\0\0\0\x02{}".to_vec()] {
            let (mut speaker, listener) = open().await;
            speaker.say(Say::Binary(rubbish.into())).await.expect("sent");
            let why = tokio::time::timeout(LONG, end(listener)).await.expect("it ends");
            assert!(why.contains("impossible"), "{why}");
        }
        gone(&hub).await;
    });
    drop(hub);
    centre.stop(&post);
}

async fn gone(hub: &Hub) {
    crate::support::wait::until_async("no channel stands", LONG, || async { !hub.connected(NODE) }).await;
}
