//! Accounts and sessions in the centre's database. Each change brings its row of the access log and is committed with it.

use std::collections::BTreeSet;
use std::future::Future;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::access::{self, AccessEntry};
use super::session::SessionStore;
use super::sqlite::{SqliteStore, column};
use crate::base::{Error, ErrorKind, Result};
use crate::centre::account::backoff::{self, Attempts, Step};
use crate::centre::account::{Account, CameraKey, Change, LinkKind, Role, Session, User};
use crate::store::sqlite::{durable, fault};

const READ: &str = "cannot read the accounts";
pub(super) const CHANGE: &str = "cannot change the accounts";
/// Addresses, and names that nobody has, whose failures are remembered; beyond it the oldest is forgotten.
const FAILURES: i64 = 1024;
/// Open sessions of one user; a further one ends the oldest.
const SESSIONS: i64 = 20;
/// The time of last use is kept to this.
const SEEN_MS: i64 = 60_000;

/// An account with what opens it.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub user: User,
    /// A PHC string; `None`: none was set yet.
    pub password: Option<String>,
}

/// A session to be opened.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub token_sha256: String,
    pub session: Session,
    /// UTC milliseconds.
    pub now_ms: i64,
    pub address: String,
    pub user_agent: String,
}

/// Under which attempts count: a kind, `user`, `name` or `address`, and which one.
pub type AttemptKey = (&'static str, String);

/// What the centre remembers of who works there.
pub trait AccountStore: SessionStore {
    /// All accounts, by name.
    fn accounts(&self) -> impl Future<Output = Result<Vec<Account>>> + Send;

    /// Whether anybody has ever got in; anybody may ask, so it costs nothing.
    fn is_begun(&self) -> impl Future<Output = Result<bool>> + Send;

    /// The account with this name, folded.
    fn credentials(&self, folded: String) -> impl Future<Output = Result<Option<Credentials>>> + Send;

    /// Adds an account.
    ///
    /// Errors: `Invalid` when somebody has the name.
    fn add_user(
        &self,
        user: User,
        folded: String,
        now_ms: i64,
        entry: AccessEntry,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Changes an account; its sessions end unless only its display name is another, and its links are void when it is
    /// disabled. `entry` is told whose it is and what was changed.
    ///
    /// Errors: `NotFound`; `Invalid` when nobody would be left who may make accounts.
    fn edit_user(&self, id: String, change: Change, entry: AccessEntry) -> impl Future<Output = Result<User>> + Send;

    /// Sets a password; every session but `keep` ends, and links are void.
    ///
    /// Errors: `NotFound`.
    fn set_password(
        &self,
        user: String,
        hash: String,
        keep: String,
        entry: AccessEntry,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Opens a session; the user's `last_login_ms` is its beginning.
    ///
    /// Errors: `NotFound` when the account was disabled meanwhile.
    fn open_session(&self, new: NewSession, entry: AccessEntry) -> impl Future<Output = Result<()>> + Send;

    /// The session behind a token, if it was used within `idle_ms` and has not ended; this is a use.
    fn session(
        &self,
        token_sha256: String,
        now_ms: i64,
        idle_ms: i64,
    ) -> impl Future<Output = Result<Option<Session>>> + Send;

    /// Ends a session.
    fn end_session(&self, id: String, entry: AccessEntry) -> impl Future<Output = Result<()>> + Send;

    /// A one-time link, by the hash of its token; it takes the place of an earlier one of its kind. `entry` is told whose it
    /// is.
    ///
    /// Errors: `NotFound`.
    fn offer_link(
        &self,
        user: String,
        kind: LinkKind,
        token_sha256: String,
        expires_ms: i64,
        entry: AccessEntry,
    ) -> impl Future<Output = Result<()>> + Send;

    /// What a link is for, and for whom; disabled accounts have none.
    fn find_link(
        &self,
        token_sha256: String,
        now_ms: i64,
    ) -> impl Future<Output = Result<Option<(LinkKind, User)>>> + Send;

    /// Uses a link up and sets the password, where there is one: then every session ends, other links are void, and `entry`
    /// is written. False: there is no such link any more, or its account is disabled.
    fn use_link(
        &self,
        token_sha256: String,
        now_ms: i64,
        hash: Option<String>,
        entry: AccessEntry,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Counts one more attempt under each key, or none of them: then it gives how many milliseconds to wait, the longest of
    /// all. Many at once are counted one after the other.
    fn attempt(&self, keys: Vec<AttemptKey>, now_ms: i64) -> impl Future<Output = Result<Option<u64>>> + Send;

    /// An attempt succeeded: nothing counts under these keys any more.
    fn succeeded(&self, keys: Vec<AttemptKey>) -> impl Future<Output = Result<()>> + Send;
}

impl AccountStore for SqliteStore {
    async fn accounts(&self) -> Result<Vec<Account>> {
        self.handle.call(|db| accounts(&db.connection)).await
    }

    async fn is_begun(&self) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM user WHERE password IS NOT NULL OR last_login_ms IS NOT NULL)";
        let found = self.handle.call(move |db| one(&db.connection, sql, [], |r| column(r, 0))).await?;
        Ok(found.unwrap_or(false))
    }

    async fn credentials(&self, folded: String) -> Result<Option<Credentials>> {
        self.handle
            .call(move |db| {
                let sql = format!("SELECT {USER}, u.password FROM user u WHERE u.folded = ?1");
                one(&db.connection, &sql, [folded], |r| {
                    Ok(Credentials { user: read_user(&db.connection, r)?, password: column(r, 6)? })
                })
            })
            .await
    }

    async fn add_user(&self, user: User, folded: String, now_ms: i64, entry: AccessEntry) -> Result<()> {
        self.handle
            .call(move |db| {
                durable(&mut db.connection, CHANGE, |tx| {
                    let User { id, name, display_name, role, cameras, disabled } = &user;
                    let added = run(
                        tx,
                        "INSERT INTO user (id, name, folded, display_name, role, cameras, disabled, created_ms)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (folded) DO NOTHING",
                        params![id, name, folded, display_name, role.as_str(), cameras.is_some(), disabled, now_ms],
                    )?;
                    if added == 0 {
                        return Err(Error::new(ErrorKind::Invalid, "somebody has this name already"));
                    }
                    set_cameras(tx, id, cameras.as_ref())?;
                    access::insert(tx, &entry)
                })
            })
            .await
    }

    async fn edit_user(&self, id: String, change: Change, entry: AccessEntry) -> Result<User> {
        self.handle.call(move |db| durable(&mut db.connection, CHANGE, |tx| edit(tx, &id, change, entry))).await
    }

    async fn set_password(&self, user: String, hash: String, keep: String, entry: AccessEntry) -> Result<()> {
        self.handle
            .call(move |db| {
                durable(&mut db.connection, CHANGE, |tx| {
                    user_of(tx, &user)?;
                    run(tx, "UPDATE user SET password = ?2 WHERE id = ?1", params![user, hash])?;
                    run(tx, "DELETE FROM session WHERE user = ?1 AND id <> ?2", params![user, keep])?;
                    run(tx, "DELETE FROM login_link WHERE user = ?1", [&user])?;
                    access::insert(tx, &entry)
                })
            })
            .await
    }

    async fn open_session(&self, new: NewSession, entry: AccessEntry) -> Result<()> {
        self.handle
            .call(move |db| {
                durable(&mut db.connection, CHANGE, |tx| {
                    let NewSession { token_sha256, session, now_ms, address, user_agent } = &new;
                    let user = &session.user.id;
                    if user_of(tx, user)?.disabled {
                        return Err(Error::new(ErrorKind::NotFound, "the account is disabled"));
                    }
                    run(tx, "DELETE FROM session WHERE expires_ms <= ?1", [now_ms])?;
                    run(
                        tx,
                        "DELETE FROM session WHERE user = ?1 AND token_sha256 NOT IN (SELECT token_sha256 FROM session
                         WHERE user = ?1 ORDER BY created_ms DESC LIMIT ?2)",
                        params![user, SESSIONS - 1],
                    )?;
                    run(
                        tx,
                        "INSERT INTO session (token_sha256, id, user, created_ms, last_seen_ms, expires_ms, address,
                         user_agent) VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7)",
                        params![token_sha256, session.id, user, now_ms, session.expires_ms, address, user_agent],
                    )?;
                    run(tx, "UPDATE user SET last_login_ms = ?2 WHERE id = ?1", params![user, now_ms])?;
                    access::insert(tx, &entry)
                })
            })
            .await
    }

    async fn session(&self, token_sha256: String, now_ms: i64, idle_ms: i64) -> Result<Option<Session>> {
        // On the writer's thread, which has room for many who come at once; a reading connection refuses the 65th.
        self.handle
            .call(move |db| {
                let found = find_session(&db.connection, &token_sha256, now_ms, idle_ms)?;
                let Some((session, seen_ms)) = found else { return Ok(None) };
                if now_ms - seen_ms >= SEEN_MS {
                    let touch = "UPDATE session SET last_seen_ms = ?2 WHERE token_sha256 = ?1";
                    durable(&mut db.connection, CHANGE, |tx| run(tx, touch, params![token_sha256, now_ms]).map(drop))?;
                }
                Ok(Some(session))
            })
            .await
    }

    async fn end_session(&self, id: String, entry: AccessEntry) -> Result<()> {
        self.handle
            .call(move |db| {
                durable(&mut db.connection, CHANGE, |tx| {
                    match run(tx, "DELETE FROM session WHERE id = ?1", [&id])? {
                        // Of two who end it at once one is first.
                        0 => Ok(()),
                        _ => access::insert(tx, &entry),
                    }
                })
            })
            .await
    }

    async fn offer_link(
        &self,
        user: String,
        kind: LinkKind,
        token_sha256: String,
        expires_ms: i64,
        mut entry: AccessEntry,
    ) -> Result<()> {
        self.handle
            .call(move |db| {
                durable(&mut db.connection, CHANGE, |tx| {
                    let name = user_of(tx, &user)?.name;
                    entry.object = format!("user/{name}: {}", entry.object);
                    run(
                        tx,
                        "INSERT INTO login_link (token_sha256, user, kind, expires_ms) VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT (user, kind) DO UPDATE SET token_sha256 = ?1, expires_ms = ?4",
                        params![token_sha256, user, kind.as_str(), expires_ms],
                    )?;
                    access::insert(tx, &entry)
                })
            })
            .await
    }

    async fn find_link(&self, token_sha256: String, now_ms: i64) -> Result<Option<(LinkKind, User)>> {
        self.handle
            .call(move |db| {
                let sql = format!(
                    "SELECT {USER}, l.kind FROM login_link l JOIN user u ON u.id = l.user
                     WHERE l.token_sha256 = ?1 AND l.expires_ms > ?2 AND NOT u.disabled"
                );
                one(&db.connection, &sql, params![token_sha256, now_ms], |r| {
                    let kind: String = column(r, 6)?;
                    let kind = if kind == LinkKind::Login.as_str() { LinkKind::Login } else { LinkKind::Setup };
                    Ok((kind, read_user(&db.connection, r)?))
                })
            })
            .await
    }

    async fn use_link(
        &self,
        token_sha256: String,
        now_ms: i64,
        hash: Option<String>,
        entry: AccessEntry,
    ) -> Result<bool> {
        self.handle
            .call(move |db| {
                durable(&mut db.connection, CHANGE, |tx| {
                    let used = "DELETE FROM login_link WHERE token_sha256 = ?1 AND expires_ms > ?2
                                  AND user IN (SELECT id FROM user WHERE NOT disabled) RETURNING user";
                    let Some(user) = one(tx, used, params![token_sha256, now_ms], |r| column::<String>(r, 0))? else {
                        return Ok(false);
                    };
                    if let Some(hash) = &hash {
                        run(tx, "UPDATE user SET password = ?2 WHERE id = ?1", params![user, hash])?;
                        run(tx, "DELETE FROM session WHERE user = ?1", [&user])?;
                        run(tx, "DELETE FROM login_link WHERE user = ?1", [&user])?;
                        access::insert(tx, &entry)?;
                    }
                    Ok(true)
                })
            })
            .await
    }

    async fn attempt(&self, keys: Vec<AttemptKey>, now_ms: i64) -> Result<Option<u64>> {
        self.handle.call(move |db| durable(&mut db.connection, CHANGE, |tx| count_attempt(tx, &keys, now_ms))).await
    }

    async fn succeeded(&self, keys: Vec<AttemptKey>) -> Result<()> {
        self.handle
            .call(move |db| {
                durable(&mut db.connection, CHANGE, |tx| {
                    keys.iter().try_for_each(|(kind, key)| {
                        let gone = "DELETE FROM login_failure WHERE kind = ?1 AND key = ?2";
                        run(tx, gone, params![kind, key]).map(drop)
                    })
                })
            })
            .await
    }
}

