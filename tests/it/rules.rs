//! Rules and the event book over scripted walks: what fires, when, how often, and what an event's life looks like.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use wardwatch::base::Stamp;
use wardwatch::base::geometry::{PixelBox, Point, Polygon};
use wardwatch::base::types::{CameraId, Direction, EventReport, NamedLine, Phase, Severity, Track, Zone};
use wardwatch::config::{Roll, RuleConfig, ScheduleConfig, Weekday, Window};
use wardwatch::rules::{IdSource, Outcome, RuleSet, Scene, Settings};

const WIDTH: u32 = 1000;
const HEIGHT: u32 = 1000;
/// 2026-11-24T20:00:00+07:00, a Tuesday.
pub const EVENING: i64 = 1_795_525_200_000;

fn zone(name: &str, left: f32, right: f32) -> Zone {
    let corners = [(left, 0.0), (right, 0.0), (right, 1.0), (left, 1.0)];
    Zone { name: name.into(), polygon: Polygon(corners.iter().map(|(x, y)| Point::new(*x, *y)).collect()) }
}

/// From the bottom to the top: left of it is the picture's left.
fn upright(name: &str, x: f32) -> NamedLine {
    NamedLine { name: name.into(), points: [Point::new(x, 1.0), Point::new(x, 0.0)] }
}

pub fn rule(name: &str, kind: &str, params: &str) -> RuleConfig {
    RuleConfig {
        name: name.into(),
        kind: kind.into(),
        severity: Severity::Alert,
        schedule: None,
        labels: vec!["person".into()],
        min_score: 0.5,
        min_height: 0.0,
        inertia: 1,
        cooldown: Duration::ZERO,
        roll: Roll::default(),
        params: params.parse().expect("TOML"),
    }
}

pub fn intrusion() -> RuleConfig {
    rule("yard", "intrusion", "zones = ['yard']\ngrace_seconds = 2\nmin_move = 0")
}

pub fn crossing() -> RuleConfig {
    rule("gate", "line_crossing", "line = 'gate'")
}

pub fn loitering(dwell: f64) -> RuleConfig {
    rule("corner", "loitering", &format!("zones = ['yard']\ndwell_seconds = {dwell}\ngrace_seconds = 2"))
}

/// The zone `yard` is 0.4..0.6, `back` is 0.5..0.8, the line `gate` stands at 0.5.
pub struct World {
    pub set: RuleSet,
    pub now: Stamp,
    frame: Duration,
}

pub fn places() -> (Vec<Zone>, Vec<NamedLine>) {
    (vec![zone("yard", 0.4, 0.6), zone("back", 0.5, 0.8)], vec![upright("gate", 0.5)])
}

impl World {
    pub fn new(rules: &[RuleConfig]) -> Self {
        let (zones, lines) = places();
        let settings = Settings { config_revision: 1, zones: &zones, lines: &lines, rules };
        let zone = TimeZone::get("Asia/Ho_Chi_Minh").expect("bundled");
        let camera: CameraId = "cam".parse().expect("valid");
        let set = RuleSet::new(camera, "m@0".into(), zone, IdSource::derived(b"test"), &settings).expect("valid");
        let now = Stamp { mono: Duration::from_secs(1000), wall_ms: EVENING };
        Self { set, now, frame: Duration::from_millis(200) }
    }

    fn reconfigure(&mut self, rules: &[RuleConfig]) -> Vec<EventReport> {
        let (zones, lines) = places();
        let settings = Settings { config_revision: 2, zones: &zones, lines: &lines, rules };
        self.set.reconfigure(&settings, self.now).expect("valid")
    }

    /// One frame; time moves on after it.
    pub fn frame(&mut self, tracks: &[Track]) -> Vec<EventReport> {
        self.outcomes(tracks, None, 0.5).into_iter().map(|o| o.report).collect()
    }

