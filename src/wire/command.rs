//! What the centre asks of a node, and what the node answers. A command has a UUID: a node does it once, however often
//! it comes and in whatever order, and answers every time. JSON Schemas: `docs/command.schema.json`,
//! `docs/answer.schema.json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::{ClipJson, parse_rfc3339};
use super::topic::is_event_id;
use crate::base::types::CameraId;
use crate::base::{Error, ErrorKind, Result};

pub const SCHEMA: &str = "wardwatch.command/1";
pub const ANSWER_SCHEMA: &str = "wardwatch.answer/1";
/// What every version of a command's `schema` begins with.
const FAMILY: &str = "wardwatch.command/";
/// The largest command or answer, in bytes.
pub const MAX_BYTES: usize = 8 << 10;
/// The longest reason or detail, in bytes.
pub const MAX_TEXT: usize = 1000;
/// The longest name of who asks, in bytes.
pub const MAX_ISSUER: usize = 100;
/// Missing stretches named in one answer; the rest are counted.
pub const MAX_MISSING: usize = 32;
/// How long a command may be good for, in milliseconds.
pub const MAX_LIFE_MS: i64 = 7 * 24 * 3600 * 1000;
/// How far the clocks of centre and node may differ, in milliseconds.
pub const SKEW_MS: i64 = 5 * 60 * 1000;
/// The longest range of a clip, in milliseconds.
pub const MAX_CLIP_MS: i64 = 3600 * 1000;
/// The longest range of a hold, in milliseconds.
pub const MAX_HOLD_MS: i64 = 31 * 24 * 3600 * 1000;

/// A command as it is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Command {
    /// Always `wardwatch.command/1`.
    pub schema: String,
    /// A UUID, never used for anything else.
    pub id: String,
    /// Who at the centre asked, 1 to 100 bytes.
    pub issuer: String,
    /// Why, 1 to 1000 bytes.
    pub reason: String,
    /// RFC 3339, as every time here.
    pub issued_at: String,
    /// Not begun after this; at most seven days after `issued_at`.
    pub expires_at: String,
    #[serde(flatten)]
    pub ask: Ask,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Ask {
    /// Make a clip of what a camera recorded, at most an hour that is over, and deliver it.
    Clip {
        #[schemars(with = "String")]
        camera: CameraId,
        from: String,
        to: String,
    },
    /// Keep what a camera recorded, or will, in at most 31 days until it is released. The hold has the command's id.
    Hold {
        #[schemars(with = "String")]
        camera: CameraId,
        from: String,
        to: String,
    },
    /// End a hold; one that is not there yet never begins.
    Release {
        /// The id of the command that asked for it.
        hold: String,
    },
}

impl Ask {
    /// Stable name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Clip { .. } => "clip",
            Self::Hold { .. } => "hold",
            Self::Release { .. } => "release",
        }
    }

    /// The camera and the range in UTC milliseconds, of what has them.
    ///
    /// # Errors
    /// `Invalid` for times that are none.
    pub fn range(&self) -> Result<Option<(&CameraId, i64, i64)>> {
        match self {
            Self::Clip { camera, from, to } | Self::Hold { camera, from, to } => {
                Ok(Some((camera, parse_rfc3339(from)?, parse_rfc3339(to)?)))
            }
            Self::Release { .. } => Ok(None),
        }
    }
}

impl Command {
    /// When it was issued and when it expires, in UTC milliseconds.
    ///
    /// # Errors
    /// `Invalid` for times that are none.
    pub fn life(&self) -> Result<(i64, i64)> {
        Ok((parse_rfc3339(&self.issued_at)?, parse_rfc3339(&self.expires_at)?))
    }

    /// Checks everything that does not depend on who reads it or when.
    ///
    /// # Errors
    /// `Invalid`, with what is wrong.
    pub fn check(&self) -> Result<()> {
        let bad = |what: &str| Err(Error::new(ErrorKind::Invalid, what));
        if self.schema != SCHEMA {
            return bad("this version of the schema is not known");
        }
        if !is_event_id(&self.id) {
            return bad("the id is no UUID");
        }
        if !is_text(&self.issuer, MAX_ISSUER) || !is_text(&self.reason, MAX_TEXT) {
            return bad("issuer or reason is missing, too long or has control characters");
        }
        let (issued, expires) = self.life()?;
        if expires <= issued || expires.saturating_sub(issued) > MAX_LIFE_MS {
            return bad("it expires before it is issued, or more than seven days after");
        }
        let longest = if matches!(self.ask, Ask::Clip { .. }) { MAX_CLIP_MS } else { MAX_HOLD_MS };
        match self.ask.range()? {
            Some((_, from, to)) if to <= from || from < 0 => bad("the range ends before it begins"),
            Some((_, from, to)) if to - from > longest => bad(match self.ask {
                Ask::Clip { .. } => "a clip may have one hour at most",
                _ => "a hold may have 31 days at most",
            }),
            _ => match &self.ask {
                Ask::Release { hold } if !is_event_id(hold) => bad("the id of the hold is no UUID"),
                _ => Ok(()),
            },
        }
    }
}

