//! Sound in recordings: where it is wanted it is there and together with its pictures, where it is not nobody asks for it,
//! and whatever becomes of it the pictures are recorded.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use wardwatch::base::types::{Codec, Segment, SegmentState, StreamRole};
use wardwatch::record::clip::{self, ClipReport, Request};
use wardwatch::record::segment::{Sidecar, sidecar_path};
use wardwatch::record::transcode;

use crate::record::{Recording, Row, camera};
use crate::support::browser;
use crate::support::rtsp::{Bad, BadCamera};
use crate::support::segments::{flip, pictures};
use crate::support::site::{self, wardwatch};
use crate::support::sound::{Sound, SoundCamera, flashes, tracks, whistles};
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(60);

fn listened(id: &str, url: &str) -> String {
    camera(id, url, "continuous") + "audio = true\n"
}

/// Pictures and sound begin and end together, and every flash has its whistle.
fn together(file: &Path) {
    let tracks = tracks(file);
    let codecs: Vec<&str> = tracks.iter().map(|t| t.0.as_str()).collect();
    assert_eq!(codecs, ["h264", "aac"], "{}", file.display());
    assert!((tracks[0].1 - tracks[1].1).abs() < 0.15 && (tracks[0].2 - tracks[1].2).abs() < 0.2, "{tracks:?}");
    let (seen, heard) = (flashes(file), whistles(file));
    assert!(!seen.is_empty());
    for flash in seen.iter().filter(|s| **s < tracks[1].2 - 0.2) {
        let off = heard.iter().map(|h| (h - flash).abs()).fold(f64::MAX, f64::min);
        assert!(off < 0.12, "{}: it flashes at {seen:?} and whistles at {heard:?}", file.display());
    }
}

/// The row of a recording as the index has it.
fn row(id: &str, row: &Row) -> Segment {
    Segment {
        id: 0,
        camera: id.parse().expect("valid"),
        path: row.path.clone(),
        stream: StreamRole::Detect,
        codec: Codec::H264,
        width: 320,
        height: 240,
        start_ms: row.start_ms,
        end_ms: Some(row.end_ms),
        start_mono_ns: 0,
        boot_id: String::new(),
        bytes: 0,
        sha256: None,
        fragments: 0,
        state: SegmentState::Closed,
        held: false,
    }
}

/// Cuts a clip of `rows` from `skip_ms` after their beginning on.
fn cut(node: &Recording, id: &str, rows: &[Row], skip_ms: i64, out: &Path) -> ClipReport {
    let request = Request {
        camera: id.parse().expect("valid"),
        from_ms: rows[0].start_ms + skip_ms,
        to_ms: rows[rows.len() - 1].end_ms,
    };
    let segments: Vec<Segment> = rows.iter().map(|r| row(id, r)).collect();
    clip::cut(&node.site.path("node/record"), &request, &segments, &[], out).expect("a clip")
}

