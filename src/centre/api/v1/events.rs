//! Events: lists, counters, one event with everything about it.

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::caller::{About, Purpose, State, Visitor};
use super::input::{Asked, Path};
use super::media::of_thumbnail;
use super::problem::{Answer, Code, Problem, invalid, refuse};
use super::tag::tagged;
use super::{Api, shape};
use crate::base::types::{Phase, Severity};
use crate::centre::account::can::{Action, Object};
use crate::centre::store::query::{EventDetail, EventQuery, EventStore, EventSummary, MAX_EXPORT};
use crate::centre::triage::TriageState;

/// Other cameras' events within this time of an event are near it.
const NEAR_MS: i64 = 120_000;
/// Events that one row of the access log names, so that it stays short enough.
const NAMED: usize = 24;
/// The longest search that the log has in full, in characters.
const MAX_SEARCHED: usize = 900;
/// Events near another that are named.
const NEAR: usize = 8;

/// Which events are wanted; filters join by "and", the values of one by "or".
#[derive(Clone, Debug, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct Filter {
    /// Begun at or after this, UTC milliseconds.
    from_ms: Option<i64>,
    /// Begun before this, UTC milliseconds.
    to_ms: Option<i64>,
    /// `node/camera`, any number of times.
    camera: Vec<String>,
    /// Alley or block, any number of times.
    area: Vec<String>,
    rule: Vec<String>,
    kind: Vec<String>,
    /// `alert`, `notice`
    severity: Vec<String>,
    label: Vec<String>,
    /// `started`, `updated`, `ended`
    phase: Vec<String>,
    /// Of the triage: `new`, `owned`, `dispatched`, `resolved`
    state: Vec<String>,
    /// Words that must be in the names of camera, alley, rule, kind or label; case and diacritics count for nothing.
    text: Option<String>,
    /// 1 to 200; default 50.
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

/// One page of events, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventPage {
    items: Vec<shape::EventJson>,
    /// For `after`; null: this is the last page.
    next: Option<String>,
}

/// A list.
#[utoipa::path(get, path = "/events", tag = "events", params(Filter),
    responses((status = 200, body = EventPage), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(api: State, visitor: Visitor, Asked(filter): Asked<Filter>) -> Answer<Json<EventPage>> {
    visitor.may(Action::Search, &Object::Ward)?;
    let query = api.query(&visitor, &filter)?;
    let written = visitor.see_lately(&api, Action::Search, About::new(searched(&filter)));
    // The row need not wait for the answer to be found; the answer goes out only when the row is on disk.
    let (written, page) = tokio::join!(written, api.events.events(query));
    written?;
    let page = page?;
    api.thumbnails_of(&visitor, &page.items).await?;
    let items = page.items.into_iter().map(|e| api.event_json(e)).collect();
    Ok(Json(EventPage { items, next: page.next }))
}

/// How many there are.
#[utoipa::path(get, path = "/events/counts", tag = "events", params(Filter),
    responses((status = 200, body = shape::CountsJson), (status = 403, body = Problem)))]
pub(super) async fn counts(
    api: State,
    visitor: Visitor,
    Asked(filter): Asked<Filter>,
) -> Answer<Json<shape::CountsJson>> {
    visitor.may(Action::Search, &Object::Ward)?;
    let query = api.query(&visitor, &filter)?;
    let written = visitor.see_lately(&api, Action::Search, About::new(searched(&filter)));
    let (written, counts) = tokio::join!(written, api.events.counts(query));
    written?;
    Ok(Json(counts?.into()))
}

/// One event.
#[utoipa::path(get, path = "/events/{node}/{id}", tag = "events",
    params(("node" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = shape::DetailJson), (status = 304), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn detail(
    api: State,
    visitor: Visitor,
    Path((node, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let mut detail = api.detail(&visitor, Action::EventView, node, id).await?;
    detail.members.retain(|event| api.permit(&visitor, Action::EventView, event).is_ok());
    let summary = &detail.summary;
    visitor
        .see(&api, Action::EventView, About::of_camera(&summary.id, &summary.node, summary.camera.as_deref()))
        .await?;
    let nearby = api.nearby(&visitor, summary).await?;
    tagged(&headers, &api.detail_json(detail, nearby))
}

/// The list as a table, at most 10,000 rows.
#[utoipa::path(get, path = "/events.csv", tag = "events", params(Filter, Purpose),
    responses((status = 200, content_type = "text/csv"), (status = 403, body = Problem)))]
pub(super) async fn csv(api: State, visitor: Visitor, Asked(filter): Asked<Filter>) -> Answer<Response> {
    visitor.may(Action::Export, &Object::Ward)?;
    let mut query = api.query(&visitor, &filter)?;
    visitor.record(&api, Action::Export, About::new(searched(&filter))).await?;
    (query.limit, query.after) = (MAX_EXPORT, None);
    let rows: Vec<_> = api.events.export(query).await?.into_iter().map(|e| api.event_json(e)).collect();
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"su-kien.csv\""),
    ];
    Ok((StatusCode::OK, headers, shape::csv(&rows, &api.timezone)).into_response())
}

/// What a search was for, without where its page began.
fn searched(filter: &Filter) -> String {
    asked_for(&Filter { after: None, limit: None, ..filter.clone() })
}

