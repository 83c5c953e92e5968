//! Delivers clips to the centre, one at a time, and yields to alerts: while the broker is there and a fresh alert waits,
//! no piece is sent. One that is on its way takes about half a second.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::{counter, gauge};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::until_up;
use crate::base::telemetry as names;
use crate::base::{Clock, Error, ErrorKind, Result, Stamp};
use crate::config::{NodeConfig, NodeLinkConfig};
use crate::link::client::Client;
use crate::link::delivery::{Delivery as Course, Step};
use crate::link::identity;
use crate::link::pace::Pace;
use crate::publish::{self, backoff::Backoff};
use crate::store::Store;
use crate::store::delivery::Delivery;
use crate::wire::link::Identity;

/// How often new clips, and a new identity, are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is asked whether an alert still waits.
const YIELD: Duration = Duration::from_millis(100);
/// The same trouble is told this often.
const TELL: Duration = Duration::from_secs(60);

/// What delivering needs.
pub(super) struct Uplink {
    config: NodeLinkConfig,
    /// Where the identity is.
    state_dir: PathBuf,
    /// Where the clips are.
    clips: PathBuf,
    store: Store,
    publish: watch::Receiver<publish::Health>,
    clock: Arc<dyn Clock>,
}

impl Uplink {
    /// Delivers, where `[node.link]` says so, until it is aborted; whatever is under way goes on at the next start where
    /// the centre stands.
    pub(super) fn start(
        node: &NodeConfig,
        store: Store,
        publish: watch::Receiver<publish::Health>,
        clock: Arc<dyn Clock>,
        centre_up: Option<watch::Receiver<bool>>,
    ) -> Option<JoinHandle<()>> {
        let config = node.link.clone()?;
        let (state_dir, clips) = (node.state_dir.clone(), node.record.clips_dir());
        let uplink = Self { config, state_dir, clips, store, publish, clock };
        Some(tokio::spawn(async move {
            until_up(centre_up).await;
            uplink.run().await;
        }))
    }

    async fn run(self) {
        let client = match Client::new(&self.config) {
            Ok(client) => client,
            Err(e) => return tracing::error!("no clip will be delivered: {e}"),
        };
        let now = self.clock.now();
        let mut pace = Pace::new(self.config.bandwidth_kbit, now);
        let mut backoff = Backoff::new(now.mono.as_nanos() as u64);
        let mut told: Option<Stamp> = None;
        if let Err(e) = self.store.retry_deliveries().await {
            tracing::warn!("clips that were put aside stay there: {e}");
        }
        loop {
            match self.next(&client, &mut pace).await {
                Ok(moved) => {
                    backoff.reset();
                    told = None;
                    if !moved {
                        sleep(LOOK).await;
                    }
                }
                Err(error) => {
                    let now = self.clock.now();
                    if told.is_none_or(|at| now.since(at) >= TELL) {
                        tracing::warn!("clips wait: {error}");
                        told = Some(now);
                    }
                    sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// Delivers the next clip; false when there is none.
    async fn next(&self, client: &Client, pace: &mut Pace) -> Result<bool> {
        gauge!(names::CLIPS_WAITING).set(self.store.deliveries_waiting().await? as f64);
        let Some(clip) = self.store.next_delivery().await? else { return Ok(false) };
        let who = identity::load(&self.state_dir)?.ok_or_else(|| {
            Error::new(ErrorKind::Unauthorized, "this node is not enrolled at the centre")
                .hint("`wardwatch enrol-code` at the centre, `wardwatch enrol` here")
        })?;
        match self.deliver(client, pace, &who, &clip).await? {
            None => {
                self.store.delivered(clip.id, self.clock.now().wall_ms).await?;
                counter!(names::CLIPS_DELIVERED).increment(1);
                tracing::info!(camera = clip.note.camera.as_str(), sha256 = clip.note.sha256, "the centre has a clip");
            }
            Some(reason) => {
                tracing::error!(
                    camera = clip.note.camera.as_str(),
                    reason,
                    "a clip cannot be delivered; it stays here"
                );
                counter!(names::CLIPS_PARKED).increment(1);
                self.store.park_delivery(clip.id, reason).await?;
            }
        }
        Ok(true)
    }

    /// Brings one clip over: `None` when the centre has it, otherwise why it never will.
    async fn deliver(
        &self,
        client: &Client,
        pace: &mut Pace,
        who: &Identity,
        clip: &Delivery,
    ) -> Result<Option<String>> {
        let note = &clip.note;
        let (mut course, mut step) = Course::new(note.bytes);
        loop {
            step = match step {
                Step::Announce => course.step(client.announce(who, note).await),
                Step::Append { offset } => match self.piece(clip, offset, pace.piece()).await {
                    Ok(piece) => {
                        self.turn(pace, piece.len()).await?;
                        let (began, length) = (self.clock.now(), piece.len());
                        let last = offset + length as u64 == note.bytes;
                        let answer = client.append(who, &note.sha256, offset, piece, last).await;
                        pace.went(length, self.clock.now().since(began));
                        if let Ok(progress) = &answer {
                            counter!(names::CLIP_BYTES_SENT).increment(progress.offset.saturating_sub(offset));
                        }
                        course.step(answer)
                    }
                    Err(e) => course.unreadable(&e),
                },
                Step::Done => return Ok(None),
                Step::Park(reason) => return Ok(Some(reason)),
                Step::Wait(error) => return Err(error.at(&self.config.url)),
            };
        }
    }

    /// Waits until `bytes` may go: within the cap, and after every alert that can go now.
    async fn turn(&self, pace: &mut Pace, bytes: usize) -> Result<()> {
        loop {
            let wait = pace.wait(bytes, self.clock.now());
            // Without a broker no alert could use what is left free.
            let reachable = {
                let health = self.publish.borrow();
                health.connected && health.centre_online
            };
            if reachable && self.store.alert_waits().await? {
                sleep(YIELD).await;
            } else if !wait.is_zero() {
                sleep(wait).await;
            } else {
                return Ok(());
            }
        }
    }

    async fn piece(&self, clip: &Delivery, offset: u64, most: usize) -> Result<Bytes> {
        let path = self.clips.join(&clip.path);
        let length = (clip.note.bytes - offset).min(most as u64) as usize;
        let mut piece = vec![0; length];
        let read = async {
            let mut file = tokio::fs::File::open(&path).await?;
            file.seek(std::io::SeekFrom::Start(offset)).await?;
            file.read_exact(&mut piece).await
        };
        match read.await {
            Ok(_) => Ok(piece.into()),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(Error::new(ErrorKind::Corrupt, "the clip is shorter than it was").at(path.display()))
            }
            Err(e) => Err(Error::io("cannot read a clip", &path, e)),
        }
    }
}
