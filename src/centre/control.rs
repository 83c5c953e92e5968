//! What a person at the centre's own machine asks of it: over a Unix socket in its `state_dir` while it runs, or straight
//! from the database while it does not. One line of JSON each way; no network, no password: who may enter the directory
//! may ask.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::account::{Account, Accounts, CameraKey, Change, LinkKind, Role};
use super::api::{CODE_LIFE_MS, digest, new_code, normal};
use super::store::query::fold;
use super::store::{AccountStore, Asked, CommandStore, LinkStore};
use crate::base::types::is_name;
use crate::base::{Error, ErrorKind, Result};
use crate::wire::command::{Ask, Command, MAX_LIFE_MS, SCHEMA};
use crate::wire::event::rfc3339;
use crate::wire::topic::is_event_id;

/// The socket's name in the centre's `state_dir`.
pub const SOCKET: &str = "control.sock";
/// The longest question, in bytes.
pub const MAX_LINE: u64 = 16 << 10;
/// The longest reply, in bytes.
pub const MAX_REPLY: u64 = 2 << 20;
/// Commands in one list.
const LIST: usize = 50;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// A one-time code with which `node` may enrol.
    EnrolCode { node: String },
    /// To have something done by `node`; a release needs none, its hold has one.
    Order { node: Option<String>, what: Ask, reason: String, issuer: String },
    /// How the command `id` stands, or the last ones.
    Status { id: Option<String> },
    /// All accounts.
    Users,
    /// A new account, and the link that sets its password.
    AddUser { name: String, display_name: String, role: Role, cameras: Option<BTreeSet<CameraKey>> },
    /// To change an account.
    EditUser { name: String, role: Option<Role>, disabled: Option<bool> },
    /// A new link that sets an account's password.
    UserLink { name: String },
    /// To take an account's second factor away.
    UserNoTotp { name: String },
}

/// An account as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserLine {
    pub name: String,
    pub display_name: String,
    pub role: Role,
    pub disabled: bool,
    /// A password was set.
    pub ready: bool,
    pub last_login_ms: Option<i64>,
}

impl From<Account> for UserLine {
    fn from(account: Account) -> Self {
        let Account { user, ready, last_login_ms, .. } = account;
        let (name, display_name, role, disabled) = (user.name, user.display_name, user.role, user.disabled);
        Self { name, display_name, role, disabled, ready, last_login_ms }
    }
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
    /// Newest first.
    Asked {
        commands: Vec<Asked>,
    },
    /// By name.
    Users {
        users: Vec<UserLine>,
    },
    /// Shown once; the centre keeps its hash.
    UserLink {
        name: String,
        token: String,
        expires_ms: i64,
    },
    Failed {
        message: String,
    },
}

/// Answers one line.
pub async fn answer<S: Asking>(store: &S, accounts: &Accounts<S>, line: &str, now_ms: i64) -> Reply {
    let asked = serde_json::from_str(line)
        .map_err(|e| Error::new(ErrorKind::Invalid, "the question cannot be understood").source(e));
    let replied = match asked {
        Ok(question) => reply(store, accounts, question, now_ms).await,
        Err(e) => Err(e),
    };
    replied.unwrap_or_else(|e| Reply::Failed { message: e.to_string() })
}

/// A store that can answer every question.
pub trait Asking: LinkStore + CommandStore + AccountStore {}

impl<S: LinkStore + CommandStore + AccountStore> Asking for S {}

