//! The centre's store on SQLite and files: for one ward on one machine. One writer thread, group commit.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Row, Transaction, params};
use serde::Serialize;

use super::access;
use super::files::Files;
use super::read::{self, Reader, Readers, SqliteEvents};
use super::webhook::Announce;
use super::{Asked, CommandStore, Pending, command, event};
use super::{CentreStore, Item, LinkStore, Outcome, StoredCamera, StoredEvent, StoredNode, link};
use crate::base::types::CameraId;
use crate::base::{Clock, Error, ErrorKind, Result};
use crate::store::sqlite::{self as shared, Schema, durable, fault};
use crate::store::thread;
use crate::wire::command::Command;
use crate::wire::link::ClipNote;
use crate::wire::status::{CameraStatus, PeerState, PeerStatus};

/// The centre's schema.
pub const SCHEMA: Schema = Schema { fresh: include_str!("schema.sql"), upgrades: UPGRADES };

/// Forward steps, oldest first: the first leads from version 1 to 2.
const UPGRADES: &[&str] = &[include_str!("upgrades/2.sql"), include_str!("upgrades/3.sql")];

pub(super) const COMMIT: &str = "cannot commit what came";
const READ: &str = "cannot read the centre's database";

/// The way to the store.
#[derive(Clone)]
pub struct SqliteStore {
    pub(super) handle: thread::Handle<Database>,
    readers: Arc<Readers>,
    /// Entries of the access log that wait for a commit.
    pub(super) accesses: access::Queue,
}

/// The loop that does the work; `app` runs it on a thread of its own.
pub type Writer = thread::Writer<Database>;

/// The database on its thread. Only the store's own calls see it.
pub struct Database {
    path: PathBuf,
    pub(super) connection: Connection,
    files: Files,
    readers: Arc<Readers>,
    /// Who is told of what.
    pub(super) announce: Announce,
    /// To be opened anew before anything else is done with it.
    broken: bool,
    _lock: std::fs::File,
}

impl thread::Database for Database {
    // What a corrupt one has is a person's to look at: it is put aside at the next start.
    fn broken(&mut self, kind: ErrorKind) {
        match kind {
            ErrorKind::Corrupt => shared::suspect(&self.path),
            _ => self.broken = true,
        }
    }

    fn ready(&mut self) -> Result<()> {
        if self.broken {
            tracing::error!(path = %self.path.display(), "the disk failed: the database is opened anew and checked");
            let Self { path, connection, readers, .. } = self;
            readers.without(|| shared::reopen(path, SCHEMA, connection))?;
            self.broken = false;
        }
        Ok(())
    }

    // The nodes keep what the centre cannot.
    fn exhausted(&mut self) {
        shared::shrink_log(&self.connection);
    }

    fn close(self) {
        if let Err((_, e)) = self.connection.close() {
            tracing::warn!(error = %e, "the database did not close cleanly; it is checked at the next start");
        }
    }
}

impl SqliteStore {
    /// Opens `<directory>/centre.db` and `<directory>/snapshots`. The path is where a corrupt database was put.
    /// Errors: see [`shared::open`].
    pub fn open(directory: &Path, now_ms: i64) -> Result<(Self, Writer, Option<PathBuf>)> {
        Self::open_announcing(directory, now_ms, Announce::nobody())
    }

    /// As [`Self::open`]; what happens is kept for the receivers of `announce`.
    pub fn open_announcing(
        directory: &Path,
        now_ms: i64,
        announce: Announce,
    ) -> Result<(Self, Writer, Option<PathBuf>)> {
        let path = directory.join("centre.db");
        let opened = shared::open(&path, SCHEMA, now_ms)?;
        let files = Files::new(directory.join("snapshots"))?;
        let readers = Arc::new(Readers::new(path.clone(), files.clone()));
        let database = Database {
            path,
            connection: opened.connection,
            files,
            readers: readers.clone(),
            announce,
            broken: false,
            _lock: opened.lock,
        };
        let (handle, writer) = thread::pair(database);
        let store = Self { handle, readers, accesses: access::Queue::default() };
        Ok((store, writer, opened.quarantined))
    }

