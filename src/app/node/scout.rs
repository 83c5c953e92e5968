//! Helps whoever sets cameras up or looks through recordings from the centre: tries a stream, looks for cameras on the
//! node's network, shows a recorded picture. What is decoded is decoded by children. The node keeps to what owners agreed
//! to by itself, whoever asks: a camera in the register only is not connected to, a picture of a known camera is shown
//! only where it is shared live, and recordings of a camera that shares events only about events.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::app::{probe, still};
use crate::base::geometry::Polygon;
use crate::base::types::{CameraId, StreamRole};
use crate::base::{Error, ErrorKind, Result};
use crate::config::{
    Camera, CamerasDocument, NodeConfig, RecordConfig, Sandbox, Sharing, StreamSource, StreamUrl, Transport,
};
use crate::link::discovery;
use crate::record::{clip, clips, segment};
use crate::store::Store;
use crate::wire::inquiry::{Device, Probed, Reply, Source, Still};

/// A stream is watched for so long; until its first picture comes, ten seconds more.
const WATCHED_SECONDS: u64 = 4;
/// A probe takes no longer.
const PROBE: Duration = Duration::from_secs(20);
/// A picture takes no longer, its turn apart.
const STILL: Duration = Duration::from_secs(5);
/// Pictures that may wait for their turn.
const QUEUE: usize = 16;
/// A name that is not found out by then is not the address of anything.
const NAMES: Duration = Duration::from_secs(2);
/// Before a moment it is looked so far back for a picture.
const BACK_MS: i64 = 60_000;
/// Of a camera whose owner shares events, recordings are shown so long before and after one, as clips are.
const AROUND_MS: i64 = 60_000;

/// Cloneable.
#[derive(Clone)]
pub(super) struct Scout(Arc<Inner>);

struct Inner {
    program: PathBuf,
    sandbox: Sandbox,
    record: RecordConfig,
    store: Store,
    document: watch::Receiver<Option<Arc<CamerasDocument>>>,
    probing: Semaphore,
    looking: Semaphore,
    picturing: Semaphore,
    /// Those that wait, too.
    pictures: Semaphore,
}

/// A table `[camera.detect]` of which only this matters. Nothing in it is a reference to a file or a variable.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stream {
    url: String,
    user: Option<String>,
    password: Option<String>,
    #[serde(default)]
    transport: Transport,
    tls_pin: Option<String>,
    #[serde(rename = "latency_ms")]
    _latency_ms: Option<Value>,
    #[serde(rename = "fps")]
    _fps: Option<Value>,
}

impl Scout {
    pub(super) fn new(
        node: &NodeConfig,
        program: PathBuf,
        store: Store,
        document: watch::Receiver<Option<Arc<CamerasDocument>>>,
    ) -> Self {
        let one = || Semaphore::new(1);
        Self(Arc::new(Inner {
            program,
            sandbox: node.sandbox,
            record: node.record.clone(),
            store,
            document,
            probing: one(),
            looking: one(),
            picturing: one(),
            pictures: Semaphore::new(QUEUE),
        }))
    }

    /// The camera called `id` in the document in force.
    pub(super) fn camera(&self, id: &str) -> Option<Camera> {
        self.cameras().iter().find(|c| c.id.as_str() == id).cloned()
    }

    fn cameras(&self) -> Vec<Camera> {
        self.0.document.borrow().as_ref().map(|d| d.cameras.clone()).unwrap_or_default()
    }

