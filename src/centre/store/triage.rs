//! Triage in the centre's database: each change and its line of history in one transaction, which also moves the event to
//! the facet of its state. What may be done `centre::triage` decides.

use rusqlite::{Connection, Row, Transaction, params};

use super::sqlite::{Database, SqliteStore, column};
use super::{EventKey, TriageStore, event, webhook};
use crate::base::{Error, ErrorKind, Result};
use crate::centre::triage::{
    Act, Deed, HistoryRow, Officer, Refusal, Snooze, Triage, Verdict, escalation_window, step,
};
use crate::config::What;
use crate::store::sqlite::{durable, fault};

const DOING: &str = "cannot keep the triage of an event";
/// Alerts that are called up at once; the others follow with the next look.
const CALLS: usize = 256;

impl TriageStore for SqliteStore {
    async fn act(
        &self,
        event: EventKey,
        act: Act,
        by: Officer,
        version: u32,
        now_ms: i64,
    ) -> Result<Result<Triage, Refusal>> {
        self.handle
            .call(move |db| {
                let Database { connection, announce, .. } = db;
                durable(connection, DOING, |tx| {
                    let done = apply(tx, &event, &act, &by, version, now_ms)?;
                    if let (Act::Dispatch, Ok(triage)) = (&act, &done) {
                        let (node, event) = (event.0.as_str(), event.1.as_str());
                        let incident = triage.incident.as_deref();
                        let deed = webhook::Deed { what: What::Dispatch, node, event, by: Some(&by.id), incident };
                        webhook::tell(tx, announce, &deed, now_ms)?;
                    }
                    Ok(done)
                })
            })
            .await
    }

    async fn join(&self, event: EventKey, with: EventKey, by: Officer, now_ms: i64) -> Result<Result<Triage, Refusal>> {
        let work = move |tx: &Transaction<'_>| join(tx, &event, &with, &by, now_ms);
        self.handle.call(move |db| durable(&mut db.connection, DOING, work)).await
    }

    async fn escalate(&self, now_ms: i64, after_ms: i64) -> Result<Vec<EventKey>> {
        self.handle.call(move |db| escalate(&mut db.connection, now_ms, after_ms)).await
    }

    async fn snooze(&self, snooze: Snooze) -> Result<()> {
        snooze.check()?;
        self.handle.call(move |db| durable(&mut db.connection, DOING, |tx| begin_snooze(tx, &snooze))).await
    }

    async fn unsnooze(&self, id: String, now_ms: i64) -> Result<bool> {
        let sql = "UPDATE snooze SET ended_ms = ?2 WHERE id = ?1 AND ended_ms IS NULL AND until_ms > ?2";
        let work = move |tx: &Transaction<'_>| {
            tx.execute(sql, params![id, now_ms]).map(|n| n > 0).map_err(|e| fault(DOING, e))
        };
        self.handle.call(move |db| durable(&mut db.connection, DOING, work)).await
    }

    async fn snoozes(&self, now_ms: i64) -> Result<Vec<Snooze>> {
        self.handle.call(move |db| snoozes(&db.connection, now_ms)).await
    }
}

/// A [`Triage`] of the columns state, verdict, owner, version, updated_ms, escalated_ms and incident, the first of which
/// is at `at`; all are null without a row.
pub(super) fn read(r: &Row<'_>, at: usize) -> Result<Triage> {
    let Some(state) = word(column(r, at)?)? else { return Ok(Triage::default()) };
    Ok(Triage {
        state,
        verdict: word(column(r, at + 1)?)?,
        owner: column(r, at + 2)?,
        version: column(r, at + 3)?,
        updated_ms: column(r, at + 4)?,
        escalated: column::<Option<i64>>(r, at + 5)?.is_some(),
        incident: column(r, at + 6)?,
    })
}

fn word<T: serde::de::DeserializeOwned>(word: Option<String>) -> Result<Option<T>> {
    use serde::de::value::{Error as Unknown, StrDeserializer};
    let parse = |word: String| T::deserialize(StrDeserializer::<Unknown>::new(&word));
    word.map(parse)
        .transpose()
        .map_err(|e| Error::new(ErrorKind::Corrupt, "a stored triage has a word that nobody knows").source(e))
}

/// The newest `limit` lines of an event's history, in the order they came.
pub(super) fn history(db: &Connection, node: &str, id: &str, limit: usize) -> Result<Vec<HistoryRow>> {
    let sql = "SELECT at_ms, deed, by_user, text, verdict FROM triage_history WHERE node = ?1 AND event = ?2
               ORDER BY id DESC LIMIT ?3";
    let failed = |e| fault(DOING, e);
    let mut statement = db.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query(params![node, id, limit as i64]).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(r) = rows.next().map_err(failed)? {
        found.push(HistoryRow {
            at_ms: column(r, 0)?,
            deed: word(Some(column(r, 1)?))?.unwrap_or(Deed::Note),
            by: column(r, 2)?,
            text: column(r, 3)?,
            verdict: word(column(r, 4)?)?,
        });
    }
    found.reverse();
    Ok(found)
}

fn current(tx: &Transaction<'_>, (node, id): &EventKey) -> Result<Triage> {
    let sql = "SELECT state, verdict, owner, version, updated_ms, escalated_ms, incident FROM triage
               WHERE node = ?1 AND event = ?2";
    let failed = |e| fault(DOING, e);
    let mut statement = tx.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query([node, id]).map_err(failed)?;
    match rows.next().map_err(failed)? {
        Some(row) => read(row, 0),
        None => Ok(Triage::default()),
    }
}