    fn outcomes(&mut self, tracks: &[Track], camera_time_ms: Option<i64>, sharpness: f32) -> Vec<Outcome> {
        let scene =
            Scene { now: self.now, camera_time_ms, width: WIDTH, height: HEIGHT, tracks, sharpness: &|_| sharpness };
        let out = self.set.step(&scene);
        self.now = self.now.plus(self.frame);
        out
    }

    /// A person who stands at `x` for `seconds`.
    fn stand(&mut self, id: u64, x: f32, seconds: f32) -> Vec<EventReport> {
        let frames = (seconds / self.frame.as_secs_f32()).round() as usize;
        (0..frames).flat_map(|_| self.frame(&[person(id, x)])).collect()
    }

    /// Nobody is there for `seconds`.
    fn empty(&mut self, seconds: f32) -> Vec<EventReport> {
        let frames = (seconds / self.frame.as_secs_f32()).round() as usize;
        (0..frames).flat_map(|_| self.frame(&[])).collect()
    }
}

/// A person of a tenth of the picture's height whose foot is at (`x`, 0.5).
pub fn person(id: u64, x: f32) -> Track {
    Track {
        id,
        label: "person".into(),
        bbox: PixelBox { left: x * 1000.0 - 20.0, top: 400.0, width: 40.0, height: 100.0 },
        score: 0.8,
        first_seen: Stamp::default(),
        seen_now: true,
        stationary: false,
    }
}

pub fn phases(reports: &[EventReport]) -> Vec<Phase> {
    reports.iter().map(|r| r.phase).collect()
}

pub fn started(reports: &[EventReport]) -> usize {
    reports.iter().filter(|r| r.phase == Phase::Started).count()
}

/// Every event: started once and first, updates, ended once and last; times go forward; ids are unique.
pub fn assert_legal(reports: &[EventReport], all_over: bool) {
    let mut events: BTreeMap<&str, Vec<&EventReport>> = BTreeMap::new();
    for r in reports {
        events.entry(&r.id).or_default().push(r);
    }
    for (id, revisions) in events {
        let last = revisions.len() - 1;
        for (i, r) in revisions.iter().enumerate() {
            assert_eq!(r.phase == Phase::Started, i == 0, "{id} {i}");
            assert!(r.phase != Phase::Ended || i == last, "{id}: something after its end");
            assert_eq!(r.ended_at.is_some(), r.phase == Phase::Ended);
            assert!(r.started_at.wall_ms <= r.updated_at.wall_ms && r.started_at.mono <= r.updated_at.mono);
            assert!(r.best_at.wall_ms >= r.started_at.wall_ms && r.best_at.wall_ms <= r.updated_at.wall_ms);
            assert!((1..=r.tracks.len()).contains(&(r.count as usize)));
            assert!(r.path.len() <= 64 && r.path.windows(2).all(|w| w[0].seconds < w[1].seconds));
            assert_eq!(r.started_at, revisions[0].started_at);
        }
        assert!(revisions.windows(2).all(|w| w[0].updated_at.wall_ms <= w[1].updated_at.wall_ms));
        assert!(!all_over || revisions[last].phase == Phase::Ended, "{id} did not end");
    }
}

#[test]
fn one_visit_is_one_event_that_ends_when_the_visitor_has_left() {
    let mut w = World::new(&[intrusion()]);
    let mut reports = w.stand(7, 0.2, 2.0);
    assert!(reports.is_empty());
    let entered = w.now;
    reports.extend(w.stand(7, 0.45, 25.0));
    assert_eq!(reports[0].started_at, entered);
    assert_eq!(reports[0].zones[0].name, "yard");
    assert_eq!((reports[0].count, reports[0].tracks.as_slice()), (1, &[7][..]));
    assert!(reports[0].path.iter().any(|p| p.seconds < 0.0), "the way up to the zone belongs to the event");
    let left = w.now;
    reports.extend(w.stand(7, 0.2, 10.0));
    assert_legal(&reports, true);
    assert_eq!(phases(&reports), [Phase::Started, Phase::Updated, Phase::Updated, Phase::Ended]);
    let gone = reports[3].ended_at.expect("ended").since(left);
    assert!((Duration::from_millis(1800)..Duration::from_millis(2500)).contains(&gone), "{gone:?}");
}