    /// The side for reading, with the loops that serve it: `app` runs each on a thread of its own, as many as questions
    /// shall be answered at the same time. They end with the last handle. No question takes longer than `limit`.
    pub fn reading(&self, threads: usize, limit: Duration, clock: Arc<dyn Clock>) -> (SqliteEvents, Vec<Reader>) {
        read::start(&self.readers, threads, limit, &clock)
    }

    /// Whether the thread answers and could commit. Errors: `Timeout` when something else keeps the database locked.
    pub async fn heartbeat(&self) -> Result<()> {
        self.handle.call(|db| shared::heartbeat(&mut db.connection)).await
    }
}

impl CentreStore for SqliteStore {
    async fn commit(&self, batch: Arc<Vec<Item>>, now_ms: i64) -> Result<Vec<Outcome>> {
        self.handle.call(move |db| db.commit(&batch, now_ms)).await
    }

    async fn events(&self, limit: usize) -> Result<Vec<StoredEvent>> {
        let sql = format!("{EVENT} ORDER BY e.started_ms DESC, e.id DESC LIMIT ?1");
        self.handle.call(move |db| db.list(&sql, [limit as i64], |db, r| db.stored_event(r))).await
    }

    async fn event(&self, node: String, id: String) -> Result<Option<StoredEvent>> {
        let sql = format!("{EVENT} WHERE e.node = ?1 AND e.id = ?2");
        Ok(self.handle.call(move |db| db.list(&sql, [node, id], |db, r| db.stored_event(r))).await?.pop())
    }

    async fn revisions(&self, node: String, id: String) -> Result<Vec<String>> {
        let sql = "SELECT json FROM revision WHERE node = ?1 AND id = ?2 ORDER BY revision";
        self.handle.call(move |db| db.list(sql, [node, id], |_, r| column(r, 0))).await
    }

    async fn nodes(&self) -> Result<Vec<StoredNode>> {
        self.handle.call(|db| db.list(NODES, [], |_, r| stored_node(r))).await
    }

    async fn cameras(&self) -> Result<Vec<StoredCamera>> {
        self.handle.call(|db| db.list(CAMERAS, [], |_, r| stored_camera(r))).await
    }

    async fn snapshot(&self, sha256: String) -> Result<Option<PathBuf>> {
        self.handle.call(move |db| present(&db.connection, &db.files, Some(&sha256))).await
    }
}

impl LinkStore for SqliteStore {
    async fn offer_code(&self, node: String, code_sha256: String, expires_ms: i64) -> Result<()> {
        self.handle.call(move |db| link::offer_code(&mut db.connection, &node, &code_sha256, expires_ms)).await
    }

    async fn enrol(&self, node: String, code_sha256: String, secret_sha256: String, now_ms: i64) -> Result<bool> {
        self.handle.call(move |db| link::enrol(&mut db.connection, &node, &code_sha256, &secret_sha256, now_ms)).await
    }

    async fn enrol_here(&self, node: String, secret_sha256: String, now_ms: i64) -> Result<()> {
        self.handle.call(move |db| link::enrol_here(&mut db.connection, &node, &secret_sha256, now_ms)).await
    }

    async fn secret_of(&self, node: String) -> Result<Option<String>> {
        self.handle.call(move |db| link::secret_of(&db.connection, &node)).await
    }

    async fn has_clip(&self, node: String, sha256: String) -> Result<bool> {
        self.handle.call(move |db| link::has_clip(&db.connection, &node, &sha256)).await
    }

    async fn add_clip(&self, node: String, note: ClipNote, now_ms: i64) -> Result<bool> {
        self.handle.call(move |db| link::add_clip(&mut db.connection, &node, &note, now_ms)).await
    }

    async fn clip_of(&self, node: String, command: String) -> Result<Option<ClipNote>> {
        self.handle.call(move |db| link::clip_of(&db.connection, &node, &command)).await
    }

    async fn clips(&self, node: String, event: String) -> Result<Vec<ClipNote>> {
        self.handle.call(move |db| link::clips(&db.connection, &node, &event)).await
    }
}

impl CommandStore for SqliteStore {
    async fn order(&self, node: String, asked: Command) -> Result<()> {
        self.handle.call(move |db| command::order(&mut db.connection, &node, &asked)).await
    }

