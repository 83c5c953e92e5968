//! What is live at the centre: which nodes' channels stand, who looks at what, and the pictures on their way to them.
//! Many who look at one camera share one watch at the node; the last to go ends it. Nothing is kept but the newest
//! picture of a camera that somebody looks at. Whether somebody may look is decided before, and again by the node.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::base::types::{CameraId, StreamRole};
use crate::base::{Error, ErrorKind, Result, telemetry};
use crate::wire::channel::{
    Ask, Emergency, Ending, Head, MAX_FPS, MAX_WIDTH, Refusal, Tell, Watch, WatchKind, WatchState,
};
use crate::wire::inquiry::{Inquiry, MAX_RANGE_MS, Recordings, Reply};

/// How often watches are renewed.
pub const RENEW: Duration = Duration::from_secs(3);
/// Asks that may wait for a node; what does not fit comes with the next renewal.
const ASKS: usize = 256;
/// Pieces of a stream that may wait for whoever looks: some seconds. Who is slower loses the stream.
const PIECES: usize = 32;
/// Arrivals that a rate is measured over.
const MEASURED: usize = 8;
/// A node answers a question within this.
const ANSWER: Duration = Duration::from_secs(10);

/// How it stands with what somebody looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveState {
    /// The node was asked and nothing has come yet.
    Waiting,
    Ok,
    /// The node's channel does not stand.
    Away,
    Refused(Refusal),
    /// A stream is not masked: look at the camera's pictures.
    Masked,
    /// A stream that was running ended.
    Ended(Ending),
}

/// A picture of a wall.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// When the node received it, UTC milliseconds.
    pub at_ms: i64,
    pub width: u32,
    pub height: u32,
    /// Pictures a second, as they really come.
    pub fps: f32,
    pub jpeg: Bytes,
}

/// What somebody who looks at pictures sees.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub state: LiveState,
    /// The newest.
    pub picture: Option<Arc<Picture>>,
}

/// A piece of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// First: what a player needs to know, and the init part.
    Init { mime: String, bytes: Bytes },
    /// The first one begins with a keyframe.
    Fragment { at_ms: i64, keyframe: bool, bytes: Bytes },
    /// Last.
    End(LiveState),
}

type Key = (String, CameraId, Option<Emergency>);

/// All of it; cloneable.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    seats: HashMap<String, Seat>,
    /// Counts seats, watches and questions: no number comes twice.
    numbers: u64,
    pictures: HashMap<u64, Wall>,
    walls: HashMap<Key, u64>,
    streams: HashMap<u64, Stream>,
    questions: HashMap<u64, (String, oneshot::Sender<Result<Reply>>)>,
}

struct Seat {
    number: u64,
    asks: mpsc::Sender<Ask>,
}

/// A camera of which pictures are looked at.
struct Wall {
    key: Key,
    /// Rates that those who look want, by their numbers.
    wanted: HashMap<u64, f32>,
    arrivals: VecDeque<i64>,
    view: watch::Sender<View>,
}

struct Stream {
    node: String,
    watch: Watch,
    pieces: mpsc::Sender<Piece>,
    begun: bool,
    /// Said when there is no room for it in `pieces`.
    end: Arc<Mutex<Option<LiveState>>>,
}

