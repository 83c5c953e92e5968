//! Emergencies: a commander opens live view of cameras that are not shared live, for a reason and a time. Everybody who
//! works here sees that one lasts, and the nodes log it.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Api;
use super::caller::{About, State, Visitor};
use super::input::Body;
use super::problem::{Answer, Code, Problem, refuse};
use super::shape::PersonJson;
use crate::base::Result;
use crate::centre::account::CameraKey;
use crate::centre::account::can::{Action, Object};
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

/// The emergencies that last: everybody who is logged in may know.
#[utoipa::path(get, path = "/emergencies", tag = "emergencies",
    responses((status = 200, body = EmergencyList), (status = 403, body = Problem)))]
pub(super) async fn list(api: State, visitor: Visitor) -> Answer<Json<EmergencyList>> {
    visitor.may(Action::CameraView, &Object::Ward)?;
    let lasting = api.store.emergencies(api.clock.now().wall_ms).await?;
    Ok(Json(EmergencyList { items: lasting.into_iter().map(|e| api.emergency_json(e)).collect() }))
}

/// Declares one.
#[utoipa::path(post, path = "/emergencies", tag = "emergencies", request_body = NewEmergency,
    responses((status = 201, body = EmergencyJson), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn declare(
    api: State,
    visitor: Visitor,
    Body(new): Body<NewEmergency>,
) -> Answer<(StatusCode, Json<EmergencyJson>)> {
    visitor.may(Action::Emergency, &Object::Ward)?;
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
