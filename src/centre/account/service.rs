//! Logging in and out, one-time links, and changes to accounts. Every change is in the access log, written with it.

use std::net::IpAddr;
use std::sync::Arc;

use super::factor::CodeCheck;
use super::password::{Passwords, weakness};
use super::{Account, CameraKey, Change, LinkKind, Role, Session, User};
use crate::base::{Clock, Error, ErrorKind, Result};
use crate::centre::api::{digest, new_secret};
use crate::centre::store::account::{AttemptKey, Credentials, NewSession};
use crate::centre::store::query::fold;
use crate::centre::store::{AccessEntry, AccountStore};
use crate::config::Secret;

/// A session that nobody uses for so long ends: a shift.
pub const IDLE_MS: i64 = 12 * 3600 * 1000;
/// A session ends after this whatever is done with it.
pub const LIFE_MS: i64 = 7 * 24 * 3600 * 1000;
/// A link that sets a password is good for so long.
pub const SETUP_MS: i64 = 24 * 3600 * 1000;
/// A link that opens a session is good for so long.
pub const LOGIN_MS: i64 = 3600 * 1000;
/// The longest name, in characters.
const MAX_NAME: usize = 64;
const DISPLAY_NAME: &str = "1 to 64 characters, no line breaks";

/// Somebody at the door.
pub struct LoginRequest {
    pub name: String,
    pub password: Secret,
    /// Of the second factor.
    pub code: Option<Secret>,
    pub address: IpAddr,
    pub user_agent: String,
}

/// Somebody who got in. The token is given to the browser and kept nowhere.
pub struct LoggedIn {
    pub token: String,
    pub session: Session,
}

/// Why nobody got in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginRefusal {
    /// Name or password is wrong, or the account is disabled: it is not said which.
    Wrong,
    /// Name and password are right; a code of the second factor is asked for.
    CodeNeeded,
    /// The code is wrong, or was used.
    WrongCode,
    /// Too many tries.
    Locked { retry_ms: u64 },
}

/// Why a link or a new password was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkRefusal {
    /// There is no such link any more, or the old password is wrong.
    Unknown,
    /// A code of the second factor is asked for.
    CodeNeeded,
    /// The code is wrong, or was used.
    WrongCode,
    /// Too many tries.
    Locked { retry_ms: u64 },
    /// It sets a password, and none was given.
    PasswordNeeded { name: String, display_name: String },
    /// In Vietnamese and English.
    Weak(String),
}

/// The accounts of a centre. Cloneable.
#[derive(Clone)]
pub struct Accounts<S> {
    pub(super) store: S,
    pub(super) passwords: Passwords,
    pub(super) clock: Arc<dyn Clock>,
    /// Of this run only: after a start names are counted anew, addresses are not.
    salt: Arc<str>,
}

impl<S: AccountStore> Accounts<S> {
    /// Joins the parts.
    ///
    /// # Errors
    /// `Internal` when the system has no random numbers.
    pub fn new(store: S, passwords: Passwords, clock: Arc<dyn Clock>) -> Result<Self> {
        let salt = new_secret()?.into();
        Ok(Self { store, passwords, clock, salt })
    }

    /// Whether nobody has ever got in.
    pub async fn is_new(&self) -> Result<bool> {
        Ok(!self.store.is_begun().await?)
    }

    /// Logs somebody in. A name that nobody has takes as long as a wrong password.
    pub async fn login(&self, request: LoginRequest) -> Result<std::result::Result<LoggedIn, LoginRefusal>> {
        let folded = fold(&request.name);
        let found = match request.name.chars().nth(MAX_NAME) {
            Some(_) => None,
            None => self.store.credentials(folded.clone()).await?,
        };
        let name = match &found {
            Some(credentials) => of_user(&credentials.user),
            // What is typed as a name may be a password: it is not kept.
            None => ("name", self.unnamed(&folded)),
        };
        let keys = vec![name, ("address", network(request.address))];
        if let Some(retry_ms) = self.attempt(keys.clone()).await? {
            return Ok(Err(LoginRefusal::Locked { retry_ms }));
        }
        let stored = found.as_ref().and_then(|c| c.password.clone());
        let right = self.passwords.verify(request.password, stored).await?;
        let Some(Credentials { user, .. }) = found.filter(|c| right && !c.user.disabled) else {
            tracing::warn!(address = %request.address, "a login failed");
            return Ok(Err(LoginRefusal::Wrong));
        };
        let factor = self.store.factor(user.id.clone()).await?;
        match self.check_code(&user.id, factor.as_deref(), request.code.as_ref()).await? {
            CodeCheck::Fine => {}
            CodeCheck::Needed => return Ok(Err(LoginRefusal::CodeNeeded)),
            CodeCheck::Wrong => {
                tracing::warn!(address = %request.address, "a login failed: the code is wrong");
                return Ok(Err(LoginRefusal::WrongCode));
            }
        }
        self.store.succeeded(keys).await?;
        Ok(Ok(self.open(user, request.address, request.user_agent).await?))
    }

