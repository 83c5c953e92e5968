//! From a report to rows: revision, sequence number, coalescing of what was not sent yet, and the pictures' quota. All
//! within one transaction.

use rusqlite::{OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};

use super::sqlite::{durable, fault};
use super::{Committed, Node};
use crate::base::types::{CameraId, ClipInfo, EventReport, Phantom, Phase, Severity, Snapshot};
use crate::base::{Error, ErrorKind, Result, Stamp, telemetry};
use crate::wire::event::{Event, Origin};

const COMMIT: &str = "cannot commit the event";

/// What the store knows of an event.
pub(super) struct Known {
    camera: String,
    revision: u32,
    phase: String,
    severity: String,
    snapshot: Option<String>,
    pub(super) clip: Option<ClipInfo>,
}

/// Where a revision comes from.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Cause {
    /// A frame: its latency is worth measuring.
    Frame,
    /// Something learned without one: the end of a worker, a dropped picture, a clip.
    Fact,
}

impl Node {
    /// Notes the run, and after a lost database begins numbers that were never used. Does nothing the second time.
    pub(super) fn begin(&mut self, now: Stamp, lost: bool) -> Result<()> {
        let boot_id = self.settings.origin.boot_id.clone();
        durable(&mut self.connection, "cannot note the start", |tx| {
            // One revision a millisecond since 1970 is more than any node has given out.
            let seq = if lost { now.wall_ms.max(0) } else { 0 };
            tx.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('seq', ?1)", [seq])
                .and_then(|_| {
                    tx.execute(
                        "INSERT OR IGNORE INTO boot (boot_id, started_ms) VALUES (?1, ?2)",
                        params![boot_id, now.wall_ms],
                    )
                })
                .map_err(|e| fault("cannot note the start", e))?;
            Ok(())
        })
    }

    pub(super) fn commit(
        &mut self,
        mut report: EventReport,
        snapshot: Option<Snapshot>,
        now: Stamp,
    ) -> Result<Committed> {
        let Self { connection, settings, pictures, .. } = self;
        let mut after = *pictures;
        let mut committed = durable(connection, COMMIT, |tx| {
            let known = known(tx, &report.id)?;
            check(known.as_ref(), &report)?;
            // A worker knows of no clip: the node makes it, beside the worker's reports.
            report.clip = known.as_ref().and_then(|k| k.clip.clone());
            let (snapshot, refused) = accept_snapshot(&mut report, snapshot, known.as_ref());
            let mut committed =
                append(tx, &settings.origin, &report, known.as_ref(), snapshot.as_ref(), Cause::Frame, now)?;
            committed.snapshot_refused = refused;
            let bytes = snapshot.as_ref().map_or(0, |s| s.info.bytes);
            if bytes > 0 && known.is_some_and(|k| k.snapshot.is_some()) {
                // A lesser picture of the event may have left for it.
                after.fewer();
            }
            let sizes = (bytes, settings.snapshot_quota_bytes);
            committed.snapshots_dropped = after.keep_within(tx, &settings.origin, sizes, now)?;
            Ok(committed)
        })
        .map_err(|e| e.camera(report.place()))?;
        *pictures = after;
        self.announce(&mut committed);
        Ok(committed)
    }

    pub(super) fn announce(&self, committed: &mut Committed) {
        self.hint.send_modify(|n| *n += 1);
        if committed.snapshots_dropped > 0 {
            metrics::counter!(telemetry::SNAPSHOTS_DROPPED).increment(committed.snapshots_dropped.into());
        }
    }

