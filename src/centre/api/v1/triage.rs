//! What officers do with events, what they silence, and what is reported at the end of a shift.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Api;
use super::caller::{About, State, Visitor};
use super::input::{Asked, Body, Path};
use super::problem::{Answer, Code, Problem, Refused, invalid, refuse};
use super::shape::{EventJson, PersonJson, TriageJson};
use crate::centre::account::Role;
use crate::centre::account::can::{Action, Object};
use crate::centre::store::query::{EventStore, EventSummary, Report, ReportQuery};
use crate::centre::triage::{Act, Officer, Refusal, Snooze, Triage, Verdict};

/// What is to be done with an event.
#[derive(Deserialize, ToSchema)]
pub(super) struct TriageAct {
    /// `own`, `release`, `dispatch`, `resolve`, `reopen`
    action: String,
    /// The `version` of the triage that was seen.
    version: u32,
    /// `true_alarm` or `false_alarm`; a resolution needs one.
    #[schema(value_type = Option<String>)]
    verdict: Option<Verdict>,
    note: Option<String>,
}

/// A note.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewNote {
    /// 1 to 2000 characters.
    text: String,
}

/// Another event of the same incident.
#[derive(Deserialize, ToSchema)]
pub(super) struct JoinWith {
    node: String,
    id: String,
}

/// A camera, or one of its rules, that is to call nobody.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewSnooze {
    node: String,
    camera: String,
    /// Without it: all rules.
    rule: Option<String>,
    until_ms: i64,
    reason: String,
}

/// What calls nobody now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SnoozeList {
    items: Vec<SnoozeJson>,
}

/// A camera, or one of its rules, that calls nobody for a while.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SnoozeJson {
    id: String,
    node: String,
    camera: String,
    rule: Option<String>,
    until_ms: i64,
    reason: String,
    by: PersonJson,
    created_ms: i64,
}

/// Of when.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Span {
    /// UTC milliseconds.
    from_ms: i64,
    /// Exclusive; 31 days after `from_ms` at most.
    to_ms: i64,
}

/// What happened in a shift, and what was done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReportJson {
    from_ms: i64,
    to_ms: i64,
    ward_name: String,
    counts: TallyJson,
    by_camera: Vec<CameraTallyJson>,
    by_officer: Vec<OfficerTallyJson>,
    /// What is still to be done.
    open: Vec<EventJson>,
    notes: Vec<ReportNoteJson>,
    /// Cameras and nodes that are away now.
    outages: Vec<OutageJson>,
}

/// Events that began in the span.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TallyJson {
    alerts: u64,
    notices: u64,
    true_alarms: u64,
    false_alarms: u64,
    /// Alerts without a verdict.
    unresolved: u64,
}

/// The same of one camera.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CameraTallyJson {
    node: String,
    /// Null: the node itself.
    camera: Option<String>,
    camera_name: String,
    #[serde(flatten)]
    tally: TallyJson,
}

/// What one officer did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OfficerTallyJson {
    user: PersonJson,
    owned: u64,
    dispatched: u64,
    resolved: u64,
    /// From an alert's commit until he took it as the first.
    median_own_seconds: Option<f64>,
}

/// What was written.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReportNoteJson {
    at_ms: i64,
    by: Option<PersonJson>,
    node: String,
    event: String,
    text: String,
}

/// Something that is away.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OutageJson {
    node: String,
    /// Null: the node itself.
    camera: Option<String>,
    state: String,
    since_ms: Option<i64>,
}

