//! Clips on their way to the centre. A row says `delivered` only on the centre's word that it has all of it.

use rusqlite::{OptionalExtension, Row, params};

use super::sqlite::{durable, fault};
use super::{Node, Store};
use crate::base::types::CameraId;
use crate::base::{Error, ErrorKind, Result};
use crate::wire::link::ClipNote;

const DOING: &str = "cannot follow the delivery of clips";

/// A clip that the centre is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its row.
    pub id: i64,
    /// Relative to the directory of clips.
    pub path: String,
    pub note: ClipNote,
}

impl Store {
    /// The next clip for the centre: what it asked for first, then the oldest.
    pub async fn next_delivery(&self) -> Result<Option<Delivery>> {
        self.handle.call(Node::next_delivery).await
    }

    /// Clips that wait for delivery.
    pub async fn deliveries_waiting(&self) -> Result<u64> {
        self.handle
            .call(|node| {
                let sql = "SELECT COUNT(*) FROM clip WHERE deliver = 1 AND delivered_ms IS NULL AND parked IS NULL";
                node.connection.query_row(sql, [], |r| r.get(0)).map_err(|e| fault(DOING, e))
            })
            .await
    }

    /// The centre has the clip of row `id`.
    pub async fn delivered(&self, id: i64, now_ms: i64) -> Result<()> {
        self.handle
            .call(move |node| {
                durable(&mut node.connection, DOING, |tx| {
                    let sql = "UPDATE clip SET delivered_ms = ?2 WHERE id = ?1 AND delivered_ms IS NULL";
                    tx.execute(sql, params![id, now_ms]).map(drop).map_err(|e| fault(DOING, e))
                })
            })
            .await
    }

    /// The clip of row `id` cannot be delivered and holds the others up no longer.
    pub async fn park_delivery(&self, id: i64, reason: String) -> Result<()> {
        self.handle
            .call(move |node| {
                durable(&mut node.connection, DOING, |tx| {
                    let sql = "UPDATE clip SET parked = ?2 WHERE id = ?1";
                    tx.execute(sql, params![id, reason]).map(drop).map_err(|e| fault(DOING, e))
                })
            })
            .await
    }

    /// Gives what was put aside another chance; says how many.
    pub async fn retry_deliveries(&self) -> Result<usize> {
        self.handle
            .call(|node| {
                durable(&mut node.connection, DOING, |tx| {
                    tx.execute("UPDATE clip SET parked = NULL WHERE parked IS NOT NULL", [])
                        .map_err(|e| fault(DOING, e))
                })
            })
            .await
    }

    /// Whether a fresh alert waits to be sent: uploads let it go first.
    pub async fn alert_waits(&self) -> Result<bool> {
        self.handle
            .call(|node| {
                let sql = "SELECT EXISTS (SELECT 1 FROM outbox WHERE live = 1 AND state = 'pending')";
                node.connection.query_row(sql, [], |r| r.get(0)).map_err(|e| fault(DOING, e))
            })
            .await
    }
}

impl Node {
    fn next_delivery(&mut self) -> Result<Option<Delivery>> {
        let sql = "SELECT id, path, camera, sha256, bytes, event, command, from_ms, to_ms, masked, complete FROM clip
                   WHERE deliver = 1 AND delivered_ms IS NULL AND parked IS NULL
                   ORDER BY command IS NULL, id LIMIT 1";
        let found = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut s| s.query_row([], |r| Ok(delivery(r))).optional())
            .map_err(|e| fault(DOING, e))?;
        found.transpose()
    }
}

fn delivery(r: &Row<'_>) -> Result<Delivery> {
    let id: i64 = r.get(0).map_err(|e| fault(DOING, e))?;
    let camera: String = r.get(2).map_err(|e| fault(DOING, e))?;
    let camera: CameraId =
        camera.parse().map_err(|_| Error::new(ErrorKind::Corrupt, format!("clip {id} names no camera")))?;
    let rest = || -> rusqlite::Result<Delivery> {
        let note = ClipNote {
            sha256: r.get(3)?,
            bytes: r.get(4)?,
            camera,
            event: r.get(5)?,
            command: r.get(6)?,
            from_ms: r.get(7)?,
            to_ms: r.get(8)?,
            masked: r.get(9)?,
            complete: r.get(10)?,
        };
        Ok(Delivery { id, path: r.get(1)?, note })
    };
    rest().map_err(|e| fault(DOING, e))
}
