//! What node and centre say to each other over the channel, a WebSocket that the node opens: the description of its
//! cameras, live pictures and streams, questions ([`super::inquiry`]). Text messages are JSON; a binary message is a
//! `u32` (big endian) length, a JSON head of that length, and the bytes it speaks of.
//!
//! Either side is a stranger to the other: everything is bounded and checked here. No address, user or password of a
//! camera has a place in any of these types but the questions about the document.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::inquiry::{Inquiry, Reply};
use crate::base::geometry::{Point, Polygon};
use crate::base::types::{CameraId, Severity, StreamRole, is_name};
use crate::base::{Error, ErrorKind, Result};
use crate::config::{Camera, CamerasDocument, RecordingMode, RuleConfig, Sharing};

/// Where the centre takes channels, beside the other paths of [`super::link`].
pub const CHANNEL_PATH: &str = "/link/v1/channel";
/// The largest text message either side takes, in bytes.
pub const MAX_TEXT: usize = 4 << 20;
/// The largest binary message either side takes, in bytes.
pub const MAX_BINARY: usize = 8 << 20;
/// The largest head of a binary message.
const MAX_HEAD: usize = 4096;
/// Each side says something at least this often; a ping if there is nothing else.
pub const PING_SECONDS: u64 = 5;
/// A side that was not heard for so long is gone.
pub const SILENCE_SECONDS: u64 = 20;
/// A watch that is not renewed ends after this.
pub const WATCH_SECONDS: u64 = 10;
/// Pictures a second on a wall, at most.
pub const MAX_FPS: f32 = 2.0;
/// Pixels: the widest picture of a wall.
pub const MAX_WIDTH: u32 = 640;
/// Streams that one node sends at a time.
pub const MAX_STREAMS: usize = 4;
/// An emergency lasts no longer.
pub const MAX_EMERGENCY_MS: i64 = 12 * 3600 * 1000;
/// Cameras that one node may describe.
pub(super) const MAX_CAMERAS: usize = 1024;
/// Letters of a reason, a name, an area.
pub(super) const MAX_WORDS: usize = 400;

/// What the centre wants of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Ask {
    /// Begin to watch, or go on: each must come again within [`WATCH_SECONDS`].
    Watch(Watch),
    /// Nobody watches any more.
    Unwatch { watch: u64 },
    /// A question that is to be answered.
    Inquire { question: u64, about: Inquiry },
}

/// Somebody looks at a camera.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// The centre's number for it.
    pub watch: u64,
    pub camera: CameraId,
    #[serde(flatten)]
    pub kind: WatchKind,
    /// Why it may be looked at although its owner does not share it live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Emergency>,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WatchKind {
    /// Single pictures, masks burned in.
    Jpeg { fps: f32, width: u32 },
    /// The camera's own stream as fragmented MP4; not of a camera that has masks.
    Fmp4 {
        /// Without it: the better one that there is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stream: Option<StreamRole>,
    },
}

/// An emergency that a commander declared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Emergency {
    pub id: String,
    /// Who declared it.
    pub who: String,
    pub reason: String,
    /// UTC milliseconds.
    pub until_ms: i64,
}

impl Emergency {
    /// Whether it is in force at `now_ms`, and complete enough to be held up against someone.
    pub fn counts(&self, now_ms: i64) -> bool {
        let said = |text: &str| !text.trim().is_empty() && text.chars().count() <= MAX_WORDS;
        // The clocks of two machines may differ a little.
        let latest = now_ms.saturating_add(MAX_EMERGENCY_MS + 60_000);
        said(&self.id) && said(&self.who) && said(&self.reason) && (now_ms..latest).contains(&self.until_ms)
    }
}

/// What a node says in text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Tell {
    /// All its cameras; any other is gone.
    Cameras { revision: u64, cameras: Vec<CameraInfo> },
    /// How a watch stands.
    State {
        watch: u64,
        #[serde(flatten)]
        state: WatchState,
    },
    /// The answer to [`Ask::Inquire`].
    Answer { question: u64, reply: Reply },
    /// There is no answer to a question.
    Failed { question: u64, reason: String },
}

/// How a watch stands. All but `Granted` are its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum WatchState {
    Granted,
    Refused {
        reason: Refusal,
    },
    /// A stream is not masked; the camera's pictures are.
    Masked,
    /// It was running and ended.
    Ended {
        reason: Ending,
    },
}

