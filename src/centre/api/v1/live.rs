//! Live pictures and streams for people, and what a camera has recorded. A WebSocket is permitted and written down before
//! it is opened, and asked again every few seconds: a session that ended, or terms that changed, end it.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::ws::{Message, WebSocket};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{FuturesUnordered, SplitSink};
use futures_util::{FutureExt, SinkExt};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use utoipa::IntoParams;

use super::caller::{About, Purpose, State, Visitor, from_our_page};
use super::input::{Asked, Path, Upgrade};
use super::problem::{Answer, Code, Problem, invalid, refuse};
use super::stream::ended;
use super::{Api, Shared};
use crate::base::types::{CameraId, StreamRole};
use crate::centre::account::can::{Action, Object};
use crate::centre::live::{Frames, LiveState, LiveStream, Piece, View};
use crate::wire::channel::Emergency;
use crate::wire::inquiry::Recordings;

/// Cameras on one wall.
const WALL: usize = 64;
/// How often it is asked whether whoever looks still may.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Whoever looks is asked for a sign of life this often, also when there is nothing to show.
const PING: Duration = Duration::from_secs(10);
/// Who gives none for so long has gone without a word.
const SILENT: Duration = Duration::from_secs(35);
/// A message that does not go for so long never will.
const SENDING: Duration = Duration::from_secs(10);
/// A single picture is there within this, or there is none.
const PICTURE: Duration = Duration::from_secs(8);

/// What of a wall is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WallAsked {
    /// `<node>/<camera>`, 64 at most.
    #[serde(default)]
    camera: Vec<String>,
    /// Pictures a second, 2 at most.
    fps: Option<f32>,
}

/// Which camera.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OneAsked {
    /// `<node>/<camera>`
    camera: String,
    /// `record` or `detect`; without it, or where there is only one, the better one that there is.
    #[param(value_type = Option<String>)]
    stream: Option<StreamRole>,
}

/// From when to when, UTC milliseconds.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RangeAsked {
    from_ms: i64,
    to_ms: i64,
}

pub(super) type Key = (String, CameraId);

pub(super) fn key(text: &str) -> Answer<Key> {
    let parts = text.split_once('/').and_then(|(node, camera)| Some((node.to_owned(), camera.parse().ok()?)));
    parts.ok_or_else(|| invalid("a camera is <node>/<camera>"))
}

impl Api {
    /// Whether `visitor` may look at a camera live now.
    pub(super) fn may_look(&self, visitor: &Visitor, action: Action, (node, camera): &Key) -> Answer<()> {
        self.directory.get(node, camera.as_str()).ok_or_else(|| refuse(Code::NotFound))?;
        let asked = self.lent(node, camera.as_str(), |lent| visitor.ask(action, &Object::Camera(lent)));
        self.verdict(action, asked)
    }

    /// What the node is told where the owner's terms alone do not allow it.
    fn emergency(&self, node: &str, camera: &CameraId) -> Option<Emergency> {
        self.directory.emergency(node, camera.as_str(), self.clock.now().wall_ms)
    }

    /// Asks again, with the session as it is now.
    async fn may_still_look(&self, visitor: &mut Visitor, keys: &[Key]) -> bool {
        match self.accounts.who(&visitor.token).await {
            Ok(Some(session)) => visitor.session = session,
            _ => return false,
        }
        keys.iter().all(|key| self.may_look(visitor, Action::LiveView, key).is_ok())
    }
}

async fn record(api: &Api, visitor: &Visitor, what: &str, keys: &[Key]) -> Answer<()> {
    let about = |(node, camera): &Key| About::of_camera(what, node, Some(camera.as_str()));
    api.record(keys.iter().map(|key| visitor.entry(api, Action::LiveView, about(key))).collect()).await
}

fn reason(state: LiveState) -> (&'static str, Option<&'static str>) {
    match state {
        LiveState::Waiting => ("waiting", None),
        LiveState::Ok => ("ok", None),
        LiveState::Away => ("away", None),
        LiveState::Refused(reason) => ("refused", Some(reason.as_str())),
        LiveState::Masked => ("masked", None),
        LiveState::Ended(reason) => ("away", Some(reason.as_str())),
    }
}

