//! What the centre asks a node over the channel and waits for: what there is of recordings, the cameras document and
//! changes to it, how a changed rule would have behaved, and help with setting a camera up.
//!
//! Either side is a stranger to the other: everything is bounded and checked here. A camera's settings may hold a password
//! on their way to the node, and never on their way back; they do not print.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::channel::{Corner, MAX_CAMERAS, MAX_WORDS, bad};
use crate::base::types::{CameraId, Severity, StreamRole};
use crate::base::{Error, ErrorKind, Result};

/// Recordings and tracks are asked of no longer a time.
pub const MAX_RANGE_MS: i64 = 31 * 24 * 3600 * 1000;
/// Segments, and gaps, in one answer.
pub const MAX_SPANS: usize = 20_000;
/// Edits in one change.
pub const MAX_EDITS: usize = 256;
/// Tracks shown in one rehearsal; the rest are counted.
pub const MAX_PATHS: usize = 600;
/// Points of one of them.
pub const MAX_PATH_POINTS: usize = 60;
/// What would have fired in one rehearsal, at most; more are cut.
pub const MAX_FIRINGS: usize = 5_000;
/// Devices found at one time.
pub const MAX_DEVICES: usize = 256;
/// A picture, as base64 text.
pub const MAX_JPEG_TEXT: usize = 1 << 20;
/// Pixels: the widest still.
pub const MAX_STILL_WIDTH: u32 = 640;

/// A question, or a change that is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Inquiry {
    /// What there is of a camera's recordings.
    Recordings { camera: CameraId, from_ms: i64, to_ms: i64 },
    /// The cameras document in force, without passwords.
    Document,
    /// Change it.
    Change(Change),
    /// What a camera's rules, as drafted, would have made of the tracks that were kept.
    Rehearse { camera: Settings, from_ms: i64, to_ms: i64 },
    /// Connect to a stream once.
    Probe(Source),
    /// Look for cameras on the node's network.
    Discover,
    /// The recorded picture nearest to a moment, not after it, masks burned in.
    Still { camera: CameraId, at_ms: i64, width: u32 },
    /// Of a later version.
    #[serde(other)]
    Strange,
}

/// A table of the cameras document as JSON, `[[camera]]` or `[[schedule]]`: the same keys and units.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(pub Map<String, Value>);

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings(***)")
    }
}

/// Changes to the cameras document, all or none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The revision that was seen; another one in force is a conflict.
    pub base_revision: u64,
    /// Who changes it.
    pub who: String,
    /// Why, and that the owner agreed, where more is to be shown than before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Only say whether it would do.
    #[serde(default)]
    pub check: bool,
    pub edits: Vec<Edit>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "edit", rename_all = "snake_case")]
pub enum Edit {
    /// A camera, new or in place of the one with its id.
    Put {
        camera: Settings,
    },
    Remove {
        id: String,
    },
    /// A schedule, new or in place of the one with its name.
    PutSchedule {
        schedule: Settings,
    },
    RemoveSchedule {
        name: String,
    },
}

/// A stream to connect to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum Source {
    /// A stream of the document, with what the node knows of it.
    Camera { camera: CameraId, stream: StreamRole },
    /// Any other: a table as `[camera.detect]`.
    Stream { stream: Settings },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Reply {
    Recordings(Recordings),
    Document(DocumentInForce),
    Changed(Changed),
    Rehearsed(Rehearsed),
    Probed(Probed),
    Discovered { devices: Vec<Device> },
    Still(Still),
}

/// What a node has of a camera's recordings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recordings {
    pub segments: Vec<Span>,
    pub gaps: Vec<GapSpan>,
    /// There is more than fits into an answer: ask for a shorter time.
    #[serde(default)]
    pub cut: bool,
}

/// UTC milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub from_ms: i64,
    pub to_ms: i64,
}

/// A time of which nothing was recorded, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapSpan {
    pub from_ms: i64,
    pub to_ms: i64,
    pub reason: String,
}

/// The cameras document, with `password_set` where there is a password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocumentInForce {
    pub revision: u64,
    pub cameras: Vec<Settings>,
    pub schedules: Vec<Settings>,
    /// What the node's model can tell apart.
    pub labels: Vec<String>,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Changed {
    /// It is in force, and on disk.
    Applied { revision: u64 },
    /// It would do.
    Checked,
    /// Another revision is in force, or the file was changed by hand and not read again.
    Conflict { revision: u64 },
    /// It is wrong; nothing has changed.
    Rejected { camera: Option<String>, key: Option<String>, message: String, hint: Option<String> },
    /// It shows more than the owner agreed to: only with a reason.
    Consent { widened: Vec<Widening> },
}

impl Changed {
    /// A refusal, no longer than one may be: it may quote a name that somebody made very long.
    pub fn rejected(camera: Option<String>, key: Option<String>, message: &str, hint: Option<String>) -> Self {
        let said = |text: &str| {
            let mut text: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
            if let Some((end, _)) = text.char_indices().nth(4 * MAX_WORDS - 1) {
                text.truncate(end);
                text.push('…');
            }
            text
        };
        Self::Rejected {
            camera: camera.as_deref().map(said),
            key: key.as_deref().map(said),
            message: said(message),
            hint: hint.as_deref().map(said),
        }
    }
}

