//! Events in the centre's database: what a revision that came changes, and which facet an event is in. A facet's row is
//! there as long as an event is in it, so that a search looks for nothing in vain.

use rusqlite::{OptionalExtension, Transaction, params};

use super::sqlite::{COMMIT, Kept, present};
use super::webhook::{self, Deed};
use super::{EventTimes, Outcome};
use crate::base::types::{Phase, Severity};
use crate::base::{Error, ErrorKind, Result};
use crate::centre::triage::TriageState;
use crate::config::What;
use crate::store::sqlite::fault;
use crate::wire::event::Event;

/// Commits a revision of an event.
pub(super) fn commit(
    tx: &Transaction<'_>,
    kept: &Kept<'_>,
    node: &str,
    event: &Event,
    json: &[u8],
    times: EventTimes,
    now_ms: i64,
) -> Result<Outcome> {
    let json = std::str::from_utf8(json)
        .map_err(|e| Error::new(ErrorKind::Invalid, "an event's JSON is not UTF-8").source(e))?;
    let known: Option<String> = tx
        .prepare_cached("SELECT json FROM revision WHERE node = ?1 AND id = ?2 AND revision = ?3")
        .and_then(|mut s| s.query_row(params![node, event.id, event.revision], |r| r.get(0)).optional())
        .map_err(|e| fault(COMMIT, e))?;
    if let Some(known) = known {
        return Ok(if known == json { Outcome::Duplicate } else { Outcome::Conflict });
    }
    let (newest, calls) = apply_newest(tx, node, event, times, now_ms).map_err(|e| fault(COMMIT, e))?;
    if calls {
        let deed = Deed { what: What::Alert, node, event: &event.id, by: None, incident: None };
        webhook::tell(tx, kept.announce, &deed, now_ms)?;
    }
    tx.prepare_cached(
        "INSERT INTO revision (node, id, revision, seq, boot_id, json, committed_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .and_then(|mut s| s.execute(params![node, event.id, event.revision, event.seq, event.boot_id, json, now_ms]))
    .map_err(|e| fault(COMMIT, e))?;
    let sha256 = event.snapshot.as_ref().map(|s| s.sha256.as_str());
    Ok(Outcome::Event { newest, snapshot: present(tx, kept.files, sha256)? })
}

/// What was known of an event before a revision came.
struct Known {
    revision: u32,
    severity: String,
    facet: i64,
    waiting_ms: Option<i64>,
}

/// Makes `event` the one that is shown unless a newer revision came before: whether it is, and whether it is an alert now
/// that was none before, and calls somebody.
fn apply_newest(
    tx: &Transaction<'_>,
    node: &str,
    event: &Event,
    times: EventTimes,
    now_ms: i64,
) -> rusqlite::Result<(bool, bool)> {
    let sql = "SELECT revision, severity, facet, waiting_ms FROM event WHERE node = ?1 AND id = ?2";
    let known = tx
        .prepare_cached(sql)?
        .query_row([node, &event.id], |r| {
            Ok(Known { revision: r.get(0)?, severity: r.get(1)?, facet: r.get(2)?, waiting_ms: r.get(3)? })
        })
        .optional()?;
    if known.as_ref().is_some_and(|known| known.revision >= event.revision) {
        return Ok((false, false));
    }
    let facet = facet(tx, node, event, times.started_ms)?;
    let severity = Severity::from(event.severity).as_str();
    let (waiting_ms, calls) = match &known {
        _ if severity != Severity::Alert.as_str() => (None, false),
        Some(known) if known.severity == severity => (known.waiting_ms, false),
        _ => {
            let calls = calls_somebody(tx, node, event, now_ms)?;
            (calls.then_some(now_ms), calls)
        }
    };
    tx.prepare_cached(
        "INSERT INTO event (node, id, camera, revision, phase, severity, kind, rule, label, started_ms, updated_ms,
           ended_ms, snapshot, first_committed_ms, committed_ms, facet, waiting_ms, box)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?14, ?15, ?16, ?17)
         ON CONFLICT (node, id) DO UPDATE SET camera = excluded.camera, revision = excluded.revision,
           phase = excluded.phase, severity = excluded.severity, kind = excluded.kind, rule = excluded.rule,
           label = excluded.label, started_ms = excluded.started_ms, updated_ms = excluded.updated_ms,
           ended_ms = excluded.ended_ms, snapshot = excluded.snapshot, committed_ms = excluded.committed_ms,
           facet = excluded.facet, waiting_ms = excluded.waiting_ms, box = excluded.box",
    )?
    .execute(params![
        node,
        event.id,
        event.camera.as_deref().unwrap_or_default(),
        event.revision,
        Phase::from(event.phase).as_str(),
        severity,
        event.kind,
        event.rule,
        event.label.as_deref().unwrap_or_default(),
        times.started_ms,
        times.updated_ms,
        times.ended_ms,
        event.snapshot.as_ref().map(|s| s.sha256.as_str()),
        now_ms,
        facet,
        waiting_ms,
        event.bbox.and_then(|b| serde_json::to_string(&b).ok()),
    ])?;
    // Even when the facet is the same: the start may have moved.
    if let Some(known) = known {
        leave(tx, known.facet)?;
    }
    Ok((true, calls))
}

