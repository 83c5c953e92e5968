//! `cameras.toml`: the revisioned document of cameras, zones, lines, masks, rules and schedules.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::Document;
use super::record::{self, RawRecording, RecordingConfig};
use super::rule::{self, KeyError, RuleCheck, RuleConfig, ScheduleConfig};
use super::secret::{RawUrl, Secret, StreamUrl};
use crate::base::Result;
use crate::base::geometry::{Point, Polygon};
use crate::base::types::{CameraId, Zone, is_name};

/// The whole document, validated.
#[derive(Clone, Debug, PartialEq)]
pub struct CamerasDocument {
    /// Must grow with every change; acknowledged by its number.
    pub revision: u64,
    pub cameras: Vec<Camera>,
}

/// What an owner has agreed to share, from least to most. Until signed grants exist this is the owner's static choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// In the register only: the camera is not connected to.
    Listed,
    /// Recordings on request: connected to and kept healthy, but it raises no events.
    OnRequest,
    /// Events with their snapshots; no live view.
    EventsOnly,
    /// Events, and live view within agreed hours.
    ScheduledLive,
}

/// How RTP travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    #[default]
    Tcp,
    Udp,
}

/// One stream of a camera. Address and credentials never serialise: workers get them on a channel of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSource {
    pub url: StreamUrl,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub transport: Transport,
    /// Jitter buffer in milliseconds.
    pub latency_ms: u32,
    /// Lower-case hex SHA-256 of the camera's certificate (DER), for a self-signed `rtsps`.
    pub tls_pin: Option<String>,
}

/// A named line as configured.
pub type LineConfig = crate::base::types::NamedLine;

