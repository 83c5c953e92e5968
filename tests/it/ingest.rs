//! Streams against cameras of every kind: real footage over RTSP, and cameras that are wrong in one way each. A stream
//! runs as in a worker: supervisor, ring, decoder. Where a limit of seconds is the point, the clock is simulated.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use wardwatch::app::worker::stream::{Stream, StreamReport, Supervisor, decode_loop};
use wardwatch::base::clock::{SimClock, SystemClock};
use wardwatch::base::types::{AccessUnit, CameraState, Codec, ColorMatrix, ColorRange, FaultKind, Frame};
use wardwatch::base::{Clock, ErrorKind, Stamp};
use wardwatch::config::Transport;
use wardwatch::ingest::decode::{Decoder, decode_nearest};
use wardwatch::ingest::health::AUTH_RETRY;
use wardwatch::ingest::receive::{Connection, Endpoint};
use wardwatch::ingest::ring::SharedRing;
use wardwatch::ingest::sample::SampleOptions;

use crate::support::rtsp::{
    Bad, BadCamera, Camera, endpoint, h264, h264_small, h265, mjpeg, self_signed, transcoded, with_sound,
};
use crate::support::site::free_port;
use crate::support::wait;

/// Long enough for two busy cores; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, holds: impl FnMut() -> bool) {
    wait::until(what, PATIENCE, holds);
}

fn until_or(what: impl Fn() -> String, holds: impl FnMut() -> bool) {
    wait::until_or(what, PATIENCE, holds);
}

/// What is kept of a frame.
#[derive(Clone, Debug)]
struct Seen {
    size: (u32, u32),
    colours: (ColorRange, ColorMatrix),
    arrived: Stamp,
    camera_time_ms: Option<i64>,
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("nobody panicked")
}

/// A stream as a worker runs it.
struct Watched {
    stream: Arc<Stream>,
    reports: Arc<Mutex<Vec<StreamReport>>>,
    frames: Arc<Mutex<Vec<Seen>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Watched {
    fn start(endpoint: Endpoint) -> Self {
        Self::with_clock(endpoint, Arc::new(SystemClock))
    }

    fn with_clock(endpoint: Endpoint, clock: Arc<dyn Clock>) -> Self {
        let watched = Self::undecoded(endpoint, clock, true);
        watched.decode()
    }

    /// As the record stream of a camera runs, unless it is `decoded` after all.
    fn undecoded(endpoint: Endpoint, clock: Arc<dyn Clock>, decoded: bool) -> Self {
        crate::support::post::log();
        let stream = Stream::new(8 << 20);
        let (reports, frames) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (name, audio) = ("cam".to_owned(), false);
        let supervisor = Supervisor { name, endpoint, stream: stream.clone(), clock, decoded, audio, seed: 7 };
        let reported = reports.clone();
        let threads = vec![std::thread::spawn(move || supervisor.run(|r| locked(&reported).push(r)))];
        Self { stream, reports, frames, threads }
    }

    fn decode(mut self) -> Self {
        let (decoded, input) = (self.frames.clone(), self.stream.clone());
        let deliver = Arc::new(move |frame: Frame| {
            locked(&decoded).push(Seen {
                size: (frame.width, frame.height),
                colours: (frame.range, frame.matrix),
                arrived: frame.arrived,
                camera_time_ms: frame.camera_time_ms,
            });
        });
        let decode = move || decode_loop("cam", &input, &Arc::new(Mutex::new(60.0)), deliver);
        self.threads.push(std::thread::spawn(decode));
        self
    }

    fn frames(&self) -> Vec<Seen> {
        locked(&self.frames).clone()
    }

    fn reports(&self) -> Vec<StreamReport> {
        locked(&self.reports).clone()
    }

    fn state(&self) -> Option<CameraState> {
        self.reports().last().map(|r| r.state)
    }

    fn faults(&self) -> Vec<FaultKind> {
        self.reports().iter().filter_map(|r| r.fault.as_ref().map(|f| f.kind)).collect()
    }

    /// Waits for `frames` more frames of this size.
    fn until_frames(&self, frames: usize, size: (u32, u32)) {
        let before = self.frames().len();
        self.until(&format!("{frames} frames of {size:?}"), || {
            self.frames()[before..].iter().filter(|f| f.size == size).count() >= frames
        });
        self.until("online", || self.state() == Some(CameraState::Online));
    }

    /// Waits for a fault of this kind and returns what is said of it.
    fn until_fault(&self, kind: FaultKind) -> String {
        let find = || self.reports().into_iter().filter_map(|r| r.fault).find(|f| f.kind == kind);
        self.until(&format!("{kind:?}"), || find().is_some());
        find().expect("just found").detail
    }

    fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        until_or(|| format!("{what}: {:?}, frames: {:?}", self.reports(), self.frames().last()), holds);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let begun = SystemClock.now();
        self.stream.stop();
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(std::thread::panicking() || ended.is_ok());
        }
        // What a worker has to stop, whatever its cameras do.
        let took = SystemClock.now().since(begun);
        assert!(std::thread::panicking() || took < Duration::from_secs(4), "stopping took {took:?}");
    }
}

