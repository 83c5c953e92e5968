//! Help with setting cameras up: what a drafted rule would have made of the last day, whether a stream can be used, what
//! cameras there are on a node's network, and how those of known brands are reached. The node does it and keeps to what
//! owners agreed to; who asks for what is written down before it is asked.

use std::time::Duration;

use axum::Json;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Api;
use super::caller::{About, State, Visitor};
use super::input::{Body, Path};
use super::problem::{Answer, Code, Problem, Refused, invalid, refuse};
use crate::base::types::{CameraId, StreamRole};
use crate::base::{Error, ErrorKind};
use crate::centre::account::can::{Action, Object};
use crate::config::{StreamUrl, vendor};
use crate::wire::inquiry::{Changed, Counts, Device, Firing, Inquiry, MAX_RANGE_MS, Probed, Reply, Settings, Source};

/// What a node does in this time it does not do at all.
const REHEARSAL: Duration = Duration::from_secs(15);
const PROBE: Duration = Duration::from_secs(25);
const DISCOVERY: Duration = Duration::from_secs(12);
/// Tracks are kept for a day unless a node's configuration says otherwise.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// A draft and the time to rehearse it over.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RehearsalAsked {
    /// A camera exactly as `[[camera]]` of the cameras document; its streams do not matter.
    #[schema(value_type = Object)]
    camera: Map<String, Value>,
    /// UTC milliseconds; default: a day before `to_ms`.
    from_ms: Option<i64>,
    /// UTC milliseconds; default: now.
    to_ms: Option<i64>,
}

/// What the draft's rules would have made of the tracks that were kept.
#[derive(Serialize, ToSchema)]
pub(super) struct RehearsalJson {
    from_ms: i64,
    to_ms: i64,
    /// How often each rule would have fired: `before`, as it is in force (null: it is new), and `after`, as drafted (null:
    /// it is gone).
    #[schema(value_type = Vec<Object>)]
    rules: Vec<Counts>,
    /// `rule`, `kind`, `severity`, `track` (index into `tracks`, or null), `label`, `at_ms`, `end_ms`
    #[schema(value_type = Vec<Object>)]
    firings: Vec<Firing>,
    /// `label`, `from_ms`, `to_ms`, `path` (the middle of the box's lower edge as fractions of the picture), `fired`;
    /// those that fire first.
    #[schema(value_type = Vec<Object>)]
    tracks: Vec<crate::wire::inquiry::Path>,
    tracks_total: usize,
    /// There were more firings than fit.
    cut: bool,
}

/// A stream to try: an address, or a stream of a known camera with what its node knows of it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProbeAsked {
    /// `rtsp://` or `rtsps://`
    url: Option<String>,
    user: Option<String>,
    password: Option<String>,
    /// `tcp` or `udp`
    transport: Option<String>,
    /// SHA-256 of the camera's own certificate.
    tls_pin: Option<String>,
    /// Instead of an address: the id of a camera of the node.
    camera: Option<String>,
    /// `detect` or `record`
    #[schema(value_type = Option<String>)]
    stream: Option<StreamRole>,
}

/// What became of it.
#[derive(Serialize, ToSchema)]
pub(super) struct ProbeJson {
    /// Pictures came.
    ok: bool,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    codec: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fps: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kbit_s: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keyframe_seconds: Option<f32>,
    /// The node's camera that has this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    camera: Option<String>,
    /// Base64; of a known camera only where it is shared live and the caller may look at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    jpeg: Option<String>,
}

/// The devices that answered.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceList {
    devices: Vec<DeviceJson>,
}

/// A camera on a node's network, as it describes itself.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceJson {
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hardware: Option<String>,
    /// An `id` of `/vendors`.
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<String>,
    /// The node's camera that has this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<String>,
    xaddrs: Vec<String>,
}

/// Known brands.
#[derive(Serialize, ToSchema)]
pub(super) struct VendorList {
    items: Vec<VendorJson>,
}

/// How cameras of a brand are reached. `{host}`, and with some `{user}` and `{password}`, percent-encoded, are to be filled
/// in.
#[derive(Serialize, ToSchema)]
pub(super) struct VendorJson {
    id: &'static str,
    name: &'static str,
    main: &'static str,
    sub: &'static str,
    note_vi: &'static str,
    note_en: &'static str,
}

