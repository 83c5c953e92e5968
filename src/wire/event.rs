//! `wardwatch.event/1`, the public JSON of one event revision. Its JSON Schema is `docs/event.schema.json`.
//!
//! Consumers key on (`id`, `revision`), apply the newest revision, accept any revision first, and ignore unknown fields.

use jiff::{Timestamp, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::geometry::Point;
use crate::base::types::{ClipInfo, Direction, EventReport, Phase, Severity, SnapshotInfo};
use crate::base::{Error, ErrorKind, Result};

/// The value of `schema`.
pub const SCHEMA: &str = "wardwatch.event/1";

/// An event's JSON stays below this many bytes.
pub const MAX_BYTES: usize = 16 * 1024;

/// Path points kept in an event; a longer path is thinned out evenly.
pub const MAX_PATH: usize = 64;

/// One revision of an event, as published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Always `wardwatch.event/1`.
    pub schema: String,
    /// UUID of the event.
    pub id: String,
    /// 1, 2, 3 … within the event.
    pub revision: u32,
    /// Counts every revision of the node, never reused.
    pub seq: u64,
    /// The node's run that published it.
    pub boot_id: String,
    /// Revision of the node's cameras document in force.
    pub config_revision: u64,
    pub ward: String,
    pub node: String,
    /// Camera id, unique within the node; `null`: the event is about the node itself.
    pub camera: Option<String>,
    /// Model name and the first eight hex digits of its SHA-256; `null` where no model took part.
    pub model: Option<String>,
    /// The rule's name; of a system event, the condition's.
    pub rule: String,
    /// The rule's kind: `intrusion`, `line_crossing`, `loitering`; or `system`: the node tells of itself.
    pub kind: String,
    /// What happened in words; always there in system events.
    pub message: Option<TextJson>,
    pub phase: PhaseJson,
    pub severity: SeverityJson,
    /// RFC 3339 with the site's offset, as every time here.
    pub started_at: String,
    pub updated_at: String,
    pub ended_at: Option<String>,
    /// When the picture was taken.
    pub best_at: String,
    /// When the frame that caused this revision had arrived at the node.
    pub arrived_at: String,
    /// That frame's time by the camera's own clock.
    pub camera_time: Option<String>,
    /// A clock jumped or disagrees: judge times with care.
    pub clock_suspect: bool,
    /// The zones concerned, as they were drawn then.
    pub zones: Vec<ZoneJson>,
    pub line: Option<LineJson>,
    pub direction: Option<DirectionJson>,
    /// Object class; `null` where no object took part.
    pub label: Option<String>,
    /// Best detection score, 0 to 1.
    pub score: f32,
    /// The most objects that took part at one time.
    pub count: u32,
    /// Track numbers within the camera.
    pub tracks: Vec<u64>,
    /// The object in the picture: left, top, right, bottom as fractions of it; `null` where no object took part.
    #[serde(rename = "box")]
    pub bbox: Option<[f32; 4]>,
    /// Where it stood: seconds from the start, x, y as fractions of the picture.
    pub path: Vec<[f32; 3]>,
    pub snapshot: Option<SnapshotJson>,
    /// The event's clip, once there is one; it stays on the node until it is delivered or asked for.
    pub clip: Option<ClipJson>,
    /// Reserved for the owner's consent in force.
    pub grant: Option<serde_json::Value>,
}

/// How far the event has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PhaseJson {
    Started,
    Updated,
    Ended,
}

/// How urgently it asks for attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SeverityJson {
    Notice,
    Alert,
}

/// The way a line was crossed, seen from its first to its second point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DirectionJson {
    LeftToRight,
    RightToLeft,
}

/// A named area; points are x, y as fractions of the picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ZoneJson {
    pub name: String,
    pub polygon: Vec<[f32; 2]>,
}

/// A named line from its first to its second point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LineJson {
    pub name: String,
    pub points: [[f32; 2]; 2],
}

/// The picture, published on its own topic under this hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotJson {
    pub sha256: String,
    pub bytes: u64,
    pub width: u32,
    pub height: u32,
}

/// A sentence for people, in Vietnamese and English.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TextJson {
    pub vi: String,
    pub en: String,
}

/// A clip, by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClipJson {
    pub sha256: String,
    pub bytes: u64,
    /// When its first picture arrived.
    pub from: String,
    /// The end of its last picture.
    pub to: String,
    /// `h264` or `h265`.
    pub codec: String,
    /// The camera's masks are burned in.
    pub masked: bool,
    /// `false`: the event was going on, another clip follows.
    pub complete: bool,
    /// Milliseconds within it that were not recorded.
    pub missing_ms: u64,
}

impl ClipJson {
    /// The public form of `clip`.
    pub fn new(clip: &ClipInfo, timezone: &TimeZone) -> Self {
        Self {
            sha256: clip.sha256.clone(),
            bytes: clip.bytes,
            from: rfc3339(clip.from_ms, timezone),
            to: rfc3339(clip.to_ms, timezone),
            codec: clip.codec.as_str().into(),
            masked: clip.masked,
            complete: clip.complete,
            missing_ms: clip.missing_ms,
        }
    }
}

/// Who publishes: the same for every event of a node's run.
#[derive(Clone, Debug)]
pub struct Origin {
    pub ward: String,
    pub node: String,
    pub boot_id: String,
    pub timezone: TimeZone,
}

