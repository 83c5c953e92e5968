//! Holds: what a person, or a command of the centre, has kept from deletion. [`carry_out`] is the same for both;
//! [`command`] is `wardwatch hold`, which speaks to the running node or, when it is stopped, to its store.

use std::io::{BufRead, BufReader, ErrorKind as Os, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::clip::range;
use super::recordings::Place;
use crate::base::clock::SystemClock;
use crate::base::{Clock, Error, ErrorKind, Result, Stamp};
use crate::record::clip::{Hole, uncovered};
use crate::store::Store;
use crate::store::hold::{Hold, Holding};
use crate::wire::control::{Control, ControlAnswer, HoldJson, HoleJson, MAX_LINE};

/// A node that is busy may take a moment.
const PATIENCE: Duration = Duration::from_secs(30);
/// Characters of a reason.
const MAX_REASON: usize = 1000;

/// The running node's door for commands at this machine.
pub(super) fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join("run").join("node.sock")
}

/// Does what is wanted in the node's store.
pub async fn carry_out(store: &Store, wanted: Control, now: Stamp) -> Result<ControlAnswer> {
    match wanted {
        Control::Hold(hold) => {
            if hold.reason.is_empty() || hold.reason.chars().count() > MAX_REASON {
                return Err(Error::new(ErrorKind::Invalid, format!("a reason has 1 to {MAX_REASON} characters")));
            }
            let (from_ms, to_ms) = (hold.from_ms, hold.to_ms);
            // What is yet to come is not missing.
            let until = to_ms.min(now.wall_ms);
            let holes =
                |segments: &[_], gaps: &[_]| uncovered(from_ms, until, segments, gaps).iter().map(json).collect();
            Ok(match store.hold(from_json(hold)?, now).await? {
                Holding::Held { segments, gaps, clips } => ControlAnswer::Held {
                    segments: u32::try_from(segments.len()).unwrap_or(u32::MAX),
                    clips,
                    bytes: segments.iter().map(|s| s.bytes).sum(),
                    holes: holes(&segments, &gaps),
                },
                Holding::TooLate { gaps } => ControlAnswer::TooLate { holes: holes(&[], &gaps) },
            })
        }
        Control::Release { id } => Ok(ControlAnswer::Released { hold: store.release(id).await?.as_ref().map(to_json) }),
        Control::Holds => Ok(ControlAnswer::Holds { holds: store.holds().await?.iter().map(to_json).collect() }),
    }
}

fn json(hole: &Hole) -> HoleJson {
    HoleJson { from_ms: hole.start_ms, to_ms: hole.end_ms, why: hole.why.as_str().to_owned() }
}

fn to_json(hold: &Hold) -> HoldJson {
    let Hold { id, camera, from_ms, to_ms, reason, issuer } = hold.clone();
    HoldJson { id, camera: camera.to_string(), from_ms, to_ms, reason, issuer }
}

fn from_json(hold: HoldJson) -> Result<Hold> {
    let HoldJson { id, camera, from_ms, to_ms, reason, issuer } = hold;
    Ok(Hold { id, camera: camera.parse()?, from_ms, to_ms, reason, issuer })
}

/// What `wardwatch hold` is to do.
pub enum What {
    Hold { camera: String, from: String, to: String, reason: String },
    Release { id: String },
    List,
}

/// Does it and writes what became of it to `out`; false when nothing is left to hold, or there is no such hold.
///
/// # Errors
/// `Config` for a wrong configuration or argument.
pub fn command(config: &Path, what: What, out: &mut dyn Write) -> Result<bool> {
    let place = Place::load(config)?;
    let now = SystemClock.now();
    let wanted = match what {
        What::Hold { camera, from, to, reason } => {
            let range = range(&camera, &from, &to)?;
            let (id, issuer) = (super::boot_id(now), issuer());
            let (from_ms, to_ms) = (range.from_ms, range.to_ms);
            Control::Hold(HoldJson { id, camera: range.camera.to_string(), from_ms, to_ms, reason, issuer })
        }
        What::Release { id } => Control::Release { id },
        What::List => Control::Holds,
    };
    let answer = match ask(&socket(&place.node.state_dir), &wanted)? {
        Some(answer) => answer,
        None => place.alone(async |store| carry_out(store, wanted.clone(), now).await)?,
    };
    let (text, done) = describe(&place, &wanted, answer)?;
    out.write_all(text.as_bytes()).map_err(|e| Error::io("cannot write the report", "standard output", e))?;
    Ok(done)
}

/// Who sits at this machine, for whoever reads of the hold later.
pub(super) fn issuer() -> String {
    let named = |name| std::env::var(name).ok().filter(|user| !user.is_empty());
    let user = named("SUDO_USER").or_else(|| named("USER"));
    format!("local:{}", user.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string()))
}

/// The running node's answer; `None` when none runs.
fn ask(socket: &Path, wanted: &Control) -> Result<Option<ControlAnswer>> {
    let io = |e| Error::io("the node does not answer", socket, e);
    let mut stream = match UnixStream::connect(socket) {
        Err(e) if matches!(e.kind(), Os::NotFound | Os::ConnectionRefused) => return Ok(None),
        connected => connected.map_err(io)?,
    };
    stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE))).map_err(io)?;
    let mut line = serde_json::to_vec(wanted)
        .map_err(|e| Error::new(ErrorKind::Internal, "the command cannot be written as JSON").source(e))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(io)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut answer).map_err(io)?;
    serde_json::from_str(&answer)
        .map(Some)
        .map_err(|e| Error::new(ErrorKind::Invalid, "the node's answer cannot be understood").source(e))
}

fn describe(place: &Place, wanted: &Control, answer: ControlAnswer) -> Result<(String, bool)> {
    let line = |h: &HoldJson| {
        let (from, to) = (place.time(h.from_ms), place.time(h.to_ms));
        format!("{}  {}  {from} to {to}  {}  {}\n", h.id, h.camera, h.issuer, h.reason)
    };
    let missing = |holes: &[HoleJson]| -> String {
        let one = |h: &HoleJson| format!("missing  {} to {}: {}\n", place.time(h.from_ms), place.time(h.to_ms), h.why);
        holes.iter().map(one).collect()
    };
    Ok(match answer {
        ControlAnswer::Held { segments, clips, bytes, holes } => {
            let id = match wanted {
                Control::Hold(hold) => hold.id.as_str(),
                _ => "",
            };
            (
                format!(
                    "held     {id}\nkeeps    {segments} recordings of {bytes} bytes, {clips} clips\n{}",
                    missing(&holes)
                ),
                true,
            )
        }
        ControlAnswer::TooLate { holes } => {
            (format!("too late: nothing of this range is left, nothing is held\n{}", missing(&holes)), false)
        }
        ControlAnswer::Released { hold: Some(hold) } => (format!("released {}", line(&hold)), true),
        ControlAnswer::Released { hold: None } => ("there is no such hold\n".to_owned(), false),
        ControlAnswer::Holds { holds } => (holds.iter().map(line).collect(), true),
        ControlAnswer::Refused { reason } => return Err(Error::new(ErrorKind::Invalid, reason)),
    })
}
