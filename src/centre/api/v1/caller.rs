//! Who asks: the session behind the cookie, what it may do, and what of it is written down before anything is shown.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use serde::Deserialize;
use url::Url;
use utoipa::IntoParams;

use super::problem::{Answer, Code, Refused, refuse};
use super::{Api, Shared};
use crate::base::Result;
use crate::centre::account::Session;
use crate::centre::account::can::{Action, Caller, Denial, Object, can};
use crate::centre::store::AccessEntry;

/// The cookie that holds a session's token.
pub(super) const COOKIE: &str = "wardwatch_session";
/// Views remembered, so that one that was written down is not written down again for each piece of a film.
const VIEWS: usize = 20_000;
/// What goes on is written down again this often.
const LATELY_MS: i64 = 600_000;
/// The longest number of a case, or reason, in characters.
const MAX_PURPOSE: usize = 500;

/// Somebody who is logged in.
pub(super) struct Visitor {
    pub(super) session: Session,
    pub(super) token: String,
    pub(super) purpose: Purpose,
}

/// Why something is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Purpose {
    /// Number of the case, where the role asks for one.
    pub(super) case: Option<String>,
    /// In words, for the log.
    pub(super) reason: Option<String>,
}

/// What was looked at, in which session and for what: a row of the log that is not written twice.
#[derive(Clone, PartialEq, Eq, Hash)]
struct View {
    session: String,
    action: Action,
    about: About,
    purpose: Purpose,
    /// The tenth minute, of what is written down again after a while.
    period: Option<i64>,
}

/// What was written down lately; bounded.
#[derive(Default)]
pub(super) struct Views(Mutex<(HashSet<View>, VecDeque<View>)>);

impl Views {
    fn has(&self, view: &View) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.contains(view)
    }

    fn add(&self, view: View) {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, order) = &mut *views;
        if known.insert(view.clone()) {
            order.push_back(view);
        }
        while order.len() > VIEWS {
            if let Some(oldest) = order.pop_front() {
                known.remove(&oldest);
            }
        }
    }
}

/// What a row of the log is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct About {
    pub(super) object: String,
    pub(super) node: Option<String>,
    pub(super) camera: Option<String>,
}

impl About {
    pub(super) fn new(object: impl Into<String>) -> Self {
        Self { object: object.into(), ..Self::default() }
    }

    pub(super) fn of_camera(object: impl Into<String>, node: &str, camera: Option<&str>) -> Self {
        Self { object: object.into(), node: Some(node.to_owned()), camera: camera.map(str::to_owned) }
    }
}

impl Visitor {
    /// The one question, asked on every route after the object is loaded.
    pub(super) fn may(&self, action: Action, object: &Object<'_>) -> Answer<()> {
        self.ask(action, object).map_err(|denial| Refused::denied(action, denial))
    }

    pub(super) fn ask(&self, action: Action, object: &Object<'_>) -> std::result::Result<(), Denial> {
        can(Caller { user: &self.session.user, case: self.purpose.case.as_deref() }, action, object)
    }

    /// Writes down what is done. The caller goes on when it is on disk, and not otherwise.
    pub(super) async fn record(&self, api: &Api, action: Action, about: About) -> Answer<()> {
        api.record(vec![self.entry(api, action, about)]).await
    }

    /// Writes down that something is looked at: once a session, action, object, case and reason.
    pub(super) async fn see(&self, api: &Api, action: Action, about: About) -> Answer<()> {
        self.see_all(api, action, vec![about]).await
    }

    /// As [`Self::see`] for several rows.
    pub(super) async fn see_all(&self, api: &Api, action: Action, rows: Vec<About>) -> Answer<()> {
        self.write_new(api, rows.into_iter().map(|about| self.view(action, about, None)).collect()).await
    }

    /// As [`Self::see`] for what may go on for hours: written down again after ten minutes.
    pub(super) async fn see_lately(&self, api: &Api, action: Action, about: About) -> Answer<()> {
        let period = api.clock.now().wall_ms / LATELY_MS;
        self.write_new(api, vec![self.view(action, about, Some(period))]).await
    }

    /// Something that was written down under another name.
    pub(super) fn seen(&self, api: &Api, action: Action, about: About) {
        api.views.add(self.view(action, about, None));
    }

    fn view(&self, action: Action, about: About, period: Option<i64>) -> View {
        View { session: self.session.id.clone(), action, about, purpose: self.purpose.clone(), period }
    }

