//! The report of a shift, from the centre's database, on a reading connection.

use std::collections::{BTreeMap, HashSet};

use rusqlite::Connection;

use super::query::{
    CameraTally, EventQuery, EventSummary, MAX_NOTES, MAX_PAGE, OfficerTally, Report, ReportNote, ReportQuery, Wanted,
};
use super::read::{list, page};
use super::sqlite::column;
use crate::base::Result;
use crate::base::types::Severity;
use crate::centre::triage::TriageState;

const EVENTS: &str = "SELECT event.node, event.camera, event.severity, t.verdict, COUNT(*) FROM event
    LEFT JOIN triage t ON t.node = event.node AND t.event = event.id
  WHERE event.started_ms >= ?1 AND event.started_ms < ?2 GROUP BY 1, 2, 3, 4";

/// With how long an alert had waited, where this was the first that anybody did with it.
const DEEDS: &str = "SELECT h.by_user, h.deed, e.node, e.camera,
    CASE WHEN e.severity = 'alert' AND NOT EXISTS (
      SELECT 1 FROM triage_history f WHERE f.node = h.node AND f.event = h.event AND f.id < h.id
        AND f.deed IN ('own', 'dispatch', 'resolve')) THEN h.at_ms - e.first_committed_ms END
  FROM triage_history h JOIN event e ON e.node = h.node AND e.id = h.event
  WHERE h.at_ms >= ?1 AND h.at_ms < ?2 AND h.deed IN ('own', 'dispatch', 'resolve') AND h.by_user IS NOT NULL";

const NOTES: &str = "SELECT h.at_ms, h.by_user, h.node, h.event, h.text, e.camera
  FROM triage_history h JOIN event e ON e.node = h.node AND e.id = h.event
  WHERE h.at_ms >= ?1 AND h.at_ms < ?2 AND h.deed IN ('note', 'resolve') AND h.text IS NOT NULL ORDER BY h.at_ms, h.id";

/// See [`super::EventStore::report`].
pub(super) fn report(db: &Connection, query: ReportQuery, now_ms: i64) -> Result<Report> {
    let cameras: Option<HashSet<(String, String)>> = query.cameras.as_ref().map(|c| c.iter().cloned().collect());
    let reaches = |node: &str, camera: &str| Wanted::reaches(cameras.as_ref(), node, camera);
    let by_camera = by_camera(db, &query, reaches)?;
    let mut total = CameraTally::default();
    for tally in &by_camera {
        total.alerts += tally.alerts;
        total.notices += tally.notices;
        total.true_alarms += tally.true_alarms;
        total.false_alarms += tally.false_alarms;
        total.unresolved += tally.unresolved;
    }
    Ok(Report {
        total,
        by_camera,
        by_officer: by_officer(db, &query, reaches)?,
        notes: notes(db, &query, reaches)?,
        open: open(db, query, now_ms)?,
    })
}

fn by_camera(db: &Connection, query: &ReportQuery, reaches: impl Fn(&str, &str) -> bool) -> Result<Vec<CameraTally>> {
    let rows = list(db, EVENTS, [query.from_ms, query.to_ms], |r| {
        let key: (String, String) = (column(r, 0)?, column(r, 1)?);
        Ok((key, column::<String>(r, 2)?, column::<Option<String>>(r, 3)?, column::<u64>(r, 4)?))
    })?;
    let mut tallies: BTreeMap<(String, String), CameraTally> = BTreeMap::new();
    for ((node, camera), severity, verdict, n) in rows {
        if !reaches(&node, &camera) {
            continue;
        }
        let tally = tallies.entry((node, camera)).or_default();
        let alert = severity == Severity::Alert.as_str();
        *(if alert { &mut tally.alerts } else { &mut tally.notices }) += n;
        match verdict.as_deref() {
            Some("true_alarm") => tally.true_alarms += n,
            Some(_) => tally.false_alarms += n,
            None => tally.unresolved += if alert { n } else { 0 },
        }
    }
    let named = |((node, camera), tally)| CameraTally { node, camera, ..tally };
    Ok(tallies.into_iter().map(named).collect())
}

fn by_officer(db: &Connection, query: &ReportQuery, reaches: impl Fn(&str, &str) -> bool) -> Result<Vec<OfficerTally>> {
    let rows = list(db, DEEDS, [query.from_ms, query.to_ms], |r| {
        let (user, deed): (String, String) = (column(r, 0)?, column(r, 1)?);
        Ok((user, deed, column::<String>(r, 2)?, column::<String>(r, 3)?, column::<Option<i64>>(r, 4)?))
    })?;
    let mut tallies: BTreeMap<String, (OfficerTally, Vec<i64>)> = BTreeMap::new();
    for (user, deed, node, camera, waited_ms) in rows {
        if !reaches(&node, &camera) {
            continue;
        }
        let (tally, waits) = tallies.entry(user).or_default();
        match deed.as_str() {
            "own" => tally.owned += 1,
            "dispatch" => tally.dispatched += 1,
            _ => tally.resolved += 1,
        }
        waits.extend(waited_ms.map(|ms| ms.max(0)));
    }
    let named = |(user, (tally, mut waits)): (String, (OfficerTally, Vec<i64>))| {
        waits.sort_unstable();
        // Of an even number the lower one: it is a time that somebody took.
        let median_own_ms = waits.len().checked_sub(1).map(|last| waits[last / 2]);
        OfficerTally { user, median_own_ms, ..tally }
    };
    Ok(tallies.into_iter().map(named).collect())
}

fn notes(db: &Connection, query: &ReportQuery, reaches: impl Fn(&str, &str) -> bool) -> Result<Vec<ReportNote>> {
    let rows = list(db, NOTES, [query.from_ms, query.to_ms], |r| {
        let note = ReportNote {
            at_ms: column(r, 0)?,
            by: column(r, 1)?,
            node: column(r, 2)?,
            event: column(r, 3)?,
            text: column(r, 4)?,
        };
        Ok((note, column::<String>(r, 5)?))
    })?;
    Ok(rows.into_iter().filter(|(n, camera)| reaches(&n.node, camera)).map(|(n, _)| n).take(MAX_NOTES).collect())
}

fn open(db: &Connection, query: ReportQuery, now_ms: i64) -> Result<Vec<EventSummary>> {
    let ReportQuery { from_ms, to_ms, cameras } = query;
    let limit = MAX_PAGE;
    let taken = EventQuery {
        to_ms: Some(to_ms),
        cameras: cameras.clone(),
        states: vec![TriageState::Owned, TriageState::Dispatched],
        limit,
        ..EventQuery::default()
    };
    let new = EventQuery {
        from_ms: Some(from_ms),
        to_ms: Some(to_ms),
        cameras,
        severities: vec![Severity::Alert],
        states: vec![TriageState::New],
        limit,
        ..EventQuery::default()
    };
    let mut open = page(db, &Wanted::new(taken)?, now_ms)?.items;
    open.extend(page(db, &Wanted::new(new)?, now_ms)?.items);
    open.sort_by(|a, b| (b.started_ms, &b.node, &b.id).cmp(&(a.started_ms, &a.node, &a.id)));
    open.truncate(MAX_PAGE);
    Ok(open)
}
