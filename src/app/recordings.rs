//! `wardwatch clip` and `wardwatch fsck` as a person calls them. Both read the node's index beside a running node; only
//! `fsck --repair` writes, and needs the node to be stopped.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use crate::base::clock::SystemClock;
use crate::base::types::{CameraId, GapReason, Segment, SegmentState};
use crate::base::{Clock, Error, ErrorKind, Result};
use crate::config::{NodeConfig, WardwatchConfig, load_site};
use crate::record::clip::{self, ClipReport, Hole, Request, Why};
use crate::record::fsck::{self, Depth, Problem, Totals};
use crate::record::retention;
use crate::store::reader::Reader;
use crate::store::{Settings, Store, sqlite};
use crate::wire::event::{Origin, parse_rfc3339, rfc3339};

/// The arguments of `wardwatch clip`.
pub struct ClipCommand {
    pub config: PathBuf,
    pub camera: String,
    /// RFC 3339.
    pub from: String,
    /// RFC 3339.
    pub to: String,
    pub output: PathBuf,
}

/// A site's node, as these commands need it.
struct Place {
    node: NodeConfig,
    ward: String,
    timezone: TimeZone,
}

impl Place {
    fn load(config: &Path) -> Result<Self> {
        let WardwatchConfig { node, ward, timezone, .. } = load_site(config)?;
        let node = node
            .ok_or_else(|| Error::new(ErrorKind::Config, "has no [node] and so no recordings").at(config.display()))?;
        let timezone = TimeZone::get(&timezone)
            .map_err(|e| Error::new(ErrorKind::Config, "the site's time zone is unknown").source(e))?;
        Ok(Self { node, ward, timezone })
    }

    fn database(&self) -> PathBuf {
        self.node.state_dir.join("node.db")
    }

    fn time(&self, ms: i64) -> String {
        rfc3339(ms, &self.timezone)
    }
}

/// Cuts a clip and writes the report to `out`.
///
/// # Errors
/// `Config` for a wrong configuration or argument; `NotFound` when nothing of the range is recorded, and why.
pub fn cut_clip(command: &ClipCommand, out: &mut dyn Write) -> Result<()> {
    let place = Place::load(&command.config)?;
    let argument = |name: &str, e: Error| {
        Error::new(ErrorKind::Config, format!("{name}: {e}")).hint("for example 2026-11-24T02:10:00+07:00")
    };
    let camera: CameraId = command.camera.parse().map_err(|e| argument("--camera", e))?;
    let from_ms = parse_rfc3339(&command.from).map_err(|e| argument("--from", e))?;
    let to_ms = parse_rfc3339(&command.to).map_err(|e| argument("--to", e))?;
    if to_ms <= from_ms {
        return Err(Error::new(ErrorKind::Config, "--to is not after --from"));
    }
    let reader = Reader::open(&place.database())?;
    let segments = reader.segments(&camera, from_ms, to_ms)?;
    let gaps = reader.gaps(&camera, from_ms, to_ms)?;
    let request = Request { camera, from_ms, to_ms };
    let cut = clip::cut(&place.node.record.dir, &request, &segments, &gaps, &command.output);
    let report = cut.map_err(|e| match (e.kind(), reader.cameras()) {
        (ErrorKind::NotFound, Ok(known)) if !known.contains(&request.camera) => {
            let known: Vec<&str> = known.iter().map(CameraId::as_str).collect();
            e.hint(format!(
                "cameras with recordings: {}",
                if known.is_empty() { "none".into() } else { known.join(", ") }
            ))
        }
        _ => e,
    })?;
    let text = describe(&report, &request, &place, &command.output);
    out.write_all(text.as_bytes()).map_err(|e| Error::io("cannot write the report", "standard output", e))
}

fn describe(report: &ClipReport, request: &Request, place: &Place, output: &Path) -> String {
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
        report.bytes,
    );
    for Hole { start_ms, end_ms, why } in &report.holes {
        let line = format!("missing  {} to {}: {} ({})\n", time(*start_ms), time(*end_ms), why.as_str(), meaning(*why));
        text.push_str(&line);
    }
    if let Some(at) = report.changed_at_ms {
        let at = time(at);
        text.push_str(&format!("ends     {at}: the camera changed its stream; ask for the rest with --from {at}\n"));
    }
    text.push_str(&format!("sha256   {}\n", report.sha256));
    text
}

fn meaning(why: Why) -> &'static str {
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

