//! The domain: camera, stream, access unit, frame, detection, track, event. Plain data without GStreamer, ONNX, SQL or
//! JSON types. Serde is derived only where the node and its workers (one binary) exchange the type as it is; what the
//! world outside sees has its own types in `wire`.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::clock::Stamp;
use super::geometry::{PixelBox, Point, Polygon, RelativeBox};
use super::{Error, ErrorKind, Result};

pub use super::recording::{ClipInfo, Fragment, Gap, GapReason, Segment, SegmentState};

/// A class name of the detector, for example `person`.
pub type Label = Arc<str>;

/// A camera's name within its node: 1–64 of `a-z 0-9 -`, so that it can stand in a topic, a path and a metric.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CameraId(Arc<str>);

impl CameraId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `name` may be a camera, node, ward, zone, line or rule name.
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
}

impl TryFrom<String> for CameraId {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        if is_name(&name) {
            return Ok(Self(name.into()));
        }
        Err(Error::new(ErrorKind::Invalid, format!("`{name}` is not a camera id"))
            .hint("use 1 to 64 of a-z, 0-9 and -, for example ngo-12-a"))
    }
}

impl std::str::FromStr for CameraId {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::try_from(name.to_owned())
    }
}

impl From<CameraId> for String {
    fn from(id: CameraId) -> String {
        id.0.to_string()
    }
}

impl fmt::Display for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a stream of a camera is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamRole {
    /// Decoded and looked at by the detector; usually the sub-stream.
    Detect,
    /// Kept in full quality for snapshots, recording and live view; usually the main stream.
    Record,
}

/// A video codec wardwatch reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    H264,
    H265,
    Mjpeg,
}

impl Codec {
    /// Stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::H265 => "h265",
            Self::Mjpeg => "mjpeg",
        }
    }
}

/// What a run of access units has in common. A new value means that decoders and muxers must be rebuilt.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamParams {
    pub codec: Codec,
    /// Pixels; zero while unknown.
    pub width: u32,
    /// Pixels; zero while unknown.
    pub height: u32,
    /// Frames a second as announced by the stream; zero when it does not say.
    pub fps: f32,
    /// The media type as text, for whoever feeds a decoder or a muxer.
    pub caps: String,
}

/// One encoded picture with everything needed to decode it after its predecessors.
#[derive(Clone, Debug)]
pub struct AccessUnit {
    /// Counts up by one within a stream's life in this process.
    pub seq: u64,
    /// Times of one connection have one clock; those of another have another one.
    pub connection: u64,
    /// Presentation time on the stream's own clock.
    pub pts: Duration,
    /// Decoding starts at such a unit.
    pub keyframe: bool,
    /// When its last packet had arrived here: latency counts from this moment.
    pub arrived: Stamp,
    /// When the camera says it was taken (RTCP sender report), UTC milliseconds.
    pub camera_time_ms: Option<i64>,
    pub params: Arc<StreamParams>,
    pub data: Bytes,
}

/// The range of luma and chroma values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorRange {
    /// Luma 16..=235, chroma 16..=240 (ITU-R BT.601, BT.709).
    Limited,
    /// 0..=255 (JPEG, many cheap cameras).
    Full,
}

/// The coefficients between RGB and YCbCr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorMatrix {
    Bt601,
    Bt709,
}

/// One plane of 8-bit samples; `stride` bytes from row to row.
#[derive(Clone, Debug)]
pub struct Plane {
    pub data: Bytes,
    pub stride: usize,
}

/// A decoded I420 picture: Y at full size, U and V at half width and height (rounded up). The planes share their
/// owner's memory: cloning a frame copies no pixel.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The access unit it came from; in replay the frame number from 1.
    pub seq: u64,
    pub pts: Duration,
    pub arrived: Stamp,
    pub camera_time_ms: Option<i64>,
    pub width: u32,
    pub height: u32,
    pub range: ColorRange,
    pub matrix: ColorMatrix,
    pub y: Plane,
    pub u: Plane,
    pub v: Plane,
}

impl Frame {
    /// Width of the chroma planes.
    pub fn chroma_width(&self) -> usize {
        self.width.div_ceil(2) as usize
    }

    /// Height of the chroma planes.
    pub fn chroma_height(&self) -> usize {
        self.height.div_ceil(2) as usize
    }
}

