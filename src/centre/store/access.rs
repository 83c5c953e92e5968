//! The access log in the centre's database: who did what, and who looked at what. An entry is on disk before what it
//! tells of is shown, and is never changed. Entries of many callers share one commit.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::types::Value;
use rusqlite::{Connection, Row, Transaction, params, params_from_iter};
use tokio::sync::oneshot;

use super::query::{MAX_PAGE, MAX_VALUES, Page};
use super::read::SqliteEvents;
use super::sqlite::{Database, SqliteStore, column};
use crate::base::{Error, ErrorKind, Result};
use crate::centre::account::CameraKey;
use crate::store::sqlite::{durable, fault};

const RECORD: &str = "cannot write the access log";
const READ: &str = "cannot read the access log";
/// The longest text of an entry, in characters.
pub const MAX_TEXT: usize = 1000;

/// Something that somebody did or saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessEntry {
    /// UTC milliseconds.
    pub at_ms: i64,
    /// The user's id; `None`: nobody with an account.
    pub user: Option<String>,
    /// The session's id, or [`MACHINE`](crate::centre::account::MACHINE).
    pub session: Option<String>,
    /// [`Action`](crate::centre::account::can::Action) as it is stored, or one of the account's own words (docs/accounts.md).
    pub action: String,
    /// To what: `event/<id>`, `user/<name>`, a search as it was asked.
    pub object: String,
    pub node: Option<String>,
    pub camera: Option<String>,
    /// Why, as whoever did it said.
    pub reason: Option<String>,
    /// The number of the case.
    pub case: Option<String>,
}

/// An entry as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRecord {
    /// Counts up in the order of writing.
    pub id: i64,
    pub entry: AccessEntry,
    /// What colleagues call the user now.
    pub display_name: Option<String>,
}

/// Which entries are wanted. Filters join by "and", the values of one by "or"; an empty one wants everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessQuery {
    /// At or after this, UTC milliseconds.
    pub from_ms: Option<i64>,
    /// Before this, UTC milliseconds.
    pub to_ms: Option<i64>,
    /// The user's id.
    pub user: Option<String>,
    /// Entries about these only. `None`: all; an empty list wants nothing.
    pub cameras: Option<Vec<CameraKey>>,
    pub actions: Vec<String>,
    /// Entries on the page, 1 to [`MAX_PAGE`].
    pub limit: usize,
    /// [`Page::next`] of the page before.
    pub after: Option<String>,
}

impl Default for AccessQuery {
    fn default() -> Self {
        Self { from_ms: None, to_ms: None, user: None, cameras: None, actions: Vec::new(), limit: 50, after: None }
    }
}

/// Writing the access log.
pub trait AccessStore: Clone + Send + Sync + 'static {
    /// Writes `entries`, all or none; they are on disk when it returns. Callers at the same time share a commit.
    ///
    /// Errors: `Invalid` for an entry that is too long, else as [`super::CentreStore::commit`]; what was to be shown must not
    /// be shown then.
    fn record(&self, entries: Vec<AccessEntry>) -> impl Future<Output = Result<()>> + Send;
}

/// Reading the access log, beside whoever writes.
pub trait AccessReader: Clone + Send + Sync + 'static {
    /// One page, newest first. Errors: as [`super::EventStore::events`].
    fn read(&self, query: AccessQuery) -> impl Future<Output = Result<Page<AccessRecord>>> + Send;
}

/// What waits for the next commit.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<Mutex<Vec<Waiting>>>);

struct Waiting {
    entries: Vec<AccessEntry>,
    done: oneshot::Sender<Result<()>>,
}

impl Queue {
    fn push(&self, entries: Vec<AccessEntry>) -> oneshot::Receiver<Result<()>> {
        let (done, written) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Waiting { entries, done });
        written
    }

    /// Commits what waits, and tells everyone.
    fn drain(&self, connection: &mut Connection) -> Result<()> {
        let mut waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        // Whoever has given up shows nothing.
        waiting.retain(|w| !w.done.is_closed());
        if waiting.is_empty() {
            return Ok(());
        }
        let written = durable(connection, RECORD, |tx| {
            waiting.iter().flat_map(|w| &w.entries).try_for_each(|entry| insert(tx, entry))
        });
        for w in waiting {
            let told = written.as_ref().map(drop).map_err(|e| Error::new(e.kind(), e.to_string()));
            w.done.send(told).ok();
        }
        written
    }
}