/// Of a camera more would be seen than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Widening {
    pub camera: String,
    pub what: Widened,
}

/// What more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Widened {
    /// It is shared further.
    Sharing,
    /// Something that a mask covered is covered no more.
    Mask,
    /// Sound is recorded, too.
    Audio,
}

/// What drafted rules would have made of the tracks that were kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rehearsed {
    /// By the draft's rules first, then those that are in force and not in the draft.
    pub rules: Vec<Counts>,
    pub firings: Vec<Firing>,
    /// Those that fire first, then the newest.
    pub tracks: Vec<Path>,
    pub tracks_total: usize,
    /// There were more firings than fit.
    pub cut: bool,
}

/// How often a rule would have fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub rule: String,
    /// As it is in force; none: it is new.
    pub before: Option<usize>,
    /// As drafted; none: it is gone.
    pub after: Option<usize>,
}

/// An event that there would have been.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Firing {
    pub rule: String,
    pub kind: String,
    pub severity: Severity,
    /// Index into [`Rehearsed::tracks`], where it is among them.
    pub track: Option<usize>,
    pub label: String,
    /// UTC milliseconds.
    pub at_ms: i64,
    pub end_ms: i64,
}

/// Where something went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Path {
    pub label: String,
    /// UTC milliseconds.
    pub from_ms: i64,
    pub to_ms: i64,
    /// The middle of its lower edge.
    pub path: Vec<Corner>,
    /// Rules of the draft that would have fired for it.
    pub fired: Vec<String>,
}

/// What became of a try to connect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Probed {
    /// Pictures came.
    pub ok: bool,
    /// What is wrong, and the mend.
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub codec: Option<String>,
    pub width: u32,
    pub height: u32,
    pub fps: f32,
    pub kbit_s: f32,
    pub keyframe_seconds: Option<f32>,
    /// The camera of the document that has this host.
    pub camera: Option<CameraId>,
    /// Base64, where it may be seen.
    pub jpeg: Option<String>,
}

/// A camera that answered on the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// IP address.
    pub address: String,
    pub name: Option<String>,
    pub hardware: Option<String>,
    /// An id of the table of vendors.
    pub vendor: Option<String>,
    /// The camera of the document that has this address.
    pub known: Option<CameraId>,
    pub xaddrs: Vec<String>,
}

/// A recorded picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Still {
    /// UTC milliseconds.
    pub at_ms: i64,
    /// Base64.
    pub jpeg: String,
}

impl Inquiry {
    /// Checks what the types do not.
    pub(super) fn check(&self) -> Result<()> {
        let range = |from: i64, to: i64| from >= 0 && to >= from && to - from <= MAX_RANGE_MS;
        let sound = match self {
            Self::Recordings { from_ms, to_ms, .. } | Self::Rehearse { from_ms, to_ms, .. } => range(*from_ms, *to_ms),
            Self::Change(change) => {
                change.edits.len() <= MAX_EDITS && is_said(&change.who) && change.reason.as_deref().is_none_or(is_said)
            }
            Self::Still { at_ms, width, .. } => *at_ms >= 0 && (1..=MAX_STILL_WIDTH).contains(width),
            Self::Document | Self::Probe(_) | Self::Discover | Self::Strange => true,
        };
        if sound { Ok(()) } else { Err(bad("question")) }
    }
}

impl Reply {
    /// Checks what the types do not.
    pub(super) fn check(&self) -> Result<()> {
        let sound = match self {
            Self::Recordings(answer) => {
                let fits = answer.segments.len() <= MAX_SPANS && answer.gaps.len() <= MAX_SPANS;
                fits && answer.gaps.iter().all(|g| is_short(&g.reason))
            }
            Self::Document(document) => {
                document.cameras.len() <= MAX_CAMERAS
                    && document.schedules.len() <= MAX_CAMERAS
                    && document.labels.iter().all(|l| is_short(l))
            }
            Self::Changed(Changed::Rejected { camera, key, message, hint }) => {
                [camera, key, hint].into_iter().flatten().chain([message]).all(|t| is_short(t))
            }
            Self::Changed(Changed::Consent { widened }) => {
                widened.len() <= 3 * MAX_CAMERAS && widened.iter().all(|w| is_short(&w.camera))
            }
            Self::Changed(_) => true,
            Self::Rehearsed(rehearsed) => rehearsed.is_sound(),
            Self::Probed(probed) => {
                let texts = [&probed.detail, &probed.hint, &probed.codec];
                texts.into_iter().flatten().all(|t| is_short(t))
                    && [probed.fps, probed.kbit_s].iter().all(|n| n.is_finite())
                    && probed.jpeg.as_ref().is_none_or(|j| j.len() <= MAX_JPEG_TEXT)
            }
            Self::Discovered { devices } => devices.len() <= MAX_DEVICES && devices.iter().all(Device::is_sound),
            Self::Still(still) => still.jpeg.len() <= MAX_JPEG_TEXT,
        };
        if sound { Ok(()) } else { Err(bad("answer")) }
    }

