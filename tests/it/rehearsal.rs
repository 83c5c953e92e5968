//! What rules would have made of tracks that were kept, beside what they made of the pictures themselves.

use std::time::Duration;

use jiff::tz::TimeZone;
use wardwatch::app::camera::load_cameras;
use wardwatch::app::replay::{Observer, ReplayOptions, replay};
use wardwatch::base::clock::SystemClock;
use wardwatch::base::geometry::{Point, Polygon, RelativeBox};
use wardwatch::base::trajectory::{TrackPoint, Trajectory};
use wardwatch::base::types::{CameraId, EventReport, Frame, Phase, Severity, Track, Zone};
use wardwatch::base::{Clock, Result, Stamp};
use wardwatch::config::{Camera, RuleConfig, ScheduleConfig, Weekday, Window, load_site};
use wardwatch::rules::rehearsal::{Draft, Firing, Way, join, rehearse};
use wardwatch::rules::{IdSource, RuleSet, Scene, Settings};
use wardwatch::track::trajectory::Trajectories;

use crate::support::site::root;

/// 2026-11-24, 02:00 in Hanoi.
const START_MS: i64 = 1_795_460_400_000;
const ZONE: &str = "Asia/Ho_Chi_Minh";
/// Workers hand over pieces so often.
const PIECE_MS: i64 = 30_000;

/// Rules and the keeping of tracks over the same frames, as in a worker.
struct Live {
    rules: RuleSet,
    gathered: Trajectories,
    kept: Vec<Trajectory>,
    taken_ms: i64,
    reports: Vec<EventReport>,
    last: Stamp,
}

impl Observer for Live {
    fn step(&mut self, frame: &Frame, tracks: &[Track]) -> Result<()> {
        let (now, width, height) = (frame.arrived, frame.width, frame.height);
        let scene = Scene { now, camera_time_ms: None, width, height, tracks, sharpness: &|_| 1.0 };
        self.reports.extend(self.rules.step(&scene).into_iter().map(|o| o.report));
        self.gathered.step(tracks, width, height, now);
        if now.wall_ms - self.taken_ms >= PIECE_MS {
            self.taken_ms = now.wall_ms;
            self.kept.extend(self.gathered.take());
        }
        self.last = now;
        Ok(())
    }
}

fn zone() -> TimeZone {
    TimeZone::get(ZONE).expect("bundled")
}

fn settings<'a>(zones: &'a [Zone], rules: &'a [RuleConfig]) -> Settings<'a> {
    Settings { config_revision: 0, zones, lines: &[], rules }
}

fn of(camera: &Camera) -> Settings<'_> {
    Settings { config_revision: 0, zones: &camera.zones, lines: &camera.lines, rules: &camera.rules }
}

/// What the pieces survive when they are kept: packed as in the store.
fn kept(pieces: Vec<Trajectory>) -> Vec<Way> {
    let packed = |t: Trajectory| {
        let bytes = t.pack().expect("packs");
        Trajectory::unpack(t.track, t.since_ms, t.label, t.start_ms, &bytes).expect("unpacks")
    };
    join(pieces.into_iter().map(packed).collect())
}

#[test]
fn the_street_rehearsed_from_its_tracks_fires_as_it_did() {
    let site = load_site(&root().join("wardwatch.example.toml")).expect("shipped");
    let node = site.node.as_ref().expect("a node");
    let document = load_cameras(&node.cameras, &site.detect).expect("shipped");
    let camera = document.cameras.iter().find(|c| c.id.as_str() == "ngo-12-dau").expect("shipped");
    let ids = IdSource::derived(b"live");
    let mut live = Live {
        rules: RuleSet::new(camera.id.clone(), String::new(), zone(), ids, &of(camera)).expect("sound"),
        gathered: Trajectories::default(),
        kept: Vec::new(),
        taken_ms: START_MS,
        reports: Vec::new(),
        last: Stamp::default(),
    };
    let options = ReplayOptions {
        video: root().join(".cache/footage/vtest.avi"),
        detect: site.detect.clone(),
        track: site.track.clone(),
        start: Stamp { mono: Duration::ZERO, wall_ms: START_MS },
        phantoms: Vec::new(),
        frames: None,
        mot: None,
        mot_labels: Vec::new(),
    };
    let summary = replay(&options, &SystemClock, &mut live).expect("the clip of scripts/setup.sh");
    live.kept.extend(live.gathered.take());
    live.reports.extend(live.rules.end_all(live.last));
    let fps = summary.frames as f32 / summary.video.as_secs_f32();

    let ways = kept(live.kept);
    let rehearsed = |fps| {
        let draft = Draft { camera: &camera.id, settings: of(camera), fps, timezone: &zone() };
        rehearse(&ways, &draft, &|| true).expect("sound").expect("wanted")
    };
    let firings = rehearsed(fps);
    assert_eq!(firings, rehearsed(fps), "the same twice");
    let events: Vec<&EventReport> = live.reports.iter().filter(|r| r.phase == Phase::Started).collect();
    assert!(events.len() >= 5, "{} events", events.len());
    let last = |id: &str| live.reports.iter().rfind(|r| r.id == id).expect("it began");
    let mut worst = 0;
    for event in &events {
        let whole = last(&event.id);
        let of_it = |f: &&Firing| {
            f.rule == event.rule && f.ways.first().is_some_and(|w| event.tracks.contains(&ways[*w].track))
        };
        let near = |f: &&Firing| (f.at_ms - event.started_at.wall_ms).abs();
        let found = firings.iter().filter(of_it).min_by_key(near);
        let found = found.unwrap_or_else(|| panic!("{} at {} is missed", event.rule, event.started_at.wall_ms));
        let off = (found.at_ms - event.started_at.wall_ms).abs();
        println!(
            "{} at {} s: off by {off} ms, its end by {} ms",
            event.rule,
            (event.started_at.wall_ms - START_MS) as f64 / 1000.0,
            (found.end_ms - whole.ended_at.expect("ended").wall_ms).abs()
        );
        assert!(off <= 300, "{}: {off} ms", event.rule);
        worst = worst.max(off);
    }
    println!("{} events, {} firings, off by {worst} ms at most", events.len(), firings.len());
    assert_eq!(firings.len(), events.len(), "{firings:#?}");
    // A camera that is looked at five times a second sees the same, give or take.
    let slower = rehearsed(5.0);
    println!("{} firings at 5 frames a second", slower.len());
}