/// An open session, and when it was last used.
fn find_session(db: &Connection, token_sha256: &str, now_ms: i64, idle_ms: i64) -> Result<Option<(Session, i64)>> {
    let sql = format!(
        "SELECT {USER}, s.id, s.expires_ms, s.last_seen_ms FROM session s JOIN user u ON u.id = s.user
         WHERE s.token_sha256 = ?1 AND s.expires_ms > ?2 AND s.last_seen_ms > ?3 AND NOT u.disabled"
    );
    one(db, &sql, params![token_sha256, now_ms, now_ms - idle_ms], |r| {
        let user = read_user(db, r)?;
        Ok((Session { user, id: column(r, 6)?, expires_ms: column(r, 7)? }, column(r, 8)?))
    })
}

fn count_attempt(tx: &Transaction<'_>, keys: &[AttemptKey], now_ms: i64) -> Result<Option<u64>> {
    let (mut next, mut wait) = (Vec::new(), None);
    for (kind, key) in keys {
        let sql = "SELECT count, last_ms FROM login_failure WHERE kind = ?1 AND key = ?2";
        let found =
            one(tx, sql, params![kind, key], |r| Ok(Attempts { count: column(r, 0)?, last_ms: column(r, 1)? }))?;
        match backoff::step(found.unwrap_or_default(), now_ms) {
            Step::Go(after) => next.push((kind, key, after)),
            Step::Wait { retry_ms } => wait = wait.max(Some(retry_ms.unsigned_abs())),
        }
    }
    if wait.is_some() {
        return Ok(wait);
    }
    for (kind, key, after) in next {
        let own = *kind == "user";
        run(
            tx,
            "INSERT INTO login_failure (kind, key, count, last_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (kind, key) DO UPDATE SET count = ?3, last_ms = ?4",
            params![kind, key, after.count, after.last_ms],
        )?;
        if !own {
            run(
                tx,
                "DELETE FROM login_failure WHERE kind = ?1 AND key <> ?3 AND key NOT IN (SELECT key FROM login_failure
                 WHERE kind = ?1 AND key <> ?3 ORDER BY last_ms DESC, key LIMIT ?2)",
                params![kind, FAILURES - 1, key],
            )?;
        }
    }
    Ok(None)
}

