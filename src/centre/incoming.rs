//! Clips on their way in: `incoming/<node>/<sha256>.part` grows by what a node appends, is renamed to `.whole` once its
//! hash is right, and leaves when its object and row are durable. `.json` beside it is what the node announced. What an
//! offset claims is synced; a power cut may leave more in the file than that, and the hash has the last word.
//!
//! Knows no HTTP. Names of nodes and hashes were checked before they come here: they stand in paths.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use crate::base::{Error, ErrorKind, Result};
use crate::store::sqlite::private_directory;
use crate::wire::link::ClipNote;

/// Clips that one node may have unfinished.
const MOST: usize = 64;
/// An unfinished clip that nothing was added to for so long gives its place to another.
const STALE_MS: i64 = 7 * 24 * 3600 * 1000;

/// The directory of unfinished clips. Cloneable.
#[derive(Clone, Debug)]
pub struct Incoming(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    /// Declared bytes of one node's unfinished clips.
    quota: u64,
    busy: Mutex<HashSet<(String, String)>>,
}

/// One clip that nobody else works on while this lives.
#[derive(Debug)]
pub struct Entry {
    owner: Incoming,
    node: String,
    sha256: String,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let key = (std::mem::take(&mut self.node), std::mem::take(&mut self.sha256));
        self.owner.0.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }
}

impl Incoming {
    /// Uses `directory`; one node may have clips of `quota` bytes in it.
    pub fn new(directory: PathBuf, quota: u64) -> Result<Self> {
        private_directory(&directory)?;
        Ok(Self(Arc::new(Inner { directory, quota, busy: Mutex::default() })))
    }

    /// The clip `sha256` of `node`; `None` while another request works on it.
    pub fn entry(&self, node: &str, sha256: &str) -> Option<Entry> {
        let fresh =
            self.0.busy.lock().unwrap_or_else(PoisonError::into_inner).insert((node.to_owned(), sha256.to_owned()));
        fresh.then(|| Entry { owner: self.clone(), node: node.to_owned(), sha256: sha256.to_owned() })
    }

    /// Whether a further clip of `bytes` fits beside what `node` has unfinished, `sha256` not counted. What was given up
    /// is removed.
    async fn fits(&self, node: &str, sha256: &str, bytes: u64, now_ms: i64) -> Result<bool> {
        let directory = self.0.directory.join(node);
        let failed = |e| Error::io("cannot read the unfinished clips", &directory, e);
        let mut listing = fs::read_dir(&directory).await.map_err(failed)?;
        let (mut count, mut sum) = (0, bytes);
        while let Some(found) = listing.next_entry().await.map_err(failed)? {
            let path = found.path();
            let Some(stem) = path.file_stem().and_then(|s| s.to_str()).filter(|stem| *stem != sha256) else { continue };
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let entry = self.entry(node, stem);
            if let Some(entry) = &entry
                && entry.touched_ms().await.is_some_and(|at| now_ms - at > STALE_MS)
            {
                tracing::info!(node, sha256 = stem, "an unfinished clip was given up by its node and is removed");
                entry.forget().await;
            } else if let Ok(note) = read_note(&path).await {
                count += 1;
                sum = sum.saturating_add(note.bytes);
            }
        }
        Ok(count < MOST && sum <= self.0.quota)
    }
}

impl Entry {
    fn file(&self, extension: &str) -> PathBuf {
        self.owner.0.directory.join(&self.node).join(format!("{}.{extension}", self.sha256))
    }

    /// Where the verified clip lies below the directory of the store, if this directory is `incoming` in it.
    pub fn relative(&self) -> String {
        format!("incoming/{}/{}.whole", self.node, self.sha256)
    }

    /// The verified clip.
    pub fn whole(&self) -> PathBuf {
        self.file("whole")
    }

    /// Begins the clip, or goes on with it; gives what of it is here, durably.
    ///
    /// # Errors
    /// `Unavailable` when the node has too much unfinished; `Exhausted` when the disk is full.
    pub async fn announce(&self, note: &ClipNote, now_ms: i64) -> Result<u64> {
        let directory = self.owner.0.directory.join(&self.node);
        private_directory(&directory)?;
        if self.note().await?.is_some_and(|known| known == *note) {
            return self.offset().await;
        }
        if !self.owner.fits(&self.node, &self.sha256, note.bytes, now_ms).await? {
            return Err(Error::new(ErrorKind::Unavailable, "this node has too much unfinished here"));
        }
        let text = serde_json::to_vec(note)
            .map_err(|e| Error::new(ErrorKind::Internal, "a clip's note cannot be written as JSON").source(e))?;
        let (beside, path) = (self.file("json-part"), self.file("json"));
        let write = async {
            let mut file = private().truncate(true).open(&beside).await?;
            file.write_all(&text).await?;
            file.sync_all().await?;
            fs::rename(&beside, &path).await
        };
        write.await.map_err(|e| Error::io("cannot note a clip", &path, e))?;
        sync(&directory).await?;
        self.offset().await
    }

