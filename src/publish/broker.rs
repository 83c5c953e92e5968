//! mosquitto as a supervised child: one listener on loopback, nothing on disk but its configuration, a user and an
//! access list for each role, restarted when it dies. Passwords are random, never on a command line, never logged.
//!
//! It keeps no queue (`persistence false`): the node's outbox is the truth.

mod files;

use std::io::ErrorKind as Io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::base::{Error, ErrorKind, Result, telemetry};
use crate::config::{BrokerConfig, MqttConfig, Secret};
use crate::store::sqlite::private_directory;

use files::{CONFIG, Credentials, PID};

/// How long it may take to accept connections, and to stop.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first wait before a restart; doubles up to [`LAST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(10);
/// A child that lived this long may be restarted at once.
const LIVED: Duration = Duration::from_secs(30);

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Writes its own topics, reads its receipts and commands.
    Node,
    /// Reads the ward, writes receipts, commands and its own status.
    Centre,
    /// A person with `mosquitto_sub`: reads statuses and events, pictures only if the configuration
    /// says so, and writes nothing.
    Watch,
}

/// The file with a password for each role, in the broker's `state_dir`.
pub fn credentials(state_dir: &Path) -> PathBuf {
    state_dir.join(files::CREDENTIALS)
}

impl Role {
    const ALL: [Role; 3] = [Role::Node, Role::Centre, Role::Watch];

    /// The user's name at the broker.
    pub fn user(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Centre => "centre",
            Self::Watch => "watch",
        }
    }
}

/// A running mosquitto. Dropping it kills it; [`Broker::run`] ends it in order.
pub struct Broker {
    program: PathBuf,
    directory: PathBuf,
    port: u16,
    credentials: Credentials,
    running: Running,
}

struct Running {
    child: Child,
    log: Option<Lines<BufReader<ChildStderr>>>,
}

impl Broker {
    /// Ends what an earlier run left behind, writes configuration, users and access list for `node` in `ward`, starts
    /// mosquitto and waits until it accepts connections.
    ///
    /// Errors: `NotFound` when it is not installed, `Unavailable` when the port is taken or it does not start.
    pub async fn start(config: &BrokerConfig, ward: &str, node: &str) -> Result<Self> {
        private_directory(&config.state_dir)?;
        let directory = std::fs::canonicalize(&config.state_dir)
            .map_err(|e| Error::io("cannot use the broker's directory", &config.state_dir, e))?;
        end_left_behind(&directory).await?;
        let port = free_port(config.port)?;
        let credentials = Credentials::load_or_make(&directory)?;
        files::write_all(&directory, port, ward, node, config.watch_pictures)?;
        files::write_passwords(&directory, &credentials).await?;
        let program = find_program(&config.program);
        let running = spawn(&program, &directory)?;
        let mut broker = Self { program, directory, port, credentials, running };
        broker.wait_until_up().await?;
        tracing::info!(port, "mosquitto is up");
        Ok(broker)
    }

    /// The port in force.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The child's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.child.id()
    }

    /// How `role` connects.
    pub fn mqtt(&self, role: Role) -> MqttConfig {
        MqttConfig {
            host: Ipv4Addr::LOCALHOST.to_string(),
            port: Some(self.port),
            user: Some(role.user().to_owned()),
            password: Some(Secret::new(self.credentials.of(role))),
            tls: false,
            ca: None,
            allow_plaintext: false,
        }
    }

    /// The file with the password of [`Role::Watch`], for the person who watches.
    pub fn credentials_file(&self) -> PathBuf {
        credentials(&self.directory)
    }

    /// Restarts it whenever it dies, until `shutdown` becomes true; then ends it in order.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut wait = FIRST_WAIT;
        loop {
            let long_lived = sleep(LIVED);
            tokio::pin!(long_lived);
            let mut lived = false;
            let ended = loop {
                tokio::select! {
                    ended = self.running.child.wait() => break ended,
                    line = next_line(&mut self.running.log) => log_line(line, &mut self.running.log),
                    () = &mut long_lived, if !lived => lived = true,
                    () = super::stopping(&mut shutdown) => return self.stop().await,
                }
            };
            wait = if lived { FIRST_WAIT } else { wait };
            let status = ended.map(|s| s.to_string()).unwrap_or_else(|e| e.to_string());
            tracing::error!(status, "mosquitto ended; starting it again");
            loop {
                tokio::select! {
                    () = sleep(wait) => {}
                    () = super::stopping(&mut shutdown) => return,
                }
                wait = (wait * 2).min(LAST_WAIT);
                metrics::counter!(telemetry::BROKER_RESTARTS).increment(1);
                match spawn(&self.program, &self.directory) {
                    Ok(running) => break self.running = running,
                    Err(error) => tracing::error!(%error, "mosquitto cannot be started"),
                }
            }
        }
    }

    async fn stop(mut self) {
        if let Some(pid) = self.pid().and_then(|id| Pid::from_raw(id as i32)) {
            rustix::process::kill_process(pid, Signal::TERM).ok();
        }
        let ended = async {
            while self.running.log.is_some() {
                let line = next_line(&mut self.running.log).await;
                log_line(line, &mut self.running.log);
            }
            self.running.child.wait().await
        };
        if timeout(PATIENCE, ended).await.is_err() {
            tracing::warn!("mosquitto does not stop; killing it");
            self.running.child.kill().await.ok();
        }
        std::fs::remove_file(self.directory.join(PID)).ok();
    }

    async fn wait_until_up(&mut self) -> Result<()> {
        let port = self.port;
        let up = async {
            loop {
                if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
                    return Ok(());
                }
                if let Ok(Some(status)) = self.running.child.try_wait() {
                    return Err(self.explain_end(&status.to_string()).await);
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        match timeout(PATIENCE, up).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(ErrorKind::Timeout, format!("mosquitto does not listen on port {port}"))),
        }
    }

    async fn explain_end(&mut self, status: &str) -> Error {
        let mut said = String::new();
        if let Some(log) = self.running.log.take() {
            log.into_inner().take(4096).read_to_string(&mut said).await.ok();
        }
        let said = said.lines().filter(|l| l.contains("rror")).collect::<Vec<_>>().join("; ");
        Error::new(ErrorKind::Unavailable, format!("mosquitto ended at once ({status}): {said}"))
            .at(self.directory.join(CONFIG).display())
    }
}