/// Columns 0 to 5 of every statement that reads a user.
const USER: &str = "u.id, u.name, u.display_name, u.role, u.cameras, u.disabled";

pub(super) fn run(tx: &Transaction<'_>, sql: &str, values: impl rusqlite::Params) -> Result<usize> {
    tx.prepare_cached(sql).and_then(|mut s| s.execute(values)).map_err(|e| fault(CHANGE, e))
}

pub(super) fn one<T>(
    db: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let failed = |e| fault(READ, e);
    let mut statement = db.prepare_cached(sql).map_err(failed)?;
    let found = statement.query_row(values, |r| Ok(read(r))).optional().map_err(failed)?;
    found.transpose()
}

fn read_user(db: &Connection, r: &Row<'_>) -> Result<User> {
    let (id, role, listed): (String, String, bool) = (column(r, 0)?, column(r, 3)?, column(r, 4)?);
    let role = Role::parse(&role)
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "a user has a role that nobody knows").at(&id))?;
    let cameras = match listed {
        false => None,
        true => {
            let failed = |e| fault(READ, e);
            let mut statement =
                db.prepare_cached("SELECT node, camera FROM user_camera WHERE user = ?1").map_err(failed)?;
            let rows = statement.query_map([&id], |r| Ok((r.get(0)?, r.get(1)?))).map_err(failed)?;
            Some(rows.collect::<std::result::Result<BTreeSet<CameraKey>, _>>().map_err(failed)?)
        }
    };
    Ok(User { id, name: column(r, 1)?, display_name: column(r, 2)?, role, cameras, disabled: column(r, 5)? })
}

