//! A file that only takes up room: when the disk is full it is given back, so that events still find some and receipts
//! can empty the outbox. It is made again once there is plenty.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::base::{Error, Result};

/// The file is made only if the disk has this many times its size free.
const PLENTY: u64 = 4;

/// Room kept back beside a database.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    /// For the database at `database`; 0 bytes keep nothing back.
    pub(super) fn new(database: &Path, bytes: u64) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push(".ballast");
        Self { path: path.into(), bytes }
    }

    /// Takes the room if it is not taken and there is plenty; whether it is taken now.
    pub(super) fn take(&self) -> Result<bool> {
        let there = std::fs::metadata(&self.path).is_ok_and(|m| m.len() == self.bytes);
        if there || self.bytes == 0 || self.free_bytes() < PLENTY * self.bytes {
            return Ok(there);
        }
        let make = || {
            let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&self.path)?;
            fallocate(&file, FallocateFlags::empty(), 0, self.bytes).map_err(std::io::Error::from)
        };
        make().map_err(|e| {
            self.give_back();
            Error::io("cannot keep room back", &self.path, e)
        })?;
        Ok(true)
    }

    /// Gives the room back; whether there was any.
    pub(super) fn give_back(&self) -> bool {
        std::fs::remove_file(&self.path).is_ok()
    }

    fn free_bytes(&self) -> u64 {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        statvfs(directory).map(|s| s.f_bavail.saturating_mul(s.f_frsize)).unwrap_or(0)
    }
}
