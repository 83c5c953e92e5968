//! API v1 and the page: what people at the command centre use. Each route loads its object, asks `can`, writes the
//! access log, and only then answers. Nothing here may be cached by anybody on the way.

mod asks;
mod caller;
mod cameras;
mod document;
mod emergencies;
mod events;
mod input;
mod live;
mod log;
mod map;
mod media;
mod own;
mod page;
mod problem;
mod scout;
mod session;
mod shape;
mod still;
mod stream;
mod tag;
mod tell;
mod triage;
mod users;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::tz::TimeZone;
use tokio::sync::{broadcast, watch};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};
use utoipa::OpenApi;
use utoipa::openapi::PathItem;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::base::{Clock, Error, ErrorKind, Result};
use crate::centre::account::Accounts;
use crate::centre::account::can::{Action, Denial, Lent};
use crate::centre::desk::Desk;
use crate::centre::directory::Directory;
use crate::centre::feed::Feed;
use crate::centre::live::Hub;
use crate::centre::objects::Objects;
use crate::centre::store::query::EventSummary;
use crate::centre::store::{AccessEntry, AccessStore, SqliteEvents, SqliteStore};
use crate::centre::thumbnail::Thumbnails;
use crate::centre::{Health, Notice};
use crate::config::WebConfig;

use caller::Views;
use problem::{Answer, Code, Refused, refuse};

/// Where the API is, below the base path.
const API: &str = "/api/v1";
/// The largest body of a request, in bytes.
const MAX_BODY: usize = 64 << 10;
/// A request is answered, or at least begun, within this.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What scripts, pictures and connections the page may have: its own, and nothing of anybody else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
    media-src 'self' blob:; connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'self'; \
    form-action 'self'; frame-ancestors 'none'";

/// The API with what it is joined to, and what it keeps of its own.
pub struct Api {
    parts: Parts,
    /// What the site's time zone means.
    timezone: TimeZone,
    desk: Desk<SqliteStore>,
    /// Display names by user id.
    people: RwLock<HashMap<String, String>>,
    views: Views,
}

impl std::ops::Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

type Shared = Arc<Api>;

/// What the API is joined to.
pub struct Parts {
    pub ward: String,
    pub ward_name: String,
    /// IANA name.
    pub timezone_name: String,
    pub web: WebConfig,
    pub store: SqliteStore,
    pub events: SqliteEvents,
    pub objects: Objects,
    pub accounts: Accounts<SqliteStore>,
    pub thumbnails: Thumbnails,
    pub hub: Hub,
    pub directory: Arc<Directory>,
    pub feed: Arc<Feed>,
    pub health: watch::Receiver<Health>,
    pub notices: broadcast::Sender<Arc<Notice>>,
    pub clock: Arc<dyn Clock>,
    /// Ends what would go on for ever.
    pub shutdown: watch::Receiver<bool>,
}

impl Api {
    /// Puts the parts together.
    ///
    /// # Errors
    /// `Config` when the time zone is unknown.
    pub fn new(parts: Parts) -> Result<Self> {
        let timezone = TimeZone::get(&parts.timezone_name)
            .map_err(|e| Error::new(ErrorKind::Config, "the site's time zone is unknown").source(e))?;
        let desk = Desk::new(parts.store.clone(), parts.notices.clone(), parts.clock.clone());
        Ok(Self { parts, timezone, desk, people: RwLock::default(), views: Views::default() })
    }

    /// Asks `decide` about a camera on the terms that are in force now.
    fn lent<T>(&self, node: &str, camera: &str, decide: impl FnOnce(Lent<'_>) -> T) -> T {
        self.directory.lent(node, camera, self.clock.now().wall_ms, decide)
    }

    /// Writes the access log.
    async fn record(&self, entries: Vec<AccessEntry>) -> Answer<()> {
        Ok(self.store.record(entries).await?)
    }

    /// What is out of reach is answered as if it were not there; everything else says why not.
    fn verdict(&self, action: Action, asked: std::result::Result<(), Denial>) -> Answer<()> {
        asked.map_err(|denial| match denial {
            Denial::Camera => refuse(Code::NotFound),
            _ => Refused::denied(action, denial),
        })
    }

    fn cameras_in(&self, areas: &[String]) -> Vec<crate::centre::account::CameraKey> {
        self.directory.in_areas(areas)
    }

    /// How far the cameras of two events are from each other; far away where that is not known.
    fn metres_between(&self, a: &EventSummary, b: &EventSummary) -> u32 {
        let of = |e: &EventSummary| (e.node.clone(), e.camera.clone().unwrap_or_default());
        let ((node_a, camera_a), (node_b, camera_b)) = (of(a), of(b));
        self.directory.metres((&node_a, &camera_a), (&node_b, &camera_b)).unwrap_or(u32::MAX)
    }
}

/// Binds the address of `[centre.web]`.
///
/// # Errors
/// `Unavailable` when the port is taken.
pub fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|e| {
        Error::new(ErrorKind::Unavailable, "cannot listen for the page")
            .at(address)
            .hint("another program uses the port; change `listen` in [centre.web]")
            .source(e)
    })
}

/// Serves page and API until `shutdown` completes.
///
/// # Errors
/// `Config` when certificate or key cannot be used.
pub async fn serve(listener: TcpListener, api: Arc<Api>, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
    let tls = api.web.tls.clone();
    super::serve_router(listener, tls.as_ref(), "centre.web", router(api), shutdown).await
}

