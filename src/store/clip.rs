//! Clips on this machine: a row a file, and the revision that tells the centre of an event's clip. A row comes after its
//! file is on disk; whoever retires a row removes the file after it.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::commit::{Cause, append, known, readable, stored_report};
use super::hold::HELD;
use super::sqlite::{durable, fault};
use super::{Committed, Node, Store};
use crate::base::types::{CameraId, ClipInfo, EventReport, Phase};
use crate::base::{Error, ErrorKind, Result, Stamp};

const DOING: &str = "cannot keep the index of clips";

/// A clip as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewClip {
    pub camera: CameraId,
    /// The command that asked for it.
    pub command: Option<String>,
    /// Relative to the directory of clips.
    pub path: String,
    pub info: ClipInfo,
    /// The centre is to have it.
    pub deliver: bool,
}

/// A clip as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    pub id: i64,
    pub camera: CameraId,
    /// None: it was made for a command.
    pub event: Option<String>,
    /// Relative to the directory of clips.
    pub path: String,
    pub sha256: String,
    pub bytes: u64,
    /// UTC milliseconds.
    pub from_ms: i64,
    /// UTC milliseconds.
    pub to_ms: i64,
    pub masked: bool,
    pub complete: bool,
    pub held: bool,
    /// The centre is to have it and has not said that it does.
    pub awaited: bool,
}

/// A row that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    pub path: String,
    /// No other row needs the file.
    pub last: bool,
}

impl Store {
    /// Notes a clip that belongs to no event; gives its number.
    pub async fn add_clip(&self, clip: NewClip, now: Stamp) -> Result<i64> {
        self.handle.call(move |node| durable(&mut node.connection, DOING, |tx| insert(tx, None, &clip, now))).await
    }

    /// Notes the clip of `event`, and tells of it in a revision, in one transaction. No revision when the event is
    /// forgotten already, or has a complete clip and this one is not.
    pub async fn set_clip(&self, event: String, clip: NewClip, now: Stamp) -> Result<Option<Committed>> {
        self.handle.call(move |node| node.set_clip(&event, &clip, now)).await
    }

    /// Ended events of cameras that changed since `since_ms` and have no complete clip, oldest first.
    pub async fn events_without_clip(&self, since_ms: i64) -> Result<Vec<EventReport>> {
        self.handle.call(move |node| node.events_without_clip(since_ms)).await
    }

    /// Clips of running events that another has replaced and that nobody needs: no message names them, nobody holds them,
    /// the centre does not wait for them.
    pub async fn superseded_clips(&self) -> Result<Vec<Clip>> {
        let wanted = "complete = 0 AND held = 0 AND (deliver = 0 OR delivered_ms IS NOT NULL)
            AND EXISTS (SELECT 1 FROM clip newer WHERE newer.event = clip.event AND newer.id > clip.id)
            AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.event = clip.event AND kind = 'event'
                            AND instr(payload, CAST(clip.sha256 AS BLOB)) > 0) ORDER BY id";
        self.handle.call(move |node| select(&node.connection, wanted, [])).await
    }

    /// Forgets a clip that nobody holds, for whoever then removes its file; none when it has come to be held since, or
    /// when the centre waits for it and `though_awaited` is not set.
    pub async fn retire_clip(&self, id: i64, though_awaited: bool) -> Result<Option<Retired>> {
        self.handle
            .call(move |node| {
                durable(&mut node.connection, DOING, |tx| {
                    let sql = "DELETE FROM clip WHERE id = ?1 AND held = 0
                                 AND (?2 OR deliver = 0 OR delivered_ms IS NOT NULL) RETURNING path";
                    let path: Option<String> = tx
                        .query_row(sql, params![id, though_awaited], |r| r.get(0))
                        .optional()
                        .map_err(|e| fault(DOING, e))?;
                    path.map(|path| retired(tx, path)).transpose()
                })
            })
            .await
    }

    /// Forgets a clip whose file is not there.
    pub async fn forget_clip(&self, id: i64) -> Result<()> {
        self.handle
            .call(move |node| {
                durable(&mut node.connection, DOING, |tx| {
                    tx.execute("DELETE FROM clip WHERE id = ?1", [id]).map(drop).map_err(|e| fault(DOING, e))
                })
            })
            .await
    }
}

