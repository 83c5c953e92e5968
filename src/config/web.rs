//! `[centre.web]`: where the page and the API are served.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::Document;
use super::link::{TlsFiles, tls_files};
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
}

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
    Ok(WebConfig { listen: raw.listen, tls, base_path: base_path.into_inner(), trusted_proxies: raw.trusted_proxies })
}