#[test]
fn h264_arrives() {
    let camera = Camera::start(h264());
    let watched = Watched::start(endpoint(camera.url()));
    watched.until_frames(15, (768, 576));
    let report = watched.reports().into_iter().rfind(|r| r.state == CameraState::Online).expect("online");
    assert_eq!((report.codec, report.width, report.height), (Some(Codec::H264), 768, 576));
}

#[test]
fn h265_arrives() {
    let camera = Camera::start(h265());
    let watched = Watched::start(endpoint(camera.url()));
    watched.until_frames(15, (768, 576));
    assert_eq!(watched.reports().last().and_then(|r| r.codec), Some(Codec::H265));
}

#[test]
fn mjpeg_arrives() {
    let camera = Camera::start(mjpeg());
    let watched = Watched::start(endpoint(camera.url()));
    watched.until_frames(15, (640, 360));
    assert_eq!(watched.reports().last().and_then(|r| r.codec), Some(Codec::Mjpeg));
}

#[test]
fn colours_are_as_the_camera_says() {
    use {ColorMatrix::*, ColorRange::*};
    let h264 = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "10", "-x264-params"];
    let cases = [
        // Cheap cameras send the full range and name no matrix.
        (Codec::H264, [&h264[..], &["range=pc", "-pix_fmt", "yuvj420p"]].concat(), (Full, Bt601)),
        (Codec::H264, [&h264[..], &["range=tv:colormatrix=bt709", "-pix_fmt", "yuv420p"]].concat(), (Limited, Bt709)),
        (Codec::H264, [&h264[..], &["scenecut=0", "-pix_fmt", "yuv420p"]].concat(), (Limited, Bt601)),
        (Codec::Mjpeg, vec!["-c:v", "mjpeg", "-q:v", "5", "-pix_fmt", "yuvj420p"], (Full, Bt601)),
    ];
    let running = cases.map(|(codec, options, expected)| {
        let camera = Camera::start(transcoded(codec, &options));
        let watched = Watched::start(endpoint(camera.url()));
        (camera, watched, options, expected)
    });
    for (_camera, watched, options, expected) in &running {
        watched.until_frames(3, (640, 360));
        assert!(watched.frames().iter().all(|f| f.colours == *expected), "{options:?}: {:?}", watched.frames()[0]);
    }
}

#[test]
fn a_record_stream_is_online_without_being_decoded() {
    let camera = Camera::start(h264());
    let watched = Watched::undecoded(endpoint(camera.url()), Arc::new(SystemClock), false);
    watched.until("online", || watched.state() == Some(CameraState::Online));
    watched.until("a group of pictures", || watched.stream.units.load(Ordering::Relaxed) > 20);
    let at = watched.reports().last().and_then(|r| r.last_frame).expect("online");
    let frame = decode_nearest(&watched.stream.ring.gop_at(at), Duration::from_secs(30)).expect("decodable");
    assert_eq!((frame.width, frame.height, watched.frames().len()), (768, 576, 0));
}

#[test]
fn sound_is_left_where_it_is() {
    let camera = with_sound();
    let watched = Watched::start(endpoint(camera.url()));
    watched.until_frames(15, (320, 240));
    assert!(watched.faults().is_empty(), "{:?}", watched.reports());
}

