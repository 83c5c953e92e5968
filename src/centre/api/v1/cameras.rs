//! Cameras and nodes, and how each stands.

use axum::Json;
use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::{State, Visitor};
use super::input::Path;
use super::problem::{Answer, Code, Problem, refuse};
use super::tag::tagged;
use super::{Api, shape};
use crate::centre::account::CameraKey;
use crate::centre::account::can::{Action, Object};
use crate::centre::directory::Known;
use crate::centre::store::webhook::Standing;
use crate::wire::channel::{LineInfo, ZoneInfo};
use crate::wire::status::PeerState;

/// One camera.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CameraJson {
    node: String,
    camera: String,
    name: String,
    area: String,
    /// WGS84 latitude and longitude.
    position: Option<[f64; 2]>,
    /// What its owner shares: `listed`, `on_request`, `events_only`, `scheduled_live`; null: not known yet.
    #[schema(value_type = Option<String>)]
    sharing: Option<crate::config::Sharing>,
    /// Counts only if `current`; `unknown`: nothing was said.
    state: String,
    fault: Option<String>,
    detail: Option<String>,
    since_ms: Option<i64>,
    codec: Option<String>,
    width: u32,
    height: u32,
    fps: f32,
    last_frame_ms: Option<i64>,
    /// Its node is online, in the run that said so.
    current: bool,
    /// `off`, `events`, `continuous`
    #[schema(value_type = Option<String>)]
    recording: Option<crate::config::RecordingMode>,
    #[schema(value_type = Vec<Object>)]
    zones: Vec<ZoneInfo>,
    #[schema(value_type = Vec<Object>)]
    lines: Vec<LineInfo>,
    #[schema(value_type = Vec<Vec<Vec<f32>>>)]
    masks: Vec<Vec<[f32; 2]>>,
    rules: Vec<RuleJson>,
    config_revision: Option<u64>,
    may: MayJson,
    /// Why live view is not open to whoever asks; null: it is.
    live_refused: Option<String>,
}

/// A rule of a camera.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RuleJson {
    name: String,
    kind: String,
    #[schema(value_type = String)]
    severity: crate::base::types::Severity,
    zones: Vec<String>,
    line: Option<String>,
    direction: Option<String>,
    schedule: Option<String>,
    dwell_seconds: Option<f64>,
}

/// What whoever asks may do with a camera.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MayJson {
    live: bool,
    clip: bool,
    snapshot: bool,
}

/// All cameras in reach.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CameraList {
    items: Vec<CameraJson>,
}

/// All nodes, and what the centre itself lacks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NodeList {
    items: Vec<NodeJson>,
    broker: BrokerJson,
    /// Why nothing can be committed.
    store_trouble: Option<String>,
    /// Why clips cannot be stored.
    clip_trouble: Option<String>,
    /// How receivers of webhooks stand.
    webhooks: Vec<WebhookJson>,
}

/// One receiver of webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookJson {
    name: String,
    /// What waits, or is being sent.
    waiting: u64,
    /// Since when the oldest of it waits.
    waiting_since_ms: Option<i64>,
    /// What was not taken in time, in the last seven days.
    given_up: u64,
    /// Why the last attempt failed, of what waits or was given up.
    trouble: Option<String>,
}

/// One node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NodeJson {
    node: String,
    /// `online`, `stopping`, `offline`
    #[schema(value_type = String)]
    state: PeerState,
    version: String,
    since_ms: Option<i64>,
    cameras: usize,
    cameras_online: usize,
}

/// The connection to the broker.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BrokerJson {
    pub(super) connected: bool,
    pub(super) trouble: Option<String>,
}

/// All cameras.
#[utoipa::path(get, path = "/cameras", tag = "cameras",
    responses((status = 200, body = CameraList), (status = 304), (status = 403, body = Problem)))]
pub(super) async fn list(api: State, visitor: Visitor, headers: HeaderMap) -> Answer {
    visitor.may(Action::CameraView, &Object::Ward)?;
    let reached = api.directory.cameras().into_iter().filter(|((n, c), _)| visitor.session.user.reaches(n, c));
    let items = reached.map(|(key, known)| api.camera_json(&visitor, key, known)).collect();
    tagged(&headers, &CameraList { items })
}

