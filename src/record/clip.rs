//! Any range of one camera as one fragmented MP4 that a browser plays.
//!
//! The fragments are joined as they are, by own editing of their `moof` ([`super::join`]) and not by `mp4mux`: nothing
//! is parsed or timed anew, so the pictures in a clip are bit for bit those of the recording, the result depends on the
//! segments alone (the same range gives the same SHA-256), and every fragment is checked against its hash on the way. A
//! muxer between would need live pipelines, would set new times, and fails on what it does not know.
//!
//! A clip begins at the last fragment with a keyframe that is not after `from`. Over a gap the picture goes on with the
//! next keyframe: a file in which time stands still would stop most players; the report says where time is missing.
//! Where the camera changed its codec, its size or its parameter sets the clip ends and says so: the rest is another
//! clip from there, because players ignore a second decoder configuration in one track.
//!
//! Sound comes along where the segments have it, beside its pictures; where they have none, or another kind than the clip
//! began with, the clip is silent.

use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::join::{Init, Media, Reference};
use super::read::{SegmentFile, end_ms, sync_directory};
use super::retime::{Timed, retime};
use super::segment::{Sidecar, sidecar_path};
use crate::base::types::{CameraId, Codec, Fragment, Gap, GapReason, Segment};
use crate::base::{Error, ErrorKind, Result};

/// Less missing time is jitter of the arrival, not a hole, unless the recorder noted it as one.
pub const TOLERANCE_MS: i64 = 1_500;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Request {
    pub camera: CameraId,
    /// UTC milliseconds.
    pub from_ms: i64,
    /// UTC milliseconds.
    pub to_ms: i64,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClipReport {
    /// UTC milliseconds: when the first picture arrived.
    pub from_ms: i64,
    /// UTC milliseconds: the end of the last.
    pub to_ms: i64,
    /// How long it plays.
    pub duration_ms: u64,
    pub holes: Vec<Hole>,
    /// The camera's stream changed here and the clip ends; the rest is another clip, from this moment on.
    pub changed_at_ms: Option<i64>,
    pub codec: Codec,
    pub fragments: usize,
    pub pictures: usize,
    pub bytes: u64,
    /// Of the whole clip, lower-case hex.
    pub sha256: String,
}

impl ClipReport {
    /// Milliseconds between its beginning and its end that are not in it.
    pub fn missing_ms(&self) -> u64 {
        let within = |h: &Hole| (h.end_ms.min(self.to_ms) - h.start_ms.max(self.from_ms)).max(0) as u64;
        self.holes.iter().map(within).sum()
    }
}

/// A part of the range that is not in the clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    pub start_ms: i64,
    pub end_ms: i64,
    pub why: Why,
}

/// Why it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The recorder noted it.
    Gap(GapReason),
    /// It was recorded, but the file is gone or its bytes are not what was written.
    Damaged,
    /// There is no recording and no note of a gap: deleted after its time, or never recorded.
    Unknown,
}

impl Why {
    /// Every reason there is.
    pub const ALL: [Self; 9] = [
        Self::Gap(GapReason::Offline),
        Self::Gap(GapReason::Paused),
        Self::Gap(GapReason::DiskFull),
        Self::Gap(GapReason::NodeDown),
        Self::Gap(GapReason::Schedule),
        Self::Gap(GapReason::CodecChange),
        Self::Gap(GapReason::Off),
        Self::Damaged,
        Self::Unknown,
    ];

    /// Stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gap(reason) => reason.as_str(),
            Self::Damaged => "damaged",
            Self::Unknown => "not_recorded",
        }
    }
}

/// One fragment that goes into the clip.
struct Piece {
    path: PathBuf,
    fragment: Fragment,
    boot_id: String,
    init: usize,
    media: Media,
}

/// What of the range is there.
#[derive(Default)]
struct Plan {
    /// Of the first segment that has a piece, and so of all.
    codec: Option<Codec>,
    /// Of each segment that has a piece; the first is the clip's.
    inits: Vec<Init>,
    pieces: Vec<Piece>,
    damaged: Vec<(i64, i64)>,
    changed_at_ms: Option<i64>,
}