/// Why nobody may watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Its owner does not share it live.
    Sharing,
    /// The emergency is over, or was not declared properly.
    Emergency,
    /// The node has no such camera.
    Camera,
    /// Too many look already.
    Busy,
}

impl Refusal {
    /// Stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sharing => "sharing",
            Self::Emergency => "emergency",
            Self::Camera => "camera",
            Self::Busy => "busy",
        }
    }
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Whoever looks does not keep pace.
    Slow,
    /// The camera's codec cannot be shown this way.
    Codec,
    /// The camera connected anew or changed its picture: ask again.
    Changed,
    /// It cannot be muxed, or whoever did it died: ask again.
    Failed,
}

impl Ending {
    /// Stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Codec => "codec",
            Self::Changed => "changed",
            Self::Failed => "failed",
        }
    }
}

/// A camera as a centre shows it. Nothing here says how it is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraInfo {
    pub id: CameraId,
    pub name: String,
    pub area: String,
    pub position: Option<[f64; 2]>,
    pub sharing: Sharing,
    pub recording: RecordingMode,
    pub audio: bool,
    pub zones: Vec<ZoneInfo>,
    pub lines: Vec<LineInfo>,
    pub masks: Vec<Vec<Corner>>,
    pub rules: Vec<RuleInfo>,
}

/// `[x, y]` as fractions of the picture.
pub type Corner = [f32; 2];

/// An area of the picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ZoneInfo {
    pub name: String,
    pub polygon: Vec<Corner>,
}

/// A line across the picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineInfo {
    pub name: String,
    pub points: [Corner; 2],
}

/// What a rule watches for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleInfo {
    pub name: String,
    pub kind: String,
    pub severity: Severity,
    pub zones: Vec<String>,
    pub line: Option<String>,
    pub direction: Option<String>,
    /// The schedule's name; none: always.
    pub schedule: Option<String>,
    pub dwell_seconds: Option<f64>,
}

impl From<&Camera> for CameraInfo {
    fn from(c: &Camera) -> Self {
        let words = |text: &str| text.chars().take(MAX_WORDS).collect();
        let corner = |p: &Point| [p.x, p.y];
        let area = |p: &Polygon| p.0.iter().map(corner).collect();
        Self {
            id: c.id.clone(),
            name: words(&c.name),
            area: words(&c.area),
            position: c.position,
            sharing: c.sharing,
            recording: c.recording.mode,
            audio: c.recording.audio,
            zones: c.zones.iter().map(|z| ZoneInfo { name: z.name.clone(), polygon: area(&z.polygon) }).collect(),
            lines: c
                .lines
                .iter()
                .map(|l| LineInfo { name: l.name.clone(), points: l.points.map(|p| [p.x, p.y]) })
                .collect(),
            masks: c.masks.iter().map(area).collect(),
            rules: c.rules.iter().map(RuleInfo::from).collect(),
        }
    }
}

impl From<&RuleConfig> for RuleInfo {
    fn from(r: &RuleConfig) -> Self {
        let text = |key: &str| r.params.get(key).and_then(|v| v.as_str()).map(str::to_owned);
        let number = |v: &toml::Value| v.as_float().or_else(|| v.as_integer().map(|n| n as f64));
        let zones = r.params.get("zones").and_then(|z| z.as_array()).into_iter().flatten();
        Self {
            name: r.name.clone(),
            kind: r.kind.clone(),
            severity: r.severity,
            zones: zones.filter_map(|z| z.as_str().map(str::to_owned)).collect(),
            line: text("line"),
            direction: text("direction"),
            schedule: r.schedule.as_ref().map(|s| s.name.clone()),
            dwell_seconds: r.params.get("dwell_seconds").and_then(number),
        }
    }
}

impl Tell {
    /// What a centre is to know of the document in force.
    pub fn cameras(document: &CamerasDocument) -> Self {
        Self::Cameras { revision: document.revision, cameras: document.cameras.iter().map(CameraInfo::from).collect() }
    }

    /// Checks what the types do not: numbers, lengths, names.
    fn check(&self) -> Result<()> {
        match self {
            Self::Cameras { cameras, .. } => {
                let mut ids: Vec<&CameraId> = cameras.iter().map(|c| &c.id).collect();
                ids.sort();
                ids.dedup();
                let sound = cameras.len() <= MAX_CAMERAS && ids.len() == cameras.len();
                if sound && cameras.iter().all(CameraInfo::is_sound) {
                    Ok(())
                } else {
                    Err(bad("description of cameras"))
                }
            }
            Self::Answer { reply, .. } => reply.check(),
            Self::State { .. } | Self::Failed { .. } => Ok(()),
        }
    }
}

