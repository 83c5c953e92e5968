//! One RTSP connection: from an address to access units. Knows nothing of retries (`health` decides) and of rings (the
//! caller's callback stores); it only connects, hands over, and says how it ended.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use sha2::{Digest, Sha256};

use super::audio::{self, OnAudio};
use super::camera_clock::{CameraClock, Clocks, SyncPoint};
use super::gst_error;
use super::health::Fault;
use crate::base::audio::AudioUnit;
use crate::base::types::{AccessUnit, Codec, FaultKind, StreamParams};
use crate::base::{Clock, Result};
use crate::config::Transport;

/// Everything needed to connect to one stream. No `Debug`: it holds credentials.
pub struct Endpoint {
    /// Without user and password.
    pub url: String,
    pub user: Option<String>,
    pub password: Option<String>,
    pub transport: Transport,
    pub latency_ms: u32,
    /// Lower-case hex SHA-256 of the one certificate to accept.
    pub tls_pin: Option<String>,
}

/// A connection being made or running. Dropping it tears it down, which can take as long as the camera likes: drop it
/// on a thread that may wait.
pub struct Connection {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    verdict: Arc<Verdict>,
}

/// What the callbacks found out that the bus does not say.
#[derive(Default)]
struct Verdict {
    /// Media that no template reads.
    unsupported: Mutex<Option<String>>,
    /// Fingerprint of a certificate that was not accepted.
    refused_certificate: Mutex<Option<String>>,
    /// It has described its streams.
    answered: AtomicBool,
    video_found: AtomicBool,
    /// RTP packets of the video.
    packets: AtomicU64,
    muted: AtomicBool,
    /// The number of the video among the described streams.
    video_stream: AtomicU32,
    /// The same of the sound, if that is set up.
    audio_stream: AtomicU32,
    audio: Mutex<audio::State>,
}

impl Verdict {
    /// The sound's number among the described streams, if it is set up.
    fn audio_number(&self) -> Option<u32> {
        let audio = self.audio.lock().unwrap_or_else(PoisonError::into_inner);
        audio.coding.map(|_| self.audio_stream.load(Ordering::Relaxed))
    }
}

/// Numbers the connections of this process.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// Requests that may go out before the camera has described its streams: OPTIONS, DESCRIBE, DESCRIBE with the password,
/// and once more for a nonce that has just run out. Left alone, rtspsrc 1.22 sends a refused password eight times in a
/// row, and cameras lock an account after five to seven. After a redirection none is left for a password, so that no camera
/// can have it sent to another host.
const REQUESTS_TO_DESCRIBE: u32 = 4;
/// Requests from then to the first packet: SETUP twice (with the password, over TCP after UDP), PLAY twice, TEARDOWN.
const REQUESTS_TO_PLAY: u32 = 5;
/// SETUP of the sound.
const REQUESTS_FOR_AUDIO: u32 = 2;

impl Connection {
    /// Starts to connect; returns at once. `on_unit` is called for every access unit in the stream's own thread and must
    /// not wait. No sound is asked for.
    pub fn open(
        endpoint: &Endpoint,
        clock: Arc<dyn Clock>,
        on_unit: impl FnMut(AccessUnit) + Send + 'static,
    ) -> Result<Self> {
        Self::open_with(endpoint, clock, on_unit, None)
    }

