//! Pictures and clips: what was permitted and written down, and then only.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::caller::{About, Purpose, State, Visitor};
use super::input::{Asked, Path};
use super::problem::{Answer, Code, Problem, refuse};
use crate::centre::account::can::Action;
use crate::centre::store::query::{EventDetail, EventStore, EventSummary};
use crate::wire::link::{ClipNote, is_sha256};

/// Which picture.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct Which {
    /// Default: the newest that is here.
    sha256: Option<String>,
}

/// As what the picture of an event in a list is written down.
pub(super) fn of_thumbnail(event: &EventSummary) -> About {
    About::of_camera(format!("thumbnail {}", event.id), &event.node, event.camera.as_deref())
}

/// A picture of an event.
#[utoipa::path(get, path = "/events/{node}/{id}/snapshot", tag = "media",
    params(("node" = String, Path), ("id" = String, Path), Which, Purpose),
    responses((status = 200, content_type = "image/jpeg"), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn snapshot(
    api: State,
    visitor: Visitor,
    Path((node, id)): Path<(String, String)>,
    Asked(which): Asked<Which>,
) -> Answer {
    let detail = api.detail(&visitor, Action::SnapshotView, node, id).await?;
    let object = format!("snapshot {}", detail.summary.id);
    picture(&api, &visitor, &detail, which.sha256.as_deref(), object).await
}

/// The picture that a list shows: no wider than 320 pixels. The list wrote it down already.
#[utoipa::path(get, path = "/events/{node}/{id}/thumbnail", tag = "media",
    params(("node" = String, Path), ("id" = String, Path), Purpose),
    responses((status = 200, content_type = "image/jpeg"), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn thumbnail(api: State, visitor: Visitor, Path((node, id)): Path<(String, String)>) -> Answer {
    let summary = api.events.summary(node.clone(), id.clone()).await?.ok_or_else(|| refuse(Code::NotFound))?;
    api.permit(&visitor, Action::SnapshotView, &summary)?;
    let newest = match &summary.snapshot {
        Some(sha256) => api.events.snapshot(sha256.clone()).await?.map(|path| (sha256.clone(), path)),
        None => None,
    };
    let found = match newest {
        Some(found) => Some(found),
        // An earlier picture is better than none.
        None => {
            let detail = api.detail(&visitor, Action::SnapshotView, node, id).await?;
            detail.snapshots.into_iter().rev().find_map(|s| Some((s.sha256, s.path?)))
        }
    };
    let (sha256, path) = found.ok_or_else(|| refuse(Code::NotFound))?;
    visitor.see(&api, Action::SnapshotView, of_thumbnail(&summary)).await?;
    let jpeg = api.thumbnails.of(&sha256, path).await?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response())
}

async fn picture(api: &Api, visitor: &Visitor, detail: &EventDetail, sha256: Option<&str>, object: String) -> Answer {
    let newest = detail.summary.snapshot.as_deref();
    let here = || detail.snapshots.iter().filter(|s| s.path.is_some());
    let found = match sha256 {
        Some(wanted) => here().find(|s| s.sha256 == wanted),
        None => here().find(|s| Some(s.sha256.as_str()) == newest).or_else(|| here().next_back()),
    };
    let path = found.and_then(|s| s.path.clone()).ok_or_else(|| refuse(Code::NotFound))?;
    let summary = &detail.summary;
    visitor.see(api, Action::SnapshotView, About::of_camera(object, &summary.node, summary.camera.as_deref())).await?;
    let jpeg = tokio::fs::read(&path).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => refuse(Code::NotFound),
        _ => crate::base::Error::io("cannot read a picture", &path, e).into(),
    })?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response())
}

/// A clip of an event, whole or in ranges.
#[utoipa::path(get, path = "/events/{node}/{id}/clips/{sha256}", tag = "media",
    params(("node" = String, Path), ("id" = String, Path), ("sha256" = String, Path), Purpose),
    responses((status = 200, content_type = "video/mp4"), (status = 206, content_type = "video/mp4"),
        (status = 403, body = Problem), (status = 404, body = Problem), (status = 416, body = Problem)))]
