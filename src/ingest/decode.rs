//! From access units to I420 frames, one software decoder a stream, one thread a decoder.
//!
//! A [`Decoder`] runs in GStreamer's own streaming thread and hands each frame to a callback, which must not wait.
//! [`decode_nearest`] decodes the end of one group of pictures and returns its last frame.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use super::gst_error;
use crate::base::types::{AccessUnit, Codec, ColorMatrix, ColorRange, Frame, Plane, StreamParams};
use crate::base::{Error, ErrorKind, Result, Stamp};

pub(super) fn init_gstreamer() -> Result<()> {
    gst::init().map_err(|e| gst_error("GStreamer does not start", e))
}

/// The decode pipeline's text for `codec`.
fn template(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => include_str!("../../pipelines/decode-h264.gst"),
        Codec::H265 => include_str!("../../pipelines/decode-h265.gst"),
        Codec::Mjpeg => include_str!("../../pipelines/decode-mjpeg.gst"),
    }
}

/// When the unit that became a frame had arrived; looked up by PTS, because decoders reorder.
#[derive(Default)]
struct Arrivals(VecDeque<(Duration, u64, Stamp, Option<i64>)>);

const ARRIVALS_KEPT: usize = 64;

impl Arrivals {
    fn note(&mut self, unit: &AccessUnit) {
        if self.0.len() == ARRIVALS_KEPT {
            self.0.pop_front();
        }
        self.0.push_back((unit.pts, unit.seq, unit.arrived, unit.camera_time_ms));
    }

    fn of(&self, pts: Duration) -> Option<(u64, Stamp, Option<i64>)> {
        let found = self.0.iter().rev().min_by_key(|(p, ..)| p.abs_diff(pts))?;
        Some((found.1, found.2, found.3))
    }
}

/// A running decoder.
pub struct Decoder {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    arrivals: Arc<Mutex<Arrivals>>,
}

impl Decoder {
    /// Starts a decoder for `params`; `on_frame` is called in the decoder's thread for every frame.
    pub fn start(params: &StreamParams, mut on_frame: impl FnMut(Frame) + Send + 'static) -> Result<Self> {
        let (pipeline, source, sink) = build(params)?;
        let arrivals = Arc::new(Mutex::new(Arrivals::default()));
        let known = arrivals.clone();
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    if let Some(frame) = frame(&sample, &known.lock().unwrap_or_else(PoisonError::into_inner)) {
                        on_frame(frame);
                    }
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
        pipeline.set_state(gst::State::Playing).map_err(|e| gst_error("the decoder does not start", e))?;
        Ok(Self { pipeline, source, arrivals })
    }

    /// Feeds one unit; waits while the decoder has four unread ones. An error means that the decoder is broken and must
    /// be started anew.
    pub fn feed(&self, unit: &AccessUnit) -> Result<()> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).note(unit);
        if let Some(error) = self.take_error() {
            return Err(error);
        }
        self.source
            .push_buffer(buffer(unit))
            .map(drop)
            .map_err(|e| Error::new(ErrorKind::Invalid, format!("the decoder takes no more data ({e:?})")))
    }

    /// Waits until everything fed has become a frame; dropping a decoder instead leaves out what is still in it.
    ///
    /// # Errors
    /// `Invalid` when the rest cannot be decoded, `Timeout` after `deadline`.
    pub fn finish(self, deadline: Duration) -> Result<()> {
        self.source.end_of_stream().map_err(|e| gst_error("the decoder takes no end", format!("{e:?}")))?;
        wait_for_end(&self.pipeline, deadline)
    }

    fn take_error(&self) -> Option<Error> {
        let message = self.pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(e) => Some(Error::new(ErrorKind::Invalid, format!("cannot decode: {}", e.error()))),
            _ => None,
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        if let Err(e) = self.pipeline.set_state(gst::State::Null) {
            tracing::debug!("a decoder did not stop: {e}");
        }
    }
}

/// Decodes `units` (a keyframe and what follows) and returns the last picture.
///
/// # Errors
/// `Invalid` when nothing could be decoded, `Timeout` after `deadline`.
pub fn decode_nearest(units: &[AccessUnit], deadline: Duration) -> Result<Frame> {
    let first =
        units.first().ok_or_else(|| Error::new(ErrorKind::NotFound, "the ring holds no picture of that time"))?;
    let (pipeline, source, sink) = build(&first.params)?;
    source.set_max_buffers(units.len() as u64 + 1);
    sink.set_max_buffers(1);
    sink.set_drop(true);
    // The picture is fetched after the end: the sink must not hold the end back until it is.
    sink.set_wait_on_eos(false);
    let mut arrivals = Arrivals::default();
    for unit in units.iter().rev().take(ARRIVALS_KEPT).rev() {
        arrivals.note(unit);
    }
    let result = (|| {
        pipeline.set_state(gst::State::Playing).map_err(|e| gst_error("the decoder does not start", e))?;
        for unit in units {
            source.push_buffer(buffer(unit)).map_err(|e| gst_error("the decoder takes no data", format!("{e:?}")))?;
        }
        source.end_of_stream().map_err(|e| gst_error("the decoder takes no end", format!("{e:?}")))?;
        wait_for_end(&pipeline, deadline)?;
        let sample = sink.try_pull_sample(gst::ClockTime::ZERO);
        sample
            .and_then(|s| frame(&s, &arrivals))
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "nothing could be decoded from the ring"))
    })();
    if let Err(e) = pipeline.set_state(gst::State::Null) {
        tracing::debug!("a snapshot decoder did not stop: {e}");
    }
    result
}