async fn next_line(log: &mut Option<Lines<BufReader<ChildStderr>>>) -> Option<String> {
    match log {
        Some(lines) => lines.next_line().await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

fn log_line(line: Option<String>, log: &mut Option<Lines<BufReader<ChildStderr>>>) {
    match line {
        Some(line) if line.contains("rror") => tracing::warn!(target: "mosquitto", "{line}"),
        Some(line) => tracing::debug!(target: "mosquitto", "{line}"),
        None => *log = None,
    }
}

/// Debian installs it where an ordinary user's PATH does not look.
fn find_program(program: &Path) -> PathBuf {
    let sbin = Path::new("/usr/sbin").join(program);
    let bare = program.components().count() == 1;
    if bare && sbin.exists() { sbin } else { program.to_owned() }
}

fn spawn(program: &Path, directory: &Path) -> Result<Running> {
    let mut child = Command::new(program)
        // What it would say in our name to systemd is not true of us.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID")
        .arg("-c")
        .arg(directory.join(CONFIG))
        // Ctrl-C in a terminal goes to the whole group; the broker outlives the node's last words.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| {
            let error = Error::io("cannot start mosquitto", program, e);
            let hint = "install it (apt-get install mosquitto), or set [broker] program; or remove [broker] and name a \
                        broker in [node.mqtt] and [centre.mqtt]";
            error.hint(hint)
        })?;
    if let Some(id) = child.id() {
        files::write_private(&directory.join(PID), id.to_string().as_bytes())?;
    }
    let log = child.stderr.take().map(|stderr| BufReader::new(stderr).lines());
    Ok(Running { child, log })
}

fn free_port(wanted: u16) -> Result<u16> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).and_then(|l| l.local_addr());
    bound.map(|address| address.port()).map_err(|e| match e.kind() {
        Io::AddrInUse => Error::new(ErrorKind::Unavailable, format!("port {wanted} on 127.0.0.1 is taken"))
            .hint("stop the other broker (systemctl stop mosquitto), or set another [broker] port, 0 for any"),
        _ => Error::new(ErrorKind::Io, format!("port {wanted} on 127.0.0.1 cannot be used")).source(e),
    })
}

/// A node that was killed could not end its mosquitto. Ends it, after making sure that it is one of ours.
async fn end_left_behind(directory: &Path) -> Result<()> {
    let file = directory.join(PID);
    let Ok(text) = std::fs::read_to_string(&file) else { return Ok(()) };
    let ours = |pid: i32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = command.split(|b| *b == 0).collect();
        words.first().is_some_and(|program| program.ends_with(b"mosquitto"))
            && words.contains(&directory.join(CONFIG).as_os_str().as_encoded_bytes())
    };
    let Some((raw, pid)) = text.trim().parse().ok().and_then(|raw| Some((raw, Pid::from_raw(raw)?))) else {
        return Ok(());
    };
    for signal in [Signal::TERM, Signal::KILL] {
        if !ours(raw) {
            break;
        }
        tracing::warn!(pid = raw, "ending the mosquitto that an earlier run left behind");
        rustix::process::kill_process(pid, signal).ok();
        let gone = async {
            while ours(raw) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, gone).await.ok();
    }
    std::fs::remove_file(&file).map_err(|e| Error::io("cannot remove the old pid file", &file, e))
}
