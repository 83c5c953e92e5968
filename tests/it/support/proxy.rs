//! A line between a client and a server on loopback that can break in every way a network does: closed, silent, slow,
//! reset, or alive on one side only. It changes no byte that it passes on.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

const TICK: Duration = Duration::from_millis(20);
const TICKS_A_SECOND: usize = 50;

/// How the line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Line {
    #[default]
    Whole,
    /// Every connection is closed, new ones at once.
    Cut,
    /// Connections stand and nothing passes. What was on its way passes later, as with packets that are sent again.
    BlackHole,
    /// So many bytes a second each way.
    Slow(usize),
}

/// What to do once to the connections that stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// Both ends get a reset.
    Reset,
    /// The client gets a reset; the server's connection stays and says nothing more.
    ServerUnaware,
    /// The server gets a reset; the client's connection stays and says nothing more.
    ClientUnaware,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    line: Line,
    /// Blows so far, and the last one.
    blows: u64,
    blow: Option<Blow>,
}

/// The proxy on a thread of its own.
pub struct Proxy {
    /// Where clients connect.
    pub port: u16,
    state: watch::Sender<State>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Passes connections on to `target` on loopback, which may be away.
    pub fn start(target: u16) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("bound").port();
        let (state, seen) = watch::channel(State::default());
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        // A runtime of its own, so that a blocking test can break lines too.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = accept(listener, target, seen) => {}
                    () = stopped.notified() => {}
                }
            });
        });
        Self { port, state, stop, thread: Some(thread) }
    }

    pub fn set(&self, line: Line) {
        self.state.send_modify(|s| s.line = line);
    }

    pub fn strike(&self, blow: Blow) {
        self.state.send_modify(|s| {
            s.blows += 1;
            s.blow = Some(blow);
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn accept(listener: TcpListener, target: u16, state: watch::Receiver<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(serve(client, target, state.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut client: TcpStream, target: u16, mut state: watch::Receiver<State>) {
    if state.borrow_and_update().line == Line::Cut {
        client.set_zero_linger().ok();
        return;
    }
    let born = state.borrow().blows;
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let mut watching = state.clone();
    let struck = tokio::select! {
        () = flow(from_client, to_server, state.clone()) => None,
        () = flow(from_server, to_client, state.clone()) => None,
        changed = watching.wait_for(|s| s.line == Line::Cut || s.blows > born) => {
            changed.ok().filter(|s| s.blows > born).and_then(|s| s.blow)
        }
    };
    match struck {
        // Closed in order.
        None => {}
        Some(Blow::Reset) => {
            client.set_zero_linger().ok();
            server.set_zero_linger().ok();
        }
        Some(Blow::ServerUnaware) => {
            client.set_zero_linger().ok();
            drop(client);
            silent(server).await;
        }
        Some(Blow::ClientUnaware) => {
            server.set_zero_linger().ok();
            drop(server);
            silent(client).await;
        }
    }
}

/// Swallows what comes and answers nothing, until the other end gives up.
async fn silent(mut stream: TcpStream) {
    let mut chunk = [0; 4096];
    while let Ok(1..) = stream.read(&mut chunk).await {}
}

async fn flow(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut state: watch::Receiver<State>) {
    let mut chunk = vec![0; 16 * 1024];
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let Ok(line) = state.wait_for(|s| s.line != Line::BlackHole).await.map(|s| s.line) else { return };
        let most = match line {
            Line::Slow(rate) => (rate / TICKS_A_SECOND).clamp(1, chunk.len()),
            _ => chunk.len(),
        };
        let read = tokio::select! {
            read = from.read(&mut chunk[..most]) => read,
            changed = state.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let Ok(n @ 1..) = read else { return };
        if state.wait_for(|s| s.line != Line::BlackHole).await.is_err() {
            return;
        }
        if let Line::Slow(_) = line {
            ticks.tick().await;
        }
        if to.write_all(&chunk[..n]).await.is_err() {
            return;
        }
    }
}