/// Writes the clip to `out`, which must not be there yet. `segments` and `gaps` are the index's for the range.
///
/// # Errors
/// `NotFound` when nothing of the range is recorded; its text says why. `Io`, `Exhausted` from the disk.
pub fn cut(dir: &Path, request: &Request, segments: &[Segment], gaps: &[Gap], out: &Path) -> Result<ClipReport> {
    if out.exists() {
        return Err(Error::new(ErrorKind::Invalid, "the file is there already and is not overwritten")
            .at(out.display())
            .hint("name another file with -o"));
    }
    let plan = plan(dir, request, segments)?;
    if plan.pieces.is_empty() {
        return Err(nothing(request, gaps, &plan.damaged));
    }
    let (bytes, sha256, duration_ms) = write(&plan, out)?;
    let first = plan.pieces.first().map_or(request.from_ms, |p| p.fragment.wall_ms);
    let last = plan.pieces.last().map_or(request.from_ms, |p| end_ms(&p.fragment));
    Ok(ClipReport {
        from_ms: first,
        to_ms: last,
        duration_ms,
        holes: holes(request, &plan, gaps),
        changed_at_ms: plan.changed_at_ms,
        codec: plan.codec.unwrap_or(Codec::H264),
        fragments: plan.pieces.len(),
        pictures: plan.pieces.iter().map(|p| p.media.video.samples.len()).sum(),
        bytes,
        sha256,
    })
}

/// Whether what is on disk of `segments` reaches to `to_ms`; a file that grows is behind by a fragment.
pub fn reaches(dir: &Path, segments: &[Segment], to_ms: i64) -> bool {
    segments.iter().any(|s| match s.end_ms {
        Some(end) => end >= to_ms,
        None => Sidecar::read(&sidecar_path(&dir.join(&s.path))).is_ok_and(|s| s.end_ms() >= to_ms),
    })
}

/// What of the range neither `segments` cover nor anything else is known of, with reasons.
pub fn uncovered(from_ms: i64, to_ms: i64, segments: &[Segment], gaps: &[Gap]) -> Vec<Hole> {
    let mut spans: Vec<(i64, i64)> = segments.iter().map(|s| (s.start_ms, s.end_ms.unwrap_or(i64::MAX))).collect();
    spans.sort_unstable();
    let mut holes = Vec::new();
    let mut covered = from_ms;
    for (start, end) in spans.into_iter().chain([(to_ms, to_ms)]) {
        if start - covered > TOLERANCE_MS || is_noted(covered, start.min(to_ms), gaps) {
            holes.extend(explain(covered, start.min(to_ms), gaps, &[]));
        }
        covered = covered.max(end);
    }
    holes
}

/// Why nothing is there, for a person.
fn nothing(request: &Request, gaps: &[Gap], damaged: &[(i64, i64)]) -> Error {
    let mut reasons: Vec<&str> = Vec::new();
    for hole in explain(request.from_ms, request.to_ms, gaps, damaged) {
        if !reasons.contains(&hole.why.as_str()) {
            reasons.push(hole.why.as_str());
        }
    }
    Error::new(ErrorKind::NotFound, format!("nothing is recorded in this range: {}", reasons.join(", ")))
        .camera(&request.camera)
}

fn plan(dir: &Path, request: &Request, segments: &[Segment]) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut segments: Vec<&Segment> = segments.iter().collect();
    segments.sort_by_key(|s| (s.start_ms, s.id));
    for segment in segments {
        let path = dir.join(&segment.path);
        let opened = Sidecar::read(&sidecar_path(&path)).and_then(|s| Ok((s, SegmentFile::open(&path)?)));
        let (sidecar, file) = match opened {
            Ok(opened) => opened,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                tracing::warn!(error = %e, "a recording in the range cannot be read");
                plan.damaged.push((segment.start_ms, segment.end_ms.unwrap_or(segment.start_ms)));
                continue;
            }
            Err(e) => return Err(e),
        };
        let ends = sidecar.fragments.last().map_or(i64::MIN, end_ms);
        if ends <= request.from_ms || sidecar.header.start_wall_ms >= request.to_ms {
            continue;
        }
        if !take(&mut plan, request, &path, &sidecar, file)? {
            break;
        }
    }
    Ok(plan)
}

