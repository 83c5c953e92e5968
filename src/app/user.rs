//! `wardwatch user`: accounts of the centre, made at its own machine. No password is typed here: a one-time link sets it.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::Path;

use jiff::tz::TimeZone;

use super::ask::{no_centre, shown};
use super::enrol::{ask, say};
use super::write_private;
use crate::base::{Error, ErrorKind, Result};
use crate::centre::account::{Accounts, CameraKey, LinkKind, Role};
use crate::centre::control::{Question, Reply, UserLine};
use crate::centre::store::SqliteStore;
use crate::config::{CentreConfig, load_site};

/// What the first commander logs in with.
const FIRST: &str = "chihuy";
/// The file with his link, in the centre's `state_dir`.
const FIRST_LINK: &str = "first-link";

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
            say(
                out,
                &format!(
                    "{name}: dùng một lần, có hiệu lực đến / good once, until {until}; mở trên trình duyệt / open the page:"
                ),
            )?;
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

/// Gives the first commander a one-time link, as long as nobody else has an account and he has not used it: there is no
/// default password. It stands in a file that only this user reads, and on a terminal; never in a log.
pub(super) async fn greet(centre: &CentreConfig, accounts: &Accounts<SqliteStore>) {
    let Some(web) = &centre.web else { return };
    let path = centre.state_dir.join(FIRST_LINK);
    match first_link(accounts).await {
        Ok(Some(token)) => {
            let scheme = if web.tls.is_some() { "https" } else { "http" };
            let here = || format!("{scheme}://{}{}", web.listen, web.base_path);
            let page = web.public_url.as_ref().map_or_else(here, ToString::to_string);
            let link = format!("{}/#/link/{token}", page.trim_end_matches('/'));
            if let Err(e) = write_private(&path, &format!("{link}\n")) {
                tracing::error!("nobody can log in yet: {e}");
            } else if std::io::stderr().is_terminal() {
                let text = format!(
                    "chưa có ai đăng nhập; đường dẫn dùng một lần / nobody has logged in; good once:\n  {link}"
                );
                say(&mut std::io::stderr(), &text).ok();
            }
            tracing::warn!(
                file = %path.display(),
                "chưa có ai đăng nhập được; đường dẫn thiết lập dùng một lần nằm trong tệp này / nobody can log in yet; the \
                 one-time set-up link of the first commander is in this file"
            );
        }
        // What was used or has run out is of no use to anybody.
        Ok(None) => drop(std::fs::remove_file(&path)),
        Err(e) => tracing::error!("the accounts cannot be read: {e}"),
    }
}

async fn first_link(accounts: &Accounts<SqliteStore>) -> Result<Option<String>> {
    let known = accounts.accounts().await?;
    let token = match known.as_slice() {
        [] => accounts.add(FIRST, "Chỉ huy", Role::Commander, None, None).await?.1,
        [one] if one.user.name == FIRST && !one.ready && one.last_login_ms.is_none() => {
            accounts.link(&one.user.id, LinkKind::Setup, None).await?.0
        }
        _ => return Ok(None),
    };
    Ok(Some(token))
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