impl Default for Hub {
    fn default() -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), closed: watch::Sender::new(false) }))
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the node's channel stands.
    pub fn connected(&self, node: &str) -> bool {
        self.lock().seats.contains_key(node)
    }

    /// Ends every channel.
    pub fn close(&self) {
        self.0.closed.send_replace(true);
    }

    /// Becomes true when every channel is to end.
    pub fn closed(&self) -> watch::Receiver<bool> {
        self.0.closed.subscribe()
    }

    /// Looks at a camera's pictures, at most `fps` a second, until it is dropped.
    pub fn frames(&self, node: &str, camera: &CameraId, fps: f32, emergency: Option<Emergency>) -> Frames {
        let mut state = self.lock();
        let key = (node.to_owned(), camera.clone(), emergency);
        let watcher = state.number();
        let number = match state.walls.get(&key) {
            Some(number) => *number,
            None => {
                let number = state.number();
                let away = !state.seats.contains_key(node);
                let view = View { state: if away { LiveState::Away } else { LiveState::Waiting }, picture: None };
                let view = watch::Sender::new(view);
                let wall = Wall { key: key.clone(), wanted: HashMap::new(), arrivals: VecDeque::new(), view };
                state.pictures.insert(number, wall);
                state.walls.insert(key, number);
                number
            }
        };
        let fps = if fps.is_finite() { fps.clamp(0.1, MAX_FPS) } else { 1.0 };
        let mut view = None;
        if let Some(wall) = state.pictures.get_mut(&number) {
            let before = wall.fps();
            wall.wanted.insert(watcher, fps);
            view = Some(wall.view.subscribe());
            if wall.fps() != before {
                let ask = wall.ask(number);
                state.ask(node, ask);
            }
        }
        let view = view.unwrap_or_else(|| watch::channel(View { state: LiveState::Away, picture: None }).1);
        Frames { hub: self.clone(), number, watcher, view }
    }

    /// Looks at a camera's own stream until it is dropped; `role` chooses which, without it the better one.
    pub fn stream(
        &self,
        node: &str,
        camera: &CameraId,
        role: Option<StreamRole>,
        emergency: Option<Emergency>,
    ) -> LiveStream {
        let (sender, pieces) = mpsc::channel(PIECES);
        let mut state = self.lock();
        let number = state.number();
        let watch = Watch { watch: number, camera: camera.clone(), kind: WatchKind::Fmp4 { stream: role }, emergency };
        let end = Arc::new(Mutex::new(None));
        let there = state.ask(node, Ask::Watch(watch.clone()));
        state
            .streams
            .insert(number, Stream { node: node.to_owned(), watch, pieces: sender, begun: false, end: end.clone() });
        if !there {
            state.end_stream(number, LiveState::Away);
        }
        LiveStream { hub: self.clone(), number, pieces, end }
    }

    /// Asks a node, which answers within `within`.
    ///
    /// # Errors
    /// `Unavailable` when the node is not there or says why it cannot answer, `Timeout` when it does not answer.
    pub async fn inquire(&self, node: &str, about: Inquiry, within: Duration) -> Result<Reply> {
        let (sender, answer) = oneshot::channel();
        let question = {
            let mut state = self.lock();
            let question = state.number();
            if !state.ask(node, Ask::Inquire { question, about }) {
                return Err(away());
            }
            state.questions.insert(question, (node.to_owned(), sender));
            question
        };
        let answered = timeout(within, answer).await;
        self.lock().questions.remove(&question);
        match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(away()),
            Err(_) => Err(Error::new(ErrorKind::Timeout, "the node does not answer")),
        }
    }

    /// What the node has of a camera's recordings.
    ///
    /// # Errors
    /// As [`Self::inquire`], and `Invalid` for a range that the node would not take.
    pub async fn recordings(&self, node: &str, camera: &CameraId, from_ms: i64, to_ms: i64) -> Result<Recordings> {
        if from_ms < 0 || to_ms < from_ms || to_ms - from_ms > MAX_RANGE_MS {
            return Err(Error::new(ErrorKind::Invalid, "recordings are asked of 31 days at most"));
        }
        let about = Inquiry::Recordings { camera: camera.clone(), from_ms, to_ms };
        match self.inquire(node, about, ANSWER).await? {
            Reply::Recordings(recordings) => Ok(recordings),
            _ => Err(Reply::unasked()),
        }
    }

    /// A node's channel stands; another of the same node's, if there is one, ends.
    pub(super) fn sit(&self, node: &str) -> (u64, mpsc::Receiver<Ask>) {
        let (asks, receiver) = mpsc::channel(ASKS);
        let mut state = self.lock();
        let number = state.number();
        state.leave(node);
        state.seats.insert(node.to_owned(), Seat { number, asks });
        metrics::gauge!(telemetry::CENTRE_CHANNELS).set(state.seats.len() as f64);
        for wall in state.pictures.values().filter(|w| w.key.0 == node) {
            wall.view.send_modify(|view| view.state = LiveState::Waiting);
        }
        drop(state);
        self.renew(node, number);
        (number, receiver)
    }

    /// The channel `seat` of `node` is over.
    pub(super) fn leave(&self, node: &str, seat: u64) {
        let mut state = self.lock();
        if state.seats.get(node).is_some_and(|s| s.number == seat) {
            state.leave(node);
            metrics::gauge!(telemetry::CENTRE_CHANNELS).set(state.seats.len() as f64);
        }
    }

    /// Asks again for everything that is looked at.
    pub(super) fn renew(&self, node: &str, seat: u64) {
        let state = self.lock();
        if state.seats.get(node).is_none_or(|s| s.number != seat) {
            return;
        }
        let walls = state.pictures.iter().filter(|(_, w)| w.key.0 == node).map(|(number, w)| w.ask(*number));
        let streams = state.streams.values().filter(|s| s.node == node).map(|s| Ask::Watch(s.watch.clone()));
        for ask in walls.chain(streams).collect::<Vec<_>>() {
            state.ask(node, ask);
        }
    }

    /// A node says how a watch stands, or answers. What it says of others' watches counts for nothing.
    pub(super) fn told(&self, node: &str, tell: Tell) {
        let mut state = self.lock();
        match tell {
            Tell::State { watch, state: said } => state.stands(node, watch, said),
            Tell::Answer { question, reply } => state.answer(node, question, Ok(reply)),
            Tell::Failed { question, reason } => {
                let reason: String = reason.chars().take(200).collect();
                state.answer(node, question, Err(Error::new(ErrorKind::Unavailable, reason)));
            }
            Tell::Cameras { .. } => {}
        }
    }

    /// A node sends something to look at.
    pub(super) fn shown(&self, node: &str, head: Head, bytes: Bytes) {
        let mut state = self.lock();
        let number = head.watch();
        let piece = match head {
            Head::Picture { at_ms, width, height, .. } => {
                if let Some(wall) = state.pictures.get_mut(&number).filter(|w| w.key.0 == node) {
                    let fps = wall.measure(at_ms);
                    let picture = Picture { at_ms, width: width.min(MAX_WIDTH), height, fps, jpeg: bytes };
                    wall.view.send_replace(View { state: LiveState::Ok, picture: Some(Arc::new(picture)) });
                }
                return;
            }
            Head::Init { mime, .. } => Piece::Init { mime, bytes },
            Head::Fragment { at_ms, keyframe, .. } => Piece::Fragment { at_ms, keyframe, bytes },
        };
        let Some(stream) = state.streams.get_mut(&number).filter(|s| s.node == node) else { return };
        // Its worker died and another began anew: no player goes on with that.
        let again = matches!(piece, Piece::Init { .. }) && std::mem::replace(&mut stream.begun, true);
        let why = if again {
            Ending::Changed
        } else if stream.pieces.try_send(piece).is_err() {
            Ending::Slow
        } else {
            return;
        };
        state.ask(node, Ask::Unwatch { watch: number });
        state.end_stream(number, LiveState::Ended(why));
    }
}

