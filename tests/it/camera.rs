//! One camera's task: events with their pictures, masked, from the better of two streams.

use std::time::Duration;

use bytes::Bytes;
use wardwatch::app::camera::{CameraTask, SiteSettings};
use wardwatch::base::Stamp;
use wardwatch::base::geometry::{Point, Polygon};
use wardwatch::base::types::{ColorMatrix, ColorRange, Frame, Phase, Plane};
use wardwatch::config::{RecordingMode, RuleConfig, SnapshotConfig, Transport};
use wardwatch::rules::IdSource;
use wardwatch::wire::ipc::{CameraAssignment, StreamSettings};

use crate::rules::{EVENING, intrusion, loitering, person, places};

fn picture(luma: u8, width: u32, height: u32) -> Frame {
    let plane = |v: u8, w: u32, h: u32| Plane { data: Bytes::from(vec![v; (w * h) as usize]), stride: w as usize };
    Frame {
        seq: 1,
        pts: Duration::ZERO,
        arrived: Stamp { mono: Duration::from_secs(5), wall_ms: EVENING },
        camera_time_ms: None,
        width,
        height,
        range: ColorRange::Full,
        matrix: ColorMatrix::Bt601,
        y: plane(luma, width, height),
        u: plane(128, width.div_ceil(2), height.div_ceil(2)),
        v: plane(128, width.div_ceil(2), height.div_ceil(2)),
    }
}

fn task(rules: Vec<RuleConfig>, masks: Vec<Polygon>) -> CameraTask {
    let (zones, lines) = places();
    let assignment = CameraAssignment {
        id: "cam".parse().expect("valid"),
        config_revision: 1,
        secrets_generation: 0,
        detect: StreamSettings { transport: Transport::Tcp, latency_ms: 200, tls_pin: None, audio: false },
        record: None,
        recording: RecordingMode::Off,
        recording_hours: None,
        detect_fps: 5.0,
        masks,
        zones,
        lines,
        rules,
        phantoms: Vec::new(),
    };
    let site = SiteSettings::new("Asia/Ho_Chi_Minh", SnapshotConfig::default(), "m@0").expect("valid");
    CameraTask::new(&assignment, &site, IdSource::derived(b"task")).expect("valid")
}

#[test]
fn an_event_starts_with_the_better_picture_masked() {
    let left = Polygon([(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)].map(|(x, y)| Point::new(x, y)).to_vec());
    let mut task = task(vec![intrusion(), loitering(1.0)], vec![left]);
    let mut asked = 0;
    let out = task.step(&picture(10, 1000, 1000), &[person(1, 0.45)], &mut |at| {
        asked += 1;
        assert_eq!(at.wall_ms, EVENING);
        Some(picture(240, 1600, 1200))
    });
    assert_eq!((out.len(), asked), (1, 1));
    let (report, shot) = &out[0];
    let shot = shot.as_ref().expect("a picture at once");
    assert_eq!(report.snapshot.as_ref(), Some(&shot.info));
    assert_eq!((shot.info.width, shot.info.height), (1280, 960));
    // The right half is the bright record stream, the left half is masked: not one pixel of the original remains.
    let image = decode_luma(&shot.jpeg);
    assert!(image(320, 480).abs_diff(128) < 4 && image(960, 480).abs_diff(240) < 4);
    // Later reports still name the picture.
    let ends = task.end_all(Stamp { mono: Duration::from_secs(9), wall_ms: EVENING + 4000 });
    assert_eq!(ends[0].snapshot.as_ref(), Some(&shot.info));
}

/// Red channel of a JPEG's pixels (the pictures here are grey).
fn decode_luma(jpeg: &[u8]) -> impl Fn(u32, u32) -> u8 {
    let image = image::load_from_memory_with_format(jpeg, image::ImageFormat::Jpeg).expect("a JPEG").to_rgb8();
    move |x, y| image.get_pixel(x, y).0[0]
}

#[test]
fn an_event_goes_out_even_if_no_picture_can_be_made() {
    let mut task = task(vec![intrusion()], Vec::new());
    let mut broken = picture(10, 1000, 1000);
    broken.u.data = Bytes::new();
    let out = task.step(&broken, &[person(1, 0.45)], &mut |_| None);
    assert_eq!((out.len(), out[0].0.phase), (1, Phase::Started));
    assert!(out[0].1.is_none() && out[0].0.snapshot.is_none());
    // The next good frame brings it.
    let mut good = picture(10, 1000, 1000);
    good.arrived = good.arrived.plus(Duration::from_secs(2));
    let out = task.step(&good, &[person(1, 0.45)], &mut |_| None);
    assert!(out[0].1.is_some() && out[0].0.phase == Phase::Updated);
    // A broken frame of the record stream falls back to the frame at hand.
    let mut task = self::task(vec![intrusion()], Vec::new());
    let out = task.step(&picture(10, 1000, 1000), &[person(1, 0.45)], &mut |_| Some(broken.clone()));
    assert!(out[0].1.is_some());
}

#[test]
fn a_camera_without_rules_says_nothing() {
    let mut task = task(Vec::new(), Vec::new());
    assert!(task.step(&picture(10, 64, 64), &[person(1, 0.45)], &mut |_| panic!("no picture needed")).is_empty());
}