    /// As [`Self::open`]; with `on_audio` the camera's sound is received, too, if it is AAC or G.711.
    pub fn open_with(
        endpoint: &Endpoint,
        clock: Arc<dyn Clock>,
        on_unit: impl FnMut(AccessUnit) + Send + 'static,
        on_audio: Option<OnAudio>,
    ) -> Result<Self> {
        super::init()?;
        let source = source(endpoint.latency_ms)?;
        configure(&source, endpoint);
        let verdict = Arc::new(Verdict::default());
        let pipeline = gst::Pipeline::new();
        pipeline.add(&source).map_err(|e| gst_error("the RTSP source cannot be used", e))?;
        watch_certificate(&source, endpoint.tls_pin.clone(), verdict.clone());
        spare_account(&source, verdict.clone());
        select_streams(&source, verdict.clone(), on_audio.is_some());
        let connection = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        let times = Times { arrival: clock, camera: follow_camera_clock(&source, verdict.clone()), connection };
        let (mut on_unit, heard) = (on_unit, verdict.clone());
        let on_unit = move |unit| {
            if !heard.muted.load(Ordering::Relaxed) {
                on_unit(unit);
            }
        };
        if let Some(on_audio) = on_audio {
            attach_audio(&source, &pipeline, verdict.clone(), &times, on_audio);
        }
        attach_tail(&source, &pipeline, verdict.clone(), times, Box::new(on_unit));
        let bus = pipeline.bus().ok_or_else(|| gst_error("the receive pipeline has no bus", ""))?;
        let connection = Self { pipeline, bus, verdict };
        connection.pipeline.set_state(gst::State::Playing).map_err(|e| gst_error("receiving does not start", e))?;
        Ok(connection)
    }

    /// Waits up to `timeout` for the connection's end; `None` while it lasts.
    pub fn poll_fault(&self, timeout: Duration) -> Option<Fault> {
        let timeout = gst::ClockTime::from_nseconds(timeout.as_nanos() as u64);
        let kinds = [gst::MessageType::Error, gst::MessageType::Eos];
        let message = self.bus.timed_pop_filtered(timeout, &kinds);
        if let Some(media) = self.verdict.unsupported.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Some(Fault::new(
                FaultKind::UnsupportedCodec,
                format!("sends {media}; set it to H.264, H.265 or MJPEG"),
            ));
        }
        match message?.view() {
            gst::MessageView::Eos(_) => Some(Fault::new(FaultKind::Ended, "ended the stream")),
            gst::MessageView::Error(e) => Some(self.classify(&e.error(), e.debug().as_deref())),
            _ => None,
        }
    }

    fn classify(&self, error: &gst::glib::Error, debug: Option<&str>) -> Fault {
        if let Some(pin) = self.verdict.refused_certificate.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            let text = format!("shows an unknown certificate; if it is the camera's own, set tls_pin = \"{pin}\"");
            return Fault::new(FaultKind::TlsMismatch, text);
        }
        let is = |kind: gst::ResourceError| error.matches(kind);
        match debug.and_then(status_code) {
            Some(401 | 403) => return Fault::new(FaultKind::AuthFailed, "refuses the user or the password"),
            Some(404) => return Fault::new(FaultKind::NoStream, "knows no stream of this path"),
            Some(461) => {
                return Fault::new(FaultKind::Protocol, "does not send over this transport; try the other one");
            }
            Some(453 | 503) => return Fault::new(FaultKind::Protocol, "is busy; it may have too many viewers"),
            Some(code) => return Fault::new(FaultKind::Protocol, format!("answers with RTSP status {code}")),
            None => {}
        }
        if is(gst::ResourceError::OpenRead) || is(gst::ResourceError::OpenReadWrite) || is(gst::ResourceError::NotFound)
        {
            return Fault::new(FaultKind::Unreachable, "cannot be reached; check its power, its cable and its address");
        }
        if is(gst::ResourceError::Read) || is(gst::ResourceError::Write) {
            let video_found = self.verdict.video_found.load(Ordering::Relaxed);
            return match debug.unwrap_or_default() {
                _ if video_found => Fault::new(FaultKind::Ended, "broke the connection"),
                d if d.contains("Timeout") => {
                    Fault::new(FaultKind::Stalled, "takes the connection but does not answer; start it anew")
                }
                d if d.contains("Parse error") => Fault::new(FaultKind::Protocol, "does not speak RTSP at this port"),
                _ => Fault::new(
                    FaultKind::Protocol,
                    "closed the connection before it sent video; it may have too many viewers",
                ),
            };
        }
        // The short text only: the debug part may quote the address.
        Fault::new(FaultKind::Protocol, format!("failed: {}", error.message()))
    }

    /// Whether the camera has described its streams: what goes wrong from then on is not the network's or the address's.
    pub fn answered(&self) -> bool {
        self.verdict.answered.load(Ordering::Relaxed)
    }

    /// Whether the camera was asked for its sound.
    pub fn asked_for_audio(&self) -> bool {
        self.verdict.audio.lock().unwrap_or_else(PoisonError::into_inner).coding.is_some()
    }

    /// Why there is no sound although it is wanted; told once. The pictures go on.
    pub fn audio_failure(&self) -> Option<String> {
        self.verdict.audio.lock().unwrap_or_else(PoisonError::into_inner).take_failure()
    }

    /// Hands over nothing any more; tearing down takes a while, and the next connection may be faster.
    pub fn mute(&self) {
        self.verdict.muted.store(true, Ordering::Relaxed);
    }

    /// RTP packets so far, whether or not they make a picture.
    pub fn packets(&self) -> u64 {
        self.verdict.packets.load(Ordering::Relaxed)
    }
}

