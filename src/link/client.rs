//! The node's side of the link. One request at a time, no redirects, no proxy from the
//! environment; what the centre answers is input and bounded.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{RequestBuilder, Response, StatusCode};

use crate::base::{Error, ErrorKind, Result};
use crate::config::{NodeLinkConfig, tls_believing_nobody, tls_client};
use crate::wire::link::{
    CLIPS_PATH, ClipNote, ENROL_PATH, EnrolRequest, Identity, MAX_JSON, PARTIAL_UPLOAD, Problem, Trouble,
    UPLOAD_COMPLETE, UPLOAD_OFFSET,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// One piece, or a question.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The last piece: the centre checks the whole clip and may hand it on to a bucket.
const LAST_TIMEOUT: Duration = Duration::from_secs(900);

/// How far a clip has come, by the centre's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes on the centre's disk.
    pub offset: u64,
    /// Verified, stored, indexed.
    pub complete: bool,
}

/// Why a request brought nothing.
#[derive(Debug)]
pub enum Failure {
    /// The centre said no, and why. The offset, where it named one.
    Refused { trouble: Trouble, detail: Option<String>, offset: Option<u64> },
    /// Nobody answered, or not in a way that we know.
    Away(Error),
}

/// The way to the centre.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    /// Reads certificates; connects to nobody yet.
    pub fn new(config: &NodeLinkConfig) -> Result<Self> {
        // The HTTP client takes no other than this one's cryptography, so it gets a configuration in any case.
        let tls = match config.url.scheme() {
            "https" => tls_client(config.ca.as_deref(), "the centre")?,
            _ => tls_believing_nobody()?,
        };
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("wardwatch/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Error::new(ErrorKind::Internal, "the HTTP client cannot be set up").source(e))?;
        Ok(Self { http, base: config.url.as_str().trim_end_matches('/').to_owned() })
    }

    /// Trades a one-time code for an identity.
    pub async fn enrol(&self, request: &EnrolRequest) -> std::result::Result<Identity, Failure> {
        let builder = self.http.post(format!("{}{ENROL_PATH}", self.base)).timeout(TIMEOUT);
        let answer = self.send(json(builder, request)?).await?;
        let body = bounded(answer).await?;
        // The parser's text could quote the secret.
        serde_json::from_slice(&body).map_err(|_| away("the centre's answer is not an identity"))
    }

    /// Says what comes; gives what of it is there.
    pub async fn announce(&self, who: &Identity, note: &ClipNote) -> std::result::Result<Progress, Failure> {
        let builder = self.http.post(format!("{}{CLIPS_PATH}", self.base)).timeout(TIMEOUT);
        let answer = self.send(json(builder.header(AUTHORIZATION, who.bearer()), note)?).await?;
        progress(answer.headers())
    }

    /// Appends `piece` at `offset`; `last` when the clip ends with it.
    pub async fn append(
        &self,
        who: &Identity,
        sha256: &str,
        offset: u64,
        piece: Bytes,
        last: bool,
    ) -> std::result::Result<Progress, Failure> {
        let request = self
            .http
            .patch(format!("{}{CLIPS_PATH}/{sha256}", self.base))
            .timeout(if last { LAST_TIMEOUT } else { TIMEOUT })
            .header(AUTHORIZATION, who.bearer())
            .header(CONTENT_TYPE, PARTIAL_UPLOAD)
            .header(UPLOAD_OFFSET, offset)
            .body(piece);
        progress(self.send(request).await?.headers())
    }

    async fn send(&self, request: RequestBuilder) -> std::result::Result<Response, Failure> {
        let answer = request.send().await.map_err(|e| {
            Failure::Away(Error::new(ErrorKind::Unavailable, "the centre cannot be reached").source(Chain(e)))
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (status, offset) = (answer.status(), number(answer.headers(), UPLOAD_OFFSET));
        let body = bounded(answer).await?;
        let problem: Option<Problem> = serde_json::from_slice(&body).ok();
        match problem.as_ref().and_then(|p| Trouble::from_urn(&p.kind)) {
            Some(trouble) => Err(Failure::Refused { trouble, detail: problem.and_then(|p| p.detail), offset }),
            None => Err(away(&format!("something that is not the centre answers {status}"))),
        }
    }
}

impl Failure {
    /// As an error for a person.
    pub fn into_error(self) -> Error {
        match self {
            Self::Away(error) => error,
            Self::Refused { trouble, detail, .. } => {
                let kind = match trouble {
                    Trouble::Unauthorized | Trouble::WrongCode => ErrorKind::Unauthorized,
                    Trouble::DiskFull => ErrorKind::Exhausted,
                    Trouble::Unavailable | Trouble::Busy | Trouble::TooMany => ErrorKind::Unavailable,
                    _ => ErrorKind::Invalid,
                };
                let text = format!("the centre refuses: {}", trouble.title());
                match detail {
                    Some(detail) => Error::new(kind, format!("{text}: {detail}")),
                    None => Error::new(kind, text),
                }
            }
        }
    }
}

/// An error with everything beneath it; reqwest's own text stops at the surface. Addresses hold no secret here.
#[derive(Debug)]
pub(super) struct Chain(pub(super) reqwest::Error);

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut below = std::error::Error::source(&self.0);
        while let Some(e) = below {
            write!(f, ": {e}")?;
            below = e.source();
        }
        Ok(())
    }
}

impl std::error::Error for Chain {}

fn away(what: &str) -> Failure {
    Failure::Away(Error::new(ErrorKind::Unavailable, what).hint("check `url` in [node.link]"))
}

fn json(builder: RequestBuilder, body: &impl serde::Serialize) -> std::result::Result<RequestBuilder, Failure> {
    let body = serde_json::to_vec(body)
        .map_err(|e| Failure::Away(Error::new(ErrorKind::Internal, "a request cannot be written as JSON").source(e)))?;
    Ok(builder.header(CONTENT_TYPE, "application/json").body(body))
}

/// The body, if it is no longer than any answer of ours.
async fn bounded(mut answer: Response) -> std::result::Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let broken = |e| Failure::Away(Error::new(ErrorKind::Unavailable, "the centre broke off").source(Chain(e)));
    while let Some(piece) = answer.chunk().await.map_err(broken)? {
        if body.len() + piece.len() > MAX_JSON {
            return Err(away("the answer is longer than any of the centre's"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn progress(headers: &HeaderMap) -> std::result::Result<Progress, Failure> {
    let complete = headers.get(UPLOAD_COMPLETE).map(|v| v.as_bytes() == b"?1");
    match (number(headers, UPLOAD_OFFSET), complete) {
        (Some(offset), Some(complete)) => Ok(Progress { offset, complete }),
        _ => Err(away(&format!("something that is not the centre answers {}", StatusCode::OK))),
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