impl Node {
    fn set_clip(&mut self, event: &str, clip: &NewClip, now: Stamp) -> Result<Option<Committed>> {
        let Self { connection, settings, .. } = self;
        let mut committed = durable(connection, DOING, |tx| {
            let id = insert(tx, Some(event), clip, now)?;
            supersede(tx, event, id)?;
            let Some(known) = known(tx, event)? else { return Ok(None) };
            if known.clip.as_ref().is_some_and(|c| c.complete) && !clip.info.complete {
                return Ok(None);
            }
            let Some(mut report) = readable(stored_report(tx, event))? else { return Ok(None) };
            report.clip = Some(clip.info.clone());
            report.updated_at = now;
            if report.phase == Phase::Started {
                report.phase = Phase::Updated;
            }
            append(tx, &settings.origin, &report, Some(&known), None, Cause::Fact, now).map(Some)
        })?;
        if let Some(committed) = &mut committed {
            self.announce(committed);
        }
        Ok(committed)
    }

    fn events_without_clip(&mut self, since_ms: i64) -> Result<Vec<EventReport>> {
        let sql = "SELECT report FROM event WHERE phase = 'ended' AND camera <> '' AND updated_ms >= ?1
                   ORDER BY started_ms, id";
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| fault(DOING, e))?;
        let rows = statement.query_map([since_ms], |r| r.get::<_, String>(0)).map_err(|e| fault(DOING, e))?;
        let mut found = Vec::new();
        for json in rows {
            // One that cannot be read gets no clip either.
            let report = serde_json::from_str::<EventReport>(&json.map_err(|e| fault(DOING, e))?);
            found.extend(report.ok().filter(|r| r.clip.as_ref().is_none_or(|c| !c.complete)));
        }
        Ok(found)
    }
}

/// A row of `clip`; gives its number.
pub(super) fn insert(tx: &Transaction<'_>, event: Option<&str>, clip: &NewClip, now: Stamp) -> Result<i64> {
    let info = &clip.info;
    let held = HELD.replace("{from}", "?7").replace("{to}", "?8");
    let sql = format!(
        "INSERT INTO clip (camera, event, command, path, sha256, bytes, from_ms, to_ms, masked, complete, created_ms,
           deliver, held) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, {held}) RETURNING id"
    );
    let values = params![
        clip.camera.as_str(),
        event,
        clip.command,
        clip.path,
        info.sha256,
        info.bytes,
        info.from_ms,
        info.to_ms,
        info.masked,
        info.complete,
        now.wall_ms,
        clip.deliver,
    ];
    tx.prepare_cached(&sql).and_then(|mut s| s.query_row(values, |r| r.get(0))).map_err(|e| fault(DOING, e))
}

/// What the new clip of the event has too need not go to the centre any more.
fn supersede(tx: &Transaction<'_>, event: &str, newer: i64) -> Result<()> {
    let sql = "UPDATE clip SET deliver = 0
               WHERE event = ?1 AND id <> ?2 AND complete = 0 AND delivered_ms IS NULL AND held = 0";
    tx.execute(sql, params![event, newer]).map(drop).map_err(|e| fault(DOING, e))
}

fn retired(tx: &Transaction<'_>, path: String) -> Result<Retired> {
    let needed = "SELECT EXISTS (SELECT 1 FROM clip WHERE path = ?1)";
    let needed: bool = tx.query_row(needed, [&path], |r| r.get(0)).map_err(|e| fault(DOING, e))?;
    Ok(Retired { path, last: !needed })
}

/// Clips for which `wanted` holds.
pub(super) fn select(connection: &Connection, wanted: &str, values: impl rusqlite::Params) -> Result<Vec<Clip>> {
    let sql = format!(
        "SELECT id, camera, event, path, sha256, bytes, from_ms, to_ms, masked, complete, held,
           deliver = 1 AND delivered_ms IS NULL FROM clip WHERE {wanted}"
    );
    let mut statement = connection.prepare_cached(&sql).map_err(|e| fault(DOING, e))?;
    let rows = statement.query_map(values, |r| Ok(clip(r))).map_err(|e| fault(DOING, e))?;
    rows.map(|row| row.map_err(|e| fault(DOING, e))?).collect()
}

fn clip(r: &Row<'_>) -> Result<Clip> {
    let id: i64 = r.get(0).map_err(|e| fault(DOING, e))?;
    let camera: String = r.get(1).map_err(|e| fault(DOING, e))?;
    let camera = camera.parse().map_err(|_| Error::new(ErrorKind::Corrupt, format!("clip {id} names no camera")))?;
    let rest = || -> rusqlite::Result<Clip> {
        Ok(Clip {
            id,
            camera,
            event: r.get(2)?,
            path: r.get(3)?,
            sha256: r.get(4)?,
            bytes: r.get(5)?,
            from_ms: r.get(6)?,
            to_ms: r.get(7)?,
            masked: r.get(8)?,
            complete: r.get(9)?,
            held: r.get(10)?,
            awaited: r.get(11)?,
        })
    };
    rest().map_err(|e| fault(DOING, e))
}