/// The RTSP status that a source's error is about: its debug text ends with the server's reason and, in brackets, the
/// code. The reason is the server's own choice, so only the very end counts.
fn status_code(debug: &str) -> Option<u32> {
    let (_, code) = debug.trim_end().strip_suffix(')')?.rsplit_once('(')?;
    (code.len() == 3).then(|| code.parse().ok()).flatten()
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Err(e) = self.pipeline.set_state(gst::State::Null) {
            tracing::debug!("a receive pipeline did not stop: {e}");
        }
        drop(self.verdict.audio.lock().unwrap_or_else(PoisonError::into_inner).tail.take());
    }
}

/// The RTSP source: one element alone comes back from parsing as itself, not as a pipeline.
fn source(latency_ms: u32) -> Result<gst::Element> {
    let text = include_str!("../../pipelines/receive-rtsp.gst").trim().replace("{latency_ms}", &latency_ms.to_string());
    gst::parse::launch(&text).map_err(|e| gst_error("the RTSP source cannot be made", e))
}

/// What turns `codec`'s RTP into access units, and where they come out.
fn tail(codec: Codec) -> Result<(gst::Bin, gst_app::AppSink)> {
    let tail = gst::parse::bin_from_description(tail_template(codec).trim(), true)
        .map_err(|e| gst_error(&format!("no depayloader for {}", codec.as_str()), e))?;
    let sink = tail.by_name("encoded").and_then(|e| e.downcast::<gst_app::AppSink>().ok());
    Ok((tail, sink.ok_or_else(|| gst_error("the receive template lacks `encoded`", ""))?))
}

fn configure(source: &gst::Element, endpoint: &Endpoint) {
    source.set_property("location", &endpoint.url);
    if let Some(user) = &endpoint.user {
        source.set_property("user-id", user);
    }
    if let Some(password) = &endpoint.password {
        source.set_property("user-pw", password);
    }
    let transport = match endpoint.transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    source.set_property_from_str("protocols", transport);
}

/// A camera's certificate is its own: it is accepted when its fingerprint is the pinned one, and reported otherwise.
fn watch_certificate(source: &gst::Element, pin: Option<String>, verdict: Arc<Verdict>) {
    source.connect("accept-certificate", false, move |values| {
        let certificate = values.get(2).and_then(|v| v.get::<gio::TlsCertificate>().ok());
        let der = certificate.and_then(|c| gio::prelude::TlsCertificateExt::certificate(&c));
        let fingerprint = der.map(|der| hex::encode(Sha256::digest(&der[..])));
        let accepted = pin.is_some() && fingerprint == pin;
        if !accepted {
            *verdict.refused_certificate.lock().unwrap_or_else(PoisonError::into_inner) = fingerprint;
        }
        Some(accepted.to_value())
    });
}