#[test]
fn a_track_is_alerted_once_however_often_it_comes_back() {
    let mut w = World::new(&[intrusion()]);
    let mut reports = w.stand(7, 0.45, 2.0);
    for _ in 0..5 {
        reports.extend(w.stand(7, 0.2, 5.0));
        reports.extend(w.stand(7, 0.45, 5.0));
    }
    assert_eq!(started(&reports), 1);
    reports.extend(w.empty(6.0));
    reports.extend(w.stand(8, 0.45, 1.0));
    assert_eq!(started(&reports), 2, "another object is news");
}

#[test]
fn inertia_asks_for_frames_in_a_row_with_a_real_detection() {
    let mut config = intrusion();
    config.inertia = 3;
    let mut w = World::new(&[config]);
    let guessed = Track { seen_now: false, ..person(1, 0.45) };
    assert!(w.frame(&[person(1, 0.45)]).is_empty());
    for _ in 0..20 {
        assert!(w.frame(std::slice::from_ref(&guessed)).is_empty(), "a predicted place proves nothing");
    }
    assert!(w.frame(&[person(1, 0.45)]).is_empty());
    assert!(w.frame(&[person(1, 0.39)]).is_empty(), "outside: the run is broken");
    assert!(w.frame(&[person(1, 0.45)]).is_empty());
    assert!(w.frame(&[person(1, 0.45)]).is_empty());
    assert_eq!(phases(&w.frame(&[person(1, 0.45)])), [Phase::Started]);
}

#[test]
fn labels_score_and_height_decide_who_counts() {
    let mut config = intrusion();
    config.min_height = 0.08;
    let mut w = World::new(&[config]);
    let dog = Track { label: "dog".into(), ..person(1, 0.45) };
    let doubtful = Track { score: 0.4, ..person(2, 0.45) };
    let far = Track { bbox: PixelBox { left: 440.0, top: 480.0, width: 8.0, height: 20.0 }, ..person(3, 0.45) };
    assert!(w.frame(&[dog, doubtful.clone(), far]).is_empty());
    // The best score of a track counts, not that of the frame.
    assert_eq!(started(&w.frame(&[Track { score: 0.9, ..doubtful.clone() }])), 1);
    assert!(w.frame(&[doubtful]).is_empty());
}

#[test]
fn a_group_is_one_event_and_a_new_zone_is_news() {
    let mut config = rule("both", "intrusion", "zones = ['yard', 'back']\nmin_move = 0");
    config.cooldown = Duration::ZERO;
    let mut w = World::new(&[config]);
    let mut reports = w.frame(&[person(1, 0.45)]);
    reports.extend(w.frame(&[person(1, 0.45), person(2, 0.46)]));
    assert_eq!(phases(&reports), [Phase::Started], "a second person joins quietly");
    let news = w.frame(&[person(1, 0.45), person(2, 0.7)]);
    assert_eq!(phases(&news), [Phase::Updated]);
    assert_eq!((news[0].count, news[0].tracks.clone()), (2, vec![1, 2]));
    let names: Vec<&str> = news[0].zones.iter().map(|z| z.name.as_str()).collect();
    assert_eq!(names, ["yard", "back"]);
    // It ends only when both have left.
    let mut later = w.stand(1, 0.45, 20.0);
    assert_eq!(later.iter().filter(|r| r.phase == Phase::Ended).count(), 0);
    later.extend(w.empty(8.0));
    assert_eq!(later.last().map(|r| r.phase), Some(Phase::Ended));
}

