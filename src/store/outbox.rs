//! The outbox rows' life: pending → sent → receipted and gone; back to pending on any doubt; parked when undeliverable.

use std::time::Duration;

use bytes::Bytes;
use rusqlite::{OptionalExtension, Transaction, params};

use super::sqlite::{durable, fault, relaxed};
use super::{Body, Depths, Expired, LIVE_FOR, MAX_UNANSWERED, Node, Receipted, Row};
use crate::base::types::Phase;
use crate::base::{Error, ErrorKind, Result, Stamp};
use crate::wire::receipt::Receipt;

const COLUMNS: &str = "o.id, o.camera, o.event, o.revision, o.phase, o.attempts, o.payload, o.sha256,
  (SELECT s.jpeg FROM snapshot s WHERE s.event = o.event AND s.sha256 = o.sha256)";

impl Node {
    pub(super) fn next_batch(&mut self, limit: usize, bytes: usize, now: Stamp) -> Result<Vec<Row>> {
        let doing = "cannot read the outbox";
        let fresh = now.wall_ms - LIVE_FOR.as_millis() as i64;
        // An alert stamped in the future (the clock was set back) counts as fresh too.
        let live = format!(
            "SELECT {COLUMNS} FROM outbox o WHERE live = 1 AND state = 'pending' AND committed_ms > ?1
             ORDER BY id LIMIT ?2"
        );
        let backlog = format!("SELECT {COLUMNS} FROM outbox o WHERE state = 'pending' ORDER BY id LIMIT ?2 + 0 * ?1");
        let (mut rows, mut room, mut unreadable) = (Vec::<Row>::new(), bytes, Vec::new());
        for sql in [live, backlog] {
            let mut statement = self.connection.prepare_cached(&sql).map_err(|e| fault(doing, e))?;
            let mut found = statement.query(params![fresh, limit as i64]).map_err(|e| fault(doing, e))?;
            while let Some(row) = found.next().map_err(|e| fault(doing, e))? {
                match parse_row(row) {
                    Ok(row) if rows.iter().any(|r| r.id == row.id) => {}
                    // Stepping on would read pictures for nothing.
                    Ok(row) if rows.len() == limit || (!rows.is_empty() && row.size() > room) => {
                        room = 0;
                        break;
                    }
                    Ok(row) => {
                        room = room.saturating_sub(row.size());
                        rows.push(row);
                    }
                    Err(e) => unreadable.push((row.get(0).map_err(|e| fault(doing, e))?, e)),
                }
            }
        }
        for (row, error) in unreadable {
            tracing::error!(%error, "a row of the outbox cannot be read and is kept aside");
            self.park(row, "it cannot be read")?;
            self.wake(1);
        }
        Ok(rows)
    }

    pub(super) fn mark_sent(&mut self, rows: &[i64], now: Stamp) -> Result<()> {
        let doing = "cannot mark rows as sent";
        relaxed(&mut self.connection, doing, |tx| {
            for row in rows {
                tx.prepare_cached(
                    "UPDATE outbox SET state = 'sent', attempts = attempts + 1, sent_mono_ms = ?2
                     WHERE id = ?1 AND state = 'pending'",
                )
                .and_then(|mut s| s.execute(params![row, now.mono.as_millis() as i64]))
                .map_err(|e| fault(doing, e))?;
            }
            Ok(())
        })
    }

    pub(super) fn touch_sent(&mut self, rows: &[i64], now: Stamp) -> Result<()> {
        let doing = "cannot note when rows were sent";
        relaxed(&mut self.connection, doing, |tx| {
            for row in rows {
                tx.prepare_cached("UPDATE outbox SET sent_mono_ms = ?2 WHERE id = ?1 AND state = 'sent'")
                    .and_then(|mut s| s.execute(params![row, now.mono.as_millis() as i64]))
                    .map_err(|e| fault(doing, e))?;
            }
            Ok(())
        })
    }

