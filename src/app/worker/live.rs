//! What of a camera is shown to those who look: single pictures with the masks burned in, and its own stream as
//! fragmented MP4. Nothing of it is stored, nothing waits for it, and it lives only as long as somebody looks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use super::outbound::Outbound;
use super::pulse;
use super::stream::Stream;
use crate::app::thread;
use crate::base::Stamp;
use crate::base::types::{AccessUnit, CameraId, Codec, Frame, StreamParams};
use crate::config::SnapshotConfig;
use crate::detect::{Mailbox, Take};
use crate::ingest::gate::Gate;
use crate::ingest::ring::Read;
use crate::record::boxes::{self, Part, Splitter};
use crate::record::codec;
use crate::record::mux::Mux;
use crate::snapshot;
use crate::wire::channel::Ending;
use crate::wire::ipc::{LivePart, PictureWant, StreamWant, ToNode};

/// Of a wall's picture: it is small, and looked at for a second.
const QUALITY: u8 = 70;
/// How often a quiet thread looks around.
const TICK: Duration = Duration::from_millis(100);
/// A player gets a fragment of this length at a time.
const FRAGMENT: Duration = Duration::from_millis(400);

/// Decides which of a camera's decoded frames become pictures.
pub(super) struct Tap(Mutex<(Option<PictureWant>, Gate)>);

impl Default for Tap {
    fn default() -> Self {
        Self(Mutex::new((None, Gate::new(1.0))))
    }
}

impl Tap {
    pub(super) fn set(&self, want: Option<PictureWant>) {
        let mut tap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(want) = want {
            tap.1.set_fps(want.fps);
        }
        tap.0 = want;
    }

    pub(super) fn want(&self) -> Option<PictureWant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whether a frame that arrived at `at` is one of them.
    pub(super) fn takes(&self, at: Duration) -> bool {
        let mut tap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tap.0.is_some() && tap.1.due(at)
    }
}

/// Frames on their way to become pictures, one a camera: a newer one takes the place of an older.
pub(super) type Frames = Mailbox<CameraId, Frame>;

/// Makes pictures, cameras by turns, beside the detector and not in its thread. `finish` gives the masked frame and what
/// is wanted of it.
pub(super) fn pictures(
    frames: &Frames,
    outbound: &Outbound,
    finish: impl Fn(&CameraId, &Frame) -> Option<(Frame, PictureWant)>,
) {
    loop {
        pulse::beat();
        let (camera, frame) = match frames.take(Duration::from_secs(1)) {
            Take::Item(camera, frame) => (camera, frame),
            Take::Nothing => continue,
            Take::Closed => return,
        };
        let Some((masked, want)) = finish(&camera, &frame) else { continue };
        let config = SnapshotConfig { max_width: want.width, quality: QUALITY, overlay: false };
        match snapshot::take(&masked, None, &config) {
            Ok(shot) => {
                let (width, height) = (shot.info.width, shot.info.height);
                let at_ms = frame.arrived.wall_ms;
                outbound.offer(ToNode::LivePicture { camera, at_ms, width, height }, shot.jpeg);
            }
            Err(e) => tracing::warn!(camera = camera.as_str(), "no live picture: {e}"),
        }
    }
}

/// The streams of one camera that are looked at.
#[derive(Default)]
pub(super) struct Watched(Mutex<BTreeMap<u64, Running>>);

struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watched {
    /// Begins those that are new and ends those that nobody wants any more. `source` chooses the stream of one.
    pub(super) fn set(
        &self,
        camera: &CameraId,
        wants: &[StreamWant],
        source: impl Fn(&StreamWant) -> Arc<Stream>,
        outbound: &Arc<Outbound>,
    ) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is let go of ends by itself, soon; nobody waits for it.
        running.retain(|number, one| {
            let wanted = wants.iter().any(|w| w.number == *number);
            one.stop.store(!wanted, Ordering::Relaxed);
            wanted
        });
        for want in wants {
            let number = want.number;
            if running.contains_key(&number) {
                continue;
            }
            let stop = Arc::new(AtomicBool::new(false));
            let job = Job { number, stream: source(want), outbound: outbound.clone(), stop: stop.clone() };
            match thread(&format!("live {camera}"), move || job.run()) {
                Ok(thread) => drop(running.insert(number, Running { stop, thread: Some(thread) })),
                Err(e) => {
                    tracing::error!(camera = camera.as_str(), "{e}");
                    outbound.offer(ToNode::LiveEnded { stream: number, reason: Ending::Failed }, Bytes::new());
                }
            }
        }
    }

    /// Ends all; gives the threads to be waited for.
    pub(super) fn stop(&self) -> Vec<JoinHandle<()>> {
        let running = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        running.values().for_each(|one| one.stop.store(true, Ordering::Relaxed));
        running.into_values().filter_map(|one| one.thread).collect()
    }
}

