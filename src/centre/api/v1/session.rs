//! Logging in and out, and who one is.

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum_extra::extract::CookieJar;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::caller::{Source, State, Visitor, cookie};
use super::input::Body;
use super::problem::{Answer, Code, Problem, Refused, invalid, refuse};
use crate::centre::account::can::{Action, Object};
use crate::centre::account::{CameraKey, LinkRefusal, LoggedIn, LoginRefusal, LoginRequest, Role, Session};
use crate::config::Secret;

/// What anybody may know.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SiteJson {
    ward: String,
    ward_name: String,
    timezone: String,
    utc_offset: UtcOffsetJson,
    version: String,
    /// Nobody has ever got in: the one-time link of the first commander waits at the centre's machine.
    setup_needed: bool,
    now_ms: i64,
}

/// How far the site's clocks are ahead of UTC, and from when to when.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UtcOffsetJson {
    /// Negative: they are behind.
    seconds: i32,
    /// Null: since ever.
    from_ms: Option<i64>,
    /// Exclusive. Null: no change is foreseen.
    to_ms: Option<i64>,
}

impl UtcOffsetJson {
    fn at(wall_ms: i64, timezone: &TimeZone) -> Self {
        let at = Timestamp::from_millisecond(wall_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        // A change at this very moment is its beginning.
        let after = at.checked_add(Span::new().nanoseconds(1)).unwrap_or(at);
        Self {
            seconds: timezone.to_offset(at).seconds(),
            from_ms: timezone.preceding(after).next().map(|change| change.timestamp().as_millisecond()),
            to_ms: timezone.following(at).next().map(|change| change.timestamp().as_millisecond()),
        }
    }
}

/// Who is logged in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Me {
    user: MeUser,
    /// Actions that the role does at all.
    may: Vec<String>,
    /// The cameras in reach; null: all.
    #[schema(value_type = Option<Vec<Vec<String>>>)]
    cameras: Option<Vec<CameraKey>>,
    /// There is a second factor.
    totp: bool,
    expires_ms: i64,
}

/// A user as colleagues see him.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MeUser {
    id: String,
    name: String,
    display_name: String,
    #[schema(value_type = String)]
    role: Role,
}

/// Name and password.
#[derive(Deserialize, ToSchema)]
pub(super) struct Login {
    name: String,
    password: String,
    /// Of the second factor, where there is one.
    code: Option<String>,
}

/// A one-time link, and the password that is chosen with it.
#[derive(Deserialize, ToSchema)]
pub(super) struct Link {
    token: String,
    password: Option<String>,
    /// Of the second factor, where there is one.
    code: Option<String>,
}

/// A change of one's own password.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewPassword {
    old: String,
    new: String,
}

/// What this place is.
#[utoipa::path(get, path = "/site", tag = "session", responses((status = 200, body = SiteJson)))]
pub(super) async fn site(api: State) -> Answer<Json<SiteJson>> {
    let now_ms = api.clock.now().wall_ms;
    Ok(Json(SiteJson {
        ward: api.ward.clone(),
        ward_name: api.ward_name.clone(),
        timezone: api.timezone_name.clone(),
        utc_offset: UtcOffsetJson::at(now_ms, &api.timezone),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        setup_needed: api.accounts.is_new().await?,
        now_ms,
    }))
}

/// Who one is.
#[utoipa::path(get, path = "/session", tag = "session",
    responses((status = 200, body = Me), (status = 401, body = Problem)))]
pub(super) async fn me(api: State, visitor: Visitor) -> Answer<Json<Me>> {
    let factor = api.accounts.has_factor(&visitor.session.user.id).await?;
    Ok(Json(Me::of(&visitor.session, factor)))
}

/// Logs in.
#[utoipa::path(post, path = "/session", tag = "session", request_body = Login,
    responses((status = 200, body = Me), (status = 401, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn login(
    api: State,
    source: Source,
    jar: CookieJar,
    Body(login): Body<Login>,
) -> Answer<(CookieJar, Json<Me>)> {
    let request = LoginRequest {
        name: login.name,
        password: Secret::new(login.password),
        code: given(login.code),
        address: source.address,
        user_agent: source.user_agent.clone(),
    };
    match api.accounts.login(request).await? {
        Ok(logged_in) => {
            api.learn_people().await?;
            welcome(&api, &source, jar, logged_in).await
        }
        Err(LoginRefusal::CodeNeeded) => Err(refuse(Code::TotpNeeded)),
        Err(LoginRefusal::WrongCode) => Err(refuse(Code::WrongTotp)),
        Err(LoginRefusal::Wrong) => Err(refuse(Code::WrongLogin)),
        Err(LoginRefusal::Locked { retry_ms }) => Err(refuse(Code::Locked).retry(retry_ms.div_ceil(1000))),
    }
}

/// Uses a one-time link up.
#[utoipa::path(post, path = "/session/link", tag = "session", request_body = Link,
    responses((status = 200, body = Me), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 429, body = Problem)))]