/// One camera.
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    pub id: CameraId,
    /// What people call it, in Vietnamese.
    pub name: String,
    /// Alley or block.
    pub area: String,
    /// WGS84 latitude and longitude.
    pub position: Option<[f64; 2]>,
    pub sharing: Sharing,
    pub detect: StreamSource,
    pub record: Option<StreamSource>,
    pub recording: RecordingConfig,
    /// Frames a second given to the detector.
    pub detect_fps: f32,
    /// Areas painted over before anything looks at the picture.
    pub masks: Vec<Polygon>,
    pub zones: Vec<Zone>,
    pub lines: Vec<LineConfig>,
    pub rules: Vec<RuleConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDocument {
    revision: u64,
    #[serde(default)]
    schedule: Vec<rule::RawSchedule>,
    #[serde(default)]
    camera: Vec<RawCamera>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCamera {
    id: Spanned<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    area: String,
    position: Option<Spanned<[f64; 2]>>,
    #[serde(default = "events_only")]
    sharing: Sharing,
    detect: RawStream,
    record: Option<RawStream>,
    recording: Option<Spanned<RawRecording>>,
    #[serde(default)]
    mask: Vec<RawMask>,
    #[serde(default)]
    zone: Vec<RawZone>,
    #[serde(default)]
    line: Vec<RawLine>,
    #[serde(default)]
    rule: Vec<Spanned<toml::Table>>,
}

fn events_only() -> Sharing {
    Sharing::EventsOnly
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStream {
    url: Spanned<RawUrl>,
    user: Option<String>,
    password: Option<Secret>,
    #[serde(default)]
    transport: Transport,
    #[serde(default = "default_latency")]
    latency_ms: u32,
    tls_pin: Option<Spanned<String>>,
    fps: Option<Spanned<f32>>,
}

fn default_latency() -> u32 {
    200
}

const DEFAULT_DETECT_FPS: f32 = 5.0;

/// Corners of an area. An event carries its zones as they were drawn and must stay below 16 KiB.
const MAX_POINTS: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMask {
    polygon: Spanned<Vec<Point>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawZone {
    name: Spanned<String>,
    polygon: Spanned<Vec<Point>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLine {
    name: Spanned<String>,
    points: Spanned<Vec<Point>>,
}

/// Reads and validates the document. `check` is the rules' own validation (`rules::check`); `app::load_cameras` has both.
pub fn load_cameras(path: &Path, check: RuleCheck<'_>) -> Result<CamerasDocument> {
    cameras_of(&Document::read(path)?, check)
}

/// [`load_cameras`] of a text that was read already; `path` is for messages.
pub fn cameras_from(text: String, path: &Path, check: RuleCheck<'_>) -> Result<CamerasDocument> {
    cameras_of(&Document { path: path.to_owned(), text }, check)
}

fn cameras_of(doc: &Document, check: RuleCheck<'_>) -> Result<CamerasDocument> {
    let raw: RawDocument = doc.parse()?;
    let mut schedules: Vec<ScheduleConfig> = Vec::new();
    for s in raw.schedule {
        let span = s.name.span();
        let schedule = rule::schedule(doc, s)?;
        if schedules.iter().any(|other| other.name == schedule.name) {
            return Err(doc
                .error(Some(span), format!("a second schedule is called `{}`", schedule.name))
                .hint("put all its windows into one schedule, or give it another name"));
        }
        schedules.push(schedule);
    }
    let mut seen = HashSet::new();
    let mut cameras = Vec::with_capacity(raw.camera.len());
    for c in raw.camera {
        let span = c.id.span();
        let camera = camera(doc, c, &schedules, check)?;
        if !seen.insert(camera.id.clone()) {
            return Err(doc
                .error(Some(span), format!("a second camera is called `{}`", camera.id))
                .hint("give each camera an id of its own"));
        }
        cameras.push(camera);
    }
    Ok(CamerasDocument { revision: raw.revision, cameras })
}

fn camera(doc: &Document, raw: RawCamera, schedules: &[ScheduleConfig], check: RuleCheck<'_>) -> Result<Camera> {
    let span = raw.id.span();
    let id = CameraId::try_from(raw.id.into_inner()).map_err(|e| doc.error(Some(span), e.to_string()))?;
    if let Some(position) = &raw.position {
        let [lat, lon] = *position.get_ref();
        if !(-90.0..=90.0).contains(&lat) || !(-180.0..=180.0).contains(&lon) {
            return Err(doc
                .error(Some(position.span()), "a position is [latitude, longitude] in WGS84 degrees")
                .camera(&id));
        }
    }
    let detect_fps = match &raw.detect.fps {
        None => DEFAULT_DETECT_FPS,
        Some(fps) if (0.1..=60.0).contains(fps.get_ref()) => *fps.get_ref(),
        Some(fps) => return Err(doc.error(Some(fps.span()), "fps must be between 0.1 and 60").camera(&id)),
    };
    if let Some(fps) = raw.record.as_ref().and_then(|r| r.fps.as_ref()) {
        return Err(doc
            .error(Some(fps.span()), "the record stream is kept as it comes; fps belongs to [camera.detect]")
            .camera(&id));
    }
    let zones = zones(doc, &id, raw.zone)?;
    let lines = lines(doc, &id, raw.line)?;
    let mut masks = Vec::with_capacity(raw.mask.len());
    for m in raw.mask {
        masks.push(polygon(doc, &id, "mask", m.polygon)?);
    }
    let recorded = raw.record.as_ref().map_or(raw.detect.transport, |r| r.transport);
    let rules = rules(doc, &id, raw.rule, schedules, |rule| check(rule, &zones, &lines))?;
    Ok(Camera {
        name: if raw.name.is_empty() { id.to_string() } else { raw.name },
        area: raw.area,
        position: raw.position.map(Spanned::into_inner),
        sharing: raw.sharing,
        detect: stream(doc, &id, raw.detect)?,
        record: raw.record.map(|r| stream(doc, &id, r)).transpose()?,
        recording: record::recording(doc, raw.recording, schedules, recorded).map_err(|e| e.camera(&id))?,
        detect_fps,
        masks,
        zones,
        lines,
        rules,
        id,
    })
}

fn stream(doc: &Document, id: &CameraId, raw: RawStream) -> Result<StreamSource> {
    let span = raw.url.span();
    let (url, url_user, url_password) = StreamUrl::parse(&raw.url.into_inner().0)
        .map_err(|e| doc.error(Some(span.clone()), e.to_string()).camera(id))?;
    if let Some(pin) = &raw.tls_pin {
        let hex = pin.get_ref();
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(doc
                .error(Some(pin.span()), "tls_pin is the SHA-256 of the camera's certificate as 64 hex digits")
                .hint("`wardwatch probe rtsps://…` prints it")
                .camera(id));
        }
    }
    Ok(StreamSource {
        url,
        user: raw.user.or(url_user),
        password: raw.password.or(url_password),
        transport: raw.transport,
        latency_ms: raw.latency_ms,
        tls_pin: raw.tls_pin.map(|p| p.into_inner().to_ascii_lowercase()),
    })
}

fn zones(doc: &Document, id: &CameraId, raw: Vec<RawZone>) -> Result<Vec<Zone>> {
    let mut zones: Vec<Zone> = Vec::with_capacity(raw.len());
    for z in raw {
        let name = name(doc, id, "zone", z.name, zones.iter().map(|z| z.name.as_str()))?;
        let polygon = polygon(doc, id, &format!("zone `{name}`"), z.polygon)?;
        zones.push(Zone { name, polygon });
    }
    Ok(zones)
}

fn lines(doc: &Document, id: &CameraId, raw: Vec<RawLine>) -> Result<Vec<LineConfig>> {
    let mut lines: Vec<LineConfig> = Vec::with_capacity(raw.len());
    for l in raw {
        let name = name(doc, id, "line", l.name, lines.iter().map(|l| l.name.as_str()))?;
        let span = l.points.span();
        let points: [Point; 2] = l.points.into_inner().try_into().map_err(|p: Vec<Point>| {
            doc.error(Some(span.clone()), format!("line `{name}` has {} points; a line has two", p.len()))
                .hint("points = [[0.1, 0.6], [0.9, 0.6]]")
                .camera(id)
        })?;
        in_picture(doc, id, &format!("line `{name}`"), &points, span.clone())?;
        if points[0] == points[1] {
            return Err(doc.error(Some(span), format!("line `{name}` begins and ends at one point")).camera(id));
        }
        lines.push(LineConfig { name, points });
    }
    Ok(lines)
}

fn rules(
    doc: &Document,
    id: &CameraId,
    raw: Vec<Spanned<toml::Table>>,
    schedules: &[ScheduleConfig],
    check: impl Fn(&RuleConfig) -> Result<(), KeyError>,
) -> Result<Vec<RuleConfig>> {
    let mut rules: Vec<RuleConfig> = Vec::with_capacity(raw.len());
    for r in raw {
        let span = r.span();
        let rule = rule::rule(doc, r, schedules).map_err(|e| e.camera(id))?;
        if rules.iter().any(|other| other.name == rule.name) {
            let name_span = doc.key_span(&span, "name");
            return Err(doc
                .error(Some(name_span), format!("a second rule is called `{}`", rule.name))
                .hint("give each rule of a camera a name of its own")
                .camera(id));
        }
        check(&rule).map_err(|e| rule::at_key(doc, &span, &format!("rule `{}`", rule.name), e).camera(id))?;
        rules.push(rule);
    }
    Ok(rules)
}

fn name<'a>(
    doc: &Document,
    id: &CameraId,
    what: &str,
    raw: Spanned<String>,
    mut taken: impl Iterator<Item = &'a str>,
) -> Result<String> {
    let span = raw.span();
    let name = raw.into_inner();
    if !is_name(&name) {
        let error = doc.error(Some(span), format!("`{name}` is not a {what} name")).camera(id);
        return Err(error.hint("use 1 to 64 of a-z, 0-9 and -"));
    }
    if taken.any(|t| t == name) {
        return Err(doc.error(Some(span), format!("a second {what} is called `{name}`")).camera(id));
    }
    Ok(name)
}

fn polygon(doc: &Document, id: &CameraId, what: &str, raw: Spanned<Vec<Point>>) -> Result<Polygon> {
    let span = raw.span();
    let points = raw.into_inner();
    if points.len() < 3 {
        return Err(doc
            .error(Some(span), format!("{what} has {} points; an area needs at least three", points.len()))
            .hint("polygon = [[0.1, 0.5], [0.9, 0.5], [0.9, 1.0], [0.1, 1.0]]")
            .camera(id));
    }
    if points.len() > MAX_POINTS {
        return Err(doc
            .error(Some(span), format!("{what} has {} points; {MAX_POINTS} is the most", points.len()))
            .hint("draw it with fewer corners, or as two areas")
            .camera(id));
    }
    in_picture(doc, id, what, &points, span.clone())?;
    let polygon = Polygon(points);
    if polygon.area() < 1e-5 {
        return Err(doc.error(Some(span), format!("{what} encloses nothing")).camera(id));
    }
    Ok(polygon)
}

fn in_picture(doc: &Document, id: &CameraId, what: &str, points: &[Point], span: std::ops::Range<usize>) -> Result<()> {
    if points.iter().all(|p| (0.0..=1.0).contains(&p.x) && (0.0..=1.0).contains(&p.y)) {
        return Ok(());
    }
    Err(doc
        .error(Some(span), format!("{what} leaves the picture"))
        .hint("points are [x, y] as fractions of the picture, 0 to 1, from its top left corner")
        .camera(id))
}