#[test]
fn a_person_who_gets_another_track_number_is_still_one_person() {
    let mut w = World::new(&[intrusion()]);
    let mut reports = w.stand(1, 0.45, 5.0);
    reports.extend(w.stand(2, 0.46, 5.0));
    reports.extend(w.stand(3, 0.46, 5.0));
    reports.extend(w.empty(3.0));
    assert_eq!(started(&reports), 1);
    let end = reports.last().expect("ended");
    assert_eq!((end.count, end.tracks.as_slice()), (1, &[1, 2, 3][..]));
}

#[test]
fn a_stay_and_a_walk_outlive_a_change_of_the_track_number() {
    let mut w = World::new(&[loitering(21.5), crossing()]);
    let mut reports = Vec::new();
    for id in 1..=5 {
        reports.extend(w.stand(id, 0.45, 4.0));
        // The tracker's last guess at the old number goes on for a while.
        reports.extend(w.frame(&[Track { seen_now: false, ..person(id, 0.45) }]));
    }
    assert_eq!(started(&reports), 0);
    reports.extend(w.stand(6, 0.45, 1.0));
    assert_eq!(reports.iter().map(|r| r.rule.as_str()).collect::<Vec<_>>(), ["corner"]);
    assert!(reports[0].path.first().is_some_and(|p| p.seconds < -19.0), "the way is one");
    // Lost before the line, found behind it.
    reports.clear();
    for (id, x) in [(6, 0.47), (7, 0.52), (7, 0.55)] {
        reports.extend(w.frame(&[person(id, x)]));
    }
    let crossed: Vec<_> = reports.iter().filter(|r| r.rule == "gate").collect();
    assert_eq!((crossed.len(), crossed[0].direction), (1, Some(Direction::LeftToRight)));
}

#[test]
fn a_stranger_is_not_taken_for_someone_else() {
    // Side by side and both seen; too far away; of another size; too late.
    for (gone, track) in [
        (0.0, person(2, 0.46)),
        (1.0, person(2, 0.59)),
        (1.0, Track { bbox: PixelBox { left: 440.0, top: 300.0, width: 40.0, height: 200.0 }, ..person(2, 0.45) }),
        (4.5, person(2, 0.45)),
    ] {
        let mut w = World::new(&[loitering(5.0)]);
        let mut reports = w.stand(1, 0.45, 4.0);
        reports.extend(w.empty(gone));
        for _ in 0..20 {
            let mut tracks = vec![track.clone()];
            tracks
                .extend((gone == 0.0).then(|| Track { bbox: PixelBox { left: 0.0, ..track.bbox }, ..person(1, 0.45) }));
            reports.extend(w.frame(&tracks));
        }
        assert_eq!(started(&reports), 0, "gone for {gone} s");
    }
}

#[test]
fn who_comes_long_after_deserves_an_alert_of_their_own() {
    let mut w = World::new(&[intrusion()]);
    w.frame = Duration::from_secs(1);
    let mut reports = w.stand(1, 0.45, 400.0);
    reports.extend(w.frame(&[person(1, 0.45), person(2, 0.45)]));
    assert_eq!(started(&reports), 2);
    reports.extend((0..5000).flat_map(|_| w.frame(&[person(1, 0.45), person(2, 0.45)])));
    assert_legal(&reports, true);
    assert_eq!(started(&reports), 2, "who stays for hours is no news");
}

#[test]
fn a_place_stays_quiet_for_its_cool_down_and_then_speaks() {
    let mut config = intrusion();
    config.cooldown = Duration::from_secs(30);
    let mut w = World::new(&[config]);
    let mut reports = w.stand(1, 0.45, 1.0);
    reports.extend(w.empty(4.0));
    let ended = reports.last().and_then(|r| r.ended_at).expect("ended");
    reports.extend(w.stand(2, 0.45, 40.0));
    assert_eq!(started(&reports), 2, "who is still there after it is announced then");
    let second = reports.iter().filter(|r| r.phase == Phase::Started).nth(1).expect("second").started_at;
    assert_eq!(second.since(ended).as_secs(), 30);
}