impl Event {
    /// The public form of `report` as revision `revision` with sequence number `seq`.
    pub fn new(report: &EventReport, revision: u32, seq: u64, origin: &Origin) -> Self {
        let time = |ms: i64| rfc3339(ms, &origin.timezone);
        Self {
            schema: SCHEMA.into(),
            id: report.id.clone(),
            revision,
            seq,
            boot_id: origin.boot_id.clone(),
            config_revision: report.config_revision,
            ward: origin.ward.clone(),
            node: origin.node.clone(),
            camera: report.camera.as_ref().map(ToString::to_string),
            model: named(&report.model),
            rule: report.rule.clone(),
            kind: report.kind.clone(),
            message: report.message.as_ref().map(|t| TextJson { vi: t.vi.clone(), en: t.en.clone() }),
            phase: report.phase.into(),
            severity: report.severity.into(),
            started_at: time(report.started_at.wall_ms),
            updated_at: time(report.updated_at.wall_ms),
            ended_at: report.ended_at.map(|s| time(s.wall_ms)),
            best_at: time(report.best_at.wall_ms),
            arrived_at: time(report.arrived_at.wall_ms),
            camera_time: report.camera_time_ms.map(time),
            clock_suspect: report.clock_suspect,
            zones: report
                .zones
                .iter()
                .map(|z| ZoneJson { name: z.name.clone(), polygon: z.polygon.0.iter().map(pair).collect() })
                .collect(),
            line: report
                .line
                .as_ref()
                .map(|l| LineJson { name: l.name.clone(), points: [pair(&l.points[0]), pair(&l.points[1])] }),
            direction: report.direction.map(Into::into),
            label: named(&report.label),
            score: thousandths(report.score),
            count: report.count,
            tracks: report.tracks.clone(),
            bbox: (!report.label.is_empty()).then(|| {
                [report.bbox.left, report.bbox.top, report.bbox.right, report.bbox.bottom]
                    .map(|v| thousandths(v.clamp(0.0, 1.0)))
            }),
            path: thin(&report.path)
                .map(|p| [thousandths(p.seconds), thousandths(p.at.x), thousandths(p.at.y)])
                .collect(),
            snapshot: report.snapshot.as_ref().map(Into::into),
            clip: report.clip.as_ref().map(|c| ClipJson::new(c, &origin.timezone)),
            grant: None,
        }
    }

    /// The JSON as published.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|e| Error::new(ErrorKind::Internal, "an event cannot be written as JSON").source(e))
    }

    /// The JSON as published, always below [`MAX_BYTES`]: what an event can do without is left out until it fits.
    pub fn to_bounded_json(mut self) -> Result<Vec<u8>> {
        let shorten: [fn(&mut Self); 4] = [
            |e| e.path = e.path.iter().copied().step_by(4).collect(),
            |e| e.zones.iter_mut().for_each(|z| z.polygon.clear()),
            |e| e.path.clear(),
            |e| {
                e.tracks.truncate(64);
                e.zones.truncate(16);
            },
        ];
        for step in shorten {
            let json = self.to_json()?;
            if json.len() < MAX_BYTES {
                return Ok(json);
            }
            step(&mut self);
        }
        let json = self.to_json()?;
        if json.len() < MAX_BYTES {
            return Ok(json);
        }
        Err(Error::new(ErrorKind::Invalid, format!("event {} does not fit into {MAX_BYTES} bytes", self.id)))
    }

    /// The JSON Schema, as in `docs/event.schema.json`. Unknown fields are allowed: later versions may add some.
    pub fn json_schema() -> Result<String> {
        let schema = schemars::schema_for!(Event);
        serde_json::to_string_pretty(&schema)
            .map(|text| text + "\n")
            .map_err(|e| Error::new(ErrorKind::Internal, "the event schema cannot be written as JSON").source(e))
    }
}

fn named(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn pair(p: &Point) -> [f32; 2] {
    [thousandths(p.x), thousandths(p.y)]
}

fn thin(path: &[crate::base::types::PathPoint]) -> impl Iterator<Item = &crate::base::types::PathPoint> {
    let step = path.len().div_ceil(MAX_PATH).max(1);
    path.iter().step_by(step)
}

fn thousandths(v: f32) -> f32 {
    (v * 1000.0).round() / 1000.0
}

/// UTC milliseconds as RFC 3339 with milliseconds and the offset of `timezone` at that moment.
pub fn rfc3339(ms: i64, timezone: &TimeZone) -> String {
    let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_zoned_datetime(timezone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

/// The inverse of [`rfc3339`].
pub fn parse_rfc3339(text: &str) -> Result<i64> {
    text.parse::<Timestamp>().map(|t| t.as_millisecond()).map_err(|e| {
        Error::new(ErrorKind::Invalid, format!("`{}` is not an RFC 3339 time", text.escape_debug())).source(e)
    })
}

macro_rules! mirror {
    ($domain:ident, $json:ident, $($variant:ident),+) => {
        impl From<$domain> for $json {
            fn from(v: $domain) -> Self { match v { $($domain::$variant => $json::$variant),+ } }
        }
        impl From<$json> for $domain {
            fn from(v: $json) -> Self { match v { $($json::$variant => $domain::$variant),+ } }
        }
    };
}

mirror!(Phase, PhaseJson, Started, Updated, Ended);
mirror!(Severity, SeverityJson, Notice, Alert);
mirror!(Direction, DirectionJson, LeftToRight, RightToLeft);

impl From<&SnapshotInfo> for SnapshotJson {
    fn from(s: &SnapshotInfo) -> Self {
        Self { sha256: s.sha256.clone(), bytes: s.bytes, width: s.width, height: s.height }
    }
}
