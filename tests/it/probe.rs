//! `wardwatch probe` and `wardwatch check`, run as a technician runs them.

use std::path::Path;
use std::process::{Command, Output};

use wardwatch::app::camera::load_cameras_for;
use wardwatch::config::CamerasDocument;
use wardwatch::ingest::sample::SampleOptions;

use crate::support::rtsp::{Bad, BadCamera, Camera, h264_small, h265, self_signed};
use crate::support::site::free_port;

/// Stands for a password; must never be seen.
const CANARY: &str = "kanarienvogel";

fn wardwatch(arguments: &[&str]) -> (Output, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_wardwatch"))
        .args(arguments)
        .env("CAMERA_PASSWORD", CANARY)
        .env_remove("RUST_LOG")
        .output()
        .expect("it runs");
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(!text.contains(CANARY), "a password shows:\n{text}");
    (out, text)
}

fn probe(url: &str, more: &[&str]) -> (Output, String) {
    wardwatch(&[&["probe", url, "--seconds", "2"], more].concat())
}

/// The configuration lines of a report, pasted into a document; secrets are where the lines say.
fn paste(report: &str) -> CamerasDocument {
    let directory = tempfile::tempdir().expect("a directory");
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "rtsp://10.0.0.9/a-secret\n").expect("written");
    let lines = report.split_once("# for cameras.toml").expect("configuration lines").1;
    let secret = format!("file:{}", secret.display());
    let lines = lines
        .replace("file:/etc/wardwatch/camera-1.password", &secret)
        .replace("file:/etc/wardwatch/camera-1.url", &secret);
    let path = directory.path().join("cameras.toml");
    std::fs::write(&path, format!("revision = 1\n{lines}")).expect("written");
    load_cameras_for(&path, &["person"]).unwrap_or_else(|e| panic!("{e}\n{lines}"))
}

fn expect(report: &str, parts: &[&str]) {
    for part in parts {
        assert!(report.contains(part), "no `{part}` in:\n{report}");
    }
}

#[test]
fn a_good_camera_is_described_and_its_lines_can_be_pasted() {
    let camera = Camera::start(h264_small());
    // Long enough for a sender report.
    let (out, report) = wardwatch(&["probe", &camera.url(), "--seconds", "6"]);
    assert!(out.status.success(), "{report}");
    expect(&report, &["codec       h264", "size        640x360", "keyframe    every 2.", "its clock   "]);
    assert!(report.contains("s from this machine's"), "{report}");
    let decoded = report.lines().find(|l| l.starts_with("decoded")).expect("a count");
    let counts: Vec<&str> = decoded.split(' ').filter(|w| w.parse::<u32>().is_ok()).collect();
    assert_eq!(counts[0], counts[1], "{decoded}");
    let document = paste(&report);
    assert_eq!(document.cameras[0].detect.url.expose(), camera.url());
    assert!((1.0..=5.0).contains(&document.cameras[0].detect_fps));
}

#[test]
fn h265_over_udp_is_described() {
    let camera = Camera::start(h265());
    let (out, report) = probe(&camera.url(), &["--transport", "udp"]);
    assert!(out.status.success(), "{report}");
    expect(&report, &["codec       h265", "size        768x576", "transport = \"udp\""]);
    paste(&report);
}

#[test]
fn a_password_comes_from_the_environment_and_goes_nowhere() {
    let camera = Camera::with_password(h264_small(), CANARY);
    let (out, report) = probe(&camera.url(), &["--user", "viewer", "--password-env", "CAMERA_PASSWORD"]);
    assert!(out.status.success(), "{report}");
    let document = paste(&report);
    assert_eq!(document.cameras[0].detect.user.as_deref(), Some("viewer"));
    assert!(document.cameras[0].detect.password.is_some());
    // In the address it works too, and is taken out of it.
    let (out, report) = probe(&camera.url().replace("rtsp://", &format!("rtsp://viewer:{CANARY}@")), &[]);
    assert!(out.status.success(), "{report}");
    assert_eq!(paste(&report).cameras[0].detect.url.expose(), camera.url());
    // An address with a place for a password is not shown at all.
    let (out, report) = probe(&format!("{}?channel=1&pw={CANARY}", camera.url()), &["--user", "viewer"]);
    assert_eq!(out.status.code(), Some(1), "{report}");
}

#[test]
fn a_wrong_password_is_told_in_clear_text() {
    let camera = Camera::with_password(h264_small(), "another");
    let (out, text) = probe(&camera.url(), &["--user", "viewer", "--password-env", "CAMERA_PASSWORD"]);
    assert_eq!(out.status.code(), Some(1), "{text}");
    expect(&text, &["refuses the user or the password", &format!("127.0.0.1:{}", camera.port)]);
    let (out, text) = probe(&camera.url(), &["--user", "viewer", "--password-env", "NOT_SET_ANYWHERE"]);
    assert_eq!(out.status.code(), Some(2), "{text}");
    expect(&text, &["NOT_SET_ANYWHERE"]);
}

#[test]
fn a_cameras_own_certificate_is_shown_to_be_pinned() {
    let (pem, pin) = self_signed();
    let camera = Camera::with(h264_small(), SampleOptions { tls_pem: Some(pem), ..SampleOptions::default() });
    let (out, text) = probe(&camera.url(), &[]);
    assert_eq!(out.status.code(), Some(1), "{text}");
    expect(&text, &[&format!("tls_pin = \"{pin}\"")]);
    let (out, text) = probe(&camera.url(), &["--tls-pin", &pin]);
    assert!(out.status.success(), "{text}");
    assert_eq!(paste(&text).cameras[0].detect.tls_pin.as_deref(), Some(pin.as_str()));
}