#[test]
fn udp_works_for_cameras_that_know_nothing_else() {
    let camera = Camera::start(h264_small());
    let watched = Watched::start(Endpoint { transport: Transport::Udp, ..endpoint(camera.url()) });
    watched.until_frames(15, (640, 360));
}

#[test]
fn pictures_carry_the_cameras_own_time() {
    let camera = Camera::start(h264_small());
    let watched = Watched::start(endpoint(camera.url()));
    until("a sender report", || watched.frames().iter().filter(|f| f.camera_time_ms.is_some()).count() > 20);
    let frames = watched.frames();
    let errors: Vec<i64> =
        frames.iter().filter_map(|f| f.camera_time_ms.map(|t| (t - f.arrived.wall_ms).abs())).collect();
    assert!(errors.iter().all(|e| *e < 2000), "{errors:?}");
    let times: Vec<i64> = frames.iter().filter_map(|f| f.camera_time_ms).collect();
    assert!(times.windows(2).all(|w| w[0] < w[1]), "{times:?}");
}

#[test]
fn a_clock_that_was_never_set_dates_no_picture() {
    let camera = BadCamera::start(Bad::UnsetClock);
    let watched = Watched::start(endpoint(camera.url()));
    watched.until_frames(40, (320, 180));
    assert!(watched.frames().iter().all(|f| f.camera_time_ms.is_none()), "{:?}", watched.frames());
}

#[test]
fn user_and_password_open_a_camera() {
    let camera = Camera::with_password(h264_small(), "đúng rồi");
    let (user, password) = (Some("viewer".into()), Some("đúng rồi".into()));
    let watched = Watched::start(Endpoint { user, password, ..endpoint(camera.url()) });
    watched.until_frames(5, (640, 360));
}

#[test]
fn a_wrong_password_is_shown_rarely() {
    let camera = BadCamera::start(Bad::Status(401));
    let clock = SimClock::new(Stamp { mono: Duration::from_secs(1000), wall_ms: 1_000_000 });
    let (user, password) = (Some("viewer".into()), Some("wrong".into()));
    let endpoint = Endpoint { user, password, ..endpoint(camera.url()) };
    let watched = Watched::with_clock(endpoint, Arc::new(clock.clone()));
    watched.until_fault(FaultKind::AuthFailed);
    assert_eq!(watched.state(), Some(CameraState::AuthFailed));
    // Cameras lock an account after five to seven tries.
    assert!((1..=3).contains(&camera.passwords.load(Ordering::Relaxed)), "{:?}", camera.passwords);
    // The supervisor repeats its report every ten seconds: after the next one it has seen the new time.
    let reports = watched.reports().len();
    clock.advance(AUTH_RETRY[0] - Duration::from_secs(1));
    watched.until("another report", || watched.reports().len() > reports);
    assert_eq!(camera.connections.load(Ordering::Relaxed), 1);
    clock.advance(AUTH_RETRY[0]);
    until("the next try", || camera.connections.load(Ordering::Relaxed) == 2);
}

#[test]
fn a_redirection_takes_no_password_to_another_host() {
    let other = BadCamera::start(Bad::Status(401));
    let camera = BadCamera::start(Bad::Redirects(other.port));
    let (user, password) = (Some("viewer".into()), Some("secret".into()));
    let watched = Watched::start(Endpoint { user, password, ..endpoint(camera.url()) });
    watched.until("a fault", || !watched.faults().is_empty());
    assert_eq!(other.passwords.load(Ordering::Relaxed), 0);
}

#[test]
fn a_real_server_refuses_a_wrong_password() {
    let camera = Camera::with_password(h264_small(), "right");
    let (user, password) = (Some("viewer".into()), Some("wrong".into()));
    let watched = Watched::start(Endpoint { user, password, ..endpoint(camera.url()) });
    let detail = watched.until_fault(FaultKind::AuthFailed);
    assert!(detail.contains("password"), "{detail}");
    // None at all is told in the same way.
    let watched = Watched::start(endpoint(camera.url()));
    watched.until_fault(FaultKind::AuthFailed);
}

