//! The cameras document of a running node: read at the start and on SIGHUP, told to the centre without its secrets, and
//! changed when the centre wants it. The file stays the truth: a change is a new file that was written, read and validated
//! whole before it takes the old one's name, so that kill -9 at any moment leaves the one or the other.
//!
//! Files are touched on the blocking threads only, and never while somebody else's change is not yet in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::force::Force;
use super::paper::{self, Fresh, Paper};
use crate::app::camera::load_cameras_from;
use crate::base::{Error, ErrorKind, Result};
use crate::config::edit::{self, Edit, InForce, Refused, Widening};
use crate::config::{CamerasDocument, DetectConfig, NodeConfig};
use crate::detect::manifest::Manifest;
use crate::wire::inquiry::{self, Change, Changed, DocumentInForce, Reply, Settings};

/// Changes that may wait for their turn.
const ROOM: usize = 8;

/// What is wanted of the document.
pub(super) enum Wish {
    Tell,
    Change(Change),
}

type Request = (Wish, oneshot::Sender<Result<Reply>>);

/// Where wishes are left; cloneable.
#[derive(Clone)]
pub(super) struct Documents(mpsc::Sender<Request>);

impl Documents {
    /// The answer, when the node's main loop has come round to it.
    ///
    /// # Errors
    /// When the node stops, or the document cannot be told.
    pub(super) async fn answer(&self, wish: Wish) -> Result<Reply> {
        let (told, answer) = oneshot::channel();
        let stops = || Error::new(ErrorKind::Unavailable, "the node stops");
        self.0.send((wish, told)).await.map_err(|_| stops())?;
        answer.await.map_err(|_| stops())?
    }
}

/// Who keeps the document.
pub(super) struct Registry {
    path: PathBuf,
    paper: Paper,
    labels: Arc<[String]>,
    /// Its text when it was read, and what it said.
    text: Arc<str>,
    document: Arc<CamerasDocument>,
    wishes: mpsc::Receiver<Request>,
}

/// A change that was written beside the document, and would do.
struct Draft {
    fresh: Fresh,
    base: String,
    text: String,
    document: CamerasDocument,
}

/// How far a change came.
enum Course {
    Ended(Changed),
    Ready(Box<Draft>),
}

impl Registry {
    /// Reads the document. Wishes are heard from now on, and answered when [`Self::obey`] is called.
    ///
    /// # Errors
    /// When it is wrong, with file, line, key and mend.
    pub(super) fn open(node: &NodeConfig, detect: &DetectConfig) -> Result<(Self, Documents)> {
        let labels: Arc<[String]> =
            Manifest::read(&detect.models_dir, &detect.model)?.labels.iter().map(|l| l.as_ref().to_owned()).collect();
        let (text, document) = read(&node.cameras, &labels)?;
        let (sender, wishes) = mpsc::channel(ROOM);
        let paper = Paper::new(&node.cameras, &node.state_dir)?;
        let (text, document) = (text.into(), Arc::new(document));
        Ok((Self { path: node.cameras.clone(), paper, labels, text, document, wishes }, Documents(sender)))
    }

    /// What is in force.
    pub(super) fn document(&self) -> &Arc<CamerasDocument> {
        &self.document
    }

    /// Takes away what a change that was broken off has left behind.
    pub(super) async fn tidy(&self) {
        let (paper, text) = (self.paper.clone(), self.text.clone());
        spawn_blocking(move || paper.tidy(&text)).await.ok();
    }

    /// The next wish. May be given up at any time.
    pub(super) async fn wish(&mut self) -> Request {
        match self.wishes.recv().await {
            Some(request) => request,
            // Nobody is left who could have one.
            None => std::future::pending().await,
        }
    }

    /// Puts the document as it is on disk into force, if it may replace this one.
    pub(super) async fn reload(&mut self, force: &mut Force) {
        let (path, labels) = (self.path.clone(), self.labels.clone());
        let read = match spawn_blocking(move || read(&path, &labels)).await {
            Ok(read) => read,
            Err(e) => Err(Error::new(ErrorKind::Internal, "reading it failed").source(e)),
        };
        let Some((text, newer)) = newer(read, &self.document) else { return };
        if force.masks(&newer).await {
            force.rest(&newer);
            (self.text, self.document) = (text.into(), Arc::new(newer));
        }
    }

    /// Does what is wished, and answers.
    pub(super) async fn obey(&mut self, (wish, told): Request, force: &mut Force) {
        let answer = match wish {
            Wish::Tell => self.tell(),
            Wish::Change(change) => self.change(change, force).await.map(Reply::Changed),
        };
        // Whoever asked may be gone; the change is in force all the same.
        told.send(answer).ok();
    }

    fn tell(&self) -> Result<Reply> {
        let described = edit::describe(InForce { text: &self.text, document: &self.document })
            .map_err(|e| Error::new(ErrorKind::Internal, e.message))?;
        let settings = |tables: Vec<edit::Settings>| tables.into_iter().map(Settings).collect();
        Ok(Reply::Document(DocumentInForce {
            revision: described.revision,
            cameras: settings(described.cameras),
            schedules: settings(described.schedules),
            labels: self.labels.to_vec(),
        }))
    }

