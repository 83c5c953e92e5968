//! The centre's end of the channel that a node opens: what the node tells goes to the store and to the [`Hub`], what the
//! hub asks goes to the node. A node that says nothing, or something that makes no sense, loses its channel.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};

use super::{Refusal, Shared};
use crate::base::{Error, ErrorKind, Result};
use crate::centre::Notice;
use crate::centre::live::{Hub, RENEW};
use crate::centre::store::{CameraInfoStore, LinkStore};
use crate::wire::channel::{
    Ask, MAX_BINARY, MAX_TEXT, PING_SECONDS, SILENCE_SECONDS, Tell, read_binary, read_tell, write_ask,
};

/// A message that does not go for so long never will.
const SENDING: Duration = Duration::from_secs(SILENCE_SECONDS);

/// `GET /link/v1/channel`
pub(super) async fn open<S: LinkStore + CameraInfoStore>(
    State(shared): State<Arc<Shared<S>>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> std::result::Result<Response, Refusal> {
    let node = shared.node(&headers, peer).await?;
    let upgrade = upgrade.max_message_size(MAX_TEXT.max(MAX_BINARY)).max_frame_size(MAX_BINARY);
    Ok(upgrade.on_upgrade(move |socket| async move { talk(&shared, &node, socket).await }))
}

async fn talk<S: LinkStore + CameraInfoStore>(shared: &Shared<S>, node: &str, socket: WebSocket) {
    let hub = &shared.door.hub;
    let mut closed = hub.closed();
    let (seat, asks) = hub.sit(node);
    tracing::info!(node, "its channel stands");
    let (mut sink, stream) = socket.split();
    let why = tokio::select! {
        // An error means that the hub is gone.
        _ = closed.wait_for(|closed| *closed) => Error::new(ErrorKind::Unavailable, "the centre stops"),
        Err(e) = listen(shared, node, stream) => e,
        Err(e) = speak(hub, node, seat, asks, &mut sink) => e,
    };
    hub.leave(node, seat);
    tracing::info!(node, "its channel is over: {why}");
    let why_not = why.message();
    // A reason has at most 123 bytes (RFC 6455, 5.5).
    let reason = why_not[..why_not.floor_char_boundary(120)].to_owned();
    let code = if why.kind() == ErrorKind::Invalid { close_code::POLICY } else { close_code::AWAY };
    let frame = CloseFrame { code, reason: reason.into() };
    timeout(Duration::from_secs(1), sink.send(Message::Close(Some(frame)))).await.ok();
}

async fn listen<S: LinkStore + CameraInfoStore>(
    shared: &Shared<S>,
    node: &str,
    mut stream: SplitStream<WebSocket>,
) -> Result<std::convert::Infallible> {
    loop {
        let message = timeout(Duration::from_secs(SILENCE_SECONDS), stream.next()).await;
        let silent = || Error::new(ErrorKind::Unavailable, format!("nothing was heard for {SILENCE_SECONDS} s"));
        match message.map_err(|_| silent())? {
            Some(Ok(Message::Text(text))) => match read_tell(text.as_str())? {
                Tell::Cameras { revision, cameras } => {
                    let now_ms = shared.door.clock.now().wall_ms;
                    // The node tells it again with its next channel.
                    shared.door.store.describe(node.to_owned(), revision, cameras.clone(), now_ms).await?;
                    (shared.door.notice)(Notice::Described { node: node.to_owned(), revision, cameras });
                }
                tell => shared.door.hub.told(node, tell),
            },
            Some(Ok(Message::Binary(bytes))) => {
                let (head, payload) = read_binary(&bytes)?;
                shared.door.hub.shown(node, head, payload);
            }
            Some(Ok(Message::Close(_))) | None => {
                return Err(Error::new(ErrorKind::Unavailable, "the node closed it"));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Err(e)) => return Err(Error::new(ErrorKind::Unavailable, "the connection broke").source(e)),
        }
    }
}

async fn speak(
    hub: &Hub,
    node: &str,
    seat: u64,
    mut asks: mpsc::Receiver<Ask>,
    sink: &mut SplitSink<WebSocket, Message>,
) -> Result<std::convert::Infallible> {
    let (mut renew, mut ping) = (interval(RENEW), interval(Duration::from_secs(PING_SECONDS)));
    loop {
        let message = tokio::select! {
            ask = asks.recv() => match ask {
                Some(ask) => Message::text(write_ask(&ask)?),
                None => return Err(Error::new(ErrorKind::Unavailable, "another channel of this node took its place")),
            },
            _ = renew.tick() => {
                hub.renew(node, seat);
                continue;
            }
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        match timeout(SENDING, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(Error::new(ErrorKind::Unavailable, "the connection broke").source(e)),
            Err(_) => return Err(Error::new(ErrorKind::Unavailable, "the node takes nothing any more")),
        }
    }
}
