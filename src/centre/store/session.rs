//! Open sessions as their users see them, and second factors, in the centre's database. Each change brings its row of the
//! access log and is committed with it.

use std::future::Future;

use rusqlite::params;

use super::access::{self, AccessEntry};
use super::account::{CHANGE, one, run, user_of};
use super::read::list;
use super::sqlite::{SqliteStore, column};
use crate::base::{Error, ErrorKind, Result};
use crate::store::sqlite::durable;

/// A second factor that was begun has to be confirmed within this.
pub const BEGUN_MS: i64 = 10 * 60_000;

/// An open session as its user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    pub id: String,
    /// UTC milliseconds, as all times here.
    pub created_ms: i64,
    /// To the minute.
    pub last_seen_ms: i64,
    pub expires_ms: i64,
    pub address: String,
    pub user_agent: String,
}

/// What the centre remembers of open sessions and second factors.
pub trait SessionStore: Clone + Send + Sync + 'static {
    /// The open sessions of a user, the newest first.
    fn sessions(
        &self,
        user: String,
        now_ms: i64,
        idle_ms: i64,
    ) -> impl Future<Output = Result<Vec<OpenSession>>> + Send;

    /// Ends session `id` of `user`; false when he has none of this id.
    fn end_own(&self, user: String, id: String, entry: AccessEntry) -> impl Future<Output = Result<bool>> + Send;

    /// Ends all sessions of a user. Errors: `NotFound`.
    fn end_all(&self, user: String, entry: AccessEntry) -> impl Future<Output = Result<()>> + Send;

    /// The secret of a user's second factor, where there is one.
    fn factor(&self, user: String) -> impl Future<Output = Result<Option<String>>> + Send;

    /// Keeps a secret that is to be confirmed; false when there is a factor already.
    fn begin_factor(&self, user: String, secret: String, now_ms: i64) -> impl Future<Output = Result<bool>> + Send;

    /// The secret that is to be confirmed.
    fn begun_factor(&self, user: String, now_ms: i64) -> impl Future<Output = Result<Option<String>>> + Send;

    /// What was begun is in force, and the code of `step` is used; every session but `keep` ends. False when `secret` is
    /// not what was begun last.
    fn confirm_factor(
        &self,
        user: String,
        secret: String,
        step: i64,
        keep: String,
        entry: AccessEntry,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Takes the code of `step`; false when it, or a later one, was taken already.
    fn take_code(&self, user: String, step: i64) -> impl Future<Output = Result<bool>> + Send;

    /// Takes the second factor away. Errors: `NotFound` for an unknown user.
    fn drop_factor(&self, user: String, entry: AccessEntry) -> impl Future<Output = Result<()>> + Send;
}

impl SessionStore for SqliteStore {
    async fn sessions(&self, user: String, now_ms: i64, idle_ms: i64) -> Result<Vec<OpenSession>> {
        let sql = "SELECT id, created_ms, last_seen_ms, expires_ms, address, user_agent FROM session
                   WHERE user = ?1 AND expires_ms > ?2 AND last_seen_ms > ?3 ORDER BY created_ms DESC, id";
        self.handle
            .call(move |db| {
                list(&db.connection, sql, params![user, now_ms, now_ms - idle_ms], |r| {
                    Ok(OpenSession {
                        id: column(r, 0)?,
                        created_ms: column(r, 1)?,
                        last_seen_ms: column(r, 2)?,
                        expires_ms: column(r, 3)?,
                        address: column(r, 4)?,
                        user_agent: column(r, 5)?,
                    })
                })
            })
            .await
    }

    async fn end_own(&self, user: String, id: String, entry: AccessEntry) -> Result<bool> {
        self.handle
            .call(move |db| {
                durable(&mut db.connection, CHANGE, |tx| {
                    let ended = run(tx, "DELETE FROM session WHERE user = ?1 AND id = ?2", [&user, &id])? > 0;
                    if ended {
                        access::insert(tx, &entry)?;
                    }
                    Ok(ended)
                })
            })
            .await
    }

    async fn end_all(&self, user: String, mut entry: AccessEntry) -> Result<()> {
        self.handle
            .call(move |db| {
                durable(&mut db.connection, CHANGE, |tx| {
                    entry.object = format!("user/{}: {}", user_of(tx, &user)?.name, entry.object);
                    run(tx, "DELETE FROM session WHERE user = ?1", [&user])?;
                    access::insert(tx, &entry)
                })
            })
            .await
    }

    async fn factor(&self, user: String) -> Result<Option<String>> {
        let sql = "SELECT totp FROM user WHERE id = ?1 AND totp IS NOT NULL";
        self.handle.call(move |db| one(&db.connection, sql, [user], |r| column(r, 0))).await
    }

    async fn begin_factor(&self, user: String, secret: String, now_ms: i64) -> Result<bool> {
        let sql = "UPDATE user SET totp_begun = ?2, totp_begun_ms = ?3 WHERE id = ?1 AND totp IS NULL";
        self.handle
            .call(move |db| durable(&mut db.connection, CHANGE, |tx| run(tx, sql, params![user, secret, now_ms])))
            .await
            .map(|n| n > 0)
    }

    async fn begun_factor(&self, user: String, now_ms: i64) -> Result<Option<String>> {
        let sql = "SELECT totp_begun FROM user WHERE id = ?1 AND totp IS NULL AND totp_begun IS NOT NULL
                   AND totp_begun_ms > ?2";
        self.handle.call(move |db| one(&db.connection, sql, params![user, now_ms - BEGUN_MS], |r| column(r, 0))).await
    }

    async fn confirm_factor(
        &self,
        user: String,
        secret: String,
        step: i64,
        keep: String,
        entry: AccessEntry,
    ) -> Result<bool> {
        self.handle
            .call(move |db| {
                durable(&mut db.connection, CHANGE, |tx| {
                    let sql = "UPDATE user SET totp = ?2, totp_step = ?3, totp_begun = NULL, totp_begun_ms = NULL
                               WHERE id = ?1 AND totp IS NULL AND totp_begun = ?2";
                    if run(tx, sql, params![user, secret, step])? == 0 {
                        return Ok(false);
                    }
                    run(tx, "DELETE FROM session WHERE user = ?1 AND id <> ?2", [&user, &keep])?;
                    access::insert(tx, &entry)?;
                    Ok(true)
                })
            })
            .await
    }

    async fn take_code(&self, user: String, step: i64) -> Result<bool> {
        let sql = "UPDATE user SET totp_step = ?2 WHERE id = ?1 AND totp IS NOT NULL AND totp_step < ?2";
        self.handle
            .call(move |db| durable(&mut db.connection, CHANGE, |tx| run(tx, sql, params![user, step])))
            .await
            .map(|n| n > 0)
    }

    async fn drop_factor(&self, user: String, mut entry: AccessEntry) -> Result<()> {
        self.handle
            .call(move |db| {
                durable(&mut db.connection, CHANGE, |tx| {
                    let sql = "UPDATE user SET totp = NULL, totp_step = NULL, totp_begun = NULL, totp_begun_ms = NULL
                               WHERE id = ?1";
                    if run(tx, sql, [&user])? == 0 {
                        return Err(Error::new(ErrorKind::NotFound, "there is no such account"));
                    }
                    entry.object = format!("user/{}: {}", user_of(tx, &user)?.name, entry.object);
                    access::insert(tx, &entry)
                })
            })
            .await
    }
}
