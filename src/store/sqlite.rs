//! How wardwatch opens an SQLite file: one process, WAL, full sync, forward-only upgrades, and a corrupt file put aside
//! instead of a crash loop. It knows no table.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

use crate::base::{Error, ErrorKind, Result};

/// Stands beside a database that a run found corrupt.
const SUSPECT: &str = ".suspect";
/// A database that somebody else has is waited for so often and so long: a second.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Compiled statements that a connection keeps: more than any of ours has.
const STATEMENTS: usize = 128;

/// A database's shape: how to make it, and how to get there from any earlier version.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// The whole current schema.
    pub fresh: &'static str,
    /// `upgrades[n]` leads from version n + 1 to n + 2.
    pub upgrades: &'static [&'static str],
}

impl Schema {
    /// The current version.
    pub fn version(&self) -> i64 {
        self.upgrades.len() as i64 + 1
    }
}

/// An open database, locked against a second process for as long as this lives.
pub struct Opened {
    pub connection: Connection,
    /// Where a corrupt predecessor was put.
    pub quarantined: Option<PathBuf>,
    pub lock: File,
}

/// Opens or makes the database at `path`. A corrupt one is renamed to `<path>.corrupt-<now_ms>` and a fresh one made.
///
/// Errors: `Unavailable` when another process has it open, `Config` when a newer wardwatch wrote it, `Exhausted` when
/// the disk is full.
pub fn open(path: &Path, schema: Schema, now_ms: i64) -> Result<Opened> {
    if let Some(directory) = path.parent() {
        private_directory(directory)?;
    }
    let lock = lock(path)?;
    // A closed database has no log: one that is there means that the last run was cut off.
    let cut_off = std::fs::metadata(beside(path, "-wal")).is_ok_and(|m| m.len() > 0);
    let suspected = beside(path, SUSPECT);
    match try_open(path, schema, cut_off || suspected.exists()) {
        Ok(connection) => {
            std::fs::remove_file(&suspected).ok();
            Ok(Opened { connection, quarantined: None, lock })
        }
        Err(e) if e.kind() == ErrorKind::Corrupt => {
            let aside = quarantine(path, now_ms)?;
            tracing::error!(
                error = %e, quarantined = %aside.display(),
                "the database is corrupt; it was put aside and a new one begun: what it held unsent needs a look"
            );
            std::fs::remove_file(&suspected).ok();
            let connection = try_open(path, schema, false)?;
            Ok(Opened { connection, quarantined: Some(aside), lock })
        }
        Err(e) => Err(e),
    }
}

/// Has the next [`open`] of the database at `path` check it, even if it is closed in order.
pub fn suspect(path: &Path) {
    if let Err(e) = std::fs::write(beside(path, SUSPECT), "") {
        tracing::warn!(error = %e, "cannot mark the database for a check");
    }
}

/// Opens the database at `path` anew after the disk failed under `connection` or it was found corrupt. After a failed
/// sync the memory of the machine may show what is not on disk, so nothing of it is used: the log is read and checked from
/// the disk, and what it holds is moved into the database. What a corrupt one was renamed to is returned.
///
/// # Errors
/// The disk still fails; `connection` is closed then and answers nothing: try again before it is used.
pub fn reopen(path: &Path, schema: Schema, connection: &mut Connection) -> Result<Option<PathBuf>> {
    let at = |e: rusqlite::Error| fault("cannot open the database again", e).at(path.display());
    let closed = std::mem::replace(connection, Connection::open_in_memory().map_err(at)?);
    // Closing must not write what is doubtful.
    closed.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(at)?;
    drop(closed);
    for suffix in ["", "-wal"] {
        if let Ok(file) = File::open(beside(path, suffix)) {
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).ok();
        }
    }
    let (opened, quarantined) = match try_open(path, schema, true) {
        Ok(opened) => (opened, None),
        Err(e) if e.kind() == ErrorKind::Corrupt => {
            let aside = quarantine(path, changed_ms(path))?;
            tracing::error!(error = %e, quarantined = %aside.display(), "the database is corrupt and was put aside");
            (try_open(path, schema, false)?, Some(aside))
        }
        Err(e) => return Err(e),
    };
    // With a sync of its own: from then on the log is as if the fault had never been.
    opened.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(at)?;
    *connection = opened;
    Ok(quarantined)
}

/// When the file at `path` was last changed, UTC milliseconds: a time for those who do not ask for it.
pub fn changed_ms(path: &Path) -> i64 {
    let changed = std::fs::metadata(path).and_then(|m| m.modified()).ok();
    changed.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, |d| d.as_millis() as i64)
}

