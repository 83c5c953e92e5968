//! Live: a wall of pictures over one WebSocket, one camera's own stream over another, and what there is of recordings.
//! Each beginning and end is in the access log; a session that ends takes what it looks at along. Nothing is kept.

use std::time::Duration;

use axum::Json;
use axum::extract::Path;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{interval, timeout};
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::caller::{About, State, Visitor, from_our_page};
use super::input::Asked;
use super::problem::{Answer, Code, Problem, invalid, refuse};
use crate::base::types::CameraId;
use crate::centre::account::CameraKey;
use crate::centre::account::can::{Action, Denial, Object};
use crate::centre::live::{Frames, LiveState, LiveStream, Picture, Piece, View};

/// Cameras on one wall.
const MAX_CAMERAS: usize = 64;
/// Whether the session still stands, and the owner's terms still allow it, is looked at this often.
const CHECK: Duration = Duration::from_secs(10);
/// A message that does not go for so long never will.
const SENDING: Duration = Duration::from_secs(15);

/// Which cameras.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wall {
    /// `node/camera`, 1 to 64 times.
    #[serde(default)]
    camera: Vec<String>,
    /// Pictures a second that are wanted, at most 2. Default: 1.
    fps: Option<f32>,
}

/// Of when.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Span {
    from_ms: i64,
    /// 31 days after `from_ms` at most.
    to_ms: i64,
}

/// What a node has of a camera's recordings.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordingsJson {
    segments: Vec<SpanJson>,
    gaps: Vec<GapJson>,
    /// There is more than fits: ask for a shorter time.
    cut: bool,
}

/// UTC milliseconds.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SpanJson {
    from_ms: i64,
    to_ms: i64,
}

/// A time of which nothing was recorded, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GapJson {
    from_ms: i64,
    to_ms: i64,
    reason: String,
}

