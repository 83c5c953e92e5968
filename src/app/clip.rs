//! `wardwatch clip` as a person calls it, beside a running node or without one. What a camera has or had masked is burned
//! in; there is no way to a clip of such a camera without it.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::recordings::Place;
use super::transcode;
use crate::base::geometry::Polygon;
use crate::base::types::{CameraId, Codec, GapReason};
use crate::base::{Error, ErrorKind, Result};
use crate::config;
use crate::record::clip::{self, ClipReport, Hole, Request, Why};
use crate::record::{clips, read};
use crate::store::reader::Reader;
use crate::wire::event::parse_rfc3339;

/// The arguments of `wardwatch clip`.
pub struct ClipCommand {
    pub config: PathBuf,
    pub camera: String,
    /// RFC 3339.
    pub from: String,
    /// RFC 3339.
    pub to: String,
    pub output: PathBuf,
    /// As H.264, whatever the camera sends.
    pub h264: bool,
    /// The wardwatch binary, for encoding.
    pub program: PathBuf,
}

/// What was written.
struct Made {
    report: ClipReport,
    bytes: u64,
    sha256: String,
    /// What was done to the pictures, if they are not those of the recording.
    anew: Option<&'static str>,
}

/// A camera and a range as a person gives them.
///
/// # Errors
/// `Config`, naming the argument.
pub(super) fn range(camera: &str, from: &str, to: &str) -> Result<Request> {
    let argument = |name: &str, e: Error| {
        Error::new(ErrorKind::Config, format!("{name}: {e}")).hint("for example 2026-11-24T02:10:00+07:00")
    };
    let camera: CameraId = camera.parse().map_err(|e| argument("--camera", e))?;
    let from_ms = parse_rfc3339(from).map_err(|e| argument("--from", e))?;
    let to_ms = parse_rfc3339(to).map_err(|e| argument("--to", e))?;
    if to_ms <= from_ms {
        return Err(Error::new(ErrorKind::Config, "--to is not after --from"));
    }
    Ok(Request { camera, from_ms, to_ms })
}

/// Cuts a clip and writes the report to `out`.
///
/// # Errors
/// `Config` for a wrong configuration or argument; `NotFound` when nothing of the range is recorded, and why.
pub fn cut_clip(command: &ClipCommand, out: &mut dyn Write) -> Result<()> {
    let place = Place::load(&command.config)?;
    let request = range(&command.camera, &command.from, &command.to)?;
    let reader = Reader::open(&place.database())?;
    let made = make(command, &place, &reader, &request).map_err(|e| match (e.kind(), reader.cameras()) {
        (ErrorKind::NotFound, Ok(known)) if !known.contains(&request.camera) => {
            let known: Vec<&str> = known.iter().map(CameraId::as_str).collect();
            e.hint(format!(
                "cameras with recordings: {}",
                if known.is_empty() { "none".into() } else { known.join(", ") }
            ))
        }
        _ => e,
    })?;
    let text = describe(&made, &request, &place, &command.output);
    out.write_all(text.as_bytes()).map_err(|e| Error::io("cannot write the report", "standard output", e))
}

/// Makes the clip beside its place, and gives it its name when it is whole and may be seen.
fn make(command: &ClipCommand, place: &Place, reader: &Reader, request: &Request) -> Result<Made> {
    let output = &command.output;
    if output.exists() {
        return Err(Error::new(ErrorKind::Invalid, "the file is there already and is not overwritten")
            .at(output.display())
            .hint("name another file with -o"));
    }
    let Request { camera, from_ms, to_ms } = request;
    let segments = reader.segments(camera, *from_ms, *to_ms)?;
    let gaps = reader.gaps(camera, *from_ms, *to_ms)?;
    let directory = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let work = clips::workspace(directory)?;
    let mut file = work.path().join("cut.mp4");
    let report = clip::cut(&place.node.record.dir, request, &segments, &gaps, &file)?;
    let masks = masks(place, reader, camera, &report)?;
    let anew = match (masks.is_empty(), command.h264 && report.codec != Codec::H264) {
        (false, _) => Some("made anew as H.264, with the camera's masks burned in"),
        (true, true) => Some("made anew as H.264"),
        (true, false) => None,
    };
    let (mut bytes, mut sha256) = (report.bytes, report.sha256.clone());
    if anew.is_some() {
        let copy = work.path().join("anew.mp4");
        let order = transcode::request(&file, &copy, masks, &report);
        let made = transcode::in_child(&command.program, &order, place.node.sandbox);
        super::run::runtime()?.block_on(made).map_err(|e| e.camera(camera))?;
        (bytes, sha256) = clips::fingerprint(&copy)?;
        file = copy;
    }
    let failed = |e| Error::io("cannot write the clip", output, e);
    let whole = tempfile::TempPath::try_from_path(file).map_err(failed)?;
    whole.persist_noclobber(output).map_err(|e| failed(e.error))?;
    read::sync_directory(directory)?;
    Ok(Made { report, bytes, sha256, anew })
}

