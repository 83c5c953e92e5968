//! `wardwatch user`: accounts of the centre, made at its own machine. No password is typed here: a one-time link sets it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use jiff::tz::TimeZone;

use super::ask::{no_centre, shown};
use super::enrol::{accounts_of, ask, say};
use crate::base::{Clock, Error, ErrorKind, Result};
use crate::centre::account::{CameraKey, Role};
use crate::centre::control::{Question, Reply, UserLine};
use crate::centre::store::SqliteStore;
use crate::config::load_site;

/// What is wanted of the accounts. A name is compared without case and diacritics.
pub enum What {
    Add { name: String, display_name: Option<String>, role: Role, cameras: Vec<CameraKey> },
    List,
    Disable { name: String },
    Enable { name: String },
    Role { name: String, role: Role },
    Link { name: String },
    NoTotp { name: String },
}

/// Asks the running centre, or the database of one that does not run, and prints what came of it.
///
/// # Errors
/// `Config` without a `[centre]`, `Invalid` for what cannot be done, `Unavailable` when a running centre cannot be asked.
pub fn run(config: &Path, what: What, out: &mut impl Write) -> Result<()> {
    let site = load_site(config)?;
    let centre = site.centre.as_ref().ok_or_else(|| no_centre(config))?;
    let timezone = TimeZone::get(&site.timezone).unwrap_or(TimeZone::UTC);
    match ask(centre, question(what))? {
        Reply::Users { users } => users.iter().try_for_each(|user| say(out, &line(user, &timezone))),
        Reply::UserLink { name, token, expires_ms } => {
            let until = shown(expires_ms, &timezone);
            say(out, &token)?;
            say(out, &format!("{name}: dùng một lần, đến / good once, until {until}; mở trang / open the page:"))?;
            say(out, &format!("  <trang / page>/#/link/{token}"))
        }
        Reply::Failed { message } => Err(Error::new(ErrorKind::Invalid, message)),
        _ => Err(Error::new(ErrorKind::Internal, "the centre answered something else")),
    }
}

fn question(what: What) -> Question {
    let edit = |name, role, disabled| Question::EditUser { name, role, disabled };
    match what {
        What::Add { name, display_name, role, cameras } => Question::AddUser {
            display_name: display_name.unwrap_or_else(|| name.clone()),
            name,
            role,
            cameras: (!cameras.is_empty()).then(|| cameras.into_iter().collect::<BTreeSet<_>>()),
        },
        What::List => Question::Users,
        What::Disable { name } => edit(name, None, Some(true)),
        What::Enable { name } => edit(name, None, Some(false)),
        What::Role { name, role } => edit(name, Some(role), None),
        What::Link { name } => Question::UserLink { name },
        What::NoTotp { name } => Question::UserNoTotp { name },
    }
}

fn line(user: &UserLine, timezone: &TimeZone) -> String {
    let state = match (user.disabled, user.ready) {
        (true, _) => "đã khóa / disabled",
        (false, true) => "dùng được / ready",
        (false, false) => "chưa đặt mật khẩu / no password yet",
    };
    let last = user.last_login_ms.map_or_else(|| "-".to_owned(), |ms| shown(ms, timezone));
    format!("{}  {}  {state}  {last}  {}", user.name, user.role.as_str(), user.display_name)
}

/// Says how the first account is made, where there is none.
pub(super) async fn greet(store: &SqliteStore, clock: std::sync::Arc<dyn Clock>) {
    let empty = match accounts_of(store, clock) {
        Ok(accounts) => accounts.is_empty().await,
        Err(e) => Err(e),
    };
    match empty {
        Ok(true) => tracing::warn!(
            "chưa có tài khoản nào; tại máy này hãy chạy / nobody has an account yet; on this machine run: \
             wardwatch user add NAME --role commander --config wardwatch.toml"
        ),
        Ok(false) => {}
        Err(e) => tracing::error!("the accounts cannot be read: {e}"),
    }
}

/// `node/camera`, as an argument.
///
/// # Errors
/// Says what is wrong with it.
pub fn camera(text: &str) -> std::result::Result<CameraKey, String> {
    use crate::base::types::is_name;
    match text.split_once('/') {
        Some((node, camera)) if is_name(node) && is_name(camera) => Ok((node.to_owned(), camera.to_owned())),
        _ => Err("write it as NODE/CAMERA, for example node-1/ngo-12-dau".into()),
    }
}
