//! Enrolled nodes and delivered clips in the centre's database. Hashes of secrets only; the objects are elsewhere.

use rusqlite::{Connection, OptionalExtension, params};

use crate::base::{Error, ErrorKind, Result};
use crate::store::sqlite::{durable, fault};
use crate::wire::link::ClipNote;

const ENROL: &str = "cannot enrol a node";
const CLIP: &str = "cannot index a clip";
const READ: &str = "cannot read the centre's database";

/// See [`super::LinkStore::offer_code`].
pub(super) fn offer_code(connection: &mut Connection, node: &str, code_sha256: &str, expires_ms: i64) -> Result<()> {
    durable(connection, ENROL, |tx| {
        tx.execute(
            "INSERT INTO enrol_code (node, code_sha256, expires_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (node) DO UPDATE SET code_sha256 = excluded.code_sha256, expires_ms = excluded.expires_ms",
            params![node, code_sha256, expires_ms],
        )
        .map(drop)
        .map_err(|e| fault(ENROL, e))
    })
}

/// See [`super::LinkStore::enrol`].
pub(super) fn enrol(
    connection: &mut Connection,
    node: &str,
    code_sha256: &str,
    secret_sha256: &str,
    now_ms: i64,
) -> Result<bool> {
    durable(connection, ENROL, |tx| {
        let used = tx
            .execute(
                "DELETE FROM enrol_code WHERE node = ?1 AND code_sha256 = ?2 AND expires_ms > ?3",
                params![node, code_sha256, now_ms],
            )
            .map_err(|e| fault(ENROL, e))?;
        if used > 0 {
            set_secret(tx, node, secret_sha256, now_ms)?;
        }
        Ok(used > 0)
    })
}

/// See [`super::LinkStore::enrol_here`].
pub(super) fn enrol_here(connection: &mut Connection, node: &str, secret_sha256: &str, now_ms: i64) -> Result<()> {
    durable(connection, ENROL, |tx| set_secret(tx, node, secret_sha256, now_ms))
}

fn set_secret(tx: &Connection, node: &str, secret_sha256: &str, now_ms: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO enrolment (node, secret_sha256, enrolled_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (node) DO UPDATE SET secret_sha256 = excluded.secret_sha256, enrolled_ms = excluded.enrolled_ms",
        params![node, secret_sha256, now_ms],
    )
    .map(drop)
    .map_err(|e| fault(ENROL, e))
}

/// See [`super::LinkStore::secret_of`].
pub(super) fn secret_of(connection: &Connection, node: &str) -> Result<Option<String>> {
    connection
        .query_row("SELECT secret_sha256 FROM enrolment WHERE node = ?1", [node], |r| r.get(0))
        .optional()
        .map_err(|e| fault(READ, e))
}

/// See [`super::LinkStore::has_clip`].
pub(super) fn has_clip(connection: &Connection, node: &str, sha256: &str) -> Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM clip WHERE node = ?1 AND sha256 = ?2")
        .and_then(|mut s| s.exists([node, sha256]))
        .map_err(|e| fault(READ, e))
}

/// See [`super::LinkStore::add_clip`].
pub(super) fn add_clip(connection: &mut Connection, node: &str, note: &ClipNote, now_ms: i64) -> Result<bool> {
    durable(connection, CLIP, |tx| {
        tx.execute(
            "INSERT INTO clip (node, camera, sha256, bytes, event, command, from_ms, to_ms, masked, complete,
               stored_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING",
            params![
                node,
                note.camera.as_str(),
                note.sha256,
                note.bytes,
                note.event.as_deref().unwrap_or_default(),
                note.command.as_deref().unwrap_or_default(),
                note.from_ms,
                note.to_ms,
                note.masked,
                note.complete,
                now_ms,
            ],
        )
        .map(|rows| rows > 0)
        .map_err(|e| fault(CLIP, e))
    })
}

/// See [`super::LinkStore::clip_of`].
pub(super) fn clip_of(connection: &Connection, node: &str, command: &str) -> Result<Option<ClipNote>> {
    let sql = "SELECT camera, sha256, bytes, event, command, from_ms, to_ms, masked, complete FROM clip
               WHERE command = ?2 AND command <> '' AND node = ?1 ORDER BY id LIMIT 1";
    let mut statement = connection.prepare_cached(sql).map_err(|e| fault(READ, e))?;
    let mut rows = statement.query([node, command]).map_err(|e| fault(READ, e))?;
    rows.next().map_err(|e| fault(READ, e))?.map(note).transpose()
}

/// See [`super::LinkStore::clips`].
pub(super) fn clips(connection: &Connection, node: &str, event: &str) -> Result<Vec<ClipNote>> {
    let sql = "SELECT camera, sha256, bytes, event, command, from_ms, to_ms, masked, complete FROM clip
               WHERE node = ?1 AND event = ?2 ORDER BY id";
    let mut statement = connection.prepare_cached(sql).map_err(|e| fault(READ, e))?;
    let rows = statement.query_map([node, event], |r| Ok(note(r))).map_err(|e| fault(READ, e))?;
    rows.map(|row| row.map_err(|e| fault(READ, e))?).collect()
}

fn note(r: &rusqlite::Row<'_>) -> Result<ClipNote> {
    let some = |text: String| (!text.is_empty()).then_some(text);
    let camera: String = r.get(0).map_err(|e| fault(READ, e))?;
    let camera =
        camera.parse().map_err(|_| Error::new(ErrorKind::Corrupt, "a clip's row names no camera").at(&camera))?;
    let rest = || -> rusqlite::Result<ClipNote> {
        Ok(ClipNote {
            camera,
            sha256: r.get(1)?,
            bytes: r.get(2)?,
            event: some(r.get(3)?),
            command: some(r.get(4)?),
            from_ms: r.get(5)?,
            to_ms: r.get(6)?,
            masked: r.get(7)?,
            complete: r.get(8)?,
        })
    };
    rest().map_err(|e| fault(READ, e))
}
