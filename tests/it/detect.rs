//! The detector through the real ONNX Runtime: manifests, refusals, the decoders on models of known output, and the
//! shipped model on the street clip.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use wardwatch::base::ErrorKind;
use wardwatch::base::clock::Stamp;
use wardwatch::base::types::{ColorMatrix, ColorRange, Detection, Frame, Plane};
use wardwatch::config::{DetectConfig, Provider};
use wardwatch::detect::Detector;
use wardwatch::detect::manifest::Manifest;
use wardwatch::ingest::file::VideoFile;

use crate::support::onnx::{
    STIMULUS, Spec, Stimulus, Tensor, constant_model, detect_config, runtime, stimulus_model, stimulus_model_with,
};

/// A grey frame; `paint` sets the luma of a pixel.
fn frame(width: u32, height: u32, paint: impl Fn(u32, u32) -> u8) -> Frame {
    let luma = (0..width * height).map(|i| paint(i % width, i / width)).collect::<Vec<_>>();
    let (cw, ch) = (width.div_ceil(2) as usize, height.div_ceil(2) as usize);
    let chroma = Plane { data: Bytes::from(vec![128; cw * ch]), stride: cw };
    Frame {
        seq: 1,
        pts: Duration::ZERO,
        arrived: Stamp::default(),
        camera_time_ms: None,
        width,
        height,
        range: ColorRange::Full,
        matrix: ColorMatrix::Bt601,
        y: Plane { data: Bytes::from(luma), stride: width as usize },
        u: chroma.clone(),
        v: chroma,
    }
}

fn detect(dir: &Path, name: &str, frame: &Frame) -> Vec<Detection> {
    Detector::load(&detect_config(dir, name)).expect("the model loads").detect(frame).expect("it runs")
}

fn near(d: &Detection, label: &str, score: f32, [left, top, width, height]: [f32; 4]) {
    let b = d.bbox;
    let close = |a: f32, b: f32| (a - b).abs() < 0.01;
    assert!(
        &*d.label == label
            && close(d.score, score)
            && close(b.left, left)
            && close(b.top, top)
            && close(b.width, width)
            && close(b.height, height),
        "{d:?}"
    );
}

/// The output of a YOLOX for 64 × 32 pixels with two labels: 32 + 8 + 2 rows of 7, nothing but what is set.
fn yolox_output(rows: &[(usize, [f32; 7])]) -> Tensor {
    let mut data = vec![0.0; 42 * 7];
    for (row, values) in rows {
        data[row * 7..(row + 1) * 7].copy_from_slice(values);
    }
    Tensor { shape: vec![1, 42, 7], data }
}

const YOLOX: Spec<'_> =
    Spec { width: 64, height: 32, placement: "top_left", decoder: "yolox", labels: &["person", "car"] };

#[test]
fn yolox_rows_are_decoded_by_their_cell_and_stride() {
    let dir = tempfile::tempdir().expect("a directory");
    let ln2 = std::f32::consts::LN_2;
    let output = yolox_output(&[
        // Stride 8, second row, third column: centre (2.5, 1.5) · 8, size (2, 1) · 8.
        (8 + 2, [0.5, 0.5, ln2, 0.0, 0.9, 0.5, 0.1]),
        // Stride 32, second column: centre (1.25, 0.5) · 32, size 1 · 32.
        (40 + 1, [0.25, 0.5, 0.0, 0.0, 0.8, 0.1, 1.0]),
        // Too weak as a product, and not finite: skipped.
        (0, [0.5, 0.5, 0.0, 0.0, 0.2, 0.4, 0.0]),
        (1, [f32::NAN, 0.5, 0.0, 0.0, 0.9, 0.9, 0.0]),
        (2, [0.5, 0.5, f32::INFINITY, 0.0, 0.9, 0.9, 0.0]),
        (3, [0.5, 0.5, 0.0, 0.0, f32::NAN, 0.9, 0.0]),
    ]);
    let name = constant_model(dir.path(), "yolox", &YOLOX, &[output]);
    // Twice the input's size: boxes come out twice as large.
    let found = detect(dir.path(), &name, &frame(128, 64, |_, _| 0));
    assert_eq!(found.len(), 2, "{found:?}");
    near(&found[0], "car", 0.8, [48.0, 0.0, 64.0, 64.0]);
    near(&found[1], "person", 0.45, [24.0, 16.0, 32.0, 16.0]);
}

