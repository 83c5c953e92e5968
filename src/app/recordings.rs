//! `wardwatch fsck` as a person calls it. It reads the node's index beside a running node; only `fsck --repair` writes, and
//! needs the node to be stopped.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::node::clips::keep::named;
use crate::base::clock::SystemClock;
use crate::base::types::{CameraId, Segment, SegmentState};
use crate::base::{Clock, Error, ErrorKind, Result};
use crate::config::{self, NodeConfig, WardwatchConfig, load_site};
use crate::record::clips;
use crate::record::fsck::{self, Depth, Problem, Totals};
use crate::record::retention;
use crate::store::reader::Reader;
use crate::store::{Settings, Store, sqlite};
use crate::wire::event::{Origin, rfc3339};

/// A site's node, as these commands need it.
pub(super) struct Place {
    pub(super) node: NodeConfig,
    ward: String,
    timezone: TimeZone,
}

impl Place {
    pub(super) fn load(config: &Path) -> Result<Self> {
        let WardwatchConfig { node, ward, timezone, .. } = load_site(config)?;
        let node = node
            .ok_or_else(|| Error::new(ErrorKind::Config, "has no [node] and so no recordings").at(config.display()))?;
        let timezone = TimeZone::get(&timezone)
            .map_err(|e| Error::new(ErrorKind::Config, "the site's time zone is unknown").source(e))?;
        Ok(Self { node, ward, timezone })
    }

    pub(super) fn database(&self) -> PathBuf {
        self.node.state_dir.join("node.db")
    }

    /// Runs `work` with the store of a node that does not run.
    pub(super) fn alone<T>(&self, work: impl AsyncFnOnce(&Store) -> Result<T>) -> Result<T> {
        let now = SystemClock.now();
        let origin = Origin {
            ward: self.ward.clone(),
            node: self.node.name.clone(),
            boot_id: super::boot_id(now),
            timezone: self.timezone.clone(),
        };
        let settings = Settings {
            origin,
            snapshot_quota_bytes: self.node.snapshot_quota_bytes,
            ballast_bytes: crate::store::BALLAST,
        };
        let (store, writer, _) = Store::open(&self.database(), settings, now)?;
        let writer = super::thread("store", move || writer.run())?;
        let done = super::run::runtime()?.block_on(work(&store));
        drop(store);
        super::join(writer);
        done
    }

    pub(super) fn time(&self, ms: i64) -> String {
        rfc3339(ms, &self.timezone)
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
    let (clips, of_clips) = survey_clips(&place, depth, out)?;
    let Totals { segments, fragments, bytes } = totals;
    let found = problems.len() + of_clips.len();
    let text = format!("{segments} segments, {fragments} fragments, {bytes} bytes, {clips} clips looked at");
    say(out, &format!("{text}; {found} problems"))?;
    if !repair || found == 0 {
        return Ok(found == 0);
    }
    let left = problems.iter().filter(|p| !p.mendable()).count() + of_clips.iter().filter(|p| !p.mendable()).count();
    mend(&place, &problems, &of_clips)?;
    say(out, &format!("{} mended, {left} left", found - left))?;
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

/// Compares the clips with their index and says what is wrong; also how many there are.
fn survey_clips(place: &Place, depth: Depth, out: &mut dyn Write) -> Result<(usize, Vec<clips::Problem>)> {
    let rows: Vec<clips::Named> = Reader::open(&place.database())?.clips()?.into_iter().map(named).collect();
    let dir = place.node.record.clips_dir();
    let problems = clips::compare(&dir, &rows, depth.live, depth.hashes, depth.now_ms)?;
    for problem in &problems {
        let text = match problem {
            clips::Problem::NoFile { path, held, .. } => {
                format!(
                    "no file      {path}: a clip that the index knows is gone{}",
                    if *held { "; it was HELD" } else { "" }
                )
            }
            clips::Problem::NoRow { path } => format!("no row       {path}: a clip that the index does not know"),
            clips::Problem::Damaged { path } => {
                format!("DAMAGED      {path}: a clip whose bytes are not what its name says")
            }
            clips::Problem::Temporary { path } => format!("temporary    {path}: a clip that was not finished"),
            clips::Problem::Foreign { path } => {
                format!("foreign      {path}: not of wardwatch's making; it is left alone")
            }
        };
        say(out, &text.replacen(": ", &format!(" in {}: ", config::CLIPS), 1))?;
    }
    Ok((rows.len(), problems))
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
fn mend(place: &Place, problems: &[Problem], of_clips: &[clips::Problem]) -> Result<()> {
    place.alone(async |store| {
        for problem in problems {
            mend_one(store, &place.node.record.dir, problem).await?;
        }
        for problem in of_clips {
            if let clips::Problem::NoFile { id, .. } = problem {
                store.forget_clip(*id).await?;
            }
            clips::clear(&place.node.record.clips_dir(), problem)?;
        }
        Ok(())
    })
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