impl AccessStore for SqliteStore {
    async fn record(&self, entries: Vec<AccessEntry>) -> Result<()> {
        entries.iter().try_for_each(check)?;
        let mut written = self.accesses.push(entries);
        let queue = self.accesses.clone();
        let drained = self.handle.call(move |db: &mut Database| queue.drain(&mut db.connection)).await;
        // The job of an earlier caller may have done it; where none ran, nothing was written.
        match written.try_recv() {
            Ok(result) => result,
            Err(_) => drained.and(Err(Error::new(ErrorKind::Internal, RECORD))),
        }
    }
}

fn check(entry: &AccessEntry) -> Result<()> {
    let optional = [&entry.user, &entry.session, &entry.node, &entry.camera, &entry.reason, &entry.case];
    let texts = optional.into_iter().flatten().chain([&entry.action, &entry.object]);
    if texts.into_iter().any(|text| text.len() > MAX_TEXT && text.chars().count() > MAX_TEXT) {
        return Err(Error::new(ErrorKind::Invalid, format!("an entry's text has at most {MAX_TEXT} characters")));
    }
    Ok(())
}

/// Writes one entry as part of the change that it tells of.
pub(super) fn insert(tx: &Transaction<'_>, entry: &AccessEntry) -> Result<()> {
    let AccessEntry { at_ms, user, session, action, object, node, camera, reason, case } = entry;
    tx.prepare_cached(
        "INSERT INTO access_log (at_ms, user, session, action, object, node, camera, reason, case_number)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )
    .and_then(|mut s| s.execute(params![at_ms, user, session, action, object, node, camera, reason, case]))
    .map(drop)
    .map_err(|e| fault(RECORD, e))
}

impl AccessReader for SqliteEvents {
    async fn read(&self, query: AccessQuery) -> Result<Page<AccessRecord>> {
        let wanted = Wanted::new(query)?;
        self.ask(move |db, _| page(db, &wanted)).await
    }
}

/// A checked [`AccessQuery`].
struct Wanted {
    from_ms: i64,
    /// Entries before this time and id only.
    before: (i64, i64),
    user: Option<String>,
    cameras: Option<Vec<CameraKey>>,
    actions: Vec<String>,
    limit: usize,
}

impl Wanted {
    fn new(query: AccessQuery) -> Result<Self> {
        let invalid = |text: String| Error::new(ErrorKind::Invalid, text);
        let AccessQuery { from_ms, to_ms, user, mut cameras, mut actions, limit, after } = query;
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(invalid(format!("a page has 1 to {MAX_PAGE} entries")));
        }
        if actions.len().max(cameras.as_ref().map_or(0, Vec::len)) > MAX_VALUES {
            return Err(invalid(format!("a filter has at most {MAX_VALUES} values")));
        }
        let (from_ms, to_ms) = (from_ms.unwrap_or(i64::MIN), to_ms.unwrap_or(i64::MAX));
        if from_ms > to_ms {
            return Err(invalid("the span of time ends before it begins".into()));
        }
        let end = (to_ms, i64::MIN);
        let before = match after {
            None => end,
            Some(text) => cursor(&text).map(|at| at.min(end)).ok_or_else(|| {
                invalid("the cursor is none of ours".into())
                    .hint("pass on what the page before gave, or leave it out to begin at the newest")
            })?,
        };
        actions.sort();
        actions.dedup();
        if let Some(cameras) = &mut cameras {
            cameras.sort();
            cameras.dedup();
        }
        Ok(Self { from_ms, before, user, cameras, actions, limit })
    }
}

fn cursor(text: &str) -> Option<(i64, i64)> {
    let (at_ms, id) = text.split_once('.')?;
    let at = (at_ms.parse().ok()?, id.parse().ok()?);
    // One text for one cursor.
    (format!("{}.{}", at.0, at.1) == text).then_some(at)
}

