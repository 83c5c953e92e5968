//! The node's end of the channel to its centre: keeps it open, describes the cameras, and passes on what somebody at the
//! centre looks at, as far as [`Watches`] allows it. Nothing of it is kept; when the channel breaks nobody looks any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use metrics::{counter, gauge};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{interval, sleep, timeout};

use super::inquire::Desk;
use super::until_up;
use crate::base::telemetry as names;
use crate::base::types::CameraId;
use crate::base::{Clock, Error, ErrorKind, Result, Stamp};
use crate::config::{CamerasDocument, NodeConfig, NodeLinkConfig};
use crate::link::channel::{self, Heard, Listener, Say, Speaker};
use crate::link::identity;
use crate::link::watches::{LiveWants, Outcome, Watches};
use crate::publish::backoff::Backoff;
use crate::wire::channel::{
    Ask, Ending, Head, PING_SECONDS, SILENCE_SECONDS, Tell, WatchState, read_ask, write_binary, write_tell,
};
use crate::wire::inquiry::Reply;
use crate::wire::ipc::{LivePart, ToNode};

/// How often it is looked what has ended.
const LOOK: Duration = Duration::from_secs(1);
/// The same trouble is told this often.
const TELL: Duration = Duration::from_secs(60);
/// Texts that may wait; a centre that takes none of so many is gone.
const TEXTS: usize = 1024;
/// Pieces of one stream that may wait: some seconds.
const PIECES: usize = 32;
/// Questions that are being answered at a time.
const QUESTIONS: usize = 16;

/// Where workers' live messages go, and the document; cloneable.
#[derive(Clone)]
pub(super) struct Live(Arc<Inner>);

struct Inner {
    arrived: Mutex<Arrived>,
    news: Notify,
    wants: watch::Sender<LiveWants>,
    document: watch::Sender<Option<Arc<CamerasDocument>>>,
}

/// What came of the workers and is not yet on its way.
#[derive(Default)]
struct Arrived {
    pictures: BTreeMap<CameraId, (ToNode, Bytes)>,
    media: VecDeque<(u64, ToNode, Bytes)>,
    /// Streams of which too much waits.
    slow: BTreeSet<u64>,
}

impl Live {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            arrived: Mutex::default(),
            news: Notify::new(),
            wants: watch::Sender::default(),
            document: watch::Sender::new(None),
        }))
    }

    /// What the workers are to show.
    pub(super) fn wants(&self) -> watch::Receiver<LiveWants> {
        self.0.wants.subscribe()
    }

    /// Puts `document` in force.
    pub(super) fn apply(&self, document: &CamerasDocument) {
        self.0.document.send_replace(Some(Arc::new(document.clone())));
    }

    /// The document in force.
    pub(super) fn document(&self) -> watch::Receiver<Option<Arc<CamerasDocument>>> {
        self.0.document.subscribe()
    }

    /// Takes a worker's live message over; never waits.
    pub(super) fn take(&self, message: ToNode, blob: Bytes) {
        let mut arrived = self.0.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        match &message {
            ToNode::LivePicture { camera, .. } => drop(arrived.pictures.insert(camera.clone(), (message, blob))),
            ToNode::LiveMedia { stream, .. } | ToNode::LiveEnded { stream, .. } => {
                let stream = *stream;
                if arrived.media.iter().filter(|(s, ..)| *s == stream).count() >= PIECES {
                    arrived.slow.insert(stream);
                } else if !arrived.slow.contains(&stream) {
                    arrived.media.push_back((stream, message, blob));
                }
            }
            _ => {}
        }
        self.0.news.notify_one();
    }

    /// Keeps the channel open, where `[node.link]` names a centre, until it is aborted.
    pub(super) fn start(
        &self,
        node: &NodeConfig,
        desk: Desk,
        clock: Arc<dyn Clock>,
        centre_up: Option<watch::Receiver<bool>>,
    ) -> Option<JoinHandle<()>> {
        let config = node.link.clone()?;
        let keeper = Keeper { config, state_dir: node.state_dir.clone(), desk, live: self.clone(), clock };
        Some(tokio::spawn(async move {
            until_up(centre_up).await;
            keeper.run().await;
        }))
    }

    /// Who looks at what has changed, perhaps.
    fn want(&self, wants: LiveWants) {
        let looked = wants.values().map(|w| w.streams.len() + usize::from(w.picture.is_some())).sum::<usize>();
        gauge!(names::LIVE_WATCHES).set(looked as f64);
        self.0.wants.send_if_modified(|before| {
            let changed = *before != wants;
            *before = wants;
            changed
        });
    }

    /// Nobody looks any more.
    fn forget(&self) {
        self.want(LiveWants::new());
        *self.0.arrived.lock().unwrap_or_else(PoisonError::into_inner) = Arrived::default();
    }
}