/// Takes, gives back, sends a patrol, resolves or reopens.
#[utoipa::path(post, path = "/events/{node}/{id}/triage", tag = "triage", request_body = TriageAct,
    params(("node" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = TriageJson), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn act(
    api: State,
    visitor: Visitor,
    Path((node, id)): Path<(String, String)>,
    Body(asked): Body<TriageAct>,
) -> Answer<Json<TriageJson>> {
    let event = api.summary(&visitor, Action::Triage, node, id).await?;
    let act = match (asked.action.as_str(), asked.verdict) {
        ("own", _) => Act::Own,
        ("release", _) => Act::Release,
        ("dispatch", _) => Act::Dispatch,
        ("resolve", Some(verdict)) => Act::Resolve { verdict, note: asked.note },
        ("resolve", None) => return Err(invalid("a resolution needs a verdict")),
        ("reopen", _) => Act::Reopen,
        _ => return Err(invalid("action is own, release, dispatch, resolve or reopen")),
    };
    visitor.record(&api, Action::Triage, about(&asked.action, &event)).await?;
    let officer = officer(&visitor);
    let done = api.desk.act((event.node, event.id), act, officer, asked.version).await?;
    api.done(done, event.snoozed).map(Json)
}

/// Writes something about an event.
#[utoipa::path(post, path = "/events/{node}/{id}/notes", tag = "triage", request_body = NewNote,
    params(("node" = String, Path), ("id" = String, Path)),
    responses((status = 201, body = TriageJson), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn note(
    api: State,
    visitor: Visitor,
    Path((node, id)): Path<(String, String)>,
    Body(new): Body<NewNote>,
) -> Answer<(StatusCode, Json<TriageJson>)> {
    let event = api.summary(&visitor, Action::Note, node, id).await?;
    visitor.record(&api, Action::Note, about("note", &event)).await?;
    let officer = officer(&visitor);
    let done = api.desk.act((event.node, event.id), Act::Note { text: new.text }, officer, 0).await?;
    Ok((StatusCode::CREATED, Json(api.done(done, event.snoozed)?)))
}

/// Makes two events parts of one incident.
#[utoipa::path(post, path = "/events/{node}/{id}/join", tag = "triage", request_body = JoinWith,
    params(("node" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = TriageJson), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn join(
    api: State,
    visitor: Visitor,
    Path((node, id)): Path<(String, String)>,
    Body(with): Body<JoinWith>,
) -> Answer<Json<TriageJson>> {
    let event = api.summary(&visitor, Action::Triage, node, id).await?;
    let other = api.summary(&visitor, Action::Triage, with.node, with.id).await?;
    visitor.record(&api, Action::Triage, about(&format!("join {}", other.id), &event)).await?;
    let officer = officer(&visitor);
    let done = api.desk.join((event.node, event.id), (other.node, other.id), officer).await?;
    api.done(done, event.snoozed).map(Json)
}

/// What calls nobody now.
#[utoipa::path(get, path = "/snoozes", tag = "triage",
    responses((status = 200, body = SnoozeList), (status = 403, body = Problem)))]
pub(super) async fn snoozes(api: State, visitor: Visitor) -> Answer<Json<SnoozeList>> {
    visitor.may(Action::Snooze, &Object::Ward)?;
    let reached = |s: &Snooze| visitor.session.user.reaches(&s.node, &s.camera);
    let named = |s: Snooze| SnoozeJson {
        by: api.person(&s.by),
        id: s.id,
        node: s.node,
        camera: s.camera,
        rule: s.rule,
        until_ms: s.until_ms,
        reason: s.reason,
        created_ms: s.created_ms,
    };
    let items = api.desk.snoozes().await?.into_iter().filter(reached).map(named).collect();
    Ok(Json(SnoozeList { items }))
}

/// Silences a camera or a rule, at most for seven days.
#[utoipa::path(post, path = "/snoozes", tag = "triage", request_body = NewSnooze,
    responses((status = 201), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn snooze(api: State, visitor: Visitor, Body(new): Body<NewSnooze>) -> Answer<StatusCode> {
    api.directory.get(&new.node, &new.camera).ok_or_else(|| refuse(Code::NotFound))?;
    let asked = api.lent(&new.node, &new.camera, |lent| visitor.ask(Action::Snooze, &Object::Camera(lent)));
    api.verdict(Action::Snooze, asked)?;
    let object = format!("snooze {}", new.rule.as_deref().unwrap_or("all rules"));
    visitor.record(&api, Action::Snooze, About::of_camera(object, &new.node, Some(&new.camera))).await?;
    let snooze = Snooze {
        id: Uuid::now_v7().to_string(),
        node: new.node,
        camera: new.camera,
        rule: new.rule,
        until_ms: new.until_ms,
        reason: new.reason,
        by: visitor.session.user.id.clone(),
        created_ms: api.clock.now().wall_ms,
    };
    api.desk.snooze(snooze).await?;
    Ok(StatusCode::CREATED)
}

/// Ends a snooze before its time.
#[utoipa::path(delete, path = "/snoozes/{id}", tag = "triage", params(("id" = String, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn unsnooze(api: State, visitor: Visitor, Path(id): Path<String>) -> Answer<StatusCode> {
    visitor.may(Action::Snooze, &Object::Ward)?;
    let found = api.desk.snoozes().await?.into_iter().find(|s| s.id == id).ok_or_else(|| refuse(Code::NotFound))?;
    let asked = api.lent(&found.node, &found.camera, |lent| visitor.ask(Action::Snooze, &Object::Camera(lent)));
    api.verdict(Action::Snooze, asked)?;
    visitor.record(&api, Action::Snooze, About::of_camera("snooze ended", &found.node, Some(&found.camera))).await?;
    match api.desk.unsnooze(id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(refuse(Code::NotFound)),
    }
}

/// The report of a shift (báo cáo ca trực).
#[utoipa::path(get, path = "/report", tag = "triage", params(Span),
    responses((status = 200, body = ReportJson), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn report(api: State, visitor: Visitor, Asked(span): Asked<Span>) -> Answer<Json<ReportJson>> {
    visitor.may(Action::ReportView, &Object::Ward)?;
    let Span { from_ms, to_ms } = span;
    visitor.see(&api, Action::ReportView, About::new(format!("report {from_ms} {to_ms}"))).await?;
    let cameras = visitor.session.user.cut();
    let report = api.events.report(ReportQuery { from_ms, to_ms, cameras }).await?;
    Ok(Json(api.report_json(&visitor, &span, report)))
}

fn about(what: &str, event: &EventSummary) -> About {
    About::of_camera(format!("{what} {}", event.id), &event.node, event.camera.as_deref())
}

fn officer(visitor: &Visitor) -> Officer {
    let user = &visitor.session.user;
    Officer { id: user.id.clone(), commander: user.role == Role::Commander }
}

impl Api {
    /// An event in a list that `visitor` may do `action` with.
    pub(super) async fn summary(
        &self,
        visitor: &Visitor,
        action: Action,
        node: String,
        id: String,
    ) -> Answer<EventSummary> {
        let event = self.events.summary(node, id).await?.ok_or_else(|| refuse(Code::NotFound))?;
        self.permit(visitor, action, &event)?;
        Ok(event)
    }

    fn done(&self, done: Result<Triage, Refusal>, snoozed: bool) -> Answer<TriageJson> {
        match done {
            Ok(triage) => Ok(self.triage_json(triage, snoozed)),
            Err(Refusal::Conflict { owner, version }) => Err(refuse(Code::Conflict)
                .with("owner", owner.map(|id| self.person(&id).display_name))
                .with("version", version)),
            Err(Refusal::NotAllowed(obstacle)) => {
                Err(Refused::because(Code::Obstacle, obstacle.text()).with("obstacle", obstacle.as_str()))
            }
        }
    }

    fn report_json(&self, visitor: &Visitor, span: &Span, report: Report) -> ReportJson {
        let tally = |t: &crate::centre::store::query::CameraTally| TallyJson {
            alerts: t.alerts,
            notices: t.notices,
            true_alarms: t.true_alarms,
            false_alarms: t.false_alarms,
            unresolved: t.unresolved,
        };
        let of_camera = |t: crate::centre::store::query::CameraTally| CameraTallyJson {
            tally: tally(&t),
            camera_name: self.camera_name(&t.node, &t.camera),
            node: t.node,
            camera: (!t.camera.is_empty()).then_some(t.camera),
        };
        ReportJson {
            from_ms: span.from_ms,
            to_ms: span.to_ms,
            ward_name: self.ward_name.clone(),
            counts: tally(&report.total),
            by_camera: report.by_camera.into_iter().map(of_camera).collect(),
            by_officer: report
                .by_officer
                .into_iter()
                .map(|o| OfficerTallyJson {
                    user: self.person(&o.user),
                    owned: o.owned,
                    dispatched: o.dispatched,
                    resolved: o.resolved,
                    median_own_seconds: o.median_own_ms.map(|ms| ms as f64 / 1000.0),
                })
                .collect(),
            open: report.open.into_iter().map(|e| self.event_json(e)).collect(),
            notes: report
                .notes
                .into_iter()
                .map(|n| ReportNoteJson {
                    at_ms: n.at_ms,
                    by: n.by.map(|id| self.person(&id)),
                    node: n.node,
                    event: n.event,
                    text: n.text,
                })
                .collect(),
            outages: self.outages(visitor),
        }
    }

    fn outages(&self, visitor: &Visitor) -> Vec<OutageJson> {
        use crate::wire::status::PeerState;
        let away = |(node, status): (String, crate::wire::status::PeerStatus)| {
            let state = match status.state {
                PeerState::Online => return None,
                PeerState::Stopping => "stopping",
                PeerState::Offline => "offline",
            };
            let since_ms = super::shape::millis(&status.since);
            Some(OutageJson { node, camera: None, state: state.into(), since_ms })
        };
        let mut outages: Vec<OutageJson> = self.directory.nodes().into_iter().filter_map(away).collect();
        for ((node, camera), known) in self.directory.cameras() {
            let Some(status) = known.status.filter(|s| s.state != "online" && s.state != "removed") else { continue };
            if visitor.session.user.reaches(&node, &camera) && self.directory.is_current(&node, &status) {
                let since_ms = super::shape::millis(&status.since);
                outages.push(OutageJson { node, camera: Some(camera), state: status.state, since_ms });
            }
        }
        outages
    }
}