/// Not blank, within `most` bytes, and safe to print.
fn is_text(text: &str, most: usize) -> bool {
    !text.trim().is_empty() && text.len() <= most && !text.chars().any(char::is_control)
}

/// What came on a command topic.
#[derive(Debug)]
pub enum Heard {
    /// Sound.
    Command(Box<Command>),
    /// A command that this version does not know or must not take; whoever sent it can be told why.
    Strange { id: String, why: String },
    /// No command at all.
    Noise,
}

/// Reads a command off the wire.
pub fn hear(payload: &[u8]) -> Heard {
    /// What a command of any version has.
    #[derive(Deserialize)]
    struct Envelope {
        schema: String,
        id: String,
    }
    if payload.len() > MAX_BYTES {
        return Heard::Noise;
    }
    let why = match serde_json::from_slice::<Command>(payload) {
        Ok(command) => match command.check() {
            Ok(()) => return Heard::Command(Box::new(command)),
            Err(e) => e.to_string(),
        },
        Err(e) => format!("it cannot be understood: {e}"),
    };
    match serde_json::from_slice::<Envelope>(payload) {
        Ok(Envelope { schema, id }) if schema.starts_with(FAMILY) && is_event_id(&id) => Heard::Strange { id, why },
        _ => Heard::Noise,
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerState {
    /// It was done.
    Done,
    /// It was tried and cannot be done.
    Failed,
    /// It came too late and was not done.
    Expired,
    /// It is not allowed, not possible on this node, or not understood.
    Refused,
}

impl AnswerState {
    /// Stable name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Refused => "refused",
        }
    }
}

/// What became of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// Always `wardwatch.answer/1`.
    pub schema: String,
    /// The command's.
    pub id: String,
    pub state: AnswerState,
    /// For a person, at most 1000 bytes.
    pub detail: String,
    /// Of a hold or release that was done.
    pub hold: Option<HoldState>,
    /// Of a clip that was made; the file comes over the link.
    pub clip: Option<ClipJson>,
    /// The camera's stream changed here and the clip ends; the rest is another clip from this moment on.
    pub changed_at: Option<String>,
    /// Stretches of the range that are not there, 32 at most.
    pub missing: Vec<MissingJson>,
    /// So many more are.
    pub missing_more: u32,
}

/// A stretch that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissingJson {
    pub from: String,
    pub to: String,
    /// `offline`, `paused`, `disk_full`, `node_down`, `schedule`, `codec_change`, `off`, `damaged` or `not_recorded`.
    pub why: String,
}

impl Answer {
    /// An answer with nothing but words; `detail` is cut to what fits.
    pub fn new(id: impl Into<String>, state: AnswerState, detail: impl Into<String>) -> Self {
        let mut detail: String = detail.into().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        detail.truncate(detail.floor_char_boundary(MAX_TEXT));
        Self {
            schema: ANSWER_SCHEMA.to_owned(),
            id: id.into(),
            state,
            detail,
            hold: None,
            clip: None,
            changed_at: None,
            missing: Vec::new(),
            missing_more: 0,
        }
    }

    /// Names as many of `missing` as are allowed and counts the rest.
    #[must_use]
    pub fn without(mut self, mut missing: Vec<MissingJson>) -> Self {
        self.missing_more = u32::try_from(missing.len().saturating_sub(MAX_MISSING)).unwrap_or(u32::MAX);
        missing.truncate(MAX_MISSING);
        self.missing = missing;
        self
    }

    /// As JSON.
    ///
    /// # Errors
    /// `Internal`.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|e| Error::new(ErrorKind::Internal, "an answer cannot be written as JSON").source(e))
    }

    /// Whether it may be kept and shown.
    pub fn is_sound(&self) -> bool {
        let safe = |text: &str| text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
        let clip = self.clip.as_ref().is_none_or(|c| {
            super::link::is_sha256(&c.sha256)
                && c.bytes <= i64::MAX as u64
                && safe(&c.codec)
                && safe(&c.from)
                && safe(&c.to)
        });
        self.schema == ANSWER_SCHEMA
            && is_event_id(&self.id)
            && safe(&self.detail)
            && clip
            && self.changed_at.as_deref().is_none_or(safe)
            && self.missing.len() <= MAX_MISSING
            && self.missing.iter().all(|m| safe(&m.from) && safe(&m.to) && safe(&m.why))
    }
}

