//! Whether what lies on disk and what the index says agree. It only looks: rows and files are mended by `app`, which has
//! the store. One camera at a time, so that memory stays small.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::read::SegmentFile;
use super::segment::{Sidecar, sidecar_path};
use crate::base::types::{Fragment, Segment, SegmentState};
use crate::base::{Error, ErrorKind, Result};
use crate::config::CLIPS;

/// A file of a recording that changed so recently may be about to get its row.
const FRESH_MS: i64 = 60_000;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A recording that the index does not know; its sidecar says this of it.
    NoRow(Segment),
    /// The index knows a recording whose file is not there.
    NoFile(Segment),
    /// A recording of a run that is over was never ended; its sidecar says this of it.
    LeftOpen(Segment),
    /// Bytes are not what was written, or are not there.
    Damaged { path: String, fragment: usize, at_ms: i64, why: String },
    /// A recording without a readable sidecar.
    NoSidecar { path: String, why: String },
    /// A sidecar without its recording.
    OrphanSidecar { path: String },
    /// Left behind by a write that was cut off.
    Temporary { path: String },
    /// Not of the recorder's making; it is left alone.
    Foreign { path: String },
}

impl Problem {
    /// The file concerned, below the recording directory.
    pub fn path(&self) -> &str {
        match self {
            Self::NoRow(s) | Self::NoFile(s) | Self::LeftOpen(s) => &s.path,
            Self::Damaged { path, .. }
            | Self::NoSidecar { path, .. }
            | Self::OrphanSidecar { path }
            | Self::Temporary { path }
            | Self::Foreign { path } => path,
        }
    }

    /// Whether `--repair` can do something about it.
    pub fn mendable(&self) -> bool {
        !matches!(self, Self::Damaged { .. } | Self::NoSidecar { .. } | Self::Foreign { .. })
    }
}

/// How thoroughly to look.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// Every fragment's hash.
    pub hashes: bool,
    /// A node is recording: what it writes right now is no problem.
    pub live: bool,
    pub now_ms: i64,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub segments: u64,
    pub fragments: u64,
    pub bytes: u64,
}

/// What is in a camera's directory: relative paths and whether each changed just now.
#[derive(Debug, Default)]
pub struct Disk {
    recordings: BTreeMap<String, bool>,
    sidecars: BTreeMap<String, bool>,
    others: BTreeSet<String>,
}

/// The cameras that have a directory below `dir`; none when there is no `dir`.
pub fn cameras(dir: &Path) -> Result<BTreeSet<String>> {
    let is_camera = |entry: &(String, bool, i64)| entry.1 && entry.0 != CLIPS;
    Ok(entries(dir)?.into_iter().filter(is_camera).map(|(name, ..)| name).collect())
}

/// Lists a camera's files. To be called before its rows are read: a file that is there by then has its row soon.
pub fn list(dir: &Path, camera: &str, now_ms: i64) -> Result<Disk> {
    let mut disk = Disk::default();
    for (day, is_dir, _) in entries(&dir.join(camera))? {
        if !is_dir {
            disk.others.insert(format!("{camera}/{day}"));
            continue;
        }
        list_day(&mut disk, dir, &format!("{camera}/{day}"), now_ms)?;
    }
    Ok(disk)
}

/// [`list`] for one day's directory only.
pub fn list_day(disk: &mut Disk, dir: &Path, day: &str, now_ms: i64) -> Result<()> {
    for (name, is_dir, changed_ms) in entries(&dir.join(day))? {
        let path = format!("{day}/{name}");
        let fresh = now_ms - changed_ms < FRESH_MS;
        match name.rsplit_once('.') {
            Some((_, "mp4")) if !is_dir => disk.recordings.insert(path, fresh).is_some(),
            Some((_, "json")) if !is_dir => disk.sidecars.insert(path, fresh).is_some(),
            _ => disk.others.insert(path),
        };
    }
    Ok(())
}

/// Compares `disk` with `rows`, the index's segments of the same files, and tells `found` of each problem.
///
/// # Errors
/// The disk cannot be read, or `found` fails.
pub fn compare(
    dir: &Path,
    disk: &Disk,
    rows: &[Segment],
    depth: Depth,
    found: &mut dyn FnMut(Problem) -> Result<()>,
) -> Result<Totals> {
    let mut totals = Totals::default();
    let known: BTreeMap<&str, &Segment> = rows.iter().map(|r| (r.path.as_str(), r)).collect();
    for row in rows.iter().filter(|r| !disk.recordings.contains_key(&r.path)) {
        // It may have been made since the disk was listed.
        if !dir.join(&row.path).exists() {
            found(Problem::NoFile(row.clone()))?;
        }
    }
    for (path, fresh) in &disk.recordings {
        let row = known.get(path.as_str()).copied();
        if row.is_none() && depth.live && *fresh {
            continue;
        }
        check_one(dir, path, row, depth, &mut totals, found)?;
    }
    for (path, fresh) in &disk.sidecars {
        let mp4 = Path::new(path).with_extension("mp4");
        let alone = !disk.recordings.contains_key(mp4.to_string_lossy().as_ref()) && !dir.join(&mp4).exists();
        if alone && dir.join(path).exists() && !(depth.live && *fresh) {
            found(Problem::OrphanSidecar { path: path.clone() })?;
        }
    }
    for path in &disk.others {
        let name = path.rsplit('/').next().unwrap_or(path);
        let ours = name.ends_with(".tmp") || name.starts_with(".wardwatch-");
        let path = path.clone();
        found(if ours { Problem::Temporary { path } } else { Problem::Foreign { path } })?;
    }
    Ok(totals)
}

