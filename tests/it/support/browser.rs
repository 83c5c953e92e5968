//! A real browser that plays a clip: a page with the file goes out over HTTP on loopback, what became of it comes back.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use super::wait::until;

const LONG: Duration = Duration::from_secs(120);

/// The video says it to the server when it has ended or failed, and when it got stuck the server's patience ends.
const PAGE: &str = r#"<!doctype html><video id="v" muted autoplay playsinline src="clip.mp4"></video><script>
const v = document.getElementById("v");
const tell = (error) => fetch("told", { method: "POST", body: JSON.stringify({
  error, at: v.currentTime, duration: v.duration || 0, width: v.videoWidth, height: v.videoHeight,
  frames: v.getVideoPlaybackQuality().totalVideoFrames, sound: v.webkitAudioDecodedByteCount || 0 }) });
v.onended = () => tell("");
v.onerror = () => tell(v.error.code + " " + v.error.message);
v.playbackRate = 4;
</script>"#;

/// What the browser says of a clip that it played to its end.
#[derive(Debug, Deserialize)]
pub struct Played {
    pub error: String,
    /// Where it ended, in seconds.
    pub at: f64,
    pub duration: f64,
    pub width: u32,
    pub height: u32,
    pub frames: u32,
    /// Bytes of sound that it has decoded.
    pub sound: u64,
}

struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Plays `clip` in Chromium.
pub fn play(clip: &Path) -> Played {
    let bytes = std::fs::read(clip).expect("there");
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    server.set_nonblocking(true).expect("a socket");
    let profile = tempfile::tempdir().expect("a directory");
    let address = format!("http://{}/", server.local_addr().expect("bound"));
    let chromium = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromium is installed (scripts/setup.sh)");
    let _browser = Browser(chromium);
    let mut played = None;
    until("the browser has played the clip", LONG, || {
        if let Ok((socket, _)) = server.accept() {
            played = answer(&socket, &bytes);
        }
        played.is_some()
    });
    played.expect("it was waited for")
}

/// One request; what the page tells, if that is what it is.
fn answer(socket: &TcpStream, clip: &[u8]) -> Option<Played> {
    socket.set_nonblocking(false).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut reader = BufReader::new(socket);
    let (mut request, mut length) = (String::new(), 0usize);
    reader.read_line(&mut request).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let (kind, body): (&str, &[u8]) = match request.split_whitespace().nth(1) {
        Some("/") => ("text/html", PAGE.as_bytes()),
        Some("/clip.mp4") => ("video/mp4", clip),
        _ => ("text/plain", b""),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let mut told = vec![0; length];
    std::io::Read::read_exact(&mut reader, &mut told).ok()?;
    let mut to = socket;
    // A browser that has seen enough of a file hangs up.
    to.write_all(head.as_bytes()).and_then(|()| to.write_all(body)).ok();
    (request.starts_with("POST")).then(|| serde_json::from_slice(&told).expect("the page's own JSON"))
}
