//! A segment's sidecar: JSON lines beside the MP4 that name every fragment with its place, time and hash. Read here, also
//! after a crash: what the sidecar names was written before it was named, and anything beyond that is ignored.

use std::fs::File;
use std::io::{ErrorKind as Os, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::types::{CameraId, Codec, Fragment, Segment, SegmentState, StreamRole};
use crate::base::{Error, ErrorKind, Result, Stamp};

/// What this version writes.
pub const SCHEMA: &str = "wardwatch.segment/1";

/// First line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub schema: String,
    pub camera: CameraId,
    pub stream: StreamRole,
    pub codec: Codec,
    pub width: u32,
    pub height: u32,
    pub start_wall_ms: i64,
    pub start_mono_ns: u64,
    pub boot_id: String,
    /// `ftyp` and `moov` are the file's first so many bytes.
    pub init_bytes: u64,
    /// Of these bytes, lower-case hex. A sidecar of before this was written has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_sha256: Option<String>,
}

/// Last line of a segment that was ended in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    pub closed: bool,
    /// Of the whole file.
    pub bytes: u64,
    pub sha256: String,
    pub end_wall_ms: i64,
    pub end_mono_ns: u64,
}

/// A sidecar as far as it is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    pub header: Header,
    pub fragments: Vec<Fragment>,
    pub closing: Option<Closing>,
    /// Where each line after the header's ends.
    ends: Vec<usize>,
    header_end: usize,
}

impl Sidecar {
    /// Reads the sidecar at `path`.
    ///
    /// # Errors
    /// `NotFound`, or `Corrupt` when not even its header is whole.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io("the sidecar cannot be read", path, e))?;
        Self::parse(&bytes).map_err(|e| e.at(path.display()))
    }

    /// Understands whole lines, up to the first that does not continue what came before.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut lines = bytes.split_inclusive(|b| *b == b'\n').filter(|l| l.ends_with(b"\n"));
        let first = lines.next().unwrap_or_default();
        let header: Header = serde_json::from_slice(first)
            .map_err(|e| Error::new(ErrorKind::Corrupt, "the sidecar has no header").source(e))?;
        if header.schema != SCHEMA {
            return Err(Error::new(ErrorKind::Corrupt, format!("a sidecar of schema `{}`", header.schema)));
        }
        let header_end = first.len();
        let mut sidecar = Self { header, fragments: Vec::new(), closing: None, ends: Vec::new(), header_end };
        let mut end = header_end;
        for line in lines {
            end += line.len();
            if let Ok(fragment) = serde_json::from_slice::<Fragment>(line) {
                if fragment.offset != sidecar.named_bytes() {
                    break;
                }
                sidecar.fragments.push(fragment);
                sidecar.ends.push(end);
            } else {
                let closing = serde_json::from_slice::<Closing>(line).ok();
                sidecar.closing = closing.filter(|c| c.closed && c.bytes == sidecar.named_bytes());
                break;
            }
        }
        Ok(sidecar)
    }

    /// Bytes of the MP4 that are named.
    pub fn named_bytes(&self) -> u64 {
        self.fragments.last().map_or(self.header.init_bytes, |f| f.offset + f.bytes)
    }

    /// When the last named picture ends, UTC milliseconds.
    pub fn end_ms(&self) -> i64 {
        let last = self.fragments.last();
        let Some(last) = last else { return self.header.start_wall_ms };
        let at = |wall_ms, mono_ns| Stamp { wall_ms, mono: Duration::from_nanos(mono_ns) };
        let start = at(self.header.start_wall_ms, self.header.start_mono_ns);
        let end = at(last.wall_ms, last.mono_ns).plus(Duration::from_nanos(last.duration_ns));
        self.closing.as_ref().map_or_else(|| end_ms(start, end), |c| c.end_wall_ms)
    }

    /// Its row in the index, with `path` relative to the recording directory.
    pub fn segment(&self, path: String, sha256: Option<String>, state: SegmentState) -> Segment {
        let h = &self.header;
        Segment {
            id: 0,
            camera: h.camera.clone(),
            path,
            stream: h.stream,
            codec: h.codec,
            width: h.width,
            height: h.height,
            start_ms: h.start_wall_ms,
            end_ms: Some(self.end_ms()),
            start_mono_ns: h.start_mono_ns,
            boot_id: h.boot_id.clone(),
            bytes: self.named_bytes(),
            sha256,
            fragments: self.fragments.len() as u32,
            state,
            held: false,
        }
    }
}

/// Two clocks that differ by more than this did not merely drift: one was set.
pub(super) const CLOCK_SET: Duration = Duration::from_secs(1);

/// Whether the wall clock was set between two moments.
pub(super) fn clock_was_set(from: Stamp, to: Stamp) -> bool {
    from.plus(to.since(from)).wall_ms.abs_diff(to.wall_ms) > CLOCK_SET.as_millis() as u64
}

/// The end of what began at `start`, UTC milliseconds: a wall clock that was set in between makes nothing longer or shorter.
pub(super) fn end_ms(start: Stamp, end: Stamp) -> i64 {
    if clock_was_set(start, end) { start.plus(end.since(start)).wall_ms } else { end.wall_ms.max(start.wall_ms) }
}