/// Moves the write-ahead log into the database and gives its room back, as far as that is possible.
pub fn shrink_log(connection: &Connection) {
    let shrunk = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    if let Err(e) = shrunk {
        tracing::warn!(error = %e, "the database's log cannot be shortened");
    }
}

/// Makes a directory that only its owner can enter.
pub fn private_directory(directory: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|e| Error::io("cannot make the directory", directory, e))
}

/// Keeps every other process from the database at `path`, which need not exist, for as long as the file lives.
///
/// # Errors
/// `Unavailable` when another process has it open.
pub fn lock(path: &Path) -> Result<File> {
    let name = beside(path, ".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&name)
        .map_err(|e| Error::io("cannot open the lock file", &name, e))?;
    // A person's command has the database of a stopped role for a moment, and must not keep the role from starting.
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(std::fs::TryLockError::Error(e)) => return Err(Error::io("cannot lock the database", &name, e)),
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "another wardwatch process uses this database")
        .at(path.display())
        .hint("stop it first, or give this one a state_dir of its own"))
}

/// Whether a process has the database at `path` open.
pub fn in_use(path: &Path) -> bool {
    let held = |file: File| matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock));
    File::open(beside(path, ".lock")).is_ok_and(held)
}

/// Opens the database at `path` for reading, whether a process uses it or not.
///
/// Errors: `NotFound` when there is none, `Config` when it is of another version than `schema`.
pub fn open_to_read(path: &Path, schema: Schema) -> Result<Connection> {
    std::fs::metadata(path).map_err(|e| Error::io("there is no database", path, e))?;
    let at = |e: rusqlite::Error| {
        let hint = "run this as the user of the node, who may read and write its state directory";
        fault("cannot read the database", e).at(path.display()).hint(hint)
    };
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(at)?;
    ready(&connection).map_err(at)?;
    connection.execute_batch("PRAGMA busy_timeout = 5000; PRAGMA query_only = ON;").map_err(at)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(at)?;
    if found == schema.version() {
        return Ok(connection);
    }
    let text = format!("the database is of version {found}, this program reads version {}", schema.version());
    Err(Error::new(ErrorKind::Config, text)
        .at(path.display())
        .hint("use the wardwatch that the node runs, and start the node once after an upgrade"))
}