#[test]
fn a_closing_window_ends_the_event_and_nothing_fires_outside_it() {
    let mut config = intrusion();
    // 20:00–20:01 every day.
    let windows = vec![Window { days: Weekday::ALL.to_vec(), from_minute: 1200, to_minute: 1201 }];
    config.schedule = Some(ScheduleConfig { name: "s".into(), windows });
    let mut w = World::new(&[config]);
    let reports = w.stand(1, 0.45, 120.0);
    assert_legal(&reports, true);
    assert_eq!(started(&reports), 1);
    assert_eq!(reports.last().and_then(|r| r.ended_at).map(|s| s.wall_ms), Some(EVENING + 60_000));
    assert!(w.stand(2, 0.45, 60.0).is_empty());
}

#[test]
fn what_is_parked_when_the_window_opens_is_not_an_intruder_until_it_moves() {
    let mut config = intrusion();
    config.labels = vec!["motorcycle".into()];
    let windows = vec![Window { days: Weekday::ALL.to_vec(), from_minute: 1201, to_minute: 1260 }];
    config.schedule = Some(ScheduleConfig { name: "s".into(), windows });
    let mut w = World::new(&[config]);
    let parked = Track { label: "motorcycle".into(), stationary: true, ..person(1, 0.45) };
    for _ in 0..1000 {
        assert!(w.frame(std::slice::from_ref(&parked)).is_empty());
    }
    let rolling = Track { stationary: false, ..parked };
    assert_eq!(started(&w.frame(&[rolling])), 1);
}

#[test]
fn a_thing_that_only_looks_like_a_person_does_not_move() {
    let mut config = intrusion();
    config.params.remove("min_move");
    let mut w = World::new(&[config]);
    // A tenth of its height to and fro is a detector's jitter.
    for i in 0..500u32 {
        assert!(w.frame(&[person(1, 0.45 + 0.005 * (i % 3) as f32)]).is_empty());
    }
    // It takes half a step, and is no thing.
    assert_eq!(started(&w.frame(&[person(1, 0.475)])), 1);
    // Who has walked up to the zone has moved already.
    let mut reports = w.empty(10.0);
    reports.extend(w.stand(2, 0.38, 1.0));
    assert_eq!(started(&w.frame(&[person(2, 0.405)])), 1);
}

#[test]
fn whoever_stands_still_after_coming_in_is_still_there() {
    let mut w = World::new(&[intrusion()]);
    let mut reports = w.stand(1, 0.45, 2.0);
    let still = Track { stationary: true, ..person(1, 0.45) };
    for _ in 0..300 {
        reports.extend(w.frame(std::slice::from_ref(&still)));
    }
    assert!(reports.iter().all(|r| r.phase != Phase::Ended));
    assert_eq!(started(&reports), 1);
}

#[test]
fn who_stands_on_a_line_does_not_fire_and_who_walks_round_it_neither() {
    let mut w = World::new(&[crossing()]);
    let mut reports = Vec::new();
    for i in 0..200 {
        reports.extend(w.frame(&[person(1, if i % 2 == 0 { 0.495 } else { 0.505 })]));
    }
    assert!(reports.is_empty(), "jitter on the line");
    let short = NamedLine { name: "gate".into(), points: [Point::new(0.5, 0.6), Point::new(0.5, 0.4)] };
    let settings = Settings { config_revision: 1, zones: &[], lines: &[short], rules: &[crossing()] };
    let camera: CameraId = "cam".parse().expect("valid");
    w.set = RuleSet::new(camera, "m".into(), TimeZone::UTC, IdSource::derived(b"x"), &settings).expect("valid");
    for (x, y) in [(0.3, 0.5), (0.4, 0.8), (0.6, 0.8), (0.7, 0.5)] {
        let bbox = PixelBox { left: x * 1000.0 - 20.0, top: y * 1000.0 - 100.0, width: 40.0, height: 100.0 };
        assert!(w.frame(&[Track { bbox, ..person(2, x) }]).is_empty(), "past the end at {x} {y}");
    }
    let through = w.frame(&[person(2, 0.3)]);
    assert_eq!(through.first().and_then(|r| r.direction), Some(Direction::RightToLeft));
}