#[test]
fn what_a_camera_hears_is_recorded_where_that_is_wanted_and_asked_for_nowhere_else() {
    let node = Recording::new("segment_seconds = 3\n");
    let kinds =
        [("a", Sound::ALaw), ("mu", Sound::MuLaw), ("aac", Sound::Aac), ("opus", Sound::Opus), ("off", Sound::Unasked)];
    let cameras = kinds.map(|(id, sound)| (id, SoundCamera::start(sound, 120)));
    let document = cameras.iter().map(|(id, c)| match *id {
        "off" => camera(id, &c.url(), "continuous"),
        _ => listened(id, &c.url()),
    });
    node.cameras(1, &document.collect::<Vec<_>>());
    let running = node.run();
    let closed = |id: &str| format!("camera = '{id}' AND state = 'closed'");
    until("each has some segments", LONG, || kinds.iter().all(|(id, _)| node.count(&closed(id)) >= 3));
    let log = running.log();
    assert_eq!(running.stop(), 0);
    assert_eq!(node.gaps(), [], "{log}");

    for (id, camera) in &cameras {
        let rows = node.rows(&format!("camera = '{id}'"));
        rows.iter().for_each(|r| drop(node.check(r)));
        for pair in rows.windows(2) {
            assert_eq!(pair[0].end_ms, pair[1].start_ms, "one begins where the other ends");
        }
        let said = log
            .lines()
            .filter(|l| l.contains("recorded without sound") && l.contains(&format!("\"camera\":\"{id}\"")))
            .count();
        if ["opus", "off"].contains(id) {
            assert!(rows.iter().all(|r| tracks(&node.file(r)).len() == 1), "{id}: pictures only");
            assert_eq!(camera.setups(), ["stream=0"], "{id}: nothing but the pictures is asked for");
            assert_eq!(said, usize::from(*id == "opus"), "{log}");
            continue;
        }
        assert_eq!((camera.setups().len(), said), (2, 0), "{log}");
        // The first begins with the connection, and its clocks are not known yet.
        for row in &rows[1..3] {
            together(&node.file(row));
        }
        // And a stop does not wait for the sound of the last pictures.
        let rows = &rows[1..rows.len() - 1];
        let out = node.site.path(&format!("{id}.mp4"));
        let report = cut(&node, id, rows, 1_200, &out);
        assert_eq!(report.missing_ms(), 0);
        together(&out);
        let shown = pictures(&out);
        assert!(shown[0].1 && shown.windows(2).all(|w| (w[1].0 - w[0].0 - 0.1).abs() < 0.06), "{shown:?}");
        let again = cut(&node, id, rows, 1_200, &node.site.path(&format!("{id}-again.mp4")));
        assert_eq!(again, report, "the same range gives the same bytes");
    }
    plays_in_a_browser_and_is_silent_when_masked(&node.site.path("a.mp4"), &node.site.path("masked.mp4"));
}

fn plays_in_a_browser_and_is_silent_when_masked(clip: &Path, masked: &Path) {
    let (played, frames) = (browser::play(clip), pictures(clip).len());
    assert_eq!((played.error.as_str(), (played.width, played.height)), ("", (320, 240)));
    assert!(played.at > played.duration - 0.5 && played.duration > 3.0, "{played:?} of {frames}");
    assert!(played.sound > 0, "its sound is decoded, too");
    transcode::run(&transcode::Request {
        input: clip.to_owned(),
        codec: Codec::H264,
        output: masked.to_owned(),
        masks: vec![],
        keyint: 10,
        bitrate: 500_000,
        deadline_seconds: 60,
    })
    .expect("made anew");
    assert_eq!((tracks(masked).len(), pictures(masked).len()), (1, frames));
}

#[test]
fn sound_that_stops_takes_no_picture_with_it_and_a_clip_over_its_end_plays() {
    let node = Recording::new("segment_seconds = 2\n");
    let heard = SoundCamera::start(Sound::ALaw, 5);
    node.cameras(1, &[listened("ngo-1", &heard.url())]);
    let running = node.run();
    let silent = || {
        let rows = node.rows("state = 'closed'");
        rows.iter().filter(|r| tracks(&node.file(r)).len() == 1).count() >= 2
    };
    until("it is recorded without sound", LONG, silent);
    let log = running.log();
    assert_eq!(running.stop(), 0);
    assert_eq!(node.gaps(), [], "no picture is missing");
    let rows = node.rows("TRUE");
    let frames: Vec<u32> = rows.iter().map(|r| node.check(r).frames).collect();
    for pair in rows.windows(2) {
        assert_eq!(pair[0].end_ms, pair[1].start_ms, "one begins where the other ends: {log}");
    }
    assert!(frames[..frames.len() - 1].iter().all(|f| *f == 20), "{frames:?}");
    assert_eq!(tracks(&node.file(&rows[0])).len(), 2, "it was heard at first");

    let whole = node.site.path("whole.mp4");
    let report = cut(&node, "ngo-1", &rows, 0, &whole);
    let found = tracks(&whole);
    assert_eq!((report.missing_ms(), found.len(), pictures(&whole).len() as u32), (0, 2, frames.iter().sum()));
    assert!(found[1].2 < found[0].2 - 2.0, "the sound ends before the pictures: {found:?}");
    // What it sounds like begins in the middle of a clip, too.
    let turned: Vec<Row> = node.rows("TRUE").into_iter().rev().collect();
    let late = node.site.path("late.mp4");
    let mut segments: Vec<Segment> = turned.iter().map(|r| row("ngo-1", r)).collect();
    segments.retain(|s| s.start_ms != rows[1].start_ms);
    let request = Request {
        camera: "ngo-1".parse().expect("valid"),
        from_ms: rows[0].start_ms,
        to_ms: rows[rows.len() - 1].end_ms,
    };
    let report = clip::cut(&node.site.path("node/record"), &request, &segments, &[], &late).expect("a clip");
    assert_eq!((report.holes.len(), tracks(&late).len()), (1, 2), "over a hole it goes on");
    let ends = rows.len() - 1;
    let quiet = node.site.path("quiet.mp4");
    cut(&node, "ngo-1", &rows[ends - 1..], 0, &quiet);
    assert_eq!(tracks(&quiet).len(), 1, "a clip without a sound has no track of it");
}