fn square(name: &str, left: f32) -> Zone {
    let corner = |x, y| Point::new(x, y);
    let corners = vec![corner(left, 0.5), corner(left + 0.2, 0.5), corner(left + 0.2, 1.0), corner(left, 1.0)];
    Zone { name: name.into(), polygon: Polygon(corners) }
}

fn rule(kind: &str, schedule: Option<ScheduleConfig>) -> RuleConfig {
    let mut params = toml::Table::new();
    params.insert("zones".into(), vec!["giua"].into());
    if kind == "loitering" {
        params.insert("dwell_seconds".into(), 20.into());
    }
    RuleConfig {
        name: kind.replace('_', "-"),
        kind: kind.into(),
        severity: Severity::Alert,
        schedule,
        labels: vec!["person".into()],
        min_score: 0.5,
        min_height: 0.0,
        inertia: 3,
        cooldown: Duration::ZERO,
        roll: Default::default(),
        params,
    }
}

/// Somebody walks from left to right in `seconds`, stands for `stands` in the middle, in pieces of half a minute.
pub fn walk(track: u64, start_ms: i64, seconds: u64, stands: u64) -> Vec<Trajectory> {
    let whole = seconds * 1000 + stands * 1000;
    let half = seconds * 500;
    let mut at_ms: Vec<u64> = (0..half).step_by(200).collect();
    at_ms.extend((half..half + (stands * 1000).min(5000)).step_by(1000));
    at_ms.extend((half + 5000..half + stands * 1000).step_by(5000));
    at_ms.extend((half + stands * 1000..=whole).step_by(200));
    let point = |ms: u64| {
        let walked = if ms < half { ms } else { ms.saturating_sub(stands * 1000).max(half) };
        let left = walked as f32 / (seconds * 1000) as f32 * 0.9;
        let bbox = RelativeBox { left, top: 0.3, right: left + 0.1, bottom: 0.8 };
        let stationary = ms >= half + 5000 && ms < half + stands * 1000;
        TrackPoint { after: Duration::from_millis(ms), bbox, score: 0.8, stationary }
    };
    let mut pieces: Vec<Trajectory> = Vec::new();
    for ms in at_ms {
        let begins = ms / PIECE_MS as u64 * PIECE_MS as u64;
        let start_ms = start_ms + ms as i64;
        let new = pieces.last().is_none_or(|p| p.start_ms < start_ms - (ms - begins) as i64);
        if new {
            let (label, since_ms) = ("person".into(), start_ms - ms as i64);
            pieces.push(Trajectory { track, since_ms, label, start_ms, width: 640, height: 360, points: Vec::new() });
        }
        let piece = pieces.last_mut().expect("one");
        let after = Duration::from_millis((start_ms - piece.start_ms) as u64);
        piece.points.push(TrackPoint { after, ..point(ms) });
    }
    pieces
}

fn fired(ways: &[Way], zones: &[Zone], rules: &[RuleConfig]) -> Vec<Firing> {
    let camera: CameraId = "ngo-1".parse().expect("valid");
    let draft = Draft { camera: &camera, settings: settings(zones, rules), fps: 5.0, timezone: &zone() };
    rehearse(ways, &draft, &|| true).expect("sound").expect("wanted")
}

