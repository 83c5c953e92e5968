//! A segment as it lies on disk, for reading: the MP4 file and beside it the *sidecar*, JSON lines that name every
//! fragment. The MP4 is always written first, so what a sidecar names is there; what it does not name does not count.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::types::{CameraId, Codec, Fragment, Segment, SegmentState, StreamRole};
use crate::base::{Error, ErrorKind, Result};

/// Names the sidecar's format in its first line.
pub const SCHEMA: &str = "wardwatch.segment/1";

/// No fragment is larger: a wrong length must not take the memory of the machine.
const MAX_FRAGMENT_BYTES: u64 = 256 << 20;

/// A sidecar's first line.
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
    /// `ftyp` and `moov` are the file's first bytes, so many.
    pub init_bytes: u64,
}

/// A sidecar's last line, when the segment was ended in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    pub closed: bool,
    pub bytes: u64,
    pub sha256: String,
    pub end_wall_ms: i64,
    pub end_mono_ns: u64,
}

/// A whole sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    pub header: Header,
    pub fragments: Vec<Fragment>,
    pub closing: Option<Closing>,
    /// The number of the first line that makes no sense, when more follows it. A torn last line is no damage.
    pub damaged_line: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Closing(Closing),
    Fragment(Fragment),
}

impl Sidecar {
    /// Where the sidecar of `mp4` is.
    pub fn path(mp4: &Path) -> PathBuf {
        mp4.with_extension("json")
    }

    /// Reads the sidecar of `mp4`.
    ///
    /// # Errors
    /// `NotFound` when there is none, `Corrupt` when it has no usable first line.
    pub fn read(mp4: &Path) -> Result<Sidecar> {
        let path = Self::path(mp4);
        let text = std::fs::read(&path).map_err(|e| Error::io("cannot read the sidecar", &path, e))?;
        Self::parse(&text).map_err(|e| e.at(path.display()))
    }

    /// Reads a sidecar's bytes.
    ///
    /// # Errors
    /// `Corrupt` when the first line is no header of this format.
    pub fn parse(text: &[u8]) -> Result<Sidecar> {
        let mut lines = text.split(|b| *b == b'\n');
        let header: Header = lines
            .next()
            .and_then(|line| serde_json::from_slice(line).ok())
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the sidecar has no header"))?;
        if header.schema != SCHEMA {
            let text = format!("the sidecar is of format `{}`, not `{SCHEMA}`", header.schema);
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let mut sidecar = Sidecar { header, fragments: Vec::new(), closing: None, damaged_line: None };
        let mut rest = lines.zip(2..);
        while let Some((line, number)) = rest.next() {
            let follows = sidecar.end_bytes();
            match serde_json::from_slice(line) {
                Ok(Line::Fragment(f)) if f.offset >= follows && f.bytes <= MAX_FRAGMENT_BYTES => {
                    sidecar.fragments.push(f);
                }
                Ok(Line::Closing(c)) if c.closed => {
                    sidecar.closing = Some(c);
                    break;
                }
                _ => {
                    // What a power cut leaves behind is a part of a line, or zeros.
                    let more = rest.any(|(line, _)| line.iter().any(|b| *b != 0));
                    sidecar.damaged_line = more.then_some(number);
                    break;
                }
            }
        }
        Ok(sidecar)
    }

    /// Bytes of the file that count: up to the end of the last fragment named.
    pub fn end_bytes(&self) -> u64 {
        self.fragments.last().map_or(self.header.init_bytes, |f| f.offset.saturating_add(f.bytes))
    }

    /// UTC milliseconds: the end of the last picture.
    pub fn end_ms(&self) -> i64 {
        let of_fragments = self.fragments.last().map_or(self.header.start_wall_ms, end_ms);
        self.closing.as_ref().map_or(of_fragments, |c| c.end_wall_ms)
    }

    /// The index's row for this file, `path` below the recording directory.
    pub fn row(&self, path: &str) -> Segment {
        let closing = self.closing.as_ref();
        Segment {
            id: 0,
            camera: self.header.camera.clone(),
            path: path.to_owned(),
            stream: self.header.stream,
            codec: self.header.codec,
            width: self.header.width,
            height: self.header.height,
            start_ms: self.header.start_wall_ms,
            end_ms: Some(self.end_ms()),
            start_mono_ns: self.header.start_mono_ns,
            boot_id: self.header.boot_id.clone(),
            bytes: closing.map_or_else(|| self.end_bytes(), |c| c.bytes),
            sha256: closing.map(|c| c.sha256.clone()),
            fragments: self.fragments.len() as u32,
            state: SegmentState::Recovered,
            held: false,
        }
    }
}

/// UTC milliseconds: the end of `fragment`.
pub fn end_ms(fragment: &Fragment) -> i64 {
    fragment.wall_ms.saturating_add((fragment.duration_ns / 1_000_000) as i64)
}

/// An open segment's file.
pub struct SegmentFile {
    path: PathBuf,
    file: File,
}

impl SegmentFile {
    /// Opens `mp4`.
    pub fn open(mp4: &Path) -> Result<Self> {
        let file = File::open(mp4).map_err(|e| Error::io("cannot open the recording", mp4, e))?;
        Ok(Self { path: mp4.to_owned(), file })
    }