/// Bounds how often a connection asks, and with that how often it shows a password that is refused.
fn spare_account(source: &gst::Element, verdict: Arc<Verdict>) {
    let described = verdict.clone();
    source.connect("on-sdp", false, move |_| {
        described.answered.store(true, Ordering::Relaxed);
        None
    });
    let (describing, playing) = (AtomicU32::new(0), AtomicU32::new(0));
    source.connect("before-send", false, move |_| {
        let send = if verdict.video_found.load(Ordering::Relaxed) {
            true
        } else if verdict.answered.load(Ordering::Relaxed) {
            let audio = verdict.audio.lock().unwrap_or_else(PoisonError::into_inner).coding.is_some();
            let most = REQUESTS_TO_PLAY + if audio { REQUESTS_FOR_AUDIO } else { 0 };
            playing.fetch_add(1, Ordering::Relaxed) < most
        } else {
            describing.fetch_add(1, Ordering::Relaxed) < REQUESTS_TO_DESCRIBE
        };
        Some(send.to_value())
    });
}

/// Only the first video stream is set up, and the first sound that can be recorded where that is wanted: metadata would cost
/// traffic for nothing, and what is not recorded is not to be heard.
fn select_streams(source: &gst::Element, verdict: Arc<Verdict>, wants_audio: bool) {
    let taken = AtomicBool::new(false);
    source.connect("select-stream", false, move |values| {
        let number = values.get(1).and_then(|v| v.get::<u32>().ok()).unwrap_or_default();
        let caps = values.get(2).and_then(|v| v.get::<gst::Caps>().ok());
        let medium = caps.as_ref().and_then(|c| c.structure(0));
        let wanted = match medium.and_then(|m| m.get::<String>("media").ok()).as_deref() {
            Some("video") => {
                let first = !taken.swap(true, Ordering::Relaxed);
                if first {
                    verdict.video_stream.store(number, Ordering::Relaxed);
                }
                first
            }
            Some("audio") if wants_audio => {
                let mut audio = verdict.audio.lock().unwrap_or_else(PoisonError::into_inner);
                let selected = medium.is_some_and(|m| audio.select(m));
                if selected {
                    verdict.audio_stream.store(number, Ordering::Relaxed);
                }
                selected
            }
            _ => false,
        };
        Some(wanted.to_value())
    });
}

/// Follows the camera's sender reports: the jitter buffers, deep inside of the source, see them. The source itself would
/// move whichever of sound and pictures is ahead; it must not, so that sound moves no picture.
fn follow_camera_clock(source: &gst::Element, verdict: Arc<Verdict>) -> Arc<Mutex<Clocks>> {
    let camera = Arc::new(Mutex::new(Clocks::default()));
    let followed = camera.clone();
    source.connect("new-manager", false, move |values| {
        let manager = values.get(1)?.get::<gst::Element>().ok()?;
        if manager.has_property("max-ts-offset") {
            // Nanoseconds; zero would be no limit.
            manager.set_property("max-ts-offset", 1i64);
        }
        let audio = verdict.clone();
        audio::outlive(&manager, move || audio.audio_number());
        let (followed, verdict) = (followed.clone(), verdict.clone());
        manager.connect("new-jitterbuffer", false, move |values| {
            let number = values.get(2)?.get::<u32>().ok()?;
            let is_video = number == verdict.video_stream.load(Ordering::Relaxed);
            if !is_video && Some(number) != verdict.audio_number() {
                return None;
            }
            let jitter_buffer = values.get(1)?.get::<gst::Element>().ok()?;
            let followed = followed.clone();
            jitter_buffer.connect("handle-sync", false, move |values| {
                let sync = values.get(1)?.get::<gst::Structure>().ok()?;
                let mut clocks = followed.lock().unwrap_or_else(PoisonError::into_inner);
                synchronise(if is_video { &mut clocks.video } else { &mut clocks.audio }, &sync);
                clocks.compare();
                None
            });
            None
        });
        None
    });
    camera
}

