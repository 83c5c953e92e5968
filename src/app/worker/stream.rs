//! The threads of one stream: one that keeps it connected, and for the detect stream one that decodes it. Public for the
//! tests, which run a stream against cameras of every kind.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::pulse;
use crate::base::types::{AccessUnit, CameraState, Codec, FaultKind, Frame, StreamParams};
use crate::base::{Clock, Stamp};
use crate::config::StreamUrl;
use crate::ingest::audio::OnAudio;
use crate::ingest::audio_ring::AudioRing;
use crate::ingest::decode::Decoder;
use crate::ingest::gate::Gate;
use crate::ingest::health::{Action, Fault, Input, StreamHealth};
use crate::ingest::receive::{Connection, Endpoint};
use crate::ingest::ring::{Read, SharedRing};

/// How often a quiet thread looks around; bounds how late a stall or a stop is noticed.
const TICK: Duration = Duration::from_millis(100);
/// How long a probe waits for the connection, and then for an answer.
const PROBE_DEADLINE: Duration = Duration::from_secs(1);

/// What a stream's threads share.
pub struct Stream {
    pub ring: SharedRing,
    /// Its sound; empty where that is not wanted.
    pub audio: AudioRing,
    /// Access units received.
    pub units: AtomicU64,
    /// Frames decoded.
    pub frames: AtomicU64,
    /// Connections made after the first.
    pub reconnects: AtomicU64,
    /// Access units that left the ring before the decoder had read them.
    pub skipped: AtomicU64,
    stopping: AtomicBool,
    /// Whether anyone wants its pictures decoded.
    decoded: (Mutex<bool>, Condvar),
    last: Mutex<Last>,
}

#[derive(Clone, Default)]
struct Last {
    params: Option<Arc<StreamParams>>,
    frame: Option<Stamp>,
}

impl Stream {
    /// A stream that nothing has come from yet.
    pub fn new(ring_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            ring: SharedRing::new(ring_bytes),
            audio: AudioRing::default(),
            units: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            decoded: (Mutex::new(true), Condvar::new()),
            last: Mutex::new(Last::default()),
        })
    }

    /// Asks both threads to end.
    pub fn stop(&self) {
        // Under the lock, so that nobody looks before and waits after.
        let decoded = self.decoded.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.stopping.store(true, Ordering::Relaxed);
        drop(decoded);
        self.ring.close();
        self.audio.close();
        self.decoded.1.notify_all();
    }

    /// Whether its pictures are to be decoded: a camera that is only recorded costs no decoder.
    pub fn set_decoded(&self, decoded: bool) {
        *self.decoded.0.lock().unwrap_or_else(PoisonError::into_inner) = decoded;
        self.decoded.1.notify_all();
    }

    fn is_decoded(&self) -> bool {
        *self.decoded.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until its pictures are to be decoded, or it is to stop.
    fn wait_for_demand(&self) {
        let undemanded = |decoded: &mut bool| !*decoded && !self.stopping.load(Ordering::Relaxed);
        let decoded = self.decoded.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.decoded.1.wait_while(decoded, undemanded));
    }

    fn last(&self) -> Last {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn receive(&self, unit: AccessUnit) {
        self.units.fetch_add(1, Ordering::Relaxed);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if !last.params.as_ref().is_some_and(|p| Arc::ptr_eq(p, &unit.params)) {
            last.params = Some(unit.params.clone());
        }
        last.frame = Some(unit.arrived);
        drop(last);
        self.ring.push(unit);
    }
}

/// What a stream is doing, for the camera's health.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamReport {
    pub state: CameraState,
    pub fault: Option<Fault>,
    pub since: Stamp,
    pub codec: Option<Codec>,
    pub width: u32,
    pub height: u32,
    pub fps: f32,
    pub last_frame: Option<Stamp>,
}