    pub(super) fn end_open_events(&mut self, camera: Option<&CameraId>, now: Stamp) -> Result<Vec<Committed>> {
        let Self { connection, settings, .. } = self;
        let ended = durable(connection, "cannot end open events", |tx| {
            let mut committed = Vec::new();
            for id in open_events(tx, camera)? {
                let Some(known) = known(tx, &id)? else { continue };
                let Some(mut report) = readable(stored_report(tx, &id))? else {
                    // No revision can be made of it; it must not stand in the way at every start.
                    tx.execute("UPDATE event SET phase = 'ended' WHERE id = ?1", [&id])
                        .map_err(|e| fault(COMMIT, e))?;
                    continue;
                };
                report.phase = Phase::Ended;
                report.ended_at = Some(report.updated_at);
                report.updated_at = now;
                committed.push(append(tx, &settings.origin, &report, Some(&known), None, Cause::Fact, now)?);
            }
            Ok(committed)
        })?;
        if !ended.is_empty() {
            self.hint.send_modify(|n| *n += 1);
        }
        Ok(ended)
    }

    pub(super) fn phantoms(&mut self, camera: &CameraId) -> Result<Vec<Phantom>> {
        let list: Option<String> = self
            .connection
            .query_row("SELECT list FROM phantoms WHERE camera = ?1", [camera.as_str()], |r| r.get(0))
            .optional()
            .map_err(|e| fault("cannot read the phantoms", e))?;
        let Some(list) = list else { return Ok(Vec::new()) };
        serde_json::from_str(&list)
            .map_err(|e| Error::new(ErrorKind::Corrupt, "the stored phantoms cannot be read").camera(camera).source(e))
    }

    pub(super) fn set_phantoms(&mut self, camera: &CameraId, phantoms: &[Phantom]) -> Result<()> {
        let list = serde_json::to_string(phantoms)
            .map_err(|e| Error::new(ErrorKind::Internal, "phantoms cannot be written as JSON").source(e))?;
        durable(&mut self.connection, "cannot keep the phantoms", |tx| {
            tx.execute("INSERT OR REPLACE INTO phantoms (camera, list) VALUES (?1, ?2)", [camera.as_str(), &list])
                .map_err(|e| fault("cannot keep the phantoms", e))?;
            Ok(())
        })
    }
}

pub(super) fn known(tx: &Transaction<'_>, id: &str) -> Result<Option<Known>> {
    let clip = "CASE WHEN json_valid(report) THEN json_extract(report, '$.clip') END";
    let sql = format!("SELECT camera, revision, phase, severity, snapshot, {clip} FROM event WHERE id = ?1");
    tx.prepare_cached(&sql)
        .and_then(|mut s| {
            s.query_row([id], |r| {
                Ok(Known {
                    camera: r.get(0)?,
                    revision: r.get(1)?,
                    phase: r.get(2)?,
                    severity: r.get(3)?,
                    snapshot: r.get(4)?,
                    clip: r.get::<_, Option<String>>(5)?.and_then(|json| serde_json::from_str(&json).ok()),
                })
            })
            .optional()
        })
        .map_err(|e| fault(COMMIT, e))
}

/// The camera's column: empty for the node itself.
fn column(report: &EventReport) -> &str {
    report.camera.as_ref().map_or("", CameraId::as_str)
}

fn check(known: Option<&Known>, report: &EventReport) -> Result<()> {
    let invalid = |what: &str| Err(Error::new(ErrorKind::Invalid, format!("event {} {what}", report.id)));
    match (known, report.phase) {
        (None, Phase::Started) => Ok(()),
        (None, _) => invalid("goes on without having started"),
        (Some(k), _) if k.camera != column(report) => invalid("belongs to another camera"),
        (Some(k), _) if k.phase == Phase::Ended.as_str() => invalid("has ended already"),
        (Some(_), Phase::Started) => invalid("has started already"),
        (Some(_), _) => Ok(()),
    }
}

/// The picture to keep, if there is a new and sound one, and whether one was refused. Afterwards the report names a
/// picture only if the store has it or had it receipted.
fn accept_snapshot(
    report: &mut EventReport,
    snapshot: Option<Snapshot>,
    known: Option<&Known>,
) -> (Option<Snapshot>, bool) {
    let current = known.and_then(|k| k.snapshot.as_deref());
    let mut refused = false;
    if let Some(snapshot) = snapshot {
        if current == Some(&snapshot.info.sha256) {
            return (None, false);
        }
        let sound = report.snapshot.as_ref() == Some(&snapshot.info)
            && snapshot.info.bytes == snapshot.jpeg.len() as u64
            && hex::encode(Sha256::digest(&snapshot.jpeg)) == snapshot.info.sha256;
        if sound {
            return (Some(snapshot), false);
        }
        refused = true;
    }
    if report.snapshot.as_ref().map(|s| s.sha256.as_str()) != current {
        report.snapshot = None;
    }
    (None, refused)
}

