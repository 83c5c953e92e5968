//! What lies under the cameras on the map: files of this machine, by numbers only, so that no name leads elsewhere.

use std::path::Path as FilePath;

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::{State, Visitor};
use super::input::Path;
use super::problem::{Answer, Code, Problem, refuse};
use super::tag::is_known;
use crate::base::Error;
use crate::centre::account::can::{Action, Object};

/// The largest picture of a ward, in bytes.
const MAX_PLAN: u64 = 32 << 20;
/// The largest tile, in bytes.
const MAX_TILE: u64 = 2 << 20;
/// What a tile may be.
const ENDINGS: [&str; 3] = ["png", "jpg", "webp"];

/// What lies under the cameras.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MapJson {
    /// One picture, at `/map/plan`.
    plan: Option<PlanJson>,
    /// Tiles, at `/map/tiles/{z}/{x}/{y}`.
    tiles: Option<TilesJson>,
}

/// Where on earth the picture is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanJson {
    /// South-west and north-east, latitude and longitude each.
    corners: [[f64; 2]; 2],
}

/// Which levels there are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TilesJson {
    min_zoom: u8,
    max_zoom: u8,
}

/// What lies under the cameras on the map.
#[utoipa::path(get, path = "/map", tag = "map",
    responses((status = 200, body = MapJson), (status = 401, body = Problem)))]
pub(super) async fn map(api: State, visitor: Visitor) -> Answer<Json<MapJson>> {
    visitor.may(Action::CameraView, &Object::Ward)?;
    let map = &api.web.map;
    Ok(Json(MapJson {
        plan: map.plan.as_ref().map(|p| PlanJson { corners: p.corners }),
        tiles: map.tiles.as_ref().map(|t| TilesJson { min_zoom: t.min_zoom, max_zoom: t.max_zoom }),
    }))
}

/// The picture of the ward.
#[utoipa::path(get, path = "/map/plan", tag = "map",
    responses((status = 200, content_type = "image/png"), (status = 304), (status = 401, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn plan(api: State, visitor: Visitor, headers: HeaderMap) -> Answer {
    visitor.may(Action::CameraView, &Object::Ward)?;
    let plan = api.web.map.plan.as_ref().ok_or_else(|| refuse(Code::NotFound))?;
    file(&plan.file, MAX_PLAN, &headers).await?.ok_or_else(|| refuse(Code::NotFound))
}

/// A tile.
#[utoipa::path(get, path = "/map/tiles/{z}/{x}/{y}", tag = "map",
    params(("z" = u8, Path), ("x" = u32, Path), ("y" = u32, Path)),
    responses((status = 200, content_type = "image/png"), (status = 304), (status = 401, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn tile(
    api: State,
    visitor: Visitor,
    Path((z, x, y)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Answer {
    visitor.may(Action::CameraView, &Object::Ward)?;
    let tiles = api.web.map.tiles.as_ref().ok_or_else(|| refuse(Code::NotFound))?;
    let place = place(&z, &x, &y).filter(|(z, _, _)| (tiles.min_zoom..=tiles.max_zoom).contains(z));
    let (z, x, y) = place.ok_or_else(|| refuse(Code::NotFound))?;
    let column = tiles.directory.join(z.to_string()).join(x.to_string());
    for ending in ENDINGS {
        if let Some(found) = file(&column.join(format!("{y}.{ending}")), MAX_TILE, &headers).await? {
            return Ok(found);
        }
    }
    Err(refuse(Code::NotFound))
}

/// Three numbers of a tile that can be there; nothing else.
fn place(z: &str, x: &str, y: &str) -> Option<(u8, u32, u32)> {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if ![z, x, y].into_iter().all(digits) {
        return None;
    }
    let (z, x, y): (u8, u32, u32) = (z.parse().ok()?, x.parse().ok()?, y.parse().ok()?);
    let side = 1u32.checked_shl(z.into())?;
    (x < side && y < side).then_some((z, x, y))
}

/// A picture of at most `most` bytes; none where there is no such file.
async fn file(path: &FilePath, most: u64, headers: &HeaderMap) -> Answer<Option<Response>> {
    let failed = |e| Error::io("cannot read the map", path, e);
    let about = match tokio::fs::metadata(path).await {
        Ok(about) => about,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(failed(e).into()),
    };
    if !about.is_file() {
        return Ok(None);
    }
    if about.len() > most {
        tracing::warn!(path = %path.display(), most, "a file of the map is too large and not shown");
        return Ok(None);
    }
    let changed = about.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    let tag = format!("\"{:x}-{:x}\"", about.len(), changed.as_micros());
    // It shows streets and nobody in them; whoever asks has to be logged in each time all the same.
    let caching = (header::CACHE_CONTROL, "private, no-cache");
    if is_known(headers, &tag) {
        return Ok(Some((StatusCode::NOT_MODIFIED, [caching], [(header::ETAG, tag)]).into_response()));
    }
    let bytes = tokio::fs::read(path).await.map_err(failed)?;
    let kind = match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        _ => "image/jpeg",
    };
    Ok(Some(([caching, (header::CONTENT_TYPE, kind)], [(header::ETAG, tag)], bytes).into_response()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_of_tiles_that_can_be_there_are_taken() {
        assert_eq!(place("16", "52137", "28851"), Some((16, 52137, 28851)));
        assert_eq!(place("0", "0", "0"), Some((0, 0, 0)));
        for (z, x, y) in [
            ("16", "65536", "0"),
            ("0", "1", "0"),
            ("-1", "0", "0"),
            ("+1", "0", "0"),
            ("1", "..", "0"),
            ("1", "0", "../../etc/passwd"),
            ("1", "0", "0.png"),
            ("1", "", "0"),
            ("32", "0", "0"),
            ("255", "0", "0"),
            ("1", "0", "99999999999"),
        ] {
            assert_eq!(place(z, x, y), None, "{z}/{x}/{y}");
        }
    }
}
