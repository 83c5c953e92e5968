//! A file system that is full soon. Needs root; without it there is nothing to test on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where tmpfs cannot be mounted.
    pub fn mount(megabytes: u32) -> Option<Self> {
        let directory = tempfile::tempdir().expect("dir");
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path()).output();
        mounted.is_ok_and(|o| o.status.success()).then_some(Self(directory))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
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
        Command::new("umount").arg("-l").arg(self.0.path()).status().ok();
    }
}