fn apply(
    tx: &Transaction<'_>,
    event: &EventKey,
    act: &Act,
    by: &Officer,
    version: u32,
    now_ms: i64,
) -> Result<Result<Triage, Refusal>> {
    let before = current(tx, event)?;
    match step(&before, act, by, version, now_ms) {
        Ok((after, row)) => {
            keep(tx, event, &before, &after, &row).map_err(|e| fault(DOING, e))?;
            Ok(Ok(after))
        }
        Err(refusal) => Ok(Err(refusal)),
    }
}

fn keep(
    tx: &Transaction<'_>,
    event: &EventKey,
    before: &Triage,
    after: &Triage,
    row: &HistoryRow,
) -> rusqlite::Result<()> {
    let (node, id) = event;
    tx.prepare_cached(
        "INSERT INTO triage (node, event, state, verdict, owner, version, updated_ms, escalated_ms, incident)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, CASE WHEN ?8 THEN ?7 END, ?9)
         ON CONFLICT (node, event) DO UPDATE SET state = excluded.state, verdict = excluded.verdict,
           owner = excluded.owner, version = excluded.version, updated_ms = excluded.updated_ms,
           escalated_ms = CASE WHEN ?8 THEN COALESCE(escalated_ms, ?7) END, incident = excluded.incident",
    )?
    .execute(params![
        node,
        id,
        after.state.as_str(),
        after.verdict.map(Verdict::as_str),
        after.owner,
        after.version,
        row.at_ms,
        after.escalated,
        after.incident,
    ])?;
    tx.prepare_cached(
        "INSERT INTO triage_history (node, event, at_ms, deed, by_user, text, verdict)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        node,
        id,
        row.at_ms,
        row.deed.as_str(),
        row.by,
        row.text,
        row.verdict.map(Verdict::as_str)
    ])?;
    match before.state == after.state {
        true => Ok(()),
        false => event::change_state(tx, node, id, after.state, row.at_ms),
    }
}

/// The incident of `with`, which begins with it if it has none, is that of `event` from then on.
fn join(
    tx: &Transaction<'_>,
    event: &EventKey,
    with: &EventKey,
    by: &Officer,
    now_ms: i64,
) -> Result<Result<Triage, Refusal>> {
    let there = current(tx, with)?.incident;
    let incident = there.clone().unwrap_or_else(|| format!("{}/{}", with.0, with.1));
    let act = Act::Join { incident };
    // A note or an incident asks for no version.
    if there.is_none() && event != with {
        apply(tx, with, &act, by, 0, now_ms)?.ok();
    }
    apply(tx, event, &act, by, 0, now_ms)
}

/// See [`TriageStore::escalate`].
fn escalate(connection: &mut Connection, now_ms: i64, after_ms: i64) -> Result<Vec<EventKey>> {
    let failed = |e| fault(DOING, e);
    let window = escalation_window(now_ms, after_ms);
    let sql = "SELECT node, id FROM event WHERE waiting_ms BETWEEN ?1 AND ?2 ORDER BY waiting_ms LIMIT ?3";
    let due: Vec<EventKey> = connection
        .prepare_cached(sql)
        .and_then(|mut s| {
            let values = params![window.start(), window.end(), CALLS as i64];
            s.query_map(values, |r| Ok((r.get(0)?, r.get(1)?)))?.collect()
        })
        .map_err(failed)?;
    // Once a second, and mostly nothing: then nothing is written.
    if due.is_empty() {
        return Ok(due);
    }
    durable(connection, DOING, |tx| {
        for event in &due {
            let before = current(tx, event)?;
            let after = Triage { escalated: true, updated_ms: Some(now_ms), ..before.clone() };
            let row = HistoryRow { at_ms: now_ms, deed: Deed::Escalate, by: None, text: None, verdict: None };
            keep(tx, event, &before, &after, &row).map_err(failed)?;
            tx.prepare_cached("UPDATE event SET waiting_ms = NULL WHERE node = ?1 AND id = ?2")
                .and_then(|mut s| s.execute([&event.0, &event.1]))
                .map_err(failed)?;
        }
        Ok(())
    })?;
    Ok(due)
}

/// What waits already calls nobody either, nor afterwards.
fn begin_snooze(tx: &Transaction<'_>, snooze: &Snooze) -> Result<()> {
    let Snooze { id, node, camera, rule, until_ms, reason, by, created_ms } = snooze;
    let sql = "INSERT INTO snooze (id, node, camera, rule, until_ms, reason, by_user, created_ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let waiting = "UPDATE event SET waiting_ms = NULL
                   WHERE waiting_ms >= ?1 AND node = ?2 AND camera = ?3 AND (?4 IS NULL OR rule = ?4)";
    let oldest = *escalation_window(*created_ms, 0).start();
    tx.execute(sql, params![id, node, camera, rule, until_ms, reason, by, created_ms])
        .and_then(|_| tx.execute(waiting, params![oldest, node, camera, rule]))
        .map(drop)
        .map_err(|e| fault(DOING, e))
}

pub(super) fn snoozes(connection: &Connection, now_ms: i64) -> Result<Vec<Snooze>> {
    let sql = "SELECT id, node, camera, rule, until_ms, reason, by_user, created_ms FROM snooze
               WHERE ended_ms IS NULL AND until_ms > ?1 ORDER BY created_ms, id";
    let read = |r: &Row<'_>| {
        Ok(Snooze {
            id: r.get(0)?,
            node: r.get(1)?,
            camera: r.get(2)?,
            rule: r.get(3)?,
            until_ms: r.get(4)?,
            reason: r.get(5)?,
            by: r.get(6)?,
            created_ms: r.get(7)?,
        })
    };
    connection.prepare_cached(sql).and_then(|mut s| s.query_map([now_ms], read)?.collect()).map_err(|e| fault(DOING, e))
}
