//! The node's clips: of each event, when [`plan`] says so, and of any range that somebody asks for. Cutting and encoding
//! happen beside the events' way, one at a time, and never on the runtime's threads.
//!
//! The order is that of evidence: file on disk, its name on disk, then the row and the revision that tells of it. A node
//! that dies between leaves a file without a row, which goes at the next start, and an event without a clip, which gets
//! one then. What a camera had masked when it was recorded is burned in; without that there is no clip.

pub(in crate::app) mod keep;
mod plan;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, histogram};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::app::{Shutdown, stopped, transcode};
use crate::base::telemetry as names;
use crate::base::types::{CameraId, ClipInfo, Codec, EventReport};
use crate::base::{Clock, Error, ErrorKind, Result};
use crate::config::{CamerasDocument, NodeConfig, RecordConfig, RecordingMode, Roll, Sandbox, Sharing};
use crate::record::clip::{self, ClipReport, Hole, Request};
use crate::record::{clips, retention};
use crate::store::Store;
use crate::store::clip::NewClip;
use crate::wire::command::{Answer, Command};
use plan::{Ended, Job, Next, Planner};

/// The recorder puts the last fragment of a clip on disk so much after its end, at most: a fragment has about a second.
const BEHIND: Duration = Duration::from_millis(2500);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(100);
/// How often the database is asked for events that have no clip.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// Cutting and encoding, one at a time each. Events have a lane of their own: a clip that somebody asks for may take
/// minutes, and theirs is to be ready in seconds.
struct Lane {
    cutting: Semaphore,
    encoding: Semaphore,
}

impl Default for Lane {
    fn default() -> Self {
        Self { cutting: Semaphore::new(1), encoding: Semaphore::new(1) }
    }
}

/// What the cameras document says that concerns clips.
#[derive(Default)]
struct Wanted {
    /// By rule.
    rolls: HashMap<String, Roll>,
}

/// Cloneable; shared by whoever reports events or asks for clips.
#[derive(Clone)]
pub struct Clips(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    record: RecordConfig,
    /// The wardwatch binary, for encoding.
    program: PathBuf,
    database: PathBuf,
    sandbox: Sandbox,
    /// Whether the centre is to have the clips of events.
    deliver: bool,
    /// Cameras whose events get clips.
    wanted: Mutex<HashMap<CameraId, Wanted>>,
    planner: Mutex<Planner>,
    news: Notify,
    events: Lane,
    asked: Lane,
    /// Whoever names or removes files holds it from the name to the row.
    shelf: tokio::sync::Mutex<()>,
}

/// A clip that has no name yet.
struct Draft {
    work: tempfile::TempDir,
    file: PathBuf,
    info: ClipInfo,
    report: ClipReport,
}

impl Clips {
    /// The clips of a node that has `document`, with what a run that was cut off left behind cleared away.
    ///
    /// # Errors
    /// When the store cannot keep the document's masks.
    pub async fn ready(
        node: &NodeConfig,
        program: PathBuf,
        store: Store,
        clock: Arc<dyn Clock>,
        document: &CamerasDocument,
    ) -> Result<Self> {
        let clips = Self(Arc::new(Inner {
            store,
            clock,
            record: node.record.clone(),
            program,
            database: node.state_dir.join("node.db"),
            sandbox: node.sandbox,
            deliver: node.link.is_some(),
            wanted: Mutex::default(),
            planner: Mutex::default(),
            news: Notify::new(),
            events: Lane::default(),
            asked: Lane::default(),
            shelf: tokio::sync::Mutex::default(),
        }));
        if let Err(e) = keep::look_over(&clips).await {
            tracing::error!("clips and their index were not compared: {e}");
        }
        clips.apply(document).await?;
        Ok(clips)
    }

    /// Makes the clips of events from now on, and deletes what has had its time.
    pub fn start(&self, document: &CamerasDocument) -> Running {
        let (policies, kept) = watch::channel(keep::policies(document));
        let (stop, stopped) = watch::channel(false);
        let making = tokio::spawn(self.clone().run(stopped));
        let keeping = tokio::spawn(keep::retain(self.clone(), kept));
        Running { clips: self.clone(), policies, stop, making, keeping }
    }

