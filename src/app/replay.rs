//! `wardwatch replay`: a video file through the same detector and tracker as a camera, every frame, as fast as it goes.
//!
//! Time is the file's own, counted from a given start, so the same file gives the same bytes on every run. Whoever needs
//! more than tracks (rules, snapshots) watches frame by frame through [`Observer`].

pub mod command;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::base::clock::{Clock, Stamp};
use crate::base::types::{Detection, Frame, Phantom, Track};
use crate::base::{Error, Result};
use crate::config::{DetectConfig, TrackConfig};
use crate::detect::Detector;
use crate::ingest::file::VideoFile;
use crate::track::Tracker;

/// What to replay.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    pub video: PathBuf,
    pub detect: DetectConfig,
    pub track: TrackConfig,
    /// When the file's time zero was.
    pub start: Stamp,
    /// Phantoms known before the first frame.
    pub phantoms: Vec<Phantom>,
    /// Stops after so many frames.
    pub frames: Option<u64>,
    /// Writes the tracks here as MOTChallenge rows.
    pub mot: Option<PathBuf>,
    /// Labels that get MOT rows; the format has no column for them.
    pub mot_labels: Vec<String>,
}

/// Sees every frame with what was found in it, in order. An error ends the replay.
pub trait Observer {
    /// The frame as the detector is to see it: with the camera's masks burned in.
    fn prepare(&mut self, frame: Frame) -> Frame {
        frame
    }

    /// One frame. `tracks` are the confirmed ones after this frame; the moment is `frame.arrived`.
    fn step(&mut self, frame: &Frame, tracks: &[Track]) -> Result<()>;
}

/// For those who only want the MOT file.
impl Observer for () {
    fn step(&mut self, _: &Frame, _: &[Track]) -> Result<()> {
        Ok(())
    }
}

/// What a replay came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// `yolox-nano@615e2661`.
    pub model: String,
    /// Where it really ran.
    pub provider: String,
    pub frames: u64,
    pub detections: u64,
    /// Confirmed tracks in all.
    pub tracks: u64,
    /// From the first frame's time to the last one's, plus one frame.
    pub video: Duration,
    /// What it took.
    pub took: Duration,
    /// What the tracker has learned.
    pub phantoms: Vec<Phantom>,
}

impl Summary {
    /// How many times faster than the camera.
    pub fn times_real_time(&self) -> f64 {
        self.video.as_secs_f64() / self.took.as_secs_f64().max(1e-9)
    }
}

/// Replays the file. `clock` only measures how long it took.
pub fn replay(options: &ReplayOptions, clock: &dyn Clock, observer: &mut dyn Observer) -> Result<Summary> {
    let mut detector = Detector::load(&options.detect)?;
    let mut tracker = Tracker::new(&options.track, options.phantoms.clone());
    let mut video = VideoFile::open(&options.video, options.start)?;
    let mut mot = options.mot.as_ref().map(|path| MotFile::create(path, &options.mot_labels)).transpose()?;
    let begun = clock.now();
    let (mut frames, mut detections, mut tracks) = (0, 0, 0);
    let (mut first, mut last) = (None, Duration::ZERO);
    while options.frames.is_none_or(|most| frames < most)
        && let Some(frame) = video.next_frame()?
    {
        let frame = observer.prepare(frame);
        let found: Vec<Detection> = detector.detect(&frame)?;
        let now = tracker.step(&found, frame.width, frame.height, frame.arrived);
        frames += 1;
        detections += found.len() as u64;
        tracks = now.iter().map(|t| t.id).max().unwrap_or(0).max(tracks);
        first.get_or_insert(frame.pts);
        last = frame.pts;
        if let Some(mot) = &mut mot {
            mot.write(&frame, &now)?;
        }
        observer.step(&frame, &now)?;
    }
    if let Some(mot) = mot {
        mot.close()?;
    }
    let between = last.saturating_sub(first.unwrap_or_default());
    let summary = Summary {
        model: detector.model().to_owned(),
        provider: detector.provider().to_owned(),
        frames,
        detections,
        tracks,
        video: between + between.checked_div((frames.max(2) - 1) as u32).unwrap_or_default(),
        took: clock.now().since(begun),
        phantoms: tracker.phantoms(),
    };
    tracing::info!(
        model = summary.model,
        provider = summary.provider,
        frames,
        detections,
        tracks,
        phantoms = summary.phantoms.len(),
        seconds = summary.took.as_secs_f64(),
        times_real_time = summary.times_real_time(),
        "replayed"
    );
    Ok(summary)
}

/// A track that is not seen for this long gets no rows until it is: where it is by then is a guess.
const COASTING: Duration = Duration::from_millis(250);

/// Rows `frame,track,left,top,width,height,score,-1,-1,-1` (MOTChallenge, Leal-Taixé et al., 2015): frames from 1, boxes
/// in pixels, cut to the frame, fixed decimals.
struct MotFile {
    path: PathBuf,
    out: BufWriter<File>,
    labels: Vec<String>,
    /// When each track was seen last.
    seen: HashMap<u64, Stamp>,
}

impl MotFile {
    fn create(path: &PathBuf, labels: &[String]) -> Result<Self> {
        let file = File::create(path).map_err(|e| Error::io("cannot write the tracks", path, e))?;
        Ok(Self { path: path.clone(), out: BufWriter::new(file), labels: labels.to_vec(), seen: HashMap::new() })
    }

    fn write(&mut self, frame: &Frame, tracks: &[Track]) -> Result<()> {
        for t in tracks.iter().filter(|t| self.labels.iter().any(|l| **l == *t.label)) {
            if t.seen_now {
                self.seen.insert(t.id, frame.arrived);
            }
            if self.seen.get(&t.id).is_none_or(|seen| frame.arrived.since(*seen) > COASTING) {
                continue;
            }
            let b = t.bbox.clamp(frame.width, frame.height);
            let (id, score) = (t.id, t.score);
            writeln!(
                self.out,
                "{},{id},{:.2},{:.2},{:.2},{:.2},{score:.4},-1,-1,-1",
                frame.seq, b.left, b.top, b.width, b.height
            )
            .map_err(|e| Error::io("cannot write the tracks", &self.path, e))?;
        }
        Ok(())
    }

    fn close(mut self) -> Result<()> {
        self.out.flush().map_err(|e| Error::io("cannot write the tracks", &self.path, e))
    }
}
