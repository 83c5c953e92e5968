//! Single pictures of recordings, for a time line. The node makes them, masked, where the owner's terms allow it; they are
//! kept nowhere.

use std::time::Duration;

use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use data_encoding::BASE64;
use serde::Deserialize;
use utoipa::IntoParams;

use super::caller::{About, Purpose, State, Visitor};
use super::input::{Asked, Path};
use super::live::key;
use super::problem::{Answer, Code, Problem, invalid, refuse};
use super::scout::unanswered;
use crate::base::{Error, ErrorKind};
use crate::centre::account::can::Action;
use crate::wire::inquiry::{Inquiry, MAX_STILL_WIDTH, Reply};

/// The header that says when the picture was taken, UTC milliseconds.
const AT: &str = "wardwatch-at-ms";
const WIDTH: u32 = 320;
/// A node has a queue of them.
const WITHIN: Duration = Duration::from_secs(20);

/// Which picture.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StillAsked {
    /// UTC milliseconds.
    at_ms: i64,
    /// Pixels, 640 at most. Default: 320.
    width: Option<u32>,
}

/// The recorded picture nearest to a moment, not after it; header `wardwatch-at-ms` says when it was taken.
#[utoipa::path(get, path = "/cameras/{node}/{camera}/still", tag = "live",
    params(("node" = String, Path), ("camera" = String, Path), StillAsked, Purpose),
    responses((status = 200, content_type = "image/jpeg"), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 503, body = Problem), (status = 504, body = Problem)))]
pub(super) async fn still(
    api: State,
    visitor: Visitor,
    Path((node, camera)): Path<(String, String)>,
    Asked(asked): Asked<StillAsked>,
) -> Answer {
    let key = key(&format!("{node}/{camera}"))?;
    api.may_look(&visitor, Action::RecordingView, &key)?;
    let width = asked.width.unwrap_or(WIDTH);
    if asked.at_ms < 0 || !(1..=MAX_STILL_WIDTH).contains(&width) {
        return Err(invalid(format!("at_ms is not before 1970, width 1 to {MAX_STILL_WIDTH}")));
    }
    api.is_there(&node)?;
    let about = About::of_camera(format!("stills {camera}"), &node, Some(&camera));
    visitor.see_lately(&api, Action::RecordingView, about).await?;
    let asked = Inquiry::Still { camera: key.1, at_ms: asked.at_ms, width };
    let Reply::Still(still) = api.hub.inquire(&node, asked, WITHIN).await.map_err(unanswered)? else {
        return Err(Reply::unasked().into());
    };
    if still.jpeg.is_empty() {
        return Err(refuse(Code::NotFound));
    }
    let broken = |_| Error::new(ErrorKind::Internal, "a node's picture cannot be read");
    let jpeg = BASE64.decode(still.jpeg.as_bytes()).map_err(broken)?;
    let at = HeaderValue::from(still.at_ms);
    Ok(([(header::CONTENT_TYPE.as_str(), HeaderValue::from_static("image/jpeg")), (AT, at)], jpeg).into_response())
}