    /// Connects to a stream once.
    ///
    /// # Errors
    /// When another is being tried, or trying fails for reasons of this machine. A camera that does not answer is an
    /// answer.
    pub(super) async fn probe(&self, source: Source) -> Result<Reply> {
        let busy = |_| Error::new(ErrorKind::Unavailable, "another stream is being tried; try again in a moment");
        let _turn = self.0.probing.try_acquire().map_err(busy)?;
        let refused = |detail: &str, hint: &str| {
            let (detail, hint) = (Some(detail.to_owned()), Some(hint.to_owned()));
            Ok(Reply::Probed(Probed { detail, hint, ..Probed::default() }))
        };
        let (stream, known) = match source {
            Source::Camera { camera, stream } => {
                let Some(camera) = self.camera(camera.as_str()) else {
                    return refused("the node has no such camera", "load the cameras again");
                };
                let source = match stream {
                    StreamRole::Detect => Some(camera.detect.clone()),
                    StreamRole::Record => camera.record.clone(),
                };
                let Some(source) = source else {
                    return refused("the camera has no such stream", "give it a [camera.record]");
                };
                (of_document(&source), vec![camera])
            }
            Source::Stream { stream } => {
                let Ok(stream) = serde_json::from_value::<Stream>(Value::Object(stream.0)) else {
                    return refused("the stream cannot be understood", "give its url, and user and password beside it");
                };
                let stream = match of_stream(stream) {
                    Ok(stream) => stream,
                    Err(e) => return refused(e.message(), e.mend().unwrap_or_default()),
                };
                let known = self.at_host(&stream).await;
                (stream, known)
            }
        };
        if !known.is_empty() && known.iter().all(|c| c.sharing == Sharing::Listed) {
            return refused(
                "this camera is in the register only (`listed`): nobody connects to it",
                "ask its owner, and set `sharing` first",
            );
        }
        // Of a device with several cameras nobody knows whose picture it would be.
        let picture = match known.as_slice() {
            [] => Some(Vec::new()),
            [camera] if camera.sharing == Sharing::ScheduledLive => Some(camera.masks.clone()),
            _ => None,
        };
        let work = probe::Work { picture, ..stream };
        let probed = match probe::in_child(&self.0.program, &work, self.0.sandbox, PROBE).await {
            Err(e) if e.kind() == ErrorKind::Timeout => {
                return refused("the camera did not answer in time", "check its power, its cable and its address");
            }
            other => other?,
        };
        Ok(Reply::Probed(Probed { camera: known.first().map(|c| c.id.clone()), ..probed }))
    }

    /// The cameras of the document that have the host of `stream`, by whatever name; the one with its very address alone,
    /// if there is one.
    async fn at_host(&self, stream: &probe::Work) -> Vec<Camera> {
        let Ok((url, ..)) = StreamUrl::parse(&stream.url) else { return Vec::new() };
        let cameras = self.cameras();
        let streams = |c: &Camera| [Some(c.detect.url.clone()), c.record.as_ref().map(|r| r.url.clone())];
        let is_it = |c: &&Camera| streams(c).into_iter().flatten().any(|u| u == url);
        if let Some(camera) = cameras.iter().find(is_it) {
            return vec![camera.clone()];
        }
        let addresses = resolved(&url).await;
        let is_there = async |of: StreamUrl| {
            of.host().eq_ignore_ascii_case(url.host()) || !addresses.is_disjoint(&resolved(&of).await)
        };
        let there =
            join_all(cameras.iter().map(async |camera| {
                join_all(streams(camera).into_iter().flatten().map(is_there)).await.contains(&true)
            }));
        let there = there.await;
        cameras.into_iter().zip(there).filter_map(|(camera, there)| there.then_some(camera)).collect()
    }

    /// Looks for cameras on the node's network.
    ///
    /// # Errors
    /// When no question can be sent.
    pub(super) async fn discover(&self) -> Result<Reply> {
        let busy =
            |_| Error::new(ErrorKind::Unavailable, "the network is being searched already; try again in a moment");
        let _turn = self.0.looking.try_acquire().map_err(busy)?;
        let found = discovery::search(discovery::GROUP, discovery::PATIENCE).await?;
        let cameras = self.cameras();
        let known = join_all(cameras.iter().map(async |c| (resolved(&c.detect.url).await, c.id.clone()))).await;
        let device = |d: discovery::Found| Device {
            known: known.iter().find(|(at, _)| at.contains(&d.address)).map(|(_, id)| id.clone()),
            address: d.address.to_string(),
            name: d.name,
            hardware: d.hardware,
            vendor: d.vendor.map(str::to_owned),
            xaddrs: d.xaddrs,
        };
        Ok(Reply::Discovered { devices: found.into_iter().map(device).collect() })
    }

