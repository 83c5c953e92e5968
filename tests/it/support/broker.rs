//! A real mosquitto on a free loopback port, open to everyone, stopped by its own pid. For what the supervised one of
//! `publish::broker` cannot be told: odd limits, and dying when a test says so.

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use wardwatch::config::MqttConfig;

use super::site::free_port;
use super::wait::until;

pub struct Mosquitto {
    directory: tempfile::TempDir,
    pub port: u16,
    child: Option<Child>,
}

impl Mosquitto {
    /// Starts one with `extra` lines of configuration.
    pub fn start(extra: &str) -> Self {
        let mut broker = Self::stopped(extra);
        broker.go();
        broker
    }

    /// Reserves a port and writes the configuration, but starts nothing yet.
    pub fn stopped(extra: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let config = format!(
            "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n\
             max_inflight_messages 256\n{extra}\n"
        );
        std::fs::write(directory.path().join("conf"), config).expect("written");
        Self { directory, port, child: None }
    }

    pub fn go(&mut self) {
        let program =
            if std::path::Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
        let child = Command::new(program)
            .arg("-c")
            .arg(self.directory.path().join("conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto is installed");
        self.child = Some(child);
        until("mosquitto listens", Duration::from_secs(20), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
        });
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is ours");
            child.wait().expect("it ends");
        }
    }

    pub fn mqtt(&self) -> MqttConfig {
        MqttConfig {
            host: "127.0.0.1".into(),
            port: Some(self.port),
            user: None,
            password: None,
            tls: false,
            ca: None,
            allow_plaintext: false,
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}
