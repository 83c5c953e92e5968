//! What can still be read of a corrupt database goes into the new one: events, pictures and rows that the centre has not
//! receipted, and the index of recordings. Best effort: a damaged page costs the rows on it, not the others.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Transaction, params_from_iter};

use super::sqlite::{durable, fault};
use crate::base::Result;

/// In the order of their references.
const TABLES: [&str; 10] =
    ["event", "snapshot", "outbox", "phantoms", "segment", "gap", "clip", "command", "hold", "mask"];

/// Copies from `aside` into `fresh`; returns how many outbox rows came over. Fails only if `fresh` cannot be written.
pub(super) fn salvage(aside: &Path, fresh: &mut Connection) -> Result<u64> {
    let Ok(old) = Connection::open_with_flags(aside, OpenFlags::SQLITE_OPEN_READ_WRITE) else { return Ok(0) };
    durable(fresh, "cannot take over what was saved", |tx| {
        for table in TABLES {
            // From both ends: a damaged page in the middle stops each of them.
            for order in ["ASC", "DESC"] {
                if let Err(e) = copy(&old, tx, table, order) {
                    tracing::warn!(error = %e, table, order, "reading the corrupt database ended here");
                }
            }
        }
        tx.query_row("SELECT COUNT(*) FROM outbox", [], |r| r.get(0))
            .map_err(|e| fault("cannot count what was saved", e))
    })
}

fn copy(old: &Connection, tx: &Transaction<'_>, table: &str, order: &str) -> rusqlite::Result<()> {
    let mut read = old.prepare(&format!("SELECT * FROM {table} ORDER BY rowid {order}"))?;
    let columns = read.column_count();
    let places = vec!["?"; columns].join(", ");
    let mut write = tx.prepare(&format!("INSERT OR IGNORE INTO {table} VALUES ({places})"))?;
    let mut rows = read.query([])?;
    while let Some(row) = rows.next()? {
        let values = (0..columns).map(|n| row.get::<_, Value>(n)).collect::<rusqlite::Result<Vec<_>>>()?;
        // A row whose event is lost breaks its reference and is left.
        write.execute(params_from_iter(values)).ok();
    }
    Ok(())
}