impl CameraInfo {
    fn is_sound(&self) -> bool {
        let words = |text: &str| text.chars().count() <= MAX_WORDS;
        let point = |p: &Corner| p.iter().all(|x| (0.0..=1.0).contains(x));
        let area = |p: &[Corner]| (3..=256).contains(&p.len()) && p.iter().all(point);
        let place = |[lat, lon]: &[f64; 2]| (-90.0..=90.0).contains(lat) && (-180.0..=180.0).contains(lon);
        let rule = |r: &RuleInfo| {
            let texts = [&r.line, &r.direction, &r.schedule];
            is_name(&r.name)
                && words(&r.kind)
                && r.zones.iter().all(|z| is_name(z))
                && texts.into_iter().flatten().all(|t| words(t))
                && r.dwell_seconds.is_none_or(f64::is_finite)
        };
        words(&self.name)
            && words(&self.area)
            && self.position.as_ref().is_none_or(place)
            && self.zones.iter().all(|z| is_name(&z.name) && area(&z.polygon))
            && self.lines.iter().all(|l| is_name(&l.name) && l.points.iter().all(point))
            && self.masks.iter().all(|m| area(m))
            && self.rules.iter().all(rule)
    }
}

impl Ask {
    fn check(&self) -> Result<()> {
        match self {
            Self::Watch(Watch { kind: WatchKind::Jpeg { fps, width }, .. }) if !fps.is_finite() || *width == 0 => {
                Err(bad("rate or width"))
            }
            Self::Inquire { about, .. } => about.check(),
            _ => Ok(()),
        }
    }
}

/// The head of a binary message of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Head {
    /// A JPEG.
    Picture { watch: u64, at_ms: i64, width: u32, height: u32 },
    /// What a player needs first: the init part, and the type it is asked whether it can play.
    Init { watch: u64, mime: String },
    /// A fragment. The first after [`Head::Init`] begins with a keyframe.
    Fragment { watch: u64, at_ms: i64, keyframe: bool },
}

impl Head {
    /// The watch it belongs to.
    pub fn watch(&self) -> u64 {
        match self {
            Self::Picture { watch, .. } | Self::Init { watch, .. } | Self::Fragment { watch, .. } => *watch,
        }
    }
}

pub(super) fn bad(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("a message of the channel has an impossible {what}"))
}

fn from_text<T: DeserializeOwned>(text: &str) -> Result<T> {
    if text.len() > MAX_TEXT {
        return Err(bad("length"));
    }
    // The parser's text could quote what must not be repeated.
    serde_json::from_str(text)
        .map_err(|_| Error::new(ErrorKind::Invalid, "a message of the channel cannot be understood"))
}

fn to_text(message: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(message)
        .map_err(|e| Error::new(ErrorKind::Internal, "a message of the channel cannot be written").source(e))?;
    if text.len() > MAX_TEXT { Err(bad("length")) } else { Ok(text) }
}

/// Reads and checks what the centre wants.
///
/// # Errors
/// `Invalid`: the channel is of no use any more.
pub fn read_ask(text: &str) -> Result<Ask> {
    let ask: Ask = from_text(text)?;
    ask.check().map(|()| ask)
}

/// Reads and checks what a node says.
///
/// # Errors
/// `Invalid`: the channel is of no use any more.
pub fn read_tell(text: &str) -> Result<Tell> {
    let tell: Tell = from_text(text)?;
    tell.check().map(|()| tell)
}

/// As it is sent.
///
/// # Errors
/// `Invalid` when it is too long.
pub fn write_ask(ask: &Ask) -> Result<String> {
    to_text(ask)
}

/// As it is sent.
///
/// # Errors
/// `Invalid` when it is too long, or not what the other side would take.
pub fn write_tell(tell: &Tell) -> Result<String> {
    tell.check()?;
    to_text(tell)
}

