//! The one error type: a kind, a message for a person, where it happened, how to mend it, and its source.
//!
//! Messages never hold a secret: whoever builds one passes ids, paths and host names, never URLs with credentials.

use std::fmt;

/// Shorthand used throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, coarse enough to decide what to do next (retry, refuse, exit code, HTTP status).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The configuration is wrong; nothing was started or changed.
    Config,
    /// Input from outside (message, stream, file) is malformed.
    Invalid,
    /// A named thing does not exist.
    NotFound,
    /// Credentials were refused (RTSP 401, MQTT not authorised).
    Unauthorized,
    /// A peer or a resource is away now; trying again later may work.
    Unavailable,
    /// No answer in the time allowed.
    Timeout,
    /// Stored data fails its check (hash, schema, magic).
    Corrupt,
    /// A quota, a disk or a bounded queue is full.
    Exhausted,
    /// The operating system refused an operation on a file or a socket.
    Io,
    /// A bug or an unexpected answer from a library.
    Internal,
}

impl ErrorKind {
    /// Stable lower-case name used in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Unauthorized => "unauthorized",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Corrupt => "corrupt",
            Self::Exhausted => "exhausted",
            Self::Io => "io",
            Self::Internal => "internal",
        }
    }
}

/// An error with coordinates (camera, path, place in a file) and a hint on how to mend it.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    camera: Option<String>,
    place: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A new error of `kind`; `message` says what happened in one sentence without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), camera: None, place: None, hint: None, source: None }))
    }

    /// Names the camera concerned.
    pub fn camera(mut self, camera: impl fmt::Display) -> Self {
        self.0.camera = Some(camera.to_string());
        self
    }

    /// Names the place: a path, `file:line:column`, a topic, an address.
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.0.place = Some(place.to_string());
        self
    }

    /// Says how to mend it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the underlying error. Its text is printed: pass none that could hold a secret.
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The error's kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence alone, without coordinates.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The camera concerned.
    pub fn of_camera(&self) -> Option<&str> {
        self.0.camera.as_deref()
    }

    /// The place, as it was given.
    pub fn place(&self) -> Option<&str> {
        self.0.place.as_deref()
    }

    /// How to mend it.
    pub fn mend(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// A wrapper for `std::io::Error` that maps the OS reason to a kind and keeps the path.
    pub fn io(doing: impl Into<String>, path: impl AsRef<std::path::Path>, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
            _ => ErrorKind::Io,
        };
        Self::new(kind, doing).at(path.as_ref().display()).source(source)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &self.0;
        if let Some(place) = &e.place {
            write!(f, "{place}: ")?;
        }
        if let Some(camera) = &e.camera {
            write!(f, "camera {camera}: ")?;
        }
        f.write_str(&e.message)?;
        if let Some(source) = &e.source {
            write!(f, ": {source}")?;
        }
        if let Some(hint) = &e.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {self}", self.0.kind.as_str())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|s| s as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_says_where_who_what_why_and_how_to_mend() {
        let e = Error::new(ErrorKind::Config, "a zone needs at least three points")
            .at("cameras.toml:12:3")
            .camera("ngo-12-a")
            .hint("add points or remove the zone");
        assert_eq!(
            e.to_string(),
            "cameras.toml:12:3: camera ngo-12-a: a zone needs at least three points (add points or remove the zone)"
        );
        assert_eq!(e.kind(), ErrorKind::Config);
    }
}
