//! Answers that are often the same: a weak tag of their content, so that whoever has it already is told so in a line.
//! Private, and asked for each time: nobody is shown what he may not see any more. Never for pictures and films.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::problem::Answer;
use crate::base::{Error, ErrorKind};

/// `value` as JSON, or that it has not changed.
pub(super) fn tagged(headers: &HeaderMap, value: &impl Serialize) -> Answer<Response> {
    let body = serde_json::to_vec(value)
        .map_err(|e| Error::new(ErrorKind::Internal, "an answer cannot be written as JSON").source(e))?;
    let tag = format!("W/\"{}\"", hex::encode(&Sha256::digest(&body)[..12]));
    // Of another session it is another answer.
    let caching = [(header::CACHE_CONTROL, "private, no-cache"), (header::VARY, "cookie")];
    if is_known(headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, caching, [(header::ETAG, tag)]).into_response());
    }
    let kind = (header::CONTENT_TYPE, "application/json".to_owned());
    Ok((caching, [(header::ETAG, tag), kind], body).into_response())
}

/// Whether whoever asks has what `tag` is of (RFC 9110, weak comparison).
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    known.is_some_and(|known| known.split(',').any(|k| bare(k) == bare(tag)))
}
