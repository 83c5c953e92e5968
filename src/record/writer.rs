//! One segment on disk: the MP4 and its sidecar. Every fragment is written at once and named after that; both files are
//! synced every few seconds and at the end. It knows no codec and no clock.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::segment::{self, Closing, Header, SCHEMA, sidecar_path};
use crate::base::types::{CameraId, Codec, Fragment, Segment, SegmentState, StreamRole};
use crate::base::{Error, ErrorKind, Result, Stamp};

/// A power cut costs no more than this.
const SYNC_EVERY: Duration = Duration::from_secs(5);

/// What a segment is of.
#[derive(Clone, Debug)]
pub struct Subject {
    pub camera: CameraId,
    pub stream: StreamRole,
    pub codec: Codec,
    pub width: u32,
    pub height: u32,
    /// Arrival of its first picture.
    pub start: Stamp,
    pub boot_id: String,
}

/// When the pictures of a fragment arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentTimes {
    pub arrived: Stamp,
    /// Since the segment's first picture.
    pub pts: Duration,
    pub duration: Duration,
    pub keyframe: bool,
}

/// A segment that grows. Dropped without [`Self::close`] it stays as after a crash.
#[derive(Debug)]
pub struct SegmentWriter {
    dir: PathBuf,
    segment: Segment,
    file: File,
    sidecar: File,
    hash: Sha256,
    bytes: u64,
    fragments: u32,
    synced: Duration,
    start: Stamp,
    /// UTC milliseconds and `CLOCK_MONOTONIC` at the end of the last fragment.
    end: Stamp,
}

impl SegmentWriter {
    /// Makes both files below `dir` and writes the init part.
    ///
    /// # Errors
    /// `Exhausted` or `Io`; nothing is left behind then.
    pub fn create(dir: &Path, subject: &Subject, init: &[u8]) -> Result<Self> {
        let day = day(subject.start.wall_ms)?;
        let within = dir.join(subject.camera.as_str()).join(&day);
        private_dir(dir, &within)?;
        let (name, mut file) = match new_file(&within, subject.start.wall_ms) {
            // Retention has just removed the empty directory.
            Err(e) if e.kind() == ErrorKind::NotFound => {
                private_dir(dir, &within)?;
                new_file(&within, subject.start.wall_ms)?
            }
            made => made?,
        };
        let mp4 = within.join(&name);
        let header = Header {
            schema: SCHEMA.to_owned(),
            camera: subject.camera.clone(),
            stream: subject.stream,
            codec: subject.codec,
            width: subject.width,
            height: subject.height,
            start_wall_ms: subject.start.wall_ms,
            start_mono_ns: subject.start.mono.as_nanos() as u64,
            boot_id: subject.boot_id.clone(),
            init_bytes: init.len() as u64,
            init_sha256: Some(hex::encode(Sha256::digest(init))),
        };
        let beside = sidecar_path(&mp4);
        let begun = (|| {
            file.write_all(init)?;
            let mut sidecar = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
            segment::write_line(&mut sidecar, &header)?;
            File::open(&within)?.sync_all()?;
            Ok(sidecar)
        })();
        let sidecar = match begun {
            Ok(sidecar) => sidecar,
            Err(e) => {
                segment::remove(&mp4).ok();
                return Err(Error::io("a recording cannot be begun", &mp4, e));
            }
        };
        Ok(Self {
            dir: dir.to_owned(),
            segment: opened(subject, format!("{}/{day}/{name}", subject.camera)),
            file,
            sidecar,
            hash: Sha256::new_with_prefix(init),
            bytes: init.len() as u64,
            fragments: 0,
            synced: subject.start.mono,
            start: subject.start,
            end: subject.start,
        })
    }

