//! The way to a receiver of webhooks: one POST, signed by whoever calls. No redirects, no proxy from the environment; what
//! is answered is not read beyond its head, so it cannot be too long.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use url::Url;

use super::client::Chain;
use crate::base::{Error, ErrorKind, Result};
use crate::config::{tls_believing_nobody, tls_client};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// By the Standard Webhooks: 15 to 30 s.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A message with what says who sent it.
#[derive(Clone, Debug)]
pub struct Signed {
    pub id: String,
    /// UTC seconds.
    pub timestamp: i64,
    pub signature: String,
    /// JSON.
    pub body: String,
}

/// One receiver.
#[derive(Clone, Debug)]
pub struct Receiver {
    http: reqwest::Client,
    url: Url,
}

impl Receiver {
    /// Reads certificates; connects to nobody yet.
    ///
    /// # Errors
    /// `Config` when the authority's file cannot be used.
    pub fn new(url: Url, ca: Option<&Path>) -> Result<Self> {
        let tls = match url.scheme() {
            "https" => tls_client(ca, "a webhook's receiver")?,
            _ => tls_believing_nobody()?,
        };
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .user_agent(concat!("wardwatch/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Error::new(ErrorKind::Internal, "the HTTP client cannot be set up").source(e))?;
        Ok(Self { http, url })
    }

    /// Sends `message`: the status, and how many seconds it asks to wait.
    ///
    /// # Errors
    /// `Unavailable`: nobody answered in time. The address is not in the text: its path may be a secret.
    pub async fn post(&self, message: &Signed) -> Result<(u16, Option<Duration>)> {
        let request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", message.timestamp)
            .header("webhook-signature", &message.signature)
            .body(message.body.clone());
        let answer = request.send().await.map_err(|e| {
            let what =
                if e.is_timeout() { "the receiver did not answer in time" } else { "the receiver cannot be reached" };
            Error::new(ErrorKind::Unavailable, what).source(Chain(e.without_url()))
        })?;
        let wait = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        Ok((answer.status().as_u16(), wait.map(Duration::from_secs)))
    }
}
