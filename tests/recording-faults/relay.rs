//! A wire to a camera that can be held still with the connections open, counts who connects, and may swallow a TEARDOWN.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use crate::post::now_ms;

/// A wire; its threads end with the program.
pub struct Relay {
    pub port: u16,
    wire: Arc<Wire>,
}

struct Wire {
    still: Mutex<bool>,
    moves: Condvar,
    /// UTC milliseconds of each connection.
    connections: Mutex<Vec<i64>>,
    swallows_teardown: AtomicBool,
}

impl Wire {
    fn wait(&self) {
        drop(self.moves.wait_while(self.still.lock().expect("no panic"), |still| *still));
    }
}

impl Relay {
    /// A wire to the camera at `camera`.
    pub fn start(camera: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let wire = Arc::new(Wire {
            still: Mutex::new(false),
            moves: Condvar::new(),
            connections: Mutex::default(),
            swallows_teardown: AtomicBool::new(false),
        });
        let shared = wire.clone();
        std::thread::spawn(move || {
            for viewer in listener.incoming().flatten() {
                shared.connections.lock().expect("no panic").push(now_ms());
                let wire = shared.clone();
                // An error only means that one side has gone.
                std::thread::spawn(move || connect(viewer, camera, &wire).ok());
            }
        });
        Self { port, wire }
    }

    /// Nothing moves any more; connections stay, and new ones are taken.
    pub fn hold(&self) {
        *self.wire.still.lock().expect("no panic") = true;
    }

    /// It moves again.
    pub fn release(&self) {
        *self.wire.still.lock().expect("no panic") = false;
        self.wire.moves.notify_all();
    }

    /// From now on nobody answers a TEARDOWN.
    pub fn swallow_teardown(&self) {
        self.wire.swallows_teardown.store(true, Ordering::Relaxed);
    }

    /// When each connection came, UTC milliseconds.
    pub fn connections(&self) -> Vec<i64> {
        self.wire.connections.lock().expect("no panic").clone()
    }
}

fn connect(viewer: TcpStream, camera: u16, wire: &Arc<Wire>) -> std::io::Result<()> {
    wire.wait();
    let camera = TcpStream::connect((Ipv4Addr::LOCALHOST, camera))?;
    let (from_viewer, to_camera, asked) = (viewer.try_clone()?, camera.try_clone()?, wire.clone());
    std::thread::spawn(move || carry(from_viewer, to_camera, &asked, true).ok());
    carry(camera, viewer, wire, false)
}

fn carry(mut from: TcpStream, mut to: TcpStream, wire: &Wire, questions: bool) -> std::io::Result<()> {
    let mut bytes = [0; 16 * 1024];
    loop {
        wire.wait();
        let count = from.read(&mut bytes)?;
        wire.wait();
        if count == 0 {
            return to.shutdown(Shutdown::Both);
        }
        let teardown = questions && bytes[..count].windows(8).any(|w| w == b"TEARDOWN");
        if teardown && wire.swallows_teardown.load(Ordering::Relaxed) {
            continue;
        }
        to.write_all(&bytes[..count])?;
    }
}