fn wait_for_end(pipeline: &gst::Pipeline, deadline: Duration) -> Result<()> {
    let bus = pipeline.bus().ok_or_else(|| gst_error("the decoder has no bus", ""))?;
    let timeout = gst::ClockTime::from_nseconds(deadline.as_nanos() as u64);
    let message = bus
        .timed_pop_filtered(timeout, &[gst::MessageType::Eos, gst::MessageType::Error])
        .ok_or_else(|| Error::new(ErrorKind::Timeout, "decoding took too long"))?;
    match message.view() {
        gst::MessageView::Error(e) => Err(Error::new(ErrorKind::Invalid, format!("cannot decode: {}", e.error()))),
        _ => Ok(()),
    }
}

fn build(params: &StreamParams) -> Result<(gst::Pipeline, gst_app::AppSrc, gst_app::AppSink)> {
    init_gstreamer()?;
    let element = gst::parse::launch(template(params.codec).trim())
        .map_err(|e| gst_error(&format!("no decoder for {}", params.codec.as_str()), e))?;
    let pipeline =
        element.downcast::<gst::Pipeline>().map_err(|_| gst_error("the decode template is no pipeline", ""))?;
    let source = pipeline.by_name("encoded").and_then(|e| e.downcast::<gst_app::AppSrc>().ok());
    let sink = pipeline.by_name("detect").and_then(|e| e.downcast::<gst_app::AppSink>().ok());
    let (Some(source), Some(sink)) = (source, sink) else {
        return Err(gst_error("the decode template lacks `encoded` or `detect`", ""));
    };
    let caps: gst::Caps = params.caps.parse().map_err(|e| gst_error("the stream's type is not understood", e))?;
    source.set_caps(Some(&caps));
    Ok((pipeline, source, sink))
}

fn buffer(unit: &AccessUnit) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(unit.data.clone());
    if let Some(b) = buffer.get_mut() {
        b.set_pts(gst::ClockTime::from_nseconds(unit.pts.as_nanos() as u64));
        if !unit.keyframe {
            b.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
    }
    buffer
}

/// Maps a sample without copying; `None` when it is not I420 after all.
fn frame(sample: &gst::Sample, arrivals: &Arrivals) -> Option<Frame> {
    let buffer = sample.buffer_owned()?;
    let pts = buffer.pts().map_or(Duration::ZERO, |t| Duration::from_nanos(t.nseconds()));
    let (seq, arrived, camera_time_ms) = arrivals.of(pts)?;
    let mut frame = map_i420(sample, buffer)?;
    (frame.seq, frame.pts, frame.arrived, frame.camera_time_ms) = (seq, pts, arrived, camera_time_ms);
    Some(frame)
}

/// The picture in a raw I420 sample, without times.
pub(super) fn map_i420(sample: &gst::Sample, buffer: gst::Buffer) -> Option<Frame> {
    let caps = sample.caps()?;
    let info = gst_video::VideoInfo::from_caps(caps).ok()?;
    if info.format() != gst_video::VideoFormat::I420 {
        return None;
    }
    let mapped = Arc::new(gst_video::VideoFrame::from_buffer_readable(buffer, &info).ok()?);
    let plane = |index: u32| -> Option<Plane> {
        let stride = usize::try_from(*mapped.plane_stride().get(index as usize)?).ok()?;
        mapped.plane_data(index).ok()?;
        Some(Plane { data: Bytes::from_owner(MappedPlane { frame: mapped.clone(), index }), stride })
    };
    let (range, matrix) = colours(caps, &info);
    Some(Frame {
        seq: 0,
        pts: Duration::ZERO,
        arrived: Stamp::default(),
        camera_time_ms: None,
        width: info.width(),
        height: info.height(),
        range,
        matrix,
        y: plane(0)?,
        u: plane(1)?,
        v: plane(2)?,
    })
}

/// Range and matrix of a picture. GStreamer drops what a stream says of its range when it does not name a matrix too, as
/// cheap cameras do, so the range is read off the caps. Where no matrix is named, its default goes by size.
fn colours(caps: &gst::CapsRef, info: &gst_video::VideoInfo) -> (ColorRange, ColorMatrix) {
    let said = caps.structure(0).and_then(|s| s.get::<&str>("colorimetry").ok());
    let said = said.and_then(|text| text.parse::<gst_video::VideoColorimetry>().ok());
    let range = match said.map_or(info.colorimetry().range(), |c| c.range()) {
        gst_video::VideoColorRange::Range0_255 => ColorRange::Full,
        _ => ColorRange::Limited,
    };
    let matrix = match info.colorimetry().matrix() {
        gst_video::VideoColorMatrix::Bt709 => ColorMatrix::Bt709,
        _ => ColorMatrix::Bt601,
    };
    (range, matrix)
}

/// Keeps the decoder's buffer mapped while any of its planes is alive.
struct MappedPlane {
    frame: Arc<gst_video::VideoFrame<gst_video::video_frame::Readable>>,
    index: u32,
}

impl AsRef<[u8]> for MappedPlane {
    fn as_ref(&self) -> &[u8] {
        // Checked when the frame was mapped; an empty slice only makes the frame be refused later.
        self.frame.plane_data(self.index).unwrap_or_default()
    }
}

/// See [`super::check_templates`].
pub(super) fn check_templates() -> Result<()> {
    for (codec, caps) in [
        (Codec::H264, "video/x-h264,stream-format=byte-stream,alignment=au"),
        (Codec::H265, "video/x-h265,stream-format=byte-stream,alignment=au"),
        (Codec::Mjpeg, "image/jpeg"),
    ] {
        build(&StreamParams { codec, width: 0, height: 0, fps: 0.0, caps: caps.into() })?;
    }
    Ok(())
}
