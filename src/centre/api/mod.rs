//! The centre's doors. `v1` is that for people; here is the one for nodes: enrolment, delivery of clips and the channel
//! for what is live, over HTTP/1.1, with TLS where a certificate is
//! given. Strangers can reach it: requests are small, slow ones are cut off, guessing is slowed down, and no answer says
//! more than who asks may know. Errors are `application/problem+json` (RFC 9457).

mod channel;
mod clips;
mod enrol;
mod guard;
mod limit;
mod unread;
pub mod v1;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, head, post};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use tokio::sync::broadcast;
use tokio::time::interval;

use super::Notice;
use super::incoming::Incoming;
use super::live::Hub;
use super::objects::Objects;
use super::store::{CameraInfoStore, LinkStore};
use crate::base::{Clock, Error, ErrorKind, Result, telemetry};
use crate::config::{CentreLinkConfig, TlsFiles};
use crate::wire::channel::CHANNEL_PATH;
use crate::wire::link::{self, CLIPS_PATH, ENROL_PATH, MAX_JSON, Problem, Trouble, parse_bearer};

pub use enrol::{CODE_LIFE_MS, code as new_code, normal, secret as new_secret};

use guard::Guard;
use limit::ConnectionLimit;

/// A request's head must be there within this, and a connection may be idle no longer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two parts of a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// Headers of one request, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// How often it is looked whether a certificate was renewed.
const RENEWED: Duration = Duration::from_secs(10);
/// How long open requests may take when the centre stops.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a refused client is asked to wait.
const RETRY_SECONDS: u64 = 10;

/// What the door is joined to.
#[derive(Clone)]
pub struct Door<S> {
    pub ward: String,
    pub store: S,
    pub objects: Objects,
    pub incoming: Incoming,
    /// Who looks at what.
    pub hub: Hub,
    /// Told when a node has described its cameras.
    pub notices: broadcast::Sender<Arc<Notice>>,
    pub max_clip_bytes: u64,
    pub clock: Arc<dyn Clock>,
    /// Told why clips cannot be stored, or that they can again.
    pub trouble: Arc<dyn Fn(Option<String>) + Send + Sync>,
}

struct Shared<S> {
    door: Door<S>,
    guard: Guard,
}

/// Binds the address of `[centre.link]`.
pub fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|e| {
        Error::new(ErrorKind::Unavailable, "cannot listen for clips")
            .at(address)
            .hint("another program uses the port; change `listen` in [centre.link]")
            .source(e)
    })
}

/// Serves until `shutdown` completes.
///
/// # Errors
/// `Config` when certificate or key cannot be used.
pub async fn serve<S: LinkStore + CameraInfoStore>(
    listener: TcpListener,
    config: &CentreLinkConfig,
    door: Door<S>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let hub = door.hub.clone();
    let shutdown = async move {
        shutdown.await;
        hub.close();
    };
    serve_router(listener, config.tls.as_ref(), "centre.link", router(door), shutdown).await
}

/// Serves `router` over HTTP/1.1, with TLS where there is a certificate, until `shutdown` completes. `key` is the
/// section of the configuration.
async fn serve_router(
    listener: TcpListener,
    files: Option<&TlsFiles>,
    key: &'static str,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let tls = files.map(|files| tls(files, key).map(RustlsConfig::from_config)).transpose()?;
    let renewing = renewed(tls.clone(), files, key);
    tokio::pin!(renewing);
    let handle = Handle::new();
    let service = ConnectionLimit::new(router.layer(middleware::from_fn(unread::settle)), key);
    let failed = |e| Error::new(ErrorKind::Io, format!("the door of [{key}] failed")).source(e);
    macro_rules! run {
        ($server:expr) => {{
            let mut server = $server.handle(handle.clone()).first_request_timeout(HEAD_TIMEOUT);
            // The server's own `http1_only` would take the channel's upgrade away.
            let http1 = server.http_builder().clone().http1_only();
            *server.http_builder() = http1;
            server.http_builder().http1().header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD);
            let serving = server.serve(service);
            tokio::pin!(serving);
            tokio::select! {
                served = &mut serving => return served.map_err(failed),
                never = &mut renewing => match never {},
                () = shutdown => handle.graceful_shutdown(Some(FAREWELL)),
            }
            serving.await.map_err(failed)
        }};
    }
    match tls {
        Some(tls) => run!(axum_server::from_tcp_rustls(listener, tls).map_err(failed)?),
        None => run!(axum_server::from_tcp(listener).map_err(failed)?),
    }
}

fn router<S: LinkStore + CameraInfoStore>(door: Door<S>) -> Router {
    let shared = Arc::new(Shared { door, guard: Guard::default() });
    Router::new()
        .route(ENROL_PATH, post(enrol::enrol::<S>))
        .route(CHANNEL_PATH, get(channel::open::<S>))
        .route(CLIPS_PATH, post(clips::announce::<S>))
        .route(&format!("{CLIPS_PATH}/{{sha256}}"), head(clips::offset::<S>).patch(clips::append::<S>))
        .fallback(|| async { refuse(Trouble::NotFound) })
        .method_not_allowed_fallback(|| async { refuse(Trouble::NotFound) })
        .layer(DefaultBodyLimit::max(MAX_JSON))
        .with_state(shared)
}