struct Keeper {
    config: NodeLinkConfig,
    /// Where the identity is.
    state_dir: PathBuf,
    desk: Desk,
    live: Live,
    clock: Arc<dyn Clock>,
}

/// One life of the channel.
#[derive(Default)]
struct Talk {
    watches: Mutex<Watches>,
    texts: Mutex<VecDeque<String>>,
    speak: Notify,
}

impl Talk {
    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, tell: &Tell) -> Result<()> {
        let text = write_tell(tell)?;
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.len() >= TEXTS {
            return Err(Error::new(ErrorKind::Unavailable, "the centre takes nothing any more"));
        }
        texts.push_back(text);
        drop(texts);
        self.speak.notify_one();
        Ok(())
    }
}

impl Keeper {
    async fn run(self) {
        let mut backoff = Backoff::new(self.clock.now().mono.as_nanos() as u64);
        let mut told: Option<Stamp> = None;
        loop {
            gauge!(names::CHANNEL_CONNECTED).set(0.0);
            let begun = self.clock.now();
            let Err(error) = self.connect().await;
            self.live.forget();
            let now = self.clock.now();
            if now.since(begun) >= TELL {
                (told, backoff) = (None, Backoff::new(now.mono.as_nanos() as u64));
            }
            if told.is_none_or(|at| now.since(at) >= TELL) {
                tracing::warn!("no live pictures for the centre: {error}");
                told = Some(now);
            }
            sleep(backoff.next_wait()).await;
        }
    }

    /// One life of the channel; gives why it ended.
    async fn connect(&self) -> Result<std::convert::Infallible> {
        let who = identity::load(&self.state_dir)?.ok_or_else(|| {
            Error::new(ErrorKind::Unauthorized, "this node is not enrolled at the centre")
                .hint("`wardwatch enrol-code` at the centre, `wardwatch enrol` here")
        })?;
        let (mut speaker, mut listener) =
            channel::open(&self.config, &who).await.map_err(|e| e.at(&self.config.url))?;
        gauge!(names::CHANNEL_CONNECTED).set(1.0);
        tracing::info!(centre = %self.config.url, "the channel to the centre stands");
        let talk = Talk::default();
        let ended = tokio::select! {
            ended = self.listen(&talk, &mut listener) => ended,
            ended = self.speak(&talk, &mut speaker) => ended,
        };
        if let Err(error) = &ended {
            speaker.close(error.message()).await;
        }
        ended
    }

    /// Does what the centre asks.
    async fn listen(&self, talk: &Talk, listener: &mut Listener) -> Result<std::convert::Infallible> {
        let mut document = self.live.0.document.subscribe();
        document.mark_changed();
        let mut look = interval(LOOK);
        let mut heard = self.clock.now();
        let mut questions = JoinSet::new();
        loop {
            let outcomes = tokio::select! {
                // The document first: what it says is asked for at once.
                biased;
                Ok(()) = document.changed() => {
                    let newer = document.borrow_and_update().clone();
                    let Some(newer) = newer else { continue };
                    // One that cannot be told is no reason to show nothing.
                    if let Err(e) = talk.tell(&Tell::cameras(&newer)) {
                        tracing::error!("the centre is not told of the cameras: {e}");
                    }
                    talk.watches().apply(&newer, self.clock.now())
                }
                _ = look.tick() => {
                    let now = self.clock.now();
                    if now.since(heard) > Duration::from_secs(SILENCE_SECONDS) {
                        let text = format!("nothing was heard of the centre for {SILENCE_SECONDS} s");
                        return Err(Error::new(ErrorKind::Unavailable, text));
                    }
                    talk.watches().tick(now)
                }
                Some(answered) = questions.join_next() => {
                    // One that was broken off was answered by nobody; the centre's patience ends by itself.
                    if let Ok(tell) = answered {
                        talk.tell(&tell)?;
                    }
                    continue;
                }
                message = listener.next() => {
                    heard = self.clock.now();
                    match message? {
                        Heard::Text(text) => self.obey(talk, &mut questions, read_ask(&text)?, heard)?,
                        Heard::Alive => continue,
                    }
                }
            };
            self.act(talk, outcomes)?;
        }
    }

    fn obey(&self, talk: &Talk, questions: &mut JoinSet<Tell>, ask: Ask, now: Stamp) -> Result<Vec<Outcome>> {
        match ask {
            Ask::Watch(watch) => return Ok(talk.watches().ask(watch, now)),
            Ask::Unwatch { watch } => {
                talk.watches().end(watch);
            }
            Ask::Inquire { question, .. } if questions.len() >= QUESTIONS => {
                talk.tell(&Tell::Failed { question, reason: "the node has too many questions already".to_owned() })?;
            }
            Ask::Inquire { question, about } => {
                let answering = self.desk.clone().answer(about);
                questions.spawn(async move { told(question, answering.await) });
            }
        }
        Ok(Vec::new())
    }

