//! `wardwatch probe`: connects to one camera and says what it sends, with the configuration lines for it; or as JSON with
//! a picture, for the node, which sends a child to do it: the decoder is C code fed by strangers.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::errand;
use crate::base::clock::SystemClock;
use crate::base::geometry::Polygon;
use crate::base::types::{AccessUnit, Codec, ColorRange, Frame};
use crate::base::{Clock, Error, ErrorKind, Result, Stamp};
use crate::config::{Sandbox, SnapshotConfig, StreamUrl, Transport};
use crate::ingest::decode::Decoder;
use crate::ingest::receive::{Connection, Endpoint};
use crate::privacy::Masks;
use crate::snapshot;
use crate::wire::inquiry::Probed;

/// What to probe and for how long.
pub struct ProbeOptions {
    /// May hold user and password.
    pub url: String,
    pub user: Option<String>,
    pub password: Option<String>,
    pub transport: Transport,
    pub tls_pin: Option<String>,
    pub seconds: u64,
}

/// What a child is to try.
#[derive(Serialize, Deserialize)]
pub(super) struct Work {
    /// Without user and password.
    pub(super) url: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) transport: Transport,
    pub(super) tls_pin: Option<String>,
    pub(super) seconds: u64,
    /// Give a picture, with these masks burned in.
    pub(super) picture: Option<Vec<Polygon>>,
}

/// A picture for whoever aims a camera: wide enough to draw zones on.
const PICTURE: SnapshotConfig = SnapshotConfig { max_width: 960, quality: 75, overlay: false };

/// What a camera sent.
#[derive(Clone, Debug, Default)]
struct Seen {
    codec: Option<Codec>,
    width: u32,
    height: u32,
    units: u64,
    bytes: u64,
    first: Option<Stamp>,
    last: Option<Stamp>,
    keyframes: Vec<Stamp>,
    frames: u64,
    range: Option<ColorRange>,
    /// Camera's clock less ours, in milliseconds.
    clock_error_ms: Option<i64>,
    /// The newest picture.
    picture: Option<Frame>,
}

/// A look at a camera that has sent pictures.
struct Look {
    url: StreamUrl,
    endpoint: Endpoint,
    seen: Seen,
    begun: Stamp,
}

/// A camera that has sent no picture after this long is given up.
const DEADLINE: Duration = Duration::from_secs(10);

/// Connects, watches for a while, and writes the report to `out`.
///
/// # Errors
/// When the camera cannot be reached, refuses, or sends nothing that can be decoded; the text says how to mend it.
pub fn probe(options: &ProbeOptions, out: &mut dyn Write) -> Result<()> {
    crate::ingest::init()?;
    let look = look(options)?;
    report(&look, out).map_err(|e| Error::io("cannot write the report", "standard output", e))?;
    look.decoded().map(drop)
}

/// [`probe`] as one line of JSON. A camera that cannot be used is an answer, too; the result says which it was.
///
/// # Errors
/// When the answer cannot be written.
pub fn probe_json(options: &ProbeOptions, out: &mut dyn Write) -> Result<bool> {
    crate::ingest::init()?;
    let probed = describe(options, Some(Vec::new()));
    let failed = |e| Error::io("cannot write the answer", "standard output", e);
    serde_json::to_writer(&mut *out, &probed).map_err(|e| failed(e.into()))?;
    out.write_all(b"\n").map_err(failed)?;
    Ok(probed.ok)
}

/// Has a child try it.
///
/// # Errors
/// What the child says; `Timeout` when it had to be killed.
pub(super) async fn in_child(program: &Path, work: &Work, sandbox: Sandbox, within: Duration) -> Result<Probed> {
    errand::send(program, &["probe", "--json"], work, sandbox, within).await
}

/// The child: what it is to try comes from standard input.
///
/// # Errors
/// An order that is none.
pub fn obey() -> Result<()> {
    errand::run(
        |_: &Work| Vec::new(),
        |work| {
            let Work { url, user, password, transport, tls_pin, seconds, picture } = work;
            Ok(describe(&ProbeOptions { url, user, password, transport, tls_pin, seconds }, picture))
        },
    )
}

