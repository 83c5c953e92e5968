//! The cameras document of a node, read and changed. The node has it, validates it and keeps its secrets; here it is decided
//! who may, and written down what is changed before the node is asked to. No address, user or password is looked at.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Api;
use super::caller::{About, State, Visitor};
use super::input::{Body, Path};
use super::problem::{Answer, Code, Problem, Refused, invalid, refuse};
use crate::base::types::CameraId;
use crate::base::{Error, ErrorKind};
use crate::centre::account::can::{Action, Object};
use crate::centre::store::AccessEntry;
use crate::wire::inquiry::{Change, Changed, DocumentInForce, Edit, Inquiry, MAX_EDITS, Reply, Settings};

/// The largest change, in bytes.
pub(super) const MAX_CHANGE: usize = 512 << 10;
/// What a node does in this time it does not do at all; a change syncs some files.
const ANSWER: Duration = Duration::from_secs(20);
/// Letters of a reason.
const MAX_REASON: usize = 400;
/// Keys of a camera that the log names; any other is what somebody typed.
const KEYS: [&str; 12] =
    ["id", "name", "area", "position", "sharing", "detect", "record", "recording", "mask", "zone", "line", "rule"];
/// Keys of its streams.
const STREAM_KEYS: [&str; 7] = ["url", "user", "password", "transport", "latency_ms", "tls_pin", "fps"];

/// The cameras document in force.
#[derive(Serialize, ToSchema)]
pub(super) struct DocumentJson {
    node: String,
    revision: u64,
    /// Tables `[[camera]]` with the keys of the document, of the cameras in reach. `password_set` in place of a password;
    /// `url_withheld` and `host` in place of an address that may hold one.
    #[schema(value_type = Vec<Object>)]
    cameras: Vec<Settings>,
    /// Tables `[[schedule]]`.
    #[schema(value_type = Vec<Object>)]
    schedules: Vec<Settings>,
    /// What the node's model can tell apart.
    labels: Vec<String>,
}

/// Changes, all or none.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeAsked {
    /// `{"edit": "put", "camera": {…}}`, `{"edit": "remove", "id": "…"}`, `{"edit": "put_schedule", "schedule": {…}}`,
    /// `{"edit": "remove_schedule", "name": "…"}`
    #[schema(value_type = Vec<Object>)]
    edits: Vec<Edit>,
    /// Why; and that the owner agreed, where more is to be seen than before.
    reason: Option<String>,
    /// Only say whether it would do.
    #[serde(default)]
    check: bool,
}

/// What became of it.
#[derive(Serialize, ToSchema)]
pub(super) struct ChangeJson {
    /// The revision in force.
    revision: u64,
    /// It was only checked.
    checked: bool,
}

/// The cameras document of a node, without its passwords.
#[utoipa::path(get, path = "/nodes/{node}/document", tag = "cameras", params(("node" = String, Path)),
    responses((status = 200, body = DocumentJson), (status = 403, body = Problem), (status = 503, body = Problem),
        (status = 504, body = Problem)))]
pub(super) async fn read(api: State, visitor: Visitor, Path(node): Path<String>) -> Answer<Response> {
    visitor.may(Action::CameraEdit, &Object::Node(&node))?;
    if !api.hub.connected(&node) {
        return Err(refuse(Code::NodeAway));
    }
    visitor.see(&api, Action::CameraEdit, About::of_camera(format!("document {node}"), &node, None)).await?;
    let mut document = api.document(&node).await?;
    document.cameras.retain(|camera| api.may_edit(&visitor, &node, id_of(camera)).is_ok());
    let tag = format!("\"{}\"", document.revision);
    let DocumentInForce { revision, cameras, schedules, labels } = document;
    Ok(([(header::ETAG, tag)], Json(DocumentJson { node, revision, cameras, schedules, labels })).into_response())
}

/// Changes it: the node validates the whole document, and puts it in force or says what is wrong.
#[utoipa::path(patch, path = "/nodes/{node}/document", tag = "cameras",
    params(("node" = String, Path), ("if-match" = String, Header, description = "The revision that was seen: `\"12\"`")),
    request_body = ChangeAsked,
    responses((status = 200, body = ChangeJson), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem), (status = 504, body = Problem)))]