    pub(super) fn receipt(&mut self, receipt: &Receipt, now: Stamp) -> Result<Receipted> {
        let doing = "cannot apply a receipt";
        let boot_id = &self.settings.origin.boot_id;
        if !receipt.snapshots.is_empty() {
            self.pictures.fewer();
        }
        // A lost receipt only makes the row go again, so this need not wait for the disk.
        relaxed(&mut self.connection, doing, |tx| {
            let mut done = Receipted::default();
            for (event, revision) in &receipt.events {
                take_event(tx, event, *revision, boot_id, now, &mut done).map_err(|e| fault(doing, e))?;
            }
            for sha256 in &receipt.snapshots {
                take_snapshot(tx, sha256, &mut done).map_err(|e| fault(doing, e))?;
            }
            Ok(done)
        })
    }

    pub(super) fn reset_sent(&mut self) -> Result<usize> {
        let doing = "cannot take sent rows back";
        self.pictures.back_again();
        let rows = relaxed(&mut self.connection, doing, |tx| {
            tx.execute("UPDATE outbox SET state = 'pending', sent_mono_ms = NULL WHERE state = 'sent'", [])
                .map_err(|e| fault(doing, e))
        })?;
        self.wake(rows);
        Ok(rows)
    }

    pub(super) fn expire_sent(&mut self, timeout: Duration, centre_there: bool, now: Stamp) -> Result<Expired> {
        let doing = "cannot take overdue rows back";
        self.pictures.back_again();
        let before = now.mono.saturating_sub(timeout).as_millis() as i64;
        let expired = relaxed(&mut self.connection, doing, |tx| {
            let mut expired = Expired::default();
            let mut statement = tx
                .prepare_cached(
                    "UPDATE outbox SET unanswered = unanswered + ?2, sent_mono_ms = NULL,
                       state = CASE WHEN unanswered + ?2 >= ?3 THEN 'parked' ELSE 'pending' END,
                       reason = CASE WHEN unanswered + ?2 >= ?3 THEN 'the centre does not receipt it' END
                     WHERE state = 'sent' AND sent_mono_ms <= ?1 RETURNING id, state",
                )
                .map_err(|e| fault(doing, e))?;
            let mut rows = statement
                .query(params![before, i64::from(centre_there), MAX_UNANSWERED])
                .map_err(|e| fault(doing, e))?;
            while let Some(row) = rows.next().map_err(|e| fault(doing, e))? {
                let (id, state): (i64, String) =
                    row.get(0).and_then(|id| Ok((id, row.get(1)?))).map_err(|e| fault(doing, e))?;
                if state == "parked" { &mut expired.parked } else { &mut expired.pending }.push(id);
            }
            Ok(expired)
        })?;
        self.wake(expired.pending.len());
        Ok(expired)
    }

    pub(super) fn park(&mut self, row: i64, reason: &str) -> Result<()> {
        let doing = "cannot park a row";
        self.pictures.back_again();
        durable(&mut self.connection, doing, |tx| {
            tx.execute(
                "UPDATE outbox SET state = 'parked', sent_mono_ms = NULL, reason = ?2 WHERE id = ?1",
                params![row, reason],
            )
            .map_err(|e| fault(doing, e))?;
            Ok(())
        })
    }

    pub(super) fn retry_parked(&mut self) -> Result<usize> {
        let doing = "cannot take parked rows back";
        let rows = durable(&mut self.connection, doing, |tx| {
            tx.execute("UPDATE outbox SET state = 'pending', unanswered = 0, reason = NULL WHERE state = 'parked'", [])
                .map_err(|e| fault(doing, e))
        })?;
        self.wake(rows);
        Ok(rows)
    }

