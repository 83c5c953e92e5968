//! What a person at the centre's own machine asks of it: over a Unix socket in its `state_dir` while it runs, or straight
//! from the database while it does not. One line of JSON each way; no network, no password: who may enter the directory
//! may ask.

use serde::{Deserialize, Serialize};

use super::api::{CODE_LIFE_MS, digest, new_code, normal};
use super::store::LinkStore;
use crate::base::types::is_name;
use crate::base::{Error, ErrorKind, Result};

/// The socket's name in the centre's `state_dir`.
pub const SOCKET: &str = "control.sock";
/// The longest line either side takes, in bytes.
pub const MAX_LINE: u64 = 16 << 10;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// A one-time code with which `node` may enrol.
    EnrolCode { node: String },
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
    Failed {
        message: String,
    },
}

/// Answers one line.
pub async fn answer<S: LinkStore>(store: &S, line: &str, now_ms: i64) -> Reply {
    let asked = serde_json::from_str(line)
        .map_err(|e| Error::new(ErrorKind::Invalid, "the question cannot be understood").source(e));
    let replied = match asked {
        Ok(question) => reply(store, question, now_ms).await,
        Err(e) => Err(e),
    };
    replied.unwrap_or_else(|e| Reply::Failed { message: e.to_string() })
}

/// Answers one question.
pub async fn reply<S: LinkStore>(store: &S, question: Question, now_ms: i64) -> Result<Reply> {
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
    }
}
