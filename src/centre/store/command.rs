//! What the centre asked of its nodes, and the holds among it. A row is there before the command is sent, and stays: who
//! asked, why, and what came of it.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{Asked, Outcome, Pending};
use crate::base::{Error, ErrorKind, Result};
use crate::store::sqlite::{durable, fault};
use crate::wire::command::{Answer, AnswerState, Ask, Command, HoldState};

const DOING: &str = "cannot keep what is asked of the nodes";
/// A node that did it just before it expired may still answer.
const GRACE_MS: i64 = 60_000;
/// Commands of one node that wait at most; they are sent by sixteens.
const MOST: i64 = 1000;

/// See [`super::CommandStore::order`].
pub(super) fn order(connection: &mut Connection, node: &str, command: &Command) -> Result<()> {
    let (issued, expires) = command.life()?;
    let body = serde_json::to_string(command)
        .map_err(|e| Error::new(ErrorKind::Internal, "a command cannot be written as JSON").source(e))?;
    let failed = |e| fault(DOING, e);
    durable(connection, DOING, |tx| {
        let known = "SELECT EXISTS (SELECT 1 FROM node WHERE name = ?1)";
        if !tx.query_row(known, [node], |r| r.get::<_, bool>(0)).map_err(failed)? {
            return Err(Error::new(ErrorKind::NotFound, format!("no node `{node}` was ever here"))
                .hint("give the [node] name of the node's own configuration"));
        }
        let waiting = "SELECT COUNT(*) FROM command WHERE node = ?1 AND state = 'pending'";
        if tx.query_row(waiting, [node], |r| r.get::<_, i64>(0)).map_err(failed)? >= MOST {
            return Err(Error::new(ErrorKind::Unavailable, format!("{MOST} commands wait for `{node}` already")));
        }
        let sql = "INSERT INTO command (id, node, kind, issuer, reason, body, issued_ms, expires_ms, state)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'pending')";
        let (kind, issuer, reason) = (command.ask.kind(), &command.issuer, &command.reason);
        tx.execute(sql, params![command.id, node, kind, issuer, reason, body, issued, expires]).map_err(failed)?;
        if let (Ask::Hold { .. }, Some((camera, from, to))) = (&command.ask, command.ask.range()?) {
            let sql = "INSERT INTO hold (id, node, camera, from_ms, to_ms, reason, issuer, state)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pending')";
            tx.execute(sql, params![command.id, node, camera.as_str(), from, to, reason, issuer]).map_err(failed)?;
        }
        Ok(())
    })
}

/// See [`super::CommandStore::pending`].
pub(super) fn pending(connection: &mut Connection, now_ms: i64) -> Result<Vec<Pending>> {
    let over = now_ms - GRACE_MS;
    let failed = |e| fault(DOING, e);
    let any = "SELECT EXISTS (SELECT 1 FROM command WHERE state = 'pending' AND expires_ms < ?1)";
    if connection.query_row(any, [over], |r| r.get(0)).map_err(failed)? {
        durable(connection, DOING, |tx| {
            let holds = "UPDATE hold SET state = 'failed' WHERE state = 'pending' AND id IN
                           (SELECT id FROM command WHERE state = 'pending' AND expires_ms < ?1)";
            tx.execute(holds, [over]).map_err(failed)?;
            let commands = "UPDATE command SET state = 'expired' WHERE state = 'pending' AND expires_ms < ?1";
            tx.execute(commands, [over]).map(drop).map_err(failed)
        })?;
    }
    // Clips take their time on the node; what is done at once goes before them. One node's backlog is not another's.
    let sql = "SELECT id, node, life, body FROM (
                 SELECT c.id, c.node, n.boot_id || ' ' || n.since AS life, c.body,
                   ROW_NUMBER() OVER (PARTITION BY c.node ORDER BY c.kind = 'clip', c.issued_ms, c.id) AS place
                 FROM command c JOIN node n ON n.name = c.node AND n.state = 'online'
                 WHERE c.state = 'pending' AND c.expires_ms > ?1)
               WHERE place <= 16 ORDER BY node, place";
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let read = |r: &Row<'_>| Ok(Pending { id: r.get(0)?, node: r.get(1)?, life: r.get(2)?, body: r.get(3)? });
    statement.query_map([now_ms], read).and_then(Iterator::collect).map_err(failed)
}