#[test]
fn who_stands_still_between_two_points_five_seconds_apart_stays_and_hours_between_two_tracks_pass() {
    let (zones, rules) = ([square("giua", 0.4)], [rule("loitering", None), rule("intrusion", None)]);
    // Two trackers counted from 1: the numbers come again, the objects do not.
    let later = START_MS + 5 * 3_600_000;
    let mut pieces = walk(1, later, 10, 0);
    pieces.extend(walk(1, START_MS, 10, 60));
    let ways = kept(pieces);
    assert_eq!(
        ways.iter().map(|w| (w.from_ms(), w.to_ms())).collect::<Vec<_>>(),
        [(START_MS, START_MS + 70_000), (later, later + 10_000)]
    );
    let firings = fired(&ways, &zones, &rules);
    let told: Vec<_> = firings.iter().map(|f| (f.rule.as_str(), f.ways.as_slice())).collect();
    assert_eq!(told, [("intrusion", &[0usize][..]), ("loitering", &[0]), ("intrusion", &[1])], "{firings:#?}");
    // The zone begins under the foot at 0.4, after about 3.9 of 10 seconds; three frames must agree.
    let into = firings[0].at_ms - START_MS;
    assert!((3800..=4600).contains(&into), "{into}");
    let stayed = firings[1].at_ms - START_MS;
    assert!((23_800..=24_600).contains(&stayed), "{stayed}");
    // It left the zone at some 66 s and nobody came within the grace of 5 s.
    assert!((70_000..=73_000).contains(&(firings[1].end_ms - START_MS)), "{}", firings[1].end_ms - START_MS);
    assert!(firings[2].at_ms > later && firings[2].end_ms < later + 20_000, "{firings:#?}");
}

#[test]
fn whoever_was_hidden_for_long_was_not_there() {
    let mut pieces = walk(1, START_MS, 10, 60);
    // Nothing is known of most of the time it stood.
    for piece in &mut pieces {
        let start = piece.start_ms - START_MS;
        piece.points.retain(|p| !(8_000..60_000).contains(&(start + p.after.as_millis() as i64)));
    }
    let firings = fired(&kept(pieces), &[square("giua", 0.4)], &[rule("loitering", None)]);
    assert_eq!(firings, []);
}

#[test]
fn schedules_are_those_of_the_ward() {
    let night = |from_minute, to_minute| {
        let windows = vec![Window { days: vec![Weekday::Tue], from_minute, to_minute }];
        Some(ScheduleConfig { name: "dem".into(), windows })
    };
    let zones = [square("giua", 0.4)];
    let ways = kept(walk(1, START_MS, 10, 0));
    // 2026-11-24 is a Tuesday; in UTC it is still Monday.
    assert_eq!(fired(&ways, &zones, &[rule("intrusion", night(60, 180))]).len(), 1);
    assert_eq!(fired(&ways, &zones, &[rule("intrusion", night(180, 300))]).len(), 0);
}

#[test]
fn a_path_is_short_and_has_both_ends() {
    let way = &kept(walk(1, START_MS, 40, 0))[0];
    let path = way.path(60);
    assert_eq!(path.len(), 60);
    assert!(path[0].x < 0.06 && path[59].x > 0.94, "{path:?}");
    assert_eq!(way.path(1).len(), 2);
}

#[test]
fn nobody_waits_for_an_answer_that_is_not_wanted() {
    let ways = kept((0..50).flat_map(|n| walk(n, START_MS + n as i64 * 60_000, 10, 20)).collect());
    let camera: CameraId = "ngo-1".parse().expect("valid");
    let (zones, rules) = ([square("giua", 0.4)], [rule("intrusion", None)]);
    let draft = Draft { camera: &camera, settings: settings(&zones, &rules), fps: 5.0, timezone: &zone() };
    assert_eq!(rehearse(&ways, &draft, &|| false).expect("sound"), None);
}

/// `cargo test --test it rehearsal::a_day -- --ignored --nocapture`
#[test]
#[ignore = "prints what it costs"]
fn a_day_of_five_thousand_tracks() {
    let pieces = (0..5000).flat_map(|n| walk(n, START_MS + n as i64 * 17_000, 20, n % 7 * 10)).collect();
    let clock = SystemClock;
    let begun = clock.now();
    let ways = join(pieces);
    let (zones, mut night) = ([square("giua", 0.4)], rule("loitering", None));
    night.name = "dem".into();
    let rules = [rule("intrusion", None), rule("loitering", None), night];
    let joined = clock.now();
    let firings = fired(&ways, &zones, &rules);
    let done = clock.now();
    println!(
        "{} tracks, {} firings: joined in {:?}, rehearsed in {:?}",
        ways.len(),
        firings.len(),
        joined.since(begun),
        done.since(joined)
    );
}