#[test]
fn a_crossing_is_a_moment_with_a_direction() {
    let mut w = World::new(&[crossing(), rule("in", "line_crossing", "line='gate'\ndirection='right_to_left'")]);
    let mut reports: Vec<EventReport> = Vec::new();
    for x in [0.3, 0.45, 0.55, 0.7] {
        reports.extend(w.frame(&[person(1, x)]));
    }
    reports.extend(w.stand(1, 0.7, 5.0));
    assert_legal(&reports, true);
    assert_eq!(started(&reports), 1);
    assert_eq!((reports[0].rule.as_str(), reports[0].direction), ("gate", Some(Direction::LeftToRight)));
    assert_eq!(reports[0].line.as_ref().map(|l| l.name.as_str()), Some("gate"));
    let life = reports.last().and_then(|r| r.ended_at).expect("ended").since(reports[0].started_at);
    assert!(life <= Duration::from_millis(2500), "{life:?}");
    let back: Vec<EventReport> = [0.55, 0.45, 0.3].iter().flat_map(|x| w.frame(&[person(1, *x)])).collect();
    assert_eq!(started(&back), 2, "both rules have it on the way back");
}

#[test]
fn a_crossing_by_someone_not_yet_sure_is_kept_for_a_moment() {
    let mut w = World::new(&[crossing()]);
    let faint = |x| Track { score: 0.4, ..person(1, x) };
    for x in [0.3, 0.45, 0.55, 0.6] {
        assert!(w.frame(&[faint(x)]).is_empty());
    }
    assert_eq!(started(&w.frame(&[person(1, 0.65)])), 1);
    assert_eq!(started(&w.stand(1, 0.7, 5.0)), 0);
}

#[test]
fn a_gap_shorter_than_the_grace_does_not_reset_a_stay_and_a_longer_one_does() {
    let mut w = World::new(&[loitering(10.0)]);
    let mut reports = w.stand(1, 0.45, 6.0);
    reports.extend(w.empty(1.0));
    for _ in 0..4 {
        reports.extend(w.frame(&[Track { seen_now: false, ..person(1, 0.9) }]));
    }
    assert!(reports.is_empty());
    let reports = w.stand(1, 0.45, 3.0);
    assert_eq!(started(&reports), 1);
    let mut w = World::new(&[loitering(10.0)]);
    let mut reports = w.stand(1, 0.45, 9.0);
    reports.extend(w.stand(1, 0.9, 3.0));
    reports.extend(w.stand(1, 0.45, 9.0));
    assert!(reports.is_empty(), "two short stays");
}

#[test]
fn a_jump_of_the_wall_clock_is_said_and_does_not_bend_an_event() {
    for jump in [-3_600_000, 3_600_000] {
        let mut w = World::new(&[intrusion()]);
        let mut reports = w.stand(1, 0.45, 15.0);
        assert!(reports.iter().all(|r| !r.clock_suspect));
        w.now.wall_ms += jump;
        reports.extend(w.stand(1, 0.45, 15.0));
        reports.extend(w.empty(5.0));
        assert_legal(&reports, true);
        let end = reports.last().expect("reports");
        assert!(end.clock_suspect);
        let length = end.ended_at.expect("ended").wall_ms - end.started_at.wall_ms;
        assert!((31_000..33_000).contains(&length), "{length}");
        // What begins after the jump has the new time and nothing to suspect.
        let fresh = w.stand(2, 0.45, 1.0);
        assert!(!fresh[0].clock_suspect && fresh[0].started_at.wall_ms.abs_diff(EVENING + jump) < 60_000);
    }
}