    /// When something was last added to it, UTC milliseconds.
    async fn touched_ms(&self) -> Option<i64> {
        let mut newest = None;
        for extension in ["part", "whole", "json"] {
            let modified = fs::metadata(self.file(extension)).await.and_then(|m| m.modified());
            let since = modified.ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            newest = newest.max(since.map(|d| d.as_millis() as i64));
        }
        newest
    }

    /// What the node announced.
    pub async fn note(&self) -> Result<Option<ClipNote>> {
        match read_note(&self.file("json")).await {
            Ok(note) => Ok(Some(note)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            // A torn note: the node announces again.
            Err(e) if e.kind() == ErrorKind::Corrupt => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What of it is on disk.
    pub async fn offset(&self) -> Result<u64> {
        if let Ok(whole) = fs::metadata(self.whole()).await {
            return Ok(whole.len());
        }
        let path = self.file("part");
        let read = async {
            match File::open(&path).await {
                Ok(file) => {
                    file.sync_data().await?;
                    Ok(file.metadata().await?.len())
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
                Err(e) => Err(e),
            }
        };
        read.await.map_err(|e| Error::io("cannot read an unfinished clip", &path, e))
    }

    /// Opens the clip to append at `offset`, which [`Self::offset`] gave.
    pub async fn append(&self, offset: u64) -> Result<Appending> {
        let path = self.file("part");
        let open = async {
            let mut file = private().open(&path).await?;
            file.seek(std::io::SeekFrom::Start(offset)).await?;
            Ok(file)
        };
        let file = open.await.map_err(|e| Error::io("cannot open an unfinished clip", &path, e))?;
        if offset == 0 {
            sync(&self.owner.0.directory.join(&self.node)).await?;
        }
        Ok(Appending { file, path })
    }

    /// Checks the finished clip against its hash; a right one becomes [`Self::whole`], a wrong one is dropped.
    pub async fn verify(&self) -> Result<bool> {
        if fs::try_exists(self.whole()).await.unwrap_or(false) {
            return Ok(true);
        }
        let path = self.file("part");
        let hash = async {
            let mut file = File::open(&path).await?;
            file.sync_all().await?;
            let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
            loop {
                match file.read(&mut buffer).await? {
                    0 => return Ok(hex::encode(hasher.finalize())),
                    n => hasher.update(&buffer[..n]),
                }
            }
        };
        let found = hash.await.map_err(|e| Error::io("cannot check a delivered clip", &path, e))?;
        if found != self.sha256 {
            self.forget().await;
            return Ok(false);
        }
        fs::rename(&path, self.whole()).await.map_err(|e| Error::io("cannot rename a delivered clip", &path, e))?;
        sync(&self.owner.0.directory.join(&self.node)).await?;
        Ok(true)
    }

    /// Removes every trace of it here.
    pub async fn forget(&self) {
        for extension in ["part", "whole", "json", "json-part"] {
            let path = self.file(extension);
            match fs::remove_file(&path).await {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(error = %e, path = %path.display(), "a leftover of a delivered clip stays");
                }
                _ => {}
            }
        }
    }
}

/// An open clip that grows.
#[derive(Debug)]
pub struct Appending {
    file: File,
    path: PathBuf,
}

impl Appending {
    /// Appends; not durable yet.
    pub async fn write(&mut self, bytes: &Bytes) -> Result<()> {
        self.file.write_all(bytes).await.map_err(|e| Error::io("cannot write an unfinished clip", &self.path, e))
    }

    /// Makes durable what was written.
    pub async fn sync(&mut self) -> Result<()> {
        let synced = async {
            self.file.flush().await?;
            self.file.sync_data().await
        };
        synced.await.map_err(|e| Error::io("cannot sync an unfinished clip", &self.path, e))
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    options
}

async fn read_note(path: &Path) -> Result<ClipNote> {
    let text = fs::read(path).await.map_err(|e| Error::io("cannot read a clip's note", path, e))?;
    serde_json::from_slice(&text)
        .map_err(|e| Error::new(ErrorKind::Corrupt, "a clip's note is torn").at(path.display()).source(e))
}

async fn sync(directory: &Path) -> Result<()> {
    let synced = async { File::open(directory).await?.sync_all().await };
    synced.await.map_err(|e| Error::io("cannot sync the directory", directory, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_given_up_makes_room_and_what_goes_on_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let incoming = Incoming::new(directory.path().join("incoming"), 1000).unwrap();
        let note = |digit: &str| ClipNote {
            sha256: digit.repeat(64),
            bytes: 800,
            camera: "c".parse().unwrap(),
            event: None,
            command: None,
            from_ms: 0,
            to_ms: 1,
            masked: false,
            complete: true,
        };
        let announce = async |digit: &str, now_ms: i64| {
            let note = note(digit);
            incoming.entry("node-1", &note.sha256).unwrap().announce(&note, now_ms).await
        };
        announce("a", 0).await.unwrap();
        let path = directory.path().join("incoming/node-1").join(format!("{}.json", "a".repeat(64)));
        let made = std::fs::metadata(&path).unwrap().modified().unwrap();
        let made = made.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
        assert_eq!(announce("b", made + STALE_MS).await.unwrap_err().kind(), ErrorKind::Unavailable);
        announce("b", made + STALE_MS + 1).await.unwrap();
        assert!(!path.exists());
    }
}