#[test]
fn a_cameras_own_certificate_is_taken_by_its_pin_only() {
    let (pem, pin) = self_signed();
    let camera = Camera::with(h264_small(), SampleOptions { tls_pem: Some(pem), ..SampleOptions::default() });
    let detail = Watched::start(endpoint(camera.url())).until_fault(FaultKind::TlsMismatch);
    assert!(detail.contains(&format!("tls_pin = \"{pin}\"")), "{detail}");
    let wrong = Endpoint { tls_pin: Some("0".repeat(64)), ..endpoint(camera.url()) };
    let detail = Watched::start(wrong).until_fault(FaultKind::TlsMismatch);
    assert!(detail.contains(&pin), "{detail}");
    let watched = Watched::start(Endpoint { tls_pin: Some(pin), ..endpoint(camera.url()) });
    watched.until_frames(5, (640, 360));
}

#[test]
fn a_camera_that_never_answers_has_stalled() {
    let camera = BadCamera::start(Bad::Silent);
    let watched = Watched::start(endpoint(camera.url()));
    let detail = watched.until_fault(FaultKind::Stalled);
    assert!(detail.contains("does not answer"), "{detail}");
}

#[test]
fn what_is_no_rtsp_is_told_apart() {
    let watch = |bad| {
        let camera = BadCamera::start(bad);
        let watched = Watched::start(endpoint(camera.url()));
        (camera, watched)
    };
    let cases = [
        (Bad::Garbage, FaultKind::Protocol, "RTSP"),
        (Bad::HangsUp, FaultKind::Protocol, "closed"),
        (Bad::Status(404), FaultKind::NoStream, "path"),
        (Bad::Status(403), FaultKind::AuthFailed, "refuses"),
        (Bad::Status(453), FaultKind::Protocol, "busy"),
        (Bad::Status(500), FaultKind::Protocol, "500"),
        (Bad::OtherTransport, FaultKind::Protocol, "transport"),
        (Bad::OddCodec, FaultKind::UnsupportedCodec, "VP8"),
    ];
    let running: Vec<_> = cases.iter().map(|(bad, ..)| watch(*bad)).collect();
    for ((bad, kind, word), (_camera, watched)) in cases.iter().zip(&running) {
        let detail = watched.until_fault(*kind);
        assert!(detail.contains(word), "{bad:?}: {detail}");
        assert_eq!(watched.faults().first(), Some(kind), "{bad:?}");
    }
}

#[test]
fn packets_without_a_picture_are_a_fault_of_the_camera() {
    let camera = BadCamera::start(Bad::GarbageVideo);
    let watched = Watched::start(endpoint(camera.url()));
    watched.until_fault(FaultKind::Undecodable);
    assert_eq!((watched.faults().first(), watched.frames().len()), (Some(&FaultKind::Undecodable), 0));
}

#[test]
fn a_camera_that_plays_but_sends_nothing_of_use_has_stalled() {
    let bad = [Bad::NeverSends, Bad::GarbageRtp, Bad::HugeDescription].map(BadCamera::start);
    let running: Vec<Watched> = bad.iter().map(|b| Watched::start(endpoint(b.url()))).collect();
    for watched in &running {
        let detail = watched.until_fault(FaultKind::Stalled);
        assert!(detail.contains("sends no video"), "{detail}");
    }
}

#[test]
fn a_stall_with_the_connection_open_is_noticed_and_mended() {
    let camera = BadCamera::start(Bad::Stalls);
    let watched = Watched::start(endpoint(camera.url()));
    watched.until_frames(10, (320, 180));
    let detail = watched.until_fault(FaultKind::Stalled);
    assert!(detail.contains("stopped sending"), "{detail}");
    // It is tried again, on a new connection, and delivers again.
    watched.until_frames(10, (320, 180));
}

#[test]
fn a_change_of_size_within_a_connection_is_followed() {
    let camera = BadCamera::start(Bad::ChangesSize);
    let watched = Watched::start(endpoint(camera.url()));
    watched.until_frames(10, (320, 180));
    watched.until_frames(10, (480, 270));
    assert_eq!(camera.connections.load(Ordering::Relaxed), 1);
}