    /// The error for an answer to something that was not asked.
    pub fn unasked() -> Error {
        Error::new(ErrorKind::Invalid, "the node answers something that was not asked")
    }
}

impl Rehearsed {
    fn is_sound(&self) -> bool {
        let point = |p: &Corner| p.iter().all(|x| x.is_finite());
        self.rules.iter().all(|r| is_short(&r.rule))
            && self.firings.len() <= MAX_FIRINGS
            && self.firings.iter().all(|f| f.track.is_none_or(|t| t < self.tracks.len()))
            && self.tracks.len() <= MAX_PATHS
            && self.tracks.iter().all(|t| t.path.len() <= MAX_PATH_POINTS && t.path.iter().all(point))
    }
}

impl Device {
    fn is_sound(&self) -> bool {
        let texts = [&self.name, &self.hardware, &self.vendor];
        is_short(&self.address)
            && texts.into_iter().flatten().all(|t| is_short(t))
            && self.xaddrs.len() <= 8
            && self.xaddrs.iter().all(|x| is_short(x))
    }
}

fn is_short(text: &str) -> bool {
    text.chars().count() <= 4 * MAX_WORDS && !text.chars().any(|c| c.is_control() && c != '\n')
}

fn is_said(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= MAX_WORDS && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::super::channel::{Ask, Tell, read_ask, read_tell, write_ask, write_tell};
    use super::*;

    fn ask(about: Inquiry) -> Result<Ask> {
        read_ask(&write_ask(&Ask::Inquire { question: 1, about })?)
    }

    #[test]
    fn questions_and_answers_come_back_as_they_went() {
        let settings = Settings(serde_json::from_str(r#"{"id":"a","detect":{"password":"canary"}}"#).expect("JSON"));
        let change = Change {
            base_revision: 3,
            who: "an".into(),
            reason: None,
            check: false,
            edits: vec![Edit::Put { camera: settings.clone() }, Edit::RemoveSchedule { name: "dem".into() }],
        };
        for about in [
            Inquiry::Document,
            Inquiry::Change(change),
            Inquiry::Rehearse { camera: settings.clone(), from_ms: 0, to_ms: 5 },
            Inquiry::Probe(Source::Stream { stream: settings }),
            Inquiry::Discover,
        ] {
            assert!(!format!("{about:?}").contains("canary"));
            assert_eq!(ask(about.clone()).expect("sound"), Ask::Inquire { question: 1, about });
        }
        for result in [
            Changed::Applied { revision: 4 },
            Changed::Rejected { camera: Some("a".into()), key: None, message: "no".into(), hint: None },
            Changed::Consent { widened: vec![Widening { camera: "a".into(), what: Widened::Mask }] },
        ] {
            let tell = Tell::Answer { question: 1, reply: Reply::Changed(result) };
            assert_eq!(read_tell(&write_tell(&tell).expect("fits")).expect("sound"), tell);
        }
    }

    #[test]
    fn a_question_of_a_later_version_does_not_end_the_channel() {
        let later = r#"{"type":"inquire","question":7,"about":{"about":"weather"}}"#;
        assert_eq!(read_ask(later).expect("sound"), Ask::Inquire { question: 7, about: Inquiry::Strange });
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let camera = || -> CameraId { "a".parse().expect("valid") };
        let range = |from_ms, to_ms| ask(Inquiry::Recordings { camera: camera(), from_ms, to_ms });
        assert!(range(0, MAX_RANGE_MS).is_ok());
        for (from, to) in [(5, 4), (-1, 4), (0, MAX_RANGE_MS + 1), (i64::MIN, i64::MAX)] {
            assert!(range(from, to).is_err(), "{from} {to}");
        }
        for width in [0, MAX_STILL_WIDTH + 1] {
            assert!(ask(Inquiry::Still { camera: camera(), at_ms: 5, width }).is_err());
        }
        let path = |points| Path {
            label: "person".into(),
            from_ms: 0,
            to_ms: 1,
            path: vec![[0.5, 0.5]; points],
            fired: vec![],
        };
        let rehearsed = |tracks: Vec<Path>, track| {
            let firing = Firing {
                rule: "r".into(),
                kind: "intrusion".into(),
                severity: Severity::Alert,
                track,
                label: "person".into(),
                at_ms: 0,
                end_ms: 1,
            };
            let answer = Rehearsed { rules: vec![], firings: vec![firing], tracks, tracks_total: 1, cut: false };
            write_tell(&Tell::Answer { question: 1, reply: Reply::Rehearsed(answer) })
        };
        assert!(rehearsed(vec![path(MAX_PATH_POINTS)], Some(0)).is_ok());
        assert!(rehearsed(vec![path(MAX_PATH_POINTS + 1)], None).is_err());
        assert!(rehearsed(vec![], Some(0)).is_err());
    }
}