/// One object found in one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// Pixels of the frame it was found in.
    pub bbox: PixelBox,
    pub label: Label,
    /// 0..=1.
    pub score: f32,
}

impl Detection {
    /// Best score first; equal scores by place, so that an order never depends on how the detections came.
    pub fn by_score_then_place(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.bbox, &other.bbox);
        other
            .score
            .total_cmp(&self.score)
            .then_with(|| a.left.total_cmp(&b.left))
            .then_with(|| a.top.total_cmp(&b.top))
            .then_with(|| a.width.total_cmp(&b.width))
            .then_with(|| a.height.total_cmp(&b.height))
            .then_with(|| self.label.cmp(&other.label))
    }
}

/// A track as it stands after one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// Unique per camera for the life of the tracker, from 1.
    pub id: u64,
    pub label: Label,
    /// Pixels of the frame.
    pub bbox: PixelBox,
    /// Score of the detection that updated it now, or of the last one while it is coasting.
    pub score: f32,
    /// When it was first seen.
    pub first_seen: Stamp,
    /// Matched to a detection in this very frame (otherwise its place is predicted).
    pub seen_now: bool,
    /// Has not moved for the configured time: a parked vehicle, a person who stands still.
    pub stationary: bool,
}

/// A place where the detector sees an object that is none (a signpost taken for a person): learned per camera and kept
/// across restarts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phantom {
    pub label: Label,
    pub bbox: RelativeBox,
    /// Seconds for which it was seen in all.
    pub seen_seconds: f32,
    /// UTC milliseconds of the last sighting.
    pub last_seen_ms: i64,
}

/// How far an event has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Started,
    Updated,
    Ended,
}

impl Phase {
    /// Stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Updated => "updated",
            Self::Ended => "ended",
        }
    }
}

/// How urgently an event asks for attention. Says nothing about what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Listed; looked at in time.
    Notice,
    /// Put before the duty officer at once.
    Alert,
}

impl Severity {
    /// Stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Alert => "alert",
        }
    }
}

/// The way a line was crossed, seen along it from its first to its second point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    LeftToRight,
    RightToLeft,
}

/// A named area of a camera's picture, as it was when the event was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Zone {
    pub name: String,
    pub polygon: Polygon,
}

/// A named line of a camera's picture, as it was when the event was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedLine {
    pub name: String,
    pub points: [Point; 2],
}

/// Where a track's foot was, seconds after the event's start (negative before it).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathPoint {
    pub seconds: f32,
    pub at: Point,
}

/// An event's picture, by content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// Lower-case hex of the JPEG's SHA-256.
    pub sha256: String,
    pub bytes: u64,
    pub width: u32,
    pub height: u32,
}

/// What is known of an event at one moment: the whole state, not a difference. The node's store gives it its revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventReport {
    /// UUID: version 7 live, derived from the input in replay.
    pub id: String,
    /// None: it concerns the node itself (kind `system`).
    pub camera: Option<CameraId>,
    /// Name and first eight hex digits of the model that saw it, `yolox-nano@615e2661`; empty if none did.
    pub model: String,
    /// The rule's name in the cameras document.
    pub rule: String,
    /// The rule's kind: `intrusion`, `line_crossing`, `loitering`; or [`EventReport::SYSTEM`].
    pub kind: String,
    /// What it is in words, where the fields do not say it all.
    #[serde(default)]
    pub message: Option<Text>,
    pub phase: Phase,
    pub severity: Severity,
    pub started_at: Stamp,
    pub updated_at: Stamp,
    pub ended_at: Option<Stamp>,
    /// When the frame of the snapshot was taken.
    pub best_at: Stamp,
    /// When the frame that caused this report had arrived.
    pub arrived_at: Stamp,
    /// That frame's time by the camera's clock, UTC milliseconds.
    pub camera_time_ms: Option<i64>,
    /// The wall clock jumped, or the camera's clock disagrees with it.
    pub clock_suspect: bool,
    pub zones: Vec<Zone>,
    pub line: Option<NamedLine>,
    pub direction: Option<Direction>,
    /// Empty if no object took part.
    pub label: Label,
    /// Best score so far.
    pub score: f32,
    /// The most objects that took part at one time.
    pub count: u32,
    pub tracks: Vec<u64>,
    /// The object in the snapshot, relative to the picture.
    pub bbox: RelativeBox,
    pub path: Vec<PathPoint>,
    pub snapshot: Option<SnapshotInfo>,
    /// Only the node, which makes it, knows of it.
    #[serde(default)]
    pub clip: Option<ClipInfo>,
    /// Revision of the cameras document in force.
    pub config_revision: u64,
}