    pub(super) fn depths(&mut self) -> Result<Depths> {
        let doing = "cannot read the outbox";
        let mut depths = Depths::default();
        let mut statement = self
            .connection
            .prepare_cached("SELECT state, COUNT(*) FROM outbox GROUP BY state")
            .map_err(|e| fault(doing, e))?;
        let counts = statement
            .query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, u64>(1)?)))
            .map_err(|e| fault(doing, e))?;
        for count in counts {
            match count.map_err(|e| fault(doing, e))? {
                (state, n) if state == "pending" => depths.pending = n,
                (state, n) if state == "sent" => depths.sent = n,
                (_, n) => depths.parked = n,
            }
        }
        depths.snapshot_bytes = self
            .connection
            .query_row("SELECT COALESCE(SUM(bytes), 0) FROM snapshot", [], |r| r.get(0))
            .map_err(|e| fault(doing, e))?;
        Ok(depths)
    }

    pub(super) fn prune(&mut self, before_ms: i64) -> Result<usize> {
        let doing = "cannot forget old events";
        let forgotten = durable(&mut self.connection, doing, |tx| {
            tx.execute(
                "DELETE FROM event WHERE updated_ms < ?1 AND phase = 'ended'
                   AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.event = event.id)
                   AND NOT EXISTS (SELECT 1 FROM snapshot WHERE snapshot.event = event.id)",
                [before_ms],
            )
            .map_err(|e| fault(doing, e))
        })?;
        self.connection.execute_batch("PRAGMA incremental_vacuum(4096)").map_err(|e| fault(doing, e))?;
        self.keep_room();
        Ok(forgotten)
    }

    pub(super) fn keep_room(&self) {
        match self.ballast.take() {
            Ok(true) => {
                self.reserve_in_use.send_if_modified(std::mem::take);
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "no room is kept back for a full disk"),
        }
    }

    fn wake(&self, rows: usize) {
        if rows > 0 {
            self.hint.send_modify(|n| *n += 1);
        }
    }
}

fn take_event(
    tx: &Transaction<'_>,
    event: &str,
    revision: u32,
    boot_id: &str,
    now: Stamp,
    done: &mut Receipted,
) -> rusqlite::Result<()> {
    let taken: Option<(i64, String, Option<i64>)> = tx
        .prepare_cached(
            "DELETE FROM outbox WHERE event = ?1 AND revision = ?2 AND kind = 'event'
             RETURNING id, boot_id, arrived_mono_ms",
        )?
        .query_row(params![event, revision], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .optional()?;
    if let Some((row, boot, arrived)) = taken {
        done.rows.push(row);
        if let (true, Some(arrived)) = (boot == boot_id, arrived) {
            done.latencies.push(now.mono.saturating_sub(Duration::from_millis(arrived.max(0) as u64)));
        }
    }
    Ok(())
}

fn take_snapshot(tx: &Transaction<'_>, sha256: &str, done: &mut Receipted) -> rusqlite::Result<()> {
    let mut statement = tx.prepare_cached("DELETE FROM outbox WHERE sha256 = ?1 RETURNING id")?;
    for row in statement.query_map([sha256], |r| r.get(0))? {
        done.rows.push(row?);
    }
    tx.prepare_cached("DELETE FROM snapshot WHERE sha256 = ?1")?.execute([sha256])?;
    Ok(())
}

fn parse_row(r: &rusqlite::Row<'_>) -> Result<Row> {
    let doing = "cannot read an outbox row";
    let id: i64 = r.get(0).map_err(|e| fault(doing, e))?;
    let corrupt = || Error::new(ErrorKind::Corrupt, format!("outbox row {id} cannot be understood"));
    let read = || -> rusqlite::Result<_> {
        Ok((
            r.get::<_, String>(1)?,
            r.get::<_, String>(2)?,
            r.get::<_, u32>(3)?,
            r.get::<_, String>(4)?,
            r.get::<_, u32>(5)?,
            (r.get::<_, Option<Vec<u8>>>(6)?, r.get::<_, Option<String>>(7)?, r.get::<_, Option<Vec<u8>>>(8)?),
        ))
    };
    let (camera, event, revision, phase, attempts, contents) = read().map_err(|e| fault(doing, e))?;
    let body = match contents {
        (Some(json), None, _) => Body::Event(Bytes::from(json)),
        (None, Some(sha256), Some(jpeg)) => Body::Snapshot { sha256, jpeg: Bytes::from(jpeg) },
        _ => return Err(corrupt()),
    };
    let phase = [Phase::Started, Phase::Updated, Phase::Ended].into_iter().find(|p| p.as_str() == phase);
    Ok(Row {
        id,
        camera: match (camera.as_str(), &body) {
            ("", Body::Event(_)) => None,
            _ => Some(camera.parse().map_err(|_| corrupt())?),
        },
        event,
        revision,
        phase: phase.ok_or_else(corrupt)?,
        attempts,
        body,
    })
}
