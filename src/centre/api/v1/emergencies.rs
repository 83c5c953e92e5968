//! Emergencies: a commander opens live view of cameras that are not shared live, for a reason and a time. Everybody who
//! works here sees that one lasts, and the nodes log it.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Api;
use super::caller::{About, State, Visitor};
use super::input::{Body, Path};
use super::problem::{Answer, Code, Problem, Refused, refuse};
use super::shape::PersonJson;
use crate::base::Result;
use crate::centre::account::CameraKey;
use crate::centre::account::can::{Action, Denial, Object};
use crate::centre::directory::InForce;
use crate::centre::feed::Audience;
use crate::centre::store::{EmergencyStore, StoredEmergency};

/// An emergency to be declared.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewEmergency {
    /// `[node, camera]` each; null: all.
    #[schema(value_type = Option<Vec<Vec<String>>>)]
    cameras: Option<Vec<CameraKey>>,
    reason: String,
    /// At most twelve hours from now.
    until_ms: i64,
}

/// The emergencies that last.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EmergencyList {
    items: Vec<EmergencyJson>,
}

/// An emergency.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EmergencyJson {
    id: String,
    #[schema(value_type = Option<Vec<Vec<String>>>)]
    cameras: Option<Vec<CameraKey>>,
    reason: String,
    by: PersonJson,
    created_ms: i64,
    until_ms: i64,
}

/// The emergencies that last: everybody who is logged in may know of those that reach his cameras.
#[utoipa::path(get, path = "/emergencies", tag = "emergencies",
    responses((status = 200, body = EmergencyList), (status = 403, body = Problem)))]
pub(super) async fn list(api: State, visitor: Visitor) -> Answer<Json<EmergencyList>> {
    visitor.may(Action::CameraView, &Object::Ward)?;
    let lasting = api.store.emergencies(api.clock.now().wall_ms).await?;
    let user = &visitor.session.user;
    // Of another's cameras nobody learns here that they were opened, or why.
    let shown = |mut e: StoredEmergency| {
        let mine =
            |cameras: Vec<CameraKey>| cameras.into_iter().filter(|(n, c)| user.reaches(n, c)).collect::<Vec<_>>();
        e.cameras = match (e.cameras, user.cut()) {
            (None, cut) => cut,
            (Some(cameras), _) => Some(mine(cameras)),
        };
        e.cameras.as_ref().is_none_or(|c| !c.is_empty()).then_some(e)
    };
    Ok(Json(EmergencyList { items: lasting.into_iter().filter_map(shown).map(|e| api.emergency_json(e)).collect() }))
}

/// Declares one.
#[utoipa::path(post, path = "/emergencies", tag = "emergencies", request_body = NewEmergency,
    responses((status = 201, body = EmergencyJson), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn declare(
    api: State,
    visitor: Visitor,
    Body(new): Body<NewEmergency>,
) -> Answer<(StatusCode, Json<EmergencyJson>)> {
    api.may_declare(&visitor, new.cameras.as_deref())?;
    let emergency = StoredEmergency {
        id: Uuid::now_v7().to_string(),
        cameras: new.cameras,
        reason: new.reason,
        by: visitor.session.user.id.clone(),
        created_ms: api.clock.now().wall_ms,
        until_ms: new.until_ms,
    };
    let mut entry = visitor.entry(&api, Action::Emergency, About::new(format!("emergency {} declared", emergency.id)));
    entry.reason = Some(emergency.reason.clone());
    api.store.declare(emergency.clone(), entry).await?;
    api.emergencies_changed().await?;
    Ok((StatusCode::CREATED, Json(api.emergency_json(emergency))))
}

/// Ends one before its time.
#[utoipa::path(delete, path = "/emergencies/{id}", tag = "emergencies", params(("id" = String, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn end(api: State, visitor: Visitor, Path(id): Path<String>) -> Answer<StatusCode> {
    visitor.may(Action::Emergency, &Object::Ward)?;
    let lasting = api.store.emergencies(api.clock.now().wall_ms).await?;
    let asked = lasting.into_iter().find(|e| e.id == id).ok_or_else(|| refuse(Code::NotFound))?;
    api.may_declare(&visitor, asked.cameras.as_deref())?;
    let entry = visitor.entry(&api, Action::Emergency, About::new(format!("emergency {id} ended")));
    match api.store.end_emergency(id, api.clock.now().wall_ms, entry).await? {
        true => {
            api.emergencies_changed().await?;
            Ok(StatusCode::NO_CONTENT)
        }
        false => Err(refuse(Code::NotFound)),
    }
}

impl Api {
    /// Whether `visitor` may declare or end an emergency of these cameras; without a list it is of all.
    fn may_declare(&self, visitor: &Visitor, cameras: Option<&[CameraKey]>) -> Answer<()> {
        visitor.may(Action::Emergency, &Object::Ward)?;
        if cameras.is_none() && visitor.session.user.cut().is_some() {
            return Err(Refused::denied(Action::Emergency, Denial::Camera));
        }
        for (node, camera) in cameras.unwrap_or_default() {
            let asked = self.lent(node, camera, |lent| visitor.ask(Action::Emergency, &Object::Camera(lent)));
            self.verdict(Action::Emergency, asked)?;
        }
        Ok(())
    }

    /// Learns which emergencies last.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub(super) async fn learn_emergencies(&self) -> Result<()> {
        let in_force = |e: StoredEmergency| InForce {
            who: self.person(&e.by).display_name,
            id: e.id,
            reason: e.reason,
            until_ms: e.until_ms,
            cameras: e.cameras,
        };
        let lasting = self.store.emergencies(self.clock.now().wall_ms).await?;
        self.directory.emergencies(lasting.into_iter().map(in_force).collect());
        Ok(())
    }

    async fn emergencies_changed(&self) -> Answer<()> {
        self.learn_emergencies().await?;
        self.feed.tell("emergency", Audience::All, "{}".into());
        Ok(())
    }

    fn emergency_json(&self, e: StoredEmergency) -> EmergencyJson {
        EmergencyJson {
            by: self.person(&e.by),
            id: e.id,
            cameras: e.cameras,
            reason: e.reason,
            created_ms: e.created_ms,
            until_ms: e.until_ms,
        }
    }
}