/// What became of it; with a picture if there are masks for it, or none to burn in.
fn describe(options: &ProbeOptions, picture: Option<Vec<Polygon>>) -> Probed {
    let tried = look(options).and_then(|look| look.decoded().map(|()| look));
    match tried {
        Ok(look) => look.probed(picture),
        Err(e) => {
            let clean = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(800).collect();
            Probed { detail: Some(clean(e.message())), hint: e.mend().map(clean), ..Probed::default() }
        }
    }
}

fn look(options: &ProbeOptions) -> Result<Look> {
    let (url, url_user, url_password) = StreamUrl::parse(&options.url)?;
    let endpoint = Endpoint {
        url: url.expose().to_owned(),
        user: options.user.clone().or(url_user),
        password: options.password.clone().or_else(|| url_password.map(|p| p.expose().to_owned())),
        transport: options.transport,
        latency_ms: 200,
        tls_pin: options.tls_pin.clone(),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let begun = clock.now();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let decoder = Arc::new(Mutex::new(None));
    let connection = Connection::open(&endpoint, clock.clone(), watcher(seen.clone(), decoder.clone()))?;
    loop {
        if let Some(fault) = connection.poll_fault(Duration::from_millis(100)) {
            return Err(Error::new(ErrorKind::Unavailable, format!("the camera {}", fault.detail)).at(&url));
        }
        let now = clock.now();
        let first = seen.lock().unwrap_or_else(PoisonError::into_inner).first;
        match first {
            Some(first) if now.since(first) >= Duration::from_secs(options.seconds) => break,
            None if now.since(begun) >= DEADLINE => return Err(silence(&connection).at(&url)),
            _ => {}
        }
    }
    drop(connection);
    let decoder = decoder.lock().unwrap_or_else(PoisonError::into_inner).take();
    decoder.map(|d| d.finish(Duration::from_secs(2))).unwrap_or(Ok(()))?;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Look { url, endpoint, seen, begun })
}

impl Look {
    /// Whether any picture could be decoded.
    fn decoded(&self) -> Result<()> {
        if self.seen.frames > 0 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, "packets came, but no picture could be decoded from them")
            .at(&self.url)
            .hint("set the camera to plain H.264 or H.265 (no \"+\" or \"smart\" codec)"))
    }

    fn seconds(&self) -> f64 {
        let (first, last) = (self.seen.first.unwrap_or(self.begun), self.seen.last.unwrap_or(self.begun));
        last.since(first).as_secs_f64().max(0.001)
    }

    /// Frames a second.
    fn fps(&self) -> f64 {
        self.seen.units.saturating_sub(1) as f64 / self.seconds()
    }

    /// Seconds from keyframe to keyframe, where two came.
    fn keyframe_seconds(&self) -> Option<f64> {
        match self.seen.keyframes.as_slice() {
            [first, .., last] => Some(last.since(*first).as_secs_f64() / (self.seen.keyframes.len() - 1) as f64),
            _ => None,
        }
    }

    fn probed(&self, picture: Option<Vec<Polygon>>) -> Probed {
        let jpeg = picture.and_then(|masks| {
            let frame = Masks::new(masks).burn(self.seen.picture.as_ref()?);
            let taken = snapshot::take(&frame, None, &PICTURE);
            taken.map(|shot| BASE64.encode(&shot.jpeg)).map_err(|e| tracing::warn!("no picture: {e}")).ok()
        });
        Probed {
            ok: true,
            codec: self.seen.codec.map(|c| c.as_str().to_owned()),
            width: self.seen.width,
            height: self.seen.height,
            fps: self.fps() as f32,
            kbit_s: (self.seen.bytes as f64 * 8.0 / self.seconds() / 1000.0) as f32,
            keyframe_seconds: self.keyframe_seconds().map(|s| s as f32),
            jpeg,
            ..Probed::default()
        }
    }
}

/// Why no picture came in time, as far as it can be known.
fn silence(connection: &Connection) -> Error {
    let (what, hint) = match (connection.answered(), connection.packets()) {
        (false, _) => ("did not answer within ten seconds", "check its power, its cable and its address"),
        (true, 0) => ("answers but sent no video within ten seconds", "try the other --transport"),
        (true, _) => (
            "sends data, but no keyframe came within ten seconds",
            "set the camera's keyframe interval to 2 s, and plain H.264 or H.265 (no \"+\" or \"smart\" codec)",
        ),
    };
    Error::new(ErrorKind::Timeout, format!("the camera {what}")).hint(hint)
}