#[test]
fn a_leap_second_bends_no_event() {
    let mut w = World::new(&[intrusion()]);
    let mut reports = w.stand(1, 0.45, 15.0);
    // The last second of the day comes twice.
    w.now.wall_ms -= 1_000;
    reports.extend(w.stand(1, 0.45, 15.0));
    reports.extend(w.empty(5.0));
    assert_legal(&reports, true);
    let end = reports.last().expect("reports");
    let length = end.ended_at.expect("ended").wall_ms - end.started_at.wall_ms;
    assert!((31_000..33_000).contains(&length), "{length}");
}

#[test]
fn a_camera_whose_clock_is_off_is_suspect() {
    let mut w = World::new(&[intrusion()]);
    let time = Some(EVENING - 90_000);
    let out = w.outcomes(&[person(1, 0.45)], time, 0.5);
    assert!(out[0].report.clock_suspect && out[0].report.camera_time_ms == time);
    let mut w = World::new(&[intrusion()]);
    assert!(!w.outcomes(&[person(1, 0.45)], Some(EVENING - 30_000), 0.5)[0].report.clock_suspect);
}

#[test]
fn a_clearly_better_picture_is_asked_for_and_not_in_every_frame() {
    let mut w = World::new(&[intrusion()]);
    let sized = |h: f32| Track {
        bbox: PixelBox { left: 450.0 - h / 4.0, top: 500.0 - h, width: h / 2.0, height: h },
        ..person(1, 0.45)
    };
    let mut pictures = Vec::new();
    for i in 0..100u32 {
        let out = w.outcomes(&[sized(40.0 + 4.0 * i as f32)], None, 0.5);
        pictures.extend(out.into_iter().filter(|o| o.picture));
    }
    assert!((4..=12).contains(&pictures.len()), "{}", pictures.len());
    assert!(pictures.windows(2).all(|p| p[0].report.bbox.height() < p[1].report.bbox.height()));
    assert!(pictures.windows(2).all(|p| p[1].report.best_at.since(p[0].report.best_at) >= Duration::from_secs(1)));
    // A larger box that is cut by the border, or blurred, is no better.
    let cut = Track { bbox: PixelBox { left: 350.0, top: 0.0, width: 200.0, height: 500.0 }, ..person(1, 0.45) };
    for _ in 0..20 {
        assert!(w.outcomes(std::slice::from_ref(&cut), None, 0.5).iter().all(|o| !o.picture));
    }
}

#[test]
fn new_rules_leave_what_they_do_not_concern_alone() {
    let mut w = World::new(&[intrusion(), loitering(5.0)]);
    let reports = w.stand(1, 0.45, 6.0);
    assert_eq!(started(&reports), 2);
    // Loitering goes, intrusion is only a notice now, crossing is new.
    let mut milder = intrusion();
    milder.severity = Severity::Notice;
    let ended = w.reconfigure(&[milder.clone(), crossing()]);
    assert_eq!(ended.iter().map(|r| (r.rule.as_str(), r.phase)).collect::<Vec<_>>(), [("corner", Phase::Ended)]);
    let news = w.frame(&[person(1, 0.45)]);
    assert_eq!(phases(&news), [Phase::Updated]);
    assert_eq!((news[0].severity, news[0].config_revision), (Severity::Notice, 2));
    // A rule that is wrong changes nothing.
    let settings = Settings { config_revision: 3, zones: &[], lines: &[], rules: &[milder] };
    assert!(w.set.reconfigure(&settings, w.now).is_err());
    assert!(w.set.has_open_events());
    assert_eq!(phases(&w.set.end_all(w.now)), [Phase::Ended]);
    assert!(!w.set.has_open_events() && w.set.end_all(w.now).is_empty());
}

#[test]
fn time_alone_ends_events_when_the_camera_falls_silent() {
    let mut w = World::new(&[intrusion()]);
    w.stand(1, 0.45, 1.0);
    assert!(w.set.tick(w.now).is_empty());
    let ended = w.set.tick(w.now.plus(Duration::from_secs(3)));
    assert_eq!(phases(&ended), [Phase::Ended]);
}
