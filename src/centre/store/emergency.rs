//! Declared emergencies in the centre's database. Each row stays, and comes and ends with its row of the access log.

use std::future::Future;

use rusqlite::{Connection, params};

use super::access::{self, AccessEntry};
use super::sqlite::{SqliteStore, column};
use crate::base::{Error, ErrorKind, Result};
use crate::centre::account::CameraKey;
use crate::store::sqlite::{durable, fault};

const DOING: &str = "cannot keep an emergency";
/// An emergency lasts no longer.
pub const MAX_EMERGENCY_MS: i64 = crate::wire::channel::MAX_EMERGENCY_MS;
/// The longest reason, in characters.
const MAX_REASON: usize = 400;

/// An emergency: until it ends, cameras may be watched live that their owners do not share so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEmergency {
    /// UUID.
    pub id: String,
    /// `None`: all cameras.
    pub cameras: Option<Vec<CameraKey>>,
    pub reason: String,
    /// User id.
    pub by: String,
    /// UTC milliseconds.
    pub created_ms: i64,
    /// UTC milliseconds.
    pub until_ms: i64,
}

impl StoredEmergency {
    /// Whether it may be declared.
    ///
    /// # Errors
    /// `Invalid` without a reason, or when it would last for more than twelve hours.
    pub fn check(&self) -> Result<()> {
        let invalid = |text: &str| Err(Error::new(ErrorKind::Invalid, text));
        if self.reason.trim().is_empty() || self.reason.chars().count() > MAX_REASON {
            return invalid("an emergency needs a reason of at most 400 characters");
        }
        if !(1..=MAX_EMERGENCY_MS).contains(&self.until_ms.saturating_sub(self.created_ms)) {
            return invalid("an emergency ends within twelve hours");
        }
        if self.cameras.as_ref().is_some_and(|c| c.is_empty() || c.len() > 1000) {
            return invalid("an emergency is of 1 to 1000 cameras, or of all");
        }
        Ok(())
    }
}

/// What emergencies there are.
pub trait EmergencyStore: Clone + Send + Sync + 'static {
    /// Declares one. Errors: `Invalid` when it is not sound.
    fn declare(&self, emergency: StoredEmergency, entry: AccessEntry) -> impl Future<Output = Result<()>> + Send;

    /// Ends one; false when none of this id lasts.
    fn end_emergency(&self, id: String, now_ms: i64, entry: AccessEntry) -> impl Future<Output = Result<bool>> + Send;

    /// Those that last.
    fn emergencies(&self, now_ms: i64) -> impl Future<Output = Result<Vec<StoredEmergency>>> + Send;
}

impl EmergencyStore for SqliteStore {
    async fn declare(&self, emergency: StoredEmergency, entry: AccessEntry) -> Result<()> {
        emergency.check()?;
        let failed = |e| Error::new(ErrorKind::Internal, "cameras cannot be written as JSON").source(e);
        let cameras = emergency.cameras.as_ref().map(serde_json::to_string).transpose().map_err(failed)?;
        self.handle
            .call(move |db| {
                durable(&mut db.connection, DOING, |tx| {
                    let StoredEmergency { id, reason, by, created_ms, until_ms, .. } = &emergency;
                    tx.execute(
                        "INSERT INTO emergency (id, cameras, reason, by_user, created_ms, until_ms)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                        params![id, cameras, reason, by, created_ms, until_ms],
                    )
                    .map_err(|e| fault(DOING, e))?;
                    access::insert(tx, &entry)
                })
            })
            .await
    }

    async fn end_emergency(&self, id: String, now_ms: i64, entry: AccessEntry) -> Result<bool> {
        self.handle
            .call(move |db| {
                durable(&mut db.connection, DOING, |tx| {
                    let sql = "UPDATE emergency SET ended_ms = ?2
                               WHERE id = ?1 AND ended_ms IS NULL AND until_ms > ?2";
                    let ended = tx.execute(sql, params![id, now_ms]).map_err(|e| fault(DOING, e))? > 0;
                    if ended {
                        access::insert(tx, &entry)?;
                    }
                    Ok(ended)
                })
            })
            .await
    }

    async fn emergencies(&self, now_ms: i64) -> Result<Vec<StoredEmergency>> {
        self.handle.call(move |db| in_force(&db.connection, now_ms)).await
    }
}

fn in_force(db: &Connection, now_ms: i64) -> Result<Vec<StoredEmergency>> {
    let failed = |e| fault(DOING, e);
    let sql = "SELECT id, cameras, reason, by_user, created_ms, until_ms FROM emergency
               WHERE ended_ms IS NULL AND until_ms > ?1 ORDER BY created_ms, id";
    let mut statement = db.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query([now_ms]).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(r) = rows.next().map_err(failed)? {
        let id: String = column(r, 0)?;
        let cameras: Option<String> = column(r, 1)?;
        let parsed = cameras.map(|json| serde_json::from_str(&json)).transpose();
        let cameras = parsed
            .map_err(|e| Error::new(ErrorKind::Corrupt, "an emergency's cameras cannot be read").at(&id).source(e))?;
        let (reason, by, created_ms, until_ms) = (column(r, 2)?, column(r, 3)?, column(r, 4)?, column(r, 5)?);
        found.push(StoredEmergency { id, cameras, reason, by, created_ms, until_ms });
    }
    Ok(found)
}