#[test]
fn timestamps_that_go_back_cost_no_picture_and_no_connection() {
    let camera = BadCamera::start(Bad::StepsBack);
    let watched = Watched::start(endpoint(camera.url()));
    watched.until_frames(80, (320, 180));
    let arrived: Vec<Duration> = watched.frames().iter().map(|f| f.arrived.mono).collect();
    assert!(arrived.windows(2).all(|w| w[0] < w[1]), "{arrived:?}");
    assert_eq!(camera.connections.load(Ordering::Relaxed), 1);
    assert!(watched.faults().is_empty(), "{:?}", watched.reports());
}

#[test]
fn a_frozen_picture_is_a_picture() {
    let camera = BadCamera::start(Bad::Freezes);
    let watched = Watched::start(endpoint(camera.url()));
    watched.until_frames(80, (320, 180));
    assert_eq!(camera.connections.load(Ordering::Relaxed), 1);
    assert!(watched.faults().is_empty(), "{:?}", watched.reports());
}

#[test]
fn a_flood_of_pictures_stays_within_its_ring_and_takes_nothing_from_another_camera() {
    let (flood, quiet) = (BadCamera::start(Bad::Floods), Camera::start(h264_small()));
    let (flooded, watched) = (Watched::start(endpoint(flood.url())), Watched::start(endpoint(quiet.url())));
    flooded.until_frames(40, (320, 180));
    flooded.until("the ring lets go of what is too much", || flooded.stream.ring.evicted_gops() > 0);
    watched.until_frames(50, (640, 360));
    let (many, usual) = (flooded.stream.units.load(Ordering::Relaxed), watched.stream.units.load(Ordering::Relaxed));
    assert!(many > 10 * usual, "{many} units beside {usual}");
    assert!(watched.faults().is_empty(), "{:?}", watched.reports());
}

#[test]
fn the_end_of_a_stream_is_a_fault_and_it_is_asked_for_again() {
    let camera = Camera::with(mjpeg(), SampleOptions { once: true, ..SampleOptions::default() });
    let watched = Watched::start(endpoint(camera.url()));
    watched.until_frames(10, (640, 360));
    watched.until_fault(FaultKind::Ended);
    watched.until_frames(10, (640, 360));
    assert!(watched.stream.reconnects.load(Ordering::Relaxed) >= 1);
}

#[test]
fn a_camera_that_loses_power_comes_back_with_other_settings() {
    let mut camera = Camera::start(h264());
    let watched = Watched::start(endpoint(camera.url()));
    watched.until_frames(5, (768, 576));
    camera.stop();
    until("it is seen to be gone", || watched.faults().contains(&FaultKind::Unreachable));
    camera.restart(h264_small());
    watched.until_frames(5, (640, 360));
    camera.restart(h265());
    watched.until_frames(5, (768, 576));
    assert_eq!(watched.reports().last().and_then(|r| r.codec), Some(Codec::H265));
}

#[test]
fn nobody_at_home_is_unreachable() {
    let port = free_port();
    for url in [format!("rtsp://127.0.0.1:{port}/x"), "rtsp://no-such-camera.invalid/x".into()] {
        let watched = Watched::start(endpoint(url));
        watched.until_fault(FaultKind::Unreachable);
    }
}

#[test]
fn bad_cameras_do_not_delay_a_good_one() {
    let bad: Vec<BadCamera> =
        [Bad::Silent, Bad::Garbage, Bad::NeverSends, Bad::GarbageVideo, Bad::HangsUp].map(BadCamera::start).into();
    let tried: Vec<Watched> = bad.iter().map(|b| Watched::start(endpoint(b.url()))).collect();
    let camera = Camera::start(h264_small());
    let watched = Watched::start(endpoint(camera.url()));
    watched.until_frames(50, (640, 360));
    assert!(watched.faults().is_empty(), "{:?}", watched.reports());
    assert!(bad.iter().all(|b| b.connections.load(Ordering::Relaxed) > 0));
    drop(tried);
}

/// The first `count` access units of a camera, straight from a connection.
fn units(camera: &Camera, count: usize) -> Vec<AccessUnit> {
    let received = Arc::new(Mutex::new(Vec::new()));
    let keep = received.clone();
    let connection =
        Connection::open(&endpoint(camera.url()), Arc::new(SystemClock), move |unit| locked(&keep).push(unit));
    let connection = connection.expect("it starts to connect");
    until_or(
        || format!("{count} units of {}", locked(&received).len()),
        || {
            assert_eq!(connection.poll_fault(Duration::ZERO), None);
            locked(&received).len() >= count
        },
    );
    drop(connection);
    std::mem::take(&mut *locked(&received))
}

