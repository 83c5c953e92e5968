//! `wardwatch probe`: connects to one camera and says what it sends, with the configuration lines for it.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::SystemClock;
use crate::base::types::{AccessUnit, Codec, Frame};
use crate::base::{Clock, Error, ErrorKind, Result, Stamp};
use crate::config::{StreamUrl, Transport};
use crate::ingest::decode::Decoder;
use crate::ingest::receive::{Connection, Endpoint};

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
    range: Option<crate::base::types::ColorRange>,
}

/// Connects, watches for a while, and writes the report to `out`.
///
/// # Errors
/// When the camera cannot be reached, refuses, or sends nothing that can be decoded; the text says how to mend it.
pub fn probe(options: &ProbeOptions, out: &mut dyn Write) -> Result<()> {
    crate::ingest::init()?;
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
    let watch = watcher(seen.clone());
    let connection = Connection::open(&endpoint, clock.clone(), watch)?;
    let deadline = Duration::from_secs(10);
    loop {
        if let Some(fault) = connection.poll_fault(Duration::from_millis(100)) {
            return Err(Error::new(ErrorKind::Unavailable, format!("the camera {}", fault.detail)).at(&url));
        }
        let now = clock.now();
        let first = seen.lock().unwrap_or_else(PoisonError::into_inner).first;
        match first {
            Some(first) if now.since(first) >= Duration::from_secs(options.seconds) => break,
            None if now.since(begun) >= deadline => {
                return Err(Error::new(ErrorKind::Timeout, "the camera sent no picture within ten seconds")
                    .at(&url)
                    .hint("check the stream's path; try --transport udp"));
            }
            _ => {}
        }
    }
    drop(connection);
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    report(&url, &endpoint, &seen, begun, out)
        .map_err(|e| Error::io("cannot write the report", "standard output", e))?;
    if seen.frames == 0 {
        return Err(Error::new(ErrorKind::Invalid, "packets came, but no picture could be decoded from them")
            .at(&url)
            .hint("set the camera to plain H.264 or H.265 (no \"+\" or \"smart\" codec)"));
    }
    Ok(())
}

fn watcher(seen: Arc<Mutex<Seen>>) -> impl FnMut(AccessUnit) + Send + 'static {
    let mut decoder: Option<Decoder> = None;
    move |unit: AccessUnit| {
        let frames = seen.clone();
        if decoder.is_none() && unit.keyframe {
            let count = move |frame: Frame| {
                let mut seen = frames.lock().unwrap_or_else(PoisonError::into_inner);
                seen.frames += 1;
                (seen.width, seen.height, seen.range) = (frame.width, frame.height, Some(frame.range));
            };
            decoder = Decoder::start(&unit.params, count).map_err(|e| tracing::warn!("{e}")).ok();
        }
        if let Some(running) = &decoder
            && running.feed(&unit).is_err()
        {
            decoder = None;
        }
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.codec = Some(unit.params.codec);
        seen.units += 1;
        seen.bytes += unit.data.len() as u64;
        seen.first.get_or_insert(unit.arrived);
        seen.last = Some(unit.arrived);
        if unit.keyframe {
            seen.keyframes.push(unit.arrived);
        }
    }
}

fn report(url: &StreamUrl, endpoint: &Endpoint, seen: &Seen, begun: Stamp, out: &mut dyn Write) -> std::io::Result<()> {
    let (first, last) = (seen.first.unwrap_or(begun), seen.last.unwrap_or(begun));
    let seconds = last.since(first).as_secs_f64().max(0.001);
    let fps = seen.units.saturating_sub(1) as f64 / seconds;
    let codec = seen.codec.map_or("?", Codec::as_str);
    let gop = match seen.keyframes.as_slice() {
        [first, .., last] => {
            let interval = last.since(*first).as_secs_f64() / (seen.keyframes.len() - 1) as f64;
            format!("{interval:.1} s")
        }
        _ => format!("more than {seconds:.0} s (set it to 2 s in the camera)"),
    };
    writeln!(out, "camera      {url}")?;
    writeln!(out, "codec       {codec}")?;
    writeln!(out, "size        {}x{}", seen.width, seen.height)?;
    writeln!(out, "rate        {fps:.1} frames/s, {:.2} Mbit/s", seen.bytes as f64 * 8.0 / seconds / 1e6)?;
    writeln!(out, "keyframe    every {gop}")?;
    writeln!(out, "first data  after {:.1} s", first.since(begun).as_secs_f64())?;
    writeln!(out, "decoded     {} of {} pictures", seen.frames, seen.units)?;
    if seen.width > 1280 {
        writeln!(
            out,
            "hint        this is a large stream; give the detector the camera's sub-stream and use this to record"
        )?;
    }
    writeln!(out, "\n# for cameras.toml")?;
    writeln!(out, "[[camera]]\nid = \"camera-1\"            # your name for it: a-z, 0-9 and -")?;
    writeln!(out, "name = \"\"                  # what people call it")?;
    writeln!(out, "[camera.detect]\nurl = \"{}\"", without_secrets(url))?;
    if let Some(user) = &endpoint.user {
        writeln!(out, "user = \"{user}\"\npassword = \"file:/etc/wardwatch/camera-1.password\"")?;
    }
    if endpoint.transport == Transport::Udp {
        writeln!(out, "transport = \"udp\"")?;
    }
    if let Some(pin) = &endpoint.tls_pin {
        writeln!(out, "tls_pin = \"{pin}\"")?;
    }
    writeln!(out, "fps = {:.0}", fps.clamp(1.0, 5.0))
}

/// The path is shown, because the file needs it; what stands in a query is not, because cameras put passwords there.
fn without_secrets(url: &StreamUrl) -> String {
    let full = url.expose();
    match full.split_once('?') {
        Some((path, _)) => format!("{path}?…"),
        None => full.to_owned(),
    }
}