fn check_one(
    dir: &Path,
    path: &str,
    row: Option<&Segment>,
    depth: Depth,
    totals: &mut Totals,
    found: &mut dyn FnMut(Problem) -> Result<()>,
) -> Result<()> {
    let mp4 = dir.join(path);
    let (sidecar, damaged_line) = match read(&mp4) {
        Ok(read) => read,
        // Retention took it since the disk was listed.
        Err(_) if !mp4.exists() => return Ok(()),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
            return found(Problem::NoSidecar { path: path.to_owned(), why: e.message().to_owned() });
        }
        Err(e) => return Err(e),
    };
    totals.segments += 1;
    match row {
        None => found(Problem::NoRow(row_of(&sidecar, path)))?,
        Some(row) if row.state == SegmentState::Open && !depth.live => {
            found(Problem::LeftOpen(Segment { id: row.id, held: row.held, ..row_of(&sidecar, path) }))?;
        }
        Some(_) => {}
    }
    if let Some(line) = damaged_line {
        let why = format!("line {line} of the sidecar makes no sense; what follows it does not count");
        damaged(path, sidecar.fragments.len(), sidecar.end_ms(), why, found)?;
    }
    let size = std::fs::metadata(&mp4).map_err(|e| Error::io("cannot look at the recording", &mp4, e))?.len();
    let mut file = SegmentFile::open(&mp4)?;
    if depth.hashes
        && let Some(why) = damage(file.init(&sidecar.header))?
    {
        damaged(path, 0, sidecar.header.start_wall_ms, why, found)?;
    }
    for (n, fragment) in sidecar.fragments.iter().enumerate() {
        totals.fragments += 1;
        totals.bytes += fragment.bytes;
        if let Some(why) = wrong(&mut file, fragment, size, depth.hashes)? {
            damaged(path, n, fragment.wall_ms, why, found)?;
        }
    }
    Ok(())
}

/// The sidecar of `mp4`, and the number of its first line that makes no sense though more follow: a torn last line, or
/// zeros in its place, is what a power cut leaves and no damage.
fn read(mp4: &Path) -> Result<(Sidecar, Option<usize>)> {
    let path = sidecar_path(mp4);
    let bytes = std::fs::read(&path).map_err(|e| Error::io("there is no sidecar", &path, e))?;
    let sidecar = Sidecar::parse(&bytes)?;
    let understood = 1 + sidecar.fragments.len() + usize::from(sidecar.closing.is_some());
    let mut rest = bytes.split(|b| *b == b'\n').skip(understood);
    let torn = rest.next().is_some_and(|line| !line.is_empty());
    let more = rest.any(|line| line.iter().any(|b| *b != 0));
    Ok((sidecar, (torn && more).then_some(understood + 1)))
}

/// The index's row for a file, from its sidecar.
fn row_of(sidecar: &Sidecar, path: &str) -> Segment {
    let sha256 = sidecar.closing.as_ref().map(|c| c.sha256.clone());
    sidecar.segment(path.to_owned(), sha256, SegmentState::Recovered)
}

/// What is wrong with a fragment.
fn wrong(file: &mut SegmentFile, fragment: &Fragment, size: u64, hash: bool) -> Result<Option<String>> {
    if fragment.offset.saturating_add(fragment.bytes) > size {
        return Ok(Some(format!("the file has only {size} bytes")));
    }
    if !hash {
        return Ok(None);
    }
    damage(file.fragment(fragment))
}

fn damage(read: Result<Vec<u8>>) -> Result<Option<String>> {
    match read {
        Ok(_) => Ok(None),
        Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Io) => Ok(Some(e.message().to_owned())),
        Err(e) => Err(e),
    }
}

fn damaged(
    path: &str,
    fragment: usize,
    at_ms: i64,
    why: String,
    found: &mut dyn FnMut(Problem) -> Result<()>,
) -> Result<()> {
    found(Problem::Damaged { path: path.to_owned(), fragment, at_ms, why })
}

/// Name, whether it is a directory, and UTC milliseconds of its last change; nothing for a directory that is not there.
fn entries(dir: &Path) -> Result<Vec<(String, bool, i64)>> {
    let io = |e| Error::io("cannot list the recordings", dir, e);
    let listed = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(io)?,
    };
    let mut out = Vec::new();
    for entry in listed {
        let entry = entry.map_err(io)?;
        // Gone since: retention deletes while others look.
        let Ok(metadata) = entry.metadata() else { continue };
        let changed = metadata.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        let changed_ms = changed.map_or(0, |d| d.as_millis() as i64);
        out.push((entry.file_name().to_string_lossy().into_owned(), metadata.is_dir(), changed_ms));
    }
    Ok(out)
}