/// Takes what is wanted of one segment; false when the clip ends here.
fn take(plan: &mut Plan, request: &Request, path: &Path, sidecar: &Sidecar, mut file: SegmentFile) -> Result<bool> {
    let read = file.init(&sidecar.header).and_then(|bytes| Init::parse(&bytes));
    let init = match read {
        Ok(init) => init,
        Err(e) if e.kind() == ErrorKind::Corrupt => {
            tracing::warn!(error = %e, path = %path.display(), "the recording's beginning is damaged");
            plan.damaged.push((sidecar.header.start_wall_ms, sidecar.end_ms()));
            return Ok(true);
        }
        Err(e) => return Err(e),
    };
    if plan.inits.first().is_some_and(|first| first.video.parameters != init.video.parameters) {
        plan.changed_at_ms = Some(sidecar.header.start_wall_ms);
        return Ok(false);
    }
    let begin = if plan.pieces.is_empty() { beginning(&sidecar.fragments, request.from_ms) } else { 0 };
    let mut waits_for_keyframe = true;
    let mut used = false;
    for fragment in sidecar.fragments.iter().skip(begin).take_while(|f| f.wall_ms < request.to_ms) {
        if waits_for_keyframe && !fragment.keyframe {
            plan.damaged.push((fragment.wall_ms, end_ms(fragment)));
            continue;
        }
        let checked = file.fragment(fragment).and_then(|bytes| init.samples(&bytes));
        let media = match checked {
            Ok(media) => media,
            Err(e) if e.kind() == ErrorKind::Corrupt => {
                tracing::warn!(error = %e, path = %path.display(), "a damaged fragment is left out");
                plan.damaged.push((fragment.wall_ms, end_ms(fragment)));
                waits_for_keyframe = true;
                continue;
            }
            Err(e) => return Err(e),
        };
        waits_for_keyframe = false;
        used = true;
        plan.pieces.push(Piece {
            path: path.to_owned(),
            fragment: fragment.clone(),
            boot_id: sidecar.header.boot_id.clone(),
            init: plan.inits.len(),
            media,
        });
    }
    if used {
        plan.inits.push(init);
        plan.codec.get_or_insert(sidecar.header.codec);
    }
    Ok(true)
}

/// The last fragment with a keyframe that is not after `from_ms`, or the first fragment.
fn beginning(fragments: &[Fragment], from_ms: i64) -> usize {
    fragments.iter().rposition(|f| f.keyframe && f.wall_ms <= from_ms).unwrap_or(0)
}

/// What the clip begins with: the first segment's, or that of the first which has sound.
fn beginning_of(plan: &Plan) -> Init {
    match plan.pieces.iter().find(|p| p.media.audio.is_some()) {
        Some(heard) => plan.inits[heard.init].clone(),
        None => plan.inits[0].clone().without_audio(),
    }
}

/// Writes the file; returns its size, its hash and its duration in milliseconds.
fn write(plan: &Plan, out: &Path) -> Result<(u64, String, u64)> {
    let init = beginning_of(plan);
    let (retimed, duration) = retime(&init, &plan.inits, plan.pieces.iter().map(|p| (p.init, &p.media)));
    let mut references = Vec::with_capacity(plan.pieces.len());
    let mut heads = Vec::with_capacity(plan.pieces.len());
    for (n, (piece, timed)) in plan.pieces.iter().zip(&retimed).enumerate() {
        let audio = timed.audio.as_ref().map(|(at, samples, _)| (*at, samples.as_slice()));
        let head = init.fragment_head(n as u32 + 1, (timed.decode_time, &timed.video), audio);
        let sound = timed.audio.as_ref().map_or(0, |(.., data)| data.len());
        let bytes = (head.len() + piece.media.video.data.len() + sound) as u64;
        references.push(Reference { bytes, duration: timed.duration(), keyframe: piece.fragment.keyframe });
        heads.push(head);
    }
    let first_offset = retimed.first().and_then(|t| t.video.first()).map_or(0, |s| s.offset);

    let directory = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let io = |e| Error::io("cannot write the clip", out, e);
    // Only its owner may read it, as the recording itself.
    let temporary = tempfile::Builder::new().prefix(".wardwatch-clip-").tempfile_in(directory).map_err(io)?;
    let head = init.write(duration, first_offset, &references)?;
    let (bytes, sha256) = fill(plan, &head, heads.iter().zip(&retimed), temporary.as_file(), out)?;
    temporary.as_file().sync_data().map_err(io)?;
    temporary.persist_noclobber(out).map_err(|e| io(e.error))?;
    sync_directory(directory)?;
    Ok((bytes, sha256, duration.saturating_mul(1000) / u64::from(init.video.timescale)))
}

/// Writes the clip's `head`, then every piece behind its own; returns size and hash of it all.
fn fill<'a>(
    plan: &Plan,
    head: &[u8],
    pieces: impl Iterator<Item = (&'a Vec<u8>, &'a Timed)>,
    file: &std::fs::File,
    out: &Path,
) -> Result<(u64, String)> {
    let io = |e| Error::io("cannot write the clip", out, e);
    let mut to = Hashing { file: std::io::BufWriter::new(file), hash: Sha256::new(), bytes: 0 };
    to.write(head).map_err(io)?;
    let mut open: Option<(&Path, SegmentFile)> = None;
    for (piece, (head, timed)) in plan.pieces.iter().zip(pieces) {
        if open.as_ref().is_none_or(|(path, _)| *path != piece.path) {
            open = Some((&piece.path, SegmentFile::open(&piece.path)?));
        }
        let Some((_, file)) = &mut open else { continue };
        let bytes = file.fragment(&piece.fragment)?;
        to.write(head).map_err(io)?;
        to.write(&bytes[piece.media.video.data.clone()]).map_err(io)?;
        if let Some((.., sound)) = &timed.audio {
            to.write(&bytes[sound.clone()]).map_err(io)?;
        }
    }
    to.file.flush().map_err(io)?;
    Ok((to.bytes, hex::encode(to.hash.finalize())))
}