    async fn change(&mut self, change: Change, force: &mut Force) -> Result<Changed> {
        let in_force = self.document.revision;
        let failed = |e| Error::new(ErrorKind::Internal, "the change failed").source(e);
        if change.base_revision != in_force {
            return Ok(Changed::Conflict { revision: in_force });
        }
        let (who, reason) = (change.who.clone(), change.reason.clone().unwrap_or_default());
        let drafting = Drafting {
            path: self.path.clone(),
            paper: self.paper.clone(),
            labels: self.labels.clone(),
            text: self.text.clone(),
            document: self.document.clone(),
        };
        let draft = match spawn_blocking(move || drafting.draft(change)).await.map_err(failed)? {
            Course::Ended(changed) => return Ok(changed),
            Course::Ready(draft) => *draft,
        };
        if !force.masks(&draft.document).await {
            spawn_blocking(move || drop(draft)).await.map_err(failed)?;
            return Err(Error::new(ErrorKind::Unavailable, "the node cannot keep its masks now; try again"));
        }
        let Draft { fresh, base, text, document } = draft;
        let named = spawn_blocking(move || fresh.name(&base, in_force)).await.map_err(failed);
        if let Err(refused) = named.unwrap_or_else(|e| Err(Refused::from(&e))) {
            // The masks of before are in force again: a clip must not show what they cover.
            force.masks(&self.document).await;
            return Ok(rejected(refused));
        }
        force.rest(&document);
        let revision = document.revision;
        (self.text, self.document) = (text.into(), Arc::new(document));
        tracing::info!(revision, who, reason, "cameras document changed from the centre");
        // Before the next change writes what no document names yet.
        self.tidy().await;
        Ok(Changed::Applied { revision })
    }
}

/// What a change is made from.
struct Drafting {
    path: PathBuf,
    paper: Paper,
    labels: Arc<[String]>,
    text: Arc<str>,
    document: Arc<CamerasDocument>,
}

impl Drafting {
    /// Everything before the change is in force. What was written goes away with the draft.
    fn draft(&self, change: Change) -> Course {
        let base = match self.paper.read() {
            Ok(base) if self.is_in_force(&base) => base,
            _ => {
                tracing::warn!(
                    who = change.who,
                    "the cameras document was changed by hand and is not in force: a change from the centre is refused \
                     (send SIGHUP, or put the file back)"
                );
                return Course::Ended(Changed::Conflict { revision: self.document.revision });
            }
        };
        match self.ready(base, change) {
            Ok(course) => course,
            Err(refused) => Course::Ended(rejected(refused)),
        }
    }

    /// A remark more or less is no change.
    fn is_in_force(&self, text: &str) -> bool {
        *text == *self.text
            || load_cameras_from(text.to_owned(), &self.path, &self.labels).is_ok_and(|d| d == *self.document)
    }

    fn ready(&self, base: String, change: Change) -> Result<Course, Refused> {
        let in_force = InForce { text: &base, document: &self.document };
        let edits = change.edits.into_iter().map(edited).collect();
        let changed = edit::change(in_force, edits, self.paper.secrets())?;
        let fresh = self.paper.write(&changed)?;
        let document = load_cameras_from(changed.text.clone(), fresh.path(), &self.labels)
            .map_err(|e| edit::locate(&changed.text, &e))?;
        let widened = edit::widened(&self.document, &document);
        if !widened.is_empty() && change.reason.is_none() {
            return Ok(Course::Ended(Changed::Consent { widened: widened.iter().map(told).collect() }));
        }
        if change.check {
            return Ok(Course::Ended(Changed::Checked));
        }
        for widening in &widened {
            tracing::warn!(
                camera = widening.camera.as_str(),
                what = ?widening.what,
                who = change.who,
                reason = change.reason,
                "shows more than before, by a change from the centre"
            );
        }
        Ok(Course::Ready(Box::new(Draft { fresh, base, text: changed.text, document })))
    }
}

fn edited(edit: inquiry::Edit) -> Edit {
    match edit {
        inquiry::Edit::Put { camera } => Edit::Put(camera.0),
        inquiry::Edit::Remove { id } => Edit::Remove(id),
        inquiry::Edit::PutSchedule { schedule } => Edit::PutSchedule(schedule.0),
        inquiry::Edit::RemoveSchedule { name } => Edit::RemoveSchedule(name),
    }
}

fn told(widening: &Widening) -> inquiry::Widening {
    let what = match widening.what {
        edit::Widened::Sharing => inquiry::Widened::Sharing,
        edit::Widened::Mask => inquiry::Widened::Mask,
        edit::Widened::Audio => inquiry::Widened::Audio,
    };
    inquiry::Widening { camera: widening.camera.to_string(), what }
}

fn rejected(refused: Refused) -> Changed {
    let Refused { camera, key, message, hint } = refused;
    Changed::rejected(camera, key, &message, hint)
}

fn read(path: &Path, labels: &[String]) -> Result<(String, CamerasDocument)> {
    let text = paper::text(path)?;
    let document = load_cameras_from(text.clone(), path, labels)?;
    Ok((text, document))
}

/// What was read, if it may replace `current`.
fn newer(read: Result<(String, CamerasDocument)>, current: &CamerasDocument) -> Option<(String, CamerasDocument)> {
    match read {
        Err(e) => {
            tracing::error!("the cameras document is not applied, revision {} stays: {e}", current.revision);
            None
        }
        Ok((_, newer)) if newer == *current => {
            tracing::info!(revision = newer.revision, "the cameras document has not changed");
            None
        }
        Ok((_, newer)) if newer.revision <= current.revision => {
            tracing::error!(
                "the cameras document is not applied: it (or a secret it names) changed but its revision is {}, not more \
                 than {}; raise it",
                newer.revision,
                current.revision
            );
            None
        }
        Ok((text, newer)) => {
            tracing::info!(revision = newer.revision, cameras = newer.cameras.len(), "cameras document applied");
            Some((text, newer))
        }
    }
}