/// A wall: binary messages of a `u32` (big endian) length, a JSON head of that length and a JPEG; text messages say how a
/// camera stands.
#[utoipa::path(get, path = "/live/wall", tag = "live", params(Wall),
    responses((status = 101), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn wall(
    api: State,
    visitor: Visitor,
    Asked(wall): Asked<Wall>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Answer<Response> {
    if !from_our_page(&headers) {
        return Err(refuse(Code::CrossSite));
    }
    if !(1..=MAX_CAMERAS).contains(&wall.camera.len()) {
        return Err(invalid(format!("a wall has 1 to {MAX_CAMERAS} cameras")));
    }
    let keys = wall.camera.iter().map(|c| key(c)).collect::<Answer<Vec<_>>>()?;
    let rows = keys.iter().filter(|key| api.may_watch(&visitor, key).is_ok());
    let entries = rows.map(|key| visitor.entry(&api, Action::LiveView, about("wall begins", key))).collect();
    api.record(entries).await?;
    let (api, fps) = (api.0, wall.fps.unwrap_or(1.0));
    Ok(upgrade.on_upgrade(move |socket| show_wall(api, visitor, keys, fps, socket)))
}

/// One camera in full: text with the type for a player, then the init part and fragments of an MP4 as binary messages.
#[utoipa::path(get, path = "/live/camera", tag = "live", params(Wall),
    responses((status = 101), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn camera(
    api: State,
    visitor: Visitor,
    Asked(wall): Asked<Wall>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Answer<Response> {
    if !from_our_page(&headers) {
        return Err(refuse(Code::CrossSite));
    }
    let [one] = wall.camera.as_slice() else { return Err(invalid("name one camera")) };
    let key = key(one)?;
    let asked = api.may_watch(&visitor, &key);
    api.verdict(Action::LiveView, asked)?;
    visitor.record(&api, Action::LiveView, about("stream begins", &key)).await?;
    let api = api.0;
    Ok(upgrade.on_upgrade(move |socket| show_camera(api, visitor, key, socket)))
}

/// What there is of a camera's recordings, and what not and why; asked of its node.
#[utoipa::path(get, path = "/cameras/{node}/{camera}/recordings", tag = "live",
    params(("node" = String, Path), ("camera" = String, Path), Span),
    responses((status = 200, body = RecordingsJson), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 503, body = Problem), (status = 504, body = Problem)))]
pub(super) async fn recordings(
    api: State,
    visitor: Visitor,
    Path((node, camera)): Path<(String, String)>,
    Asked(span): Asked<Span>,
) -> Answer<Json<RecordingsJson>> {
    api.directory.get(&node, &camera).ok_or_else(|| refuse(Code::NotFound))?;
    let asked = api.lent(&node, &camera, |lent| visitor.ask(Action::RecordingView, &Object::Camera(lent)));
    api.verdict(Action::RecordingView, asked)?;
    visitor.see(&api, Action::RecordingView, About::of_camera("list", &node, Some(&camera))).await?;
    let id = CameraId::try_from(camera).map_err(|_| refuse(Code::NotFound))?;
    let found = api.hub.recordings(&node, &id, span.from_ms, span.to_ms).await?;
    Ok(Json(RecordingsJson {
        segments: found.segments.iter().map(|s| SpanJson { from_ms: s.from_ms, to_ms: s.to_ms }).collect(),
        gaps: found
            .gaps
            .into_iter()
            .map(|g| GapJson { from_ms: g.from_ms, to_ms: g.to_ms, reason: g.reason })
            .collect(),
        cut: found.cut,
    }))
}

fn key(text: &str) -> Answer<CameraKey> {
    let (node, camera) = text.split_once('/').ok_or_else(|| invalid("a camera is written node/camera"))?;
    Ok((node.to_owned(), camera.to_owned()))
}

fn about(what: &str, (node, camera): &CameraKey) -> About {
    About::of_camera(what, node, Some(camera))
}

impl super::Api {
    /// Whether `visitor` may look at a camera now.
    fn may_watch(&self, visitor: &Visitor, (node, camera): &CameraKey) -> Result<(), Denial> {
        self.lent(node, camera, |lent| visitor.ask(Action::LiveView, &Object::Camera(lent)))
    }
}

/// Takes over how the visitor's account stands now; false when the session has ended.
async fn still_there(api: &Shared, visitor: &mut Visitor) -> bool {
    match api.accounts.who(&visitor.token).await {
        Ok(Some(session)) => {
            visitor.session = session;
            true
        }
        _ => false,
    }
}

async fn show_wall(api: Shared, mut visitor: Visitor, keys: Vec<CameraKey>, fps: f32, mut socket: WebSocket) {
    let mut shown = Vec::new();
    for key in keys {
        match (api.may_watch(&visitor, &key), CameraId::try_from(key.1.clone())) {
            (Ok(()), Ok(id)) => shown.push((api.hub.frames(&key.0, &id, fps, None), key)),
            (denied, _) => {
                let reason = denied.err().map_or("camera", Denial::as_str);
                if !say(&mut socket, &key, "refused", Some(reason)).await {
                    return;
                }
            }
        }
    }
    let watched: Vec<CameraKey> = shown.iter().map(|(_, key)| key.clone()).collect();
    for (frames, key) in &shown {
        if !send_view(&mut socket, frames.view(), key).await {
            return end(&api, &visitor, &watched, "wall ends").await;
        }
    }
    let mut next: FuturesUnordered<_> = shown.into_iter().map(|(frames, key)| following(frames, key)).collect();
    let (mut checks, mut shutdown) = (interval(CHECK), api.shutdown.clone());
    loop {
        let goes_on = tokio::select! {
            change = next.next(), if !next.is_empty() => match change {
                Some((view, frames, key)) => {
                    let sent = send_view(&mut socket, view, &key).await;
                    next.push(following(frames, key));
                    sent
                }
                None => true,
            },
            message = socket.recv() => matches!(message, Some(Ok(Message::Ping(_) | Message::Pong(_)))),
            _ = checks.tick() => {
                still_there(&api, &mut visitor).await && watched.iter().all(|k| api.may_watch(&visitor, k).is_ok())
            }
            () = super::stream::ended(&mut shutdown) => false,
        };
        if !goes_on {
            break;
        }
    }
    drop(next);
    end(&api, &visitor, &watched, "wall ends").await;
}

/// The next that there is of a camera.
async fn following(mut frames: Frames, key: CameraKey) -> (View, Frames, CameraKey) {
    (frames.next().await, frames, key)
}

async fn send_view(socket: &mut WebSocket, view: View, key: &CameraKey) -> bool {
    match (view.state, view.picture) {
        (LiveState::Ok, Some(picture)) => send(socket, Message::Binary(packed(key, &picture))).await,
        (state, _) => {
            let (word, reason) = words(state);
            say(socket, key, word, reason).await
        }
    }
}

fn packed((node, camera): &CameraKey, picture: &Picture) -> Bytes {
    let head = json!({
        "node": node,
        "camera": camera,
        "at_ms": picture.at_ms,
        "fps": picture.fps,
        "width": picture.width,
        "height": picture.height,
    })
    .to_string();
    let mut bytes = BytesMut::with_capacity(4 + head.len() + picture.jpeg.len());
    bytes.put_u32(head.len() as u32);
    bytes.put_slice(head.as_bytes());
    bytes.put_slice(&picture.jpeg);
    bytes.freeze()
}

fn words(state: LiveState) -> (&'static str, Option<&'static str>) {
    match state {
        LiveState::Waiting => ("waiting", None),
        LiveState::Ok => ("ok", None),
        LiveState::Away => ("away", None),
        LiveState::Refused(why) => ("refused", Some(why.as_str())),
        LiveState::Masked => ("masked", None),
        LiveState::Ended(why) => ("ended", Some(why.as_str())),
    }
}

async fn show_camera(api: Shared, mut visitor: Visitor, key: CameraKey, mut socket: WebSocket) {
    let Ok(id) = CameraId::try_from(key.1.clone()) else { return };
    let mut stream: LiveStream = api.hub.stream(&key.0, &id, None, None);
    let (mut checks, mut shutdown) = (interval(CHECK), api.shutdown.clone());
    loop {
        let goes_on = tokio::select! {
            piece = stream.next() => match piece {
                Some(Piece::Init { mime, bytes }) => {
                    let head = json!({ "mime": mime, "at_ms": api.clock.now().wall_ms }).to_string();
                    send(&mut socket, Message::text(head)).await && send(&mut socket, Message::Binary(bytes)).await
                }
                Some(Piece::Fragment { bytes, .. }) => send(&mut socket, Message::Binary(bytes)).await,
                None => false,
                Some(Piece::End(state)) => {
                    let (word, reason) = words(state);
                    say(&mut socket, &key, word, reason).await;
                    false
                }
            },
            message = socket.recv() => matches!(message, Some(Ok(Message::Ping(_) | Message::Pong(_)))),
            _ = checks.tick() => still_there(&api, &mut visitor).await && api.may_watch(&visitor, &key).is_ok(),
            () = super::stream::ended(&mut shutdown) => false,
        };
        if !goes_on {
            break;
        }
    }
    drop(stream);
    end(&api, &visitor, &[key], "stream ends").await;
}

async fn end(api: &Shared, visitor: &Visitor, keys: &[CameraKey], what: &str) {
    let entries = keys.iter().map(|key| visitor.entry(api, Action::LiveView, about(what, key))).collect();
    if let Err(e) = api.record(entries).await {
        tracing::error!("the end of a live view is not in the access log: {e:?}");
    }
}

async fn say(socket: &mut WebSocket, (node, camera): &CameraKey, state: &str, reason: Option<&str>) -> bool {
    let said = json!({ "camera": format!("{node}/{camera}"), "state": state, "reason": reason });
    send(socket, Message::text(said.to_string())).await
}

async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(SENDING, socket.send(message)).await, Ok(Ok(())))
}
