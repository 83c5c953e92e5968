//! A real S3 server on free loopback ports, stopped by its own pid: SeaweedFS from `scripts/setup.sh`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::site::{free_port, root};
use super::wait::until;

const LONG: Duration = Duration::from_secs(60);

pub struct Seaweed {
    directory: tempfile::TempDir,
    /// Master, volume, filer, S3; then the same for gRPC.
    ports: [u16; 8],
    child: Option<Child>,
}

impl Seaweed {
    pub const SECRET: &str = "a-secret-of-the-bucket";

    /// Starts one with the bucket `clips`; `None` where it is not installed.
    pub fn start() -> Option<Self> {
        if !root().join(".cache/seaweedfs/weed").is_file() {
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let identities = format!(
            r#"{{"identities":[{{"name":"w","credentials":[{{"accessKey":"wardwatch","secretKey":"{}"}}],"actions":["Admin"]}}]}}"#,
            Self::SECRET
        );
        std::fs::write(directory.path().join("s3.json"), identities).expect("written");
        let mut server = Self { directory, ports: std::array::from_fn(|_| free_port()), child: None };
        server.go();
        until("the bucket is made", LONG, || server.filer("POST", "/buckets/clips/").get(9..11) == Some(b"20"));
        Some(server)
    }

    pub fn port(&self) -> u16 {
        self.ports[3]
    }

    pub fn go(&mut self) {
        let [master, volume, filer, s3, master_grpc, volume_grpc, filer_grpc, s3_grpc] = self.ports;
        let log = std::fs::File::create(self.directory.path().join("log")).expect("writable");
        let child = Command::new(root().join(".cache/seaweedfs/weed"))
            .args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-volume.max=8"])
            .arg("-master.volumeSizeLimitMB=64")
            .arg(format!("-dir={}", self.directory.path().display()))
            .arg(format!("-s3.config={}", self.directory.path().join("s3.json").display()))
            .args([format!("-master.port={master}"), format!("-master.port.grpc={master_grpc}")])
            .args([format!("-volume.port={volume}"), format!("-volume.port.grpc={volume_grpc}")])
            .args([format!("-filer.port={filer}"), format!("-filer.port.grpc={filer_grpc}")])
            .args([format!("-s3.port={s3}"), format!("-s3.port.grpc={s3_grpc}")])
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        self.child = Some(child);
        until("the S3 server listens", LONG, || TcpStream::connect((Ipv4Addr::LOCALHOST, s3)).is_ok());
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is ours");
            child.wait().expect("it ends");
        }
    }

    /// An object's content, past the S3 interface.
    pub fn read(&self, path: &str) -> Vec<u8> {
        let answer = self.filer("GET", &format!("/buckets/{path}"));
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("an answer");
        answer[end + 4..].to_vec()
    }

    fn filer(&self, method: &str, path: &str) -> Vec<u8> {
        let mut answer = Vec::new();
        if let Ok(mut socket) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports[2])) {
            let request = format!("{method} {path} HTTP/1.0\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
            socket.write_all(request.as_bytes()).ok();
            socket.read_to_end(&mut answer).ok();
        }
        answer
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        self.kill();
    }
}
