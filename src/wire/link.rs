//! What node and centre say to each other over HTTPS: enrolment and the delivery of clips. Each side checks what the
//! other sends; a hash or an id that passed here may stand in a path.
//!
//! Delivery follows the shape of resumable uploads: `POST` announces a clip, `PATCH` appends at `Upload-Offset`, every
//! answer names the offset that is on the centre's disk. `Upload-Complete: ?1` means: verified, stored, indexed.

use serde::{Deserialize, Serialize};

use super::topic::is_event_id;
use crate::base::types::{CameraId, is_name};
use crate::base::{Error, ErrorKind, Result};

/// `POST`: an [`EnrolRequest`] becomes an [`Identity`].
pub const ENROL_PATH: &str = "/link/v1/enrol";
/// `POST`: a [`ClipNote`]. Below it `HEAD` and `PATCH` of one clip by its SHA-256.
pub const CLIPS_PATH: &str = "/link/v1/clips";
/// Bytes of the clip that are on the centre's disk.
pub const UPLOAD_OFFSET: &str = "upload-offset";
/// `?1` when the clip is verified and stored, otherwise `?0`.
pub const UPLOAD_COMPLETE: &str = "upload-complete";
/// Media type of a `PATCH`.
pub const PARTIAL_UPLOAD: &str = "application/partial-upload";
/// Media type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";
/// The largest JSON document either side takes, in bytes.
pub const MAX_JSON: usize = 8192;
/// The largest piece of a clip in one request, in bytes.
pub const MAX_PIECE: usize = 1 << 20;

/// A node that has a one-time code asks for its secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    pub ward: String,
    pub node: String,
    pub code: String,
}

/// Who a node is to its centre. Kept in a file that only wardwatch can read; the centre keeps a hash of the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub ward: String,
    pub node: String,
    /// 256 bits as lower-case hex.
    pub secret: String,
}

impl Identity {
    /// The `Authorization` header's value.
    pub fn bearer(&self) -> String {
        format!("Bearer {}.{}", self.node, self.secret)
    }
}

// The secret must not reach a log by way of `{:?}`.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({}/{}, ***)", self.ward, self.node)
    }
}

/// Takes an `Authorization` header apart: node and secret, both of a sound form.
pub fn parse_bearer(value: &str) -> Option<(&str, &str)> {
    let (node, secret) = value.strip_prefix("Bearer ")?.split_once('.')?;
    (is_name(node) && is_sha256(secret)).then_some((node, secret))
}

/// What a clip is, said before its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipNote {
    /// Of the file, lower-case hex.
    pub sha256: String,
    pub bytes: u64,
    pub camera: CameraId,
    /// The event it shows.
    pub event: Option<String>,
    /// The command that asked for it.
    pub command: Option<String>,
    /// UTC milliseconds: what the pictures cover.
    pub from_ms: i64,
    pub to_ms: i64,
    /// The camera's masks are burned in.
    pub masked: bool,
    /// `false`: the event was going on when it was made.
    pub complete: bool,
}

impl ClipNote {
    /// Checks what a stranger sent; `max_bytes` is the largest clip taken.
    ///
    /// # Errors
    /// `Exhausted` when the clip is too large, `Invalid` for everything else.
    pub fn check(&self, max_bytes: u64) -> Result<()> {
        let bad = |what: &str| Err(Error::new(ErrorKind::Invalid, format!("the clip's {what}")));
        if !is_sha256(&self.sha256) {
            return bad("sha256 is not 64 lower-case hex digits");
        }
        if [&self.event, &self.command].into_iter().flatten().any(|id| !is_event_id(id)) {
            return bad("event or command is not a UUID");
        }
        if self.bytes == 0 || self.from_ms > self.to_ms || self.from_ms < 0 {
            return bad("size or times make no sense");
        }
        if self.bytes > max_bytes {
            let text = format!("the clip has {} bytes, more than the {max_bytes} that are taken", self.bytes);
            return Err(Error::new(ErrorKind::Exhausted, text).hint("raise max_clip_mb in [centre.link]"));
        }
        Ok(())
    }
}

