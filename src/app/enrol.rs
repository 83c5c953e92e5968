//! `wardwatch enrol-code` at the centre and `wardwatch enrol` at the node: a code that a person carries over becomes the
//! node's secret.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::run::runtime;
use super::{join, thread};
use crate::base::clock::SystemClock;
use crate::base::{Clock, Error, ErrorKind, Result};
use crate::centre::account::{Accounts, password};
use crate::centre::api::{digest, new_secret};
use crate::centre::control::{MAX_REPLY, Question, Reply, SOCKET, reply};
use crate::centre::store::{LinkStore, SqliteStore};
use crate::config::{CentreConfig, WardwatchConfig, load_site};
use crate::link::client::Client;
use crate::link::identity;
use crate::store::sqlite::private_directory;
use crate::wire::event::rfc3339;
use crate::wire::link::{EnrolRequest, Identity};

const PATIENCE: Duration = Duration::from_secs(10);

/// Prints a code with which `node` may enrol once.
///
/// # Errors
/// `Config` without a `[centre]`, `Unavailable` when a running centre cannot be asked.
pub fn enrol_code(config: &Path, node: &str, out: &mut impl Write) -> Result<()> {
    let site = load_site(config)?;
    let centre = site.centre.as_ref().ok_or_else(|| {
        Error::new(ErrorKind::Config, "there is no [centre] here")
            .at(config.display())
            .hint("run this on the machine of the centre")
    })?;
    match ask(centre, Question::EnrolCode { node: node.to_owned() })? {
        Reply::EnrolCode { code, expires_ms } => {
            let timezone = TimeZone::get(&site.timezone).unwrap_or(TimeZone::UTC);
            let until = rfc3339(expires_ms, &timezone);
            say(out, &code)?;
            say(out, &format!("dùng một lần, có hiệu lực đến / good once, until {until}; on {node}:"))?;
            say(out, &format!("  wardwatch enrol --config wardwatch.toml --code {code}"))
        }
        Reply::Failed { message } => Err(Error::new(ErrorKind::Invalid, message)),
        _ => Err(Error::new(ErrorKind::Internal, "the centre answered something else")),
    }
}

/// Trades `code` for this node's identity and keeps it.
///
/// # Errors
/// `Config` without `[node.link]`, `Unauthorized` for a code that is not good, `Unavailable` when nobody answers.
pub fn enrol(config: &Path, code: &str, out: &mut impl Write) -> Result<()> {
    let site = load_site(config)?;
    let missing = || {
        Error::new(ErrorKind::Config, "there is no [node.link] here")
            .at(config.display())
            .hint("add [node.link] with url = \"https://…\", the address of the centre")
    };
    let node = site.node.as_ref().ok_or_else(missing)?;
    let link = node.link.as_ref().ok_or_else(missing)?;
    let client = Client::new(link)?;
    let request = EnrolRequest { ward: site.ward.clone(), node: node.name.clone(), code: code.to_owned() };
    let place = link.url.to_string();
    let who = runtime()?.block_on(client.enrol(&request)).map_err(|f| {
        f.into_error().at(place).hint("a code is good once and for an hour, for the node and ward it was made for")
    })?;
    if who.ward != site.ward || who.node != node.name {
        return Err(Error::new(ErrorKind::Invalid, "the centre answered with another node's identity"));
    }
    private_directory(&node.state_dir)?;
    identity::save(&node.state_dir, &who)?;
    say(out, &format!("đã đăng ký / enrolled: {} @ {}", who.node, link.url))
}

/// Enrols the node of the centre's own process, so that one machine with both needs no code. A node whose link leads
/// elsewhere is left alone, and so is one that is enrolled here already.
pub(super) async fn enrol_own(site: &WardwatchConfig, store: &SqliteStore, now_ms: i64) -> Result<()> {
    let door = site.centre.as_ref().and_then(|c| c.link.as_ref());
    let (Some(node), Some(door)) = (&site.node, door) else { return Ok(()) };
    let Some(link) = &node.link else { return Ok(()) };
    if !link.is_loopback() || link.url.port_or_known_default() != Some(door.listen.port()) {
        return Ok(());
    }
    let known = store.secret_of(node.name.clone()).await?;
    // An identity that cannot be read is made anew.
    let own = identity::load(&node.state_dir).ok().flatten();
    if own.is_some_and(|who| who.ward == site.ward && known == Some(digest(&who.secret))) {
        return Ok(());
    }
    let who = Identity { ward: site.ward.clone(), node: node.name.clone(), secret: new_secret()? };
    store.enrol_here(who.node.clone(), digest(&who.secret), now_ms).await?;
    private_directory(&node.state_dir)?;
    identity::save(&node.state_dir, &who)
}

/// Asks the running centre, or the database of one that does not run.
pub(super) fn ask(centre: &CentreConfig, question: Question) -> Result<Reply> {
    match ask_running(centre, &question)? {
        Some(reply) => Ok(reply),
        None => ask_database(&centre.state_dir, question),
    }
}

/// Asks the running centre; `None` when none runs.
pub(super) fn ask_running(centre: &CentreConfig, question: &Question) -> Result<Option<Reply>> {
    let path = centre.state_dir.join(SOCKET);
    let lost = |e| Error::io("the running centre does not answer", &path, e);
    match UnixStream::connect(&path) {
        Ok(mut socket) => {
            socket.set_read_timeout(Some(PATIENCE)).map_err(lost)?;
            let mut line = serde_json::to_vec(question)
                .map_err(|e| Error::new(ErrorKind::Internal, "a question cannot be written as JSON").source(e))?;
            line.push(b'\n');
            socket.write_all(&line).map_err(lost)?;
            let mut answer = String::new();
            BufReader::new(socket.take(MAX_REPLY)).read_line(&mut answer).map_err(lost)?;
            // The parser's text could quote a code.
            serde_json::from_str(&answer)
                .map(Some)
                .map_err(|_| Error::new(ErrorKind::Unavailable, "the running centre's answer cannot be understood"))
        }
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(lost(e).hint("run this as the user of the centre"))
        }
        Err(_) => Ok(None),
    }
}

fn ask_database(state_dir: &Path, question: Question) -> Result<Reply> {
    let now_ms = SystemClock.now().wall_ms;
    let (store, writer, _) = SqliteStore::open(state_dir, now_ms)?;
    let writing = thread("centre-store", move || writer.run())?;
    let replied = accounts_of(&store, Arc::new(SystemClock))
        .and_then(|accounts| runtime()?.block_on(reply(&store, &accounts, question, now_ms)));
    drop(store);
    join(writing);
    replied
}

/// The accounts for whoever sits at this machine: he gives links and no passwords, so there is no thread that hashes.
pub(super) fn accounts_of(store: &SqliteStore, clock: Arc<dyn Clock>) -> Result<Accounts<SqliteStore>> {
    Accounts::new(store.clone(), password::pair().0, clock)
}

pub(super) fn say(out: &mut impl Write, line: &str) -> Result<()> {
    writeln!(out, "{line}").map_err(|e| Error::new(ErrorKind::Io, "cannot write the answer").source(e))
}