/// The sidecar beside an MP4.
pub fn sidecar_path(mp4: &Path) -> PathBuf {
    mp4.with_extension("json")
}

/// Ends a segment whose writer died: both files are cut after the last fragment whose bytes are what its hash says, which
/// is where writing stopped. A damaged fragment before that stays where it is, and so does a file that is not understood:
/// it may be evidence, and `fsck` names it. `None` when there is nothing to index; files without a picture are gone then.
/// `path` is relative to `dir`.
///
/// # Errors
/// When the disk refuses; nothing was lost by that, try again.
pub fn recover(dir: &Path, path: &str) -> Result<Option<Segment>> {
    let mp4 = dir.join(path);
    let beside = sidecar_path(&mp4);
    let length = match std::fs::metadata(&mp4) {
        Ok(found) => found.len(),
        Err(e) if e.kind() == Os::NotFound => return remove(&mp4).map(|()| None),
        Err(e) => return Err(Error::io("the recording cannot be looked at", &mp4, e)),
    };
    let mut sidecar = match Sidecar::read(&beside) {
        Ok(sidecar) => sidecar,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
            if length == 0 {
                return remove(&mp4).map(|()| None);
            }
            tracing::error!(path, "a recording has no readable sidecar; it is left as it is: {e}");
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let unreadable = |e| Error::io("the recording cannot be read", &mp4, e);
    let file = File::options().read(true).write(true).open(&mp4).map_err(unreadable)?;
    let checked = check(&file, &sidecar).map_err(unreadable)?;
    if checked.damaged > 0 {
        tracing::error!(path, fragments = checked.damaged, "fragments of a recording are damaged; they stay for fsck");
    }
    if let Some(closing) = sidecar.closing.as_ref().filter(|c| c.bytes <= length) {
        let sha256 = closing.sha256.clone();
        return Ok(Some(sidecar.segment(path.to_owned(), Some(sha256), SegmentState::Closed)));
    }
    let Some(last) = checked.last_whole else {
        let first_ends = sidecar.fragments.first().map(|f| f.offset + f.bytes);
        if first_ends.is_none_or(|end| length < end) {
            return remove(&mp4).map(|()| None);
        }
        tracing::error!(path, "no fragment of a recording is what its hash says; it is left as it is");
        return Ok(None);
    };
    sidecar.closing = None;
    sidecar.fragments.truncate(last + 1);
    cut(&file, sidecar.named_bytes()).map_err(|e| Error::io("the recording cannot be cut", &mp4, e))?;
    let end = sidecar.ends.get(last).copied().unwrap_or(sidecar.header_end);
    File::options()
        .write(true)
        .open(&beside)
        .and_then(|f| cut(&f, end as u64))
        .map_err(|e| Error::io("the sidecar cannot be cut", &beside, e))?;
    Ok(Some(sidecar.segment(path.to_owned(), Some(checked.sha256), SegmentState::Recovered)))
}

/// What became of the named fragments.
struct Checked {
    /// Index of the last one whose bytes are what its hash says.
    last_whole: Option<usize>,
    /// How many before that are not.
    damaged: usize,
    /// Of the file up to the end of the last whole one.
    sha256: String,
}

fn check(mut file: &File, sidecar: &Sidecar) -> std::io::Result<Checked> {
    let mut hash = Sha256::new();
    let (mut checked, mut bad, mut bytes) =
        (Checked { last_whole: None, damaged: 0, sha256: String::new() }, 0, Vec::new());
    let mut read = |wanted: u64, bytes: &mut Vec<u8>| -> std::io::Result<bool> {
        bytes.clear();
        Ok(Read::by_ref(&mut file).take(wanted).read_to_end(bytes)? as u64 == wanted)
    };
    if !read(sidecar.header.init_bytes, &mut bytes)? {
        return Ok(checked);
    }
    hash.update(&bytes);
    for (index, fragment) in sidecar.fragments.iter().enumerate() {
        if !read(fragment.bytes, &mut bytes)? {
            break;
        }
        hash.update(&bytes);
        if hex::encode(Sha256::digest(&bytes)) == fragment.sha256 {
            checked = Checked {
                last_whole: Some(index),
                damaged: checked.damaged + bad,
                sha256: hex::encode(hash.clone().finalize()),
            };
            bad = 0;
        } else {
            bad += 1;
        }
    }
    Ok(checked)
}

fn cut(file: &File, bytes: u64) -> std::io::Result<()> {
    file.set_len(bytes)?;
    file.sync_data()
}

/// Removes an MP4 and its sidecar, as far as they are there.
pub fn remove(mp4: &Path) -> Result<()> {
    for path in [mp4.to_owned(), sidecar_path(mp4)] {
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != Os::NotFound => return Err(Error::io("a recording cannot be removed", &path, e)),
            _ => {}
        }
    }
    Ok(())
}

/// Appends one line to a sidecar.
pub(super) fn write_line(file: &mut File, line: &impl Serialize) -> std::io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    file.write_all(&bytes)
}