    /// Its row in the index while it grows.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Writes one fragment, then names it.
    pub fn append(&mut self, bytes: &[u8], times: FragmentTimes) -> Result<()> {
        let fragment = Fragment {
            offset: self.bytes,
            bytes: bytes.len() as u64,
            sha256: hex::encode(Sha256::digest(bytes)),
            wall_ms: times.arrived.wall_ms,
            mono_ns: times.arrived.mono.as_nanos() as u64,
            pts_ns: times.pts.as_nanos() as u64,
            duration_ns: times.duration.as_nanos() as u64,
            keyframe: times.keyframe,
        };
        self.file
            .write_all(bytes)
            .and_then(|()| segment::write_line(&mut self.sidecar, &fragment))
            .map_err(|e| Error::io("a recording cannot be written", self.path(), e))?;
        self.hash.update(bytes);
        self.bytes += fragment.bytes;
        self.fragments += 1;
        self.end = times.arrived.plus(times.duration);
        Ok(())
    }

    /// Syncs both files if the last time was long enough ago; true if it did.
    pub fn sync_if_due(&mut self, now: Duration) -> Result<bool> {
        if now.saturating_sub(self.synced) < SYNC_EVERY {
            return Ok(false);
        }
        self.synced = now;
        self.sync().map(|()| true)
    }

    fn sync(&self) -> Result<()> {
        let synced = self.file.sync_data().and_then(|()| self.sidecar.sync_data());
        synced.map_err(|e| Error::io("a recording cannot be synced", self.path(), e))
    }

    fn path(&self) -> PathBuf {
        self.dir.join(&self.segment.path)
    }

    /// Ends it in order, at `end` or where its last fragment ends. `None` when there is nothing in it; its files are gone
    /// then. After an error it is as after a crash.
    pub fn close(mut self, end: Option<Stamp>) -> Result<Option<Segment>> {
        if self.fragments == 0 {
            return segment::remove(&self.path()).map(|()| None);
        }
        let end = end.unwrap_or(self.end);
        let closed = self.ended(end, SegmentState::Closed);
        let closing = Closing {
            closed: true,
            bytes: self.bytes,
            sha256: closed.sha256.clone().unwrap_or_default(),
            end_wall_ms: segment::end_ms(self.start, end),
            end_mono_ns: end.mono.as_nanos() as u64,
        };
        let path = self.path();
        // The MP4 first: a closing line must not be truer than the file.
        self.file.sync_data().map_err(|e| Error::io("a recording cannot be synced", &path, e))?;
        segment::write_line(&mut self.sidecar, &closing)
            .and_then(|()| self.sidecar.sync_data())
            .and_then(|()| path.parent().map_or(Ok(()), |within| File::open(within)?.sync_all()))
            .map_err(|e| Error::io("a recording cannot be ended", &path, e))?;
        Ok(Some(closed))
    }

    /// Ends it as far as a disk that refuses allows, as after a crash: see [`segment::recover`]. What a failed sync has left
    /// in memory is not what is on disk, so both files are read anew from there.
    ///
    /// # Errors
    /// The disk still refuses; recover it later.
    pub fn abandon(self) -> Result<Option<Segment>> {
        let path = self.segment.path.clone();
        for file in [&self.file, &self.sidecar] {
            rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).ok();
        }
        let found = segment::recover(&self.dir, &path)?;
        if found.is_some() {
            self.sync()?;
        }
        Ok(found)
    }

    fn ended(&mut self, end: Stamp, state: SegmentState) -> Segment {
        let hash = std::mem::take(&mut self.hash);
        Segment {
            end_ms: Some(segment::end_ms(self.start, end)),
            bytes: self.bytes,
            sha256: Some(hex::encode(hash.finalize())),
            fragments: self.fragments,
            state,
            ..self.segment.clone()
        }
    }
}

fn opened(subject: &Subject, path: String) -> Segment {
    Segment {
        id: 0,
        camera: subject.camera.clone(),
        path,
        stream: subject.stream,
        codec: subject.codec,
        width: subject.width,
        height: subject.height,
        start_ms: subject.start.wall_ms,
        end_ms: None,
        start_mono_ns: subject.start.mono.as_nanos() as u64,
        boot_id: subject.boot_id.clone(),
        bytes: 0,
        sha256: None,
        fragments: 0,
        state: SegmentState::Open,
        held: false,
    }
}

/// `YYYYMMDD` in UTC.
fn day(wall_ms: i64) -> Result<String> {
    let at = jiff::Timestamp::from_millisecond(wall_ms)
        .map_err(|e| Error::new(ErrorKind::Invalid, "the machine's clock shows an impossible time").source(e))?;
    Ok(at.strftime("%Y%m%d").to_string())
}

