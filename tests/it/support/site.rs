//! A site of its own directory: configuration files, the real binary started on them, and looks from outside at what it
//! says over HTTP and has on disk.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::onnx;
use super::wait::until;

pub const WARD: &str = "o-cho-dua";
const PATIENCE: Duration = Duration::from_secs(30);

/// The project's own directory.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The real binary.
pub fn wardwatch() -> Command {
    Command::new(env!("CARGO_BIN_EXE_wardwatch"))
}

/// A port that nobody listens on, given away once. It lies below those that the system deals out by itself (32768 and
/// up, `ip_local_port_range`): between this answer and the moment when a process listens there, some seconds later, no
/// other test and no outgoing connection can come by it.
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u32> = 12_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Another test program that runs at the same time begins elsewhere.
    let begin = std::process::id().wrapping_mul(997);
    (0..PORTS.end - PORTS.start)
        .map(|_| PORTS.start + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start))
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free port")
}

/// A directory with what a node and a centre need.
pub struct Site {
    dir: tempfile::TempDir,
    pub node_port: u16,
    pub centre_port: u16,
}

impl Site {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(dir.path().join("models")).expect("writable");
        Self { dir, node_port: free_port(), centre_port: free_port() }
    }

    /// Leaves the directory where it is, for a look after a failure of the fault suite.
    #[allow(dead_code)]
    pub fn keep(&mut self) {
        self.dir.disable_cleanup(true);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("writable");
        path
    }

    /// An authority, `ca.pem`, and its certificate for `localhost`: `cert.pem`, `key.pem`.
    pub fn certificates(&self) {
        let ca_key = rcgen::KeyPair::generate().expect("a key");
        let mut ca = rcgen::CertificateParams::new(Vec::<String>::new()).expect("valid");
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).expect("signed");
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
            .expect("valid")
            .signed_by(&key, &issuer)
            .expect("signed");
        self.write("ca.pem", &ca_certificate.pem());
        self.write("cert.pem", &certificate.pem());
        self.write("key.pem", &key.serialize_pem());
    }

    /// The part of `wardwatch.toml` that every role has, for a model of this site.
    pub fn common(&self, model: &str) -> String {
        format!(
            "[site]\nward = \"{WARD}\"\n\n[detect]\nmodel = \"{model}\"\nmodels_dir = \"models\"\nruntime = \"{}\"\n\n\
             [track]\nlost_seconds = 1.0\n\n",
            onnx::runtime().display()
        )
    }

    /// `[node]` with `mqtt` lines of its own; `extra` keys go before them.
    pub fn node(&self, extra: &str, mqtt: &str) -> String {
        format!(
            "[node]\nname = \"node-1\"\nstate_dir = \"node\"\ncameras = \"cameras.toml\"\nlisten = \"127.0.0.1:{}\"\n\
             receipt_timeout_seconds = 5\n{extra}\n[node.mqtt]\n{mqtt}\n",
            self.node_port
        )
    }

    /// `[centre]` with `mqtt` lines of its own.
    pub fn centre(&self, mqtt: &str) -> String {
        format!(
            "[centre]\nstate_dir = \"centre\"\nlisten = \"127.0.0.1:{}\"\n[centre.mqtt]\n{mqtt}\n",
            self.centre_port
        )
    }

    /// Starts `wardwatch run` on the file `config`; its log goes to `<config>.log`.
    pub fn run(&self, config: &Path) -> Process {
        self.run_with(config, &[])
    }

    pub fn run_with(&self, config: &Path, environment: &[(&str, &str)]) -> Process {
        let mut command = wardwatch();
        command.arg("run").arg("--config").arg(config).env_remove("RUST_LOG").envs(environment.iter().copied());
        self.start(command, config)
    }

    /// Starts `command`, which runs the file `config`.
    pub fn start(&self, mut command: Command, config: &Path) -> Process {
        let log = config.with_extension("log");
        let file = std::fs::File::options().create(true).append(true).open(&log).expect("writable");
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().expect("the binary is built");
        Process { child: Some(child), log }
    }

    /// One number out of a database of this site; `None` while it is not there or busy.
    pub fn number(&self, database: &str, sql: &str) -> Option<i64> {
        self.rows(database, sql)?.first()?.first()?.parse().ok()
    }

    /// Rows out of a database of this site, every value as text.
    pub fn rows(&self, database: &str, sql: &str) -> Option<Vec<Vec<String>>> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = rusqlite::Connection::open_with_flags(self.path(database), flags).ok()?;
        connection.busy_timeout(Duration::from_secs(2)).ok()?;
        let mut statement = connection.prepare(sql).ok()?;
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            (0..columns)
                .map(|i| {
                    Ok(match row.get_ref(i)? {
                        rusqlite::types::ValueRef::Null => String::new(),
                        rusqlite::types::ValueRef::Integer(n) => n.to_string(),
                        rusqlite::types::ValueRef::Real(x) => x.to_string(),
                        rusqlite::types::ValueRef::Text(t) => String::from_utf8_lossy(t).into_owned(),
                        rusqlite::types::ValueRef::Blob(b) => format!("{} bytes", b.len()),
                    })
                })
                .collect::<rusqlite::Result<Vec<String>>>()
        });
        rows.ok()?.collect::<rusqlite::Result<_>>().ok()
    }
}