#[derive(OpenApi)]
#[openapi(info(
    title = "wardwatch command centre",
    description = "Events, pictures, clips and cameras of a ward's command centre. Times are UTC milliseconds."
))]
struct Document;

/// Every route of the API.
fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(session::site))
        .routes(routes!(session::me, session::login, session::logout))
        .routes(routes!(session::link))
        .routes(routes!(session::password))
        .routes(routes!(own::sessions))
        .routes(routes!(own::end_session))
        .routes(routes!(own::begin, own::confirm, own::drop_factor))
        .routes(routes!(events::list))
        .routes(routes!(events::counts))
        .routes(routes!(events::csv))
        .routes(routes!(events::detail))
        .routes(routes!(media::snapshot))
        .routes(routes!(media::thumbnail))
        .routes(routes!(media::clip))
        .routes(routes!(triage::act))
        .routes(routes!(triage::note))
        .routes(routes!(triage::join))
        .routes(routes!(triage::snoozes, triage::snooze))
        .routes(routes!(triage::unsnooze))
        .routes(routes!(triage::report))
        .routes(routes!(cameras::list))
        .routes(routes!(cameras::one))
        .routes(routes!(cameras::nodes))
        .routes(routes!(scout::rehearsal))
        .routes(routes!(scout::probe))
        .routes(routes!(scout::discovery))
        .routes(routes!(scout::vendors))
        .routes(routes!(document::read, document::change).layer(DefaultBodyLimit::max(document::MAX_CHANGE)))
        .routes(routes!(live::wall))
        .routes(routes!(live::camera))
        .routes(routes!(live::picture))
        .routes(routes!(live::recordings))
        .routes(routes!(still::still))
        .routes(routes!(asks::clip))
        .routes(routes!(asks::hold))
        .routes(routes!(asks::holds))
        .routes(routes!(asks::release))
        .routes(routes!(asks::one))
        .routes(routes!(asks::film))
        .routes(routes!(emergencies::list, emergencies::declare))
        .routes(routes!(emergencies::end))
        .routes(routes!(users::list, users::add))
        .routes(routes!(users::edit))
        .routes(routes!(users::link))
        .routes(routes!(users::end_sessions))
        .routes(routes!(users::drop_factor))
        .routes(routes!(map::map))
        .routes(routes!(map::plan))
        .routes(routes!(map::tile))
        .routes(routes!(log::list))
        .routes(routes!(stream::stream))
}

/// "get_events_node_id" of `GET /events/{node}/{id}`: one for each operation, as OpenAPI wants it.
fn operation_id(method: &str, address: &str) -> String {
    let words = address.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

/// The API's OpenAPI document, as JSON.
pub fn openapi() -> String {
    let mut document = routes().split_for_parts().1;
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    for (address, path) in &mut document.paths.paths {
        let PathItem { get, put, post, delete, patch, .. } = path;
        let operations = [("get", get), ("put", put), ("post", post), ("delete", delete), ("patch", patch)];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            problem::describe(&mut operation.responses.responses);
            // By default it is the function's name, and several modules have a `list`.
            operation.operation_id = Some(operation_id(method, address));
        }
    }
    document.to_pretty_json().unwrap_or_default()
}

fn router(api: Shared) -> Router {
    let document = openapi();
    let api_router: Router<Shared> = routes().split_for_parts().0;
    let quick = api_router
        .route("/openapi.json", get(|| async move { ([(header::CONTENT_TYPE, "application/json")], document) }))
        .fallback(|| async { refuse(Code::NotFound) })
        .method_not_allowed_fallback(|| async { refuse(Code::Method) })
        .layer(middleware::from_fn(in_time))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(no_store))
        .layer(middleware::from_fn_with_state(api.clone(), own_page));
    // Pictures and films are compressed already, and events must not wait in a compressor.
    let worth = DefaultPredicate::new()
        .and(NotForContentType::const_new("video/"))
        .and(NotForContentType::const_new("text/event-stream"));
    let base = api.web.base_path.clone();
    let whole = Router::new()
        .nest(API, quick)
        .fallback(files)
        .with_state(api)
        .layer(CompressionLayer::new().compress_when(worth))
        .layer(middleware::from_fn(guarded));
    if base.is_empty() { whole } else { below(&base, whole) }
}

/// Everything below `base`; without its slash the page's relative addresses would lead astray.
fn below(base: &str, whole: Router) -> Router {
    let home = format!("{base}/");
    Router::new()
        .route(base, get(move || async move { axum::response::Redirect::permanent(&home) }))
        .nest_service(&format!("{base}/"), whole)
}

async fn files(State(api): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    page::file(&api.web.base_path, &uri, &headers)
}

/// Refuses what another site makes a browser send.
async fn own_page(State(api): State<Shared>, request: Request, next: Next) -> Response {
    if !caller::same_site(request.method(), request.headers(), api.web.public_url.as_ref()) {
        return refuse(Code::CrossSite).into_response();
    }
    next.run(request).await
}

/// Refuses what takes too long.
async fn in_time(request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(TIMEOUT, next.run(request)).await;
    answered.unwrap_or_else(|_| refuse(Code::Timeout).into_response())
}

async fn no_store(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    // A route that knows better said so itself.
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The headers that keep a page what it is.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let set = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
    ];
    for (name, value) in set {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
