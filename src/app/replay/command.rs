//! `wardwatch replay` as a person calls it: configuration and camera in, events, tracks and snapshots out as files. What
//! is written depends on the input alone: two runs give the same bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use super::{Observer, ReplayOptions, Summary, replay};
use crate::app::camera::{CameraTask, SiteSettings, load_cameras};
use crate::base::clock::SystemClock;
use crate::base::types::{EventReport, Frame, Snapshot, Track};
use crate::base::{Error, ErrorKind, Result, Stamp};
use crate::config::{Camera, load_site};
use crate::rules::IdSource;
use crate::wire::event::{Event, Origin, parse_rfc3339};
use crate::wire::ipc::CameraAssignment;

/// The command's arguments.
pub struct ReplayCommand {
    pub video: PathBuf,
    pub camera: String,
    /// RFC 3339: when the first frame was taken.
    pub start: String,
    pub config: PathBuf,
    pub frames: Option<u64>,
    pub events: Option<PathBuf>,
    pub mot: Option<PathBuf>,
    pub snapshots: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// A wrong configuration, an unknown camera, a file that cannot be read or written.
pub fn run(command: &ReplayCommand) -> Result<Summary> {
    let site = load_site(&command.config)?;
    let node = site
        .node
        .as_ref()
        .ok_or_else(|| Error::new(ErrorKind::Config, "has no [node] and so no cameras").at(command.config.display()))?;
    let document = load_cameras(&node.cameras, &site.detect)?;
    let camera = document.cameras.iter().find(|c| c.id.as_str() == command.camera).ok_or_else(|| {
        let known: Vec<&str> = document.cameras.iter().map(|c| c.id.as_str()).collect();
        Error::new(ErrorKind::Config, format!("there is no camera `{}`", command.camera))
            .at(node.cameras.display())
            .hint(format!("known cameras: {}", known.join(", ")))
    })?;
    let start_ms = parse_rfc3339(&command.start).map_err(|e| {
        Error::new(ErrorKind::Config, format!("--start: {e}")).hint("for example 2026-11-24T02:00:00+07:00")
    })?;
    let timezone = TimeZone::get(&site.timezone)
        .map_err(|e| Error::new(ErrorKind::Config, "the site's time zone is unknown").source(e))?;
    let origin = Origin { ward: site.ward.clone(), node: node.name.clone(), boot_id: "replay".into(), timezone };
    let model = crate::detect::manifest::Manifest::read(&site.detect.models_dir, &site.detect.model)?.id();
    let settings = SiteSettings::new(&site.timezone, site.snapshot.clone(), model)?;
    let assignment = CameraAssignment::new(camera, document.revision, 0, Vec::new());
    let ids = IdSource::derived(&seed(command, start_ms)?);
    let mut files = Files {
        task: CameraTask::new(&assignment, &settings, ids)?,
        events: command.events.as_deref().map(create).transpose()?,
        snapshots: command.snapshots.clone(),
        origin,
        seq: 0,
        revisions: HashMap::new(),
        last: Stamp::default(),
    };
    if let Some(dir) = &command.snapshots {
        std::fs::create_dir_all(dir).map_err(|e| Error::io("cannot make the directory of snapshots", dir, e))?;
    }
    let options = ReplayOptions {
        video: command.video.clone(),
        detect: site.detect.clone(),
        track: site.track.clone(),
        start: Stamp { mono: std::time::Duration::ZERO, wall_ms: start_ms },
        phantoms: Vec::new(),
        frames: command.frames,
        mot: command.mot.clone(),
        mot_labels: watched(camera),
    };
    let summary = replay(&options, &SystemClock, &mut files)?;
    files.finish()?;
    Ok(summary)
}

/// The labels that any rule of the camera looks at.
fn watched(camera: &Camera) -> Vec<String> {
    let mut labels: Vec<String> = camera.rules.iter().flat_map(|r| r.labels.clone()).collect();
    labels.sort();
    labels.dedup();
    labels
}

/// Event ids follow from what is replayed: the same video, camera and start give the same ids.
fn seed(command: &ReplayCommand, start_ms: i64) -> Result<[u8; 32]> {
    let failed = |e| Error::io("cannot open the video", &command.video, e);
    let mut file = File::open(&command.video).map_err(failed)?;
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        let n = file.read(&mut chunk).map_err(failed)?;
        if n == 0 {
            break;
        }
        hash.update(&chunk[..n]);
    }
    hash.update(command.camera.as_bytes());
    hash.update(start_ms.to_be_bytes());
    Ok(hash.finalize().into())
}

type Out = (PathBuf, BufWriter<File>);

fn create(path: &Path) -> Result<Out> {
    let file = File::create(path).map_err(|e| Error::io("cannot be written", path, e))?;
    Ok((path.to_owned(), BufWriter::new(file)))
}

/// Rules and snapshots of the camera, written to files.
struct Files {
    task: CameraTask,
    events: Option<Out>,
    snapshots: Option<PathBuf>,
    origin: Origin,
    seq: u64,
    revisions: HashMap<String, u32>,
    last: Stamp,
}

impl Files {
    fn write(&mut self, report: &EventReport, snapshot: Option<&Snapshot>) -> Result<()> {
        self.seq += 1;
        let revision = self.revisions.entry(report.id.clone()).or_insert(0);
        *revision += 1;
        if let Some((path, out)) = &mut self.events {
            let mut line = Event::new(report, *revision, self.seq, &self.origin).to_json()?;
            line.push(b'\n');
            out.write_all(&line).map_err(|e| Error::io("cannot be written", path, e))?;
        }
        if let (Some(dir), Some(snapshot)) = (&self.snapshots, snapshot) {
            let path = dir.join(format!("{}-{revision}.jpg", report.id));
            std::fs::write(&path, &snapshot.jpeg).map_err(|e| Error::io("cannot be written", &path, e))?;
        }
        Ok(())
    }

    /// The video is over: what is open ends.
    fn finish(&mut self) -> Result<()> {
        for report in self.task.end_all(self.last) {
            self.write(&report, None)?;
        }
        match &mut self.events {
            Some((path, out)) => out.flush().map_err(|e| Error::io("cannot be written", path, e)),
            None => Ok(()),
        }
    }
}

impl Observer for Files {
    fn prepare(&mut self, frame: Frame) -> Frame {
        self.task.mask(&frame)
    }

    fn step(&mut self, frame: &Frame, tracks: &[Track]) -> Result<()> {
        self.last = frame.arrived;
        for (report, snapshot) in self.task.step(frame, tracks, &mut |_| None) {
            self.write(&report, snapshot.as_ref())?;
        }
        Ok(())
    }
}