pub(super) async fn change(
    api: State,
    visitor: Visitor,
    Path(node): Path<String>,
    headers: HeaderMap,
    Body(asked): Body<ChangeAsked>,
) -> Answer<Json<ChangeJson>> {
    visitor.may(Action::CameraEdit, &Object::Node(&node))?;
    let base_revision = seen(&headers)?;
    let reason = asked.reason.map(|r| r.trim().to_owned()).filter(|r| !r.is_empty());
    let unsound = |text: &String| text.chars().count() > MAX_REASON || text.chars().any(char::is_control);
    if reason.as_ref().is_some_and(unsound) {
        return Err(invalid(format!("a reason is one line of at most {MAX_REASON} characters")));
    }
    if asked.edits.is_empty() || asked.edits.len() > MAX_EDITS {
        return Err(invalid(format!("a change has 1 to {MAX_EDITS} edits")));
    }
    for edit in &asked.edits {
        api.may_do(&visitor, &node, edit)?;
    }
    if !api.hub.connected(&node) {
        return Err(refuse(Code::NodeAway));
    }
    let document = api.document(&node).await?;
    if document.revision != base_revision {
        return Err(conflict(document.revision));
    }
    let what = if asked.check { "document, checked only" } else { "document" };
    let row = |edit: &Edit| {
        let (camera, words) = in_words(edit, &document);
        let about = About::of_camera(format!("{what}: {words}"), &node, camera);
        AccessEntry { reason: reason.clone(), ..visitor.entry(&api, Action::CameraEdit, about) }
    };
    api.record(asked.edits.iter().map(row).collect()).await?;
    let who = visitor.session.user.name.clone();
    let change = Change { base_revision, who, reason, check: asked.check, edits: asked.edits };
    match api.hub.inquire(&node, Inquiry::Change(change), ANSWER).await.map_err(unanswered)? {
        Reply::Changed(changed) => done(changed, base_revision).map(Json),
        _ => Err(Reply::unasked().into()),
    }
}

impl Api {
    async fn document(&self, node: &str) -> Answer<DocumentInForce> {
        match self.hub.inquire(node, Inquiry::Document, ANSWER).await.map_err(unanswered)? {
            Reply::Document(document) => Ok(document),
            _ => Err(Reply::unasked().into()),
        }
    }

    fn may_edit(&self, visitor: &Visitor, node: &str, camera: &str) -> Answer<()> {
        let asked = self.lent(node, camera, |lent| visitor.ask(Action::CameraEdit, &Object::Camera(lent)));
        self.verdict(Action::CameraEdit, asked)
    }

    fn may_do(&self, visitor: &Visitor, node: &str, edit: &Edit) -> Answer<()> {
        match edit {
            Edit::Put { camera } => {
                // It goes into the log before its node looks at it.
                let id = id_of(camera);
                id.parse::<CameraId>().map_err(|_| {
                    Refused::because(Code::DocumentRejected, "this is no id for a camera")
                        .with("key", "id")
                        .with("hint", "use 1 to 64 of a-z, 0-9 and -, for example ngo-12-a")
                })?;
                self.may_edit(visitor, node, id)
            }
            Edit::Remove { id } => {
                id.parse::<CameraId>().map_err(|_| refuse(Code::NotFound))?;
                self.may_edit(visitor, node, id)
            }
            // It is for every camera of the node.
            Edit::PutSchedule { .. } | Edit::RemoveSchedule { .. } => {
                let cameras = self.directory.cameras();
                let mut of_node = cameras.iter().filter(|((n, _), _)| n == node);
                of_node.try_for_each(|((_, camera), _)| self.may_edit(visitor, node, camera))?;
                match visitor.session.user.cut() {
                    // He reaches none that is still to come.
                    Some(cut) if !cut.iter().any(|(n, _)| n == node) => Err(refuse(Code::NotFound)),
                    _ => Ok(()),
                }
            }
        }
    }
}

fn id_of(camera: &Settings) -> &str {
    camera.0.get("id").and_then(Value::as_str).unwrap_or_default()
}