pub(super) fn user_of(db: &Connection, id: &str) -> Result<User> {
    let sql = format!("SELECT {USER} FROM user u WHERE u.id = ?1");
    let found = one(db, &sql, [id], |r| read_user(db, r))?;
    found.ok_or_else(|| Error::new(ErrorKind::NotFound, "there is no such account"))
}

fn accounts(db: &Connection) -> Result<Vec<Account>> {
    let failed = |e| fault(READ, e);
    let sql = format!(
        "SELECT {USER}, u.password IS NOT NULL, u.created_ms, u.last_login_ms, u.totp IS NOT NULL FROM user u ORDER BY u.folded"
    );
    let mut statement = db.prepare_cached(&sql).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(r) = rows.next().map_err(failed)? {
        let user = read_user(db, r)?;
        found.push(Account {
            user,
            ready: column(r, 6)?,
            created_ms: column(r, 7)?,
            last_login_ms: column(r, 8)?,
            second_factor: column(r, 9)?,
        });
    }
    Ok(found)
}

fn set_cameras(tx: &Transaction<'_>, user: &str, cameras: Option<&BTreeSet<CameraKey>>) -> Result<()> {
    run(tx, "DELETE FROM user_camera WHERE user = ?1", [user])?;
    for (node, camera) in cameras.into_iter().flatten() {
        run(tx, "INSERT INTO user_camera (user, node, camera) VALUES (?1, ?2, ?3)", params![user, node, camera])?;
    }
    run(tx, "UPDATE user SET cameras = ?2 WHERE id = ?1", params![user, cameras.is_some()]).map(drop)
}