/// How often a report is repeated without a change, so that rates and last frames stay fresh.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Keeps one stream connected until it is stopped.
pub struct Supervisor {
    /// The camera's id, for the log.
    pub name: String,
    pub endpoint: Endpoint,
    pub stream: Arc<Stream>,
    pub clock: Arc<dyn Clock>,
    /// Whether a frame has to come of it; the access units of a stream that is not decoded are pictures enough.
    pub decoded: bool,
    /// Whether its sound is received.
    pub audio: bool,
    /// Spreads the retries of cameras that failed together.
    pub seed: u64,
}

impl Supervisor {
    /// Runs until [`Stream::stop`]; `report` is told every change, and now and then how it goes.
    pub fn run(self, mut report: impl FnMut(StreamReport)) {
        let mut health = StreamHealth::new(self.seed, self.clock.now().mono);
        let mut connection: Option<Connection> = None;
        let mut probing: Option<Receiver<bool>> = None;
        let (mut packets, mut frames) = (0, 0);
        let mut meter = RateMeter::default();
        let mut reported = Duration::ZERO;
        let mut sound = Sound { wanted: self.audio, ..Sound::default() };
        while !self.stream.stopping.load(Ordering::Relaxed) {
            pulse::beat();
            let mut inputs = self.wait(connection.as_ref());
            if connection.as_ref().is_some_and(Connection::answered) {
                inputs.insert(0, Input::Answered);
            }
            match probing.as_ref().map(Receiver::try_recv) {
                Some(Ok(open)) => inputs.push(Input::Probed(open)),
                Some(Err(TryRecvError::Disconnected)) => probing = None,
                Some(Err(TryRecvError::Empty)) | None => {}
            }
            let units = self.stream.units.load(Ordering::Relaxed);
            let pictures = if self.decoded && self.stream.is_decoded() {
                self.stream.frames.load(Ordering::Relaxed)
            } else {
                units
            };
            // What came is told first: a stream that delivered and then ended did deliver.
            if pictures != frames {
                inputs.insert(0, Input::Frame);
            }
            let seen = connection.as_ref().map_or(0, Connection::packets);
            if seen > 0 && seen != packets {
                inputs.insert(0, Input::Packet);
            }
            (packets, frames) = (seen, pictures);
            sound.look(&self.name, connection.as_ref());
            let now = self.clock.now();
            meter.note(units, now.mono);
            let mut changed = false;
            let mut queue: std::collections::VecDeque<Input> = inputs.into();
            while let Some(input) = queue.pop_front() {
                for action in health.step(input, now.mono) {
                    changed |= action == Action::Report;
                    queue.extend(self.perform(action, &mut connection, &mut probing, &mut sound));
                }
            }
            self.stream.reconnects.store(health.reconnects(), Ordering::Relaxed);
            if changed || now.mono.saturating_sub(reported) >= REPORT_EVERY {
                reported = now.mono;
                report(self.report(&health, meter.rate(), now));
            }
        }
        retire(&self.name, connection.take());
    }

    fn wait(&self, connection: Option<&Connection>) -> Vec<Input> {
        let fault = match connection {
            Some(connection) => connection.poll_fault(TICK),
            None => {
                std::thread::sleep(TICK);
                None
            }
        };
        vec![fault.map_or(Input::Tick, Input::Fault)]
    }

    fn perform(
        &self,
        action: Action,
        connection: &mut Option<Connection>,
        probing: &mut Option<Receiver<bool>>,
        sound: &mut Sound,
    ) -> Option<Input> {
        match action {
            Action::Connect => {
                self.stream.ring.discontinue();
                let (stream, heard) = (self.stream.clone(), self.stream.clone());
                let on_audio: OnAudio = Box::new(move |unit| heard.audio.push(unit));
                let on_audio = sound.ask().then_some(on_audio);
                let on_unit = move |unit| stream.receive(unit);
                match Connection::open_with(&self.endpoint, self.clock.clone(), on_unit, on_audio) {
                    Ok(opened) => *connection = Some(opened),
                    Err(e) => {
                        tracing::warn!(camera = self.name, "{e}");
                        return Some(Input::Fault(Fault::new(FaultKind::Protocol, "cannot be connected to")));
                    }
                }
                None
            }
            Action::Disconnect => {
                sound.over(connection.as_ref());
                retire(&self.name, connection.take());
                None
            }
            Action::Probe => {
                // One at a time: looking up a name can take longer than the time between two.
                if probing.is_none() {
                    *probing = self.start_probe();
                }
                None
            }
            Action::Report => None,
        }
    }

