//! A segment's file for reading: its initialisation part and its fragments, each checked against the sidecar's hash.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::segment::Header;
use crate::base::types::Fragment;
use crate::base::{Error, ErrorKind, Result};

/// No fragment is larger: a wrong length must not take the memory of the machine.
const MAX_FRAGMENT_BYTES: u64 = 256 << 20;

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

    /// The file's first bytes, as the header says how many, checked.
    ///
    /// # Errors
    /// `Corrupt` when the file ends before or the bytes are not what the sidecar says.
    pub fn init(&mut self, header: &Header) -> Result<Vec<u8>> {
        let bytes = self.bytes(0, header.init_bytes)?;
        match &header.init_sha256 {
            Some(sha256) if hex::encode(Sha256::digest(&bytes)) != *sha256 => {
                Err(self.damaged("its beginning, which every player needs, is not what the sidecar says".into()))
            }
            _ => Ok(bytes),
        }
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