/// The JSON Schemas of command and answer, as in `docs/`. Unknown fields are allowed: later versions may add some.
///
/// # Errors
/// `Internal`.
pub fn json_schemas() -> Result<[String; 2]> {
    let text = |schema: schemars::Schema| {
        serde_json::to_string_pretty(&schema)
            .map(|text| text + "\n")
            .map_err(|e| Error::new(ErrorKind::Internal, "a schema cannot be written as JSON").source(e))
    };
    Ok([text(schemars::schema_for!(Command))?, text(schemars::schema_for!(Answer))?])
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: &str = r#"{"schema":"wardwatch.command/1","id":"01980000-0000-7000-8000-000000000000","issuer":"an","reason":"case 7","issued_at":"2026-11-24T12:00:00Z","expires_at":"2026-12-01T12:00:00Z","kind":"hold","camera":"ngo-12","from":"2026-11-24T11:00:00Z","to":"2026-11-24T11:05:00Z"}"#;

    #[test]
    fn a_command_is_published_like_this() {
        let Heard::Command(command) = hear(HOLD.as_bytes()) else { panic!("it is sound") };
        assert_eq!(command.ask.kind(), "hold");
        assert_eq!(serde_json::to_string(&command).unwrap(), HOLD);
    }

    #[test]
    fn a_stranger_is_told_why_if_it_can_be() {
        for (from, to, word) in [
            ("\"kind\":\"hold\"", "\"kind\":\"format\"", "format"),
            ("command/1", "command/9", "version"),
            ("T11:05:00Z", "T10:05:00Z", "ends before"),
            ("2026-11-24T11:00:00Z", "2026-10-20T11:00:00Z", "31 days"),
            (
                "\"kind\":\"hold\",\"camera\":\"ngo-12\",\"from\":\"2026-11-24T11",
                "\"kind\":\"clip\",\"camera\":\"ngo-12\",\"from\":\"2026-11-24T10",
                "one hour",
            ),
            ("\"case 7\"", "\" \"", "reason"),
            ("\"case 7\"", "\"case\\u001b[2J\"", "control"),
            ("\"an\"", "\"\"", "issuer"),
            ("ngo-12", "../etc", "cannot be understood"),
            ("2026-12-01", "2026-12-02", "seven days"),
            ("2026-12-01", "2026-11-01", "expires before"),
            ("2026-12-01T12", "tomorrow", "tomorrow"),
        ] {
            let text = HOLD.replace(from, to);
            assert_ne!(text, HOLD, "{to}");
            match hear(text.as_bytes()) {
                Heard::Strange { why, .. } => assert!(why.contains(word), "{to}: {why}"),
                other => panic!("{to}: {other:?}"),
            }
        }
    }

    #[test]
    fn noise_is_not_answered() {
        let deep = "[".repeat(MAX_BYTES);
        let large = HOLD.replace("case 7", &"x".repeat(MAX_BYTES));
        let foreign = HOLD.replace("wardwatch.command/1", "other/1");
        let path = HOLD.replace("01980000-", "../../..");
        for noise in ["", "{}", "null", "\u{0}", &deep, &large, &foreign, &path] {
            assert!(matches!(hear(noise.as_bytes()), Heard::Noise), "{noise:.40}");
        }
    }

    #[test]
    fn the_largest_answer_fits() {
        let time = || "2026-11-24T18:13:54.374+07:00".to_owned();
        let missing = |_| MissingJson { from: time(), to: time(), why: "codec_change".into() };
        let mut answer = Answer::new("01980000-0000-7000-8000-000000000000", AnswerState::Done, "ơ".repeat(MAX_TEXT))
            .without((0..1000).map(missing).collect());
        answer.changed_at = Some(time());
        answer.clip = Some(ClipJson {
            sha256: "ab".repeat(32),
            bytes: u64::MAX >> 1,
            from: time(),
            to: time(),
            codec: "h264".into(),
            masked: true,
            complete: true,
            missing_ms: 3_600_000,
        });
        let json = answer.to_json().unwrap();
        assert!(json.len() < MAX_BYTES, "{}", json.len());
        assert!(answer.is_sound() && (answer.missing.len(), answer.missing_more) == (32, 968));
    }
}