/// A report without one of the fields (before the first packet) is passed over.
fn synchronise(clock: &mut CameraClock, sync: &gst::StructureRef) -> Option<()> {
    let report = sync.get::<gst::Buffer>("sr-buffer").ok()?;
    let rtcp = report.map_readable().ok()?;
    clock.synchronise(&SyncPoint {
        base_rtptime: sync.get("base-rtptime").ok()?,
        base_time: Duration::from_nanos(sync.get("base-time").ok()?),
        clock_rate: sync.get("clock-rate").ok()?,
        sr_ext_rtptime: sync.get("sr-ext-rtptime").ok()?,
        rtcp: &rtcp,
    });
    Some(())
}

/// The two clocks a picture is dated by.
#[derive(Clone)]
struct Times {
    arrival: Arc<dyn Clock>,
    camera: Arc<Mutex<Clocks>>,
    connection: u64,
}

type OnUnit = Box<dyn FnMut(AccessUnit) + Send>;

fn media(pad: &gst::Pad) -> Option<String> {
    let caps = pad.current_caps().or_else(|| Some(pad.query_caps(None)))?;
    caps.structure(0)?.get::<String>("media").ok()
}

fn attach_audio(
    source: &gst::Element,
    pipeline: &gst::Pipeline,
    verdict: Arc<Verdict>,
    times: &Times,
    on_audio: OnAudio,
) {
    let (pipeline, times) = (pipeline.downgrade(), times.clone());
    let on_audio = Mutex::new(Some(on_audio));
    source.connect_pad_added(move |_, pad| {
        let Some(pipeline) = pipeline.upgrade().filter(|_| media(pad).as_deref() == Some("audio")) else { return };
        let mut audio = verdict.audio.lock().unwrap_or_else(PoisonError::into_inner);
        let on_audio = on_audio.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(coding), Some(mut on_audio)) = (audio.coding, on_audio) else { return };
        let (heard, clocks) = (verdict.clone(), times.camera.clone());
        let unless_muted: OnAudio = Box::new(move |unit| {
            if !heard.muted.load(Ordering::Relaxed) {
                let pts = clocks.lock().unwrap_or_else(PoisonError::into_inner).beside_pictures(unit.pts);
                on_audio(AudioUnit { pts, ..unit });
            }
        });
        match audio::Tail::attach(&pipeline, pad, coding, times.arrival.clone(), times.connection, unless_muted) {
            Ok(tail) => audio.tail = Some(tail),
            Err(e) => audio.failure = Some(format!("sends sound that cannot be received: {e}")),
        }
    });
}

fn attach_tail(source: &gst::Element, pipeline: &gst::Pipeline, verdict: Arc<Verdict>, times: Times, on_unit: OnUnit) {
    let pipeline = pipeline.downgrade();
    let on_unit = Mutex::new(Some(on_unit));
    source.connect_pad_added(move |_, pad| {
        let Some(pipeline) = pipeline.upgrade().filter(|_| media(pad).as_deref() != Some("audio")) else { return };
        let encoding = pad
            .current_caps()
            .or_else(|| Some(pad.query_caps(None)))
            .and_then(|c| c.structure(0).and_then(|s| s.get::<String>("encoding-name").ok()))
            .unwrap_or_default();
        let Some(codec) = codec_of(&encoding) else {
            let shown = if encoding.is_empty() { "no video".to_owned() } else { encoding };
            *verdict.unsupported.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
            return;
        };
        let Some(on_unit) = on_unit.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        verdict.video_found.store(true, Ordering::Relaxed);
        let counted = verdict.clone();
        pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, _| {
            counted.packets.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
        if let Err(e) = link_tail(&pipeline, pad, codec, times.clone(), on_unit) {
            tracing::warn!("{e}");
            *verdict.unsupported.lock().unwrap_or_else(PoisonError::into_inner) = Some(codec.as_str().to_owned());
        }
    });
}

fn codec_of(encoding: &str) -> Option<Codec> {
    match encoding {
        "H264" => Some(Codec::H264),
        "H265" => Some(Codec::H265),
        "JPEG" => Some(Codec::Mjpeg),
        _ => None,
    }
}

fn tail_template(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => include_str!("../../pipelines/receive-h264.gst"),
        Codec::H265 => include_str!("../../pipelines/receive-h265.gst"),
        Codec::Mjpeg => include_str!("../../pipelines/receive-mjpeg.gst"),
    }
}

