//! Encoded pictures into the bytes of a fragmented MP4. One mux a segment: mp4mux cannot take a change of resolution, and
//! a file must begin at zero. Nothing is decoded.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use crate::base::types::{AccessUnit, Codec, StreamParams};
use crate::base::{Error, ErrorKind, Result};

/// The pipeline's text for `codec`; none for what mp4mux does not take.
fn template(codec: Codec) -> Option<&'static str> {
    match codec {
        Codec::H264 => Some(include_str!("../../pipelines/record-h264.gst")),
        Codec::H265 => Some(include_str!("../../pipelines/record-h265.gst")),
        Codec::Mjpeg => None,
    }
}

fn failed(what: &str, source: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, format!("{what}: {source}"))
        .hint("`wardwatch check` tests the media plug-ins; scripts/setup.sh names the packages")
}

/// A running mux.
pub struct Mux {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    output: Receiver<Bytes>,
}

impl Mux {
    /// Starts a mux for a stream.
    ///
    /// # Errors
    /// `Invalid` for a codec that cannot be recorded.
    pub fn start(params: &StreamParams) -> Result<Self> {
        Self::begin(build(params)?)
    }

    /// [`Self::start`] with fragments of another length than a recording's.
    ///
    /// # Errors
    /// `Invalid` for a codec that cannot be muxed.
    pub fn start_with(params: &StreamParams, fragment: Duration) -> Result<Self> {
        let built = build(params)?;
        let mux = built.0.by_name("mux").ok_or_else(|| failed("the record template lacks `mux`", ""))?;
        mux.set_property("fragment-duration", fragment.as_millis() as u32);
        Self::begin(built)
    }

    fn begin((pipeline, source, sink): (gst::Pipeline, gst_app::AppSrc, gst_app::AppSink)) -> Result<Self> {
        let (sender, output) = channel();
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    let mapped = sample.buffer_owned().and_then(|b| b.into_mapped_buffer_readable().ok());
                    let bytes = mapped.map(Bytes::from_owner).ok_or(gst::FlowError::Error)?;
                    // Nobody listens to a mux that is being let go of.
                    sender.send(bytes).map(|()| gst::FlowSuccess::Ok).map_err(|_| gst::FlowError::Flushing)
                })
                .build(),
        );
        pipeline.set_state(gst::State::Playing).map_err(|e| failed("the recording mux does not start", e))?;
        Ok(Self { pipeline, source, output })
    }

    /// Feeds one picture at `pts` since the first.
    ///
    /// # Errors
    /// When the mux is broken; what it has put out so far can still be taken.
    pub fn feed(&self, unit: &AccessUnit, pts: Duration) -> Result<()> {
        if let Some(error) = self.take_error() {
            return Err(error);
        }
        let mut buffer = gst::Buffer::from_slice(unit.data.clone());
        if let Some(b) = buffer.get_mut() {
            b.set_pts(gst::ClockTime::from_nseconds(pts.as_nanos() as u64));
            if !unit.keyframe {
                b.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
        }
        let pushed = self.source.push_buffer(buffer).map(drop);
        pushed.map_err(|e| self.take_error().unwrap_or_else(|| failed("the mux takes no more data", format!("{e:?}"))))
    }

    /// What it has put out since the last call.
    pub fn take(&self) -> Vec<Bytes> {
        self.output.try_iter().collect()
    }

    /// Ends the stream and waits up to `deadline` until everything is put out; [`Self::take`] has it.
    pub fn finish(&self, deadline: Duration) -> Result<()> {
        self.source.end_of_stream().map_err(|e| failed("the mux takes no end", format!("{e:?}")))?;
        let bus = self.pipeline.bus().ok_or_else(|| failed("the mux has no bus", ""))?;
        let timeout = gst::ClockTime::from_nseconds(deadline.as_nanos() as u64);
        let message = bus
            .timed_pop_filtered(timeout, &[gst::MessageType::Eos, gst::MessageType::Error])
            .ok_or_else(|| Error::new(ErrorKind::Timeout, "the mux does not end"))?;
        match message.view() {
            gst::MessageView::Error(e) => Err(broken(e)),
            _ => Ok(()),
        }
    }

    fn take_error(&self) -> Option<Error> {
        match self.pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?.view() {
            gst::MessageView::Error(e) => Some(broken(e)),
            _ => None,
        }
    }
}

fn broken(e: &gst::message::Error) -> Error {
    Error::new(ErrorKind::Invalid, format!("the stream cannot be recorded: {}", e.error()))
}

impl Drop for Mux {
    fn drop(&mut self) {
        if let Err(e) = self.pipeline.set_state(gst::State::Null) {
            tracing::debug!("a mux did not stop: {e}");
        }
    }
}

fn build(params: &StreamParams) -> Result<(gst::Pipeline, gst_app::AppSrc, gst_app::AppSink)> {
    crate::ingest::init()?;
    let text = template(params.codec).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("{} cannot be recorded", params.codec.as_str()))
            .hint("set the camera to H.264 or H.265")
    })?;
    let element = gst::parse::launch(text.trim()).map_err(|e| failed("no mux for the recording", e))?;
    let pipeline = element.downcast::<gst::Pipeline>().map_err(|_| failed("the record template is no pipeline", ""))?;
    let source = pipeline.by_name("encoded").and_then(|e| e.downcast::<gst_app::AppSrc>().ok());
    let sink = pipeline.by_name("fragments").and_then(|e| e.downcast::<gst_app::AppSink>().ok());
    let (Some(source), Some(sink)) = (source, sink) else {
        return Err(failed("the record template lacks `encoded` or `fragments`", ""));
    };
    let caps: gst::Caps = params.caps.parse().map_err(|e| failed("the stream's type is not understood", e))?;
    source.set_caps(Some(&caps));
    Ok((pipeline, source, sink))
}

/// Parses every record pipeline, so that a missing plug-in is found before a camera needs it.
///
/// # Errors
/// Names what cannot be made.
pub fn check_templates() -> Result<()> {
    for (codec, caps) in [
        (Codec::H264, "video/x-h264,stream-format=byte-stream,alignment=au"),
        (Codec::H265, "video/x-h265,stream-format=byte-stream,alignment=au"),
    ] {
        build(&StreamParams { codec, width: 0, height: 0, fps: 0.0, caps: caps.into() })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_pipeline_parses_and_mjpeg_is_refused_with_a_reason() {
        check_templates().expect("the plug-ins of scripts/setup.sh");
        let params = StreamParams { codec: Codec::Mjpeg, width: 0, height: 0, fps: 0.0, caps: "image/jpeg".into() };
        let refused = Mux::start(&params).err().expect("refused").to_string();
        assert!(refused.contains("mjpeg") && refused.contains("H.264"), "{refused}");
    }
}
