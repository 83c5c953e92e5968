//! A receiver of webhooks: HTTP on loopback, which answers as the test says and remembers what came.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// What came.
#[derive(Clone, Debug)]
pub struct Came {
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Came {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub fn id(&self) -> String {
        self.headers["webhook-id"].clone()
    }
}

/// How it answers.
#[derive(Clone, Debug)]
pub enum Mode {
    /// With a status, and further lines of its head.
    Answer(u16, String),
    /// Never, but holds the connection.
    Hang,
}

/// A running receiver; it stops when it is dropped.
pub struct Receiver {
    pub port: u16,
    came: Arc<Mutex<Vec<Came>>>,
    mode: Arc<Mutex<Mode>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Receiver {
    /// At a free port, or one that was kept free.
    pub fn start(port: u16, mode: Mode) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (came, mode, stop) = (Arc::default(), Arc::new(Mutex::new(mode)), Arc::new(AtomicBool::new(false)));
        let (its_came, its_mode, its_stop) = (Arc::clone(&came), Arc::clone(&mode), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut held = Vec::new();
            for socket in listener.incoming().flatten() {
                if its_stop.load(Ordering::Relaxed) {
                    break;
                }
                held.extend(serve(socket, &its_came, &its_mode));
            }
        });
        Self { port, came, mode, stop, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// From now on.
    pub fn set(&self, mode: Mode) {
        *self.mode.lock().expect("no panic") = mode;
    }

    pub fn came(&self) -> Vec<Came> {
        self.came.lock().expect("no panic").clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// One request; the socket, where it is to be held.
fn serve(socket: TcpStream, came: &Mutex<Vec<Came>>, mode: &Mutex<Mode>) -> Option<TcpStream> {
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut reader = BufReader::new(&socket);
    let (mut line, mut headers) = (String::new(), BTreeMap::new());
    reader.read_line(&mut line).ok()?;
    if !line.starts_with("POST ") {
        return None;
    }
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    came.lock().expect("no panic").push(Came { headers, body });
    let mode = mode.lock().expect("no panic").clone();
    match mode {
        Mode::Hang => return Some(socket),
        Mode::Answer(code, head) => {
            let answer = format!("HTTP/1.1 {code} X\r\n{head}content-length: 2\r\nconnection: close\r\n\r\nok");
            (&socket).write_all(answer.as_bytes()).ok()?;
        }
    }
    None
}
