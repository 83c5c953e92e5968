//! One's own account: open sessions and the second factor.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::{State, Visitor};
use super::input::{Body, Path};
use super::problem::{Answer, Code, Problem, Refused, refuse};
use crate::centre::account::{LinkRefusal, totp};
use crate::config::Secret;

/// One's own open sessions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionList {
    items: Vec<SessionJson>,
}

/// An open session.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionJson {
    id: String,
    created_ms: i64,
    /// To the minute.
    last_seen_ms: i64,
    expires_ms: i64,
    address: String,
    user_agent: String,
    /// It is the one that asks.
    current: bool,
}

/// A second factor that is to be confirmed; shown once.
#[derive(Serialize, ToSchema)]
pub(super) struct BegunJson {
    /// Base32.
    secret: String,
    /// `otpauth://totp/…`
    uri: String,
    /// The same as a picture; null: it is too long for one.
    qr_svg: Option<String>,
}

/// A code of the app.
#[derive(Deserialize, ToSchema)]
pub(super) struct CodeJson {
    code: String,
}

/// One's own password.
#[derive(Deserialize, ToSchema)]
pub(super) struct PasswordJson {
    password: String,
}

/// One's own open sessions, the newest first.
#[utoipa::path(get, path = "/me/sessions", tag = "session",
    responses((status = 200, body = SessionList), (status = 401, body = Problem)))]
pub(super) async fn sessions(api: State, visitor: Visitor) -> Answer<Json<SessionList>> {
    let open = api.accounts.sessions(&visitor.session).await?;
    let items = open.into_iter().map(|s| SessionJson {
        current: s.id == visitor.session.id,
        id: s.id,
        created_ms: s.created_ms,
        last_seen_ms: s.last_seen_ms,
        expires_ms: s.expires_ms,
        address: s.address,
        user_agent: s.user_agent,
    });
    Ok(Json(SessionList { items: items.collect() }))
}

/// Ends one of one's own sessions.
#[utoipa::path(delete, path = "/me/sessions/{id}", tag = "session", params(("id" = String, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn end_session(api: State, visitor: Visitor, Path(id): Path<String>) -> Answer<StatusCode> {
    api.accounts.end_session(&visitor.session, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begins a second factor. Nothing changes before a code of it is given.
#[utoipa::path(post, path = "/me/totp", tag = "session", request_body = PasswordJson,
    responses((status = 200, body = BegunJson), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 409, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn begin(api: State, visitor: Visitor, Body(given): Body<PasswordJson>) -> Answer<Json<BegunJson>> {
    let begun = api.accounts.begin_factor(&visitor.session, Secret::new(given.password), &api.ward_name).await?;
    let begun = begun.map_err(wrong_password)?;
    let begun = begun.ok_or_else(|| Refused::because(Code::Obstacle, "there is a second factor already"))?;
    Ok(Json(BegunJson { qr_svg: totp::picture(&begun.uri), secret: begun.secret, uri: begun.uri }))
}

/// Confirms a second factor: from now on its codes are asked for. All other sessions end.
#[utoipa::path(put, path = "/me/totp", tag = "session", request_body = CodeJson,
    responses((status = 204), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 409, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn confirm(api: State, visitor: Visitor, Body(given): Body<CodeJson>) -> Answer<StatusCode> {
    match api.accounts.confirm_factor(&visitor.session, Secret::new(given.code)).await? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(LinkRefusal::Locked { retry_ms }) => Err(refuse(Code::Locked).retry(retry_ms.div_ceil(1000))),
        // Whoever mistypes is logged in all the same.
        Err(LinkRefusal::WrongCode) => Err(refuse(Code::WrongTotp).status(StatusCode::BAD_REQUEST)),
        Err(_) => Err(Refused::because(Code::Obstacle, "no second factor was begun in the last ten minutes")),
    }
}

/// Takes one's own second factor away.
#[utoipa::path(delete, path = "/me/totp", tag = "session", request_body = PasswordJson,
    responses((status = 204), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 429, body = Problem)))]
pub(super) async fn drop_factor(api: State, visitor: Visitor, Body(given): Body<PasswordJson>) -> Answer<StatusCode> {
    match api.accounts.drop_factor(&visitor.session, Secret::new(given.password)).await? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(refusal) => Err(wrong_password(refusal)),
    }
}

fn wrong_password(refusal: LinkRefusal) -> Refused {
    match refusal {
        LinkRefusal::Locked { retry_ms } => refuse(Code::Locked).retry(retry_ms.div_ceil(1000)),
        _ => refuse(Code::WrongLogin),
    }
}