/// Makes `within`, whose ancestor `dir` may be new, too, so that the names survive a power cut.
fn private_dir(dir: &Path, within: &Path) -> Result<()> {
    if within.is_dir() {
        return Ok(());
    }
    let failed = |e| Error::io("the recording directory cannot be made", within, e);
    DirBuilder::new().recursive(true).mode(0o700).create(within).map_err(failed)?;
    for made in within.ancestors().skip(1).take_while(|a| a.starts_with(dir)) {
        File::open(made).and_then(|d| d.sync_all()).map_err(failed)?;
    }
    Ok(())
}

/// A new file `<start>-<n>.mp4`.
fn new_file(within: &Path, start_ms: i64) -> Result<(String, File)> {
    for n in 0..1000 {
        let name = format!("{start_ms}-{n}.mp4");
        match OpenOptions::new().create_new(true).write(true).mode(0o600).open(within.join(&name)) {
            Ok(file) => return Ok((name, file)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io("a recording cannot be made", within.join(&name), e)),
        }
    }
    Err(Error::new(ErrorKind::Internal, "a thousand recordings begin at the same moment").at(within.display()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::segment::{Sidecar, recover};
    use super::*;

    fn stamp(ms: u64) -> Stamp {
        Stamp { mono: Duration::from_millis(ms), wall_ms: 1_795_000_000_000 + ms as i64 }
    }

    fn subject() -> Subject {
        Subject {
            camera: "ngo-1".parse().expect("valid"),
            stream: StreamRole::Record,
            codec: Codec::H264,
            width: 640,
            height: 480,
            start: stamp(0),
            boot_id: "b".into(),
        }
    }

    fn written(dir: &Path, fragments: &[Vec<u8>]) -> SegmentWriter {
        let mut writer = SegmentWriter::create(dir, &subject(), b"the init part").expect("writable");
        for (n, bytes) in (0u64..).zip(fragments) {
            let (pts, duration) = (Duration::from_secs(n), Duration::from_secs(1));
            let times = FragmentTimes { arrived: stamp(n * 1000), pts, duration, keyframe: n % 2 == 0 };
            writer.append(bytes, times).expect("writable");
        }
        writer
    }

    #[test]
    fn a_closed_segment_is_what_its_sidecar_says() {
        let dir = tempfile::tempdir().expect("a directory");
        let closed = written(dir.path(), &[vec![1; 300], vec![2; 50]]).close(None).expect("closes").expect("not empty");
        let mp4 = dir.path().join(&closed.path);
        let bytes = std::fs::read(&mp4).expect("there");
        assert_eq!((closed.bytes, closed.fragments), (bytes.len() as u64, 2));
        assert_eq!(closed.sha256, Some(hex::encode(Sha256::digest(&bytes))));
        assert_eq!(closed.end_ms, Some(stamp(2000).wall_ms));
        assert_eq!(closed.path, "ngo-1/20261118/1795000000000-0.mp4");
        let sidecar = Sidecar::read(&sidecar_path(&mp4)).expect("readable");
        assert_eq!(sidecar.closing.as_ref().map(|c| c.bytes), Some(closed.bytes));
        assert!(sidecar.fragments[0].keyframe && !sidecar.fragments[1].keyframe);
        assert_eq!(recover(dir.path(), &closed.path).expect("readable"), Some(closed), "found again as it is");
        // A second one of the same millisecond, and one with nothing in it.
        let empty = written(dir.path(), &[]);
        assert!(empty.segment().path.ends_with("-1.mp4"));
        let mp4 = dir.path().join(&empty.segment().path);
        assert_eq!(empty.close(None).expect("closes"), None);
        assert!(!mp4.exists() && !sidecar_path(&mp4).exists());
    }

    #[test]
    fn a_damaged_fragment_costs_none_of_those_after_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let writer = written(dir.path(), &[vec![1; 100], vec![2; 100], vec![3; 100]]);
        let (path, mp4) = (writer.segment().path.clone(), dir.path().join(&writer.segment().path));
        drop(writer);
        let mut bytes = std::fs::read(&mp4).expect("there");
        let middle = bytes.len() - 150;
        bytes[middle] ^= 1;
        std::fs::write(&mp4, &bytes).expect("writable");
        let found = recover(dir.path(), &path).expect("the disk is fine").expect("two are whole");
        assert_eq!((found.fragments, found.bytes), (3, bytes.len() as u64));
        assert_eq!(std::fs::read(&mp4).expect("there"), bytes, "nothing is cut");
    }

    #[test]
    fn a_recording_whose_sidecar_cannot_be_read_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let writer = written(dir.path(), &[vec![1; 100]]);
        let (path, mp4) = (writer.segment().path.clone(), dir.path().join(&writer.segment().path));
        drop(writer);
        std::fs::write(sidecar_path(&mp4), b"\0\0\0").expect("writable");
        assert_eq!(recover(dir.path(), &path).expect("the disk is fine"), None);
        assert!(mp4.exists());
    }

    proptest! {
        #[test]
        fn files_cut_anywhere_give_back_the_fragments_that_are_whole(
            sizes in prop::collection::vec(1usize..400, 1..6), cut_mp4 in 0.0f64..1.0, cut_sidecar in 0.0f64..1.0,
            closed in any::<bool>(), garbage in any::<bool>(),
        ) {
            let dir = tempfile::tempdir().expect("a directory");
            let fragments: Vec<Vec<u8>> = (1u8..).zip(&sizes).map(|(n, size)| vec![n; *size]).collect();
            let writer = written(dir.path(), &fragments);
            let (path, mp4) = (writer.segment().path.clone(), dir.path().join(&writer.segment().path));
            if closed {
                writer.close(None).expect("closes");
            } else {
                drop(writer);
            }
            let beside = sidecar_path(&mp4);
            let shorten = |path: &Path, part: f64| {
                let mut bytes = std::fs::read(path).expect("there");
                bytes.truncate((bytes.len() as f64 * part).ceil() as usize);
                if garbage {
                    bytes.extend([0xff; 7]);
                }
                std::fs::write(path, &bytes).expect("writable");
                bytes
            };
            let kept_mp4 = shorten(&mp4, cut_mp4);
            let kept_sidecar = shorten(&beside, cut_sidecar);
            let named = kept_sidecar.split_inclusive(|b| *b == b'\n').filter(|l| l.ends_with(b"\n")).count();
            let closing = Sidecar::parse(&kept_sidecar).ok().and_then(|s| s.closing);
            let found = recover(dir.path(), &path).expect("the disk is fine");
            let mut whole = 0;
            let mut end = b"the init part".len();
            for fragment in fragments.iter().take(named.saturating_sub(1)) {
                if kept_mp4.get(end..end + fragment.len()) != Some(fragment) {
                    break;
                }
                whole += 1;
                end += fragment.len();
            }
            if let Some(closing) = closing.filter(|c| c.bytes <= kept_mp4.len() as u64) {
                // It was ended in order: what became of it since is for fsck to say, not for a recovery to cut away.
                prop_assert_eq!(found.map(|f| (f.state, f.sha256)), Some((SegmentState::Closed, Some(closing.sha256))));
                prop_assert_eq!(std::fs::read(&mp4).expect("there"), kept_mp4);
            } else if whole == 0 {
                prop_assert_eq!(found, None);
                let first_ends = b"the init part".len() + fragments[0].len();
                // A file that holds what could be pictures is never removed.
                let kept = match named {
                    0 => !kept_mp4.is_empty(),
                    1 => false,
                    _ => kept_mp4.len() >= first_ends,
                };
                prop_assert_eq!((mp4.exists(), beside.exists()), (kept, kept));
            } else {
                let found = found.expect("something is whole");
                let left = std::fs::read(&mp4).expect("there");
                prop_assert_eq!((found.fragments as usize, found.bytes), (whole, end as u64));
                prop_assert_eq!(found.sha256, Some(hex::encode(Sha256::digest(&left[..end]))));
                prop_assert!(found.state == SegmentState::Closed || left.len() == end);
                let again = recover(dir.path(), &path).expect("the disk is fine").expect("still there");
                prop_assert_eq!((again.fragments, again.bytes), (found.fragments, found.bytes));
            }
        }
    }
}