fn away() -> Error {
    Error::new(ErrorKind::Unavailable, "the node is not there")
}

impl State {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Whether the node is there. An ask for which there is no room comes with the next renewal, or ends by itself.
    fn ask(&self, node: &str, ask: Ask) -> bool {
        let Some(seat) = self.seats.get(node) else { return false };
        seat.asks.try_send(ask).ok();
        true
    }

    fn leave(&mut self, node: &str) {
        self.seats.remove(node);
        for wall in self.pictures.values_mut().filter(|w| w.key.0 == node) {
            wall.arrivals.clear();
            // An old picture must not be taken for one of now.
            wall.view.send_replace(View { state: LiveState::Away, picture: None });
        }
        let streams = self.streams.iter().filter(|(_, s)| s.node == node).map(|(number, _)| *number);
        for number in streams.collect::<Vec<_>>() {
            self.end_stream(number, LiveState::Away);
        }
        // Whoever waits for an answer learns it by the sender's end.
        self.questions.retain(|_, (of, _)| of != node);
    }

    fn stands(&mut self, node: &str, number: u64, said: WatchState) {
        let state = match said {
            WatchState::Granted => return,
            WatchState::Refused { reason } => LiveState::Refused(reason),
            WatchState::Masked => LiveState::Masked,
            WatchState::Ended { reason } => LiveState::Ended(reason),
        };
        if let Some(wall) = self.pictures.get(&number).filter(|w| w.key.0 == node) {
            wall.view.send_if_modified(|view| {
                let now = View { state, picture: None };
                std::mem::replace(view, now.clone()) != now
            });
        } else if self.streams.get(&number).is_some_and(|s| s.node == node) {
            self.end_stream(number, state);
        }
    }

