//! `[[centre.webhook]]`: receivers that are told of alerts and dispatches: a radio room, a gateway to a messenger.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use url::Url;

use super::Document;
use super::link::web_address;
use super::secret::Secret;
use crate::base::Result;
use crate::base::types::is_name;

/// Receivers that a centre may have.
const MAX_WEBHOOKS: usize = 16;

/// What a receiver is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An alert is on disk, for the first time.
    Alert,
    /// An officer sent a patrol.
    Dispatch,
}

impl What {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Alert, Self::Dispatch];
}

/// `[[centre.webhook]]`
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookConfig {
    /// In the log, in metrics and in the database.
    pub name: String,
    /// Holds no credentials, but its path may be known to the receiver only: it is not shown.
    pub url: Url,
    /// PEM file of the authority that signed the receiver's certificate; default: the system's.
    pub ca: Option<PathBuf>,
    /// Signs what is sent: base64 of 24 to 64 bytes, without `whsec_`.
    pub secret: Secret,
    /// What it is told of.
    pub events: BTreeSet<What>,
    /// Only events of these cameras; empty: of all.
    pub cameras: BTreeSet<(String, String)>,
    /// Only events of cameras of these areas; empty: of all.
    pub areas: BTreeSet<String>,
    /// A delivery that failed for so long is given up.
    pub give_up_after: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWebhook {
    name: Spanned<String>,
    url: Spanned<String>,
    secret: Spanned<Secret>,
    #[serde(default = "default_events")]
    events: Spanned<BTreeSet<What>>,
    #[serde(default)]
    cameras: Vec<Spanned<String>>,
    #[serde(default)]
    areas: BTreeSet<String>,
    ca: Option<PathBuf>,
    #[serde(default)]
    allow_plaintext: bool,
    #[serde(default = "default_give_up")]
    give_up_hours: Spanned<u64>,
}

fn default_events() -> Spanned<BTreeSet<What>> {
    Spanned::new(0..0, What::ALL.into())
}

fn default_give_up() -> Spanned<u64> {
    Spanned::new(0..0, 24)
}

/// All `[[centre.webhook]]`, validated.
pub(super) fn webhooks(doc: &Document, raw: Vec<RawWebhook>) -> Result<Vec<WebhookConfig>> {
    let mut found: Vec<WebhookConfig> = Vec::new();
    for raw in raw {
        let span = raw.name.span();
        let webhook = webhook(doc, raw)?;
        if found.iter().any(|w| w.name == webhook.name) {
            return Err(doc.error(Some(span), format!("a second webhook is called `{}`", webhook.name)));
        }
        if found.len() == MAX_WEBHOOKS {
            return Err(doc.error(Some(span), format!("there are more than {MAX_WEBHOOKS} webhooks")));
        }
        found.push(webhook);
    }
    Ok(found)
}

fn webhook(doc: &Document, raw: RawWebhook) -> Result<WebhookConfig> {
    if !is_name(raw.name.get_ref()) {
        return Err(doc
            .error(Some(raw.name.span()), format!("`{}` is no name of a webhook", raw.name.get_ref().escape_debug()))
            .hint("use 1 to 64 of a-z, 0-9 and -"));
    }
    let text = raw.secret.get_ref().expose();
    let secret = text.strip_prefix("whsec_").unwrap_or(text);
    if !BASE64.decode(secret.as_bytes()).is_ok_and(|key| (24..=64).contains(&key.len())) {
        return Err(doc
            .error(Some(raw.secret.span()), "the secret of a webhook is base64 of 24 to 64 random bytes")
            .hint("make one with: echo \"whsec_$(openssl rand -base64 32)\"; the receiver needs the same"));
    }
    if raw.events.get_ref().is_empty() {
        return Err(doc
            .error(Some(raw.events.span()), "a webhook without events is told nothing")
            .hint("events = [\"alert\", \"dispatch\"]"));
    }
    if !(1..=168).contains(raw.give_up_hours.get_ref()) {
        return Err(doc.error(Some(raw.give_up_hours.span()), "give_up_hours must be between 1 and 168"));
    }
    let mut cameras = BTreeSet::new();
    for text in raw.cameras {
        match text.get_ref().split_once('/') {
            Some((node, camera)) if is_name(node) && is_name(camera) => {
                cameras.insert((node.to_owned(), camera.to_owned()));
            }
            _ => {
                return Err(doc
                    .error(Some(text.span()), format!("`{}` names no camera", text.get_ref().escape_debug()))
                    .hint("write it as \"node-1/ngo-12-dau\""));
            }
        }
    }
    Ok(WebhookConfig {
        name: raw.name.into_inner(),
        url: web_address(doc, &raw.url, raw.allow_plaintext, "what happened")?,
        ca: raw.ca.map(|p| doc.resolve(&p)),
        secret: Secret::new(secret),
        events: raw.events.into_inner(),
        cameras,
        areas: raw.areas,
        give_up_after: Duration::from_secs(raw.give_up_hours.into_inner() * 3600),
    })
}
