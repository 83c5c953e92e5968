//! What was covered of each camera's picture, and since when. Recordings hold the whole picture; whoever shows one burns
//! in what was covered when it was recorded, not only what is covered now.

use rusqlite::{Connection, OptionalExtension, params};

use super::Store;
use super::sqlite::{durable, fault};
use crate::base::geometry::Polygon;
use crate::base::types::CameraId;
use crate::base::{Error, ErrorKind, Result};

const DOING: &str = "cannot keep the masks";

/// Clocks are set, and a document is applied a moment before or after the picture it concerns: a mask counts for so much
/// longer on either side.
const MARGIN_MS: i64 = 60_000;

impl Store {
    /// From `since_ms` on `polygons` are the masks of `camera`; nothing happens when they were before.
    pub async fn note_masks(&self, camera: CameraId, polygons: Vec<Polygon>, since_ms: i64) -> Result<()> {
        let json = serde_json::to_string(&polygons)
            .map_err(|e| Error::new(ErrorKind::Internal, "masks cannot be written as JSON").source(e))?;
        self.handle
            .call(move |node| {
                durable(&mut node.connection, DOING, |tx| {
                    let last = "SELECT polygons FROM mask WHERE camera = ?1 ORDER BY id DESC LIMIT 1";
                    let last: Option<String> =
                        tx.query_row(last, [camera.as_str()], |r| r.get(0)).optional().map_err(|e| fault(DOING, e))?;
                    if last.as_ref() == Some(&json) {
                        return Ok(());
                    }
                    let sql = "INSERT INTO mask (camera, since_ms, polygons) VALUES (?1, ?2, ?3)";
                    tx.execute(sql, params![camera.as_str(), since_ms, json]).map(drop).map_err(|e| fault(DOING, e))
                })
            })
            .await
    }

    /// Every mask that was in force for `camera` at some moment between `from_ms` and `to_ms`; `None` when nothing is
    /// known of its masks at all.
    pub async fn masks(&self, camera: CameraId, from_ms: i64, to_ms: i64) -> Result<Option<Vec<Polygon>>> {
        self.handle.call(move |node| masks(&node.connection, &camera, from_ms, to_ms)).await
    }
}

/// See [`Store::masks`].
pub(super) fn masks(
    connection: &Connection,
    camera: &CameraId,
    from_ms: i64,
    to_ms: i64,
) -> Result<Option<Vec<Polygon>>> {
    let sql = "SELECT since_ms, polygons FROM mask WHERE camera = ?1 ORDER BY id";
    let mut statement = connection.prepare_cached(sql).map_err(|e| fault(DOING, e))?;
    let rows = statement
        .query_map([camera.as_str()], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?)))
        .map_err(|e| fault(DOING, e))?;
    let history: Vec<(i64, String)> = rows.collect::<rusqlite::Result<_>>().map_err(|e| fault(DOING, e))?;
    if history.is_empty() {
        return Ok(None);
    }
    let mut union: Vec<Polygon> = Vec::new();
    for (n, (since_ms, json)) in history.iter().enumerate() {
        // What was before the first is not known: then the first counts.
        let begins = if n == 0 { i64::MIN } else { *since_ms };
        let ends = history.get(n + 1).map_or(i64::MAX, |next| next.0);
        // Between two documents the clock may have been set back.
        let (begins, ends) = (begins.min(ends), begins.max(ends));
        if begins.saturating_sub(MARGIN_MS) > to_ms || ends.saturating_add(MARGIN_MS) < from_ms {
            continue;
        }
        let polygons: Vec<Polygon> = serde_json::from_str(json)
            .map_err(|e| Error::new(ErrorKind::Corrupt, "the masks of old cannot be read").camera(camera).source(e))?;
        for polygon in polygons {
            if !union.contains(&polygon) {
                union.push(polygon);
            }
        }
    }
    Ok(Some(union))
}