#[test]
fn doubles_of_one_label_are_suppressed() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = yolox_output(&[
        (40, [0.5, 0.5, 0.0, 0.0, 1.0, 0.9, 0.0]),
        (41, [-0.4, 0.5, 0.0, 0.0, 1.0, 0.7, 0.0]),
        (32, [1.0, 1.0, 0.69, 0.69, 1.0, 0.0, 0.6]),
    ]);
    let name = constant_model(dir.path(), "double", &YOLOX, &[output]);
    let found = detect(dir.path(), &name, &frame(64, 32, |_, _| 0));
    let labels: Vec<_> = found.iter().map(|d| (&*d.label, d.score)).collect();
    assert_eq!(labels, [("person", 0.9), ("car", 0.6)]);
}

#[test]
fn yolov8_columns_are_decoded_and_centred_padding_is_taken_off() {
    let dir = tempfile::tempdir().expect("a directory");
    let spec = Spec { width: 64, height: 64, placement: "centre", decoder: "yolov8", labels: &["person", "car"] };
    // Three candidates; rows: x, y, width, height, person, car.
    #[rustfmt::skip]
    let data = vec![
        32.0, 16.0, 5.0,
        32.0, 32.0, f32::NAN,
        10.0, 8.0,  5.0,
        20.0, 8.0,  5.0,
        0.75, 0.05, 0.9,
        0.25, 0.09, 0.0,
    ];
    let name = constant_model(dir.path(), "v8", &spec, &[Tensor { shape: vec![1, 6, 3], data }]);
    // 128 × 64 lies in rows 16..48 of the input, at half its size.
    let found = detect(dir.path(), &name, &frame(128, 64, |_, _| 0));
    assert_eq!(found.len(), 1, "{found:?}");
    near(&found[0], "person", 0.75, [54.0, 12.0, 20.0, 40.0]);
}

#[test]
fn detr_queries_are_decoded_with_and_without_a_class_for_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let spec = Spec { width: 64, height: 64, placement: "stretch", decoder: "detr", labels: &["person", "car"] };
    let boxes = || Tensor { shape: vec![1, 2, 4], data: vec![0.5, 0.5, 0.2, 0.4, 0.25, 0.25, 0.1, 0.1] };
    let logits = Tensor { shape: vec![1, 2, 2], data: vec![0.0, -9.0, -9.0, f32::NAN] };
    let name = constant_model(dir.path(), "sigmoid", &spec, &[logits, boxes()]);
    let found = detect(dir.path(), &name, &frame(100, 50, |_, _| 0));
    assert_eq!(found.len(), 1, "{found:?}");
    near(&found[0], "person", 0.5, [40.0, 15.0, 20.0, 20.0]);

    // e^2 : e^1 : e^1 for the first query, all nothing for the second.
    let logits = Tensor { shape: vec![1, 2, 3], data: vec![1.0, 2.0, 1.0, 0.0, 0.0, 90.0] };
    let name = constant_model(dir.path(), "softmax", &spec, &[logits, boxes()]);
    let found = detect(dir.path(), &name, &frame(100, 50, |_, _| 0));
    assert_eq!(found.len(), 1, "{found:?}");
    near(&found[0], "car", 0.576, [40.0, 15.0, 20.0, 20.0]);
}

#[test]
fn an_output_of_the_wrong_shape_is_refused_before_any_frame() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = Tensor { shape: vec![1, 41, 7], data: vec![0.0; 41 * 7] };
    let name = constant_model(dir.path(), "short", &YOLOX, &[output]);
    let error = Detector::load(&detect_config(dir.path(), &name)).err().expect("refused");
    assert!(error.to_string().contains("[1, 41, 7]"), "{error}");
}