    async fn pending(&self, now_ms: i64) -> Result<Vec<Pending>> {
        self.handle.call(move |db| command::pending(&mut db.connection, now_ms)).await
    }

    async fn asked(&self, id: String) -> Result<Option<Asked>> {
        Ok(self.handle.call(move |db| command::asked(&db.connection, "c.id = ?1", [&id])).await?.pop())
    }

    async fn delivered(&self, node: String, camera: CameraId, since_ms: i64) -> Result<Vec<Asked>> {
        let wanted = "c.kind = 'clip' AND c.node = ?1 AND c.issued_ms >= ?3
           AND EXISTS (SELECT 1 FROM clip k WHERE k.command = c.id AND k.command <> '' AND k.node = ?1 AND k.camera = ?2
             AND k.complete)
           AND NOT EXISTS (SELECT 1 FROM camera_info i WHERE i.node = ?1 AND i.camera = ?2 AND i.updated_ms >= c.issued_ms)
         ORDER BY c.issued_ms DESC, c.id DESC";
        let call = move |db: &mut Database| {
            command::asked(&db.connection, wanted, rusqlite::params![node, camera.as_str(), since_ms])
        };
        self.handle.call(call).await
    }

    async fn all_asked(&self, limit: usize) -> Result<Vec<Asked>> {
        let wanted = "1 ORDER BY c.issued_ms DESC, c.id DESC LIMIT ?1";
        self.handle.call(move |db| command::asked(&db.connection, wanted, [limit as i64])).await
    }
}

const EVENT: &str = "SELECT e.node, r.json, e.snapshot, e.first_committed_ms, e.committed_ms
  FROM event e JOIN revision r ON r.node = e.node AND r.id = e.id AND r.revision = e.revision";

pub(super) const NODES: &str = "SELECT name, state, version, boot_id, since FROM node ORDER BY name";

pub(super) const CAMERAS: &str = "SELECT c.node, c.name, c.json,
    EXISTS (SELECT 1 FROM node n WHERE n.name = c.node AND n.state = 'online' AND n.boot_id = c.boot_id)
  FROM camera c ORDER BY c.node, c.name";

impl Database {
    fn commit(&mut self, batch: &[Item], now_ms: i64) -> Result<Vec<Outcome>> {
        // Files first: a row without its file would be a lie, a file without its row is merely repeated.
        self.files.keep(batch.iter().filter_map(|item| match item {
            Item::Snapshot { sha256, jpeg, .. } => Some((sha256.as_str(), &jpeg[..])),
            _ => None,
        }))?;
        let Self { connection, files, announce, .. } = self;
        let kept = Kept { files, announce };
        durable(connection, COMMIT, |tx| batch.iter().map(|item| commit_one(tx, &kept, item, now_ms)).collect())
    }

    fn list<T>(
        &mut self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl Fn(&Self, &Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| fault(READ, e))?;
        let mut rows = statement.query(values).map_err(|e| fault(READ, e))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(|e| fault(READ, e))? {
            found.push(read(self, row)?);
        }
        Ok(found)
    }

    fn stored_event(&self, r: &Row<'_>) -> Result<StoredEvent> {
        let json: String = column(r, 1)?;
        let sha256: Option<String> = column(r, 2)?;
        Ok(StoredEvent {
            node: column(r, 0)?,
            event: parse(&json)?,
            snapshot: present(&self.connection, &self.files, sha256.as_deref())?,
            first_committed_ms: column(r, 3)?,
            committed_ms: column(r, 4)?,
        })
    }
}

pub(super) fn column<T: rusqlite::types::FromSql>(r: &Row<'_>, index: usize) -> Result<T> {
    r.get(index).map_err(|e| fault(READ, e))
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|e| Error::new(ErrorKind::Corrupt, "a stored document cannot be read").source(e))
}

fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::new(ErrorKind::Internal, "a document cannot be written as JSON").source(e))
}

pub(super) fn present(connection: &Connection, files: &Files, sha256: Option<&str>) -> Result<Option<PathBuf>> {
    let Some(sha256) = sha256 else { return Ok(None) };
    connection
        .prepare_cached("SELECT 1 FROM snapshot WHERE sha256 = ?1")
        .and_then(|mut s| s.exists([sha256]))
        // A centre that was restored has rows of pictures that nobody copied back.
        .map(|there| there.then(|| files.path(sha256)).filter(|path| path.exists()))
        .map_err(|e| fault(READ, e))
}