/// The revision in `If-Match`.
fn seen(headers: &HeaderMap) -> Answer<u64> {
    let tag = headers.get(header::IF_MATCH).and_then(|v| v.to_str().ok());
    let bare = tag.and_then(|t| t.trim().strip_prefix('"')?.strip_suffix('"'));
    bare.and_then(|t| t.parse().ok()).ok_or_else(|| invalid("If-Match names the revision that was seen, as \"12\""))
}

/// What the node said instead of an answer.
fn unanswered(error: Error) -> Refused {
    match error.kind() {
        ErrorKind::Unavailable => Refused::because(Code::Unavailable, error.message()),
        _ => error.into(),
    }
}

fn conflict(revision: u64) -> Refused {
    refuse(Code::Conflict).status(StatusCode::PRECONDITION_FAILED).with("revision", revision)
}

fn done(changed: Changed, base: u64) -> Answer<ChangeJson> {
    match changed {
        Changed::Applied { revision } => Ok(ChangeJson { revision, checked: false }),
        Changed::Checked => Ok(ChangeJson { revision: base, checked: true }),
        Changed::Conflict { revision } if revision == base => {
            let detail = "cameras.toml was changed on the node by hand and is not in force there: it has to be reloaded \
                          first (systemctl reload wardwatch)";
            Err(Refused::because(Code::Conflict, detail)
                .status(StatusCode::PRECONDITION_FAILED)
                .with("revision", revision))
        }
        Changed::Conflict { revision } => Err(conflict(revision)),
        Changed::Rejected { camera, key, message, hint } => Err(Refused::because(Code::DocumentRejected, message)
            .with("camera", camera)
            .with("key", key)
            .with("hint", hint)),
        Changed::Consent { widened } => {
            let widened = serde_json::to_value(widened)
                .map_err(|e| Error::new(ErrorKind::Internal, "an answer cannot be written as JSON").source(e))?;
            Err(refuse(Code::ConsentNeeded).with("widened", widened))
        }
    }
}

/// An edit for the log: its camera, and which keys change in kind.
fn in_words<'a>(edit: &'a Edit, document: &DocumentInForce) -> (Option<&'a str>, String) {
    match edit {
        Edit::Put { camera } => {
            let id = id_of(camera);
            let old = document.cameras.iter().find(|c| id_of(c) == id).map(|c| &c.0);
            let keys = keys(old, &camera.0).join(", ");
            let words = match old {
                None => format!("added, with {keys}"),
                Some(_) if keys.is_empty() => "nothing".to_owned(),
                Some(_) => keys,
            };
            (Some(id), words)
        }
        Edit::Remove { id } => (Some(id), "removed".to_owned()),
        Edit::PutSchedule { .. } => (None, "a schedule".to_owned()),
        Edit::RemoveSchedule { .. } => (None, "a schedule removed".to_owned()),
    }
}

/// Names of the keys that are another than before; never what they say.
fn keys(old: Option<&Map<String, Value>>, new: &Map<String, Value>) -> Vec<String> {
    let empty = Map::new();
    let old = old.unwrap_or(&empty);
    let differs = |key: &str| old.get(key) != new.get(key);
    let mut out = Vec::new();
    for key in KEYS {
        match (old.get(key).and_then(Value::as_object), new.get(key).and_then(Value::as_object)) {
            (before, Some(after)) if ["detect", "record"].contains(&key) => {
                let before = before.unwrap_or(&empty);
                let changes = |k: &&&str| match **k {
                    "password" => after.contains_key("password"),
                    // Not said: it stays.
                    "url" => after.contains_key("url") && before.get("url") != after.get("url"),
                    k => before.get(k) != after.get(k),
                };
                out.extend(STREAM_KEYS.iter().filter(changes).map(|k| format!("{key}.{k}")));
            }
            _ if differs(key) => out.push(key.to_owned()),
            _ => {}
        }
    }
    if new.keys().chain(old.keys()).any(|key| !KEYS.contains(&key.as_str()) && differs(key)) {
        out.push("other".to_owned());
    }
    out
}
