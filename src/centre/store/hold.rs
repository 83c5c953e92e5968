//! What nodes were asked to keep, as a list: from the centre's database. How a hold comes to be stands in `command`.

use std::future::Future;

use rusqlite::params;

use super::read::list;
use super::sqlite::{SqliteStore, column};
use crate::base::Result;

/// Holds in one list at most.
pub const MAX_HOLDS: usize = 500;

/// A range that a node was asked to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHold {
    /// The command's.
    pub id: String,
    pub node: String,
    pub camera: String,
    /// UTC milliseconds, as all times here.
    pub from_ms: i64,
    pub to_ms: i64,
    /// Who asked.
    pub issuer: String,
    pub reason: String,
    pub issued_ms: i64,
    /// `pending`, `held`, `too_late`, `failed` or `released`.
    pub state: String,
}

impl StoredHold {
    /// Whether it may be released. `failed` may be of a command that expired while the node did it.
    pub fn is_active(&self) -> bool {
        ACTIVE.contains(&self.state.as_str())
    }
}

const ACTIVE: [&str; 3] = ["pending", "held", "failed"];

/// What is held.
pub trait HoldStore: Clone + Send + Sync + 'static {
    /// The last ones, newest first, at most [`MAX_HOLDS`]; with `active` only those that may be released.
    fn holds(&self, active: bool, limit: usize) -> impl Future<Output = Result<Vec<StoredHold>>> + Send;
}

impl HoldStore for SqliteStore {
    async fn holds(&self, active: bool, limit: usize) -> Result<Vec<StoredHold>> {
        let sql = "SELECT h.id, h.node, h.camera, h.from_ms, h.to_ms, h.issuer, h.reason, c.issued_ms, h.state
                   FROM hold h JOIN command c ON c.id = h.id
                   WHERE NOT ?1 OR h.state IN ('pending', 'held', 'failed')
                   ORDER BY c.issued_ms DESC, h.id DESC LIMIT ?2";
        let limit = limit.min(MAX_HOLDS) as i64;
        self.handle
            .call(move |db| {
                list(&db.connection, sql, params![active, limit], |r| {
                    Ok(StoredHold {
                        id: column(r, 0)?,
                        node: column(r, 1)?,
                        camera: column(r, 2)?,
                        from_ms: column(r, 3)?,
                        to_ms: column(r, 4)?,
                        issuer: column(r, 5)?,
                        reason: column(r, 6)?,
                        issued_ms: column(r, 7)?,
                        state: column(r, 8)?,
                    })
                })
            })
            .await
    }
}