/// Many cameras over one connection: a JSON head with its length before it, then the JPEG; states as text.
#[utoipa::path(get, path = "/live/wall", tag = "live", params(WallAsked, Purpose),
    responses((status = 101, description = "WebSocket"), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn wall(
    api: State,
    visitor: Visitor,
    headers: HeaderMap,
    Asked(asked): Asked<WallAsked>,
    Upgrade(upgrade): Upgrade,
) -> Answer<Response> {
    let keys = asked.camera.iter().map(|text| key(text)).collect::<Answer<Vec<Key>>>()?;
    if keys.is_empty() || keys.len() > WALL {
        return Err(invalid(format!("a wall has 1 to {WALL} cameras")));
    }
    begin(&api, &visitor, &headers, &keys, "live wall").await?;
    let fps = asked.fps.unwrap_or(1.0);
    Ok(upgrade.max_message_size(1024).on_upgrade(move |socket| show_wall(api.0, visitor, socket, keys, fps)))
}

/// One camera in full, as fragmented MP4: its media type as text, the init part, fragments.
#[utoipa::path(get, path = "/live/camera", tag = "live", params(OneAsked, Purpose),
    responses((status = 101, description = "WebSocket"), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn camera(
    api: State,
    visitor: Visitor,
    headers: HeaderMap,
    Asked(asked): Asked<OneAsked>,
    Upgrade(upgrade): Upgrade,
) -> Answer<Response> {
    let keys = vec![key(&asked.camera)?];
    begin(&api, &visitor, &headers, &keys, "live stream").await?;
    Ok(upgrade.max_message_size(1024).on_upgrade(move |socket| show_stream(api.0, visitor, socket, keys, asked.stream)))
}

/// What the camera shows now.
#[utoipa::path(get, path = "/cameras/{node}/{camera}/picture", tag = "live",
    params(("node" = String, Path), ("camera" = String, Path), Purpose),
    responses((status = 200, content_type = "image/jpeg"), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn picture(
    api: State,
    visitor: Visitor,
    Path((node, camera)): Path<(String, String)>,
) -> Answer<Response> {
    let key = key(&format!("{node}/{camera}"))?;
    api.may_look(&visitor, Action::LiveView, &key)?;
    let about = About::of_camera(format!("picture {camera}"), &node, Some(&camera));
    visitor.see_lately(&api, Action::LiveView, about).await?;
    let mut frames = api.hub.frames(&node, &key.1, 1.0, api.emergency(&node, &key.1));
    let first = async {
        loop {
            let view = frames.view();
            match view.picture {
                Some(picture) => break Some(picture),
                None if matches!(view.state, LiveState::Waiting | LiveState::Ok) => drop(frames.next().await),
                None => break None,
            }
        }
    };
    let picture = timeout(PICTURE, first).await.ok().flatten().ok_or_else(|| refuse(Code::NotFound))?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg")], picture.jpeg.clone()).into_response())
}

/// What the camera's node has recorded, and why not where it has not.
#[utoipa::path(get, path = "/cameras/{node}/{camera}/recordings", tag = "live",
    params(("node" = String, Path), ("camera" = String, Path), RangeAsked, Purpose),
    responses((status = 200, body = Object), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 503, body = Problem)))]
pub(super) async fn recordings(
    api: State,
    visitor: Visitor,
    Path((node, camera)): Path<(String, String)>,
    Asked(asked): Asked<RangeAsked>,
) -> Answer<Json<Recordings>> {
    let key = key(&format!("{node}/{camera}"))?;
    api.may_look(&visitor, Action::RecordingView, &key)?;
    let about = About::of_camera(format!("recordings {camera}"), &node, Some(&camera));
    visitor.see_lately(&api, Action::RecordingView, about).await?;
    Ok(Json(api.hub.recordings(&node, &key.1, asked.from_ms, asked.to_ms).await?))
}

/// Everything before a connection is opened.
async fn begin(api: &Api, visitor: &Visitor, headers: &HeaderMap, keys: &[Key], what: &str) -> Answer<()> {
    // A browser opens a WebSocket for any page.
    if !from_our_page(headers, api.web.public_url.as_ref()) {
        return Err(refuse(Code::CrossSite));
    }
    for key in keys {
        api.may_look(visitor, Action::LiveView, key)?;
    }
    record(api, visitor, what, keys).await
}

async fn end(api: &Api, visitor: &Visitor, what: &str, keys: &[Key]) {
    if record(api, visitor, what, keys).await.is_err() {
        tracing::error!("the end of a live view is not in the access log");
    }
}

async fn say(sink: &mut SplitSink<WebSocket, Message>, message: Message) -> Option<()> {
    timeout(SENDING, sink.send(message)).await.ok()?.ok()
}

