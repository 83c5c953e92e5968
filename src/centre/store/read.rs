//! Questions to the centre's SQLite database, on connections of their own that can only read: they neither wait for the
//! writer nor hold it up. It starts no thread: `app` runs each [`Reader`] on one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::{mpsc, oneshot};

use super::files::Files;
use super::query::{
    Counts, Cursor, EventDetail, EventQuery, EventSnapshot, EventStore, EventSummary, Facet, MAX_COUNT, MAX_EXPORT,
    MAX_HISTORY, MAX_MEMBERS, Page, Report, ReportQuery, Revision, Wanted,
};
use super::sqlite::{CAMERAS, NODES, SCHEMA, column, parse, present, stored_camera, stored_node};
use super::{StoredCamera, StoredNode, link, report, triage};
use crate::base::types::Severity;
use crate::base::{Clock, Error, ErrorKind, Result};
use crate::centre::triage::TriageState;
use crate::store::sqlite::{fault, open_to_read, suspect};

const DOING: &str = "cannot answer from the centre's database";
/// Questions that may wait; one more is refused.
const QUEUE: usize = 64;
/// Steps of SQLite's machine between two looks at the clock: some 50 µs.
const STEPS: i32 = 1000;

/// All reading connections of one database.
pub(super) struct Readers {
    path: PathBuf,
    files: Files,
    slots: Mutex<Vec<Slot>>,
}

/// A reader's connection: opened when it is needed, let go of after every fault.
type Slot = Arc<Mutex<Option<Connection>>>;
type Job = Box<dyn FnOnce(&Reader) + Send>;

impl Readers {
    pub(super) fn new(path: PathBuf, files: Files) -> Self {
        Self { path, files, slots: Mutex::default() }
    }

    /// Runs `work` while nobody reads and no reading connection is open. A database that is opened anew after a fault
    /// must not find the memory of the log that its readers share.
    pub(super) fn without<T>(&self, work: impl FnOnce() -> T) -> T {
        let slots = lock(&self.slots);
        let mut closed: Vec<_> = slots.iter().map(|slot| lock(slot)).collect();
        closed.iter_mut().for_each(|slot| **slot = None);
        work()
    }
}

/// Asks the readers. The last one that goes ends them.
#[derive(Clone)]
pub struct SqliteEvents {
    jobs: mpsc::Sender<Job>,
    limit: Duration,
    clock: Arc<dyn Clock>,
}

/// One reader's loop.
#[must_use = "nothing is answered until Reader::run runs on a thread"]
pub struct Reader {
    readers: Arc<Readers>,
    slot: Slot,
    jobs: Arc<Mutex<mpsc::Receiver<Job>>>,
    clock: Arc<dyn Clock>,
    /// When the question at hand is given up, in microseconds of the monotonic clock.
    deadline: Arc<AtomicU64>,
}

/// See [`super::SqliteStore::reading`].
pub(super) fn start(
    readers: &Arc<Readers>,
    threads: usize,
    limit: Duration,
    clock: &Arc<dyn Clock>,
) -> (SqliteEvents, Vec<Reader>) {
    let (sender, jobs) = mpsc::channel(QUEUE);
    let jobs = Arc::new(Mutex::new(jobs));
    let reader = |_| {
        let slot = Slot::default();
        lock(&readers.slots).push(slot.clone());
        let (readers, jobs, clock) = (readers.clone(), jobs.clone(), clock.clone());
        Reader { readers, slot, jobs, clock, deadline: Arc::default() }
    };
    let started = (0..threads.max(1)).map(reader).collect();
    (SqliteEvents { jobs: sender, limit, clock: clock.clone() }, started)
}

impl Reader {
    /// Answers until the last handle is dropped. Blocks.
    pub fn run(self) {
        loop {
            let job = lock(&self.jobs).blocking_recv();
            match job {
                Some(job) => job(&self),
                None => break,
            }
        }
        lock(&self.readers.slots).retain(|slot| !Arc::ptr_eq(slot, &self.slot));
    }