    /// Probes on a thread of its own: a name server that does not answer must not hold up a stop.
    fn start_probe(&self) -> Option<Receiver<bool>> {
        let (found, receiver) = sync_channel(1);
        let url = self.endpoint.url.clone();
        let started = crate::app::thread(&format!("probe {}", self.name), move || {
            // Nobody waits for it any more when the stream was stopped.
            found.send(probe(&url)).ok();
        });
        match started {
            Ok(_) => Some(receiver),
            Err(e) => {
                tracing::warn!(camera = self.name, "{e}");
                None
            }
        }
    }

    fn report(&self, health: &StreamHealth, fps: f32, now: Stamp) -> StreamReport {
        let last = self.stream.last();
        let age = now.mono.saturating_sub(health.since());
        StreamReport {
            state: health.state(),
            fault: health.fault().cloned(),
            since: Stamp { mono: health.since(), wall_ms: now.wall_ms - age.as_millis() as i64 },
            codec: last.params.as_ref().map(|p| p.codec),
            width: last.params.as_ref().map_or(0, |p| p.width),
            height: last.params.as_ref().map_or(0, |p| p.height),
            fps,
            last_frame: last.frame,
        }
    }
}

/// Whether a stream's sound is asked for, and what was said of it.
#[derive(Default)]
struct Sound {
    wanted: bool,
    /// The connection before asked for it and no picture came: the next one does without. Sound is not worth a picture.
    spared: bool,
    told: Option<String>,
}

impl Sound {
    fn ask(&self) -> bool {
        self.wanted && !self.spared
    }

    fn over(&mut self, connection: Option<&Connection>) {
        self.spared = connection.is_some_and(|c| c.asked_for_audio() && c.packets() == 0);
    }

    /// Says once why there is none.
    fn look(&mut self, name: &str, connection: Option<&Connection>) {
        let Some(connection) = connection.filter(|c| self.wanted && c.packets() > 0) else { return };
        let why = match connection.audio_failure() {
            Some(why) => why,
            None if connection.asked_for_audio() => return,
            None if self.spared => "sends no video when it is asked for its sound, too".to_owned(),
            None if self.told.is_none() => "announces no sound".to_owned(),
            None => return,
        };
        if self.told.as_ref() != Some(&why) {
            tracing::warn!(camera = name, "{why}; it is recorded without sound");
            self.told = Some(why);
        }
    }
}

/// Tears a connection down on a thread of its own: a camera that does not answer TEARDOWN must not hold up the next try.
fn retire(name: &str, connection: Option<Connection>) {
    let Some(connection) = connection else { return };
    // Its last pictures must not come between those of the next connection.
    connection.mute();
    if let Err(e) = crate::app::thread(&format!("close {name}"), move || drop(connection)) {
        tracing::warn!(camera = name, "{e}");
    }
}

/// Whether the camera gives a sign of life: a port that only takes connections is not one. Any answer will do, so the
/// question needs no password. Within TLS nothing is asked.
fn probe(url: &str) -> bool {
    let Ok((parsed, ..)) = StreamUrl::parse(url) else { return false };
    let host = parsed.host().trim_matches(['[', ']']);
    let addresses = (host, parsed.port()).to_socket_addrs();
    addresses.is_ok_and(|mut a| a.any(|a| answers(&a, if parsed.is_tls() { None } else { Some(url) }).unwrap_or(false)))
}