pub(super) fn stored_node(r: &Row<'_>) -> Result<StoredNode> {
    let state: String = column(r, 1)?;
    let state = parse::<PeerState>(&format!("\"{state}\""))?;
    let status = PeerStatus { state, version: column(r, 2)?, boot_id: column(r, 3)?, since: column(r, 4)? };
    Ok(StoredNode { node: column(r, 0)?, status })
}

pub(super) fn stored_camera(r: &Row<'_>) -> Result<StoredCamera> {
    let json: String = column(r, 2)?;
    Ok(StoredCamera { node: column(r, 0)?, camera: column(r, 1)?, status: parse(&json)?, current: column(r, 3)? })
}

/// What a commit needs besides the database.
pub(super) struct Kept<'a> {
    pub(super) files: &'a Files,
    pub(super) announce: &'a Announce,
}

fn commit_one(tx: &Transaction<'_>, kept: &Kept<'_>, item: &Item, now_ms: i64) -> Result<Outcome> {
    match item {
        Item::Event { node, event, json, times } => event::commit(tx, kept, node, event, json, *times, now_ms),
        Item::Snapshot { node, camera, event, sha256, jpeg } => {
            let new =
                commit_snapshot(tx, node, camera, event, (sha256, jpeg.len()), now_ms).map_err(|e| fault(COMMIT, e))?;
            Ok(if new { Outcome::Snapshot { path: kept.files.path(sha256) } } else { Outcome::Duplicate })
        }
        Item::Answer { node, answer } => command::answered(tx, node, answer, now_ms),
        Item::Node { node, status } => commit_node(tx, node, status.as_ref(), now_ms),
        Item::Camera { node, camera, status } => commit_camera(tx, node, camera, status.as_ref(), now_ms),
    }
}

fn commit_snapshot(
    tx: &Transaction<'_>,
    node: &str,
    camera: &CameraId,
    event: &str,
    (sha256, bytes): (&str, usize),
    now_ms: i64,
) -> rusqlite::Result<bool> {
    tx.prepare_cached("INSERT INTO snapshot (sha256, bytes, committed_ms) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
        .execute(params![sha256, bytes as i64, now_ms])?;
    let new = tx
        .prepare_cached(
            "INSERT INTO event_snapshot (node, event, sha256, camera, committed_ms) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![node, event, sha256, camera.as_str(), now_ms])?;
    Ok(new > 0)
}

fn commit_node(tx: &Transaction<'_>, node: &str, status: Option<&PeerStatus>, now_ms: i64) -> Result<Outcome> {
    let done = match status {
        Some(s) => {
            let state = match s.state {
                PeerState::Online => "online",
                PeerState::Stopping => "stopping",
                PeerState::Offline => "offline",
            };
            tx.execute(
                "INSERT INTO node (name, state, version, boot_id, since, committed_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (name) DO UPDATE SET state = excluded.state, version = excluded.version,
                   boot_id = excluded.boot_id, since = excluded.since, committed_ms = excluded.committed_ms",
                params![node, state, s.version, s.boot_id, s.since, now_ms],
            )
        }
        None => tx.execute("DELETE FROM node WHERE name = ?1", [node]),
    };
    done.map(|_| Outcome::Status).map_err(|e| fault(COMMIT, e))
}

fn commit_camera(
    tx: &Transaction<'_>,
    node: &str,
    camera: &CameraId,
    status: Option<&CameraStatus>,
    now_ms: i64,
) -> Result<Outcome> {
    let done = match status {
        Some(s) => tx.execute(
            "INSERT INTO camera (node, name, boot_id, state, json, committed_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (node, name) DO UPDATE SET boot_id = excluded.boot_id, state = excluded.state,
               json = excluded.json, committed_ms = excluded.committed_ms",
            params![node, camera.as_str(), s.boot_id, s.state, text(s)?, now_ms],
        ),
        None => tx.execute("DELETE FROM camera WHERE node = ?1 AND name = ?2", [node, camera.as_str()]),
    };
    done.map(|_| Outcome::Status).map_err(|e| fault(COMMIT, e))
}
