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

/// What the build lays beside a file, compressed, with the name of the coding (RFC 9110, 8.4.1): the smaller first.
const PACKED: [(&str, &str); 2] = [(".br", "br"), (".gz", "gzip")];

/// What the built page begins with; replaced by the path it is served under.
const BASE: &str = "<base href=\"/\">";

/// Serves a file of the page; `base_path` as in the configuration.
pub(super) fn file(base_path: &str, uri: &Uri, headers: &HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    let name = if path.is_empty() { "index.html" } else { path };
    // A compressed copy is no address of its own.
    if PACKED.iter().any(|(ending, _)| name.ends_with(ending)) {
        return refuse(Code::NotFound).into_response();
    }
    let Some(file) = Files::get(name) else { return refuse(Code::NotFound).into_response() };
    let tag = format!("\"{}\"", hex::encode(file.metadata.sha256_hash()));
    if name == "index.html" {
        return index(base_path, file);
    }
    let caching = if name.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|t| t.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, format!("W/{tag}"))]).into_response();
    }
    let about = [
        (header::CONTENT_TYPE, mime(name).to_owned()),
        (header::CACHE_CONTROL, caching.to_owned()),
        // Weak: the same for each coding.
        (header::ETAG, format!("W/{tag}")),
        (header::VARY, header::ACCEPT_ENCODING.as_str().to_owned()),
    ];
    let packed = PACKED.iter().filter(|(_, coding)| accepts(headers, coding));
    let packed = packed.filter_map(|(ending, coding)| Some((coding, Files::get(&format!("{name}{ending}"))?))).next();
    match packed {
        Some((coding, packed)) => (about, [(header::CONTENT_ENCODING, *coding)], packed.data).into_response(),
        None => (about, file.data).into_response(),
    }
}

/// Whether the coding is named in Accept-Encoding and not refused by a weight of nought (RFC 9110, 12.5.3).
fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    let named = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    named.flat_map(|v| v.split(',')).any(|item| {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse::<f32>().is_ok_and(|q| q <= 0.0));
        name.trim().eq_ignore_ascii_case(coding) && !refused
    })
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

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_coding_is_used_where_it_is_named_and_not_refused() {
        let asked =
            |value: &'static str| HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
        assert!(accepts(&asked("gzip, deflate, br"), "br"));
        assert!(accepts(&asked("gzip;q=0.5, BR; q=1"), "br"));
        assert!(!accepts(&asked("gzip, br;q=0"), "br"));
        assert!(!accepts(&asked("gzip, br; q=0.000"), "br"));
        assert!(!accepts(&asked("brotli, deflate"), "br"));
        assert!(!accepts(&HeaderMap::new(), "gzip"));
    }
}