/// A process of the real binary.
pub struct Process {
    child: Option<Child>,
    log: PathBuf,
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it was not killed").id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is ours");
            child.wait().expect("it ends");
        }
    }

    pub fn signal(&self, signal: &str) {
        kill(self.pid(), signal);
    }

    /// SIGTERM, then its exit code.
    pub fn stop(mut self) -> i32 {
        self.signal("TERM");
        self.exit_code()
    }

    /// Waits for its end.
    pub fn exit_code(&mut self) -> i32 {
        let mut child = self.child.take().expect("it was not killed");
        let mut code = None;
        until("the process ends", PATIENCE, || {
            code = child.try_wait().expect("it is ours");
            code.is_some()
        });
        code.and_then(|c| c.code()).unwrap_or(-1)
    }

    /// Its worker processes.
    pub fn workers(&self) -> Vec<u32> {
        children(self.pid())
    }

    /// The worker that is connected to the camera at `port`.
    pub fn worker_of(&self, port: u16) -> Option<u32> {
        let remote = format!("0100007F:{port:04X}");
        let tcp = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
        let inodes: Vec<&str> = tcp
            .lines()
            .map(|l| l.split_whitespace().collect::<Vec<_>>())
            .filter(|f| f.get(2).is_some_and(|to| **to == remote) && f.get(3) == Some(&"01"))
            .filter_map(|f| f.get(9).copied())
            .collect();
        let sockets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
        self.workers().into_iter().find(|pid| {
            let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            files
                .filter_map(|f| std::fs::read_link(f.path()).ok())
                .any(|l| sockets.iter().any(|s| l.as_os_str() == s.as_str()))
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            // The test has failed already: this is for whoever reads why.
            #[allow(clippy::print_stdout)]
            let () = println!("last lines of {}, newest first:\n{}", self.log.display(), tail.join("\n"));
        }
        self.kill();
    }
}

/// Sends a signal by name.
pub fn kill(pid: u32, signal: &str) {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().expect("kill is there");
    assert!(sent.success(), "cannot send {signal} to {pid}");
}

/// Processes whose parent is `pid`.
pub fn children(pid: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("Linux");
    all.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|p| {
            let stat = std::fs::read_to_string(format!("/proc/{p}/stat")).unwrap_or_default();
            // After the name, which stands in brackets and may hold anything: state, parent.
            let rest = stat.rsplit_once(')').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
            let mut fields = rest.split_whitespace();
            let state = fields.next();
            state != Some("Z") && fields.next() == Some(&pid.to_string())
        })
        .collect()
}

/// GET over HTTP/1.1 on loopback: status code and body, or `None` when nobody answers.
pub fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(socket, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}

/// The value of a metric whose line begins with `start`.
pub fn metric(port: u16, start: &str) -> Option<f64> {
    let (_, body) = get(port, "/metrics")?;
    body.lines().find(|l| l.starts_with(start))?.rsplit_once(' ')?.1.parse().ok()
}
