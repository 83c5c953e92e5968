//! The tracker on scripted scenes: who walks, who stands, what is parked, and what is a signpost; and on the street clip.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use wardwatch::app::replay::{ReplayOptions, replay};
use wardwatch::base::clock::{SimClock, Stamp};
use wardwatch::base::geometry::PixelBox;
use wardwatch::base::types::{Detection, Phantom, Track};
use wardwatch::config::TrackConfig;
use wardwatch::track::Tracker;

const SIZE: (u32, u32) = (768, 576);

fn detection(label: &str, left: f32, top: f32, size: (f32, f32), score: f32) -> Detection {
    Detection { bbox: PixelBox { left, top, width: size.0, height: size.1 }, label: label.into(), score }
}

fn person(left: f32, top: f32, score: f32) -> Detection {
    detection("person", left, top, (30.0, 80.0), score)
}

/// -1..=1, the same for the same arguments.
fn jitter(frame: u32, salt: u32) -> f32 {
    let mixed = (frame.wrapping_mul(0x9E37_79B9) ^ salt.wrapping_mul(0x85EB_CA6B)).wrapping_mul(0xC2B2_AE35);
    (mixed >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// Moves and resizes a box the way detectors do when nothing changes.
fn jittered(d: &Detection, frame: u32, pixels: f32) -> Detection {
    let b = d.bbox;
    let by = |salt| jitter(frame, salt) * pixels;
    let size = (b.width + by(3), b.height + by(4));
    detection(&d.label, b.left + by(1), b.top + by(2), size, d.score + 0.05 * jitter(frame, 5))
}

/// A signpost as the detector sees it: small, half sure, trembling, missed now and then.
fn signpost(frame: u32) -> Option<Detection> {
    let seen = jitter(frame, 9) > -0.9;
    seen.then(|| jittered(&detection("person", 30.0, 110.0, (17.0, 33.0), 0.52), frame, 1.5))
}

/// A scene played at `fps`: `at(seconds, frame)` gives what is detected.
struct Scene {
    tracker: Tracker,
    fps: f32,
    frame: u32,
}

impl Scene {
    fn new(fps: f32, phantoms: Vec<Phantom>) -> Self {
        Self { tracker: Tracker::new(&TrackConfig::default(), phantoms), fps, frame: 0 }
    }

    /// Plays on for `seconds`; gives the tracks of every frame.
    fn play(&mut self, seconds: f32, at: impl Fn(f32, u32) -> Vec<Detection>) -> Vec<Vec<Track>> {
        let frames = (seconds * self.fps).round() as u32;
        (0..frames)
            .map(|i| {
                let now = Stamp { mono: Duration::ZERO, wall_ms: 1_790_000_000_000 }
                    .plus(Duration::from_secs_f32(self.frame as f32 / self.fps));
                self.frame += 1;
                self.tracker.step(&at(i as f32 / self.fps, self.frame), SIZE.0, SIZE.1, now)
            })
            .collect()
    }
}

fn ids(frames: &[Vec<Track>]) -> BTreeSet<u64> {
    frames.iter().flatten().map(|t| t.id).collect()
}

#[test]
fn a_walker_is_one_track_from_the_third_sighting_at_every_frame_rate() {
    for fps in [5.0, 8.0, 10.0, 15.0] {
        let mut scene = Scene::new(fps, Vec::new());
        let frames = scene.play(8.0, |s, f| vec![jittered(&person(50.0 + 60.0 * s, 200.0, 0.8), f, 2.0)]);
        assert_eq!(ids(&frames), BTreeSet::from([1]), "{fps} fps");
        let first = frames.iter().position(|f| !f.is_empty()).expect("seen");
        assert!(first as f32 / fps <= 0.5, "{fps} fps: {first}");
        assert!(frames[first..].iter().all(|f| f.len() == 1 && f[0].seen_now && !f[0].stationary));
    }
}

#[test]
fn a_far_walker_of_whom_the_detector_is_unsure_is_shown_within_a_second() {
    let mut scene = Scene::new(10.0, Vec::new());
    let frames =
        scene.play(5.0, |s, f| vec![jittered(&detection("person", 300.0 - 15.0 * s, 80.0, (9.0, 24.0), 0.55), f, 0.7)]);
    let first = frames.iter().position(|f| !f.is_empty()).expect("seen");
    assert!(first <= 10, "{first}");
    assert_eq!(ids(&frames).len(), 1);
}

#[test]
fn a_signpost_gives_no_track_and_is_learned() {
    for fps in [5.0, 10.0, 15.0] {
        let mut scene = Scene::new(fps, Vec::new());
        let frames = scene.play(120.0, |_, f| signpost(f).into_iter().collect());
        assert_eq!(ids(&frames), BTreeSet::new(), "{fps} fps");
        let phantoms = scene.tracker.phantoms();
        assert_eq!(phantoms.len(), 1, "{fps} fps: {phantoms:?}");
        let b = phantoms[0].bbox.pixels(SIZE.0, SIZE.1);
        assert!(b.iou(&PixelBox { left: 30.0, top: 110.0, width: 17.0, height: 33.0 }) > 0.7, "{b:?}");
        assert!(phantoms[0].seen_seconds > 60.0, "{phantoms:?}");
    }
}

#[test]
fn a_person_who_walks_in_and_stands_still_for_minutes_keeps_his_track() {
    let mut scene = Scene::new(10.0, Vec::new());
    let walk = scene.play(3.0, |s, f| vec![jittered(&person(100.0 + 60.0 * s, 200.0, 0.7), f, 1.5)]);
    // And the detector becomes no surer of him than of a signpost.
    let stand = scene.play(300.0, |_, f| vec![jittered(&person(280.0, 200.0, 0.55), f, 1.5)]);
    assert_eq!(ids(&walk), BTreeSet::from([1]));
    assert_eq!(ids(&stand), BTreeSet::from([1]));
    assert!(stand.iter().all(|f| f.len() == 1));
    assert!(stand[150..].iter().all(|f| f[0].stationary));
    assert_eq!(scene.tracker.phantoms(), []);
    let leave = scene.play(3.0, |s, f| vec![jittered(&person(280.0 + 60.0 * s, 200.0, 0.7), f, 1.5)]);
    assert_eq!(ids(&leave), BTreeSet::from([1]));
    assert!(!leave.last().expect("frames")[0].stationary);
}

#[test]
fn a_person_who_stands_there_from_the_start_is_shown() {
    let mut scene = Scene::new(10.0, Vec::new());
    let frames = scene.play(60.0, |_, f| vec![jittered(&person(280.0, 200.0, 0.8), f, 1.5)]);
    assert!(frames[5..].iter().all(|f| f.len() == 1 && f[0].id == 1));
}

#[test]
fn what_never_moved_in_many_minutes_is_a_phantom_however_sure_the_detector_is() {
    let mut scene = Scene::new(5.0, Vec::new());
    let frames = scene.play(400.0, |_, f| vec![jittered(&person(280.0, 200.0, 0.8), f, 1.5)]);
    assert_eq!(ids(&frames), BTreeSet::from([1]));
    assert!(frames.last().expect("frames").is_empty());
    assert_eq!(scene.tracker.phantoms().len(), 1);
}

#[test]
fn a_known_phantom_is_suppressed_at_once_after_a_restart() {
    let mut before = Scene::new(10.0, Vec::new());
    before.play(30.0, |_, f| signpost(f).into_iter().collect());
    let mut after = Scene::new(10.0, before.tracker.phantoms());
    // It is even surer now, as at another time of the day.
    let frames = after.play(30.0, |_, f| {
        signpost(f).map(|d| Detection { score: 0.75 + 0.05 * jitter(f, 7), ..d }).into_iter().collect()
    });
    assert_eq!(ids(&frames), BTreeSet::new());
    assert_eq!(after.tracker.phantoms().len(), 1);
    assert!(after.tracker.phantoms()[0].seen_seconds > before.tracker.phantoms()[0].seen_seconds);
}

#[test]
fn somebody_who_passes_in_front_of_a_phantom_keeps_his_track_and_the_phantom_stays_one() {
    let mut scene = Scene::new(10.0, Vec::new());
    scene.play(30.0, |_, f| signpost(f).into_iter().collect());
    let frames = scene.play(8.0, |s, f| {
        let walker = jittered(&detection("person", -60.0 + 40.0 * s, 90.0, (26.0, 70.0), 0.75), f, 1.5);
        // In front of it he hides it.
        let hides = (walker.bbox.centre().0 - 38.0).abs() < 18.0;
        signpost(f).filter(|_| !hides).into_iter().chain([walker]).collect()
    });
    let walker = ids(&frames);
    assert_eq!(walker.len(), 1, "{walker:?}");
    assert!(frames[6..].iter().all(|f| f.len() == 1 && f[0].seen_now));
    let after = scene.play(30.0, |_, f| signpost(f).into_iter().collect());
    assert!(after[40..].iter().all(Vec::is_empty), "he is gone and must not live on in the signpost");
    assert_eq!(scene.tracker.phantoms().len(), 1);
}

#[test]
fn a_signpost_is_learned_although_people_pass_it_from_the_start() {
    let mut scene = Scene::new(10.0, Vec::new());
    let frames = scene.play(60.0, |s, f| {
        // Every six seconds somebody, each a little further down the picture.
        let (n, t) = ((s / 6.0).floor(), s % 6.0);
        let walker = detection("person", -20.0 + 40.0 * t, 80.0 + 4.0 * n, (26.0, 70.0), 0.75);
        let hides = (walker.bbox.centre().0 - 38.0).abs() < 14.0;
        signpost(f).filter(|_| !hides).into_iter().chain([jittered(&walker, f, 1.5)]).collect()
    });
    let after = scene.play(20.0, |_, f| signpost(f).into_iter().collect());
    assert_eq!(ids(&frames).len(), 10);
    assert!(after[40..].iter().all(Vec::is_empty));
    assert_eq!(scene.tracker.phantoms().len(), 1);
}

#[test]
fn somebody_who_stops_right_in_front_of_a_phantom_keeps_his_track() {
    let mut scene = Scene::new(10.0, Vec::new());
    scene.play(30.0, |_, f| signpost(f).into_iter().collect());
    let at = |x: f32, f| jittered(&detection("person", x, 108.0, (17.0, 36.0), 0.7), f, 1.0);
    let walk = scene.play(4.0, |s, f| signpost(f).into_iter().chain([at(130.0 - 24.0 * s, f)]).collect());
    // As small as the signpost, in its very place, and hiding it.
    let stop = scene.play(20.0, |_, f| vec![at(32.0, f)]);
    assert_eq!(ids(&walk).len(), 1);
    assert_eq!(ids(&stop), ids(&walk));
    assert!(stop.iter().all(|f| f.len() == 1));
}

#[test]
fn who_vanishes_behind_a_phantom_does_not_live_on_in_it() {
    let mut scene = Scene::new(10.0, Vec::new());
    scene.play(30.0, |_, f| signpost(f).into_iter().collect());
    let at = |x: f32, f| jittered(&detection("person", x, 108.0, (17.0, 36.0), 0.7), f, 1.0);
    scene.play(4.0, |s, f| signpost(f).into_iter().chain([at(130.0 - 24.0 * s, f)]).collect());
    let alone = scene.play(60.0, |_, f| signpost(f).into_iter().collect());
    assert!(alone[310..].iter().all(Vec::is_empty));
    assert_eq!(scene.tracker.phantoms().len(), 1);
}

#[test]
fn a_phantom_that_was_not_seen_for_days_is_forgotten() {
    let mut scene = Scene::new(10.0, Vec::new());
    scene.play(30.0, |_, f| signpost(f).into_iter().collect());
    let phantoms = scene.tracker.phantoms();
    let days = |n: i64| Stamp { mono: Duration::ZERO, wall_ms: phantoms[0].last_seen_ms + n * 24 * 3_600_000 };
    for (n, left) in [(2, 1), (4, 0)] {
        let mut tracker = Tracker::new(&TrackConfig::default(), phantoms.clone());
        tracker.step(&[], SIZE.0, SIZE.1, days(n));
        assert_eq!(tracker.phantoms().len(), left, "{n} days");
    }
}

#[test]
fn a_parked_car_becomes_stationary_and_keeps_its_id_when_it_is_called_a_truck_or_hidden() {
    let mut scene = Scene::new(10.0, Vec::new());
    let car = |label: &str, x: f32, f| jittered(&detection(label, x, 300.0, (120.0, 70.0), 0.75), f, 3.0);
    let arrive = scene.play(3.0, |s, f| vec![car("car", 100.0 + 80.0 * s, f)]);
    assert!(arrive.iter().flatten().all(|t| !t.stationary));
    let parked = scene.play(60.0, |s, f| match f % 7 {
        0 if s < 40.0 => vec![car("truck", 340.0, f)],
        // A bus stands before it for two seconds.
        _ if (50.0..52.0).contains(&s) => vec![],
        _ => vec![car("car", 340.0, f)],
    });
    assert_eq!(ids(&parked), BTreeSet::from([1]));
    assert!(parked[150..].iter().all(|f| f.len() == 1 && f[0].stationary && &*f[0].label == "car"));
    assert!(parked[505..515].iter().all(|f| !f[0].seen_now));
    let leave = scene.play(3.0, |s, f| vec![car("car", 340.0 + 60.0 * s, f)]);
    assert_eq!(ids(&leave), BTreeSet::from([1]));
    assert!(!leave.last().expect("frames")[0].stationary);
}

#[test]
fn a_van_found_as_a_car_and_as_a_truck_at_once_is_one_track() {
    let mut scene = Scene::new(10.0, Vec::new());
    let frames = scene.play(20.0, |_, f| {
        let both = |label, score| jittered(&detection(label, 300.0, 300.0, (120.0, 70.0), score), f, 2.0);
        vec![both("truck", 0.75), both("car", 0.65)]
    });
    assert_eq!(ids(&frames), BTreeSet::from([1]));
    assert_eq!(&*frames.last().expect("frames")[0].label, "truck");
}

#[test]
fn two_people_who_cross_keep_their_ids() {
    for fps in [5.0, 10.0] {
        let mut scene = Scene::new(fps, Vec::new());
        let frames = scene.play(8.0, |s, f| {
            let (a, b) = (100.0 + 50.0 * s, 500.0 - 50.0 * s);
            let mut found = vec![jittered(&person(a, 200.0, 0.8), f, 1.0)];
            // One hides the other for a moment.
            if (a - b).abs() > 20.0 {
                found.push(jittered(&person(b, 204.0, 0.75), f + 1000, 1.0));
            }
            found
        });
        assert_eq!(ids(&frames).len(), 2, "{fps} fps");
        let place = |frame: &[Track], id: u64| frame.iter().find(|t| t.id == id).map(|t| t.bbox.left);
        let (start, end) = (&frames[fps as usize], frames.last().expect("frames"));
        for id in ids(&frames) {
            let (from, to) = (place(start, id).expect("there"), place(end, id).expect("there"));
            assert!((to - from).abs() > 250.0, "{fps} fps: {id} turned round: {from} to {to}");
        }
    }
}

#[test]
fn a_person_hidden_for_two_seconds_comes_back_as_the_same() {
    let mut scene = Scene::new(10.0, Vec::new());
    let frames = scene.play(9.0, |s, f| match s {
        s if (3.0..5.0).contains(&s) => vec![],
        s => vec![jittered(&person(100.0 + 40.0 * s, 200.0, 0.8), f, 1.0)],
    });
    assert_eq!(ids(&frames), BTreeSet::from([1]));
    assert!(frames[32..50].iter().all(|f| f.len() == 1 && !f[0].seen_now), "coasting tracks are handed out");
}

#[test]
fn a_track_ends_after_the_configured_time_and_its_id_is_not_used_again() {
    let mut scene = Scene::new(10.0, Vec::new());
    scene.play(2.0, |s, f| vec![jittered(&person(100.0 + 40.0 * s, 200.0, 0.8), f, 1.0)]);
    let gone = scene.play(4.0, |_, _| vec![]);
    assert!(gone[28].len() == 1 && gone[32].is_empty());
    let other = scene.play(2.0, |s, f| vec![jittered(&person(400.0 + 40.0 * s, 200.0, 0.8), f, 1.0)]);
    assert_eq!(ids(&other), BTreeSet::from([2]));
}

#[test]
fn a_weak_sighting_keeps_a_track_alive_but_begins_none() {
    let mut scene = Scene::new(10.0, Vec::new());
    let faint = scene.play(3.0, |s, f| vec![jittered(&person(100.0 + 40.0 * s, 200.0, 0.3), f, 1.0)]);
    assert_eq!(ids(&faint), BTreeSet::new());
    let frames = scene.play(6.0, |s, f| {
        let score = if (2.0..4.0).contains(&s) { 0.25 } else { 0.8 };
        vec![jittered(&person(100.0 + 40.0 * s, 300.0, score), f, 1.0)]
    });
    assert_eq!(ids(&frames), BTreeSet::from([1]));
    assert!(frames[5..].iter().all(|f| f[0].seen_now));
}

#[test]
fn slow_frames_still_make_tracks() {
    // One look a second, as while a scene is idle.
    let mut scene = Scene::new(1.0, Vec::new());
    let frames = scene.play(12.0, |s, f| vec![jittered(&person(100.0 + 15.0 * s, 200.0, 0.8), f, 1.0)]);
    assert_eq!(ids(&frames), BTreeSet::from([1]));
}

#[test]
fn values_that_are_not_finite_are_ignored() {
    let mut scene = Scene::new(10.0, Vec::new());
    let frames = scene.play(3.0, |s, f| {
        let sound = jittered(&person(100.0 + 40.0 * s, 200.0, 0.8), f, 1.0);
        let bad = [f32::NAN, f32::INFINITY, -1e30, 0.0];
        let boxes = bad.map(|x| detection("person", x, 100.0, (x, 80.0), 0.9));
        boxes.into_iter().chain([sound, person(50.0, 50.0, f32::NAN)]).collect()
    });
    assert_eq!(ids(&frames), BTreeSet::from([1]));
}

/// A crowd: walkers with courses of their own, doubles, misses, weak scores, irregular frames.
fn crowd() -> impl Strategy<Value = Vec<(u64, Vec<Detection>)>> {
    let walker = (0f32..700.0, 0f32..450.0, -90f32..90.0, -30f32..30.0, 0.3f32..0.95, 10f32..60.0);
    let frame = (0u64..900, any::<u32>());
    (prop::collection::vec(walker, 1..7), prop::collection::vec(frame, 5..50)).prop_map(|(walkers, frames)| {
        let mut ms = 0;
        frames
            .into_iter()
            .map(|(step, seed)| {
                ms += step;
                let t = ms as f32 / 1000.0;
                let mut found = Vec::new();
                for (i, (x, y, vx, vy, score, width)) in walkers.iter().enumerate() {
                    let size = (*width, width * 2.5);
                    let d = detection("person", x + vx * t, y + vy * t, size, *score);
                    let salt = seed.wrapping_add(i as u32);
                    if jitter(salt, 11) > -0.6 {
                        found.push(jittered(&d, salt, 3.0));
                    }
                    if jitter(salt, 12) > 0.8 {
                        found.push(jittered(&d, salt ^ 77, 8.0));
                    }
                }
                (ms, found)
            })
            .collect()
    })
}

fn run(frames: &[(u64, Vec<Detection>)]) -> Vec<Vec<Track>> {
    let mut tracker = Tracker::new(&TrackConfig::default(), Vec::new());
    let at = |ms| Stamp::default().plus(Duration::from_millis(ms));
    frames.iter().map(|(ms, found)| tracker.step(found, SIZE.0, SIZE.1, at(*ms))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn ids_are_unique_in_a_frame_and_never_used_again(frames in crowd()) {
        let mut last_seen: BTreeMap<u64, usize> = BTreeMap::new();
        let mut highest = 0;
        for (i, tracks) in run(&frames).iter().enumerate() {
            let mut in_frame = BTreeSet::new();
            for t in tracks {
                prop_assert!(in_frame.insert(t.id), "{} twice in frame {}", t.id, i);
                match last_seen.insert(t.id, i) {
                    Some(before) => prop_assert_eq!(before + 1, i, "track {} was over and came back", t.id),
                    None => prop_assert!(t.id > highest, "id {} is old", t.id),
                }
                highest = highest.max(t.id);
            }
        }
    }

    #[test]
    fn boxes_are_finite_and_not_empty(frames in crowd()) {
        for t in run(&frames).iter().flatten() {
            let b = t.bbox;
            prop_assert!([b.left, b.top, b.width, b.height].iter().all(|v| v.is_finite()), "{:?}", t);
            prop_assert!(b.width > 0.0 && b.height > 0.0 && (0.0..=1.0).contains(&t.score), "{:?}", t);
        }
    }

    #[test]
    fn the_order_of_detections_does_not_matter(frames in crowd(), turn in 0usize..7) {
        let turned: Vec<_> = frames
            .iter()
            .map(|(ms, found)| {
                let mut found = found.clone();
                let n = found.len().max(1);
                found.rotate_left(turn % n);
                found.reverse();
                (*ms, found)
            })
            .collect();
        prop_assert_eq!(run(&frames), run(&turned));
    }

    #[test]
    fn what_comes_later_does_not_change_what_came_before(frames in crowd(), cut in 0usize..50) {
        let cut = cut.min(frames.len());
        prop_assert_eq!(&run(&frames)[..cut], &run(&frames[..cut])[..]);
    }
}

/// Replays the start of the street clip and gives the MOT rows.
fn replayed(frames: u64, dir: &std::path::Path) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mot = dir.join(format!("{frames}.txt"));
    let options = ReplayOptions {
        video: root.join(".cache/footage/vtest.avi"),
        detect: crate::support::onnx::detect_config(&root.join("models"), "yolox-nano"),
        track: TrackConfig::default(),
        start: Stamp { mono: Duration::ZERO, wall_ms: 1_795_460_000_000 },
        phantoms: Vec::new(),
        frames: Some(frames),
        mot: Some(mot.clone()),
        mot_labels: vec!["person".into()],
    };
    let summary = replay(&options, &SimClock::default(), &mut ()).expect("the clip replays");
    assert_eq!(summary.frames, frames);
    std::fs::read_to_string(mot).expect("written")
}

#[test]
fn a_replay_gives_the_same_bytes_every_time_and_a_part_of_it_the_same_rows() {
    let dir = tempfile::tempdir().expect("a directory");
    let whole = replayed(60, dir.path());
    assert_eq!(whole, replayed(60, dir.path()));
    assert!(whole.starts_with(&replayed(25, dir.path())));
    let rows: Vec<Vec<f32>> =
        whole.lines().map(|row| row.split(',').map(|v| v.parse().expect("a number")).collect()).collect();
    assert!(rows.len() > 150, "{}", rows.len());
    for r in &rows {
        let [frame, id, left, top, width, height, score, -1.0, -1.0, -1.0] = r[..] else { panic!("{r:?}") };
        assert!((1.0..=60.0).contains(&frame) && id >= 1.0 && score > 0.0 && width > 0.0 && height > 0.0, "{r:?}");
        assert!(left >= 0.0 && top >= 0.0 && left + width <= 768.1 && top + height <= 576.1, "{r:?}");
        // The signpost at (30, 110) is found in every frame and shown in none.
        assert!(!(left < 45.0 && top < 125.0 && height < 45.0), "{r:?}");
    }
}