fn answers(address: &SocketAddr, question: Option<&str>) -> std::io::Result<bool> {
    let mut socket = TcpStream::connect_timeout(address, PROBE_DEADLINE)?;
    let Some(url) = question else { return Ok(true) };
    socket.set_read_timeout(Some(PROBE_DEADLINE))?;
    write!(socket, "OPTIONS {url} RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: wardwatch\r\n\r\n")?;
    Ok(socket.read(&mut [0; 64])? > 0)
}

/// Pictures a second over the last whole window.
#[derive(Default)]
struct RateMeter {
    window: Option<(Duration, u64)>,
    rate: f32,
}

impl RateMeter {
    fn note(&mut self, total: u64, now: Duration) {
        let (start, before) = *self.window.get_or_insert((now, total));
        let passed = now.saturating_sub(start);
        if passed >= Duration::from_secs(2) {
            self.rate = (total - before) as f32 / passed.as_secs_f32();
            self.window = Some((now, total));
        }
    }

    fn rate(&self) -> f32 {
        (self.rate * 10.0).round() / 10.0
    }
}

/// Reads the ring, decodes what the gate wants, and hands on frames at the wanted rate. Ends with the ring.
pub fn decode_loop(name: &str, stream: &Arc<Stream>, fps: &Arc<Mutex<f32>>, deliver: Arc<dyn Fn(Frame) + Send + Sync>) {
    let mut decoder: Option<(Arc<StreamParams>, Decoder)> = None;
    let mut gate = Gate::new(current(fps));
    let mut cursor = 0;
    // A ring that is closed still holds seconds of video, which nobody waits for when the stream is being stopped.
    while !stream.stopping.load(Ordering::Relaxed) {
        if !stream.is_decoded() {
            decoder = None;
            pulse::excused(|| stream.wait_for_demand());
            // What came meanwhile is nobody's.
            cursor = stream.ring.seek(Duration::MAX).unwrap_or(cursor);
            continue;
        }
        pulse::beat();
        let unit = match stream.ring.read(cursor, Duration::from_millis(500)) {
            Read::Unit { unit, missed } => {
                if cursor > 0 {
                    stream.skipped.fetch_add(missed, Ordering::Relaxed);
                }
                unit
            }
            Read::Empty => continue,
            Read::Closed => return,
        };
        cursor = unit.seq + 1;
        gate.set_fps(current(fps));
        if decoder.as_ref().is_some_and(|(params, _)| !Arc::ptr_eq(params, &unit.params)) {
            decoder = None;
        }
        if decoder.is_none() {
            if !unit.keyframe {
                continue;
            }
            decoder = start(name, stream, &unit, fps.clone(), deliver.clone());
        }
        if !gate.step(&unit) {
            continue;
        }
        if let Some((_, running)) = &decoder
            && let Err(e) = running.feed(&unit)
        {
            tracing::debug!(camera = name, "{e}; starting at the next keyframe");
            decoder = None;
        }
    }
}

fn current(fps: &Mutex<f32>) -> f32 {
    *fps.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(
    name: &str,
    stream: &Arc<Stream>,
    unit: &AccessUnit,
    fps: Arc<Mutex<f32>>,
    deliver: Arc<dyn Fn(Frame) + Send + Sync>,
) -> Option<(Arc<StreamParams>, Decoder)> {
    let mut due = Gate::new(current(&fps));
    let counted = stream.clone();
    let started = Decoder::start(&unit.params, move |frame| {
        counted.frames.fetch_add(1, Ordering::Relaxed);
        due.set_fps(current(&fps));
        if due.due(frame.arrived.mono) {
            deliver(frame);
        }
    });
    match started {
        Ok(decoder) => {
            let p = &unit.params;
            tracing::info!(camera = name, codec = p.codec.as_str(), width = p.width, height = p.height, "decoding");
            Some((unit.params.clone(), decoder))
        }
        Err(e) => {
            tracing::error!(camera = name, "{e}");
            None
        }
    }
}
