//! What a person at the centre's own machine asks of it: over a Unix socket in its `state_dir` while it runs, or straight
//! from the database while it does not. One line of JSON each way; no network, no password: who may enter the directory
//! may ask.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::api::{CODE_LIFE_MS, digest, new_code, normal};
use super::store::{Asked, CommandStore, LinkStore};
use crate::base::types::{CameraId, is_name};
use crate::base::{Error, ErrorKind, Result};
use crate::wire::command::{Ask, Command, SCHEMA};
use crate::wire::event::rfc3339;

/// The socket's name in the centre's `state_dir`.
pub const SOCKET: &str = "control.sock";
/// The longest line either side takes, in bytes.
pub const MAX_LINE: u64 = 16 << 10;

/// A node that is away for longer than this is not asked any more.
const COMMAND_LIFE_MS: i64 = 7 * 24 * 3600 * 1000;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// A one-time code with which `node` may enrol.
    EnrolCode { node: String },
    /// To keep what a camera recorded.
    Hold { node: String, camera: CameraId, from: String, to: String, reason: String, issuer: String },
    /// To end the hold `id`.
    Release { id: String, issuer: String },
    /// How the command `id` stands.
    Status { id: String },
}

/// What came of it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// Shown once; the centre keeps its hash.
    EnrolCode {
        code: String,
        expires_ms: i64,
    },
    Asked {
        id: String,
        how: Asked,
    },
    Failed {
        message: String,
    },
}

/// Answers one line.
pub async fn answer<S: LinkStore + CommandStore>(store: &S, line: &str, now_ms: i64) -> Reply {
    let asked = serde_json::from_str(line)
        .map_err(|e| Error::new(ErrorKind::Invalid, "the question cannot be understood").source(e));
    let replied = match asked {
        Ok(question) => reply(store, question, now_ms).await,
        Err(e) => Err(e),
    };
    replied.unwrap_or_else(|e| Reply::Failed { message: e.to_string() })
}

/// Answers one question.
pub async fn reply<S: LinkStore + CommandStore>(store: &S, question: Question, now_ms: i64) -> Result<Reply> {
    match question {
        Question::EnrolCode { node } => {
            if !is_name(&node) || node == "centre" {
                return Err(Error::new(ErrorKind::Invalid, format!("`{}` is not a node's name", node.escape_debug()))
                    .hint("give the [node] name of the node's own configuration"));
            }
            let code = new_code()?;
            let expires_ms = now_ms + CODE_LIFE_MS;
            store.offer_code(node, digest(&normal(&code)), expires_ms).await?;
            Ok(Reply::EnrolCode { code, expires_ms })
        }
        Question::Hold { node, camera, from, to, reason, issuer } => {
            order(store, node, issuer, Ask::Hold { camera, from, to, reason }, now_ms).await
        }
        Question::Release { id, issuer } => {
            let node = asked(store, &id).await?.node;
            order(store, node, issuer, Ask::Release { hold: id }, now_ms).await
        }
        Question::Status { id } => {
            let how = asked(store, &id).await?;
            Ok(Reply::Asked { id, how })
        }
    }
}

async fn order<S: CommandStore>(store: &S, node: String, issuer: String, ask: Ask, now_ms: i64) -> Result<Reply> {
    if !is_name(&node) || node == "centre" {
        return Err(Error::new(ErrorKind::Invalid, format!("`{}` is not a node's name", node.escape_debug())));
    }
    let id = Uuid::now_v7().to_string();
    let command = Command {
        schema: SCHEMA.to_owned(),
        id: id.clone(),
        issuer,
        issued_at: rfc3339(now_ms, &TimeZone::UTC),
        expires_at: rfc3339(now_ms + COMMAND_LIFE_MS, &TimeZone::UTC),
        ask,
    };
    command.check()?;
    store.order(node, command).await?;
    let how = asked(store, &id).await?;
    Ok(Reply::Asked { id, how })
}

async fn asked<S: CommandStore>(store: &S, id: &str) -> Result<Asked> {
    let none = || Error::new(ErrorKind::NotFound, format!("nothing was asked under `{}`", id.escape_debug()));
    store.asked(id.to_owned()).await?.ok_or_else(none)
}
