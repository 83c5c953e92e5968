//! Recording while clocks do what they should not: the wall clock is set, timestamps wrap or step back. Real pictures
//! from a real camera, given to the recorder with times of the test's own.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use wardwatch::base::Stamp;
use wardwatch::base::clock::SystemClock;
use wardwatch::base::types::{AccessUnit, GapReason, Segment, StreamRole};
use wardwatch::ingest::receive::Connection;
use wardwatch::record::recorder::{Note, Recorder, Settings};
use wardwatch::record::segment::{Sidecar, sidecar_path};

use crate::record::play;
use crate::support::rtsp::{Bad, BadCamera, Camera, endpoint, h264_small};

const START_MS: i64 = 1_795_000_000_000;
const HOUR_MS: i64 = 3_600_000;

/// The first `count` pictures from `url`; the first is a keyframe.
fn pictures(url: String, count: usize) -> Vec<AccessUnit> {
    let (sender, units): (_, Receiver<AccessUnit>) = channel();
    let connection = Connection::open(&endpoint(url), Arc::new(SystemClock), move |unit| drop(sender.send(unit)));
    let _open = connection.expect("a connection");
    let next = || units.recv_timeout(Duration::from_secs(60)).expect("a picture");
    let first = std::iter::repeat_with(next).find(|u| u.keyframe).expect("one comes");
    std::iter::once(first).chain(std::iter::repeat_with(next)).take(count).collect()
}

fn recorder(dir: &Path, now: Stamp) -> Recorder {
    let settings = Settings {
        camera: "ngo-1".parse().expect("valid"),
        stream: StreamRole::Detect,
        dir: dir.to_owned(),
        segment: Duration::from_secs(2),
        min_free_bytes: 0,
        boot_id: "b".into(),
    };
    let mut recorder = Recorder::new(settings, now);
    recorder.set_continuous(true, now);
    recorder
}

/// A moment `since` the beginning, on a wall clock that is `off`.
fn stamp(since: Duration, off_ms: i64) -> Stamp {
    Stamp { mono: Duration::from_secs(1000) + since, wall_ms: START_MS + since.as_millis() as i64 + off_ms }
}

fn closed(notes: &[Note]) -> Vec<Segment> {
    notes.iter().filter_map(|n| if let Note::Closed(s) = n { Some(s.clone()) } else { None }).collect()
}

#[test]
fn a_wall_clock_that_is_set_while_recording_makes_nothing_longer_shorter_or_lost() {
    let camera = Camera::start(h264_small());
    let units = pictures(camera.url(), 100);
    let base = units[0].pts;
    let dir = tempfile::tempdir().expect("a directory");
    let mut recorder = recorder(dir.path(), stamp(Duration::ZERO, 0));
    for (n, unit) in units.iter().enumerate() {
        let since = unit.pts - base;
        // An hour ahead in the middle of a file, then two back, over what was recorded before.
        let off = [0, HOUR_MS, -HOUR_MS, 0][[33, 57, 75].iter().filter(|at| n >= **at).count()];
        let arrived = stamp(since, off);
        recorder.step(&AccessUnit { arrived, ..unit.clone() }, 0, arrived);
    }
    recorder.finish(None);
    let notes = recorder.take_notes();
    assert!(!notes.iter().any(|n| matches!(n, Note::GapBegan(_) | Note::Fault(Some(_)))), "{notes:?}");
    let segments = closed(&notes);
    let paths: BTreeSet<&str> = segments.iter().map(|s| s.path.as_str()).collect();
    assert_eq!(paths.len(), segments.len(), "no file is written twice");
    let mut frames = 0;
    for segment in &segments {
        let mp4 = dir.path().join(&segment.path);
        let played = play(&mp4);
        frames += played.frames;
        let span = (segment.end_ms.expect("ended") - segment.start_ms) as f64 / 1000.0;
        assert!((span - played.seconds).abs() < 0.5, "{segment:?}: {played:?}");
        let sidecar = Sidecar::read(&sidecar_path(&mp4)).expect("readable");
        assert_eq!(Some(sidecar.end_ms()), segment.end_ms);
        assert!(sidecar.fragments.windows(2).all(|w| w[0].mono_ns < w[1].mono_ns));
        let recorded = Duration::from_nanos(sidecar.fragments.iter().map(|f| f.duration_ns).sum());
        let closing = sidecar.closing.expect("closed");
        let mono = Duration::from_nanos(closing.end_mono_ns - sidecar.header.start_mono_ns);
        assert!(recorded.abs_diff(mono) < Duration::from_millis(500), "{recorded:?} {mono:?}");
    }
    assert_eq!(frames, 100, "every picture is there");
    let day = |ms: i64| segments.iter().filter(|s| s.start_ms.abs_diff(START_MS + ms) < 60_000).count();
    assert!(day(HOUR_MS) >= 1 && day(-HOUR_MS) >= 1, "after it was set, files begin with its time: {segments:?}");
}

#[test]
fn timestamps_that_step_back_begin_a_new_file() {
    let camera = Camera::start(h264_small());
    let units = pictures(camera.url(), 80);
    let base = units[0].pts;
    let dir = tempfile::tempdir().expect("a directory");
    let mut recorder = recorder(dir.path(), stamp(Duration::ZERO, 0));
    let shift = Duration::from_secs(3600);
    for (n, unit) in units.iter().enumerate() {
        let arrived = stamp(unit.pts - base, 0);
        // The camera counts from anew, an hour lower.
        let pts = if n < 45 { unit.pts + shift } else { unit.pts };
        recorder.step(&AccessUnit { arrived, pts, ..unit.clone() }, 0, arrived);
    }
    recorder.finish(None);
    let notes = recorder.take_notes();
    let segments = closed(&notes);
    let frames: u32 = segments.iter().map(|s| play(&dir.path().join(&s.path)).frames).sum();
    // From there to the next keyframe nothing can be shown.
    let lost = units.iter().skip(45).take_while(|u| !u.keyframe).count();
    assert_eq!(frames as usize + lost, 80);
    let gaps = notes.iter().filter(|n| matches!(n, Note::GapBegan(g) if g.reason != GapReason::Offline)).count();
    assert_eq!(gaps, 0, "{notes:?}");
    assert!(segments.windows(2).all(|w| w[0].end_ms <= Some(w[1].start_ms)), "{segments:?}");
}

#[test]
fn the_wrap_of_rtp_timestamps_goes_unnoticed() {
    let camera = BadCamera::start(Bad::Wraps);
    let units = pictures(camera.url(), 50);
    let steps: Vec<Duration> = units.windows(2).map(|w| w[1].pts.saturating_sub(w[0].pts)).collect();
    let usual = Duration::from_millis(1)..Duration::from_millis(500);
    assert!(steps.iter().all(|s| usual.contains(s)), "{steps:?}");
}