impl Api {
    /// Whether the node can be asked now.
    pub(super) fn is_there(&self, node: &str) -> Answer<()> {
        match self.hub.connected(node) {
            true => Ok(()),
            false => Err(refuse(Code::NodeAway)),
        }
    }
}

/// What the node said instead of an answer.
pub(super) fn unanswered(error: Error) -> Refused {
    match error.kind() {
        ErrorKind::Unavailable => Refused::because(Code::Unavailable, error.message()),
        _ => error.into(),
    }
}

/// Rehearses a drafted camera over the tracks that its node has kept.
#[utoipa::path(post, path = "/nodes/{node}/rehearsal", tag = "cameras", params(("node" = String, Path)),
    request_body = RehearsalAsked,
    responses((status = 200, body = RehearsalJson), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem), (status = 504, body = Problem)))]
pub(super) async fn rehearsal(
    api: State,
    visitor: Visitor,
    Path(node): Path<String>,
    Body(asked): Body<RehearsalAsked>,
) -> Answer<Json<RehearsalJson>> {
    let id = asked.camera.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    may_edit(&api, &visitor, &node, &id)?;
    id.parse::<CameraId>().map_err(|_| invalid("the camera's id is missing or none"))?;
    let to_ms = asked.to_ms.unwrap_or_else(|| api.clock.now().wall_ms);
    let from_ms = asked.from_ms.unwrap_or_else(|| to_ms.saturating_sub(DAY_MS).max(0));
    if from_ms < 0 || to_ms < from_ms || to_ms - from_ms > MAX_RANGE_MS {
        return Err(invalid("from_ms is after to_ms, or the time is too long"));
    }
    api.is_there(&node)?;
    let about = About::of_camera(format!("rehearsal {id}"), &node, Some(&id));
    visitor.see_lately(&api, Action::CameraEdit, about).await?;
    let about = Inquiry::Rehearse { camera: Settings(asked.camera), from_ms, to_ms };
    match api.hub.inquire(&node, about, REHEARSAL).await.map_err(unanswered)? {
        Reply::Rehearsed(r) => Ok(Json(RehearsalJson {
            from_ms,
            to_ms,
            rules: r.rules,
            firings: r.firings,
            tracks: r.tracks,
            tracks_total: r.tracks_total,
            cut: r.cut,
        })),
        Reply::Changed(Changed::Rejected { camera, key, message, hint }) => {
            Err(Refused::because(Code::DocumentRejected, message)
                .with("camera", camera)
                .with("key", key)
                .with("hint", hint))
        }
        _ => Err(Reply::unasked().into()),
    }
}

/// Has a node connect to a stream once.
#[utoipa::path(post, path = "/nodes/{node}/probe", tag = "cameras", params(("node" = String, Path)),
    request_body = ProbeAsked,
    responses((status = 200, body = ProbeJson), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 503, body = Problem), (status = 504, body = Problem)))]
pub(super) async fn probe(
    api: State,
    visitor: Visitor,
    Path(node): Path<String>,
    Body(asked): Body<ProbeAsked>,
) -> Answer<Json<ProbeJson>> {
    let (source, about) = match &asked.camera {
        Some(camera) => {
            may_edit(&api, &visitor, &node, camera)?;
            let id: CameraId = camera.parse().map_err(|_| invalid("this is no camera's id"))?;
            let stream = asked.stream.unwrap_or(StreamRole::Detect);
            let object = format!("probe {}", serde_json::to_value(stream).unwrap_or_default().as_str().unwrap_or("?"));
            (Source::Camera { camera: id, stream }, About::of_camera(object, &node, Some(camera)))
        }
        None => {
            visitor.may(Action::CameraEdit, &Object::Node(&node))?;
            let text = asked.url.as_deref().ok_or_else(|| invalid("give a url, or a camera and its stream"))?;
            let (url, ..) = StreamUrl::parse(text).map_err(|e| invalid(e.to_string()))?;
            let object = format!("probe {}:{}", url.host(), url.port());
            (Source::Stream { stream: Settings(stream(&asked)) }, About::of_camera(object, &node, None))
        }
    };
    api.is_there(&node)?;
    visitor.record(&api, Action::CameraEdit, about).await?;
    match api.hub.inquire(&node, Inquiry::Probe(source), PROBE).await.map_err(unanswered)? {
        Reply::Probed(probed) => Ok(Json(shown(&api, &visitor, &node, probed).await?)),
        _ => Err(Reply::unasked().into()),
    }
}