    /// Takes over a cameras document, before its cameras are given to workers.
    ///
    /// # Errors
    /// When the store cannot keep its masks: until it can, clips show what the document before had covered, too.
    async fn apply(&self, document: &CamerasDocument) -> Result<()> {
        let records =
            |c: &&crate::config::Camera| c.recording.mode != RecordingMode::Off && c.sharing >= Sharing::EventsOnly;
        let wanted = document.cameras.iter().filter(records).map(|c| {
            let rolls = c.rules.iter().map(|r| (r.name.clone(), r.roll)).collect();
            (c.id.clone(), Wanted { rolls })
        });
        *self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner) = wanted.collect();
        let now = self.0.clock.now();
        for camera in &document.cameras {
            self.0.store.note_masks(camera.id.clone(), camera.masks.clone(), now.wall_ms).await?;
        }
        Ok(())
    }

    /// An event as it was committed. Returns at once.
    pub fn reported(&self, report: &EventReport) {
        let roll = self.roll(report);
        self.planner().reported(report, roll);
        self.0.news.notify_one();
    }

    /// Looks in the database for events that ended without their worker, or in an earlier run.
    pub async fn look_again(&self) {
        let now = self.0.clock.now();
        let since_ms = now.wall_ms - plan::REMEMBER.as_millis() as i64;
        match self.0.store.events_without_clip(since_ms).await {
            Ok(reports) => {
                for report in reports {
                    if let Some(roll) = self.roll(&report) {
                        self.planner().found(&report, roll, now);
                    }
                }
                self.0.news.notify_one();
            }
            Err(e) => tracing::warn!("events without a clip are not looked for: {e}"),
        }
    }

    /// What an event's rule wants around it; none for a camera whose events get no clips.
    fn roll(&self, report: &EventReport) -> Option<Roll> {
        let wanted = self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let camera = wanted.get(report.camera.as_ref()?)?;
        Some(camera.rolls.get(&report.rule).copied().unwrap_or_default())
    }

    fn planner(&self) -> MutexGuard<'_, Planner> {
        self.0.planner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the clips of events until the node stops. What is being made then is made after the next start.
    async fn run(self, mut shutdown: Shutdown) {
        self.look_again().await;
        let mut again = tokio::time::interval(LOOK_AGAIN);
        again.tick().await;
        let mut jobs = JoinSet::new();
        loop {
            let now = self.0.clock.now();
            let (ready, next) = {
                let mut planner = self.planner();
                (planner.step(now), planner.next())
            };
            for job in ready {
                let clips = self.clone();
                jobs.spawn(async move {
                    let how = clips.event_clip(&job).await;
                    clips.finished(&job, how);
                });
            }
            let pause = next.map_or(LOOK_AGAIN, |at| at.saturating_sub(now.mono));
            tokio::select! {
                () = stopped(&mut shutdown) => return,
                () = self.0.news.notified() => {}
                () = tokio::time::sleep(pause) => {}
                Some(ended) = jobs.join_next() => {
                    if let Err(e) = ended {
                        tracing::error!("making a clip failed: {e}");
                    }
                }
                _ = again.tick() => self.look_again().await,
            }
        }
    }

    fn finished(&self, job: &Job, how: Result<()>) {
        let ended = match &how {
            Ok(()) => Ended::Made,
            Err(e) if e.kind() == ErrorKind::NotFound => Ended::Nothing,
            Err(_) => Ended::Failed,
        };
        let next = self.planner().ended(job, ended, self.0.clock.now());
        self.0.news.notify_one();
        let camera = job.camera.as_str();
        let Err(e) = how else { return };
        if ended == Ended::Nothing {
            return tracing::info!(camera, event = job.event, "an event has no clip: {e}");
        }
        counter!(names::CLIPS_FAILED, "camera" => camera.to_owned()).increment(1);
        match next {
            Next::GivenUp => tracing::error!(camera, event = job.event, "an event stays without its clip: {e}"),
            _ => tracing::warn!(camera, event = job.event, "a clip is not made yet: {e}"),
        }
    }

    /// Makes one clip of an event.
    async fn event_clip(&self, job: &Job) -> Result<()> {
        if job.complete {
            self.wait_for_end(&job.camera, job.from_ms, job.to_ms, job.due + BEHIND).await?;
        }
        let request = Request { camera: job.camera.clone(), from_ms: job.from_ms, to_ms: job.to_ms };
        let draft = self.draft(&self.0.events, request, job.complete).await?;
        let deliver = self.0.deliver;
        let _shelf = self.0.shelf.lock().await;
        let (clip, work) = self.place(draft, &job.camera, None, deliver).await?;
        let info = clip.info.clone();
        let committed = self.0.store.set_clip(job.event.clone(), clip, self.0.clock.now()).await?;
        drop(work);
        let kind = if job.complete { "final" } else { "interim" };
        counter!(names::CLIPS, "camera" => job.camera.to_string(), "kind" => kind).increment(1);
        let late = self.0.clock.now().mono.saturating_sub(job.due);
        if job.complete {
            histogram!(names::CLIP_SECONDS).record(late.as_secs_f64());
        }
        tracing::debug!(
            camera = job.camera.as_str(),
            event = job.event,
            revision = committed.map(|c| c.revision),
            kind,
            bytes = info.bytes,
            milliseconds = late.as_millis() as u64,
            "clip made"
        );
        Ok(())
    }

    /// Waits until the recorder has put the end of the clip on disk, but not for long: a camera may be away.
    async fn wait_for_end(&self, camera: &CameraId, from_ms: i64, to_ms: i64, until: Duration) -> Result<()> {
        while self.0.clock.now().mono < until {
            let segments = self.0.store.segments(camera.clone(), from_ms, i64::MAX).await?;
            let dir = self.0.record.dir.clone();
            if blocking(move || Ok(clip::reaches(&dir, &segments, to_ms))).await? {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Makes the clip that `command` asks for, for the centre, with masks where there are some; `tell` makes the answer.
    /// The answer that is kept, in one transaction with the clip's row.
    ///
    /// # Errors
    /// `NotFound` when nothing of the range is recorded, and why; others may pass.
    pub(super) async fn obey(
        &self,
        command: &Command,
        request: Request,
        tell: impl FnOnce(&ClipInfo, &ClipReport) -> Answer,
    ) -> Result<String> {
        let camera = request.camera.clone();
        let now = self.0.clock.now();
        let ahead = Duration::from_millis(u64::try_from(request.to_ms - now.wall_ms).unwrap_or(0));
        let ago = Duration::from_millis(u64::try_from(now.wall_ms - request.to_ms).unwrap_or(0));
        if ago < BEHIND {
            self.wait_for_end(&camera, request.from_ms, request.to_ms, now.mono + ahead + BEHIND - ago).await?;
        }
        let draft = self.draft(&self.0.asked, request, true).await?;
        let given = tell(&draft.info, &draft.report);
        let _shelf = self.0.shelf.lock().await;
        let (clip, work) = self.place(draft, &camera, Some(command.id.clone()), true).await?;
        let kept = self.0.store.obey_clip(command.clone(), clip, given, self.0.clock.now()).await?;
        drop(work);
        counter!(names::CLIPS, "camera" => camera.to_string(), "kind" => "asked").increment(1);
        Ok(kept)
    }

    /// What is known to be missing in a range of which there is no clip.
    pub(super) async fn missing(&self, request: &Request) -> Result<Vec<Hole>> {
        let Request { camera, from_ms, to_ms } = request.clone();
        let gaps = self.0.store.gaps(camera, from_ms, to_ms).await?;
        Ok(clip::uncovered(from_ms, to_ms, &[], &gaps))
    }

    /// Cuts a range and burns in what was masked.
    async fn draft(&self, lane: &Lane, request: Request, complete: bool) -> Result<Draft> {
        let Request { camera, from_ms, to_ms } = request.clone();
        let (work, report) = {
            let _turn = turn(&lane.cutting).await?;
            let segments = self.0.store.segments(camera.clone(), from_ms, to_ms).await?;
            let gaps = self.0.store.gaps(camera.clone(), from_ms, to_ms).await?;
            let record = self.0.record.clone();
            blocking(move || {
                let work = clips::workspace(&record.clips_dir())?;
                enough_room(&record)?;
                let report = clip::cut(&record.dir, &request, &segments, &gaps, &work.path().join("cut.mp4"))?;
                Ok((work, report))
            })
            .await?
        };
        let mut info = ClipInfo {
            sha256: report.sha256.clone(),
            bytes: report.bytes,
            from_ms: report.from_ms,
            to_ms: report.to_ms,
            codec: report.codec,
            masked: false,
            complete,
            missing_ms: report.missing_ms(),
        };
        let file = work.path().join("cut.mp4");
        // What the pictures really cover decides, not what was asked for.
        let masks = self.0.store.masks(camera.clone(), report.from_ms, report.to_ms).await?;
        let masks = masks.ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "nothing is known of the camera's masks: no clip of it is made")
                .camera(&camera)
                .hint("add the camera to the cameras document")
        })?;
        if masks.is_empty() {
            return Ok(Draft { work, file, info, report });
        }
        let masked = work.path().join("masked.mp4");
        let turn = turn(&lane.encoding).await?;
        let request = transcode::request(&file, &masked, masks, &report);
        transcode::in_child(&self.0.program, &request, self.0.sandbox).await.map_err(|e| e.camera(&camera))?;
        drop(turn);
        let named = masked.clone();
        (info.bytes, info.sha256) = blocking(move || clips::fingerprint(&named)).await?;
        (info.masked, info.codec) = (true, Codec::H264);
        Ok(Draft { work, file: masked, info, report })
    }

    /// Gives a draft its name; the row is the caller's, who holds the shelf.
    async fn place(
        &self,
        draft: Draft,
        camera: &CameraId,
        command: Option<String>,
        deliver: bool,
    ) -> Result<(NewClip, tempfile::TempDir)> {
        let Draft { work, file, info, .. } = draft;
        let (dir, sha256) = (self.0.record.clips_dir(), info.sha256.clone());
        let path = blocking(move || clips::place(&dir, &file, &sha256)).await?;
        Ok((NewClip { camera: camera.clone(), command, path, info, deliver }, work))
    }
}

