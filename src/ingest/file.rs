//! A video file as frames: every frame, in order, as fast as it is asked for. For replay; nothing here keeps to real
//! time, and no camera is read through it.
//!
//! The pipeline is `pipelines/decode-file.gst`; the path goes in as a property, never as pipeline text.

use std::path::{Path, PathBuf};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::decode::map_i420;
use crate::base::clock::Stamp;
use crate::base::types::Frame;
use crate::base::{Error, ErrorKind, Result};

const PIPELINE: &str = include_str!("../../pipelines/decode-file.gst");

/// How long to wait for a frame between two looks at the bus.
const POLL: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// A file that gives nothing for so many polls (30 s) is not going to.
const MAX_SILENT_POLLS: u32 = 300;

/// An open video file.
pub struct VideoFile {
    path: PathBuf,
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    bus: gst::Bus,
    start: Stamp,
    frames: u64,
}

impl VideoFile {
    /// Opens `path`; its first frame is taken to have arrived at `start` plus its time in the file.
    pub fn open(path: &Path, start: Stamp) -> Result<Self> {
        std::fs::File::open(path).map_err(|e| Error::io("cannot open the video", path, e))?;
        let internal = |what: &str| Error::new(ErrorKind::Internal, what.to_owned()).at("pipelines/decode-file.gst");
        gst::init().map_err(|e| Error::new(ErrorKind::Unavailable, "GStreamer does not start").source(e))?;
        let element = gst::parse::launch(PIPELINE).map_err(|e| {
            internal("the pipeline cannot be made")
                .source(e)
                .hint("run `make setup`, which installs GStreamer's plugins")
        })?;
        let pipeline = element.downcast::<gst::Pipeline>().map_err(|_| internal("this is no pipeline"))?;
        let file = pipeline.by_name("file").ok_or_else(|| internal("there is no element named `file`"))?;
        file.set_property("location", path);
        let sink = pipeline
            .by_name("detect")
            .and_then(|e| e.downcast::<gst_app::AppSink>().ok())
            .ok_or_else(|| internal("there is no appsink named `detect`"))?;
        // One thread decodes at the lowest cost a frame, and in the same way on every machine.
        pipeline.connect_deep_element_added(|_, _, element| {
            let decodes = element.factory().is_some_and(|f| f.name().starts_with("avdec_"));
            if decodes && element.has_property("max-threads") {
                element.set_property("max-threads", 1i32);
            }
        });
        let bus = pipeline.bus().ok_or_else(|| internal("the pipeline has no bus"))?;
        let opened = Self { path: path.to_owned(), pipeline, sink, bus, start, frames: 0 };
        if opened.pipeline.set_state(gst::State::Playing).is_err() {
            return Err(opened.failure().unwrap_or_else(|| opened.undecodable("it does not start")));
        }
        Ok(opened)
    }

    /// The next frame; `None` after the last.
    pub fn next_frame(&mut self) -> Result<Option<Frame>> {
        for _ in 0..MAX_SILENT_POLLS {
            if let Some(sample) = self.sink.try_pull_sample(POLL) {
                self.frames += 1;
                return self.frame(&sample).map(Some);
            }
            if let Some(e) = self.failure() {
                return Err(e);
            }
            if self.sink.is_eos() {
                return match self.frames {
                    0 => Err(self.undecodable("there is no picture in it")),
                    _ => Ok(None),
                };
            }
        }
        Err(self.undecodable("no picture came for 30 s"))
    }

    /// The first error on the bus, if there is one.
    fn failure(&self) -> Option<Error> {
        let message = self.bus.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(e) => Some(self.undecodable(e.error().message())),
            _ => None,
        }
    }

    fn undecodable(&self, why: &str) -> Error {
        let e = Error::new(ErrorKind::Invalid, format!("cannot decode the video after {} frames: {why}", self.frames));
        e.at(self.path.display()).hint("check it with `gst-discoverer-1.0 FILE`")
    }

    fn frame(&self, sample: &gst::Sample) -> Result<Frame> {
        let wrong = |what: &str| self.undecodable(what);
        let caps = sample.caps().ok_or_else(|| wrong("a picture without a format"))?;
        let info = gst_video::VideoInfo::from_caps(caps).map_err(|_| wrong("a picture of unknown format"))?;
        let buffer = sample.buffer_owned().ok_or_else(|| wrong("a picture without data"))?;
        // Files without time stamps (a raw elementary stream) still have an order and a nominal rate.
        let pts = match buffer.pts() {
            Some(pts) => pts.into(),
            None => nominal(&info, self.frames - 1),
        };
        let frame = map_i420(sample, buffer).ok_or_else(|| wrong("a picture that cannot be mapped"))?;
        Ok(Frame { seq: self.frames, pts, arrived: self.start.plus(pts), ..frame })
    }
}

impl Drop for VideoFile {
    fn drop(&mut self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::debug!(path = %self.path.display(), "the pipeline did not stop cleanly");
        }
    }
}

/// When frame `index` (from 0) is shown, by the announced rate; 25 a second if there is none.
fn nominal(info: &gst_video::VideoInfo, index: u64) -> std::time::Duration {
    let fps = info.fps();
    let (n, d) = match (fps.numer(), fps.denom()) {
        (n, d) if n > 0 && d > 0 => (n as u64, d as u64),
        _ => (25, 1),
    };
    std::time::Duration::from_nanos(index * d * 1_000_000_000 / n)
}