#[test]
fn what_cannot_be_probed_is_told_with_a_way_out() {
    let silent = BadCamera::start(Bad::Silent);
    let no_video = BadCamera::start(Bad::NeverSends);
    let no_path = BadCamera::start(Bad::Status(404));
    let no_keyframe = BadCamera::start(Bad::GarbageVideo);
    let odd = BadCamera::start(Bad::OddCodec);
    let cases = [
        ("rtsp://127.0.0.1:9/x".to_owned(), "cannot be reached", 1),
        ("http://127.0.0.1/x".to_owned(), "rtsp://", 2),
        (silent.url(), "does not answer", 1),
        (no_video.url(), "try the other --transport", 1),
        (no_path.url(), "no stream of this path", 1),
        (no_keyframe.url(), "keyframe interval", 1),
        (odd.url(), "VP8", 1),
    ];
    std::thread::scope(|scope| {
        for (url, part, code) in &cases {
            scope.spawn(move || {
                let (out, text) = probe(url, &[]);
                assert_eq!(out.status.code(), Some(*code), "{text}");
                expect(&text, &[part]);
                assert!(!text.contains("for cameras.toml"), "{text}");
            });
        }
    });
}

/// A site in a directory of its own: the shipped example with its paths adapted by `change`.
fn check(change: impl Fn(&Path, &str) -> String) -> (Output, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).expect("shipped");
    let cameras = read("cameras.example.toml").replace("192.168.1.20:554", "127.0.0.1:9");
    std::fs::write(directory.path().join("cameras.example.toml"), cameras).expect("written");
    let here = |path: &str| format!("\"{}\"", root.join(path).display());
    let site = read("wardwatch.example.toml")
        .replace("\"models\"", &here("models"))
        .replace("\".cache/onnxruntime/", &here(".cache/onnxruntime/").replace("/\"", "/"))
        .replace(":9464\"\n", &format!(":{}\"\n", free_port()))
        .replace(":9465\"\n", &format!(":{}\"\n", free_port()))
        .replace("port = 1883", "port = 0");
    let path = directory.path().join("wardwatch.toml");
    std::fs::write(&path, change(directory.path(), &site)).expect("written");
    wardwatch(&["check", "--config", &path.to_string_lossy()])
}

fn failures(report: &str) -> Vec<&str> {
    report.lines().filter(|l| l.starts_with("FAIL")).collect()
}

#[test]
fn the_shipped_example_passes_the_check() {
    let (out, report) = check(|_, site| site.to_owned());
    assert!(out.status.success(), "{report}");
    expect(
        &report,
        &["ok    configuration", "ok    media", "ok    detector: yolox-nano@615e2661 on cpu", "ok    broker"],
    );
    // Cameras that are away are no reason not to start; those that are only in the register are never connected to.
    expect(&report, &["ok    cameras: revision 1", "warn  camera ngo-12-dau: 127.0.0.1:9 does not answer"]);
    expect(&report, &["camera ngo-12-dau (record):", "camera ngo-12-san-sau:"]);
    assert!(!report.contains("cho-o-cho-dua:"), "{report}");
}

#[test]
fn each_failing_item_is_named_with_its_mend() {
    let (out, report) = check(|_, site| site.replace("libonnxruntime.so.1.32.0", "nothing-here.so"));
    assert_eq!(out.status.code(), Some(2), "{report}");
    let failed = failures(&report);
    assert_eq!(failed.len(), 1, "{report}");
    expect(failed[0], &["detector", "nothing-here.so", "setup"]);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    let (_, report) = check(|_, site| {
        let listen = site.lines().find(|l| l.starts_with("listen = ")).expect("shipped").to_owned();
        site.replacen(&listen, &format!("listen = \"{address}\""), 1)
            .replace("program = \"mosquitto\"", "program = \"no-such-broker\"")
            .replace("state_dir = \"./var/centre\"", "state_dir = \"/dev/null/centre\"")
    });
    let failed = failures(&report);
    assert_eq!(failed.len(), 3, "{report}");
    expect(&failed.join("\n"), &["node's port", "`listen`", "broker", "apt-get install mosquitto", "centre's disk"]);
}

#[test]
fn a_model_that_is_missing_or_not_the_described_one_is_refused() {
    let models = |directory: &Path, onnx: Option<&[u8]>| {
        let to = directory.join("models");
        std::fs::create_dir(&to).expect("made");
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/yolox-nano.toml");
        std::fs::copy(manifest, to.join("yolox-nano.toml")).expect("copied");
        if let Some(bytes) = onnx {
            std::fs::write(to.join("yolox-nano.onnx"), bytes).expect("written");
        }
        to
    };
    let with = |onnx: Option<&'static [u8]>| {
        check(move |directory, site| {
            let models = format!("models_dir = \"{}\"", models(directory, onnx).display());
            let line = site.lines().find(|l| l.starts_with("models_dir")).expect("shipped").to_owned();
            site.replace(&line, &models)
        })
    };
    let (out, report) = with(None);
    assert_eq!(out.status.code(), Some(2), "{report}");
    expect(failures(&report)[0], &["detector", "yolox-nano.onnx", "setup"]);
    let (out, report) = with(Some(b"not the model"));
    assert_eq!(out.status.code(), Some(2), "{report}");
    expect(failures(&report)[0], &["detector", "yolox-nano.onnx", "setup"]);
}

#[test]
fn a_wrong_configuration_is_told_with_its_line() {
    let (out, report) = check(|_, site| site.replace("ward = \"o-cho-dua\"", "wart = \"o-cho-dua\""));
    assert_eq!(out.status.code(), Some(2), "{report}");
    expect(failures(&report)[0], &["configuration", "wardwatch.toml:", "wart"]);
}
