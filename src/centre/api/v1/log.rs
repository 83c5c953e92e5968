//! Who looked at what, as far as the role reads it.

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::caller::{About, State, Visitor};
use super::events::asked_for;
use super::input::Asked;
use super::problem::{Answer, Problem, invalid};
use crate::centre::account::CameraKey;
use crate::centre::account::can::{Action, LogScope, Object, log_scope};
use crate::centre::store::{AccessQuery, AccessReader, AccessRecord};

/// Which entries are wanted.
#[derive(Clone, Debug, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct Wanted {
    from_ms: Option<i64>,
    to_ms: Option<i64>,
    /// A user's id.
    user: Option<String>,
    /// `node/camera`
    camera: Option<String>,
    action: Vec<String>,
    /// 1 to 200; default 50.
    limit: Option<usize>,
    after: Option<String>,
}

/// One page of the log, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LogPage {
    items: Vec<LogJson>,
    next: Option<String>,
}

/// Something that somebody did or looked at.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LogJson {
    at_ms: i64,
    /// Null: nobody with an account.
    user: Option<LogUser>,
    action: String,
    object: String,
    node: Option<String>,
    camera: Option<String>,
    session: Option<String>,
    reason: Option<String>,
    case: Option<String>,
}

/// Who did it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LogUser {
    id: String,
    display_name: Option<String>,
}

/// The log.
#[utoipa::path(get, path = "/log", tag = "log", params(Wanted),
    responses((status = 200, body = LogPage), (status = 403, body = Problem)))]
pub(super) async fn list(api: State, visitor: Visitor, Asked(wanted): Asked<Wanted>) -> Answer<Json<LogPage>> {
    visitor.may(Action::LogView, &Object::Ward)?;
    let user = &visitor.session.user;
    let object = format!("log {}", asked_for(&Wanted { after: None, limit: None, ..wanted.clone() }));
    let mut query = AccessQuery {
        from_ms: wanted.from_ms,
        to_ms: wanted.to_ms,
        user: wanted.user,
        actions: wanted.action,
        limit: wanted.limit.unwrap_or(AccessQuery::default().limit),
        after: wanted.after,
        ..AccessQuery::default()
    };
    if let Some(camera) = &wanted.camera {
        let (node, id) = camera.split_once('/').ok_or_else(|| invalid("a camera is written node/camera"))?;
        query.cameras = Some(vec![(node.to_owned(), id.to_owned())]);
    }
    match log_scope(user.role) {
        LogScope::All => {
            if let Some(own) = user.cut() {
                query.cameras = Some(within(query.cameras, own));
            }
        }
        LogScope::OwnActs => query.user = Some(user.id.clone()),
        LogScope::OwnCameras => {
            query.cameras = Some(within(query.cameras, user.cut().unwrap_or_default()));
        }
        LogScope::System => {
            let system = [Action::CameraEdit, Action::UserEdit].map(|a| a.as_str().to_owned());
            let asked = |a: &String| query.actions.is_empty() || query.actions.contains(a);
            query.actions = system.iter().filter(|a| asked(a)).cloned().collect();
            if query.actions.is_empty() {
                return Ok(Json(LogPage { items: Vec::new(), next: None }));
            }
        }
    }
    visitor.see_lately(&api, Action::LogView, About::new(object)).await?;
    let page = api.events.read(query).await?;
    Ok(Json(LogPage { items: page.items.into_iter().map(LogJson::from).collect(), next: page.next }))
}

/// Of the cameras that were asked for, those that are one's own; of none, one's own.
fn within(asked: Option<Vec<CameraKey>>, own: Vec<CameraKey>) -> Vec<CameraKey> {
    match asked {
        Some(asked) => asked.into_iter().filter(|c| own.contains(c)).collect(),
        None => own,
    }
}

impl From<AccessRecord> for LogJson {
    fn from(record: AccessRecord) -> Self {
        let AccessRecord { entry, display_name, .. } = record;
        Self {
            at_ms: entry.at_ms,
            user: entry.user.map(|id| LogUser { id, display_name }),
            action: entry.action,
            object: entry.object,
            node: entry.node,
            camera: entry.camera,
            session: entry.session,
            reason: entry.reason,
            case: entry.case,
        }
    }
}