    /// A name that nobody has, as attempts are counted under it: nobody can read it back from the database.
    fn unnamed(&self, folded: &str) -> String {
        digest(&format!("{}{folded}", self.salt))
    }

    pub(super) async fn attempt(&self, keys: Vec<AttemptKey>) -> Result<Option<u64>> {
        self.store.attempt(keys, self.clock.now().wall_ms).await
    }

    async fn open(&self, user: User, address: IpAddr, user_agent: String) -> Result<LoggedIn> {
        let now_ms = self.clock.now().wall_ms;
        let token = new_secret()?;
        let session = Session { id: short()?, user, expires_ms: now_ms + LIFE_MS };
        let entry = AccessEntry {
            at_ms: now_ms,
            user: Some(session.user.id.clone()),
            session: Some(session.id.clone()),
            action: "session.open".into(),
            object: format!("from {address}"),
            ..AccessEntry::default()
        };
        let new = NewSession {
            token_sha256: digest(&token),
            session: session.clone(),
            now_ms,
            address: address.to_string(),
            user_agent,
        };
        self.store.open_session(new, entry).await?;
        Ok(LoggedIn { token, session })
    }

    /// Who is behind a token.
    pub async fn who(&self, token: &str) -> Result<Option<Session>> {
        if token.len() != 64 {
            return Ok(None);
        }
        self.store.session(digest(token), self.clock.now().wall_ms, IDLE_MS).await
    }

    /// Ends a session.
    pub async fn logout(&self, session: &Session) -> Result<()> {
        let mut entry = self.entry(session, "session.close", "own session");
        entry.session = Some(session.id.clone());
        self.store.end_session(session.id.clone(), entry).await
    }

    /// Uses a one-time link up. It is no way around a second factor.
    pub async fn use_link(
        &self,
        token: &str,
        password: Option<Secret>,
        code: Option<Secret>,
        address: IpAddr,
        user_agent: String,
    ) -> Result<std::result::Result<LoggedIn, LinkRefusal>> {
        let mut keys = vec![("address", network(address))];
        if let Some(retry_ms) = self.attempt(keys.clone()).await? {
            return Ok(Err(LinkRefusal::Locked { retry_ms }));
        }
        let (token_sha256, now_ms) = (digest(token), self.clock.now().wall_ms);
        let Some((kind, user)) = self.store.find_link(token_sha256.clone(), now_ms).await? else {
            return Ok(Err(LinkRefusal::Unknown));
        };
        let password = match (kind, password) {
            (LinkKind::Login, _) => None,
            (LinkKind::Setup, None) => {
                let User { name, display_name, .. } = user;
                return Ok(Err(LinkRefusal::PasswordNeeded { name, display_name }));
            }
            (LinkKind::Setup, Some(password)) => {
                if let Some(why) = weakness(&password, &user.name) {
                    return Ok(Err(LinkRefusal::Weak(why)));
                }
                Some(password)
            }
        };
        if let Some(factor) = self.store.factor(user.id.clone()).await? {
            let own = vec![of_user(&user)];
            if let Some(retry_ms) = self.attempt(own.clone()).await? {
                return Ok(Err(LinkRefusal::Locked { retry_ms }));
            }
            match self.check_code(&user.id, Some(&factor), code.as_ref()).await? {
                CodeCheck::Fine => keys.extend(own),
                CodeCheck::Needed => return Ok(Err(LinkRefusal::CodeNeeded)),
                CodeCheck::Wrong => return Ok(Err(LinkRefusal::WrongCode)),
            }
        }
        self.store.succeeded(keys).await?;
        let hash = match password {
            Some(password) => Some(self.passwords.hash(password).await?),
            None => None,
        };
        // Of two at the same time one is first.
        let entry = AccessEntry {
            at_ms: now_ms,
            user: Some(user.id.clone()),
            action: "password.change".into(),
            object: format!("user/{} by a link, from {address}", user.name),
            ..AccessEntry::default()
        };
        if !self.store.use_link(token_sha256, now_ms, hash, entry).await? {
            return Ok(Err(LinkRefusal::Unknown));
        }
        Ok(Ok(self.open(user, address, user_agent).await?))
    }

    /// Changes one's own password. All other sessions end.
    pub async fn change_password(
        &self,
        session: &Session,
        old: Secret,
        new: Secret,
    ) -> Result<std::result::Result<(), LinkRefusal>> {
        if let Err(refusal) = self.check_password(session, old).await? {
            return Ok(Err(refusal));
        }
        if let Some(why) = weakness(&new, &session.user.name) {
            return Ok(Err(LinkRefusal::Weak(why)));
        }
        let hash = self.passwords.hash(new).await?;
        let entry = self.entry(session, "password.change", &format!("user/{}", session.user.name));
        self.store.set_password(session.user.id.clone(), hash, session.id.clone(), entry).await?;
        Ok(Ok(()))
    }

