//! The outbound link: `[node.link]`, `[centre.link]` and where the centre keeps clips (`clips`, `[centre.s3]`).

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use url::{Host, Url};

use super::Document;
use super::secret::Secret;
use crate::base::Result;

/// `[node.link]`: how this node reaches its centre to deliver clips. Outbound only.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeLinkConfig {
    /// `https://host[:port]`, or `http://` on loopback. Holds no credentials.
    pub url: Url,
    /// PEM file of the authority that signed the centre's certificate; default: the system's.
    pub ca: Option<PathBuf>,
    /// Clips may take so many kilobits a second; 0: whatever is free.
    pub bandwidth_kbit: u32,
}

impl NodeLinkConfig {
    /// Whether the centre is on this very machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.url)
    }
}

/// `[centre.link]`: where nodes deliver clips.
#[derive(Clone, Debug, PartialEq)]
pub struct CentreLinkConfig {
    pub listen: SocketAddr,
    /// PEM files; without them the door is plaintext.
    pub tls: Option<TlsFiles>,
    /// A larger clip is refused.
    pub max_clip_bytes: u64,
    /// What one node may have here unfinished.
    pub incoming_bytes: u64,
}

/// A certificate with its chain, and its key.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Where the centre keeps clips.
#[derive(Clone, Debug, PartialEq)]
pub enum ClipStore {
    /// A directory.
    Directory(PathBuf),
    /// An S3 bucket.
    S3(Box<S3Config>),
}

/// `clips = "s3://bucket/prefix"` with `[centre.s3]`.
#[derive(Clone, Debug, PartialEq)]
pub struct S3Config {
    pub bucket: String,
    /// Objects lie below it; may be empty.
    pub prefix: String,
    /// Default: the provider's own address for the region.
    pub endpoint: Option<Url>,
    pub region: String,
    pub access_key_id: Secret,
    pub secret_access_key: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNodeLink {
    url: Option<Spanned<String>>,
    ca: Option<PathBuf>,
    #[serde(default)]
    bandwidth_kbit: u32,
    #[serde(default)]
    allow_plaintext: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCentreLink {
    #[serde(default = "default_listen")]
    listen: SocketAddr,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    #[serde(default)]
    allow_plaintext: bool,
    #[serde(default = "default_max_clip_mb")]
    max_clip_mb: u64,
    #[serde(default = "default_incoming_mb")]
    incoming_mb: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawS3 {
    endpoint: Option<Spanned<String>>,
    #[serde(default = "default_region")]
    region: String,
    access_key_id: Secret,
    secret_access_key: Secret,
    #[serde(default)]
    allow_plaintext: bool,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9466))
}

fn default_max_clip_mb() -> u64 {
    2048
}

fn default_incoming_mb() -> u64 {
    4096
}

fn default_region() -> String {
    "us-east-1".into()
}

/// `[node.link]` validated. `centre` is the same file's `[centre.link]`, whose address it takes when it names none.
pub(super) fn node_link(
    doc: &Document,
    raw: Spanned<RawNodeLink>,
    centre: Option<&CentreLinkConfig>,
) -> Result<NodeLinkConfig> {
    let span = raw.span();
    let raw = raw.into_inner();
    let url = match (raw.url, centre) {
        (Some(text), _) => web_address(doc, &text, raw.allow_plaintext, "clips")?,
        (None, Some(CentreLinkConfig { listen, tls: None, .. })) => {
            let mut own = *listen;
            if own.ip().is_unspecified() {
                own.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
            }
            Url::parse(&format!("http://{own}"))
                .map_err(|e| doc.error(Some(span), "the centre's address makes no URL").source(e))?
        }
        (None, _) => {
            return Err(doc
                .error(Some(span), "[node.link] does not say where the centre is")
                .hint("add url = \"https://centre.example:9466\""));
        }
    };
    Ok(NodeLinkConfig { url, ca: raw.ca.map(|p| doc.resolve(&p)), bandwidth_kbit: raw.bandwidth_kbit })
}

/// A door's certificate and key: both or neither.
pub(super) fn tls_files(
    doc: &Document,
    span: &Range<usize>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<TlsFiles>> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert: doc.resolve(&cert), key: doc.resolve(&key) })),
        (None, None) => Ok(None),
        _ => Err(doc.error(Some(span.clone()), "cert and key belong together").hint("give both, or neither")),
    }
}