struct Hashing<W> {
    file: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

/// What of the range is missing in the plan's pieces, with reasons.
fn holes(request: &Request, plan: &Plan, gaps: &[Gap]) -> Vec<Hole> {
    // However short, what was recorded and is lost is always said.
    let damaged = |(start, end): (i64, i64)| plan.damaged.iter().any(|d| d.0 < end && d.1 > start);
    let mut missing = Vec::new();
    let mut covered_to = request.from_ms;
    let mut previous: Option<&Piece> = None;
    for piece in &plan.pieces {
        let start = piece.fragment.wall_ms;
        // Within one run the monotonic clock knows better than the wall clock, which may be set.
        let lost_ms = match previous {
            Some(p) if p.boot_id == piece.boot_id => {
                let ended = p.fragment.mono_ns.saturating_add(p.fragment.duration_ns);
                (piece.fragment.mono_ns.saturating_sub(ended) / 1_000_000) as i64
            }
            _ => start - covered_to,
        };
        let lost = (start - lost_ms, start);
        if lost_ms > TOLERANCE_MS || damaged(lost) || is_noted(lost.0, lost.1, gaps) {
            missing.push(lost);
        }
        covered_to = end_ms(&piece.fragment);
        previous = Some(piece);
    }
    let end = plan.changed_at_ms.map_or(request.to_ms, |at| at.min(request.to_ms));
    if end - covered_to > TOLERANCE_MS || damaged((covered_to, end)) || is_noted(covered_to, end, gaps) {
        missing.push((covered_to, end));
    }
    missing.iter().flat_map(|(start, end)| explain(*start, *end, gaps, &plan.damaged)).collect()
}

/// Whether something of this time is in the map of gaps.
fn is_noted(start: i64, end: i64, gaps: &[Gap]) -> bool {
    end > start && gaps.iter().any(|g| g.start_ms < end && g.end_ms.is_none_or(|e| e > start))
}

/// Divides the time without pictures by its reasons.
fn explain(start: i64, end: i64, gaps: &[Gap], damaged: &[(i64, i64)]) -> Vec<Hole> {
    let known = gaps.iter().map(|g| (g.start_ms, g.end_ms.unwrap_or(i64::MAX), Why::Gap(g.reason)));
    let mut known: Vec<(i64, i64, Why)> = known.chain(damaged.iter().map(|d| (d.0, d.1, Why::Damaged))).collect();
    known.sort_by_key(|k| k.0);
    let mut out: Vec<Hole> = Vec::new();
    let mut at = start;
    let mut push = |start_ms, end_ms, why| match out.last_mut() {
        Some(last) if last.why == why && start_ms - last.end_ms <= TOLERANCE_MS => last.end_ms = end_ms,
        _ => out.push(Hole { start_ms, end_ms, why }),
    };
    for (known_start, known_end, why) in known {
        let (from, to) = (known_start.max(at), known_end.min(end));
        if to <= from {
            continue;
        }
        // Two accounts of one event differ by some milliseconds: what lies between belongs to the known one.
        let from = if from - at > TOLERANCE_MS {
            push(at, from, Why::Unknown);
            from
        } else {
            at
        };
        push(from, to, why);
        at = to;
    }
    if end - at > TOLERANCE_MS || at == start {
        push(at, end, Why::Unknown);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_time_is_divided_by_its_reasons() {
        let gap =
            |start_ms, end_ms, reason| Gap { id: 0, camera: "a".parse().expect("valid"), start_ms, end_ms, reason };
        let gaps = [gap(10_000, Some(20_000), GapReason::Offline), gap(40_000, None, GapReason::DiskFull)];
        let found = explain(9_000, 60_000, &gaps, &[(20_000, 22_000)]);
        let found: Vec<(i64, i64, &str)> = found.iter().map(|h| (h.start_ms, h.end_ms, h.why.as_str())).collect();
        assert_eq!(
            found,
            [
                (9_000, 20_000, "offline"),
                (20_000, 22_000, "damaged"),
                (22_000, 40_000, "not_recorded"),
                (40_000, 60_000, "disk_full")
            ]
        );
        let whole = explain(0, 100, &[], &[]);
        assert_eq!(whole, [Hole { start_ms: 0, end_ms: 100, why: Why::Unknown }]);
    }
}
