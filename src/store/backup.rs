//! The node's database for a backup and after a restore. The copy is a database like any other; what a restored one must
//! not do again, because the centre may know better, is settled here before it is put into place.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::sqlite::{self, fault};
use super::{Node, SCHEMA, Store};
use crate::base::Result;

const DOING: &str = "cannot settle the restored database";

/// More revisions than an event can have got between a backup and its restore.
const AHEAD: u32 = 1_000_000;

/// When the database was restored from a backup, UTC milliseconds.
const RESTORED: &str = "restored_ms";

/// What a restored database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Events that were open when the backup was made.
    pub open: u64,
    /// Rows for which the backup knew no receipt.
    pub waiting: u64,
}

/// Copies the database at `path` into the new file `to`; the node may run.
///
/// # Errors
/// See [`sqlite::copy`].
pub fn copy(path: &Path, to: &Path) -> Result<()> {
    sqlite::copy(path, SCHEMA, to)
}

/// Makes a copy ready to be the node's database from `now_ms` on:
///
/// - Sequence numbers go on where none was given out: one a millisecond since 1970 is more than any node has used.
/// - So do revisions. The node that made the backup went on, and the centre keeps the first content it sees of each.
/// - Events that were open are ended without telling: how they went on only the centre may know.
///
/// # Errors
/// See [`sqlite::settle`].
pub fn settle(path: &Path, now_ms: i64) -> Result<Settled> {
    sqlite::settle(path, SCHEMA, |tx| {
        let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| tx.execute(sql, values).map_err(|e| fault(DOING, e));
        run("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", params![RESTORED, now_ms])?;
        // Where the clock has lost the time, ahead of the backup's numbers at least.
        let seq = "INSERT INTO meta (key, value) VALUES ('seq', ?1)
                   ON CONFLICT (key) DO UPDATE SET value = MAX(value + ?2, excluded.value)";
        run(seq, params![now_ms, AHEAD])?;
        run("UPDATE event SET revision = revision + ?1", params![AHEAD])?;
        // Long past, so that no clip is made of it, which would be told.
        let open = run("UPDATE event SET phase = 'ended', updated_ms = 0 WHERE phase <> 'ended'", &[])?;
        let waiting = tx.query_row("SELECT COUNT(*) FROM outbox", [], |r| r.get(0)).map_err(|e| fault(DOING, e))?;
        Ok(Settled { open: open as u64, waiting })
    })
}

impl Store {
    /// When this database was restored from a backup, UTC milliseconds.
    pub async fn restored_ms(&self) -> Result<Option<i64>> {
        self.handle.call(|node: &mut Node| restored_ms(&node.connection)).await
    }
}

fn restored_ms(connection: &Connection) -> Result<Option<i64>> {
    connection
        .query_row("SELECT value FROM meta WHERE key = ?1", [RESTORED], |r| r.get(0))
        .optional()
        .map_err(|e| fault("cannot read when the database was restored", e))
}
