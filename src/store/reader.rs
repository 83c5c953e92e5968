//! The index of recordings for reading only, beside a running node or without one. It takes no lock and keeps the
//! store's thread free of long questions.

use std::path::Path;

use rusqlite::{Connection, params};

use super::clip::{self, Clip};
use super::hold::{self, Hold};
use super::mask;
use super::recording::{UNHELD, WITHIN, gaps, select};
use super::sqlite::{fault, open_to_read};
use super::track;
use crate::base::Result;
use crate::base::geometry::Polygon;
use crate::base::trajectory::Trajectory;
use crate::base::types::{CameraId, Gap, Segment};

const DOING: &str = "cannot read the index of recordings";

/// An open index.
pub struct Reader {
    connection: Connection,
}

impl Reader {
    /// Opens the node's database at `path`.
    ///
    /// # Errors
    /// `NotFound` when there is none, `Config` when it is of another version.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { connection: open_to_read(path, super::SCHEMA)? })
    }

    /// Files of `camera` with something between `from_ms` and `to_ms` (UTC), those still growing too, oldest first.
    pub fn segments(&self, camera: &CameraId, from_ms: i64, to_ms: i64) -> Result<Vec<Segment>> {
        select(&self.connection, WITHIN, params![camera.as_str(), from_ms, to_ms])
    }

    /// Gaps of `camera` that touch the time between `from_ms` and `to_ms`, oldest first.
    pub fn gaps(&self, camera: &CameraId, from_ms: i64, to_ms: i64) -> Result<Vec<Gap>> {
        gaps(&self.connection, camera, from_ms, to_ms)
    }

    /// Every clip, oldest first.
    pub fn clips(&self) -> Result<Vec<Clip>> {
        clip::select(&self.connection, "1 ORDER BY id", [])
    }

    /// Every hold, oldest first.
    pub fn holds(&self) -> Result<Vec<Hold>> {
        hold::holds(&self.connection)
    }

    /// See [`super::Store::masks`].
    pub fn masks(&self, camera: &CameraId, from_ms: i64, to_ms: i64) -> Result<Option<Vec<Polygon>>> {
        mask::masks(&self.connection, camera, from_ms, to_ms)
    }

    /// Pieces of `camera`'s tracks with something between `from_ms` and `to_ms`, oldest first.
    pub fn tracks(&self, camera: &CameraId, from_ms: i64, to_ms: i64) -> Result<Vec<Trajectory>> {
        track::tracks(&self.connection, camera, from_ms, to_ms)
    }

    /// Every camera that has a file.
    pub fn cameras(&self) -> Result<Vec<CameraId>> {
        let sql = "SELECT DISTINCT camera FROM segment ORDER BY camera";
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| fault(DOING, e))?;
        let rows = statement.query_map([], |r| r.get::<_, String>(0)).map_err(|e| fault(DOING, e))?;
        rows.map(|name| name.map_err(|e| fault(DOING, e))?.parse()).collect()
    }

    /// Every file of `camera`, oldest first.
    pub fn all(&self, camera: &CameraId) -> Result<Vec<Segment>> {
        select(&self.connection, "camera = ?1 ORDER BY start_ms, id", params![camera.as_str()])
    }

    /// The oldest `limit` ended files of `camera` that nobody holds.
    pub fn oldest_unheld(&self, camera: &CameraId, limit: u32) -> Result<Vec<Segment>> {
        select(&self.connection, UNHELD, params![camera.as_str(), limit])
    }

    /// Of `camera`: the end of the newest file that began before `at_ms`, and the start of the oldest that began later.
    pub fn around(&self, camera: &CameraId, at_ms: i64) -> Result<(Option<i64>, Option<i64>)> {
        let one = |sql: &str| self.connection.query_row(sql, params![camera.as_str(), at_ms], |r| r.get(0));
        let before = "SELECT (SELECT COALESCE(end_ms, start_ms) FROM segment
                      WHERE camera = ?1 AND start_ms < ?2 ORDER BY start_ms DESC LIMIT 1)";
        let since = "SELECT MIN(start_ms) FROM segment WHERE camera = ?1 AND start_ms >= ?2";
        let both = || -> rusqlite::Result<_> { Ok((one(before)?, one(since)?)) };
        both().map_err(|e| fault(DOING, e))
    }

    /// Bytes of all files of `camera`, as far as the index knows them.
    pub fn bytes(&self, camera: &CameraId) -> Result<u64> {
        let sql = "SELECT COALESCE(SUM(bytes), 0) FROM segment WHERE camera = ?1";
        self.connection.query_row(sql, [camera.as_str()], |r| r.get(0)).map_err(|e| fault(DOING, e))
    }
}
