//! Content-addressed picture files: `snapshots/ab/cd/<sha256>.jpg`. Written beside, synced, renamed, directory synced:
//! a file under its final name is whole.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::base::{Error, Result};
use crate::store::sqlite::private_directory;

/// The directory of the pictures.
#[derive(Clone, Debug)]
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn new(directory: PathBuf) -> Result<Self> {
        private_directory(&directory)?;
        Ok(Self(directory))
    }

    /// Where the picture belongs. `sha256` is 64 lower-case hex digits: checked before it comes here.
    pub(super) fn path(&self, sha256: &str) -> PathBuf {
        self.0.join(&sha256[..2]).join(&sha256[2..4]).join(format!("{sha256}.jpg"))
    }

    /// Writes those pictures that are not there; afterwards all of them survive a power cut. Directories are synced
    /// once for all.
    pub(super) fn keep<'a>(&self, pictures: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<()> {
        let mut touched = BTreeSet::new();
        for (sha256, jpeg) in pictures {
            let path = self.path(sha256);
            if std::fs::metadata(&path).is_ok_and(|m| m.len() == jpeg.len() as u64) {
                continue;
            }
            let directory = path.parent().unwrap_or(&self.0);
            let fresh = !directory.exists();
            private_directory(directory)?;
            write(&directory.join(format!(".{sha256}.part")), &path, jpeg)?;
            touched.extend(directory.ancestors().take(if fresh { 3 } else { 1 }).map(Path::to_owned));
        }
        touched.iter().try_for_each(|directory| sync(directory))
    }
}

fn write(beside: &Path, path: &Path, jpeg: &[u8]) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(beside)?;
        file.write_all(jpeg)?;
        file.sync_data()?;
        std::fs::rename(beside, path)
    };
    write().map_err(|e| {
        std::fs::remove_file(beside).ok();
        Error::io("cannot write a picture", path, e)
    })
}

fn sync(directory: &Path) -> Result<()> {
    let synced = File::open(directory).and_then(|d| d.sync_all());
    synced.map_err(|e| Error::io("cannot sync the directory", directory, e))
}