/// Compares recordings and index, writes each problem to `out`, mends what can be mended if `repair`; whether everything
/// is in order now.
///
/// # Errors
/// `Config` for a wrong configuration, `Unavailable` for a repair while the node runs.
pub fn check_recordings(config: &Path, repair: bool, out: &mut dyn Write) -> Result<bool> {
    let place = Place::load(config)?;
    let database = place.database();
    let live = sqlite::in_use(&database);
    if repair && live {
        return Err(Error::new(ErrorKind::Unavailable, "the node is running and would write to what is repaired")
            .at(database.display())
            .hint("stop it first; without --repair it may run"));
    }
    let dir = &place.node.record.dir;
    if repair && fsck::cameras(dir)?.is_empty() && !Reader::open(&database)?.cameras()?.is_empty() {
        // With its disk not mounted every row would look as if its file were gone.
        return Err(Error::new(ErrorKind::Unavailable, "there are no recordings at all, but the index knows some")
            .at(dir.display())
            .hint("is the disk mounted?"));
    }
    let depth = Depth { hashes: true, live, now_ms: SystemClock.now().wall_ms };
    let mut problems = Vec::new();
    let totals = survey(&place, depth, &mut |problem| {
        say(out, &explain(&problem, &place))?;
        problems.push(problem);
        Ok(())
    })?;
    let Totals { segments, fragments, bytes } = totals;
    let found = problems.len();
    say(out, &format!("{segments} segments, {fragments} fragments, {bytes} bytes looked at; {found} problems"))?;
    if !repair || problems.is_empty() {
        return Ok(problems.is_empty());
    }
    let left = problems.iter().filter(|p| !p.mendable()).count();
    mend(&place, &problems)?;
    say(out, &format!("{} mended, {left} left", problems.len() - left))?;
    Ok(left == 0)
}

fn say(out: &mut dyn Write, line: &str) -> Result<()> {
    writeln!(out, "{line}").map_err(|e| Error::io("cannot write the report", "standard output", e))
}

fn survey(place: &Place, depth: Depth, found: &mut dyn FnMut(Problem) -> Result<()>) -> Result<Totals> {
    let dir = &place.node.record.dir;
    let reader = Reader::open(&place.database())?;
    let mut cameras: BTreeSet<String> = fsck::cameras(dir)?;
    cameras.extend(reader.cameras()?.iter().map(|c| c.as_str().to_owned()));
    let mut totals = Totals::default();
    for camera in cameras {
        let Ok(id) = camera.parse::<CameraId>() else {
            found(Problem::Foreign { path: camera })?;
            continue;
        };
        let disk = fsck::list(dir, &camera, depth.now_ms)?;
        let rows = reader.all(&id)?;
        let of_camera = fsck::compare(dir, &disk, &rows, depth, found)?;
        totals.segments += of_camera.segments;
        totals.fragments += of_camera.fragments;
        totals.bytes += of_camera.bytes;
    }
    Ok(totals)
}

fn explain(problem: &Problem, place: &Place) -> String {
    let path = problem.path();
    let since = |s: &Segment| place.time(s.start_ms);
    match problem {
        Problem::NoRow(s) => format!("no row       {path}: of {}, the index does not know it", since(s)),
        Problem::NoFile(s) => {
            let held = if s.held { "; it was HELD" } else { "" };
            format!("no file      {path}: of {}, the index knows it but it is gone{held}", since(s))
        }
        Problem::LeftOpen(s) => format!("left open    {path}: of {}, its writer was cut off", since(s)),
        Problem::Damaged { fragment, at_ms, why, .. } => {
            format!("DAMAGED      {path}: fragment {fragment} of {}: {why}", place.time(*at_ms))
        }
        Problem::NoSidecar { why, .. } => format!("no sidecar   {path}: {why}"),
        Problem::OrphanSidecar { .. } => format!("orphan       {path}: a sidecar without its recording"),
        Problem::Temporary { .. } => format!("temporary    {path}: left behind by a write that was cut off"),
        Problem::Foreign { .. } => format!("foreign      {path}: not of wardwatch's making; it is left alone"),
    }
}

/// Mends what can be mended, with the store for itself.
fn mend(place: &Place, problems: &[Problem]) -> Result<()> {
    let now = SystemClock.now();
    let origin = Origin {
        ward: place.ward.clone(),
        node: place.node.name.clone(),
        boot_id: super::boot_id(now),
        timezone: place.timezone.clone(),
    };
    let settings = Settings {
        origin,
        snapshot_quota_bytes: place.node.snapshot_quota_bytes,
        ballast_bytes: crate::store::BALLAST,
    };
    let (store, writer, _) = Store::open(&place.database(), settings, now)?;
    let writer = super::thread("store", move || writer.run())?;
    let dir = place.node.record.dir.clone();
    let mended = super::run::runtime()?.block_on(async {
        for problem in problems {
            mend_one(&store, &dir, problem).await?;
        }
        Ok(())
    });
    drop(store);
    super::join(writer);
    mended
}

/// Mends one problem; one that cannot be mended is left.
pub(super) async fn mend_one(store: &Store, dir: &Path, problem: &Problem) -> Result<()> {
    match problem {
        Problem::NoRow(s) | Problem::LeftOpen(s) => {
            store.segment_closed(Segment { state: SegmentState::Recovered, ..s.clone() }).await.map(drop)
        }
        Problem::NoFile(s) => {
            store.remove_segment(s.id).await?;
            // Its sidecar, if that stayed behind.
            retention::unlink(dir, &s.path)
        }
        Problem::OrphanSidecar { path } | Problem::Temporary { path } => {
            let path = dir.join(path);
            match std::fs::remove_file(&path) {
                // A sidecar leaves with the row of its recording.
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::io("cannot remove what was left behind", &path, e))
                }
                _ => Ok(()),
            }
        }
        Problem::Damaged { .. } | Problem::NoSidecar { .. } | Problem::Foreign { .. } => Ok(()),
    }
}