/// Why a request was refused (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// One of [`Trouble`]'s URNs.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What can be wrong, with its HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Malformed,
    Unauthorized,
    WrongCode,
    NotFound,
    WrongOffset,
    Busy,
    TooLarge,
    WrongHash,
    TooMany,
    Internal,
    Unavailable,
    DiskFull,
}

impl Trouble {
    pub const ALL: [Self; 12] = [
        Self::Malformed,
        Self::Unauthorized,
        Self::WrongCode,
        Self::NotFound,
        Self::WrongOffset,
        Self::Busy,
        Self::TooLarge,
        Self::WrongHash,
        Self::TooMany,
        Self::Internal,
        Self::Unavailable,
        Self::DiskFull,
    ];

    /// Stable name: the metric's label, and after `urn:wardwatch:` the problem's type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unauthorized => "unauthorized",
            Self::WrongCode => "wrong_code",
            Self::NotFound => "not_found",
            Self::WrongOffset => "wrong_offset",
            Self::Busy => "busy",
            Self::TooLarge => "too_large",
            Self::WrongHash => "wrong_hash",
            Self::TooMany => "too_many",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::DiskFull => "disk_full",
        }
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthorized => 401,
            Self::WrongCode => 403,
            Self::NotFound => 404,
            Self::WrongOffset => 409,
            Self::Busy => 423,
            Self::TooLarge => 413,
            Self::WrongHash => 422,
            Self::TooMany => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::DiskFull => 507,
        }
    }

    /// One sentence for whoever reads a log.
    pub fn title(self) -> &'static str {
        match self {
            Self::Malformed => "the request cannot be understood",
            Self::Unauthorized => "this node is not enrolled, or its secret is not the right one",
            Self::WrongCode => "the code is not valid for this node",
            Self::NotFound => "there is no such thing",
            Self::WrongOffset => "the piece does not begin where the upload stands",
            Self::Busy => "another request works on this clip",
            Self::TooLarge => "this is larger than what is taken",
            Self::WrongHash => "the clip is not what its SHA-256 says; it was dropped",
            Self::TooMany => "too many requests, or too much unfinished",
            Self::Internal => "the centre failed",
            Self::Unavailable => "the centre cannot store this now",
            Self::DiskFull => "the centre's disk is full",
        }
    }

    /// The inverse of [`Self::urn`].
    pub fn from_urn(urn: &str) -> Option<Self> {
        let name = urn.strip_prefix("urn:wardwatch:")?;
        Self::ALL.into_iter().find(|t| t.as_str() == name)
    }

    /// The problem's type.
    pub fn urn(self) -> String {
        format!("urn:wardwatch:{}", self.as_str())
    }
}

/// Whether `text` is a SHA-256 in lower-case hex.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sound_credentials_come_apart() {
        let secret = "ab".repeat(32);
        let identity = Identity { ward: "o-cho-dua".into(), node: "node-1".into(), secret: secret.clone() };
        assert_eq!(parse_bearer(&identity.bearer()), Some(("node-1", secret.as_str())));
        assert!(!format!("{identity:?}").contains(&secret));
        for bad in ["", "Bearer ", "Basic node-1.x", "Bearer ../x.00", "Bearer node-1.short", "Bearer node-1"] {
            assert_eq!(parse_bearer(bad), None, "{bad}");
        }
    }

    #[test]
    fn hashes_that_would_leave_their_directory_are_none() {
        for bad in ["", "..", "../../etc/passwd", &"A".repeat(64), &"/".repeat(64), &"a".repeat(65)] {
            assert!(!is_sha256(bad), "{bad}");
        }
        assert!(is_sha256(&"0f".repeat(32)));
    }

    #[test]
    fn troubles_come_back_from_their_names() {
        for trouble in Trouble::ALL {
            assert_eq!(Trouble::from_urn(&trouble.urn()), Some(trouble));
        }
        assert_eq!(Trouble::from_urn("urn:other:busy"), None);
    }
}