#[test]
fn a_worker_that_is_killed_leaves_fragments_that_play_with_their_sound() {
    let node = Recording::new("segment_seconds = 600\n");
    let heard = SoundCamera::start(Sound::Aac, 120);
    node.cameras(1, &[listened("ngo-1", &heard.url())]);
    let running = node.run();
    let named = || {
        let rows = node.rows("state = 'open'");
        let sidecar = rows.first().and_then(|r| Sidecar::read(&sidecar_path(&node.file(r))).ok());
        sidecar.map_or(0, |s| s.fragments.len())
    };
    until("some fragments are on disk", LONG, || named() >= 5);
    site::kill(running.workers()[0], "KILL");
    until("the file is ended from its sidecar", LONG, || node.count("state = 'recovered'") == 1);
    assert_eq!(running.stop(), 0);
    let recovered = &node.rows("state = 'recovered'")[0];
    assert!(node.check(recovered).frames >= 40);
    let found = tracks(&node.file(recovered));
    assert!(found.len() == 2 && (found[0].2 - found[1].2).abs() < 0.5, "{found:?}");

    let fsck = || {
        let done = wardwatch().args(["fsck", "--config"]).arg(node.site.path("node.toml")).output().expect("it runs");
        (done.status.code(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
    };
    assert_eq!(fsck().0, Some(0), "{}", fsck().1);
    let file = node.file(recovered);
    let first = Sidecar::read(&sidecar_path(&file)).expect("readable").fragments[0].clone();
    flip(&file, first.offset + first.bytes - 1);
    let (code, text) = fsck();
    assert!(code != Some(0) && text.contains(&recovered.path), "sound is checked as pictures are: {text}");
}

#[test]
fn a_camera_that_keeps_its_sound_to_itself_is_recorded_without() {
    let node = Recording::new("segment_seconds = 2\n");
    let (odd, silent) = (BadCamera::start(Bad::KeepsItsSound), BadCamera::start(Bad::SilentMicrophone));
    node.cameras(1, &[listened("odd", &odd.url()), listened("silent", &silent.url())]);
    let running = node.run();
    let closed = |id: &str| node.count(&format!("camera = '{id}' AND state = 'closed'"));
    until("both are recorded", LONG, || closed("odd") >= 2 && closed("silent") >= 2);
    let log = running.log();
    assert_eq!(running.stop(), 0);
    let said =
        |id: &str| log.lines().filter(|l| l.contains(&format!("\"{id}\"")) && l.contains("without sound")).count();
    assert!(log.contains("sends no video when it is asked for its sound, too; it is recorded without sound"), "{log}");
    assert_eq!((said("odd"), said("silent")), (1, 0), "{log}");
    for row in &node.rows("TRUE") {
        assert_eq!(tracks(&node.file(row)).len(), 1);
    }
    assert_eq!(silent.connections.load(Ordering::Relaxed), 1, "nobody takes it for a stream that has stalled");
}

#[test]
fn sound_that_a_camera_takes_leave_of_ends_no_connection() {
    let node = Recording::new("segment_seconds = 2\n");
    let odd = BadCamera::start(Bad::LeavesItsSound);
    node.cameras(1, &[listened("ngo-1", &odd.url())]);
    let running = node.run();
    until("it is recorded", LONG, || node.count("state = 'closed'") >= 3);
    let log = running.log();
    assert_eq!(running.stop(), 0);
    assert_eq!((odd.connections.load(Ordering::Relaxed), node.gaps()), (1, vec![]), "{log}");
    let rows = node.rows("TRUE");
    assert!(rows.windows(2).all(|r| r[0].end_ms == r[1].start_ms), "no picture is missing: {log}");
    assert_eq!(tracks(&node.file(&rows[0])).len(), 2, "what was heard is recorded");
}