pub(super) async fn clip(
    api: State,
    visitor: Visitor,
    Path((node, id, sha256)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Answer {
    let detail = api.detail(&visitor, Action::ClipView, node, id).await?;
    let clip = detail.clips.iter().find(|c| c.sha256 == sha256).ok_or_else(|| refuse(Code::NotFound))?;
    let summary = &detail.summary;
    let about = About::of_camera(format!("clip {sha256}"), &summary.node, summary.camera.as_deref());
    visitor.see(&api, Action::ClipView, about).await?;
    film(&api, clip, &headers).await
}

/// The bytes of a clip, or the range that is asked for (RFC 9110, one range).
pub(super) async fn film(api: &Api, clip: &ClipNote, headers: &HeaderMap) -> Answer {
    if !is_sha256(&clip.sha256) {
        return Err(refuse(Code::NotFound));
    }
    let tag = format!("\"{}\"", clip.sha256);
    let text = |name| headers.get(name).and_then(|v: &header::HeaderValue| v.to_str().ok());
    if text(header::IF_NONE_MATCH).is_some_and(|known| known.contains(&tag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    // A range of another content is no range of this one.
    let same = text(header::IF_RANGE).is_none_or(|known| known == tag);
    let range = match text(header::RANGE).filter(|_| same).map_or(Wanted::Whole, |r| parse_range(r, clip.bytes)) {
        Wanted::Range(from, to) => Some((from, to)),
        Wanted::Whole => None,
        Wanted::Nothing => {
            let size = format!("bytes */{}", clip.bytes);
            return Ok(([(header::CONTENT_RANGE, size)], refuse(Code::Range)).into_response());
        }
    };
    let (from, to) = range.unwrap_or((0, clip.bytes));
    let stream = api.objects.read(&clip.sha256, from..to).await?;
    let mut response = Response::new(Body::from_stream(stream));
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    *response.status_mut() = status;
    let set = [
        (header::CONTENT_TYPE, "video/mp4".to_owned()),
        (header::CONTENT_LENGTH, (to - from).to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, tag),
        (header::CONTENT_RANGE, format!("bytes {from}-{}/{}", to.saturating_sub(1), clip.bytes)),
    ];
    for (name, value) in set {
        if (name != header::CONTENT_RANGE || range.is_some())
            && let Ok(value) = value.parse()
        {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// What of a clip is asked for.
#[derive(Debug, PartialEq)]
enum Wanted {
    /// No range, or one that is not understood, which counts as none (RFC 9110, section 14.2); several are not made either.
    Whole,
    /// The first byte and the one after the last.
    Range(u64, u64),
    /// There are no such bytes.
    Nothing,
}

fn parse_range(text: &str, bytes: u64) -> Wanted {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().unwrap_or(u64::MAX));
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|r| r.trim().split_once('-')) else {
        return Wanted::Whole;
    };
    let (from, to) = match (first, last) {
        ("", "") => return Wanted::Whole,
        ("", last) => match number(last) {
            Some(n) => (bytes.saturating_sub(n), bytes),
            None => return Wanted::Whole,
        },
        (first, "") => match number(first) {
            Some(from) => (from, bytes),
            None => return Wanted::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(from), Some(last)) if from <= last => (from, last.saturating_add(1).min(bytes)),
            _ => return Wanted::Whole,
        },
    };
    if from < to { Wanted::Range(from, to) } else { Wanted::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        assert_eq!(parse_range("bytes=0-99", 1000), Wanted::Range(0, 100));
        assert_eq!(parse_range("bytes=900-", 1000), Wanted::Range(900, 1000));
        assert_eq!(parse_range("bytes=-100", 1000), Wanted::Range(900, 1000));
        assert_eq!(parse_range("bytes=-5000", 1000), Wanted::Range(0, 1000));
        assert_eq!(parse_range("bytes=999-5000", 1000), Wanted::Range(999, 1000));
        for none in ["bytes=1000-", "bytes=-0", "bytes=1000-2000", "bytes=99999999999999999999-"] {
            assert_eq!(parse_range(none, 1000), Wanted::Nothing, "{none}");
        }
        for ignored in ["bytes=5-4", "bytes=a-b", "bytes=0-1,3-4", "items=0-1", "bytes=-", "bytes=+1-2", "0-1"] {
            assert_eq!(parse_range(ignored, 1000), Wanted::Whole, "{ignored}");
        }
    }
}
