//! Holds: ranges of a camera that nothing deletes, whatever is recorded or made of them, until they are released. Every
//! row of a segment or clip carries whether it is held, so that whoever deletes asks in the same statement.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::recording::{WITHIN, gaps, select};
use super::sqlite::{durable, fault};
use super::{Node, Store};
use crate::base::types::{CameraId, Gap, Segment};
use crate::base::{Error, ErrorKind, Result, Stamp};

const DOING: &str = "cannot keep the holds";

/// Whether something of camera ?1 from `{from}` to `{to}` is held. What grows counts by its beginning only: it is looked
/// at again when it ends, and until then nothing deletes it.
pub(super) const HELD: &str = "EXISTS (SELECT 1 FROM hold WHERE hold.camera = ?1
    AND hold.from_ms < COALESCE({to}, {from} + 1) AND hold.to_ms > {from})";

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// A UUID: the command's, or one made for a person at this machine.
    pub id: String,
    pub camera: CameraId,
    /// UTC milliseconds.
    pub from_ms: i64,
    /// UTC milliseconds.
    pub to_ms: i64,
    pub reason: String,
    /// Who asked for it.
    pub issuer: String,
}

/// What a hold found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holding {
    /// What is there of the range is kept, and what is still to be recorded in it will be.
    Held { segments: Vec<Segment>, gaps: Vec<Gap>, clips: u32 },
    /// The range is over and nothing of it is left: there is no hold.
    TooLate { gaps: Vec<Gap> },
}

impl Store {
    /// Holds a range. The same hold again gives the same answer, with what is there now.
    ///
    /// # Errors
    /// `Invalid` for an empty range, or when another hold has this id.
    pub async fn hold(&self, hold: Hold, now: Stamp) -> Result<Holding> {
        self.handle.call(move |node| node.hold(&hold, now)).await
    }

    /// Ends a hold; what no other hold covers may leave again. `None` when there is no such hold.
    pub async fn release(&self, id: String) -> Result<Option<Hold>> {
        self.handle.call(move |node| node.release(&id)).await
    }

    /// Every hold, oldest first.
    pub async fn holds(&self) -> Result<Vec<Hold>> {
        self.handle.call(|node| holds(&node.connection)).await
    }
}

impl Node {
    fn hold(&mut self, hold: &Hold, now: Stamp) -> Result<Holding> {
        durable(&mut self.connection, DOING, |tx| hold_in(tx, hold, now))
    }

    fn release(&mut self, id: &str) -> Result<Option<Hold>> {
        durable(&mut self.connection, DOING, |tx| release_in(tx, id))
    }
}

/// See [`Store::hold`].
pub(super) fn hold_in(tx: &Transaction<'_>, hold: &Hold, now: Stamp) -> Result<Holding> {
    if hold.to_ms <= hold.from_ms {
        return Err(Error::new(ErrorKind::Invalid, "the range to hold ends before it begins").camera(&hold.camera));
    }
    let range = params![hold.camera.as_str(), hold.from_ms, hold.to_ms];
    let there = one(tx, &hold.id)?;
    let same = |h: &Hold| (&h.camera, h.from_ms, h.to_ms) == (&hold.camera, hold.from_ms, hold.to_ms);
    if there.as_ref().is_some_and(|h| !same(h)) {
        return Err(Error::new(ErrorKind::Invalid, format!("hold {} is of another range", hold.id)));
    }
    let segments = select(tx, WITHIN, range)?;
    let gaps = gaps(tx, &hold.camera, hold.from_ms, hold.to_ms)?;
    let clips = "SELECT COUNT(*) FROM clip WHERE camera = ?1 AND from_ms < ?3 AND to_ms > ?2";
    let clips: u32 = tx.query_row(clips, range, |r| r.get(0)).map_err(|e| fault(DOING, e))?;
    if there.is_none() && segments.is_empty() && clips == 0 && hold.to_ms <= now.wall_ms {
        return Ok(Holding::TooLate { gaps });
    }
    let sql = "INSERT OR IGNORE INTO hold (id, camera, from_ms, to_ms, reason, issuer, created_ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let camera = hold.camera.as_str();
    tx.execute(sql, params![hold.id, camera, hold.from_ms, hold.to_ms, hold.reason, hold.issuer, now.wall_ms])
        .map_err(|e| fault(DOING, e))?;
    look_again(tx, hold)?;
    Ok(Holding::Held { segments, gaps, clips })
}

/// See [`Store::release`].
pub(super) fn release_in(tx: &Transaction<'_>, id: &str) -> Result<Option<Hold>> {
    let Some(hold) = one(tx, id)? else { return Ok(None) };
    tx.execute("DELETE FROM hold WHERE id = ?1", [id]).map_err(|e| fault(DOING, e))?;
    look_again(tx, &hold)?;
    Ok(Some(hold))
}

/// Marks what lies in the range of `hold`, which came or went.
fn look_again(tx: &Transaction<'_>, hold: &Hold) -> Result<()> {
    for (table, from, to) in [("segment", "start_ms", "end_ms"), ("clip", "from_ms", "to_ms")] {
        let (from, to) = (format!("{table}.{from}"), format!("{table}.{to}"));
        let held = HELD.replace("{from}", &from).replace("{to}", &to);
        let sql = format!(
            "UPDATE {table} SET held = {held} WHERE camera = ?1 AND {from} < ?3 AND ({to} IS NULL OR {to} > ?2)"
        );
        tx.execute(&sql, params![hold.camera.as_str(), hold.from_ms, hold.to_ms]).map_err(|e| fault(DOING, e))?;
    }
    Ok(())
}

const COLUMNS: &str = "SELECT id, camera, from_ms, to_ms, reason, issuer FROM hold";

fn one(connection: &Connection, id: &str) -> Result<Option<Hold>> {
    let found = connection.query_row(&format!("{COLUMNS} WHERE id = ?1"), [id], |r| Ok(read(r))).optional();
    found.map_err(|e| fault(DOING, e))?.transpose()
}

/// See [`Store::holds`].
pub(super) fn holds(connection: &Connection) -> Result<Vec<Hold>> {
    let sql = format!("{COLUMNS} ORDER BY created_ms, id");
    let mut statement = connection.prepare_cached(&sql).map_err(|e| fault(DOING, e))?;
    let rows = statement.query_map([], |r| Ok(read(r))).map_err(|e| fault(DOING, e))?;
    rows.map(|row| row.map_err(|e| fault(DOING, e))?).collect()
}

fn read(r: &Row<'_>) -> Result<Hold> {
    let texts = || -> rusqlite::Result<[String; 4]> { Ok([r.get(0)?, r.get(1)?, r.get(4)?, r.get(5)?]) };
    let [id, camera, reason, issuer] = texts().map_err(|e| fault(DOING, e))?;
    let camera = camera.parse().map_err(|_| Error::new(ErrorKind::Corrupt, format!("hold {id} names no camera")))?;
    let span = || -> rusqlite::Result<(i64, i64)> { Ok((r.get(2)?, r.get(3)?)) };
    let (from_ms, to_ms) = span().map_err(|e| fault(DOING, e))?;
    Ok(Hold { id, camera, from_ms, to_ms, reason, issuer })
}