/// `[centre.link]` validated.
pub(super) fn centre_link(doc: &Document, raw: Spanned<RawCentreLink>) -> Result<CentreLinkConfig> {
    let span = raw.span();
    let raw = raw.into_inner();
    let tls = tls_files(doc, &span, raw.cert, raw.key)?;
    if tls.is_none() && !raw.listen.ip().is_loopback() && !raw.allow_plaintext {
        return Err(doc
            .error(Some(span), "[centre.link] would take clips and secrets from other machines unencrypted")
            .hint(
                "set cert and key, or allow_plaintext = true if something in front of it (a proxy, a VPN) encrypts",
            ));
    }
    for (key, value) in [("max_clip_mb", raw.max_clip_mb), ("incoming_mb", raw.incoming_mb)] {
        if !(1..=1 << 24).contains(&value) {
            return Err(doc.error(Some(doc.key_span(&span, key)), format!("{key} must be between 1 and {}", 1 << 24)));
        }
    }
    Ok(CentreLinkConfig {
        listen: raw.listen,
        tls,
        max_clip_bytes: raw.max_clip_mb << 20,
        incoming_bytes: raw.incoming_mb << 20,
    })
}

/// `clips` and `[centre.s3]` validated.
pub(super) fn clip_store(
    doc: &Document,
    clips: Option<Spanned<String>>,
    s3: Option<Spanned<RawS3>>,
    state_dir: &Path,
) -> Result<ClipStore> {
    let Some(clips) = clips else {
        return match s3 {
            Some(s3) => Err(doc
                .error(Some(s3.span()), "[centre.s3] without a bucket")
                .hint("add clips = \"s3://bucket/prefix\" to [centre]")),
            None => Ok(ClipStore::Directory(state_dir.join("clips"))),
        };
    };
    let Some(place) = clips.get_ref().strip_prefix("s3://") else {
        return Ok(ClipStore::Directory(doc.resolve(Path::new(clips.get_ref()))));
    };
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() {
        return Err(doc.error(Some(clips.span()), "clips names no bucket").hint("clips = \"s3://bucket/prefix\""));
    }
    let Some(s3) = s3.map(Spanned::into_inner) else {
        return Err(doc
            .error(Some(clips.span()), "clips are to go to a bucket without credentials")
            .hint("add [centre.s3] with access_key_id and secret_access_key"));
    };
    let endpoint = s3.endpoint.map(|text| web_address(doc, &text, s3.allow_plaintext, "clips")).transpose()?;
    Ok(ClipStore::S3(Box::new(S3Config {
        bucket: bucket.to_owned(),
        prefix: prefix.trim_matches('/').to_owned(),
        endpoint,
        region: s3.region,
        access_key_id: s3.access_key_id,
        secret_access_key: s3.secret_access_key,
    })))
}

/// An `https://` address, or `http://` where that is safe or allowed.
pub(super) fn web_address(doc: &Document, text: &Spanned<String>, allow_plaintext: bool, what: &str) -> Result<Url> {
    let at = |message: String| doc.error(Some(span(text)), message);
    // Not quoted: whoever puts a password into an address must not find it in a log.
    let url = Url::parse(text.get_ref())
        .map_err(|_| at("this is not an address".into()).hint("write https://host or https://host:port"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(at("the address must begin with https:// and name a host".into()));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(at("the address may hold neither user, password, query nor fragment".into()));
    }
    if url.scheme() == "http" && !is_loopback(&url) && !allow_plaintext {
        return Err(at(format!("{what} would go to {} unencrypted", url.host_str().unwrap_or_default()))
            .hint("use https://, or allow_plaintext = true if the network itself is encrypted"));
    }
    Ok(url)
}

fn span(text: &Spanned<String>) -> Range<usize> {
    text.span()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