/// Copies the database at `path`, as it is at one moment, into the new file `to`, and checks the copy. A process may use
/// it and write meanwhile.
///
/// # Errors
/// `Config` when it is of another version than `schema`, `Corrupt` when the copy does not pass its check.
pub fn copy(path: &Path, schema: Schema, to: &Path) -> Result<()> {
    let at = |e: rusqlite::Error| fault("cannot copy the database", e).at(path.display());
    let name =
        to.to_str().ok_or_else(|| Error::new(ErrorKind::Invalid, "the copy's name is not UTF-8").at(to.display()))?;
    // Made here and not by SQLite, so that only its owner can read it.
    let made = OpenOptions::new().create_new(true).write(true).mode(0o600).open(to);
    made.map_err(|e| Error::io("cannot make the copy", to, e))?;
    let connection = open_to_read(path, schema)?;
    // The file is open for reading only; this would forbid writing the copy, too.
    connection.pragma_update(None, "query_only", false).map_err(at)?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(at)?;
    drop(connection);
    check(&Connection::open_with_flags(to, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(at)?, to)
}

/// For a copy that nobody uses: brings it to `schema`, checks it, has `work` change it in one transaction, and leaves it
/// as a single file that is on disk.
///
/// # Errors
/// `Config` when a newer wardwatch wrote it, `Corrupt` when it does not pass its check.
pub fn settle<T>(path: &Path, schema: Schema, work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T>) -> Result<T> {
    let doing = "cannot settle the restored database";
    let mut connection = try_open(path, schema, true)?;
    let value = durable(&mut connection, doing, work)?;
    connection
        .query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
        .map_err(|e| fault(doing, e).at(path.display()))?;
    connection.close().map_err(|(_, e)| fault(doing, e).at(path.display()))?;
    Ok(value)
}

fn check(connection: &Connection, path: &Path) -> Result<()> {
    let at = |e: rusqlite::Error| fault("cannot check the database", e).at(path.display());
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(at)?;
    match verdict.as_str() {
        "ok" => Ok(()),
        _ => Err(Error::new(ErrorKind::Corrupt, format!("the database fails its check: {verdict}")).at(path.display())),
    }
}

fn try_open(path: &Path, schema: Schema, verify: bool) -> Result<Connection> {
    let at = |e: rusqlite::Error| fault("cannot open the database", e).at(path.display());
    if !path.exists() {
        // Made here and not by SQLite, so that only its owner can read it.
        let options = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
        options.map_err(|e| Error::io("cannot make the database", path, e))?;
    }
    let mut connection = Connection::open(path).map_err(at)?;
    ready(&connection).map_err(at)?;
    connection
        .execute_batch(
            "PRAGMA busy_timeout = 5000; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 8388608;",
        )
        .map_err(at)?;
    if verify {
        check(&connection, path)?;
    }
    upgrade(&mut connection, schema).map_err(|e| e.at(path.display()))?;
    Ok(connection)
}

/// Statements are compiled once. SQLite with STAT4, as it is built here, else compiles one anew for each value that is bound
/// where a value could choose the plan (as beside a partial index): a third of the time that a list took.
fn ready(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn upgrade(connection: &mut Connection, schema: Schema) -> Result<()> {
    let doing = "cannot bring the database to this version";
    let found: i64 = connection.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(|e| fault(doing, e))?;
    if found > schema.version() {
        return Err(Error::new(
            ErrorKind::Config,
            format!("the database is of version {found}, newer than this program"),
        )
        .hint("install the newer wardwatch again, or start with another state_dir"));
    }
    let steps: &[&str] = match found {
        0 => &[schema.fresh],
        _ => &schema.upgrades[found as usize - 1..],
    };
    let first = if found == 0 { schema.version() } else { found + 1 };
    for (step, version) in steps.iter().zip(first..) {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|e| fault(doing, e))?;
        tx.execute_batch(step).map_err(|e| fault(doing, e))?;
        tx.pragma_update(None, "user_version", version).map_err(|e| fault(doing, e))?;
        tx.commit().map_err(|e| fault(doing, e))?;
    }
    Ok(())
}

fn quarantine(path: &Path, now_ms: i64) -> Result<PathBuf> {
    let aside = beside(path, &format!(".corrupt-{now_ms}"));
    for suffix in ["", "-wal", "-shm"] {
        let from = beside(path, suffix);
        match std::fs::rename(&from, beside(&aside, suffix)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("cannot put the corrupt database aside", &from, e));
            }
            _ => {}
        }
    }
    Ok(aside)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// An SQLite error as ours: full disks, corruption and locks told apart.
pub fn fault(doing: &str, error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as Code;
    let kind = match error.sqlite_error_code() {
        Some(Code::DiskFull) => ErrorKind::Exhausted,
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => ErrorKind::Corrupt,
        Some(Code::DatabaseBusy | Code::DatabaseLocked | Code::OperationInterrupted) => ErrorKind::Timeout,
        Some(Code::SystemIoFailure | Code::CannotOpen | Code::ReadOnly | Code::PermissionDenied) => ErrorKind::Io,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, doing).source(error)
}

/// Runs `work` in one write transaction that is on disk when this returns.
pub fn durable<T>(
    connection: &mut Connection,
    doing: &str,
    work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T>,
) -> Result<T> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|e| fault(doing, e))?;
    let value = work(&tx)?;
    tx.commit().map_err(|e| fault(doing, e))?;
    Ok(value)
}

/// Takes the write lock and gives it back; nothing is written.
pub fn heartbeat(connection: &mut Connection) -> Result<()> {
    durable(connection, "the database cannot be written", |_| Ok(()))
}

/// Runs `work` in one write transaction that a power cut may undo: for what is merely repeated then.
pub fn relaxed<T>(
    connection: &mut Connection,
    doing: &str,
    work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T>,
) -> Result<T> {
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(|e| fault(doing, e))?;
    let value = durable(connection, doing, work);
    connection.pragma_update(None, "synchronous", "FULL").map_err(|e| fault(doing, e))?;
    value
}

/// The schema as it is in the file, without comments and white space, for comparing two databases.
pub fn shape(connection: &Connection) -> Result<Vec<String>> {
    let doing = "cannot read the schema";
    let mut statement = connection
        .prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
        .map_err(|e| fault(doing, e))?;
    let rows = statement.query_map([], |r| r.get::<_, String>(0)).map_err(|e| fault(doing, e))?;
    rows.map(|sql| {
        let sql = sql.map_err(|e| fault(doing, e))?;
        let code: Vec<&str> = sql.lines().map(|l| l.split("--").next().unwrap_or_default()).collect();
        Ok(code.join(" ").split_whitespace().collect::<Vec<_>>().join(" "))
    })
    .collect()
}
