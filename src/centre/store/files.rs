//! Content-addressed picture files: `snapshots/ab/cd/<sha256>.jpg`. Written beside, synced, renamed, directory synced:
//! a file under its final name is whole.

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

    /// Writes a picture unless it is there; afterwards it survives a power cut.
    pub(super) fn keep(&self, sha256: &str, jpeg: &[u8]) -> Result<PathBuf> {
        let path = self.path(sha256);
        if std::fs::metadata(&path).is_ok_and(|m| m.len() == jpeg.len() as u64) {
            return Ok(path);
        }
        let directory = path.parent().unwrap_or(&self.0);
        let fresh = !directory.exists();
        private_directory(directory)?;
        let beside = directory.join(format!(".{sha256}.part"));
        let write = || {
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
            file.write_all(jpeg)?;
            file.sync_data()?;
            std::fs::rename(&beside, &path)?;
            sync(directory)?;
            if fresh {
                directory.ancestors().skip(1).take(2).try_for_each(sync)?;
            }
            Ok(())
        };
        if let Err(e) = write() {
            std::fs::remove_file(&beside).ok();
            return Err(Error::io("cannot write a picture", &path, e));
        }
        Ok(path)
    }
}

fn sync(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}