impl EventReport {
    /// The kind of events that the node tells of itself.
    pub const SYSTEM: &'static str = "system";

    /// Its camera's id, or `-` for the node, for logs.
    pub fn place(&self) -> &str {
        self.camera.as_ref().map_or("-", CameraId::as_str)
    }
}

/// What officers, residents or technicians read, in both languages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    pub vi: String,
    pub en: String,
}

/// A JPEG made for an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub info: SnapshotInfo,
    pub jpeg: Bytes,
}

/// What a camera is doing, as published retained on its status topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraState {
    /// The first connection is being made.
    Connecting,
    /// Frames arrive and are looked at.
    Online,
    /// Not reachable, or it stopped sending; being retried.
    Offline,
    /// It refuses our user and password; retried slowly.
    AuthFailed,
    /// It sends something that cannot be decoded.
    Faulty,
    /// Its worker is being restarted.
    Restarting,
    /// Taken out by the cameras document.
    Removed,
    /// It made its worker die again and again, and is left alone for a time.
    Quarantined,
}

impl CameraState {
    /// Every state, for metrics that show one series a state.
    pub const ALL: [CameraState; 8] = [
        Self::Connecting,
        Self::Online,
        Self::Offline,
        Self::AuthFailed,
        Self::Faulty,
        Self::Restarting,
        Self::Removed,
        Self::Quarantined,
    ];

    /// Stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Online => "online",
            Self::Offline => "offline",
            Self::AuthFailed => "auth_failed",
            Self::Faulty => "faulty",
            Self::Restarting => "restarting",
            Self::Removed => "removed",
            Self::Quarantined => "quarantined",
        }
    }
}

/// Why a camera is not online.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// No connection, refused, or the name does not resolve.
    Unreachable,
    /// 401 or 403.
    AuthFailed,
    /// The connection is open but no packet came for five seconds.
    Stalled,
    /// The camera ended the stream.
    Ended,
    /// 404: no such stream path.
    NoStream,
    /// The TLS certificate is not the pinned one.
    TlsMismatch,
    /// A codec wardwatch does not read.
    UnsupportedCodec,
    /// Packets come but no picture can be decoded from them.
    Undecodable,
    /// Anything else the RTSP source reports.
    Protocol,
}

impl FaultKind {
    /// Stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::AuthFailed => "auth_failed",
            Self::Stalled => "stalled",
            Self::Ended => "ended",
            Self::NoStream => "no_stream",
            Self::TlsMismatch => "tls_mismatch",
            Self::UnsupportedCodec => "unsupported_codec",
            Self::Undecodable => "undecodable",
            Self::Protocol => "protocol",
        }
    }
}

/// A camera's health, as its worker sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraHealth {
    pub camera: CameraId,
    pub state: CameraState,
    pub fault: Option<FaultKind>,
    /// One sentence for the technician; holds no address and no secret.
    pub detail: Option<String>,
    /// When `state` began.
    pub since: Stamp,
    pub codec: Option<Codec>,
    pub width: u32,
    pub height: u32,
    /// Measured over the last seconds.
    pub fps: f32,
    pub last_frame: Option<Stamp>,
}

/// What a camera's stages have counted since its worker took it over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraCounters {
    /// Access units received on the detect stream.
    pub frames_in: u64,
    /// Frames the detector looked at.
    pub inferred: u64,
    /// Frames overwritten in the mailbox before the detector came round.
    pub frames_replaced: u64,
    /// Detection results dropped because the camera's task was behind.
    pub results_dropped: u64,
    /// Access units that left the ring before the decoder had read them.
    pub units_skipped: u64,
    /// Groups of pictures that left the ring to stay within its bytes.
    pub gops_evicted: u64,
    pub detections: u64,
    pub events: u64,
    pub reconnects: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_leave_a_topic_or_a_directory_are_refused() {
        for bad in ["", "Ngo-12", "a/b", "..", "a b", "+", "#", "-a", "ngõ", &"a".repeat(65)] {
            assert!(bad.parse::<CameraId>().is_err(), "{bad}");
        }
        assert_eq!("ngo-12-a".parse::<CameraId>().expect("valid").as_str(), "ngo-12-a");
    }
}