#[test]
fn an_input_that_the_manifest_does_not_describe_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let name = constant_model(dir.path(), "other", &YOLOX, &[yolox_output(&[])]);
    let path = dir.path().join("other.toml");
    let manifest = std::fs::read_to_string(&path).expect("just written");
    for (from, to, says) in [
        ("width = 64", "width = 96", "[1, 3, 32, 64]"),
        ("name = \"images\"", "name = \"pictures\"", "`images`"),
        ("\"output0\"", "\"result\"", "not `result`"),
    ] {
        std::fs::write(&path, manifest.replace(from, to)).expect("writable");
        let error = Detector::load(&detect_config(dir.path(), &name)).err().expect("refused");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_changed_model_file_is_refused_with_both_checksums() {
    let dir = tempfile::tempdir().expect("a directory");
    let name = constant_model(dir.path(), "changed", &YOLOX, &[yolox_output(&[])]);
    let path = dir.path().join("changed.onnx");
    let mut bytes = std::fs::read(&path).expect("just written");
    bytes[40] ^= 1;
    std::fs::write(&path, &bytes).expect("writable");
    let error = Detector::load(&detect_config(dir.path(), &name)).err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("make setup"), "{error}");
}

#[test]
fn what_is_missing_is_named_with_the_way_to_get_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing_manifest = Detector::load(&detect_config(dir.path(), "nothing")).err().expect("refused");
    assert_eq!(missing_manifest.kind(), ErrorKind::NotFound);
    assert!(missing_manifest.to_string().contains("nothing.toml"), "{missing_manifest}");

    let name = constant_model(dir.path(), "gone", &YOLOX, &[yolox_output(&[])]);
    let no_runtime = DetectConfig { runtime: "/nowhere/libonnxruntime.so".into(), ..detect_config(dir.path(), &name) };
    let error = Detector::load(&no_runtime).err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("/nowhere") && error.to_string().contains("make setup"), "{error}");

    std::fs::remove_file(dir.path().join("gone.onnx")).expect("just written");
    let error = Detector::load(&detect_config(dir.path(), &name)).err().expect("refused");
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("make setup"), "{error}");
}

#[test]
fn a_provider_that_is_not_there_falls_back_and_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let name = constant_model(dir.path(), "fallback", &YOLOX, &[yolox_output(&[])]);
    let config = DetectConfig { provider: Provider::Cuda, ..detect_config(dir.path(), &name) };
    let detector = Detector::load(&config).expect("the CPU serves");
    assert_eq!(detector.provider(), "cpu");
    assert!(detector.model().starts_with("fallback@"));
}

#[test]
fn a_manifest_with_an_unknown_or_wrong_key_is_refused() {
    let good =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/yolox-nano.toml")).expect("shipped");
    assert_eq!(Manifest::parse("yolox-nano", &good).expect("valid").id(), "yolox-nano@615e2661");
    for (from, to) in [
        ("[thresholds]", "[thresholds]\nspeed = 1"),
        ("decoder = \"yolox\"", "decoder = \"yolo\""),
        ("width = 416", "width = 400"),
        ("score = 0.1", "score = 1.1"),
        ("sha256 = \"6", "sha256 = \""),
        ("names = [\"output\"]", "names = []"),
        ("scale = 1.0", "scale = 0.0"),
    ] {
        assert!(good.contains(from), "{from}");
        let error = Manifest::parse("yolox-nano", &good.replacen(from, to, 1)).expect_err(to);
        assert_eq!(error.kind(), ErrorKind::Config, "{to}");
    }
    for name in ["../yolox", "", "a/b", ".hidden"] {
        assert!(Manifest::read(Path::new("models"), name).is_err(), "{name}");
    }
}

#[test]
fn every_shipped_manifest_fits_its_file() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut seen = 0;
    for entry in std::fs::read_dir(&models).expect("the directory is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|e| e == "toml") {
            let name = path.file_stem().and_then(|s| s.to_str()).expect("a name").to_owned();
            Manifest::read(&models, &name).expect("valid").read_model(&models).expect("`make setup` was run");
            seen += 1;
        }
    }
    assert!(seen >= 2);
}