fn link_tail(pipeline: &gst::Pipeline, pad: &gst::Pad, codec: Codec, times: Times, on_unit: OnUnit) -> Result<()> {
    let (tail, sink) = tail(codec)?;
    deliver(&sink, codec, times, on_unit);
    pipeline.add(&tail).map_err(|e| gst_error("the depayloader cannot be used", e))?;
    tail.sync_state_with_parent().map_err(|e| gst_error("the depayloader does not start", e))?;
    let entry = tail.static_pad("sink").ok_or_else(|| gst_error("the receive template has no entry", ""))?;
    pad.link(&entry).map(drop).map_err(|e| gst_error("the depayloader does not fit the stream", format!("{e:?}")))
}

/// Turns samples into access units. Caps are looked at anew for each sample: a camera may change them at any time.
fn deliver(sink: &gst_app::AppSink, codec: Codec, times: Times, mut on_unit: OnUnit) {
    let mut known: Option<(gst::Caps, Arc<StreamParams>)> = None;
    let mut last_pts = Duration::ZERO;
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let arrived = times.arrival.now();
                let (Some(buffer), Some(caps)) = (sample.buffer_owned(), sample.caps_owned()) else {
                    return Ok(gst::FlowSuccess::Ok);
                };
                let params = match &known {
                    Some((of, params)) if *of == caps => params.clone(),
                    _ => {
                        let params = Arc::new(params(codec, &caps));
                        known = Some((caps, params.clone()));
                        params
                    }
                };
                let keyframe = codec == Codec::Mjpeg || !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
                // Some cameras leave PTS out; a step of 1 ms keeps the order.
                last_pts =
                    buffer.pts().map_or(last_pts + Duration::from_millis(1), |t| Duration::from_nanos(t.nseconds()));
                if let Ok(mapped) = buffer.into_mapped_buffer_readable() {
                    let data = Bytes::from_owner(mapped);
                    on_unit(AccessUnit {
                        seq: 0,
                        connection: times.connection,
                        pts: last_pts,
                        keyframe,
                        arrived,
                        camera_time_ms: times.camera.lock().unwrap_or_else(PoisonError::into_inner).video.at(last_pts),
                        params,
                        data,
                    });
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
}

fn params(codec: Codec, caps: &gst::Caps) -> StreamParams {
    let field = |name: &str| caps.structure(0).and_then(|s| s.get::<i32>(name).ok()).unwrap_or(0).max(0) as u32;
    let fps = caps
        .structure(0)
        .and_then(|s| s.get::<gst::Fraction>("framerate").ok())
        .filter(|f| f.denom() > 0)
        .map_or(0.0, |f| f.numer() as f32 / f.denom() as f32);
    StreamParams { codec, width: field("width"), height: field("height"), fps, caps: caps.to_string() }
}

/// See [`super::check_templates`].
pub(super) fn check_templates() -> Result<()> {
    source(0)?;
    for codec in [Codec::H264, Codec::H265, Codec::Mjpeg] {
        tail(codec)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_off_the_end_and_nowhere_else() {
        let line = "../gst/rtsp/gstrtspsrc.c(401): gst_rtspsrc_send (): /GstPipeline:p/GstRTSPSrc:source:\n";
        assert_eq!(status_code(&format!("{line}Unauthorized (401)")), Some(401));
        assert_eq!(status_code(&format!("{line}tried (401) before (503)")), Some(503));
        assert_eq!(status_code(&format!("{line}Failed to connect. (Generic error)")), None);
        assert_eq!(status_code(&format!("{line}Not Found")), None);
    }
}
