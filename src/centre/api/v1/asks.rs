//! What people ask of a node: a clip of any range, to keep a range, to let go of it. The node holds to the owner's terms.

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::caller::{About, Purpose, State, Visitor};
use super::input::{Asked as Wanted, Body, Path};
use super::media::film as send_film;
use super::problem::{Answer, Code, Problem, invalid, refuse};
use super::shape::ClipJson;
use crate::base::types::CameraId;
use crate::centre::account::can::{Action, Denial, Object};
use crate::centre::control::{self, Question, Reply};
use crate::centre::store::hold::MAX_HOLDS;
use crate::centre::store::query::{EventQuery, EventStore, EventSummary, MAX_PAGE};
use crate::centre::store::{Asked, CommandStore, HoldStore, LinkStore, StoredHold};
use crate::wire::command::Ask;
use crate::wire::event::rfc3339;

/// A range is about an event if it touches this much before and after it.
const ABOUT_MS: i64 = 60_000;
/// The longest event that a range is taken to be about.
const LONG_EVENT_MS: i64 = 3_600_000;
/// A delivered clip is given again for so long.
const DAY_MS: i64 = 24 * 3_600_000;

/// A range of a camera's recordings.
#[derive(Deserialize, ToSchema)]
pub(super) struct Range {
    from_ms: i64,
    to_ms: i64,
    /// Why; the node is told.
    reason: String,
    /// The number of the case.
    case: Option<String>,
}

/// Why something is let go of.
#[derive(Deserialize, ToSchema)]
pub(super) struct Why {
    reason: String,
}

/// Under which it can be asked after.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ordered {
    command: String,
}

/// How a command stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CommandJson {
    id: String,
    node: String,
    /// Null: a release names none.
    camera: Option<String>,
    /// `clip`, `hold`, `release`
    kind: String,
    /// `pending`, `done`, `failed`, `refused`, `expired`
    state: String,
    /// What the node says.
    detail: Option<String>,
    /// The clip, once it is here.
    clip: Option<ClipJson>,
    issued_ms: i64,
}

/// Has a node cut a clip and deliver it. One of the same range that came within a day is named again.
#[utoipa::path(post, path = "/cameras/{node}/{camera}/clips", tag = "asks", request_body = Range,
    params(("node" = String, Path), ("camera" = String, Path)),
    responses((status = 202, body = Ordered), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn clip(
    api: State,
    visitor: Visitor,
    Path(place): Path<(String, String)>,
    Body(range): Body<Range>,
) -> Answer<(StatusCode, Json<Ordered>)> {
    let what = |camera, from, to| Ask::Clip { camera, from, to };
    api.ask(visitor, Action::ClipAsk, place, range, what).await
}

/// Has a node keep what a camera recorded.
#[utoipa::path(post, path = "/cameras/{node}/{camera}/holds", tag = "asks", request_body = Range,
    params(("node" = String, Path), ("camera" = String, Path)),
    responses((status = 202, body = Ordered), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn hold(
    api: State,
    visitor: Visitor,
    Path(place): Path<(String, String)>,
    Body(range): Body<Range>,
) -> Answer<(StatusCode, Json<Ordered>)> {
    let what = |camera, from, to| Ask::Hold { camera, from, to };
    api.ask(visitor, Action::Hold, place, range, what).await
}

/// Which holds are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct Holds {
    /// Only those that may be released.
    active: bool,
    /// 1 to 500; default 200.
    limit: Option<usize>,
}

/// What nodes were asked to keep, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HoldList {
    items: Vec<HoldJson>,
}

/// A range that a node was asked to keep.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HoldJson {
    id: String,
    node: String,
    camera: String,
    camera_name: String,
    from_ms: i64,
    to_ms: i64,
    /// The login name of who asked.
    who: String,
    why: String,
    /// When it was asked for.
    since_ms: i64,
    /// `pending`, `held`, `too_late`, `failed`, `released`
    state: String,
    /// It may be released.
    active: bool,
}