async fn show_wall(api: Shared, mut visitor: Visitor, socket: WebSocket, keys: Vec<Key>, fps: f32) {
    let (mut sink, mut hears) = socket.split();
    let watch = |(node, camera): &Key| {
        (api.hub.frames(node, camera, fps, api.emergency(node, camera)), (node.clone(), camera.clone()))
    };
    let all = keys.iter().map(watch).collect();
    tokio::select! {
        _ = keep_showing(&mut sink, all) => {}
        () = over(&api, &mut visitor, &keys, &mut hears) => {}
    }
    end(&api, &visitor, "live wall end", &keys).await;
}

/// Until nobody takes it any more.
async fn keep_showing(sink: &mut SplitSink<WebSocket, Message>, all: Vec<(Frames, Key)>) -> Option<()> {
    let mut told: HashMap<Key, LiveState> = HashMap::new();
    for (frames, key) in &all {
        told.insert(key.clone(), frames.view().state);
        show(sink, key, &frames.view(), true).await?;
    }
    let next = |(mut frames, key): (Frames, Key)| async move { (frames.next().await, frames, key) }.boxed();
    let mut coming: FuturesUnordered<_> = all.into_iter().map(next).collect();
    let mut ping = interval(PING);
    loop {
        tokio::select! {
            _ = ping.tick() => say(sink, Message::Ping(Bytes::new())).await?,
            came = coming.next() => {
                let (view, frames, key) = came?;
                let changed = told.insert(key.clone(), view.state) != Some(view.state);
                show(sink, &key, &view, changed).await?;
                coming.push(next((frames, key)));
            }
        }
    }
}

/// One camera's state, if it is to be said, and its picture.
async fn show(
    sink: &mut SplitSink<WebSocket, Message>,
    (node, camera): &Key,
    view: &View,
    changed: bool,
) -> Option<()> {
    if changed {
        let (state, why) = reason(view.state);
        let said = json!({ "camera": format!("{node}/{camera}"), "state": state, "reason": why });
        say(sink, Message::text(said.to_string())).await?;
    }
    let Some(picture) = &view.picture else { return Some(()) };
    let head = json!({
        "node": node, "camera": camera.as_str(), "at_ms": picture.at_ms,
        "fps": (picture.fps * 100.0).round() / 100.0, "width": picture.width, "height": picture.height,
    });
    let head = head.to_string();
    let bytes = [&(head.len() as u32).to_be_bytes()[..], head.as_bytes(), &picture.jpeg].concat();
    say(sink, Message::Binary(bytes.into())).await
}

async fn show_stream(api: Shared, mut visitor: Visitor, socket: WebSocket, keys: Vec<Key>, role: Option<StreamRole>) {
    let (mut sink, mut hears) = socket.split();
    let [(node, camera)] = &keys[..] else { return };
    let mut stream = api.hub.stream(node, camera, role, api.emergency(node, camera));
    tokio::select! {
        _ = play(&mut sink, &mut stream) => {}
        () = over(&api, &mut visitor, &keys, &mut hears) => {}
    }
    drop(stream);
    end(&api, &visitor, "live stream end", &keys).await;
}

async fn play(sink: &mut SplitSink<WebSocket, Message>, stream: &mut LiveStream) -> Option<()> {
    let mut init: Option<(String, Bytes)> = None;
    let mut ping = interval(PING);
    loop {
        let piece = tokio::select! {
            _ = ping.tick() => {
                say(sink, Message::Ping(Bytes::new())).await?;
                continue;
            }
            piece = stream.next() => piece?,
        };
        match piece {
            Piece::Init { mime, bytes } => init = Some((mime, bytes)),
            Piece::Fragment { at_ms, bytes, .. } => {
                // The first fragment's time is the stream's.
                if let Some((mime, first)) = init.take() {
                    say(sink, Message::text(json!({ "mime": mime, "at_ms": at_ms }).to_string())).await?;
                    say(sink, Message::Binary(first)).await?;
                }
                say(sink, Message::Binary(bytes)).await?;
            }
            Piece::End(state) => {
                let (state, why) = reason(state);
                return say(sink, Message::text(json!({ "state": state, "reason": why }).to_string())).await;
            }
        }
    }
}

/// Resolves when whoever looks has gone, may look no more, or the centre stops.
async fn over(
    api: &Api,
    visitor: &mut Visitor,
    keys: &[Key],
    hears: &mut futures_util::stream::SplitStream<WebSocket>,
) {
    let mut again = interval(ASK_AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shutdown = api.shutdown.clone();
    let mut alive = Instant::now();
    loop {
        tokio::select! {
            () = ended(&mut shutdown) => return,
            heard = hears.next() => match heard {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => alive = Instant::now(),
            },
            _ = again.tick() => {
                if alive.elapsed() > SILENT || !api.may_still_look(visitor, keys).await {
                    return;
                }
            }
        }
    }
}