/// Takes a binary message apart.
///
/// # Errors
/// `Invalid`: the channel is of no use any more.
pub fn read_binary(message: &Bytes) -> Result<(Head, Bytes)> {
    let Some((length, rest)) = message.split_first_chunk::<4>() else { return Err(bad("length")) };
    let length = u32::from_be_bytes(*length) as usize;
    if message.len() > MAX_BINARY || length > MAX_HEAD || rest.len() < length {
        return Err(bad("length"));
    }
    let head = serde_json::from_slice(&rest[..length]).map_err(|_| bad("head"))?;
    if matches!(&head, Head::Init { mime, .. } if mime.len() > 128 || mime.chars().any(char::is_control)) {
        return Err(bad("media type"));
    }
    Ok((head, message.slice(4 + length..)))
}

/// A binary message.
///
/// # Errors
/// `Invalid` when it is too long.
pub fn write_binary(head: &Head, payload: &[u8]) -> Result<Bytes> {
    let head = serde_json::to_vec(head)
        .map_err(|e| Error::new(ErrorKind::Internal, "a message of the channel cannot be written").source(e))?;
    let length = 4 + head.len() + payload.len();
    if head.len() > MAX_HEAD || length > MAX_BINARY {
        return Err(bad("length"));
    }
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&(head.len() as u32).to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn emergency(until_ms: i64) -> Emergency {
        Emergency { id: "e-1".into(), who: "Thượng tá A".into(), reason: "cướp giật".into(), until_ms }
    }

    #[test]
    fn an_emergency_has_a_name_a_reason_and_an_end() {
        let now = 1_000_000_000;
        assert!(emergency(now + 1).counts(now));
        assert!(!emergency(now - 1).counts(now), "over");
        assert!(!emergency(now + MAX_EMERGENCY_MS + 120_000).counts(now), "too long");
        assert!(!emergency(i64::MAX).counts(i64::MAX - 5), "and no overflow");
        assert!(!Emergency { reason: " ".into(), ..emergency(now + 1) }.counts(now));
        assert!(!Emergency { who: String::new(), ..emergency(now + 1) }.counts(now));
    }

    #[test]
    fn messages_come_back_as_they_went() {
        let watch = Watch {
            watch: 7,
            camera: "ngo-12-a".parse().expect("valid"),
            kind: WatchKind::Jpeg { fps: 1.0, width: 640 },
            emergency: Some(emergency(9)),
        };
        let stream = Watch { kind: WatchKind::Fmp4 { stream: None }, emergency: None, ..watch.clone() };
        for ask in [Ask::Watch(watch), Ask::Watch(stream), Ask::Unwatch { watch: 7 }] {
            assert_eq!(read_ask(&write_ask(&ask).expect("fits")).expect("sound"), ask);
        }
        for state in [WatchState::Granted, WatchState::Refused { reason: Refusal::Sharing }, WatchState::Masked] {
            let tell = Tell::State { watch: 1, state };
            assert_eq!(read_tell(&write_tell(&tell).expect("fits")).expect("sound"), tell);
        }
        let head = Head::Picture { watch: 3, at_ms: 5, width: 64, height: 48 };
        let bytes = write_binary(&head, b"jpeg").expect("fits");
        assert_eq!(read_binary(&bytes).expect("sound"), (head, Bytes::from_static(b"jpeg")));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in ["", "{}", "[]", "{\"type\":\"watch\",\"watch\":1,\"camera\":\"../x\",\"kind\":\"fmp4\"}"] {
            assert!(read_ask(text).is_err(), "{text}");
        }
        let twice = CameraInfo {
            id: "a".parse().expect("valid"),
            name: "Ngõ 12".into(),
            area: String::new(),
            position: None,
            sharing: Sharing::EventsOnly,
            recording: RecordingMode::Off,
            audio: false,
            zones: Vec::new(),
            lines: Vec::new(),
            masks: Vec::new(),
            rules: Vec::new(),
        };
        let tell = |cameras| write_tell(&Tell::Cameras { revision: 1, cameras });
        assert!(tell(vec![twice.clone()]).is_ok());
        assert!(tell(vec![twice.clone(), twice.clone()]).is_err());
        assert!(tell(vec![CameraInfo { position: Some([91.0, 0.0]), ..twice.clone() }]).is_err());
        let outside = vec![[0.0, 0.0], [1.0, 0.0], [1.5, 1.0]];
        assert!(tell(vec![CameraInfo { masks: vec![outside], ..twice }]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,200}") {
            read_binary(&Bytes::from(bytes)).ok();
            read_ask(&text).ok();
            read_tell(&text).ok();
        }
    }
}