    fn answer(&mut self, node: &str, question: u64, answer: Result<Reply>) {
        if self.questions.get(&question).is_some_and(|(of, _)| of == node)
            && let Some((_, waiting)) = self.questions.remove(&question)
        {
            // Whoever asked may have gone.
            waiting.send(answer).ok();
        }
    }

    fn end_stream(&mut self, number: u64, state: LiveState) {
        if let Some(stream) = self.streams.remove(&number) {
            *stream.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        }
    }
}

impl Wall {
    fn fps(&self) -> f32 {
        self.wanted.values().copied().fold(0.0, f32::max)
    }

    fn ask(&self, number: u64) -> Ask {
        let (_, camera, emergency) = &self.key;
        let kind = WatchKind::Jpeg { fps: self.fps(), width: MAX_WIDTH };
        Ask::Watch(Watch { watch: number, camera: camera.clone(), kind, emergency: emergency.clone() })
    }

    /// The rate at which pictures come, with one of `at_ms`.
    fn measure(&mut self, at_ms: i64) -> f32 {
        self.arrivals.push_back(at_ms);
        if self.arrivals.len() > MEASURED {
            self.arrivals.pop_front();
        }
        let (Some(first), Some(last)) = (self.arrivals.front(), self.arrivals.back()) else { return 0.0 };
        let passed = last.saturating_sub(*first);
        if passed <= 0 { 0.0 } else { (self.arrivals.len() - 1) as f32 * 1000.0 / passed as f32 }
    }
}

/// Somebody looks at pictures.
pub struct Frames {
    hub: Hub,
    number: u64,
    watcher: u64,
    view: watch::Receiver<View>,
}

impl Frames {
    /// How it stands now, and the newest picture.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// What comes next. Who is slow misses some pictures and gets the newest. May be given up at any time.
    pub async fn next(&mut self) -> View {
        if self.view.changed().await.is_err() {
            return View { state: LiveState::Away, picture: None };
        }
        self.view.borrow_and_update().clone()
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        let Some(wall) = state.pictures.get_mut(&self.number) else { return };
        let before = wall.fps();
        wall.wanted.remove(&self.watcher);
        let node = wall.key.0.clone();
        if wall.wanted.is_empty() {
            let key = wall.key.clone();
            state.pictures.remove(&self.number);
            state.walls.remove(&key);
            state.ask(&node, Ask::Unwatch { watch: self.number });
        } else if wall.fps() != before {
            let ask = wall.ask(self.number);
            state.ask(&node, ask);
        }
    }
}

/// Somebody looks at a stream.
pub struct LiveStream {
    hub: Hub,
    number: u64,
    pieces: mpsc::Receiver<Piece>,
    end: Arc<Mutex<Option<LiveState>>>,
}

impl LiveStream {
    /// What comes next; `None` after [`Piece::End`]. May be given up at any time.
    pub async fn next(&mut self) -> Option<Piece> {
        match self.pieces.recv().await {
            Some(piece) => Some(piece),
            None => self.end.lock().unwrap_or_else(PoisonError::into_inner).take().map(Piece::End),
        }
    }
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        if let Some(stream) = state.streams.remove(&self.number) {
            state.ask(&stream.node, Ask::Unwatch { watch: self.number });
        }
    }
}
