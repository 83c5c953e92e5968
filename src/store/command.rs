//! What the centre asked of this node: kept with its answer, so that a command that comes again is answered and not done
//! again.

use rusqlite::{OptionalExtension, params};

use super::Store;
use super::sqlite::{durable, fault};
use crate::base::{Error, ErrorKind, Result};

const DOING: &str = "cannot keep the centre's commands";
/// Commands remembered; while so many have not expired no further one is taken.
const MOST: i64 = 10_000;
/// An expired command is remembered for another day: it may still be asked for its answer.
const REMEMBER_MS: i64 = 24 * 3600 * 1000;

impl Store {
    /// The answer that was given to a command, if it was.
    pub async fn command_answer(&self, id: String) -> Result<Option<String>> {
        let sql = "SELECT answer FROM command WHERE id = ?1";
        self.handle
            .call(move |node| {
                let found = node.connection.query_row(sql, [&id], |r| r.get(0)).optional();
                found.map(Option::flatten).map_err(|e| fault(DOING, e))
            })
            .await
    }

    /// Takes a command on; forgets old ones.
    ///
    /// # Errors
    /// `Unavailable` when too many are remembered.
    pub async fn take_command(
        &self,
        id: String,
        kind: &'static str,
        body: String,
        expires_ms: i64,
        now_ms: i64,
    ) -> Result<()> {
        self.handle
            .call(move |node| {
                durable(&mut node.connection, DOING, |tx| {
                    tx.execute("DELETE FROM command WHERE expires_ms < ?1", [now_ms - REMEMBER_MS])
                        .map_err(|e| fault(DOING, e))?;
                    let kept: i64 =
                        tx.query_row("SELECT COUNT(*) FROM command", [], |r| r.get(0)).map_err(|e| fault(DOING, e))?;
                    if kept >= MOST {
                        return Err(Error::new(ErrorKind::Unavailable, "too many commands are remembered"));
                    }
                    let sql = "INSERT OR IGNORE INTO command (id, kind, body, expires_ms, received_ms)
                               VALUES (?1, ?2, ?3, ?4, ?5)";
                    tx.execute(sql, params![id, kind, body, expires_ms, now_ms]).map(drop).map_err(|e| fault(DOING, e))
                })
            })
            .await
    }

    /// Keeps the answer to a command.
    pub async fn answer_command(&self, id: String, answer: String) -> Result<()> {
        self.handle
            .call(move |node| {
                durable(&mut node.connection, DOING, |tx| {
                    tx.execute("UPDATE command SET answer = ?2 WHERE id = ?1", params![id, answer])
                        .map(drop)
                        .map_err(|e| fault(DOING, e))
                })
            })
            .await
    }
}