    /// Has `work` answer in one read transaction, so that it sees the database as it was at one moment.
    fn answer<T>(&self, deadline: Duration, work: impl FnOnce(&Connection, &Files) -> Result<T>) -> Result<T> {
        if self.clock.now().mono > deadline {
            return Err(Error::new(ErrorKind::Timeout, "the centre's database had no time for this question"));
        }
        self.deadline.store(micros(deadline), Ordering::Relaxed);
        let mut slot = lock(&self.slot);
        let connection = match slot.take() {
            Some(connection) => connection,
            None => self.open()?,
        };
        let answer = (|| {
            let tx = connection.unchecked_transaction().map_err(|e| fault(DOING, e))?;
            work(&tx, &self.readers.files)
        })();
        match answer.as_ref().map_err(Error::kind) {
            Ok(_) => *slot = Some(connection),
            Err(ErrorKind::Corrupt) => suspect(&self.readers.path),
            Err(_) => {}
        }
        answer.map_err(|e| match e.kind() {
            ErrorKind::Timeout => e.hint("ask for a shorter span of time or with fewer filters"),
            _ => e,
        })
    }

    fn open(&self) -> Result<Connection> {
        let mut connection = open_to_read(&self.readers.path, SCHEMA)?;
        let (clock, deadline) = (self.clock.clone(), self.deadline.clone());
        connection
            .execute_batch("PRAGMA busy_timeout = 1000; PRAGMA cache_size = -8192;")
            .and_then(|()| {
                let late = move || micros(clock.now().mono) > deadline.load(Ordering::Relaxed);
                connection.progress_handler(STEPS, Some(late))
            })
            .map_err(|e| fault(DOING, e))?;
        Ok(connection)
    }
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

// A question that panicked left its connection behind, or none.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SqliteEvents {
    pub(super) async fn ask<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Files) -> Result<T> + Send + 'static,
    {
        let gone = || Error::new(ErrorKind::Unavailable, "the centre's reading threads have ended");
        let deadline = self.clock.now().mono + self.limit;
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |reader| {
            // Nobody waits any more for what a closed page asked.
            if !answer.is_closed() {
                answer.send(reader.answer(deadline, work)).ok();
            }
        });
        self.jobs.try_send(job).map_err(|e| match e {
            mpsc::error::TrySendError::Closed(_) => gone(),
            mpsc::error::TrySendError::Full(_) => {
                Error::new(ErrorKind::Unavailable, "too many questions wait for the centre's database")
            }
        })?;
        answered.await.map_err(|_| gone())?
    }
}

impl SqliteEvents {
    /// Where the picture with this SHA-256 (lower-case hex) is, if it is here.
    pub async fn snapshot(&self, sha256: String) -> Result<Option<PathBuf>> {
        self.ask(move |db, files| present(db, files, Some(&sha256))).await
    }
}

impl EventStore for SqliteEvents {
    async fn events(&self, query: EventQuery) -> Result<Page<EventSummary>> {
        let (wanted, now_ms) = (Wanted::new(query)?, self.clock.now().wall_ms);
        self.ask(move |db, _| page(db, &wanted, now_ms)).await
    }

    async fn counts(&self, query: EventQuery) -> Result<Counts> {
        let (wanted, now_ms) = (Wanted::new(query)?, self.clock.now().wall_ms);
        self.ask(move |db, _| counts(db, &wanted, now_ms)).await
    }

    async fn event(&self, node: String, id: String) -> Result<Option<EventDetail>> {
        let now_ms = self.clock.now().wall_ms;
        self.ask(move |db, files| detail(db, files, &node, &id, now_ms)).await
    }

    async fn summary(&self, node: String, id: String) -> Result<Option<EventSummary>> {
        let now_ms = self.clock.now().wall_ms;
        self.ask(move |db, _| summary(db, &node, &id, now_ms)).await
    }

    async fn export(&self, query: EventQuery) -> Result<Vec<EventSummary>> {
        let (wanted, now_ms) = (Wanted::with_limit(query, MAX_EXPORT)?, self.clock.now().wall_ms);
        self.ask(move |db, _| Ok(page(db, &wanted, now_ms)?.items)).await
    }