/// One camera.
#[utoipa::path(get, path = "/cameras/{node}/{camera}", tag = "cameras",
    params(("node" = String, Path), ("camera" = String, Path)),
    responses((status = 200, body = CameraJson), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn one(
    api: State,
    visitor: Visitor,
    Path((node, camera)): Path<(String, String)>,
) -> Answer<Json<CameraJson>> {
    let known = api.directory.get(&node, &camera).ok_or_else(|| refuse(Code::NotFound))?;
    let asked = api.lent(&node, &camera, |lent| visitor.ask(Action::CameraView, &Object::Camera(lent)));
    api.verdict(Action::CameraView, asked)?;
    Ok(Json(api.camera_json(&visitor, (node, camera), known)))
}

/// All nodes.
#[utoipa::path(get, path = "/nodes", tag = "cameras",
    responses((status = 200, body = NodeList), (status = 304), (status = 403, body = Problem)))]
pub(super) async fn nodes(api: State, visitor: Visitor, headers: HeaderMap) -> Answer {
    visitor.may(Action::NodeView, &Object::Ward)?;
    let cameras = api.directory.cameras();
    let node = |(node, status): (String, crate::wire::status::PeerStatus)| {
        let own = || cameras.iter().filter(|((n, _), _)| *n == node);
        let online = |known: &Known| {
            known.status.as_ref().is_some_and(|s| s.state == "online" && api.directory.is_current(&node, s))
        };
        NodeJson {
            cameras: own().count(),
            cameras_online: own().filter(|(_, known)| online(known)).count(),
            state: status.state,
            version: status.version,
            since_ms: shape::millis(&status.since),
            node: node.clone(),
        }
    };
    let health = api.health.borrow().clone();
    let list = NodeList {
        items: api.directory.nodes().into_iter().map(node).collect(),
        broker: BrokerJson { connected: health.connected, trouble: health.trouble },
        store_trouble: health.store_trouble,
        clip_trouble: health.clip_trouble,
        webhooks: health.webhooks.into_iter().map(WebhookJson::from).collect(),
    };
    tagged(&headers, &list)
}

impl From<Standing> for WebhookJson {
    fn from(s: Standing) -> Self {
        let Standing { webhook, waiting, waiting_since_ms, given_up, trouble } = s;
        Self { name: webhook, waiting, waiting_since_ms, given_up, trouble }
    }
}

impl Api {
    fn camera_json(&self, visitor: &Visitor, (node, camera): CameraKey, known: Known) -> CameraJson {
        let ask = |action| self.lent(&node, &camera, |lent| visitor.ask(action, &Object::Camera(lent)));
        let of_event = |action| self.lent(&node, &camera, |lent| visitor.ask(action, &Object::Event(lent)));
        let live = ask(Action::LiveView);
        let may = MayJson {
            live: live.is_ok(),
            clip: ask(Action::ClipAsk).is_ok(),
            snapshot: of_event(Action::SnapshotView).is_ok(),
        };
        let status = known.status;
        let current = status.as_ref().is_some_and(|s| self.directory.is_current(&node, s));
        let config_revision = known.info.as_ref().map(|_| known.revision);
        let info = known.info;
        let (zones, lines, masks, rules) = match &info {
            Some(i) => (i.zones.clone(), i.lines.clone(), i.masks.clone(), i.rules.clone()),
            None => Default::default(),
        };
        let rule = |r: crate::wire::channel::RuleInfo| RuleJson {
            name: r.name,
            kind: r.kind,
            severity: r.severity,
            zones: r.zones,
            line: r.line,
            direction: r.direction,
            schedule: r.schedule,
            dwell_seconds: r.dwell_seconds,
        };
        let of_status = |read: fn(&crate::wire::status::CameraStatus) -> Option<String>| status.as_ref().and_then(read);
        CameraJson {
            name: info.as_ref().map(|i| i.name.clone()).filter(|n| !n.is_empty()).unwrap_or_else(|| camera.clone()),
            area: info.as_ref().map(|i| i.area.clone()).unwrap_or_default(),
            position: info.as_ref().and_then(|i| i.position),
            sharing: info.as_ref().map(|i| i.sharing),
            recording: info.as_ref().map(|i| i.recording),
            state: of_status(|s| Some(s.state.clone())).unwrap_or_else(|| "unknown".into()),
            fault: of_status(|s| s.fault.clone()),
            detail: of_status(|s| s.detail.clone()),
            codec: of_status(|s| s.codec.clone()),
            since_ms: status.as_ref().and_then(|s| shape::millis(&s.since)),
            width: status.as_ref().map_or(0, |s| s.width),
            height: status.as_ref().map_or(0, |s| s.height),
            fps: status.as_ref().map_or(0.0, |s| s.fps),
            last_frame_ms: status.as_ref().and_then(|s| shape::millis(s.last_frame.as_deref()?)),
            current,
            zones,
            lines,
            masks,
            rules: rules.into_iter().map(rule).collect(),
            config_revision,
            may,
            live_refused: live.err().map(|denial| denial.as_str().to_owned()),
            node,
            camera,
        }
    }
}