#[test]
fn the_wide_model_is_made_from_the_stock_one_byte_for_byte() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().expect("a directory");
    let target = dir.path().join("yolox-nano-416x256.onnx");
    let status = std::process::Command::new("python3")
        .arg(root.join("scripts/model_input_size.py"))
        .arg(root.join("models/yolox-nano.onnx"))
        .arg("416x256")
        .arg(&target)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("python3 is there");
    assert!(status.success());
    let manifest = Manifest::read(&root.join("models"), "yolox-nano-416x256").expect("shipped");
    manifest.read_model(dir.path()).expect("the checksum is the manifest's");
}

#[test]
fn the_stimulus_is_seen_when_its_region_is_bright_at_any_size() {
    let dir = tempfile::tempdir().expect("a directory");
    let name = stimulus_model(dir.path());
    let mut detector = Detector::load(&detect_config(dir.path(), &name)).expect("it loads");
    for (w, h) in [(640, 360), (320, 240), (64, 64)] {
        let lit = |luma: u8| {
            let inside = move |x: u32, y: u32| {
                (0.25..0.75).contains(&(x as f32 / w as f32)) && (0.25..0.75).contains(&(y as f32 / h as f32))
            };
            frame(w, h, move |x, y| if inside(x, y) { luma } else { 0 })
        };
        assert_eq!(detector.detect(&lit(0)).expect("it runs"), []);
        let found = detector.detect(&lit(255)).expect("it runs");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!((found[0].score - 0.9).abs() < 0.01 && &*found[0].label == "person", "{found:?}");
        let b = found[0].bbox.relative(w, h);
        let [left, top, right, bottom] = STIMULUS.bbox;
        for (got, expected) in [(b.left, left), (b.top, top), (b.right, right), (b.bottom, bottom)] {
            assert!((got - expected).abs() < 1e-3, "{b:?}");
        }
        // Half bright: the score is in between.
        let half = detector.detect(&lit(128)).expect("it runs");
        assert!((0.4..0.5).contains(&half[0].score), "{half:?}");
    }
}

#[test]
fn several_stimuli_are_seen_each_for_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let left = Stimulus { region: [0.0, 0.0, 0.5, 1.0], bbox: [0.1, 0.2, 0.2, 0.8] };
    let right = Stimulus { region: [0.5, 0.0, 1.0, 1.0], bbox: [0.7, 0.2, 0.8, 0.8] };
    let name = stimulus_model_with(dir.path(), "two", &[left, right]);
    let found = detect(dir.path(), &name, &frame(200, 100, |x, _| if x >= 100 { 255 } else { 0 }));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!((found[0].bbox.left - 140.0).abs() < 0.1, "{found:?}");
}

#[test]
fn the_shipped_model_finds_the_people_of_the_street_clip_and_always_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = DetectConfig {
        model: "yolox-nano".into(),
        models_dir: root.join("models"),
        runtime: runtime(),
        provider: Provider::Cpu,
    };
    let mut detector = Detector::load(&config).expect("it loads");
    let mut video = VideoFile::open(&root.join(".cache/footage/vtest.avi"), Stamp::default()).expect("it opens");
    let first = video.next_frame().expect("decodable").expect("there is one");
    assert_eq!((first.seq, first.width, first.height), (1, 768, 576));
    let found = detector.detect(&first).expect("it runs");
    let people = found.iter().filter(|d| &*d.label == "person" && d.score > 0.6).count();
    assert!((3..=8).contains(&people), "{found:?}");
    assert_eq!(found, detector.detect(&first).expect("it runs"));
}

#[test]
fn a_file_that_is_no_video_is_an_error_and_not_an_empty_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("noise.mp4");
    std::fs::write(&path, [7u8; 4096]).expect("writable");
    let outcome = VideoFile::open(&path, Stamp::default()).and_then(|mut v| v.next_frame().map(|f| f.is_some()));
    let error = outcome.expect_err("undecodable");
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("noise.mp4"), "{error}");
    let error = VideoFile::open(&dir.path().join("none.mp4"), Stamp::default()).err().expect("missing");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