/// Answers one question.
pub async fn reply<S: Asking>(store: &S, accounts: &Accounts<S>, question: Question, now_ms: i64) -> Result<Reply> {
    match question {
        Question::EnrolCode { node } => {
            check_node(&node)?;
            let code = new_code()?;
            let expires_ms = now_ms + CODE_LIFE_MS;
            store.offer_code(node, digest(&normal(&code)), expires_ms).await?;
            Ok(Reply::EnrolCode { code, expires_ms })
        }
        Question::Order { node, what, reason, issuer } => {
            let node = match &what {
                Ask::Release { hold } => node_of(store, hold, node).await?,
                _ => node.ok_or_else(|| Error::new(ErrorKind::Invalid, "no node is named"))?,
            };
            order(store, node, what, reason, issuer, now_ms).await
        }
        Question::Status { id: Some(id) } => Ok(Reply::Asked { commands: vec![asked(store, &id).await?] }),
        Question::Status { id: None } => Ok(Reply::Asked { commands: store.all_asked(LIST).await? }),
        Question::Users => listed(accounts.accounts().await?),
        Question::AddUser { name, display_name, role, cameras } => {
            let (user, token, expires_ms) = accounts.add(&name, &display_name, role, cameras, None).await?;
            Ok(Reply::UserLink { name: user.name, token, expires_ms })
        }
        Question::EditUser { name, role, disabled } => {
            let account = named(accounts, &name).await?;
            let change = Change { role, disabled, ..Change::default() };
            let user = accounts.edit(&account.user.id, change, None).await?;
            listed(vec![Account { user, ..account }])
        }
        Question::UserNoTotp { name } => {
            let account = named(accounts, &name).await?;
            accounts.drop_factor_of(&account.user.id, None).await?;
            listed(vec![Account { second_factor: false, ..account }])
        }
        Question::UserLink { name } => {
            let user = named(accounts, &name).await?.user;
            if user.disabled {
                return Err(Error::new(ErrorKind::Invalid, "the account is disabled")
                    .hint("`wardwatch user enable` comes first"));
            }
            let (token, expires_ms) = accounts.link(&user.id, LinkKind::Setup, None).await?;
            Ok(Reply::UserLink { name: user.name, token, expires_ms })
        }
    }
}

fn listed(accounts: Vec<Account>) -> Result<Reply> {
    Ok(Reply::Users { users: accounts.into_iter().map(UserLine::from).collect() })
}

/// The account that somebody calls so at the login.
async fn named<S: AccountStore>(accounts: &Accounts<S>, name: &str) -> Result<Account> {
    let folded = fold(name);
    accounts.accounts().await?.into_iter().find(|account| fold(&account.user.name) == folded).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("nobody is called `{}` here", name.escape_debug()))
            .hint("`wardwatch user list` shows all accounts")
    })
}

fn check_node(node: &str) -> Result<()> {
    if is_name(node) && node != "centre" {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("`{}` is not a node's name", node.escape_debug()))
        .hint("give the [node] name of the node's own configuration"))
}

/// The node of a hold that can be released.
async fn node_of<S: CommandStore>(store: &S, hold: &str, named: Option<String>) -> Result<String> {
    let asked = asked(store, hold).await?;
    let invalid = |what: String| Err(Error::new(ErrorKind::Invalid, what));
    match asked.hold.as_deref() {
        None => invalid(format!("{hold} is a {} and no hold", asked.command.ask.kind())),
        // `failed` may be of a command that expired while the node did it.
        Some("pending" | "held" | "failed") if named.as_ref().is_none_or(|n| *n == asked.node) => Ok(asked.node),
        Some("pending" | "held" | "failed") => invalid(format!("{hold} is a hold of {}", asked.node)),
        Some(state) => invalid(format!("nothing is held by {hold}: it is {state}")),
    }
}

async fn order<S: CommandStore>(
    store: &S,
    node: String,
    ask: Ask,
    reason: String,
    issuer: String,
    now_ms: i64,
) -> Result<Reply> {
    check_node(&node)?;
    let id = Uuid::now_v7().to_string();
    let command = Command {
        schema: SCHEMA.to_owned(),
        id: id.clone(),
        issuer,
        reason,
        issued_at: rfc3339(now_ms, &TimeZone::UTC),
        expires_at: rfc3339(now_ms + MAX_LIFE_MS, &TimeZone::UTC),
        ask,
    };
    command.check()?;
    if matches!(command.ask, Ask::Clip { .. })
        && let Some((_, _, to_ms)) = command.ask.range()?
        && to_ms > now_ms
    {
        return Err(Error::new(ErrorKind::Invalid, "the range of a clip must be over"));
    }
    store.order(node, command).await?;
    Ok(Reply::Asked { commands: vec![asked(store, &id).await?] })
}

async fn asked<S: CommandStore>(store: &S, id: &str) -> Result<Asked> {
    let none = || Error::new(ErrorKind::NotFound, format!("nothing was asked under `{}`", id.escape_debug()));
    if !is_event_id(id) {
        return Err(none());
    }
    store.asked(id.to_owned()).await?.ok_or_else(none)
}