fn edit(tx: &Transaction<'_>, id: &str, change: Change, mut entry: AccessEntry) -> Result<User> {
    let before = user_of(tx, id)?;
    let mut after = before.clone();
    let mut told = Vec::new();
    if let Some(display_name) = change.display_name {
        told.push(format!("display name {display_name}"));
        after.display_name = display_name;
    }
    if let Some(role) = change.role {
        told.push(format!("role {}", role.as_str()));
        after.role = role;
    }
    if let Some(cameras) = change.cameras {
        told.push(cameras.as_ref().map_or("all cameras".into(), |c| format!("{} cameras", c.len())));
        after.cameras = cameras;
    }
    if let Some(disabled) = change.disabled {
        told.push(if disabled { "disabled".into() } else { "enabled".into() });
        after.disabled = disabled;
    }
    run(
        tx,
        "UPDATE user SET display_name = ?2, role = ?3, disabled = ?4 WHERE id = ?1",
        params![id, after.display_name, after.role.as_str(), after.disabled],
    )?;
    set_cameras(tx, id, after.cameras.as_ref())?;
    let commands = |user: &User| user.role == Role::Commander && !user.disabled;
    if commands(&before) && !commands(&after) {
        let others = "SELECT COUNT(*) FROM user WHERE role = ?1 AND NOT disabled";
        let left = one(tx, others, [Role::Commander.as_str()], |r| column::<i64>(r, 0))?;
        if left.unwrap_or(0) == 0 {
            return Err(Error::new(ErrorKind::Invalid, "this is the last commander, who alone makes accounts")
                .hint("make another commander first"));
        }
    }
    // A name is no right.
    let same = User { display_name: before.display_name.clone(), ..after.clone() } == before;
    if !same {
        // Whoever comes back is seen by what he is now.
        run(tx, "DELETE FROM session WHERE user = ?1", [id])?;
        run(tx, "DELETE FROM login_link WHERE user = ?1 AND ?2", params![id, after.disabled])?;
    }
    entry.object = format!("user/{}: {}", after.name, told.join(", "));
    access::insert(tx, &entry)?;
    Ok(after)
}
