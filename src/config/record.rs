//! What is recorded and where: `[record]` of `wardwatch.toml` and `[camera.recording]` of `cameras.toml`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::Document;
use super::cameras::Transport;
use super::rule::ScheduleConfig;
use crate::base::Result;

/// `[record]`: the same for all cameras of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordConfig {
    /// Files lie in `<dir>/<camera>/<YYYYMMDD>/`.
    pub dir: PathBuf,
    /// A file ends at the first keyframe after so many seconds.
    pub segment_seconds: u32,
    /// This much of the disk stays free of recordings: the oldest leave.
    pub disk_floor_bytes: u64,
}

/// Where clips lie within the recording directory: under a name that no camera can have.
pub const CLIPS: &str = ".clips";

impl RecordConfig {
    /// The directory of clips.
    pub fn clips_dir(&self) -> PathBuf {
        self.dir.join(CLIPS)
    }
}

/// What of a camera's stream goes to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingMode {
    /// Nothing.
    #[default]
    Off,
    /// From a few seconds before an event until a few after it.
    Events,
    /// Everything.
    Continuous,
}

/// `[camera.recording]`
#[derive(Clone, Debug, PartialEq)]
pub struct RecordingConfig {
    pub mode: RecordingMode,
    /// Sound is recorded, too. Otherwise the camera is not even asked for it.
    pub audio: bool,
    /// When `mode` is in force; nothing is recorded outside of it. `None`: always.
    pub schedule: Option<ScheduleConfig>,
    /// Older files leave, unless they are held.
    pub keep_days: f32,
    /// The camera's files may take this much disk; the oldest leave.
    pub max_gb: Option<f32>,
    /// Older clips of events leave, unless they are held or the centre still waits for them.
    pub keep_clips_days: f32,
    /// The camera's clips may take this much disk; the oldest leave.
    pub max_clips_gb: Option<f32>,
}

impl Default for RecordingConfig {
    fn default() -> Self {
        Self {
            mode: RecordingMode::Off,
            audio: false,
            schedule: None,
            keep_days: 7.0,
            max_gb: None,
            keep_clips_days: 30.0,
            max_clips_gb: None,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRecording {
    #[serde(default)]
    mode: RecordingMode,
    #[serde(default)]
    audio: bool,
    schedule: Option<String>,
    keep_days: Option<f32>,
    max_gb: Option<f32>,
    keep_clips_days: Option<f32>,
    max_clips_gb: Option<f32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRecord {
    dir: Option<PathBuf>,
    segment_seconds: Option<Spanned<u32>>,
    disk_floor_mb: Option<u64>,
}

/// `raw` validated, with its defaults for a node whose state is in `state_dir`.
pub(super) fn record(doc: &Document, raw: Option<RawRecord>, state_dir: &Path) -> Result<RecordConfig> {
    let raw = raw.unwrap_or_default();
    if let Some(seconds) = raw.segment_seconds.as_ref().filter(|s| !(2..=600).contains(s.get_ref())) {
        return Err(doc.error(Some(seconds.span()), "segment_seconds must be between 2 and 600"));
    }
    Ok(RecordConfig {
        dir: raw.dir.map_or_else(|| state_dir.join("record"), |d| doc.resolve(&d)),
        segment_seconds: raw.segment_seconds.map_or(10, Spanned::into_inner),
        disk_floor_bytes: raw.disk_floor_mb.unwrap_or(2048) << 20,
    })
}

/// `raw` validated; `schedules` are those of the document, `transport` that of the recorded stream.
pub(super) fn recording(
    doc: &Document,
    raw: Option<Spanned<RawRecording>>,
    schedules: &[ScheduleConfig],
    transport: Transport,
) -> Result<RecordingConfig> {
    let default = RecordingConfig::default();
    let Some(raw) = raw else { return Ok(default) };
    let (span, raw) = (raw.span(), raw.into_inner());
    let at = |key: &str, text: String| doc.error(Some(doc.key_span(&span, key)), text);
    let days = |key: &str, value: Option<f32>, default: f32| match value.unwrap_or(default) {
        days if (0.01..=3650.0).contains(&days) => Ok(days),
        _ => Err(at(key, format!("{key} must be between 0.01 and 3650"))),
    };
    if raw.audio && transport == Transport::Udp {
        // A source over UDP takes a silent microphone for a broken network, and would break off the pictures.
        return Err(at("audio", "audio is recorded over TCP only".into())
            .hint("set transport = \"tcp\" for the recorded stream, or leave audio out"));
    }
    let keep_days = days("keep_days", raw.keep_days, default.keep_days)?;
    let keep_clips_days = days("keep_clips_days", raw.keep_clips_days, default.keep_clips_days)?;
    for (key, gb) in [("max_gb", raw.max_gb), ("max_clips_gb", raw.max_clips_gb)] {
        if gb.is_some_and(|gb| !(0.01..=1_000_000.0).contains(&gb)) {
            return Err(at(key, format!("{key} must be between 0.01 and 1000000")));
        }
    }
    let named = |name: String| {
        let found = schedules.iter().find(|s| s.name == name).cloned();
        found.ok_or_else(|| {
            at("schedule", format!("the recording names schedule `{name}`, which does not exist"))
                .hint("add a [[schedule]] of that name at the top of the document")
        })
    };
    let schedule = raw.schedule.map(named).transpose()?;
    Ok(RecordingConfig {
        mode: raw.mode,
        audio: raw.audio,
        schedule,
        keep_days,
        max_gb: raw.max_gb,
        keep_clips_days,
        max_clips_gb: raw.max_clips_gb,
    })
}