    async fn report(&self, query: ReportQuery) -> Result<Report> {
        query.check()?;
        let now_ms = self.clock.now().wall_ms;
        self.ask(move |db, _| report::report(db, query, now_ms)).await
    }

    async fn nodes(&self) -> Result<Vec<StoredNode>> {
        self.ask(|db, _| list(db, NODES, [], stored_node)).await
    }

    async fn cameras(&self) -> Result<Vec<StoredCamera>> {
        self.ask(|db, _| list(db, CAMERAS, [], stored_camera)).await
    }
}

pub(super) fn list<T>(
    db: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let failed = |e| fault(DOING, e);
    let mut statement = db.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query(values).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// The order of every list; `before` as ?2 to ?4.
macro_rules! keys {
    ($where:literal) => {
        concat!(
            "SELECT started_ms, node, id FROM event WHERE ",
            $where,
            " started_ms >= ?1 AND started_ms <= ?2 AND (started_ms, node, id) < (?2, ?3, ?4)
              ORDER BY started_ms DESC, node DESC, id DESC LIMIT ?5"
        )
    };
}

const KEYS: &str = keys!("");
/// Along the index alone, with the facet of each.
const WALK: &str = "SELECT started_ms, node, id, facet FROM event
  WHERE started_ms >= ?1 AND started_ms <= ?2 AND (started_ms, node, id) < (?2, ?3, ?4)
  ORDER BY started_ms DESC, node DESC, id DESC LIMIT ?5";
const KEYS_OF_FACET: &str = keys!("facet = ?6 AND");
const FACETS: &str = "SELECT id, node, camera, rule, kind, severity, label, phase, state, newest_ms FROM facet
  WHERE newest_ms >= ?1";
const COUNT: &str = "SELECT COUNT(*) FROM
  (SELECT 1 FROM event WHERE facet = ?1 AND started_ms >= ?2 AND started_ms < ?3 LIMIT ?4)";
const SUMMARY: &str = "SELECT event.node, event.id, camera, revision, phase, severity, kind, rule, label, started_ms,
    event.updated_ms, ended_ms, snapshot, EXISTS (SELECT 1 FROM snapshot s WHERE s.sha256 = event.snapshot),
    EXISTS (SELECT 1 FROM clip c WHERE c.node = event.node AND c.event = event.id), first_committed_ms, committed_ms,
    EXISTS (SELECT 1 FROM snooze z WHERE z.node = event.node AND z.camera = event.camera AND z.ended_ms IS NULL
      AND z.until_ms > ?3 AND (z.rule IS NULL OR z.rule = event.rule)),
    t.state, t.verdict, t.owner, t.version, t.updated_ms, t.escalated_ms, t.incident, event.box
  FROM event LEFT JOIN triage t ON t.node = event.node AND t.event = event.id
  WHERE event.node = ?1 AND event.id = ?2";

/// The statements by which pages and counters are read, for whoever looks at their plans.
pub const STATEMENTS: &[(&str, &str)] = &[
    ("events by time", KEYS),
    ("events by time, of any facet", WALK),
    ("events of a facet", KEYS_OF_FACET),
    ("facets", FACETS),
    ("count of a facet", COUNT),
    ("an event's summary", SUMMARY),
];

pub(super) fn page(db: &Connection, wanted: &Wanted, now_ms: i64) -> Result<Page<EventSummary>> {
    // One more than the page has: whether there is another page.
    let want = wanted.limit + 1;
    let mut keys = if wanted.is_plain() { plain_keys(db, wanted, want)? } else { faceted_keys(db, wanted, want)? };
    let more = keys.len() > wanted.limit;
    keys.truncate(wanted.limit);
    let items: Vec<EventSummary> =
        keys.iter().filter_map(|key| summary(db, &key.node, &key.id, now_ms).transpose()).collect::<Result<_>>()?;
    Ok(Page { items, next: keys.last().filter(|_| more).map(Cursor::encode) })
}

fn key(r: &Row<'_>) -> Result<Cursor> {
    Ok(Cursor { started_ms: column(r, 0)?, node: column(r, 1)?, id: column(r, 2)? })
}

fn plain_keys(db: &Connection, wanted: &Wanted, want: usize) -> Result<Vec<Cursor>> {
    let Cursor { started_ms, node, id } = &wanted.before;
    list(db, KEYS, params![wanted.from_ms, started_ms, node, id, want as i64], key)
}

/// Looks at the newest events of the span along time, with the facet of each, as long as that is the smaller part of the
/// work than to look at each of `facets`, and as long as `see` wants more. Gives where it ended; `None`: with the span.
fn walk(
    db: &Connection,
    wanted: &Wanted,
    facets: usize,
    want: usize,
    mut see: impl FnMut(i64, &Row<'_>) -> Result<ControlFlow<()>>,
) -> Result<Option<Cursor>> {
    let failed = |e| fault(DOING, e);
    let most = 4 * facets + 16 * want;
    let Cursor { started_ms, node, id } = &wanted.before;
    let mut statement = db.prepare_cached(WALK).map_err(failed)?;
    let mut rows = statement.query(params![wanted.from_ms, started_ms, node, id, most as i64]).map_err(failed)?;
    let mut seen = 0;
    while let Some(row) = rows.next().map_err(failed)? {
        seen += 1;
        if see(column(row, 3)?, row)?.is_break() || seen == most {
            return Ok(Some(key(row)?));
        }
    }
    Ok(None)
}

/// The newest `want` of all wanted facets. Few events may be in the span, or most of the newest be wanted: so the newest
/// are looked at first. Then each facet is; what was found raises the floor for those that follow, and those with the
/// newest events come first: most of the others cost one look into the index, or none.
fn faceted_keys(db: &Connection, wanted: &Wanted, want: usize) -> Result<Vec<Cursor>> {
    let failed = |e| fault(DOING, e);
    let mut facets = facets(db, wanted, |facet| (facet.newest_ms, facet.id))?;
    facets.sort_unstable_by_key(|(newest_ms, _)| std::cmp::Reverse(*newest_ms));
    if facets.is_empty() {
        return Ok(Vec::new());
    }
    let ids: HashSet<i64> = facets.iter().map(|(_, id)| *id).collect();
    let mut best = BTreeSet::new();
    let ended = walk(db, wanted, facets.len(), want, |facet, row| {
        if ids.contains(&facet) {
            best.insert(key(row)?);
        }
        Ok(if best.len() == want { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    let Some(Cursor { started_ms, node, id }) = ended.filter(|_| best.len() < want) else {
        return Ok(best.into_iter().rev().collect());
    };
    let mut statement = db.prepare_cached(KEYS_OF_FACET).map_err(failed)?;
    for (newest_ms, facet) in facets {
        let lowest = |best: &BTreeSet<Cursor>| best.first().filter(|_| best.len() >= want).map(|key| key.started_ms);
        let floor = lowest(&best).unwrap_or(wanted.from_ms);
        if newest_ms < floor {
            break;
        }
        let values = params![floor, started_ms, node, id, want as i64, facet];
        let mut rows = statement.query(values).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            // The newest come first: what is older than the oldest that counts, nothing follows that counts.
            if lowest(&best).is_some_and(|lowest| column::<i64>(row, 0).is_ok_and(|at| at < lowest)) {
                break;
            }
            best.insert(key(row)?);
            if best.len() > want {
                best.pop_first();
            }
        }
    }
    Ok(best.into_iter().rev().collect())
}

/// What `pick` makes of each facet that is wanted.
fn facets<T>(db: &Connection, wanted: &Wanted, mut pick: impl FnMut(&Facet<'_>) -> T) -> Result<Vec<T>> {
    let failed = |e| fault(DOING, e);
    let mut statement = db.prepare_cached(FACETS).map_err(failed)?;
    let mut rows = statement.query([wanted.from_ms]).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(r) = rows.next().map_err(failed)? {
        let facet = Facet {
            id: column(r, 0)?,
            node: text(r, 1)?,
            camera: text(r, 2)?,
            rule: text(r, 3)?,
            kind: text(r, 4)?,
            severity: word(r, 5)?,
            label: text(r, 6)?,
            phase: word(r, 7)?,
            state: word(r, 8)?,
            newest_ms: column(r, 9)?,
        };
        if wanted.takes(&facet) {
            found.push(pick(&facet));
        }
    }
    Ok(found)
}

/// A text where it stands.
fn text<'a>(r: &'a Row<'_>, index: usize) -> Result<&'a str> {
    let value = r.get_ref(index).map_err(|e| fault(DOING, e))?;
    value.as_str().map_err(|e| Error::new(ErrorKind::Corrupt, "a stored event has a column of another kind").source(e))
}

fn counts(db: &Connection, wanted: &Wanted, now_ms: i64) -> Result<Counts> {
    let snoozes = super::triage::snoozes(db, now_ms)?;
    let facets = facets(db, wanted, |f| {
        let snoozed = snoozes.iter().any(|s| s.covers(f.node, f.camera, f.rule));
        (f.id, f.severity, f.state, snoozed)
    })?;
    let mut in_span: HashMap<i64, u64> = HashMap::new();
    let ended = walk(db, wanted, facets.len(), 0, |facet, _| {
        *in_span.entry(facet).or_default() += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    let mut counts = Counts::default();
    for (facet, severity, state, snoozed) in facets {
        let Counts { alerts, notices, new_alerts, owned, dispatched } = &mut counts;
        let of_severity = if severity == Severity::Alert { alerts } else { notices };
        let of_state = match (state, severity) {
            (TriageState::New, Severity::Alert) if !snoozed => Some(new_alerts),
            (TriageState::Owned, _) => Some(owned),
            (TriageState::Dispatched, _) => Some(dispatched),
            (TriageState::New | TriageState::Resolved, _) => None,
        };
        let lowest = of_state.as_deref().map_or(*of_severity, |n| (*n).min(*of_severity));
        let found = match lowest {
            MAX_COUNT.. => continue,
            _ if ended.is_none() => in_span.get(&facet).copied().unwrap_or_default(),
            _ => db
                .prepare_cached(COUNT)
                .and_then(|mut s| {
                    s.query_row(params![facet, wanted.from_ms, wanted.to_ms, MAX_COUNT - lowest], |r| r.get(0))
                })
                .map_err(|e| fault(DOING, e))?,
        };
        for count in [Some(of_severity), of_state].into_iter().flatten() {
            *count = (*count + found).min(MAX_COUNT);
        }
    }
    Ok(counts)
}

pub(super) fn summary(db: &Connection, node: &str, id: &str, now_ms: i64) -> Result<Option<EventSummary>> {
    Ok(list(db, SUMMARY, params![node, id, now_ms], read_summary)?.pop())
}

fn read_summary(r: &Row<'_>) -> Result<EventSummary> {
    let named = |text: String| (!text.is_empty()).then_some(text);
    Ok(EventSummary {
        node: column(r, 0)?,
        id: column(r, 1)?,
        camera: named(column(r, 2)?),
        revision: column(r, 3)?,
        phase: word(r, 4)?,
        severity: word(r, 5)?,
        kind: column(r, 6)?,
        rule: column(r, 7)?,
        label: named(column(r, 8)?),
        started_ms: column(r, 9)?,
        updated_ms: column(r, 10)?,
        ended_ms: column(r, 11)?,
        snapshot: column(r, 12)?,
        has_snapshot: column(r, 13)?,
        has_clip: column(r, 14)?,
        first_committed_ms: column(r, 15)?,
        committed_ms: column(r, 16)?,
        snoozed: column(r, 17)?,
        triage: triage::read(r, 18)?,
        // One that cannot be read is none: a list does without.
        bbox: column::<Option<String>>(r, 25)?.and_then(|b| serde_json::from_str(&b).ok()),
    })
}

/// One of the words that phases and severities are stored as.
fn word<T: serde::de::DeserializeOwned>(r: &Row<'_>, index: usize) -> Result<T> {
    T::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(text(r, index)?))
        .map_err(|e| Error::new(ErrorKind::Corrupt, "a stored event has a word that nobody knows").source(e))
}

fn detail(db: &Connection, files: &Files, node: &str, id: &str, now_ms: i64) -> Result<Option<EventDetail>> {
    let Some(summary) = summary(db, node, id, now_ms)? else { return Ok(None) };
    let json: Option<String> = db
        .prepare_cached("SELECT json FROM revision WHERE node = ?1 AND id = ?2 AND revision = ?3")
        .and_then(|mut s| s.query_row(params![node, id, summary.revision], |r| r.get(0)).optional())
        .map_err(|e| fault(DOING, e))?;
    let json = json.ok_or_else(|| Error::new(ErrorKind::Corrupt, "an event's newest revision is gone").at(id))?;
    let pictures = "SELECT e.sha256, s.bytes, e.committed_ms FROM event_snapshot e JOIN snapshot s USING (sha256)
                    WHERE e.node = ?1 AND e.event = ?2 ORDER BY e.committed_ms, e.sha256";
    let snapshots = list(db, pictures, [node, id], |r| {
        let sha256: String = column(r, 0)?;
        let path = present(db, files, Some(&sha256))?;
        Ok(EventSnapshot { sha256, bytes: column(r, 1)?, committed_ms: column(r, 2)?, path })
    })?;
    let revisions = "SELECT revision, seq, boot_id, committed_ms FROM revision WHERE node = ?1 AND id = ?2
                     ORDER BY revision DESC LIMIT ?3";
    let mut history = list(db, revisions, params![node, id, MAX_HISTORY as i64], |r| {
        Ok(Revision {
            revision: column(r, 0)?,
            seq: column(r, 1)?,
            boot_id: column(r, 2)?,
            committed_ms: column(r, 3)?,
        })
    })?;
    history.reverse();
    let (event, clips) = (parse(&json)?, link::clips(db, node, id)?);
    let triage_history = triage::history(db, node, id, MAX_HISTORY)?;
    let members = match &summary.triage.incident {
        Some(incident) => members(db, incident, (node, id), now_ms)?,
        None => Vec::new(),
    };
    Ok(Some(EventDetail { summary, event, snapshots, clips, history, triage_history, members }))
}

/// The events of an incident, but for one.
fn members(db: &Connection, incident: &str, (node, id): (&str, &str), now_ms: i64) -> Result<Vec<EventSummary>> {
    let sql = "SELECT t.node, t.event FROM triage t JOIN event e ON e.node = t.node AND e.id = t.event
               WHERE t.incident = ?1 AND NOT (t.node = ?2 AND t.event = ?3) ORDER BY e.started_ms, e.id LIMIT ?4";
    let keys = list(db, sql, params![incident, node, id, MAX_MEMBERS as i64], |r| {
        Ok((column::<String>(r, 0)?, column::<String>(r, 1)?))
    })?;
    keys.iter().filter_map(|(node, id)| summary(db, node, id, now_ms).transpose()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::SqliteStore;
    use super::*;
    use crate::base::clock::SystemClock;

    #[test]
    fn no_reader_has_a_connection_while_the_database_is_opened_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, _writer, _) = SqliteStore::open(directory.path(), 0).expect("opens");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let late = clock.now().mono + Duration::from_secs(60);
        let (_events, readers) = store.reading(2, Duration::from_secs(1), clock);
        let ask = |reader: &Reader| reader.answer(late, |db, _| list(db, NODES, [], stored_node)).expect("answers");
        let open = || readers.iter().filter(|reader| lock(&reader.slot).is_some()).count();
        readers.iter().for_each(|reader| drop(ask(reader)));
        assert_eq!(open(), 2);
        readers[0].readers.without(|| {
            // Each slot is held, and empty: whoever asks waits.
            assert!(readers.iter().all(|reader| reader.slot.try_lock().is_err()));
            assert!(readers[0].readers.slots.try_lock().is_err());
        });
        assert_eq!(open(), 0, "and they were closed");
        ask(&readers[1]);
        assert_eq!(open(), 1, "opened anew when it is needed");
    }
}
