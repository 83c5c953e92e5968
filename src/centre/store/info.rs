//! What nodes tell of their cameras, in the centre's database: the whole of one node's at a time.

use rusqlite::{Connection, params};

use super::sqlite::{SqliteStore, column, parse};
use super::{CameraInfoStore, StoredInfo};
use crate::base::{Error, ErrorKind, Result};
use crate::store::sqlite::{durable, fault};
use crate::wire::channel::CameraInfo;

const KEEP: &str = "cannot keep what a node tells of its cameras";
const READ: &str = "cannot read the centre's database";

impl CameraInfoStore for SqliteStore {
    async fn describe(&self, node: String, revision: u64, cameras: Vec<CameraInfo>, now_ms: i64) -> Result<()> {
        self.handle.call(move |db| describe(&mut db.connection, &node, revision, &cameras, now_ms)).await
    }

    async fn descriptions(&self) -> Result<Vec<StoredInfo>> {
        self.handle.call(|db| descriptions(&db.connection)).await
    }
}

fn describe(connection: &mut Connection, node: &str, revision: u64, cameras: &[CameraInfo], now_ms: i64) -> Result<()> {
    durable(connection, KEEP, |tx| {
        tx.execute("DELETE FROM camera_info WHERE node = ?1", [node]).map_err(|e| fault(KEEP, e))?;
        for camera in cameras {
            let json = serde_json::to_string(camera)
                .map_err(|e| Error::new(ErrorKind::Internal, "a camera cannot be written as JSON").source(e))?;
            tx.prepare_cached(
                "INSERT INTO camera_info (node, camera, revision, json, updated_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            )
            .and_then(|mut s| s.execute(params![node, camera.id.as_str(), revision, json, now_ms]))
            .map_err(|e| fault(KEEP, e))?;
        }
        Ok(())
    })
}

fn descriptions(connection: &Connection) -> Result<Vec<StoredInfo>> {
    let sql = "SELECT node, revision, json, updated_ms FROM camera_info ORDER BY node, camera";
    let mut statement = connection.prepare_cached(sql).map_err(|e| fault(READ, e))?;
    let mut rows = statement.query([]).map_err(|e| fault(READ, e))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(|e| fault(READ, e))? {
        let json: String = column(row, 2)?;
        found.push(StoredInfo {
            node: column(row, 0)?,
            revision: column(row, 1)?,
            camera: parse(&json)?,
            updated_ms: column(row, 3)?,
        });
    }
    Ok(found)
}