/// Looks for cameras on a node's network.
#[utoipa::path(post, path = "/nodes/{node}/discovery", tag = "cameras", params(("node" = String, Path)),
    responses((status = 200, body = DeviceList), (status = 403, body = Problem), (status = 503, body = Problem),
        (status = 504, body = Problem)))]
pub(super) async fn discovery(api: State, visitor: Visitor, Path(node): Path<String>) -> Answer<Json<DeviceList>> {
    visitor.may(Action::CameraEdit, &Object::Node(&node))?;
    api.is_there(&node)?;
    visitor.record(&api, Action::CameraEdit, About::of_camera("discovery", &node, None)).await?;
    let device = |d: Device| DeviceJson {
        address: d.address,
        name: d.name,
        hardware: d.hardware,
        vendor: d.vendor,
        known: d.known.map(|id| id.to_string()).filter(|id| visitor.session.user.reaches(&node, id)),
        xaddrs: d.xaddrs,
    };
    match api.hub.inquire(&node, Inquiry::Discover, DISCOVERY).await.map_err(unanswered)? {
        Reply::Discovered { devices } => Ok(Json(DeviceList { devices: devices.into_iter().map(device).collect() })),
        _ => Err(Reply::unasked().into()),
    }
}

/// How cameras of known brands are reached.
#[utoipa::path(get, path = "/vendors", tag = "cameras",
    responses((status = 200, body = VendorList), (status = 403, body = Problem)))]
pub(super) async fn vendors(visitor: Visitor) -> Answer<Json<VendorList>> {
    visitor.may(Action::CameraView, &Object::Ward)?;
    let item = |v: &vendor::Vendor| VendorJson {
        id: v.id,
        name: v.name,
        main: v.main,
        sub: v.sub,
        note_vi: v.note_vi,
        note_en: v.note_en,
    };
    Ok(Json(VendorList { items: vendor::VENDORS.iter().map(item).collect() }))
}

/// A camera that is not known yet may be edited by whoever could reach it.
fn may_edit(api: &Api, visitor: &Visitor, node: &str, camera: &str) -> Answer<()> {
    let asked = api.lent(node, camera, |lent| visitor.ask(Action::CameraEdit, &Object::Camera(lent)));
    api.verdict(Action::CameraEdit, asked)
}

/// As `[camera.detect]` of the cameras document.
fn stream(asked: &ProbeAsked) -> Map<String, Value> {
    let ProbeAsked { url, user, password, transport, tls_pin, .. } = asked;
    let keys = [("url", url), ("user", user), ("password", password), ("transport", transport), ("tls_pin", tls_pin)];
    keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?.into()))).collect()
}

/// What of the answer the visitor may see; a picture of a known camera is one of a live view.
async fn shown(api: &Api, visitor: &Visitor, node: &str, mut probed: Probed) -> Answer<ProbeJson> {
    let camera = probed.camera.as_ref().map(CameraId::to_string);
    if let (Some(camera), true) = (&camera, probed.jpeg.is_some()) {
        let may = api.lent(node, camera, |lent| visitor.ask(Action::LiveView, &Object::Camera(lent)));
        match may {
            Ok(()) => {
                let about = About::of_camera(format!("picture {camera}"), node, Some(camera));
                visitor.record(api, Action::LiveView, about).await?;
            }
            Err(_) => probed.jpeg = None,
        }
    }
    let ok = probed.ok;
    Ok(ProbeJson {
        ok,
        detail: probed.detail,
        hint: probed.hint,
        codec: probed.codec,
        width: ok.then_some(probed.width),
        height: ok.then_some(probed.height),
        fps: ok.then_some(probed.fps),
        kbit_s: ok.then_some(probed.kbit_s),
        keyframe_seconds: probed.keyframe_seconds,
        camera: camera.filter(|c| visitor.session.user.reaches(node, c)),
        jpeg: probed.jpeg,
    })
}
