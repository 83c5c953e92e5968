//! A file system that is full soon. Needs root; without it there is nothing to test on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct SmallDisk {
    path: PathBuf,
    /// Removed after it was taken away.
    own: Option<tempfile::TempDir>,
}

impl SmallDisk {
    /// `None` where tmpfs cannot be mounted.
    pub fn mount(megabytes: u32) -> Option<Self> {
        let directory = tempfile::tempdir().expect("dir");
        let mut disk = Self::mount_at(directory.path(), megabytes)?;
        disk.own = Some(directory);
        Some(disk)
    }

    /// Over a directory that is there, as when a disk is mounted late.
    pub fn mount_at(path: &Path, megabytes: u32) -> Option<Self> {
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output();
        mounted.is_ok_and(|o| o.status.success()).then(|| Self { path: path.to_owned(), own: None })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Someone else fills the disk to the last byte; returns what to remove to make room again.
    pub fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut filler = std::fs::File::create(&path).expect("made");
        while filler.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.path).status().ok();
    }
}
