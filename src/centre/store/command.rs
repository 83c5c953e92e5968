//! What the centre asked of its nodes, and the holds among it. A row is there before the command is sent, and stays.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Asked, Outcome, Pending};
use crate::base::{Error, ErrorKind, Result};
use crate::store::sqlite::{durable, fault};
use crate::wire::command::{Answer, Ask, Command};
use crate::wire::event::parse_rfc3339;

const DOING: &str = "cannot keep what is asked of the nodes";
/// A node that did it just before it expired may still answer.
const GRACE_MS: i64 = 60_000;

/// See [`super::CommandStore::order`].
pub(super) fn order(connection: &mut Connection, node: &str, command: &Command) -> Result<()> {
    let (issued, expires) = (parse_rfc3339(&command.issued_at)?, parse_rfc3339(&command.expires_at)?);
    let body = serde_json::to_string(command)
        .map_err(|e| Error::new(ErrorKind::Internal, "a command cannot be written as JSON").source(e))?;
    durable(connection, DOING, |tx| {
        let sql = "INSERT INTO command (id, node, kind, body, issued_ms, expires_ms, state)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'pending')";
        tx.execute(sql, params![command.id, node, command.ask.kind(), body, issued, expires])
            .map_err(|e| fault(DOING, e))?;
        if let Ask::Hold { camera, from, to, reason } = &command.ask {
            let sql = "INSERT INTO hold (id, node, camera, from_ms, to_ms, reason, issuer, state)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pending')";
            let (from, to) = (parse_rfc3339(from)?, parse_rfc3339(to)?);
            tx.execute(sql, params![command.id, node, camera.as_str(), from, to, reason, command.issuer])
                .map_err(|e| fault(DOING, e))?;
        }
        Ok(())
    })
}

/// See [`super::CommandStore::pending`].
pub(super) fn pending(connection: &mut Connection, now_ms: i64) -> Result<Vec<Pending>> {
    let over = now_ms - GRACE_MS;
    let any = "SELECT EXISTS (SELECT 1 FROM command WHERE state = 'pending' AND expires_ms < ?1)";
    if connection.query_row(any, [over], |r| r.get(0)).map_err(|e| fault(DOING, e))? {
        durable(connection, DOING, |tx| {
            tx.execute(
                "UPDATE hold SET state = 'failed' WHERE state = 'pending' AND id IN
                   (SELECT id FROM command WHERE state = 'pending' AND expires_ms < ?1)",
                [over],
            )
            .and_then(|_| {
                let sql = "UPDATE command SET state = 'expired' WHERE state = 'pending' AND expires_ms < ?1";
                tx.execute(sql, [over])
            })
            .map(drop)
            .map_err(|e| fault(DOING, e))
        })?;
    }
    let sql = "SELECT c.id, c.node, c.body FROM command c JOIN node n ON n.name = c.node AND n.state = 'online'
               WHERE c.state = 'pending' ORDER BY c.issued_ms LIMIT 64";
    let mut statement = connection.prepare_cached(sql).map_err(|e| fault(DOING, e))?;
    let rows = statement.query_map([], |r| Ok(Pending { id: r.get(0)?, node: r.get(1)?, body: r.get(2)? }));
    rows.and_then(Iterator::collect).map_err(|e| fault(DOING, e))
}

/// Keeps a node's answer. One for a command that was never asked of this node is a conflict.
pub(super) fn answered(tx: &Transaction<'_>, node: &str, answer: &Answer, now_ms: i64) -> Result<Outcome> {
    let row = "SELECT state, kind, body FROM command WHERE id = ?1 AND node = ?2";
    let found: Option<(String, String, String)> = tx
        .query_row(row, [&answer.id, node], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .optional()
        .map_err(|e| fault(DOING, e))?;
    let Some((state, kind, body)) = found else { return Ok(Outcome::Conflict) };
    if state == "answered" {
        return Ok(Outcome::Duplicate);
    }
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| tx.execute(sql, values).map_err(|e| fault(DOING, e));
    run(
        "UPDATE command SET state = 'answered', answer = ?2, detail = ?3, answered_ms = ?4 WHERE id = ?1",
        &[&answer.id, &answer.state.as_str(), &answer.detail, &now_ms],
    )?;
    let result = answer.hold.map(|h| h.as_str());
    if kind == "hold" {
        // A release that overtook it has the last word.
        let sql = "UPDATE hold SET state = ?2 WHERE id = ?1 AND state <> 'released'";
        run(sql, &[&answer.id, &result.unwrap_or("failed")])?;
    } else if result == Some("released")
        && let Ok(Command { ask: Ask::Release { hold }, .. }) = serde_json::from_str(&body)
    {
        run("UPDATE hold SET state = 'released' WHERE id = ?1 AND node = ?2", &[&hold, &node])?;
    }
    Ok(Outcome::Status)
}

/// See [`super::CommandStore::asked`].
pub(super) fn asked(connection: &Connection, id: &str) -> Result<Option<Asked>> {
    let sql = "SELECT c.node, c.kind, c.state, COALESCE(c.answer, ''), COALESCE(c.detail, ''), COALESCE(h.state, '')
               FROM command c LEFT JOIN hold h ON h.id = c.id WHERE c.id = ?1";
    let read = |r: &rusqlite::Row<'_>| {
        Ok(Asked {
            node: r.get(0)?,
            kind: r.get(1)?,
            state: r.get(2)?,
            answer: r.get(3)?,
            detail: r.get(4)?,
            hold: r.get(5)?,
        })
    };
    connection.query_row(sql, [id], read).optional().map_err(|e| fault(DOING, e))
}