/// Every mask that was in force while the clip was recorded, and those of the document as it is now.
fn masks(place: &Place, reader: &Reader, camera: &CameraId, report: &ClipReport) -> Result<Vec<Polygon>> {
    let history = reader.masks(camera, report.from_ms, report.to_ms)?;
    // Only the masks matter here: rules and labels are checked by whoever applies the document.
    let document = config::load_cameras(&place.node.cameras, &|_, _, _| Ok(()));
    let now = document.as_ref().ok().and_then(|d| d.cameras.iter().find(|c| c.id == *camera));
    if history.is_none() && now.is_none() {
        let why = document.err().map_or_else(|| "it is not in the cameras document".to_owned(), |e| e.to_string());
        return Err(Error::new(ErrorKind::Config, format!("nothing is known of its masks, so no clip is made: {why}"))
            .camera(camera)
            .hint("add the camera, with its masks, to the cameras document"));
    }
    let mut all = history.unwrap_or_default();
    for mask in now.into_iter().flat_map(|c| &c.masks) {
        if !all.contains(mask) {
            all.push(mask.clone());
        }
    }
    Ok(all)
}

fn describe(made: &Made, request: &Request, place: &Place, output: &Path) -> String {
    let report = &made.report;
    let time = |ms| place.time(ms);
    let mut text = format!(
        "clip     {}\ncamera   {}\nasked    {} to {}\ncovers   {} to {}\nplays    {}.{:03} s, {} fragments, {} bytes\n",
        output.display(),
        request.camera,
        time(request.from_ms),
        time(request.to_ms),
        time(report.from_ms),
        time(report.to_ms),
        report.duration_ms / 1000,
        report.duration_ms % 1000,
        report.fragments,
        made.bytes,
    );
    if let Some(anew) = made.anew {
        text.push_str(&format!("pictures {anew}\n"));
    }
    for Hole { start_ms, end_ms, why } in &report.holes {
        let line = format!("missing  {} to {}: {} ({})\n", time(*start_ms), time(*end_ms), why.as_str(), meaning(*why));
        text.push_str(&line);
    }
    if let Some(at) = report.changed_at_ms {
        let at = time(at);
        text.push_str(&format!("ends     {at}: the camera changed its stream; ask for the rest with --from {at}\n"));
    }
    text.push_str(&format!("sha256   {}\n", made.sha256));
    text
}

pub(super) fn meaning(why: Why) -> &'static str {
    match why {
        Why::Gap(GapReason::Offline) => "the camera sent nothing",
        Why::Gap(GapReason::Paused) => "recording was held up",
        Why::Gap(GapReason::DiskFull) => "the disk was full",
        Why::Gap(GapReason::NodeDown) => "wardwatch was not running",
        Why::Gap(GapReason::Schedule) => "outside of the recording hours",
        Why::Gap(GapReason::CodecChange) => "the camera changed its stream",
        Why::Gap(GapReason::Off) => "recording was switched off",
        Why::Damaged => "it was recorded, but the file is damaged or gone: see `wardwatch fsck`",
        Why::Unknown => "never recorded, deleted after its time, or not recorded yet",
    }
}