pub(super) async fn link(
    api: State,
    source: Source,
    jar: CookieJar,
    Body(link): Body<Link>,
) -> Answer<(CookieJar, Json<Me>)> {
    let password = link.password.map(Secret::new);
    let code = given(link.code);
    match api.accounts.use_link(&link.token, password, code, source.address, source.user_agent.clone()).await? {
        Ok(logged_in) => {
            api.learn_people().await?;
            welcome(&api, &source, jar, logged_in).await
        }
        Err(LinkRefusal::CodeNeeded) => Err(refuse(Code::TotpNeeded)),
        Err(LinkRefusal::WrongCode) => Err(refuse(Code::WrongTotp)),
        Err(LinkRefusal::Unknown) => Err(refuse(Code::WrongLogin)),
        Err(LinkRefusal::Locked { retry_ms }) => Err(refuse(Code::Locked).retry(retry_ms.div_ceil(1000))),
        Err(LinkRefusal::PasswordNeeded { name, display_name }) => {
            Err(refuse(Code::PasswordNeeded).with("name", name).with("display_name", display_name))
        }
        Err(LinkRefusal::Weak(text)) => Err(weak(&text)),
    }
}

/// Logs out.
#[utoipa::path(delete, path = "/session", tag = "session",
    responses((status = 204), (status = 401, body = Problem)))]
pub(super) async fn logout(
    api: State,
    source: Source,
    visitor: Visitor,
    jar: CookieJar,
) -> Answer<(CookieJar, StatusCode)> {
    api.accounts.logout(&visitor.session).await?;
    Ok((jar.add(cookie(&api, &source, String::new())), StatusCode::NO_CONTENT))
}

/// Changes one's own password; all other sessions end.
#[utoipa::path(put, path = "/session/password", tag = "session", request_body = NewPassword,
    responses((status = 204), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 429, body = Problem)))]
pub(super) async fn password(
    api: State,
    visitor: Visitor,
    Body(change): Body<NewPassword>,
) -> Answer<impl IntoResponse> {
    match api.accounts.change_password(&visitor.session, Secret::new(change.old), Secret::new(change.new)).await? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(LinkRefusal::Weak(text)) => Err(weak(&text)),
        Err(LinkRefusal::Locked { retry_ms }) => Err(refuse(Code::Locked).retry(retry_ms.div_ceil(1000))),
        Err(_) => Err(refuse(Code::WrongLogin)),
    }
}

/// A code that was typed.
fn given(code: Option<String>) -> Option<Secret> {
    code.filter(|code| !code.trim().is_empty()).map(Secret::new)
}

fn weak(text: &str) -> Refused {
    invalid(text)
}

async fn welcome(api: &Api, source: &Source, jar: CookieJar, logged_in: LoggedIn) -> Answer<(CookieJar, Json<Me>)> {
    let factor = api.accounts.has_factor(&logged_in.session.user.id).await?;
    let me = Me::of(&logged_in.session, factor);
    Ok((jar.add(cookie(api, source, logged_in.token)), Json(me)))
}

impl Me {
    fn of(session: &Session, totp: bool) -> Self {
        let user = &session.user;
        // What the role may do somewhere: to the ward, to a node, or to the best-shared camera in reach.
        let lent = crate::centre::account::can::Lent {
            node: "",
            camera: "",
            sharing: Some(crate::config::Sharing::ScheduledLive),
            emergency: false,
        };
        let anywhere = crate::centre::account::User { cameras: None, ..user.clone() };
        let caller = crate::centre::account::can::Caller { user: &anywhere, case: Some("?") };
        let objects = [Object::Ward, Object::Event(lent), Object::Camera(lent)];
        let somewhere = |action: &Action| {
            objects.iter().any(|object| {
                use crate::centre::account::can::{Denial, can};
                matches!(can(caller, *action, object), Ok(()) | Err(Denial::Camera))
            })
        };
        Self {
            user: MeUser {
                id: user.id.clone(),
                name: user.name.clone(),
                display_name: user.display_name.clone(),
                role: user.role,
            },
            may: Action::ALL.iter().filter(|a| somewhere(a)).map(|a| a.as_str().to_owned()).collect(),
            cameras: user.cut(),
            totp,
            expires_ms: session.expires_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_counts_from_one_change_of_the_clocks_to_the_next() {
        let of = |zone: &str, at: &str| {
            let at: Timestamp = at.parse().expect("a moment");
            let timezone = TimeZone::get(zone).expect("known");
            let UtcOffsetJson { seconds, from_ms, to_ms } = UtcOffsetJson::at(at.as_millisecond(), &timezone);
            let text = |ms: i64| Timestamp::from_millisecond(ms).expect("a moment").to_string();
            (seconds, from_ms.map(text), to_ms.map(text))
        };
        // Some tables of time zones end with a change that changes nothing.
        let (seconds, since, until) = of("Asia/Ho_Chi_Minh", "2026-11-30T00:00:00Z");
        assert_eq!((seconds, since.as_deref()), (25_200, Some("1975-06-12T16:00:00Z")));
        assert!(until.is_none_or(|until| until.as_str() > "2037"));
        let (spring, autumn) = (Some("2026-03-29T01:00:00Z".to_owned()), Some("2026-10-25T01:00:00Z".to_owned()));
        assert_eq!(of("Europe/Paris", "2026-07-01T00:00:00Z"), (7_200, spring.clone(), autumn.clone()));
        assert_eq!(of("Europe/Paris", "2026-03-29T01:00:00Z"), (7_200, spring.clone(), autumn));
        assert_eq!(of("Europe/Paris", "2026-03-29T00:59:59.999Z").2, spring);
    }
}