    /// Tells the centre and the log what became of watches, and the workers what is still wanted.
    fn act(&self, talk: &Talk, outcomes: Vec<Outcome>) -> Result<()> {
        for outcome in outcomes {
            match outcome {
                Outcome::State { watch, state } => {
                    if let WatchState::Refused { reason } = state {
                        counter!(names::LIVE_REFUSED, "reason" => reason.as_str()).increment(1);
                    }
                    talk.tell(&Tell::State { watch, state })?;
                }
                Outcome::Emergency { camera, emergency } => tracing::warn!(
                    camera = camera.as_str(),
                    emergency = emergency.id,
                    who = emergency.who,
                    reason = emergency.reason,
                    until_ms = emergency.until_ms,
                    "is looked at under an emergency, though its owner does not share it live"
                ),
            }
        }
        self.live.want(talk.watches().wants());
        Ok(())
    }

    /// Says what there is to say: texts first, then streams, then pictures.
    async fn speak(&self, talk: &Talk, speaker: &mut Speaker) -> Result<std::convert::Infallible> {
        let mut spoken = self.clock.now();
        loop {
            let said = self.next(talk)?;
            let silent = self.clock.now().since(spoken) >= Duration::from_secs(PING_SECONDS);
            if said.is_empty() && !silent {
                let news = async {
                    tokio::select! { () = talk.speak.notified() => {}, () = self.live.0.news.notified() => {} }
                };
                timeout(Duration::from_secs(PING_SECONDS), news).await.ok();
                continue;
            }
            if silent {
                speaker.say(Say::Ping).await?;
                spoken = self.clock.now();
            }
            for say in said {
                if let Say::Binary(bytes) = &say {
                    counter!(names::LIVE_BYTES).increment(bytes.len() as u64);
                }
                speaker.say(say).await?;
            }
        }
    }

    fn next(&self, talk: &Talk) -> Result<Vec<Say>> {
        if let Some(text) = talk.texts.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
            return Ok(vec![Say::Text(text)]);
        }
        let mut arrived = self.live.0.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let mut watches = talk.watches();
        if let Some(number) = arrived.slow.pop_first() {
            arrived.media.retain(|(stream, ..)| *stream != number);
            drop(arrived);
            return self.end(talk, &mut watches, number, Ending::Slow);
        }
        if let Some((number, message, blob)) = arrived.media.pop_front() {
            drop(arrived);
            let part = match message {
                ToNode::LiveMedia { part, .. } => part,
                ToNode::LiveEnded { reason, .. } => return self.end(talk, &mut watches, number, reason),
                _ => return Ok(Vec::new()),
            };
            let Some(watch) = watches.of_stream(number) else { return Ok(vec![]) };
            let head = match part {
                LivePart::Init { mime } => Head::Init { watch, mime },
                LivePart::Fragment { at_ms, keyframe } => Head::Fragment { watch, at_ms, keyframe },
            };
            return Ok(vec![Say::Binary(write_binary(&head, &blob)?)]);
        }
        let Some((camera, (message, jpeg))) = arrived.pictures.pop_first() else { return Ok(Vec::new()) };
        drop(arrived);
        let ToNode::LivePicture { at_ms, width, height, .. } = message else { return Ok(Vec::new()) };
        counter!(names::LIVE_PICTURES, "camera" => camera.to_string()).increment(1);
        let head = |watch| Head::Picture { watch, at_ms, width, height };
        watches.of_pictures(&camera).map(|watch| write_binary(&head(watch), &jpeg).map(Say::Binary)).collect()
    }

    /// A stream is over: its watch, too.
    fn end(&self, talk: &Talk, watches: &mut Watches, number: u64, reason: Ending) -> Result<Vec<Say>> {
        let Some(watch) = watches.of_stream(number) else { return Ok(Vec::new()) };
        watches.end(watch);
        self.live.want(watches.wants());
        talk.tell(&Tell::State { watch, state: WatchState::Ended { reason } })?;
        Ok(Vec::new())
    }
}

fn told(question: u64, answer: Result<Reply>) -> Tell {
    let tell = match answer {
        Ok(reply) => Tell::Answer { question, reply },
        Err(e) => Tell::Failed { question, reason: e.message().to_owned() },
    };
    // An answer that may not be said must not end the channel.
    match write_tell(&tell) {
        Ok(_) => tell,
        Err(e) => Tell::Failed { question, reason: e.message().to_owned() },
    }
}