pub(super) fn append(
    tx: &Transaction<'_>,
    origin: &Origin,
    report: &EventReport,
    known: Option<&Known>,
    snapshot: Option<&Snapshot>,
    cause: Cause,
    now: Stamp,
) -> Result<Committed> {
    let revision = known.map_or(0, |k| k.revision) + 1;
    let seq: u64 = tx
        .prepare_cached("UPDATE meta SET value = value + 1 WHERE key = 'seq' RETURNING value")
        .and_then(|mut s| s.query_row([], |r| r.get(0)))
        .map_err(|e| fault(COMMIT, e))?;
    let payload = Event::new(report, revision, seq, origin).to_bounded_json()?;
    let rose = report.severity == Severity::Alert && known.is_none_or(|k| k.severity != Severity::Alert.as_str());
    store_event(tx, report, revision, snapshot, known)?;
    supersede(tx, report, snapshot.is_some())?;
    let row = NewRow { report, revision, live: rose, cause, boot_id: &origin.boot_id, now };
    row.insert(tx, "event", None, Some(&payload))?;
    if let Some(snapshot) = snapshot {
        tx.prepare_cached("INSERT OR REPLACE INTO snapshot (event, sha256, bytes, jpeg) VALUES (?1, ?2, ?3, ?4)")
            .and_then(|mut s| {
                s.execute(params![report.id, snapshot.info.sha256, snapshot.info.bytes, &snapshot.jpeg[..]])
            })
            .map_err(|e| fault(COMMIT, e))?;
        row.insert(tx, "snapshot", Some(&snapshot.info.sha256), None)?;
    }
    if rose && known.is_some() {
        // The event's other rows go ahead with it, so that its order holds; those that are out may come back.
        tx.prepare_cached("UPDATE outbox SET live = 1, committed_ms = ?2 WHERE event = ?1")
            .and_then(|mut s| s.execute(params![report.id, now.wall_ms]))
            .map_err(|e| fault(COMMIT, e))?;
    }
    Ok(Committed { id: report.id.clone(), revision, seq, snapshots_dropped: 0, snapshot_refused: false })
}

fn store_event(
    tx: &Transaction<'_>,
    report: &EventReport,
    revision: u32,
    snapshot: Option<&Snapshot>,
    known: Option<&Known>,
) -> Result<()> {
    let json = serde_json::to_string(report)
        .map_err(|e| Error::new(ErrorKind::Internal, "a report cannot be written as JSON").source(e))?;
    let current = match snapshot {
        Some(s) => Some(s.info.sha256.as_str()),
        None => known.and_then(|k| k.snapshot.as_deref()),
    };
    tx.prepare_cached(
        "INSERT INTO event (id, camera, revision, phase, severity, snapshot, started_ms, updated_ms, report)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, phase = excluded.phase,
           severity = excluded.severity, snapshot = excluded.snapshot, updated_ms = excluded.updated_ms,
           report = excluded.report",
    )
    .and_then(|mut s| {
        s.execute(params![
            report.id,
            column(report),
            revision,
            report.phase.as_str(),
            report.severity.as_str(),
            current,
            report.started_at.wall_ms,
            report.updated_at.wall_ms,
            json,
        ])
    })
    .map_err(|e| fault(COMMIT, e))?;
    Ok(())
}