    async fn write_new(&self, api: &Api, views: Vec<View>) -> Answer<()> {
        let new: Vec<View> = views.into_iter().filter(|view| !api.views.has(view)).collect();
        if new.is_empty() {
            return Ok(());
        }
        api.record(new.iter().map(|view| self.entry(api, view.action, view.about.clone())).collect()).await?;
        new.into_iter().for_each(|view| api.views.add(view));
        Ok(())
    }

    pub(super) fn entry(&self, api: &Api, action: Action, about: About) -> AccessEntry {
        AccessEntry {
            at_ms: api.clock.now().wall_ms,
            user: Some(self.session.user.id.clone()),
            session: Some(self.session.id.clone()),
            action: action.as_str().to_owned(),
            object: about.object,
            node: about.node,
            camera: about.camera,
            reason: self.purpose.reason.clone(),
            case: self.purpose.case.clone(),
        }
    }
}

impl FromRequestParts<Shared> for Visitor {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, api: &Shared) -> Result<Self, Refused> {
        let jar = CookieJar::from_headers(&parts.headers);
        let token = jar.get(COOKIE).map(|c| c.value().to_owned()).ok_or_else(|| refuse(Code::Unauthorized))?;
        let session = api.accounts.who(&token).await?.ok_or_else(|| refuse(Code::Unauthorized))?;
        let purpose = axum_extra::extract::Query::<Purpose>::try_from_uri(&parts.uri).map(|q| q.0).unwrap_or_default();
        let long = |text: &Option<String>| text.as_ref().is_some_and(|t| t.chars().nth(MAX_PURPOSE).is_some());
        if long(&purpose.case) || long(&purpose.reason) {
            return Err(super::problem::invalid(format!("a case or reason has at most {MAX_PURPOSE} characters")));
        }
        Ok(Self { session, token, purpose })
    }
}

/// Where a request comes from: the peer, or whom a trusted proxy names.
pub(super) struct Source {
    pub(super) address: IpAddr,
    /// What the browser says of itself, for the list of sessions.
    pub(super) user_agent: String,
    /// It came encrypted.
    pub(super) secure: bool,
}

impl FromRequestParts<Shared> for Source {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, api: &Shared) -> Result<Self, Refused> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map_or(IpAddr::from([0, 0, 0, 0]), |c| c.0.ip());
        let believed = api.web.trusted_proxies.contains(&peer.to_canonical());
        // The last line, and in it the last address, is what the proxy itself added; all before it may be the client's own.
        let last = |name: &str| parts.headers.get_all(name).iter().next_back();
        let text = |name: &str| last(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let forwarded = text("x-forwarded-for").rsplit(',').next().and_then(|a| a.trim().parse().ok());
        Ok(Self {
            address: forwarded.filter(|_| believed).unwrap_or(peer),
            user_agent: text("user-agent").chars().take(200).collect(),
            secure: api.web.tls.is_some() || believed && text("x-forwarded-proto") == "https",
        })
    }
}

/// The cookie for `token`; an empty one takes it away.
pub(super) fn cookie(api: &Api, source: &Source, token: String) -> Cookie<'static> {
    let gone = token.is_empty();
    let mut cookie = Cookie::build((COOKIE, token))
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(source.secure)
        .path(format!("{}/", api.web.base_path))
        .build();
    if gone {
        cookie.make_removal();
    }
    cookie
}

/// Whether a browser sent this from our own page, or no browser did. Nothing that only reads needs it.
pub(super) fn same_site(method: &Method, headers: &HeaderMap, public: Option<&Url>) -> bool {
    method.is_safe() || from_our_page(headers, public)
}

/// As [`same_site`] for what is no safe request although it is a GET: opening a WebSocket. `public` is the page's address
/// as browsers know it, where the configuration says so: a proxy need not pass their `Host` on.
pub(super) fn from_our_page(headers: &HeaderMap, public: Option<&Url>) -> bool {
    let ours = |origin: &str, host: Option<&str>| {
        let at_host = origin.split_once("://").is_some_and(|(_, at)| Some(at) == host);
        at_host || public.is_some_and(|page| page.origin().ascii_serialization() == origin)
    };
    let text = |name| headers.get(name).map(|v: &header::HeaderValue| v.to_str().unwrap_or("?"));
    match (text("sec-fetch-site".parse().unwrap_or(header::FROM)), text(header::ORIGIN), text(header::HOST)) {
        (Some(site), _, _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin), host) => ours(origin, host),
        (None, None, _) => true,
    }
}

/// The state as routes get it.
pub(super) type State = axum::extract::State<Arc<Api>>;