/// What is held.
#[utoipa::path(get, path = "/holds", tag = "asks", params(Holds),
    responses((status = 200, body = HoldList), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn holds(api: State, visitor: Visitor, Wanted(wanted): Wanted<Holds>) -> Answer<Json<HoldList>> {
    visitor.may(Action::Hold, &Object::Ward)?;
    let limit = wanted.limit.unwrap_or(200);
    if !(1..=MAX_HOLDS).contains(&limit) {
        return Err(invalid(format!("limit is 1 to {MAX_HOLDS}")));
    }
    visitor.see(&api, Action::Hold, About::new("holds")).await?;
    let mut held = api.store.holds(wanted.active, limit).await?;
    held.retain(|h| api.lent(&h.node, &h.camera, |lent| visitor.ask(Action::Hold, &Object::Event(lent))).is_ok());
    let item = |h: StoredHold| HoldJson {
        active: h.is_active(),
        camera_name: api.camera_name(&h.node, &h.camera),
        id: h.id,
        node: h.node,
        camera: h.camera,
        from_ms: h.from_ms,
        to_ms: h.to_ms,
        who: h.issuer,
        why: h.reason,
        since_ms: h.issued_ms,
        state: h.state,
    };
    Ok(Json(HoldList { items: held.into_iter().map(item).collect() }))
}

/// Lets go of what is held.
#[utoipa::path(delete, path = "/holds/{id}", tag = "asks", params(("id" = String, Path)), request_body = Why,
    responses((status = 202, body = Ordered), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn release(
    api: State,
    visitor: Visitor,
    Path(id): Path<String>,
    Body(why): Body<Why>,
) -> Answer<(StatusCode, Json<Ordered>)> {
    // By the role alone first: who may not release learns of no hold.
    visitor.may(Action::Hold, &Object::Ward)?;
    let asked = api.asked(&visitor, id).await?;
    let Ask::Hold { camera, .. } = &asked.command.ask else { return Err(refuse(Code::NotFound)) };
    let held = asked.command.ask.range()?.map(|(_, from_ms, to_ms)| (from_ms, to_ms));
    let decided = api.about_event(&visitor, Action::Hold, &asked.node, camera.as_str(), held).await?;
    api.verdict(Action::Hold, decided)?;
    let mut entry = visitor.entry(
        &api,
        Action::Hold,
        About::of_camera(format!("release {}", asked.command.id), &asked.node, Some(camera.as_str())),
    );
    entry.reason = Some(why.reason.clone());
    api.record(vec![entry]).await?;
    let what = Ask::Release { hold: asked.command.id.clone() };
    api.order(&visitor, asked.node, what, why.reason).await
}

/// How something that was asked stands.
#[utoipa::path(get, path = "/commands/{id}", tag = "asks", params(("id" = String, Path)),
    responses((status = 200, body = CommandJson), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn one(api: State, visitor: Visitor, Path(id): Path<String>) -> Answer<Json<CommandJson>> {
    let asked = api.asked(&visitor, id).await?;
    let clip = api.store.clip_of(asked.node.clone(), asked.command.id.clone()).await?;
    Ok(Json(CommandJson {
        camera: camera(&asked.command.ask).map(ToString::to_string),
        kind: asked.command.ask.kind().to_owned(),
        id: asked.command.id,
        node: asked.node,
        state: asked.state,
        detail: asked.answer.and_then(|a| (!a.detail.is_empty()).then_some(a.detail)),
        clip: clip.map(ClipJson::from),
        issued_ms: asked.issued_ms,
    }))
}

/// The clip that was delivered for a command, whole or in ranges.
#[utoipa::path(get, path = "/commands/{id}/clip", tag = "asks", params(("id" = String, Path), Purpose),
    responses((status = 200, content_type = "video/mp4"), (status = 206, content_type = "video/mp4"),
        (status = 403, body = Problem), (status = 404, body = Problem), (status = 416, body = Problem)))]
pub(super) async fn film(api: State, visitor: Visitor, Path(id): Path<String>, headers: HeaderMap) -> Answer<Response> {
    let asked = api.asked(&visitor, id).await?;
    let clip = api.store.clip_of(asked.node.clone(), asked.command.id.clone()).await?;
    let clip = clip.ok_or_else(|| refuse(Code::NotFound))?;
    let range = Some((clip.from_ms, clip.to_ms));
    let decided = api.about_event(&visitor, Action::ClipView, &asked.node, clip.camera.as_str(), range).await?;
    api.verdict(Action::ClipView, decided)?;
    let about = About::of_camera(format!("clip {}", clip.sha256), &asked.node, Some(clip.camera.as_str()));
    visitor.see(&api, Action::ClipView, about).await?;
    send_film(&api, &clip, &headers).await
}

fn camera(ask: &Ask) -> Option<&CameraId> {
    match ask {
        Ask::Clip { camera, .. } | Ask::Hold { camera, .. } => Some(camera),
        Ask::Release { .. } => None,
    }
}

impl Api {
    async fn ask(
        &self,
        visitor: Visitor,
        action: Action,
        (node, camera): (String, String),
        range: Range,
        what: impl FnOnce(CameraId, String, String) -> Ask,
    ) -> Answer<(StatusCode, Json<Ordered>)> {
        self.directory.get(&node, &camera).ok_or_else(|| refuse(Code::NotFound))?;
        let id = CameraId::try_from(camera).map_err(|_| refuse(Code::NotFound))?;
        let span = Some((range.from_ms, range.to_ms));
        let decided = self.about_event(&visitor, action, &node, id.as_str(), span).await?;
        self.verdict(action, decided)?;
        let object = format!("{} {} {}", action.as_str(), range.from_ms, range.to_ms);
        let mut entry = visitor.entry(self, action, About::of_camera(object, &node, Some(id.as_str())));
        (entry.reason, entry.case) = (Some(range.reason.clone()), range.case.clone());
        self.record(vec![entry]).await?;
        if action == Action::ClipAsk
            && let Some(command) = self.here_already(&node, &id, &range).await?
        {
            return Ok((StatusCode::ACCEPTED, Json(Ordered { command })));
        }
        let time = |ms| rfc3339(ms, &TimeZone::UTC);
        let reason = match range.case {
            Some(case) => format!("{} ({case})", range.reason),
            None => range.reason,
        };
        self.order(&visitor, node, what(id, time(range.from_ms), time(range.to_ms)), reason).await
    }

    /// A clip of just this range that was delivered within a day: the camera's link is not burdened twice.
    async fn here_already(&self, node: &str, camera: &CameraId, range: &Range) -> Answer<Option<String>> {
        let since_ms = self.clock.now().wall_ms - DAY_MS;
        let known = self.store.delivered(node.to_owned(), camera.clone(), since_ms).await?;
        let same = |asked: &Asked| {
            let span = asked.command.ask.range().ok().flatten();
            span.is_some_and(|(_, from_ms, to_ms)| (from_ms, to_ms) == (range.from_ms, range.to_ms))
        };
        Ok(known.into_iter().find(same).map(|asked| asked.command.id))
    }

    async fn order(
        &self,
        visitor: &Visitor,
        node: String,
        what: Ask,
        reason: String,
    ) -> Answer<(StatusCode, Json<Ordered>)> {
        let issuer = visitor.session.user.name.clone();
        let question = Question::Order { node: Some(node), what, reason, issuer };
        match control::reply(&self.store, &self.accounts, question, self.clock.now().wall_ms).await? {
            Reply::Asked { commands } => {
                let command = commands.into_iter().next().ok_or_else(|| refuse(Code::Internal))?;
                Ok((StatusCode::ACCEPTED, Json(Ordered { command: command.command.id })))
            }
            _ => Err(refuse(Code::Internal)),
        }
    }

    /// A command that is about a camera in reach, or that the visitor asked for.
    async fn asked(&self, visitor: &Visitor, id: String) -> Answer<Asked> {
        let asked = self.store.asked(id).await?.ok_or_else(|| refuse(Code::NotFound))?;
        let user = &visitor.session.user;
        let own = asked.command.issuer == user.name;
        let Some(camera) = camera(&asked.command.ask) else {
            return if own { Ok(asked) } else { Err(refuse(Code::NotFound)) };
        };
        let decided =
            self.lent(&asked.node, camera.as_str(), |lent| visitor.ask(Action::ClipView, &Object::Event(lent)));
        self.verdict(Action::ClipView, decided)?;
        Ok(asked)
    }

    /// Whether `visitor` may do `action` to a range: to any, or to one about an event.
    async fn about_event(
        &self,
        visitor: &Visitor,
        action: Action,
        node: &str,
        camera: &str,
        range: Option<(i64, i64)>,
    ) -> Answer<Result<(), Denial>> {
        let any = self.lent(node, camera, |lent| visitor.ask(action, &Object::Camera(lent)));
        if any != Err(Denial::Role) {
            return Ok(any);
        }
        let of_event = self.lent(node, camera, |lent| visitor.ask(action, &Object::Event(lent)));
        let (Ok(()), Some((from_ms, to_ms))) = (of_event, range) else { return Ok(of_event) };
        if to_ms < from_ms {
            return Err(invalid("the range ends before it begins"));
        }
        let mut query = EventQuery {
            from_ms: Some(from_ms.saturating_sub(ABOUT_MS + LONG_EVENT_MS)),
            to_ms: Some(to_ms.saturating_add(ABOUT_MS)),
            cameras: Some(vec![(node.to_owned(), camera.to_owned())]),
            limit: MAX_PAGE,
            ..EventQuery::default()
        };
        // Many short events may lie before a long one.
        loop {
            let page = self.events.events(query.clone()).await?;
            let about = |e: &EventSummary| {
                let end_ms = e.ended_ms.unwrap_or(e.updated_ms);
                from_ms >= e.started_ms.saturating_sub(ABOUT_MS) && to_ms <= end_ms.saturating_add(ABOUT_MS)
            };
            match page.next {
                _ if page.items.iter().any(about) => return Ok(Ok(())),
                None => return Ok(Err(Denial::Role)),
                next => query.after = next,
            }
        }
    }
}