/// Whether an alert that has just come waits for somebody: not when it was triaged before it came, nor while its camera
/// or rule is snoozed.
fn calls_somebody(tx: &Transaction<'_>, node: &str, event: &Event, now_ms: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM triage t WHERE t.node = ?1 AND t.event = ?2
                                    AND (t.state <> 'new' OR t.escalated_ms IS NOT NULL))
                 AND NOT EXISTS (SELECT 1 FROM snooze s WHERE s.node = ?1 AND s.camera = ?3 AND s.ended_ms IS NULL
                                   AND s.until_ms > ?5 AND (s.rule IS NULL OR s.rule = ?4))";
    let camera = event.camera.as_deref().unwrap_or_default();
    tx.prepare_cached(sql)?.query_row(params![node, event.id, camera, event.rule, now_ms], |r| r.get(0))
}

/// The facet that `event` belongs to, made when it is the first in it.
fn facet(tx: &Transaction<'_>, node: &str, event: &Event, started_ms: i64) -> rusqlite::Result<i64> {
    tx.prepare_cached(
        "INSERT INTO facet (node, camera, rule, kind, severity, label, phase, state, newest_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,
           COALESCE((SELECT state FROM triage WHERE node = ?1 AND event = ?8), 'new'), ?9)
         ON CONFLICT (node, camera, rule, kind, severity, label, phase, state)
           DO UPDATE SET newest_ms = MAX(newest_ms, excluded.newest_ms)
         RETURNING id",
    )?
    .query_row(
        params![
            node,
            event.camera.as_deref().unwrap_or_default(),
            event.rule,
            event.kind,
            Severity::from(event.severity).as_str(),
            event.label.as_deref().unwrap_or_default(),
            Phase::from(event.phase).as_str(),
            event.id,
            started_ms,
        ],
        |r| r.get(0),
    )
}

/// Moves an event to the facet of its new state; an alert that nobody has any more waits from now on. One that has not
/// come yet is moved when it comes.
pub(super) fn change_state(
    tx: &Transaction<'_>,
    node: &str,
    id: &str,
    state: TriageState,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let sql = "SELECT facet, started_ms FROM event WHERE node = ?1 AND id = ?2";
    let found: Option<(i64, i64)> =
        tx.prepare_cached(sql)?.query_row([node, id], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
    let Some((old, started_ms)) = found else { return Ok(()) };
    let new: i64 = tx
        .prepare_cached(
            "INSERT INTO facet (node, camera, rule, kind, severity, label, phase, state, newest_ms)
             SELECT node, camera, rule, kind, severity, label, phase, ?2, ?3 FROM facet WHERE id = ?1
             ON CONFLICT (node, camera, rule, kind, severity, label, phase, state)
               DO UPDATE SET newest_ms = MAX(newest_ms, excluded.newest_ms)
             RETURNING id",
        )?
        .query_row(params![old, state.as_str(), started_ms], |r| r.get(0))?;
    let waits = state == TriageState::New;
    tx.prepare_cached(
        "UPDATE event SET facet = ?3, waiting_ms = CASE WHEN ?4 AND severity = 'alert' THEN ?5 END
         WHERE node = ?1 AND id = ?2",
    )?
    .execute(params![node, id, new, waits, now_ms])?;
    leave(tx, old)
}

/// Of a facet that an event left: its newest event is another now, or there is none.
fn leave(tx: &Transaction<'_>, facet: i64) -> rusqlite::Result<()> {
    let newest: Option<i64> = tx
        .prepare_cached("SELECT started_ms FROM event WHERE facet = ?1 ORDER BY started_ms DESC LIMIT 1")?
        .query_row([facet], |r| r.get(0))
        .optional()?;
    match newest {
        Some(newest_ms) => tx
            .prepare_cached("UPDATE facet SET newest_ms = ?2 WHERE id = ?1 AND newest_ms <> ?2")?
            .execute(params![facet, newest_ms]),
        None => tx.prepare_cached("DELETE FROM facet WHERE id = ?1")?.execute([facet]),
    }
    .map(drop)
}