/// A filter as the log has it: what it names, and no more of it than fits.
pub(super) fn asked_for(filter: &impl Serialize) -> String {
    let mut text = serde_json::to_value(filter).unwrap_or_default();
    if let Some(fields) = text.as_object_mut() {
        fields.retain(|_, v| !v.is_null() && !v.as_array().is_some_and(Vec::is_empty));
    }
    let text = text.to_string();
    match text.char_indices().nth(MAX_SEARCHED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl Api {
    /// A filter as the store understands it, cut down to what the visitor reaches.
    fn query(&self, visitor: &Visitor, filter: &Filter) -> Answer<EventQuery> {
        fn words<T: serde::de::DeserializeOwned>(name: &str, values: &[String]) -> Answer<Vec<T>> {
            let word = |v: &String| {
                T::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(v))
                    .map_err(|_| invalid(format!("`{}` is no {name}", v.escape_debug())))
            };
            values.iter().map(word).collect()
        }
        let split = |text: &String| {
            let (node, camera) = text.split_once('/').ok_or_else(|| invalid("a camera is written node/camera"))?;
            Ok((node.to_owned(), camera.to_owned()))
        };
        let mut cameras = match filter.camera.is_empty() {
            true => visitor.session.user.cut(),
            false => {
                let asked: Vec<_> = filter.camera.iter().map(split).collect::<Answer<_>>()?;
                Some(asked.into_iter().filter(|(n, c)| visitor.session.user.reaches(n, c)).collect())
            }
        };
        if !filter.area.is_empty() {
            let within = self.cameras_in(&filter.area);
            cameras = Some(match cameras {
                Some(cameras) => cameras.into_iter().filter(|c| within.contains(c)).collect(),
                None => within,
            });
        }
        Ok(EventQuery {
            from_ms: filter.from_ms,
            to_ms: filter.to_ms,
            cameras,
            rules: filter.rule.clone(),
            kinds: filter.kind.clone(),
            severities: words::<Severity>("severity", &filter.severity)?,
            labels: filter.label.clone(),
            phases: words::<Phase>("phase", &filter.phase)?,
            states: words::<TriageState>("state", &filter.state)?,
            text: filter.text.clone().unwrap_or_default(),
            names: match filter.text.as_ref().is_some_and(|text| !text.trim().is_empty()) {
                true => self.directory.names(),
                false => Default::default(),
            },
            cameras_only: visitor.ask(Action::EventView, &Object::Node("")).is_err(),
            limit: filter.limit.unwrap_or(EventQuery::default().limit),
            after: filter.after.clone(),
        })
    }

    /// An event that `visitor` may do `action` with. One that is out of reach is not there for him.
    pub(super) async fn detail(
        &self,
        visitor: &Visitor,
        action: Action,
        node: String,
        id: String,
    ) -> Answer<EventDetail> {
        let detail = self.events.event(node, id).await?.ok_or_else(|| refuse(Code::NotFound))?;
        self.permit(visitor, action, &detail.summary)?;
        Ok(detail)
    }

    /// As `can` says; a camera out of reach is answered as if it were not there.
    pub(super) fn permit(&self, visitor: &Visitor, action: Action, event: &EventSummary) -> Answer<()> {
        let asked = match &event.camera {
            Some(camera) => self.lent(&event.node, camera, |lent| visitor.ask(action, &Object::Event(lent))),
            None => visitor.ask(action, &Object::Node(&event.node)),
        };
        self.verdict(action, asked)
    }

    /// What happened on other cameras at that time, as far as the visitor may know.
    async fn nearby(&self, visitor: &Visitor, event: &EventSummary) -> Answer<Vec<EventSummary>> {
        let query = EventQuery {
            from_ms: Some(event.started_ms - NEAR_MS),
            to_ms: Some(event.started_ms + NEAR_MS + 1),
            cameras: visitor.session.user.cut(),
            cameras_only: true,
            limit: 4 * NEAR,
            ..EventQuery::default()
        };
        let mut near = self.events.events(query).await?.items;
        near.retain(|e| (&e.node, &e.camera) != (&event.node, &event.camera));
        near.sort_by_key(|e| (self.metres_between(event, e), (e.started_ms - event.started_ms).abs()));
        near.truncate(NEAR);
        Ok(near)
    }

    /// One row a camera, of many more, for the thumbnails that a list will show.
    async fn thumbnails_of(&self, visitor: &Visitor, events: &[EventSummary]) -> Answer<()> {
        let mut rows: Vec<(About, Vec<String>)> = Vec::new();
        let shown = |e: &&EventSummary| e.snapshot.is_some() && self.permit(visitor, Action::SnapshotView, e).is_ok();
        let shown: Vec<&EventSummary> = events.iter().filter(shown).collect();
        for event in &shown {
            let Some(camera) = &event.camera else { continue };
            let about = About::of_camera("", &event.node, Some(camera));
            match rows.iter_mut().find(|(of, _)| *of == about) {
                Some((_, ids)) => ids.push(event.id.clone()),
                None => rows.push((about, vec![event.id.clone()])),
            }
        }
        let named = rows.iter().flat_map(|(about, ids)| {
            ids.chunks(NAMED).map(|ids| About { object: format!("thumbnails {}", ids.join(" ")), ..about.clone() })
        });
        visitor.see_all(self, Action::SnapshotView, named.collect()).await?;
        for event in shown {
            visitor.seen(self, Action::SnapshotView, of_thumbnail(event));
        }
        Ok(())
    }
}