/// Keeps a node's answer. One for a command that was never asked of this node, or that contradicts an earlier one,
/// is a conflict.
pub(super) fn answered(tx: &Transaction<'_>, node: &str, answer: &Answer, now_ms: i64) -> Result<Outcome> {
    let failed = |e| fault(DOING, e);
    let row = "SELECT body, answer FROM command WHERE id = ?1 AND node = ?2";
    let found: Option<(String, Option<String>)> =
        tx.query_row(row, [&answer.id, node], |r| Ok((r.get(0)?, r.get(1)?))).optional().map_err(failed)?;
    let Some((body, known)) = found else { return Ok(Outcome::Conflict) };
    let json = answer.to_json()?;
    if let Some(known) = known {
        if known == json {
            return Ok(Outcome::Duplicate);
        }
        // What was refused first may have been done at a repeat that was on its way. What was done stays done.
        if answer.state != AnswerState::Done || parse::<Answer>(&known)?.state == AnswerState::Done {
            return Ok(Outcome::Conflict);
        }
    }
    let sql = "UPDATE command SET state = ?2, answer = ?3, answered_ms = ?4 WHERE id = ?1";
    tx.execute(sql, params![answer.id, answer.state.as_str(), json, now_ms]).map_err(failed)?;
    match parse::<Command>(&body)?.ask {
        // A release that was answered first has the last word.
        Ask::Hold { .. } => {
            let state = answer.hold.filter(|_| answer.state == AnswerState::Done).map_or("failed", HoldState::as_str);
            let sql = "UPDATE hold SET state = ?2 WHERE id = ?1 AND state <> 'released'";
            tx.execute(sql, [&answer.id, state]).map_err(failed)?;
        }
        Ask::Release { hold } if answer.state == AnswerState::Done => {
            tx.execute("UPDATE hold SET state = 'released' WHERE id = ?1 AND node = ?2", [hold.as_str(), node])
                .map_err(failed)?;
        }
        Ask::Release { .. } | Ask::Clip { .. } => {}
    }
    Ok(Outcome::Status)
}

/// Commands for which `wanted` holds.
pub(super) fn asked(connection: &Connection, wanted: &str, values: impl rusqlite::Params) -> Result<Vec<Asked>> {
    let sql = format!(
        "SELECT c.node, c.body, c.issued_ms, c.expires_ms, c.state, c.answer, c.answered_ms, h.state,
           (SELECT sha256 FROM clip WHERE clip.command = c.id AND clip.command <> '' AND clip.node = c.node LIMIT 1)
         FROM command c LEFT JOIN hold h ON h.id = c.id WHERE {wanted}"
    );
    let failed = |e| fault(DOING, e);
    let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
    let mut rows = statement.query(values).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn read(r: &Row<'_>) -> Result<Asked> {
    let failed = |e| fault(DOING, e);
    let body: String = r.get(1).map_err(failed)?;
    let answer: Option<String> = r.get(5).map_err(failed)?;
    let rest = |command, answer| -> rusqlite::Result<Asked> {
        Ok(Asked {
            node: r.get(0)?,
            command,
            issued_ms: r.get(2)?,
            expires_ms: r.get(3)?,
            state: r.get(4)?,
            answer,
            answered_ms: r.get(6)?,
            hold: r.get(7)?,
            delivered: r.get(8)?,
        })
    };
    rest(parse(&body)?, answer.as_deref().map(parse).transpose()?).map_err(failed)
}

fn parse<T: serde::de::DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json)
        .map_err(|e| Error::new(ErrorKind::Corrupt, "a stored command or answer cannot be read").source(e))
}
