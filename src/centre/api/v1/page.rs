//! The page itself: files built from `web/`, embedded in the program. `build.rs` puts a placeholder where nobody has
//! built it.

use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::problem::{Code, refuse};

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/web/dist"]
struct Files;

/// Names below it carry a hash of their content.
const HASHED: &str = "assets/";

/// What the built page begins with; replaced by the path it is served under.
const BASE: &str = "<base href=\"/\">";

/// Serves a file of the page; `base_path` as in the configuration.
pub(super) fn file(base_path: &str, uri: &Uri, headers: &HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    let name = if path.is_empty() { "index.html" } else { path };
    let Some(file) = Files::get(name) else { return refuse(Code::NotFound).into_response() };
    let tag = format!("\"{}\"", hex::encode(file.metadata.sha256_hash()));
    if name == "index.html" {
        return index(base_path, file);
    }
    let caching = if name.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|t| t.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, mime(name).to_owned()),
        (header::CACHE_CONTROL, caching.to_owned()),
        (header::ETAG, tag),
    ];
    (headers, file.data).into_response()
}

fn index(base_path: &str, file: EmbeddedFile) -> Response {
    let text = String::from_utf8_lossy(&file.data).replace(BASE, &format!("<base href=\"{base_path}/\">"));
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (headers, text).into_response()
}

fn mime(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("html") => "text/html; charset=utf-8",
        Some("json" | "webmanifest") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}