#[test]
fn a_ring_gives_a_decoder_what_it_needs_for_one_picture() {
    let camera = Camera::start(h264_small());
    let ring = SharedRing::new(8 << 20);
    let received = units(&camera, 50);
    assert!(received.iter().all(|u| ring.push(u.clone())));
    // What stays the same is one value: a new one would start the decoder anew.
    assert!(received.iter().all(|u| Arc::ptr_eq(&u.params, &received[0].params)));
    let wanted = &received[43];
    let units = ring.gop_at(wanted.arrived);
    assert!(units[0].keyframe && units.len() <= 20 && units.last().is_some_and(|u| u.pts == wanted.pts));
    let frame = decode_nearest(&units, Duration::from_secs(30)).expect("decodable");
    assert_eq!((frame.width, frame.height, frame.seq, frame.arrived), (640, 360, 43, wanted.arrived));

    let nothing = decode_nearest(&[], Duration::from_secs(1)).err().map(|e| e.kind());
    assert_eq!(nothing, Some(ErrorKind::NotFound));
    let mut rubbish = units[0].clone();
    rubbish.data = bytes::Bytes::from(vec![0x55; 5000]);
    assert!(decode_nearest(&[rubbish], Duration::from_secs(30)).is_err());
}

#[test]
fn frames_outlive_their_decoder() {
    let camera = Camera::start(h264_small());
    let units = units(&camera, 20);
    for finish in [true, false] {
        let frames = Arc::new(Mutex::new(Vec::new()));
        let keep = frames.clone();
        let decoder = Decoder::start(&units[0].params, move |f| locked(&keep).push(f)).expect("it starts");
        units.iter().for_each(|u| decoder.feed(u).expect("it takes a unit"));
        // Dropped with units in flight it leaves them out; finished it does not. Neither hurts what is decoded.
        match finish {
            true => decoder.finish(Duration::from_secs(30)).expect("decodable"),
            false => drop(decoder),
        }
        let frames = std::mem::take(&mut *locked(&frames));
        assert!(if finish { frames.len() == units.len() } else { frames.len() <= units.len() });
        for frame in &frames {
            let rows = frame.height as usize;
            assert_eq!(frame.y.data.len() / frame.y.stride, rows);
            assert!(frame.y.data.iter().map(|p| u64::from(*p)).sum::<u64>() > 0);
        }
    }
}

#[test]
fn a_broken_unit_costs_no_more_than_its_group() {
    let camera = Camera::start(h264_small());
    let mut units = units(&camera, 60);
    let broken = bytes::Bytes::from(vec![0xff; units[25].data.len()]);
    units[25].data = broken;
    let frames = Arc::new(Mutex::new(Vec::new()));
    let keep = frames.clone();
    let decoder = Decoder::start(&units[0].params, move |f| locked(&keep).push(f.pts)).expect("it starts");
    units.iter().for_each(|u| decoder.feed(u).expect("it takes a unit"));
    decoder.finish(Duration::from_secs(30)).expect("decodable");
    let frames = locked(&frames);
    assert!(frames.len() >= 40 && frames.contains(&units[59].pts), "{} frames", frames.len());
}

#[test]
fn a_connection_can_be_left_whatever_the_camera_does() {
    let bad = [Bad::Silent, Bad::Garbage, Bad::NeverSends, Bad::Stalls, Bad::GarbageVideo];
    std::thread::scope(|scope| {
        for camera in bad.map(BadCamera::start) {
            scope.spawn(move || {
                let connection = Connection::open(&endpoint(camera.url()), Arc::new(SystemClock), |_| {});
                let connection = connection.expect("it starts to connect");
                connection.poll_fault(Duration::from_secs(1));
                let begun = SystemClock.now();
                drop(connection);
                // Half a second for an answer to TEARDOWN; the rest is for busy cores.
                assert!(SystemClock.now().since(begun) < Duration::from_secs(10));
            });
        }
    });
}