    /// The file's first bytes, as the header says how many.
    pub fn init(&mut self, header: &Header) -> Result<Vec<u8>> {
        self.bytes(0, header.init_bytes)
    }

    /// The bytes of `fragment`, checked.
    ///
    /// # Errors
    /// `Corrupt` when the file ends before or the bytes are not what the sidecar says.
    pub fn fragment(&mut self, fragment: &Fragment) -> Result<Vec<u8>> {
        let bytes = self.bytes(fragment.offset, fragment.bytes)?;
        if hex::encode(Sha256::digest(&bytes)) != fragment.sha256 {
            return Err(self.damaged(format!("the bytes at {} are not what the sidecar says", fragment.offset)));
        }
        Ok(bytes)
    }

    fn bytes(&mut self, offset: u64, length: u64) -> Result<Vec<u8>> {
        if length > MAX_FRAGMENT_BYTES {
            return Err(self.damaged(format!("{length} bytes at {offset} are more than a fragment has")));
        }
        let io = |e| Error::io("cannot read the recording", &self.path, e);
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(offset)).map_err(io)?;
        (&self.file).take(length).read_to_end(&mut bytes).map_err(io)?;
        if (bytes.len() as u64) < length {
            return Err(self.damaged(format!("the file ends before byte {}", offset + length)));
        }
        Ok(bytes)
    }

    fn damaged(&self, why: String) -> Error {
        Error::new(ErrorKind::Corrupt, why).at(self.path.display())
    }
}

/// Puts a directory's entries on disk: a name that was given or taken away is so after a power cut, too.
pub fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|d| d.sync_all())
        .map_err(|e| Error::io("cannot put the directory on disk", directory, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"schema":"wardwatch.segment/1","camera":"a","stream":"record","codec":"h264","width":640,"height":360,"start_wall_ms":1000,"start_mono_ns":5,"boot_id":"b","init_bytes":100}"#;

    fn fragment(n: u64) -> String {
        let f = Fragment {
            offset: 100 + n * 50,
            bytes: 50,
            sha256: "00".into(),
            wall_ms: 1000 + n as i64 * 500,
            mono_ns: 5,
            pts_ns: n * 500_000_000,
            duration_ns: 500_000_000,
            keyframe: n == 0,
        };
        serde_json::to_string(&f).expect("JSON")
    }

    #[test]
    fn a_torn_last_line_costs_that_line_and_anything_else_is_damage() {
        let whole = format!("{HEADER}\n{}\n{}\n", fragment(0), fragment(1));
        let sidecar = Sidecar::parse(whole.as_bytes()).expect("whole");
        assert_eq!((sidecar.fragments.len(), sidecar.end_bytes(), sidecar.end_ms()), (2, 200, 2000));
        let torn = Sidecar::parse(&whole.as_bytes()[..whole.len() - 9]).expect("torn");
        assert_eq!((torn.fragments.len(), torn.damaged_line), (1, None));
        let zeros = Sidecar::parse(format!("{HEADER}\n{}\n\0\0\0\0", fragment(0)).as_bytes()).expect("zeros");
        assert_eq!((zeros.fragments.len(), zeros.damaged_line), (1, None));
        let middle = format!("{HEADER}\n{}\n{{\"off\n{}\n", fragment(0), fragment(1));
        let middle = Sidecar::parse(middle.as_bytes()).expect("readable as far as it goes");
        assert_eq!((middle.fragments.len(), middle.damaged_line), (1, Some(3)));
        let closing = r#"{"closed":true,"bytes":200,"sha256":"ab","end_wall_ms":2001,"end_mono_ns":9}"#;
        let closed = Sidecar::parse(format!("{whole}{closing}\n").as_bytes()).expect("closed").row("a/1.mp4");
        assert_eq!((closed.end_ms, closed.sha256.as_deref(), closed.fragments), (Some(2001), Some("ab"), 2));
        for bad in ["", "{}", "\0\0\0"] {
            assert!(Sidecar::parse(bad.as_bytes()).is_err());
        }
    }
}
