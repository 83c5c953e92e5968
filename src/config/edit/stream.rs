//! Addresses and passwords of streams, on their way out and in.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Refused, SecretFile, Settings, sound_text};
use crate::config::{Camera, Secret, StreamSource, StreamUrl};

/// What is told in place of a secret, and says nothing when it comes back.
const TOLD: [&str; 3] = ["password_set", "url_withheld", "host"];

/// Makes a stream's table fit to leave the machine.
pub(super) fn withhold(table: &mut Settings, source: &StreamSource) {
    let is_reference = table.get("url").and_then(Value::as_str).is_none_or(is_reference);
    for key in ["url", "user", "password"] {
        table.remove(key);
    }
    // Never the text itself: only what the reader made of it has no user and no password in it.
    if !is_reference && source.url.is_plain() {
        table.insert("url".into(), source.url.expose().into());
    } else {
        table.insert("url_withheld".into(), true.into());
        table.insert("host".into(), format!("{}:{}", source.url.host(), source.url.port()).into());
    }
    if let Some(user) = &source.user {
        table.insert("user".into(), user.as_str().into());
    }
    table.insert("password_set".into(), source.password.is_some().into());
}

fn is_reference(text: &str) -> bool {
    text.starts_with("file:") || text.starts_with("${")
}

/// Where passwords that come in are put.
pub(super) struct Safe<'a> {
    directory: &'a Path,
    revision: u64,
    /// The document in force: its files are not to be written over.
    text: &'a str,
    pub(super) files: Vec<SecretFile>,
}

/// What comes in about a stream.
struct Said {
    url: Option<String>,
    /// Empty: none.
    user: Option<String>,
    /// Empty: none.
    password: Option<String>,
}

/// A stream of the document: its table, and what the reader made of it.
#[derive(Clone, Copy)]
struct Kept<'a> {
    raw: &'a Settings,
    source: &'a StreamSource,
}

impl<'a> Kept<'a> {
    fn text(&self, key: &str) -> Option<&'a str> {
        self.raw.get(key).and_then(Value::as_str)
    }

    /// Whether a password may go to `url` as `user`: it goes there already, and no less protected.
    fn may_go(&self, url: &StreamUrl, user: Option<&str>) -> bool {
        let old = &self.source.url;
        let same_host = old.host().eq_ignore_ascii_case(url.host()) && old.port() == url.port();
        same_host && self.source.user.as_deref() == user && (url.is_tls() || !old.is_tls())
    }
}

impl<'a> Safe<'a> {
    pub(super) fn new(directory: &'a Path, revision: u64, text: &'a str) -> Self {
        Self { directory, revision, text, files: Vec::new() }
    }

    /// Makes the stream `role` in `settings` what it is to be in the document; `raw` and `kept` are the camera as it is.
    pub(super) fn stream(
        &mut self,
        camera: &str,
        role: &str,
        settings: &mut Settings,
        raw: Option<&Settings>,
        kept: Option<&Camera>,
    ) -> Result<(), Refused> {
        let Some(value) = settings.get_mut(role) else { return Ok(()) };
        let Value::Object(table) = value else { return Err(Refused::new("this is no table").key(role)) };
        let source = kept.and_then(|c| if role == "detect" { Some(&c.detect) } else { c.record.as_ref() });
        let raw = raw.and_then(|r| r.get(role)).and_then(Value::as_object);
        let kept = raw.zip(source).map(|(raw, source)| Kept { raw, source });
        TOLD.iter().for_each(|key| drop(table.remove(*key)));
        let under = |e: Refused| e.under(role);
        let mut said = Said {
            url: taken(table, "url").map_err(under)?,
            user: taken(table, "user").map_err(under)?,
            password: taken(table, "password").map_err(under)?,
        };
        let mut slot = Slot { safe: self, camera, role, table };
        match said.url.take() {
            None => slot.keep(said, kept.ok_or_else(|| Refused::new("a new stream needs its address").key("url"))),
            Some(url) => slot.address(&url, said, kept),
        }
        .map_err(under)
    }

