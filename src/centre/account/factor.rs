//! Second factors and open sessions: what a user does with his own, and a commander with somebody's.

use super::service::{Accounts, LinkRefusal, of_user};
use super::{Session, totp};
use crate::base::{Error, ErrorKind, Result};
use crate::centre::store::AccountStore;
use crate::centre::store::session::OpenSession;
use crate::config::Secret;

/// A second factor that is to be confirmed. Shown once.
pub struct Begun {
    /// Base32.
    pub secret: String,
    /// `otpauth://totp/…`
    pub uri: String,
}

/// What a code is worth.
pub(super) enum CodeCheck {
    /// It was right, or none is asked for.
    Fine,
    Needed,
    Wrong,
}

impl<S: AccountStore> Accounts<S> {
    /// Whether a code is asked for at the login of `user`.
    pub async fn has_factor(&self, user: &str) -> Result<bool> {
        Ok(self.store.factor(user.to_owned()).await?.is_some())
    }

    /// Checks the code that goes with a login; a right one is used up.
    pub(super) async fn check_code(
        &self,
        user: &str,
        factor: Option<&str>,
        code: Option<&Secret>,
    ) -> Result<CodeCheck> {
        let (secret, code) = match (factor, code) {
            (None, _) => return Ok(CodeCheck::Fine),
            (Some(_), None) => return Ok(CodeCheck::Needed),
            (Some(secret), Some(code)) => (secret, code),
        };
        let Some(step) = totp::step_of(secret, code.expose(), self.clock.now().wall_ms) else {
            return Ok(CodeCheck::Wrong);
        };
        let taken = self.store.take_code(user.to_owned(), step).await?;
        Ok(if taken { CodeCheck::Fine } else { CodeCheck::Wrong })
    }

    /// Begins a second factor for the ward called `place`, by the password: who finds a page open must not lock its owner
    /// out. `None` when there is one already.
    pub async fn begin_factor(
        &self,
        session: &Session,
        password: Secret,
        place: &str,
    ) -> Result<std::result::Result<Option<Begun>, LinkRefusal>> {
        if let Err(refusal) = self.check_password(session, password).await? {
            return Ok(Err(refusal));
        }
        let secret = totp::new_secret()?;
        let (user, now_ms) = (session.user.id.clone(), self.clock.now().wall_ms);
        if !self.store.begin_factor(user, secret.clone(), now_ms).await? {
            return Ok(Ok(None));
        }
        let uri = totp::uri(&secret, place, &session.user.name);
        Ok(Ok(Some(Begun { secret, uri })))
    }

    /// Confirms what was begun by a code; from then on one is asked for. All other sessions end.
    pub async fn confirm_factor(
        &self,
        session: &Session,
        code: Secret,
    ) -> Result<std::result::Result<(), LinkRefusal>> {
        let keys = vec![of_user(&session.user)];
        if let Some(retry_ms) = self.attempt(keys.clone()).await? {
            return Ok(Err(LinkRefusal::Locked { retry_ms }));
        }
        let (user, now_ms) = (session.user.id.clone(), self.clock.now().wall_ms);
        let Some(secret) = self.store.begun_factor(user.clone(), now_ms).await? else {
            return Ok(Err(LinkRefusal::Unknown));
        };
        let Some(step) = totp::step_of(&secret, code.expose(), now_ms) else {
            return Ok(Err(LinkRefusal::WrongCode));
        };
        let entry = self.entry(session, "totp.on", &format!("user/{}", session.user.name));
        if !self.store.confirm_factor(user, secret, step, session.id.clone(), entry).await? {
            return Ok(Err(LinkRefusal::Unknown));
        }
        self.store.succeeded(keys).await?;
        Ok(Ok(()))
    }

    /// Takes one's own second factor away.
    pub async fn drop_factor(
        &self,
        session: &Session,
        password: Secret,
    ) -> Result<std::result::Result<(), LinkRefusal>> {
        if let Err(refusal) = self.check_password(session, password).await? {
            return Ok(Err(refusal));
        }
        let entry = self.entry(session, "totp.off", "own second factor");
        self.store.drop_factor(session.user.id.clone(), entry).await?;
        Ok(Ok(()))
    }

    /// Takes somebody's second factor away; `by` is written into the log.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn drop_factor_of(&self, user: &str, by: Option<&Session>) -> Result<()> {
        let mut entry = self.entry_by(by, "second factor");
        entry.action = "totp.off".into();
        self.store.drop_factor(user.to_owned(), entry).await
    }

    /// One's own open sessions, the newest first.
    pub async fn sessions(&self, session: &Session) -> Result<Vec<OpenSession>> {
        let now_ms = self.clock.now().wall_ms;
        self.store.sessions(session.user.id.clone(), now_ms, super::service::IDLE_MS).await
    }

    /// Ends one of one's own sessions.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn end_session(&self, session: &Session, id: &str) -> Result<()> {
        let entry =
            self.entry(session, "session.close", &format!("own session {}", id.chars().take(40).collect::<String>()));
        match self.store.end_own(session.user.id.clone(), id.to_owned(), entry).await? {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::NotFound, "there is no such session")),
        }
    }

    /// Ends all of somebody's sessions.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn end_sessions_of(&self, user: &str, by: Option<&Session>) -> Result<()> {
        let mut entry = self.entry_by(by, "all sessions");
        entry.action = "session.close".into();
        self.store.end_all(user.to_owned(), entry).await
    }
}
