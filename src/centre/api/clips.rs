//! Delivery of clips. The order that counts: bytes synced, hash right, object durable, row synced, answer.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::time::timeout;

use super::unread::next;
use super::{BODY_TIMEOUT, Refusal, Shared, refuse};
use crate::base::{ErrorKind, Result, telemetry};
use crate::centre::incoming::{Appending, Entry};
use crate::centre::store::LinkStore;
use crate::wire::link::{ClipNote, MAX_PIECE, Trouble, UPLOAD_COMPLETE, UPLOAD_OFFSET, is_sha256};

type Answer<T = Response> = std::result::Result<T, Refusal>;

/// `POST /link/v1/clips`
pub(super) async fn announce<S: LinkStore>(
    State(shared): State<Arc<Shared<S>>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let node = shared.node(&headers, peer).await?;
    let note: ClipNote = serde_json::from_slice(&body).map_err(|_| refuse(Trouble::Malformed))?;
    note.check(shared.door.max_clip_bytes).map_err(|e| {
        let trouble = if e.kind() == ErrorKind::Exhausted { Trouble::TooLarge } else { Trouble::Malformed };
        Refusal { detail: Some(e.to_string()), ..refuse(trouble) }
    })?;
    let entry = busy(shared.door.incoming.entry(&node, &note.sha256))?;
    let (store, failed) = (&shared.door.store, |e| shared.failed(&e));
    if store.has_clip(node.clone(), note.sha256.clone()).await.map_err(failed)? {
        let bytes = note.bytes;
        store.add_clip(node, note, shared.door.clock.now().wall_ms).await.map_err(failed)?;
        entry.forget().await;
        return Ok(progress(bytes, true));
    }
    match entry.announce(&note, shared.door.clock.now().wall_ms).await {
        Ok(offset) => Ok(progress(offset, false)),
        Err(e) if e.kind() == ErrorKind::Unavailable => {
            Err(Refusal { detail: Some(e.to_string()), ..refuse(Trouble::TooMany) })
        }
        Err(e) => Err(shared.failed(&e)),
    }
}

/// `HEAD /link/v1/clips/{sha256}`
pub(super) async fn offset<S: LinkStore>(
    State(shared): State<Arc<Shared<S>>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(sha256): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let node = shared.node(&headers, peer).await?;
    let entry = entry(&shared, &node, &sha256)?;
    match entry.note().await.map_err(|e| shared.failed(&e))? {
        Some(_) => Ok(progress(entry.offset().await.map_err(|e| shared.failed(&e))?, false)),
        None => Err(refuse(Trouble::NotFound)),
    }
}

/// `PATCH /link/v1/clips/{sha256}`
pub(super) async fn append<S: LinkStore>(
    State(shared): State<Arc<Shared<S>>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(sha256): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let node = shared.node(&headers, peer).await?;
    let entry = entry(&shared, &node, &sha256)?;
    let failed = |e| shared.failed(&e);
    let note = entry.note().await.map_err(failed)?.ok_or_else(|| refuse(Trouble::NotFound))?;
    let claimed = headers.get(UPLOAD_OFFSET).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    let claimed = claimed.ok_or_else(|| refuse(Trouble::Malformed))?;
    let offset = entry.offset().await.map_err(failed)?;
    if claimed != offset {
        return Err(Refusal { offset: Some(offset), ..refuse(Trouble::WrongOffset) });
    }
    let room = note.bytes.saturating_sub(offset);
    let offset = match room {
        0 => offset,
        _ => take(&shared, &entry, body, offset, room).await?,
    };
    if offset < note.bytes {
        return Ok(progress(offset, false));
    }
    finish(&shared, node, note, &entry).await
}

/// Appends the body and syncs what came of it, even if the rest did not come; gives the new offset.
async fn take<S: LinkStore>(shared: &Shared<S>, entry: &Entry, body: Body, offset: u64, room: u64) -> Answer<u64> {
    let failed = |e| shared.failed(&e);
    let mut appending = entry.append(offset).await.map_err(failed)?;
    let (taken, end) = copy(&mut appending, body, room.min(MAX_PIECE as u64)).await.map_err(failed)?;
    appending.sync().await.map_err(failed)?;
    metrics::counter!(telemetry::CENTRE_CLIP_BYTES).increment(taken);
    match end {
        None => Ok(offset + taken),
        Some(trouble) => Err(Refusal { offset: Some(offset + taken), ..refuse(trouble) }),
    }
}

/// Writes a body of at most `limit` bytes: how many came, and why no more did.
async fn copy(to: &mut Appending, mut body: Body, limit: u64) -> Result<(u64, Option<Trouble>)> {
    let mut taken = 0u64;
    loop {
        let piece = match timeout(BODY_TIMEOUT, next(&mut body)).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(None) => return Ok((taken, None)),
            Ok(Some(Err(_))) | Err(_) => return Ok((taken, Some(Trouble::Malformed))),
        };
        if taken + piece.len() as u64 > limit {
            return Ok((taken, Some(Trouble::TooLarge)));
        }
        to.write(&piece).await?;
        taken += piece.len() as u64;
    }
}

/// Everything came: check it, keep it, index it, then say so.
async fn finish<S: LinkStore>(shared: &Shared<S>, node: String, note: ClipNote, entry: &Entry) -> Answer {
    let failed = |e| shared.failed(&e);
    if !entry.verify().await.map_err(failed)? {
        tracing::warn!(node, sha256 = note.sha256, "a clip is not what its hash says; its node begins again");
        return Err(refuse(Trouble::WrongHash));
    }
    let relative = entry.relative();
    let objects = &shared.door.objects;
    objects.keep(&note.sha256, note.bytes, &entry.whole(), Some(&relative)).await.map_err(failed)?;
    let (bytes, sha256) = (note.bytes, note.sha256.clone());
    let camera = note.camera.clone();
    shared.door.store.add_clip(node.clone(), note, shared.door.clock.now().wall_ms).await.map_err(failed)?;
    entry.forget().await;
    (shared.door.trouble)(None);
    metrics::counter!(telemetry::CENTRE_CLIPS).increment(1);
    tracing::info!(node, camera = camera.as_str(), bytes, sha256, "a clip is stored");
    Ok(progress(bytes, true))
}

fn entry<S: LinkStore>(shared: &Shared<S>, node: &str, sha256: &str) -> Answer<Entry> {
    if !is_sha256(sha256) {
        return Err(refuse(Trouble::NotFound));
    }
    busy(shared.door.incoming.entry(node, sha256))
}

fn busy(entry: Option<Entry>) -> Answer<Entry> {
    entry.ok_or_else(|| refuse(Trouble::Busy))
}

fn progress(offset: u64, complete: bool) -> Response {
    let complete = if complete { "?1" } else { "?0" };
    (StatusCode::NO_CONTENT, [(UPLOAD_OFFSET, offset.to_string()), (UPLOAD_COMPLETE, complete.to_owned())])
        .into_response()
}
