//! The domain of recording: segment, fragment, gap. Part of [`super::types`], kept apart for its size.

use serde::{Deserialize, Serialize};

use super::types::{CameraId, Codec, StreamRole};

/// Whether a segment's file grows, was ended in order, or was cut off and later found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentState {
    Open,
    Closed,
    /// Its writer died; what its sidecar names is there.
    Recovered,
}

impl SegmentState {
    /// Stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Recovered => "recovered",
        }
    }
}

/// Seconds of one camera's recorded stream: one MP4 file, as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The index's own number; 0 until it has given one.
    pub id: i64,
    pub camera: CameraId,
    /// Relative to the recording directory, with `/`.
    pub path: String,
    pub stream: StreamRole,
    pub codec: Codec,
    pub width: u32,
    pub height: u32,
    /// UTC milliseconds: when the first picture arrived.
    pub start_ms: i64,
    /// UTC milliseconds: the end of the last picture; none while it grows.
    pub end_ms: Option<i64>,
    /// `CLOCK_MONOTONIC` at `start_ms`, comparable within one boot of the machine.
    pub start_mono_ns: u64,
    /// The run of the node that wrote it.
    pub boot_id: String,
    /// Of the whole file; 0 while it grows.
    pub bytes: u64,
    /// Of the whole file, lower-case hex; none while it grows.
    pub sha256: Option<String>,
    pub fragments: u32,
    pub state: SegmentState,
    /// Retention must leave it.
    pub held: bool,
}

/// One `moof` + `mdat` of a segment: what its sidecar says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragment {
    /// Place in the file.
    pub offset: u64,
    pub bytes: u64,
    /// Of these bytes, lower-case hex.
    pub sha256: String,
    /// UTC milliseconds: when its first picture arrived.
    pub wall_ms: i64,
    /// `CLOCK_MONOTONIC` at that moment.
    pub mono_ns: u64,
    /// Since the segment's first picture.
    pub pts_ns: u64,
    pub duration_ns: u64,
    /// It begins with a keyframe.
    pub keyframe: bool,
}

/// Why nothing was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The camera sent nothing.
    Offline,
    /// Recording was held up, by a person or by a machine that could not keep pace.
    Paused,
    /// The disk was full or refused to write.
    DiskFull,
    /// The node or the camera's worker was not running.
    NodeDown,
    /// Outside of the recording hours.
    Schedule,
    /// The camera changed its codec or its resolution.
    CodecChange,
    /// Recording was switched off.
    Off,
}

impl GapReason {
    /// Every reason.
    pub const ALL: [GapReason; 7] =
        [Self::Offline, Self::Paused, Self::DiskFull, Self::NodeDown, Self::Schedule, Self::CodecChange, Self::Off];

    /// Stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Paused => "paused",
            Self::DiskFull => "disk_full",
            Self::NodeDown => "node_down",
            Self::Schedule => "schedule",
            Self::CodecChange => "codec_change",
            Self::Off => "off",
        }
    }
}

/// A time without recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The index's own number; 0 until it has given one.
    pub id: i64,
    pub camera: CameraId,
    /// UTC milliseconds.
    pub start_ms: i64,
    /// UTC milliseconds; none while it lasts.
    pub end_ms: Option<i64>,
    pub reason: GapReason,
}

/// An event's clip, by content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipInfo {
    /// Lower-case hex, of the MP4 file.
    pub sha256: String,
    pub bytes: u64,
    /// UTC milliseconds: when its first picture arrived.
    pub from_ms: i64,
    /// UTC milliseconds: the end of its last picture.
    pub to_ms: i64,
    pub codec: Codec,
    /// Made anew with the camera's masks burned in.
    pub masked: bool,
    /// The event is over and the clip holds all of it; otherwise another one follows.
    pub complete: bool,
    /// Milliseconds between `from_ms` and `to_ms` that were not recorded.
    pub missing_ms: u64,
}