/// Counts what comes, and decodes it.
fn watcher(seen: Arc<Mutex<Seen>>, decoder: Arc<Mutex<Option<Decoder>>>) -> impl FnMut(AccessUnit) + Send + 'static {
    move |unit: AccessUnit| {
        let mut decoder = decoder.lock().unwrap_or_else(PoisonError::into_inner);
        if decoder.is_none() && unit.keyframe {
            let frames = seen.clone();
            let count = move |frame: Frame| {
                let mut seen = frames.lock().unwrap_or_else(PoisonError::into_inner);
                seen.frames += 1;
                (seen.width, seen.height, seen.range) = (frame.width, frame.height, Some(frame.range));
                seen.picture = Some(frame);
            };
            *decoder = Decoder::start(&unit.params, count).map_err(|e| tracing::warn!("{e}")).ok();
        }
        if decoder.as_ref().is_some_and(|d| d.feed(&unit).is_err()) {
            *decoder = None;
        }
        drop(decoder);
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.codec = Some(unit.params.codec);
        seen.units += 1;
        seen.bytes += unit.data.len() as u64;
        seen.first.get_or_insert(unit.arrived);
        seen.last = Some(unit.arrived);
        if let Some(camera) = unit.camera_time_ms {
            seen.clock_error_ms = Some(camera - unit.arrived.wall_ms);
        }
        if unit.keyframe {
            seen.keyframes.push(unit.arrived);
        }
    }
}

fn report(look: &Look, out: &mut dyn Write) -> std::io::Result<()> {
    let Look { url, endpoint, seen, begun } = look;
    let (seconds, fps) = (look.seconds(), look.fps());
    let codec = seen.codec.map_or("?", Codec::as_str);
    let gop = match look.keyframe_seconds() {
        Some(interval) => format!("{interval:.1} s"),
        None => format!("more than {seconds:.0} s (set it to 2 s in the camera)"),
    };
    writeln!(out, "camera      {url}")?;
    writeln!(out, "codec       {codec}")?;
    writeln!(out, "size        {}x{}", seen.width, seen.height)?;
    writeln!(out, "rate        {fps:.1} frames/s, {:.2} Mbit/s", seen.bytes as f64 * 8.0 / seconds / 1e6)?;
    writeln!(out, "keyframe    every {gop}")?;
    writeln!(out, "first data  after {:.1} s", seen.first.unwrap_or(*begun).since(*begun).as_secs_f64())?;
    writeln!(out, "decoded     {} of {} pictures", seen.frames, seen.units)?;
    match seen.clock_error_ms {
        Some(ms) => writeln!(out, "its clock   {:+.1} s from this machine's", ms as f64 / 1000.0)?,
        None => writeln!(out, "its clock   not told within {seconds:.0} s (if never: set NTP in the camera)")?,
    }
    if seen.width > 1280 {
        writeln!(
            out,
            "hint        this is a large stream; give the detector the camera's sub-stream and use this to record"
        )?;
    }
    writeln!(out, "\n# for cameras.toml")?;
    writeln!(out, "[[camera]]\nid = \"camera-1\"            # your name for it: a-z, 0-9 and -")?;
    writeln!(out, "name = \"\"                  # what people call it")?;
    writeln!(out, "[camera.detect]")?;
    match url.is_plain() {
        true => writeln!(out, "url = {}", toml_text(url.expose()))?,
        false => {
            writeln!(out, "# This file holds the address as you gave it: it may have a password in it.")?;
            writeln!(out, "url = \"file:/etc/wardwatch/camera-1.url\"")?;
        }
    }
    if let Some(user) = &endpoint.user {
        writeln!(out, "user = {}\npassword = \"file:/etc/wardwatch/camera-1.password\"", toml_text(user))?;
    }
    if endpoint.transport == Transport::Udp {
        writeln!(out, "transport = \"udp\"")?;
    }
    if let Some(pin) = &endpoint.tls_pin {
        writeln!(out, "tls_pin = {}", toml_text(pin))?;
    }
    writeln!(out, "fps = {:.0}", fps.clamp(1.0, 5.0))
}

fn toml_text(text: &str) -> String {
    toml::Value::from(text).to_string()
}
