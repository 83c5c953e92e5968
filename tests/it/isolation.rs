//! Workers that hang, grow or are taken over: noticed, ended, started again, and shut in.

use std::io::Write;
use std::time::Duration;

use wardwatch::app::sandbox::{self, Policy};
use wardwatch::config::Sandbox;
use wardwatch::wire::ipc::Layer;

use crate::support::broker::Mosquitto;
use crate::support::rtsp::{self, Camera};
use crate::support::site::{self, Process, Site, metric};
use crate::support::stimulus;
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(90);

fn camera(id: &str, url: &str) -> String {
    format!("[[camera]]\nid = \"{id}\"\n[camera.detect]\nurl = \"{url}\"\nfps = 5\n\n")
}

/// A running node with a worker for each of these cameras.
fn node(site: &Site, extra: &str, cameras: &[(&str, &Camera)]) -> Process {
    let model = stimulus::model(&site.path("models"));
    // Nobody listens there: events wait, which is no concern of these tests.
    let broker = Mosquitto::stopped("");
    let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
    let config = site.common(&model) + &site.node(&format!("cameras_per_worker = 1\n{extra}"), &mqtt);
    let config = site.write("node.toml", &config);
    let cameras: String = cameras.iter().map(|(id, c)| camera(id, &c.url())).collect();
    site.write("cameras.toml", &format!("revision = 1\n{cameras}"));
    site.run(&config)
}

fn online(site: &Site, camera: &str) -> bool {
    let line = format!("wardwatch_camera_state{{camera=\"{camera}\",state=\"online\"}}");
    metric(site.node_port, &line) == Some(1.0)
}

#[test]
fn a_worker_that_hangs_is_replaced_and_the_other_notices_nothing() {
    let site = Site::new();
    let (one, two) = (Camera::start(rtsp::h264_small()), Camera::start(rtsp::h264_small()));
    let node = node(&site, "worker_silence_seconds = 5", &[("ngo-1", &one), ("ngo-2", &two)]);
    until("both cameras are online", LONG, || online(&site, "ngo-1") && online(&site, "ngo-2"));
    let (hanging, other) = (node.worker_of(one.port).expect("connected"), node.worker_of(two.port).expect("connected"));
    assert_ne!(hanging, other);
    site::kill(hanging, "STOP");
    let kills = "wardwatch_worker_kills_total{reason=\"hang\"}";
    until("it is given up", LONG, || metric(site.node_port, kills) == Some(1.0));
    until("a new one reads its camera", LONG, || {
        node.worker_of(one.port).is_some_and(|w| w != hanging) && online(&site, "ngo-1")
    });
    assert!(!std::path::Path::new(&format!("/proc/{hanging}")).exists(), "the old one is gone");
    assert_eq!(node.worker_of(two.port), Some(other));
    let reconnects = "wardwatch_reconnects_total{camera=\"ngo-2\"}";
    assert_eq!(metric(site.node_port, reconnects), Some(0.0), "the other camera was not touched");
    assert!(node.log().contains("a worker hangs: nothing was heard of it"), "the log says why");
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_worker_that_grows_beyond_its_limit_is_ended_and_started_again() {
    let site = Site::new();
    // Runtime, model and decoder alone need more than the smallest limit.
    let camera = Camera::start(rtsp::h264());
    let node = node(&site, "worker_memory_mb = 64", &[("ngo-1", &camera)]);
    let kills = "wardwatch_worker_kills_total{reason=\"memory\"}";
    until("it is ended", LONG, || metric(site.node_port, kills) >= Some(1.0));
    until("it is started again", LONG, || metric(site.node_port, "wardwatch_worker_restarts_total") >= Some(1.0));
    assert!(node.log().contains("more than 64; it is ended"), "the log says why");
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_worker_is_shut_in_and_works() {
    let site = Site::new();
    let camera = Camera::start(rtsp::h264_small());
    let node = node(&site, "sandbox = \"require\"", &[("ngo-1", &camera)]);
    until("it is online", LONG, || online(&site, "ngo-1"));
    let worker = node.worker_of(camera.port).expect("connected");
    for task in std::fs::read_dir(format!("/proc/{worker}/task")).expect("it runs").flatten() {
        // A thread may have ended since.
        let Ok(status) = std::fs::read_to_string(task.path().join("status")) else { continue };
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "Seccomp_filters:\t2"] {
            assert!(status.contains(line), "every thread: {line}\n{status}");
        }
    }
    let seccomp = "wardwatch_worker_sandbox{worker=\"0\",layer=\"seccomp\"}";
    assert_eq!(metric(site.node_port, seccomp), Some(1.0));
    assert_eq!(node.stop(), 0);
}

#[test]
fn what_the_sandbox_forbids_fails() {
    let dir = tempfile::tempdir().expect("a directory");
    let (inside, outside) = (dir.path().join("record"), dir.path().join("secret"));
    std::fs::create_dir(&inside).expect("made");
    std::fs::write(&outside, "word").expect("written");
    let policy = Policy { writable: vec![inside.clone()], ..Policy::default() };
    // The sandbox holds one thread, as it holds a whole worker that enters it before it has others.
    let inmate = std::thread::spawn(move || {
        let report = sandbox::enter(&policy, Sandbox::BestEffort).expect("best effort never fails");
        let has = |layer| report.enforced.contains(&layer);
        assert!(has(Layer::NoNewPrivs) && has(Layer::Seccomp), "{}", report.describe());
        assert!(std::process::Command::new("/bin/true").status().is_err(), "no program can be started");
        assert!(std::os::unix::net::UnixDatagram::unbound().is_err(), "no socket of this machine's services");
        let listening = std::net::TcpListener::bind(("127.0.0.1", 0));
        assert!(listening.is_err(), "no port can be opened");
        let parent = rustix::process::getppid().expect("there is one");
        assert!(rustix::process::kill_process(parent, rustix::process::Signal::CONT).is_err(), "no signal to others");
        std::thread::spawn(|| ()).join().expect("threads can be started");
        let mut file = std::fs::File::create(inside.join("1.mp4")).expect("recordings are written");
        file.write_all(b"x").and_then(|()| file.sync_all()).expect("and synced");
        std::fs::rename(inside.join("1.mp4"), inside.join("2.mp4")).expect("renamed");
        std::fs::remove_file(inside.join("2.mp4")).expect("and deleted");
        if has(Layer::Files) {
            let refused = |what: &str, result: std::io::Result<()>| {
                let kind = result.expect_err(what).kind();
                assert_eq!(kind, std::io::ErrorKind::PermissionDenied, "{what}");
            };
            refused("passwords", std::fs::read("/etc/shadow").map(drop));
            refused("a file of the user", std::fs::read(&outside).map(drop));
            refused("another directory", std::fs::write(outside.with_extension("x"), "x"));
            refused("another process", std::fs::read("/proc/1/environ").map(drop));
        }
    });
    inmate.join().expect("every attempt went as it should");
    assert!(std::process::Command::new("/bin/true").status().is_ok(), "the other threads are as free as before");
}