/// Sends one stream by copying, from its last keyframe on.
struct Job {
    number: u64,
    stream: Arc<Stream>,
    outbound: Arc<Outbound>,
    stop: Arc<AtomicBool>,
}

/// The mux of a stream and where its time begins.
struct Muxing {
    mux: Mux,
    splitter: Splitter,
    params: Arc<StreamParams>,
    base: Duration,
    begun: Stamp,
    timescale: Option<u32>,
}

impl Job {
    fn run(self) {
        if let Err(reason) = self.send() {
            self.outbound.offer(ToNode::LiveEnded { stream: self.number, reason }, Bytes::new());
        }
    }

    /// Until nobody looks any more, or why it ended before.
    fn send(&self) -> Result<(), Ending> {
        let mut cursor = self.stream.ring.seek(Duration::MAX).unwrap_or(0);
        let mut muxing: Option<Muxing> = None;
        while !self.stop.load(Ordering::Relaxed) {
            match self.stream.ring.read(cursor, TICK) {
                Read::Unit { missed, .. } if missed > 0 && muxing.is_some() => return Err(Ending::Slow),
                Read::Unit { unit, .. } => {
                    cursor = unit.seq + 1;
                    self.feed(&unit, &mut muxing)?;
                }
                Read::Empty => {}
                Read::Closed if self.stop.load(Ordering::Relaxed) => return Ok(()),
                Read::Closed => return Err(Ending::Changed),
            }
            if let Some(muxing) = &mut muxing {
                self.pass_on(muxing)?;
            }
        }
        Ok(())
    }

    fn feed(&self, unit: &AccessUnit, muxing: &mut Option<Muxing>) -> Result<(), Ending> {
        if unit.params.codec == Codec::Mjpeg {
            return Err(Ending::Codec);
        }
        let failed = |e| {
            tracing::warn!("a live stream ends: {e}");
            Ending::Failed
        };
        let muxing = match muxing {
            Some(muxing) if Arc::ptr_eq(&muxing.params, &unit.params) => muxing,
            Some(_) => return Err(Ending::Changed),
            None if !unit.keyframe => return Ok(()),
            None => muxing.insert(Muxing {
                mux: Mux::start_with(&unit.params, FRAGMENT).map_err(failed)?,
                splitter: Splitter::default(),
                params: unit.params.clone(),
                base: unit.pts,
                begun: unit.arrived,
                timescale: None,
            }),
        };
        muxing.mux.feed(unit, unit.pts.saturating_sub(muxing.base)).map_err(failed)
    }

    fn pass_on(&self, muxing: &mut Muxing) -> Result<(), Ending> {
        for bytes in muxing.mux.take() {
            for part in muxing.splitter.push(&bytes).map_err(|_| Ending::Failed)? {
                let (part, blob) = match part {
                    Part::Init(init) => {
                        muxing.timescale = boxes::timescale(&init);
                        let mime = codec::mime(&init).ok_or(Ending::Codec)?;
                        (LivePart::Init { mime }, init)
                    }
                    Part::Fragment(fragment) => {
                        let times = boxes::times(&fragment).ok_or(Ending::Failed)?;
                        let scale = u64::from(muxing.timescale.ok_or(Ending::Failed)?);
                        let at_ms = muxing.begun.wall_ms + (times.start.saturating_mul(1000) / scale) as i64;
                        (LivePart::Fragment { at_ms, keyframe: times.keyframe }, fragment)
                    }
                };
                if !self.outbound.offer(ToNode::LiveMedia { stream: self.number, part }, blob) {
                    return Err(Ending::Slow);
                }
            }
        }
        Ok(())
    }
}