/// Takes a renewed certificate over while connections go on. One that cannot be used leaves the old one in force.
async fn renewed(in_force: Option<RustlsConfig>, files: Option<&TlsFiles>, key: &str) -> Infallible {
    let (Some(in_force), Some(files)) = (in_force, files) else { return std::future::pending().await };
    let mut look = interval(RENEWED);
    let mut known = written(files);
    loop {
        look.tick().await;
        let now = written(files);
        if now == known {
            continue;
        }
        match tls(files, key) {
            Ok(newer) => {
                in_force.reload_from_config(newer);
                tracing::info!(cert = %files.cert.display(), "the renewed certificate is in force");
                known = now;
            }
            // Key and certificate are seldom written at one moment: it is tried again.
            Err(e) => tracing::warn!("the renewed certificate is not in force yet: {e}"),
        }
    }
}

/// When the files were written.
fn written(files: &TlsFiles) -> [Option<SystemTime>; 2] {
    [&files.cert, &files.key].map(|path| std::fs::metadata(path).and_then(|m| m.modified()).ok())
}

fn tls(files: &TlsFiles, key: &str) -> Result<Arc<rustls::ServerConfig>> {
    let bad = |path: &std::path::Path, e: rustls::pki_types::pem::Error| {
        Error::new(ErrorKind::Config, "cannot read the PEM file").at(path.display()).source(e)
    };
    let chain: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(&files.cert).map_err(|e| bad(&files.cert, e))?.collect();
    let chain = chain.map_err(|e| bad(&files.cert, e))?;
    let private = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| bad(&files.key, e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(ErrorKind::Internal, "TLS cannot be set up").source(e))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|e| {
            Error::new(ErrorKind::Config, format!("certificate and key of [{key}] do not go together"))
                .at(files.cert.display())
                .source(e)
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl<S: LinkStore> Shared<S> {
    /// The enrolled node behind a request.
    async fn node(&self, headers: &HeaderMap, peer: SocketAddr) -> std::result::Result<String, Refusal> {
        let now = self.door.clock.now();
        let value = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let claimed = value.and_then(parse_bearer);
        // Whoever fails is slowed down; an enrolled node behind the same address is not.
        let refused = || match self.guard.may_try(peer.ip(), now) {
            true => {
                self.guard.failed(peer.ip(), now);
                refuse(Trouble::Unauthorized)
            }
            false => refuse(Trouble::TooMany),
        };
        let Some((node, secret)) = claimed else { return Err(refused()) };
        let stored = self.door.store.secret_of(node.to_owned()).await.map_err(|e| self.failed(&e))?;
        // Compared against something for an unknown node, too: the answer takes as long.
        let expected = stored.clone().unwrap_or_else(|| digest(""));
        let same = bool::from(digest(secret).as_bytes().ct_eq(expected.as_bytes()));
        if stored.is_some() && same {
            return Ok(node.to_owned());
        }
        Err(refused())
    }

    /// Our own failure: told to the health, answered so that the node waits.
    fn failed(&self, error: &Error) -> Refusal {
        let trouble = match error.kind() {
            ErrorKind::Exhausted => Trouble::DiskFull,
            ErrorKind::Unavailable | ErrorKind::Io | ErrorKind::Timeout => Trouble::Unavailable,
            _ => Trouble::Internal,
        };
        tracing::error!(%error, "a clip cannot be stored; its node tries again");
        (self.door.trouble)(Some(error.to_string()));
        refuse(trouble)
    }
}

/// The hash under which a secret or a code is kept.
pub fn digest(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

/// A refusal, and how far the upload stands where that helps.
#[derive(Debug)]
struct Refusal {
    trouble: Trouble,
    detail: Option<String>,
    offset: Option<u64>,
}

fn refuse(trouble: Trouble) -> Refusal {
    Refusal { trouble, detail: None, offset: None }
}

impl IntoResponse for Refusal {
    /// Counted here: every refusal that is answered passes.
    fn into_response(self) -> Response {
        let Self { trouble, detail, offset } = self;
        metrics::counter!(telemetry::CENTRE_LINK_REFUSED, "reason" => trouble.as_str()).increment(1);
        let problem = Problem { kind: trouble.urn(), title: trouble.title().into(), status: trouble.status(), detail };
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, link::PROBLEM_JSON)], body).into_response();
        if matches!(trouble, Trouble::TooMany | Trouble::Busy | Trouble::Unavailable | Trouble::DiskFull) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
        }
        if let Some(offset) = offset {
            response.headers_mut().insert(link::UPLOAD_OFFSET, HeaderValue::from(offset));
        }
        response
    }
}