    /// The recorded picture of `camera` nearest to `at_ms`, not after it; an empty one when there is none, or it may not be
    /// shown.
    ///
    /// # Errors
    /// `Exhausted` when too many wait, `Timeout`, and what the child says.
    pub(super) async fn still(&self, camera: CameraId, at_ms: i64, width: u32) -> Result<Reply> {
        let many = |_| Error::new(ErrorKind::Exhausted, "too many pictures are asked for; try again in a moment");
        let _place = self.0.pictures.try_acquire().map_err(many)?;
        let ended = |_| Error::new(ErrorKind::Internal, "no pictures are made any more");
        let _turn = self.0.picturing.acquire().await.map_err(ended)?;
        let late = |_| Error::new(ErrorKind::Timeout, "the picture takes too long");
        match timeout(STILL, self.picture(camera.clone(), at_ms, width)).await.map_err(late)? {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Reply::Still(Still { at_ms, jpeg: String::new() })),
            other => other.map_err(|e| e.camera(&camera)),
        }
    }

    async fn picture(&self, camera: CameraId, at_ms: i64, width: u32) -> Result<Reply> {
        let none = || Error::new(ErrorKind::NotFound, "nothing is recorded there");
        let known = self.camera(camera.as_str()).filter(|c| c.sharing != Sharing::Listed).ok_or_else(none)?;
        let from_ms = (at_ms - BACK_MS).max(0);
        let segments = self.0.store.segments(camera.clone(), from_ms, at_ms.saturating_add(1)).await?;
        let inner = self.0.clone();
        let of = camera.clone();
        let (work, report) = blocking(move || inner.cut(of, at_ms, &segments)).await?.ok_or_else(none)?;
        let span = (report.from_ms, report.from_ms.saturating_add(1));
        let of_events = known.sharing != Sharing::OnRequest;
        if of_events && !self.0.store.is_about_events(camera.clone(), span, AROUND_MS).await? {
            return Err(none());
        }
        let masks = self.masks(&known, &report).await?;
        let input = work.path().join("cut.mp4");
        let jpeg =
            still::in_child(&self.0.program, &still::Work { input, masks, width }, self.0.sandbox, STILL).await?;
        Ok(Reply::Still(Still { at_ms: report.from_ms, jpeg }))
    }

    /// What was covered when it was recorded, and what is now.
    async fn masks(&self, camera: &Camera, report: &clip::ClipReport) -> Result<Vec<Polygon>> {
        let masks = self.0.store.masks(camera.id.clone(), report.from_ms, report.to_ms).await?;
        let mut masks = masks.ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "nothing is known of the camera's masks: no picture of it is shown")
        })?;
        let newer: Vec<_> = camera.masks.iter().filter(|m| !masks.contains(m)).cloned().collect();
        masks.extend(newer);
        Ok(masks)
    }
}

impl Inner {
    /// A clip that begins with the picture, in a directory of its own; `None` when there is no recording.
    fn cut(
        &self,
        camera: CameraId,
        at_ms: i64,
        segments: &[crate::base::types::Segment],
    ) -> Result<Option<(tempfile::TempDir, clip::ClipReport)>> {
        let dir = &self.record.dir;
        // A file that grows says itself how far it reaches.
        let end = |s: &crate::base::types::Segment| match s.end_ms {
            Some(end) => Some(end),
            None => segment::Sidecar::read(&segment::sidecar_path(&dir.join(&s.path))).ok().map(|s| s.end_ms()),
        };
        let before = segments.iter().filter(|s| s.start_ms <= at_ms);
        let reach = before.filter_map(|s| Some((end(s)?, s.start_ms))).max();
        let Some((end_ms, start_ms)) = reach else { return Ok(None) };
        let from_ms = at_ms.min(end_ms - 1).max(start_ms);
        let work = clips::workspace(&self.record.clips_dir())?;
        let request = clip::Request { camera, from_ms, to_ms: from_ms + 1 };
        match clip::cut(dir, &request, segments, &[], &work.path().join("cut.mp4")) {
            Ok(report) => Ok(Some((work, report))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

fn of_document(source: &StreamSource) -> probe::Work {
    probe::Work {
        url: source.url.expose().to_owned(),
        user: source.user.clone(),
        password: source.password.as_ref().map(|p| p.expose().to_owned()),
        transport: source.transport,
        tls_pin: source.tls_pin.clone(),
        seconds: WATCHED_SECONDS,
        picture: None,
    }
}

fn of_stream(stream: Stream) -> Result<probe::Work> {
    let (url, user, password) = StreamUrl::parse(&stream.url)?;
    Ok(probe::Work {
        url: url.expose().to_owned(),
        user: stream.user.or(user),
        password: stream.password.or_else(|| password.map(|p| p.expose().to_owned())),
        transport: stream.transport,
        tls_pin: stream.tls_pin,
        seconds: WATCHED_SECONDS,
        picture: None,
    })
}

/// The addresses of a stream's host; none when it has no such name.
async fn resolved(url: &StreamUrl) -> HashSet<IpAddr> {
    let host = url.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let found = timeout(NAMES, tokio::net::lookup_host((host, url.port()))).await;
    let addresses = found.ok().and_then(std::result::Result::ok);
    addresses.into_iter().flatten().map(|a| a.ip().to_canonical()).collect()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::new(ErrorKind::Internal, "work on a picture failed").source(e))?
}