/// Removes what the new revision makes superfluous and nobody was ever given: an update, an end before a later fact, a
/// lesser picture. The start of an event is always told.
fn supersede(tx: &Transaction<'_>, report: &EventReport, picture: bool) -> Result<()> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        tx.prepare_cached(sql).and_then(|mut s| s.execute(values)).map_err(|e| fault(COMMIT, e))
    };
    run(
        "DELETE FROM outbox WHERE event = ?1 AND kind = 'event' AND state = 'pending' AND attempts = 0
           AND (phase = 'updated' OR phase = ?2 AND ?2 = 'ended')",
        &[&report.id, &report.phase.as_str()],
    )?;
    if picture {
        run(
            "DELETE FROM snapshot WHERE event = ?1 AND sha256 IN
               (SELECT sha256 FROM outbox WHERE event = ?1 AND kind = 'snapshot' AND state = 'pending' AND attempts = 0)",
            &[&report.id],
        )?;
        run(
            "DELETE FROM outbox WHERE event = ?1 AND kind = 'snapshot' AND state = 'pending' AND attempts = 0",
            &[&report.id],
        )?;
    }
    Ok(())
}

struct NewRow<'a> {
    report: &'a EventReport,
    revision: u32,
    live: bool,
    cause: Cause,
    boot_id: &'a str,
    now: Stamp,
}

impl NewRow<'_> {
    fn insert(&self, tx: &Transaction<'_>, kind: &str, sha256: Option<&str>, payload: Option<&[u8]>) -> Result<()> {
        let arrived = (self.cause == Cause::Frame).then_some(self.report.arrived_at.mono.as_millis() as i64);
        tx.prepare_cached(
            "INSERT INTO outbox (kind, event, camera, revision, phase, sha256, payload, live, boot_id, committed_ms,
               arrived_mono_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )
        .and_then(|mut s| {
            s.execute(params![
                kind,
                self.report.id,
                column(self.report),
                self.revision,
                self.report.phase.as_str(),
                sha256,
                payload,
                self.live,
                self.boot_id,
                self.now.wall_ms,
                arrived,
            ])
        })
        .map_err(|e| fault(COMMIT, e))?;
        Ok(())
    }
}

/// If it was its event's picture, a revision says that it was dropped.
pub(super) fn tell_dropped(tx: &Transaction<'_>, origin: &Origin, event: &str, sha256: &str, now: Stamp) -> Result<()> {
    let (Some(mut known), Some(mut report)) = (known(tx, event)?, readable(stored_report(tx, event))?) else {
        return Ok(());
    };
    if known.snapshot.as_deref() != Some(sha256) {
        return Ok(());
    }
    known.snapshot = None;
    report.snapshot = None;
    report.updated_at = now;
    if report.phase == Phase::Started {
        report.phase = Phase::Updated;
    }
    append(tx, origin, &report, Some(&known), None, Cause::Fact, now)?;
    Ok(())
}

fn open_events(tx: &Transaction<'_>, camera: Option<&CameraId>) -> Result<Vec<String>> {
    let doing = "cannot list open events";
    let mut statement = tx
        .prepare_cached(
            "SELECT id FROM event WHERE phase <> 'ended' AND (?1 IS NULL OR camera = ?1) ORDER BY started_ms, id",
        )
        .map_err(|e| fault(doing, e))?;
    let ids = statement.query_map([camera.map(CameraId::as_str)], |r| r.get(0)).map_err(|e| fault(doing, e))?;
    ids.collect::<rusqlite::Result<_>>().map_err(|e| fault(doing, e))
}

/// A report that is damaged counts as none, and is told.
pub(super) fn readable(report: Result<Option<EventReport>>) -> Result<Option<EventReport>> {
    match report {
        Err(e) if e.kind() == ErrorKind::Corrupt => {
            tracing::error!(error = %e, "an event goes on without its last state");
            Ok(None)
        }
        other => other,
    }
}

pub(super) fn stored_report(tx: &Transaction<'_>, id: &str) -> Result<Option<EventReport>> {
    let json: Option<String> = tx
        .query_row("SELECT report FROM event WHERE id = ?1", [id], |r| r.get(0))
        .optional()
        .map_err(|e| fault("cannot read the event", e))?;
    let parse = |json: String| {
        serde_json::from_str(&json).map_err(|e| {
            Error::new(ErrorKind::Corrupt, format!("the stored report of event {id} cannot be read")).source(e)
        })
    };
    json.map(parse).transpose()
}