/// The two tasks at work.
pub struct Running {
    clips: Clips,
    policies: watch::Sender<keep::Policies>,
    stop: watch::Sender<bool>,
    making: JoinHandle<()>,
    keeping: JoinHandle<()>,
}

impl Running {
    /// Takes over a cameras document before its cameras are given to workers; false when it must not be applied.
    pub async fn apply(&self, document: &CamerasDocument) -> bool {
        if let Err(e) = self.clips.apply(document).await {
            tracing::error!("the cameras document is not applied, its masks cannot be kept: {e}");
            return false;
        }
        self.policies.send_replace(keep::policies(document));
        true
    }

    /// Ends both. What is not made yet is made after the next start.
    pub async fn stop(self) {
        self.keeping.abort();
        self.stop.send_replace(true);
        for ended in [self.making.await, self.keeping.await] {
            if let Err(e) = ended
                && !e.is_cancelled()
            {
                tracing::error!("work on clips failed: {e}");
            }
        }
    }
}

async fn turn(of: &Semaphore) -> Result<tokio::sync::SemaphorePermit<'_>> {
    of.acquire().await.map_err(|e| Error::new(ErrorKind::Internal, "clips are not made any more").source(e))
}

/// As for recordings: the other half of the floor is for events.
fn enough_room(record: &RecordConfig) -> Result<()> {
    let free = retention::free_bytes(&record.dir)?;
    if free >= record.disk_floor_bytes / 2 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Exhausted, format!("only {} MiB of the disk are free", free >> 20))
        .at(record.dir.display()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::new(ErrorKind::Internal, "work on clips failed").source(e))?
}