/// Entries along one index: each lane costs what its page costs, however many entries there are.
struct Lane<'a> {
    /// With `?` for each of `values`.
    sql: &'static str,
    values: Vec<&'a str>,
}

fn lanes(wanted: &Wanted) -> Vec<Lane<'_>> {
    match (&wanted.cameras, &wanted.user) {
        (Some(cameras), _) => {
            cameras.iter().map(|(n, c)| Lane { sql: "a.node = ? AND a.camera = ? AND", values: vec![n, c] }).collect()
        }
        (None, Some(user)) => vec![Lane { sql: "a.user = ? AND", values: vec![user] }],
        (None, None) if wanted.actions.is_empty() => vec![Lane { sql: "", values: Vec::new() }],
        (None, None) => wanted.actions.iter().map(|a| Lane { sql: "a.action = ? AND", values: vec![a] }).collect(),
    }
}

fn page(db: &Connection, wanted: &Wanted) -> Result<Page<AccessRecord>> {
    // One more than the page has: whether there is another page.
    let want = wanted.limit + 1;
    let mut found: BTreeMap<(i64, i64), AccessRecord> = BTreeMap::new();
    for lane in lanes(wanted) {
        let full = found.len() >= want;
        let floor = found.first_key_value().filter(|_| full).map_or(wanted.from_ms, |((at, _), _)| *at);
        for record in records(db, wanted, &lane, floor, want)? {
            found.insert((record.entry.at_ms, record.id), record);
        }
        while found.len() > want {
            found.pop_first();
        }
    }
    let more = found.len() > wanted.limit;
    let items: Vec<AccessRecord> = found.into_values().rev().take(wanted.limit).collect();
    let next = items.last().filter(|_| more).map(|r| format!("{}.{}", r.entry.at_ms, r.id));
    Ok(Page { items, next })
}

fn records(db: &Connection, wanted: &Wanted, lane: &Lane<'_>, from_ms: i64, want: usize) -> Result<Vec<AccessRecord>> {
    let failed = |e| fault(READ, e);
    let mut values: Vec<Value> = lane.values.iter().map(|v| Value::from((*v).to_owned())).collect();
    let mut rest = String::new();
    if lane.sql.contains("a.node") && wanted.user.is_some() {
        rest.push_str("a.user = ? AND ");
        values.extend(wanted.user.clone().map(Value::from));
    }
    if !wanted.actions.is_empty() && !lane.sql.contains("a.action") {
        rest.push_str(&format!("a.action IN ({}) AND ", vec!["?"; wanted.actions.len()].join(", ")));
        values.extend(wanted.actions.iter().cloned().map(Value::from));
    }
    let (at_ms, id) = wanted.before;
    values.extend([from_ms, at_ms, at_ms, id, want as i64].map(Value::from));
    let sql = format!(
        "SELECT a.id, a.at_ms, a.user, a.session, a.action, a.object, a.node, a.camera, a.reason, a.case_number,
           u.display_name
         FROM access_log a LEFT JOIN user u ON u.id = a.user
         WHERE {} {rest} a.at_ms >= ? AND a.at_ms <= ? AND (a.at_ms, a.id) < (?, ?)
         ORDER BY a.at_ms DESC, a.id DESC LIMIT ?",
        lane.sql
    );
    let mut statement = db.prepare_cached(&sql).map_err(failed)?;
    let mut rows = statement.query(params_from_iter(values)).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        found.push(read_record(row)?);
    }
    Ok(found)
}

fn read_record(r: &Row<'_>) -> Result<AccessRecord> {
    Ok(AccessRecord {
        id: column(r, 0)?,
        entry: AccessEntry {
            at_ms: column(r, 1)?,
            user: column(r, 2)?,
            session: column(r, 3)?,
            action: column(r, 4)?,
            object: column(r, 5)?,
            node: column(r, 6)?,
            camera: column(r, 7)?,
            reason: column(r, 8)?,
            case: column(r, 9)?,
        },
        display_name: column(r, 10)?,
    })
}