    /// Whether `password` is that of whoever is logged in; counted like a login.
    pub(super) async fn check_password(
        &self,
        session: &Session,
        password: Secret,
    ) -> Result<std::result::Result<(), LinkRefusal>> {
        let keys = vec![of_user(&session.user)];
        if let Some(retry_ms) = self.attempt(keys.clone()).await? {
            return Ok(Err(LinkRefusal::Locked { retry_ms }));
        }
        let stored = self.store.credentials(fold(&session.user.name)).await?.and_then(|c| c.password);
        if !self.passwords.verify(password, stored).await? {
            return Ok(Err(LinkRefusal::Unknown));
        }
        self.store.succeeded(keys).await?;
        Ok(Ok(()))
    }

    /// All accounts, by name.
    pub async fn accounts(&self) -> Result<Vec<Account>> {
        self.store.accounts().await
    }

    /// Makes an account without a password, and the link that sets one; `by` is written into the log.
    ///
    /// # Errors
    /// `Invalid` when the name cannot be one, or somebody has it.
    pub async fn add(
        &self,
        name: &str,
        display_name: &str,
        role: Role,
        cameras: Option<std::collections::BTreeSet<CameraKey>>,
        by: Option<&Session>,
    ) -> Result<(User, String, i64)> {
        sound(name, "name to log in with").map_err(|e| e.hint("1 to 64 letters and digits, no space at either end"))?;
        sound(display_name, "name for colleagues").map_err(|e| e.hint(DISPLAY_NAME))?;
        let user = User {
            id: uuid::Uuid::now_v7().to_string(),
            name: name.to_owned(),
            display_name: display_name.to_owned(),
            role,
            cameras,
            disabled: false,
        };
        let now_ms = self.clock.now().wall_ms;
        let entry = self.entry_by(by, &format!("user/{name} added as {}", role.as_str()));
        self.store.add_user(user.clone(), fold(name), now_ms, entry).await?;
        let (token, expires_ms) = self.link(&user.id, LinkKind::Setup, by).await?;
        Ok((user, token, expires_ms))
    }

    /// Changes an account; sessions of it end when it loses something. `by` is written into the log.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the last commander who could make accounts, or a display name that is none.
    pub async fn edit(&self, id: &str, change: Change, by: Option<&Session>) -> Result<User> {
        if let Some(display_name) = &change.display_name {
            sound(display_name, "name for colleagues").map_err(|e| e.hint(DISPLAY_NAME))?;
        }
        let entry = self.entry_by(by, "");
        self.store.edit_user(id.to_owned(), change, entry).await
    }

    /// A new one-time link for an account; an older one of the kind is void. `by` is written into the log.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn link(&self, id: &str, kind: LinkKind, by: Option<&Session>) -> Result<(String, i64)> {
        let token = new_secret()?;
        let life = match kind {
            LinkKind::Setup => SETUP_MS,
            LinkKind::Login => LOGIN_MS,
        };
        let expires_ms = self.clock.now().wall_ms + life;
        let entry = self.entry_by(by, &format!("a {} link", kind.as_str()));
        self.store.offer_link(id.to_owned(), kind, digest(&token), expires_ms, entry).await?;
        Ok((token, expires_ms))
    }

    pub(super) fn entry(&self, session: &Session, action: &str, object: &str) -> AccessEntry {
        AccessEntry { action: action.to_owned(), ..self.entry_by(Some(session), object) }
    }

    pub(super) fn entry_by(&self, by: Option<&Session>, object: &str) -> AccessEntry {
        AccessEntry {
            at_ms: self.clock.now().wall_ms,
            user: by.map(|s| s.user.id.clone()),
            session: Some(by.map_or_else(|| super::MACHINE.to_owned(), |s| s.id.clone())),
            action: "user.edit".into(),
            object: object.to_owned(),
            ..AccessEntry::default()
        }
    }
}

/// Under which attempts at an account count. Unlike names that nobody has, however many are tried, these are never forgotten
/// for want of room.
pub(super) fn of_user(user: &User) -> AttemptKey {
    ("user", user.id.clone())
}

/// Checks a name; two must not look alike by what cannot be seen.
fn sound(text: &str, what: &str) -> Result<()> {
    let fits = (1..=MAX_NAME).contains(&text.chars().count()) && text.trim() == text;
    let seen = text.chars().all(|c| c == ' ' || !(c.is_whitespace() || c.is_control() || is_hidden(c)));
    if fits && seen { Ok(()) } else { Err(Error::new(ErrorKind::Invalid, format!("this is no {what}"))) }
}

/// Zero-width and direction marks.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Where guesses count together: an address, of IPv6 the network that one customer has.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// What names a session and opens nothing.
fn short() -> Result<String> {
    new_secret().map(|secret| secret[..12].to_owned())
}
