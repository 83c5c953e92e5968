//! `[centre.web]`: where the page and the API are served.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;
use url::Url;

use super::Document;
use super::link::{TlsFiles, tls_files, web_address};
use crate::base::Result;

/// `[centre.web]`
#[derive(Clone, Debug, PartialEq)]
pub struct WebConfig {
    pub listen: SocketAddr,
    /// PEM files; without them the door is plaintext.
    pub tls: Option<TlsFiles>,
    /// Before every path, for example `/wardwatch`; empty: none. Begins with a slash and does not end with one.
    pub base_path: String,
    /// Proxies that are believed when they say who asks and whether it came encrypted.
    pub trusted_proxies: Vec<IpAddr>,
    /// What people type to reach the page, base path included, without a slash at the end.
    pub public_url: Option<Url>,
    /// What lies under the cameras on the map.
    pub map: MapConfig,
}

/// `[centre.web.map]`: files of this machine; the page asks nobody else for a map.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MapConfig {
    pub plan: Option<PlanConfig>,
    pub tiles: Option<TilesConfig>,
}

/// One picture for the whole ward.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanConfig {
    pub file: PathBuf,
    /// South-west and north-east, latitude and longitude each.
    pub corners: [[f64; 2]; 2],
}

/// A directory of tiles: `{z}/{x}/{y}` with `.png`, `.jpg` or `.webp`.
#[derive(Clone, Debug, PartialEq)]
pub struct TilesConfig {
    pub directory: PathBuf,
    pub min_zoom: u8,
    pub max_zoom: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWeb {
    #[serde(default = "default_listen")]
    listen: SocketAddr,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    base_path: Option<Spanned<String>>,
    #[serde(default)]
    trusted_proxies: Vec<IpAddr>,
    #[serde(default)]
    allow_plaintext: bool,
    public_url: Option<Spanned<String>>,
    map: Option<Spanned<RawMap>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMap {
    plan: Option<PathBuf>,
    corners: Option<Spanned<[[f64; 2]; 2]>>,
    tiles: Option<PathBuf>,
    #[serde(default = "default_min_zoom")]
    min_zoom: u8,
    #[serde(default = "default_max_zoom")]
    max_zoom: u8,
}

fn default_min_zoom() -> u8 {
    14
}

fn default_max_zoom() -> u8 {
    19
}

/// The deepest level that any map has.
const MAX_ZOOM: u8 = 22;

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

/// `[centre.web]` validated.
pub(super) fn web(doc: &Document, raw: Spanned<RawWeb>) -> Result<WebConfig> {
    let span = raw.span();
    let raw = raw.into_inner();
    let tls = tls_files(doc, &span, raw.cert, raw.key)?;
    if tls.is_none() && !raw.listen.ip().is_loopback() && !raw.allow_plaintext {
        return Err(doc
            .error(Some(span), "[centre.web] would send pictures and passwords to other machines unencrypted")
            .hint(
                "set cert and key, or allow_plaintext = true if something in front of it (a proxy, a VPN) encrypts",
            ));
    }
    let base_path = raw.base_path.unwrap_or_else(|| Spanned::new(0..0, String::new()));
    let path = base_path.get_ref();
    let sound = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let parts = path.strip_prefix('/').map(|rest| rest.split('/').all(sound));
    if !path.is_empty() && parts != Some(true) {
        return Err(doc
            .error(Some(base_path.span()), format!("base_path `{}` is none", path.escape_debug()))
            .hint("for example \"/wardwatch\": a slash before each part, none at the end, letters, digits, - and _"));
    }
    // Plaintext is decided where the centre listens; this is only what links begin with.
    let public_url = raw.public_url.map(|text| web_address(doc, &text, true, "nothing")).transpose()?;
    Ok(WebConfig {
        listen: raw.listen,
        tls,
        base_path: base_path.into_inner(),
        trusted_proxies: raw.trusted_proxies,
        public_url,
        map: raw.map.map(|m| map(doc, m)).transpose()?.unwrap_or_default(),
    })
}

fn map(doc: &Document, raw: Spanned<RawMap>) -> Result<MapConfig> {
    let span = raw.span();
    let raw = raw.into_inner();
    let plan = match (raw.plan, raw.corners) {
        (Some(file), Some(corners)) => {
            let [[south, west], [north, east]] = *corners.get_ref();
            let real = [south, north].iter().all(|v| v.abs() <= 90.0) && [west, east].iter().all(|v| v.abs() <= 180.0);
            if !(real && south < north && west < east) {
                return Err(doc.error(Some(corners.span()), "these corners span no area").hint(
                    "corners = [[south, west], [north, east]], in degrees, for example [[21.018, 105.822], [21.026, 105.833]]",
                ));
            }
            Some(PlanConfig { file: doc.resolve(&file), corners: corners.into_inner() })
        }
        (None, None) => None,
        _ => {
            return Err(doc
                .error(Some(span), "plan and corners belong together")
                .hint("corners say where on earth the picture lies: [[south, west], [north, east]]"));
        }
    };
    if raw.min_zoom > raw.max_zoom || raw.max_zoom > MAX_ZOOM {
        let at = doc.key_span(&span, "max_zoom");
        return Err(doc.error(Some(at), format!("min_zoom, max_zoom and {MAX_ZOOM} must not fall")));
    }
    let tiles = raw.tiles.map(|directory| TilesConfig {
        directory: doc.resolve(&directory),
        min_zoom: raw.min_zoom,
        max_zoom: raw.max_zoom,
    });
    Ok(MapConfig { plan, tiles })
}
