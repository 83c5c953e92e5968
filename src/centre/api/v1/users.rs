//! Accounts, made and changed by a commander.

use std::collections::BTreeSet;

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::{About, State, Visitor};
use super::input::{Body, Path};
use super::problem::{Answer, Problem, invalid};
use crate::centre::account::can::{Action, Object};
use crate::centre::account::{Account, CameraKey, Change, LinkKind, Role, User};

/// The most cameras that an account is cut down to.
const MAX_CAMERAS: usize = 1000;

/// All accounts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserList {
    items: Vec<UserJson>,
}

/// One account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserJson {
    id: String,
    name: String,
    display_name: String,
    #[schema(value_type = String)]
    role: Role,
    /// `[node, camera]` each; null: all, for an owner none.
    #[schema(value_type = Option<Vec<Vec<String>>>)]
    cameras: Option<BTreeSet<CameraKey>>,
    disabled: bool,
    /// A password was set.
    ready: bool,
    created_ms: i64,
    last_login_ms: Option<i64>,
    /// There is a second factor.
    totp: bool,
}

/// A new account.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewUser {
    name: String,
    display_name: String,
    #[schema(value_type = String)]
    role: Role,
    #[serde(default)]
    #[schema(value_type = Option<Vec<Vec<String>>>)]
    cameras: Option<BTreeSet<CameraKey>>,
}

/// What is to be changed; what is left out stays.
#[derive(Deserialize, ToSchema)]
pub(super) struct UserChange {
    display_name: Option<String>,
    #[schema(value_type = Option<String>)]
    role: Option<Role>,
    /// Null: all cameras.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<Vec<String>>>)]
    cameras: Option<Option<BTreeSet<CameraKey>>>,
    disabled: Option<bool>,
}

/// A one-time link: shown once, `#/link/` and the token on the page.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LinkJson {
    link_token: String,
    link_expires_ms: i64,
}

/// A new account with the link that sets its password.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AddedJson {
    user: UserJson,
    link_token: String,
    link_expires_ms: i64,
}

fn given<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Option<BTreeSet<CameraKey>>>, D::Error> {
    Option::deserialize(d).map(Some)
}

/// All accounts.
#[utoipa::path(get, path = "/users", tag = "users",
    responses((status = 200, body = UserList), (status = 403, body = Problem)))]
pub(super) async fn list(api: State, visitor: Visitor) -> Answer<Json<UserList>> {
    visitor.may(Action::UserView, &Object::Ward)?;
    visitor.see(&api, Action::UserView, About::new("users")).await?;
    let accounts = api.accounts.accounts().await?;
    Ok(Json(UserList { items: accounts.into_iter().map(UserJson::from).collect() }))
}

/// Adds one.
#[utoipa::path(post, path = "/users", tag = "users", request_body = NewUser,
    responses((status = 201, body = AddedJson), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn add(
    api: State,
    visitor: Visitor,
    Body(new): Body<NewUser>,
) -> Answer<(StatusCode, Json<AddedJson>)> {
    visitor.may(Action::UserEdit, &Object::Ward)?;
    few(new.cameras.as_ref())?;
    let by = Some(&visitor.session);
    let (user, link_token, link_expires_ms) =
        api.accounts.add(&new.name, &new.display_name, new.role, new.cameras, by).await?;
    let created_ms = api.clock.now().wall_ms;
    let user = UserJson::from(Account { user, ready: false, created_ms, last_login_ms: None, second_factor: false });
    Ok((StatusCode::CREATED, Json(AddedJson { user, link_token, link_expires_ms })))
}

/// Changes one; its sessions end.
#[utoipa::path(patch, path = "/users/{id}", tag = "users", params(("id" = String, Path)), request_body = UserChange,
    responses((status = 204), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn edit(
    api: State,
    visitor: Visitor,
    Path(id): Path<String>,
    Body(change): Body<UserChange>,
) -> Answer<StatusCode> {
    visitor.may(Action::UserEdit, &Object::Ward)?;
    few(change.cameras.as_ref().and_then(Option::as_ref))?;
    let UserChange { display_name, role, cameras, disabled } = change;
    api.accounts.edit(&id, Change { display_name, role, cameras, disabled }, Some(&visitor.session)).await?;
    api.learn_people().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A new link to set a password; an older one is void.
#[utoipa::path(post, path = "/users/{id}/link", tag = "users", params(("id" = String, Path)),
    responses((status = 200, body = LinkJson), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn link(api: State, visitor: Visitor, Path(id): Path<String>) -> Answer<Json<LinkJson>> {
    visitor.may(Action::UserEdit, &Object::Ward)?;
    let (link_token, link_expires_ms) = api.accounts.link(&id, LinkKind::Setup, Some(&visitor.session)).await?;
    Ok(Json(LinkJson { link_token, link_expires_ms }))
}

/// Ends all sessions of one.
#[utoipa::path(delete, path = "/users/{id}/sessions", tag = "users", params(("id" = String, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn end_sessions(api: State, visitor: Visitor, Path(id): Path<String>) -> Answer<StatusCode> {
    visitor.may(Action::UserEdit, &Object::Ward)?;
    api.accounts.end_sessions_of(&id, Some(&visitor.session)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes one's second factor away: its user lost the phone.
#[utoipa::path(delete, path = "/users/{id}/totp", tag = "users", params(("id" = String, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn drop_factor(api: State, visitor: Visitor, Path(id): Path<String>) -> Answer<StatusCode> {
    visitor.may(Action::UserEdit, &Object::Ward)?;
    api.accounts.drop_factor_of(&id, Some(&visitor.session)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn few(cameras: Option<&BTreeSet<CameraKey>>) -> Answer<()> {
    match cameras.is_some_and(|c| c.len() > MAX_CAMERAS) {
        true => Err(invalid(format!("an account has at most {MAX_CAMERAS} cameras"))),
        false => Ok(()),
    }
}

impl From<Account> for UserJson {
    fn from(a: Account) -> Self {
        let Account { user, ready, created_ms, last_login_ms, second_factor: totp } = a;
        let User { id, name, display_name, role, cameras, disabled } = user;
        Self { id, name, display_name, role, cameras, disabled, ready, created_ms, last_login_ms, totp }
    }
}
