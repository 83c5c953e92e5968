//! What the centre asks of a node, and what the node answers. A command has a UUID: a node does it once, however often
//! it comes, and answers every time.

use serde::{Deserialize, Serialize};

use super::event::parse_rfc3339;
use super::topic::is_event_id;
use crate::base::types::CameraId;
use crate::base::{Error, ErrorKind, Result};

pub const SCHEMA: &str = "wardwatch.command/1";
pub const ANSWER_SCHEMA: &str = "wardwatch.answer/1";
/// The largest command or answer, in bytes.
pub const MAX_BYTES: usize = 8 << 10;
/// The longest reason, name or detail, in bytes.
pub const MAX_TEXT: usize = 1000;
/// The longest range, in milliseconds: 31 days.
const MAX_RANGE_MS: i64 = 31 * 24 * 3600 * 1000;

/// A command as it is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub schema: String,
    /// A UUID.
    pub id: String,
    /// Who at the centre asked.
    pub issuer: String,
    /// RFC 3339.
    pub issued_at: String,
    /// RFC 3339; not begun after this.
    pub expires_at: String,
    #[serde(flatten)]
    pub ask: Ask,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Ask {
    /// Keep what a camera recorded in a range until it is released. The hold has the command's id.
    Hold { camera: CameraId, from: String, to: String, reason: String },
    /// End a hold.
    Release { hold: String },
}

impl Ask {
    /// Stable name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hold { .. } => "hold",
            Self::Release { .. } => "release",
        }
    }
}

impl Command {
    /// Checks bounds, ids and times.
    pub fn check(&self) -> Result<()> {
        let bad = |what: &str| Err(Error::new(ErrorKind::Invalid, format!("the command is not sound: {what}")));
        if self.schema != SCHEMA || !is_event_id(&self.id) || self.issuer.len() > MAX_TEXT {
            return bad("schema, id or issuer");
        }
        parse_rfc3339(&self.issued_at)?;
        parse_rfc3339(&self.expires_at)?;
        match &self.ask {
            Ask::Hold { from, to, reason, .. } => {
                let (from, to) = (parse_rfc3339(from)?, parse_rfc3339(to)?);
                if to <= from || to - from > MAX_RANGE_MS {
                    return bad("the range is empty or longer than 31 days");
                }
                if reason.trim().is_empty() || reason.len() > MAX_TEXT {
                    return bad("the reason is missing or too long");
                }
            }
            Ask::Release { hold } if !is_event_id(hold) => return bad("the hold's id"),
            Ask::Release { .. } => {}
        }
        Ok(())
    }
}

/// Reads a command off the wire.
///
/// # Errors
/// `Invalid` for anything that is not a sound command.
pub fn parse(payload: &[u8]) -> Result<Command> {
    if payload.len() > MAX_BYTES {
        return Err(Error::new(ErrorKind::Invalid, "the command is too large"));
    }
    let command: Command = serde_json::from_slice(payload)
        .map_err(|e| Error::new(ErrorKind::Invalid, "the command cannot be read").source(e))?;
    command.check()?;
    Ok(command)
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerState {
    Done,
    Failed,
    Expired,
}

impl AnswerState {
    /// Stable name; the metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }
}

/// What became of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    Held,
    /// The range is over and nothing of it is left.
    TooLate,
    Released,
}

impl HoldState {
    /// Stable name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::TooLate => "too_late",
            Self::Released => "released",
        }
    }
}

/// The node's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub schema: String,
    /// The command's.
    pub id: String,
    pub state: AnswerState,
    /// For a person.
    pub detail: String,
    /// Of a hold or release that was done.
    pub hold: Option<HoldState>,
}

impl Answer {
    /// Whether it may be kept.
    pub fn is_sound(&self) -> bool {
        self.schema == ANSWER_SCHEMA && is_event_id(&self.id) && self.detail.len() <= MAX_TEXT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: &str = r#"{"schema":"wardwatch.command/1","id":"01980000-0000-7000-8000-000000000000","issuer":"an","issued_at":"2026-11-24T12:00:00Z","expires_at":"2026-12-01T12:00:00Z","kind":"hold","camera":"ngo-12","from":"2026-11-24T11:00:00Z","to":"2026-11-24T11:05:00Z","reason":"case 7"}"#;

    #[test]
    fn a_command_is_published_like_this() {
        let command = parse(HOLD.as_bytes()).unwrap();
        assert_eq!(command.ask.kind(), "hold");
        assert_eq!(serde_json::to_string(&command).unwrap(), HOLD);
    }

    #[test]
    fn hostile_commands_are_refused() {
        for (from, to) in [
            ("\"kind\":\"hold\"", "\"kind\":\"format\""),
            ("01980000-", "../../.."),
            ("T11:05:00Z", "T10:05:00Z"),
            ("\"case 7\"", "\" \""),
            ("ngo-12", "../etc"),
            ("command/1", "command/9"),
        ] {
            assert!(parse(HOLD.replace(from, to).as_bytes()).is_err(), "{to}");
        }
        assert!(parse(&HOLD.replace("case 7", &"x".repeat(MAX_BYTES)).into_bytes()).is_err());
    }
}
