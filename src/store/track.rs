//! Where objects went, for a day. Worth having, but no event ever waits for it: a power cut may take the last of it.

use rusqlite::{Connection, params};

use super::Store;
use super::sqlite::{fault, relaxed};
use crate::base::trajectory::Trajectory;
use crate::base::types::CameraId;
use crate::base::{Result, Stamp};

const DOING: &str = "cannot keep where objects went";

/// A row as far into the future as this was written while the clock was wrong.
const FUTURE_MS: i64 = 3_600_000;

impl Store {
    /// Keeps pieces of tracks, and forgets what ended before `before_ms` (UTC); returns how many rows are forgotten.
    pub async fn keep_tracks(&self, pieces: Vec<(CameraId, Trajectory)>, before_ms: i64, now: Stamp) -> Result<usize> {
        let rows = pieces.iter().map(|(camera, t)| Ok((camera.clone(), t.pack()?))).collect::<Result<Vec<_>>>()?;
        self.handle
            .call(move |node| {
                relaxed(&mut node.connection, DOING, |tx| {
                    let sql = "INSERT INTO track (camera, track, since_ms, label, start_ms, end_ms, points)
                               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
                    let mut insert = tx.prepare_cached(sql).map_err(|e| fault(DOING, e))?;
                    for ((_, t), (camera, points)) in pieces.iter().zip(&rows) {
                        let (label, end_ms) = (&*t.label, t.end_ms());
                        insert
                            .execute(params![camera.as_str(), t.track, t.since_ms, label, t.start_ms, end_ms, points])
                            .map_err(|e| fault(DOING, e))?;
                    }
                    let sql = "DELETE FROM track WHERE end_ms < ?1 OR end_ms > ?2";
                    tx.execute(sql, [before_ms, now.wall_ms + FUTURE_MS]).map_err(|e| fault(DOING, e))
                })
            })
            .await
    }
}

/// Pieces of `camera`'s tracks with something between `from_ms` and `to_ms`, oldest first. One that cannot be read is
/// left out.
pub(super) fn tracks(connection: &Connection, camera: &CameraId, from_ms: i64, to_ms: i64) -> Result<Vec<Trajectory>> {
    let doing = "cannot read where objects went";
    let sql = "SELECT track, since_ms, label, start_ms, points FROM track
               WHERE camera = ?1 AND start_ms < ?3 AND end_ms >= ?2 ORDER BY start_ms, id";
    let mut statement = connection.prepare_cached(sql).map_err(|e| fault(doing, e))?;
    let mut rows = statement.query(params![camera.as_str(), from_ms, to_ms]).map_err(|e| fault(doing, e))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(|e| fault(doing, e))? {
        let read = || -> rusqlite::Result<(u64, i64, String, i64, Vec<u8>)> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        };
        let (track, since_ms, label, start_ms, points) = read().map_err(|e| fault(doing, e))?;
        match Trajectory::unpack(track, since_ms, label.as_str().into(), start_ms, &points) {
            Ok(piece) => found.push(piece),
            Err(e) => tracing::warn!(camera = camera.as_str(), track, "{e}"),
        }
    }
    Ok(found)
}
