//! How the API says no (RFC 9457): one table of codes, and no word about our insides.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::{Ref, RefOr, Response as Described};

use crate::base::{Error, ErrorKind};
use crate::centre::account::can::{Action, Denial};
use crate::wire::link::PROBLEM_JSON;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Unauthorized,
    WrongLogin,
    TotpNeeded,
    WrongTotp,
    PasswordNeeded,
    Locked,
    Forbidden,
    CrossSite,
    NotFound,
    Method,
    Invalid,
    Conflict,
    Obstacle,
    TooLarge,
    Range,
    Unavailable,
    NodeAway,
    DocumentRejected,
    ConsentNeeded,
    Timeout,
    Internal,
}

impl Code {
    fn row(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Unauthorized => ("unauthorized", S::UNAUTHORIZED, "nobody is logged in"),
            Self::WrongLogin => ("wrong-login", S::UNAUTHORIZED, "name or password is wrong"),
            Self::TotpNeeded => ("totp-needed", S::UNAUTHORIZED, "a code of the second factor is asked for"),
            Self::WrongTotp => ("wrong-code", S::UNAUTHORIZED, "the code is wrong, or was used"),
            Self::PasswordNeeded => ("password-needed", S::BAD_REQUEST, "a password has to be chosen"),
            Self::Locked => ("locked", S::TOO_MANY_REQUESTS, "too many tries"),
            Self::Forbidden => ("forbidden", S::FORBIDDEN, "this is not allowed"),
            Self::CrossSite => ("cross-site", S::FORBIDDEN, "another site sent this"),
            Self::NotFound => ("not-found", S::NOT_FOUND, "there is no such thing"),
            Self::Method => ("method", S::METHOD_NOT_ALLOWED, "this cannot be done to it"),
            Self::Invalid => ("invalid", S::BAD_REQUEST, "this cannot be understood"),
            Self::Conflict => ("conflict", S::CONFLICT, "somebody else was faster"),
            Self::Obstacle => ("obstacle", S::CONFLICT, "this cannot be done as it stands"),
            Self::TooLarge => ("too-large", S::PAYLOAD_TOO_LARGE, "this is too large"),
            Self::Range => ("range", S::RANGE_NOT_SATISFIABLE, "there are no such bytes"),
            Self::Unavailable => ("unavailable", S::SERVICE_UNAVAILABLE, "this cannot be done now"),
            Self::NodeAway => ("node_away", S::SERVICE_UNAVAILABLE, "the node is not there"),
            Self::DocumentRejected => ("document_rejected", S::UNPROCESSABLE_ENTITY, "these settings are wrong"),
            Self::ConsentNeeded => {
                ("consent_needed", S::CONFLICT, "the owner has to agree, and the reason has to say so")
            }
            Self::Timeout => ("timeout", S::GATEWAY_TIMEOUT, "this took too long"),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "something is wrong at the centre"),
        }
    }
}

/// The body of every refusal, `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// `urn:wardwatch:problem:` and the code.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) title: String,
    pub(super) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    /// What is known besides, by the code: `action` and `reason`, `owner` and `version`, `name` and `display_name`.
    #[serde(flatten)]
    pub(super) more: serde_json::Map<String, serde_json::Value>,
}

/// Says in the OpenAPI document what every route may answer besides, and of what media type refusals are.
pub(super) fn describe(responses: &mut BTreeMap<String, RefOr<Described>>) {
    let problem = || {
        let schema = Ref::from_schema_name(Problem::name());
        ResponseBuilder::new().content(PROBLEM_JSON, ContentBuilder::new().schema(Some(schema)).build())
    };
    for (status, response) in responses.iter_mut() {
        let refusal = status.starts_with(['4', '5']);
        if let RefOr::T(response) = response
            && refusal
        {
            let description = std::mem::take(&mut response.description);
            *response = problem().description(description).build();
        }
    }
    let any = "a refusal: nobody is logged in, a wrong request, or the centre cannot do it now";
    responses.insert("default".to_owned(), RefOr::T(problem().description(any).build()));
}

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Refused {
    code: Code,
    /// Another than the code's own.
    status: Option<StatusCode>,
    detail: Option<String>,
    more: serde_json::Map<String, serde_json::Value>,
    retry_seconds: Option<u64>,
}

/// What a route gives.
pub(super) type Answer<T = Response> = Result<T, Refused>;

/// A refusal without details.
pub(super) fn refuse(code: Code) -> Refused {
    Refused { code, status: None, detail: None, more: serde_json::Map::new(), retry_seconds: None }
}

/// A refusal that says what is wrong with the question.
pub(super) fn invalid(detail: impl Into<String>) -> Refused {
    Refused::because(Code::Invalid, detail)
}

impl Refused {
    pub(super) fn with(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }

    /// With a sentence that says why.
    pub(super) fn because(code: Code, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..refuse(code) }
    }

    /// With another status.
    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    pub(super) fn retry(mut self, seconds: u64) -> Self {
        self.retry_seconds = Some(seconds);
        self
    }

    /// By the decision of `can`.
    pub(super) fn denied(action: Action, denial: Denial) -> Self {
        refuse(Code::Forbidden).with("action", action.as_str()).with("reason", denial.as_str())
    }
}

impl From<Error> for Refused {
    /// A caller's mistake is told in words; our own trouble goes to the log.
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::Invalid => return invalid(error.to_string()),
            ErrorKind::NotFound => Code::NotFound,
            ErrorKind::Timeout => Code::Timeout,
            ErrorKind::Unavailable | ErrorKind::Exhausted | ErrorKind::Io => Code::Unavailable,
            _ => Code::Internal,
        };
        if code != Code::NotFound {
            tracing::error!(%error, "a request of the page cannot be served");
        }
        refuse(code)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (name, status, title) = self.code.row();
        let status = self.status.unwrap_or(status);
        let problem = Problem {
            kind: format!("urn:wardwatch:problem:{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail,
            more: self.more,
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        if let Some(seconds) = self.retry_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
