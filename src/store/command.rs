//! What the centre asked of this node. What a command does and the answer to it are one transaction: a node that dies
//! between has done both or neither, so a command that comes again is answered and not done again.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::clip::{NewClip, insert as insert_clip};
use super::hold::{Hold, Holding, hold_in, release_in};
use super::sqlite::{durable, fault};
use super::{Node, Store};
use crate::base::types::CameraId;
use crate::base::{Error, ErrorKind, Result, Stamp};
use crate::wire::command::{Answer, Ask, Command, MAX_LIFE_MS, SKEW_MS};

const DOING: &str = "cannot keep the centre's commands";
/// Commands remembered; while there are so many no further one is taken.
const MOST: i64 = 10_000;
/// How long one is remembered after it came: until no hold can come any more that a release named, and a day.
const REMEMBER_MS: i64 = MAX_LIFE_MS + SKEW_MS + 24 * 3600 * 1000;

/// What became of a command's hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    Holding(Holding),
    /// Its release came first.
    ReleasedBefore,
}

impl Store {
    /// The answer that was given to a command, if it was.
    pub async fn command_answer(&self, id: String) -> Result<Option<String>> {
        self.handle.call(move |node| answer(&node.connection, &id)).await
    }

    /// Whether every moment of a range lies within an event of `camera` that this node remembers, or at most `margin_ms`
    /// beside one.
    pub async fn is_about_events(
        &self,
        camera: CameraId,
        (from_ms, to_ms): (i64, i64),
        margin_ms: i64,
    ) -> Result<bool> {
        self.handle
            .call(move |node| {
                let failed = |e| fault(DOING, e);
                let sql = "SELECT started_ms - ?2 AS since, ?2 + CASE phase WHEN 'ended'
                             THEN json_extract(report, '$.ended_at.wall_ms') ELSE updated_ms END AS until
                           FROM event WHERE camera = ?1 AND since < ?4 AND until > ?3 ORDER BY since";
                let mut statement = node.connection.prepare_cached(sql).map_err(failed)?;
                let range = params![camera.as_str(), margin_ms, from_ms, to_ms];
                let mut rows = statement.query(range).map_err(failed)?;
                let mut reached = from_ms;
                while let Some(row) = rows.next().map_err(failed)? {
                    let (since, until): (i64, i64) = (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
                    if since > reached {
                        break;
                    }
                    reached = reached.max(until);
                }
                Ok(reached >= to_ms)
            })
            .await
    }

    /// Holds what `command` asks for; `tell` makes the answer. The answer that is kept.
    ///
    /// # Errors
    /// `Invalid` as of [`Store::hold`]; `Unavailable` when too many commands are remembered.
    pub async fn obey_hold(
        &self,
        command: Command,
        hold: Hold,
        now: Stamp,
        tell: impl FnOnce(Kept) -> Answer + Send + 'static,
    ) -> Result<String> {
        self.handle
            .call(move |node| {
                node.once(&command, now, |tx| {
                    let kept = match released(tx, &hold.id)? {
                        true => Kept::ReleasedBefore,
                        false => Kept::Holding(hold_in(tx, &hold, now)?),
                    };
                    Ok(tell(kept))
                })
            })
            .await
    }

    /// Ends the hold `hold` because of `command`; `tell` makes the answer of whether there was one. The answer that is
    /// kept, and with it that this hold is over, whenever its own command may come.
    ///
    /// # Errors
    /// `Unavailable` when too many commands are remembered.
    pub async fn obey_release(
        &self,
        command: Command,
        hold: String,
        now: Stamp,
        tell: impl FnOnce(Option<Hold>) -> Answer + Send + 'static,
    ) -> Result<String> {
        self.handle.call(move |node| node.once(&command, now, |tx| Ok(tell(release_in(tx, &hold)?)))).await
    }

    /// Notes the clip that was made for `command`. The answer that is kept.
    ///
    /// # Errors
    /// `Unavailable` when too many commands are remembered.
    pub async fn obey_clip(&self, command: Command, clip: NewClip, given: Answer, now: Stamp) -> Result<String> {
        self.handle
            .call(move |node| {
                node.once(&command, now, |tx| {
                    insert_clip(tx, None, &clip, now)?;
                    Ok(given)
                })
            })
            .await
    }

    /// Keeps the answer to a command that did nothing. The answer that is kept.
    ///
    /// # Errors
    /// `Unavailable` when too many commands are remembered.
    pub async fn answer_command(&self, command: Command, given: Answer, now: Stamp) -> Result<String> {
        self.handle.call(move |node| node.once(&command, now, |_| Ok(given))).await
    }
}

impl Node {
    /// Does `command` unless it was done before, and keeps the answer with what was done.
    fn once(
        &mut self,
        command: &Command,
        now: Stamp,
        work: impl FnOnce(&Transaction<'_>) -> Result<Answer>,
    ) -> Result<String> {
        let (_, expires_ms) = command.life()?;
        let body = serde_json::to_string(command)
            .map_err(|e| Error::new(ErrorKind::Internal, "a command cannot be written as JSON").source(e))?;
        durable(&mut self.connection, DOING, |tx| {
            if let Some(answer) = answer(tx, &command.id)? {
                return Ok(answer);
            }
            let failed = |e| fault(DOING, e);
            tx.execute("DELETE FROM command WHERE received_ms < ?1", [now.wall_ms - REMEMBER_MS]).map_err(failed)?;
            let kept: i64 = tx.query_row("SELECT COUNT(*) FROM command", [], |r| r.get(0)).map_err(failed)?;
            if kept >= MOST {
                return Err(Error::new(ErrorKind::Unavailable, "too many commands are remembered"));
            }
            let answer = work(tx)?.to_json()?;
            let sql = "INSERT INTO command (id, kind, body, expires_ms, received_ms, answer)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let values = params![command.id, command.ask.kind(), body, expires_ms, now.wall_ms, answer];
            tx.execute(sql, values).map_err(failed)?;
            Ok(answer)
        })
    }
}

fn answer(connection: &Connection, id: &str) -> Result<Option<String>> {
    let found = connection.query_row("SELECT answer FROM command WHERE id = ?1", [id], |r| r.get(0)).optional();
    found.map_err(|e| fault(DOING, e))
}

/// Whether a release of `hold` was done.
fn released(tx: &Transaction<'_>, hold: &str) -> Result<bool> {
    let mut statement =
        tx.prepare_cached("SELECT body FROM command WHERE kind = 'release'").map_err(|e| fault(DOING, e))?;
    let mut rows = statement.query([]).map_err(|e| fault(DOING, e))?;
    while let Some(row) = rows.next().map_err(|e| fault(DOING, e))? {
        let body: String = row.get(0).map_err(|e| fault(DOING, e))?;
        let names = |c: &Command| matches!(&c.ask, Ask::Release { hold: named } if named == hold);
        if serde_json::from_str::<Command>(&body).as_ref().is_ok_and(names) {
            return Ok(true);
        }
    }
    Ok(false)
}