    /// A file for `value`, and how the document refers to it.
    fn put(&mut self, camera: &str, what: &str, value: Secret) -> String {
        let mut name = format!("{camera}.{what}.{}", self.revision);
        let mut path: PathBuf = self.directory.join(&name);
        while self.text.contains(path.to_string_lossy().as_ref()) {
            name.push('a');
            path = self.directory.join(&name);
        }
        let reference = format!("file:{}", path.display());
        self.files.push(SecretFile { path, value });
        reference
    }
}

fn taken(table: &mut Settings, key: &str) -> Result<Option<String>, Refused> {
    match table.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refused::new("this is no text").key(key)),
    }
}

/// One stream's table, being written.
struct Slot<'s, 'a> {
    safe: &'s mut Safe<'a>,
    camera: &'s str,
    role: &'s str,
    table: &'s mut Settings,
}

impl Slot<'_, '_> {
    fn set(&mut self, key: &str, value: &str) {
        self.table.insert(key.into(), value.into());
    }

    fn set_password(&mut self, password: Secret) {
        let reference = self.safe.put(self.camera, self.role, password);
        self.set("password", &reference);
    }

    /// The address stays.
    fn keep(&mut self, said: Said, kept: Result<Kept<'_>, Refused>) -> Result<(), Refused> {
        let kept = kept?;
        let old_user = kept.source.user.as_deref();
        let user = match &said.user {
            None => old_user,
            Some(user) => Some(user.as_str()).filter(|u| !u.is_empty()),
        };
        let same_user = user == old_user;
        if same_user && said.password.is_none() {
            for key in ["url", "user", "password"] {
                if let Some(text) = kept.text(key) {
                    self.set(key, text);
                }
            }
            return Ok(());
        }
        let password = said.password.filter(|p| !p.is_empty());
        let raw = kept.text("url").unwrap_or_default();
        if is_reference(raw) {
            // What is in that file is not known here: it may name another user, and his password.
            if password.is_none() || user.is_none() {
                return Err(Refused::new("the address is in a file, perhaps with a user and a password of its own")
                    .key("user")
                    .hint("give the address anew, or both user and password"));
            }
            self.set("url", raw);
        } else {
            let has_credentials =
                StreamUrl::parse(raw).is_ok_and(|(_, user, password)| user.is_some() || password.is_some());
            self.set("url", if has_credentials { kept.source.url.expose() } else { raw });
        }
        if let Some(user) = user {
            self.set("user", user);
        }
        if let Some(password) = password {
            self.set_password(Secret::new(password));
        }
        Ok(())
    }

    /// The address is given; user and password in it are taken out.
    fn address(&mut self, text: &str, said: Said, kept: Option<Kept<'_>>) -> Result<(), Refused> {
        if !text.starts_with("rtsp://") && !text.starts_with("rtsps://") {
            return Err(Refused::new("the stream's address must begin with rtsp:// or rtsps://").key("url"));
        }
        let (url, url_user, url_password) = StreamUrl::parse(text).map_err(|e| Refused::from(&e).key("url"))?;
        let user = said.user.or(url_user).filter(|u| !u.is_empty());
        sound_text(user.as_deref().unwrap_or_default()).map_err(|e| e.key("url"))?;
        let password = said.password.or(url_password.map(|p| p.expose().to_owned()));
        if password.as_ref().is_some_and(|p| p.chars().any(char::is_control)) {
            return Err(Refused::new("the password in the address has letters that cannot be seen").key("url"));
        }
        if let Some(kept) = kept
            && kept.source.url == url
            && user == kept.source.user
        {
            return self.keep(Said { url: None, user, password }, Ok(kept));
        }
        if url.is_plain() {
            self.set("url", url.expose());
        } else {
            let reference = self.safe.put(self.camera, &format!("{}-url", self.role), Secret::new(url.expose()));
            self.set("url", &reference);
        }
        if let Some(user) = &user {
            self.set("user", user);
        }
        match password {
            Some(password) if password.is_empty() => {}
            Some(password) => self.set_password(Secret::new(password)),
            None => {
                let Some(kept) = kept.filter(|k| k.may_go(&url, user.as_deref())) else { return Ok(()) };
                match (kept.text("password"), &kept.source.password) {
                    (Some(text), _) => self.set("password", text),
                    (None, Some(password)) => self.set_password(password.clone()),
                    (None, None) => {}
                }
            }
        }
        Ok(())
    }
}
