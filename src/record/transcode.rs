//! A clip made anew as H.264: with masks burned in, or as a copy for players that know no H.265. Sizes and times stay as
//! they are, a keyframe comes every second. It blocks, and is to run in a process of its own: the decoder is C code fed by
//! strangers.
//!
//! A picture that cannot be masked ends the work with an error. It never passes.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use serde::{Deserialize, Serialize};

use crate::base::geometry::Polygon;
use crate::base::types::Codec;
use crate::base::{Error, ErrorKind, Result};
use crate::privacy::Masks;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// An MP4 file with one track.
    pub input: PathBuf,
    pub codec: Codec,
    /// Must not be there yet. Another file is made beside it meanwhile.
    pub output: PathBuf,
    pub masks: Vec<Polygon>,
    /// Pictures from keyframe to keyframe.
    pub keyint: u32,
    /// Bits a second, for encoders that cannot aim at a quality.
    pub bitrate: u32,
    /// Longer it may not take.
    pub deadline_seconds: u64,
}

/// The encoders, the better one first.
const ENCODERS: [(&str, &str); 2] = [
    ("x264enc", include_str!("../../pipelines/encode-x264.gst")),
    ("openh264enc", include_str!("../../pipelines/encode-openh264.gst")),
];

fn decode(codec: Codec) -> Option<&'static str> {
    match codec {
        Codec::H264 => Some(include_str!("../../pipelines/transcode-h264.gst")),
        Codec::H265 => Some(include_str!("../../pipelines/transcode-h265.gst")),
        Codec::Mjpeg => None,
    }
}

fn failed(what: &str, source: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, format!("{what}: {source}"))
        .hint("`wardwatch check` tests the media plug-ins; scripts/setup.sh names the packages")
}

/// Does it; the output is on disk when this returns.
///
/// # Errors
/// `Invalid` when the input cannot be decoded or a picture not be masked, `Timeout`, `Io`. The output is worth nothing then.
pub fn run(request: &Request) -> Result<()> {
    let pipeline = build(request.codec, request.keyint, request.bitrate)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&request.output)
        .map_err(|e| Error::io("the clip cannot be made anew", &request.output, e))?;
    for (name, property, path) in [
        ("file", "location", &request.input),
        ("output", "location", &request.output),
        ("mux", "faststart-file", &request.output.with_extension("part")),
    ] {
        element(&pipeline, name)?.set_property(property, path.to_string_lossy().as_ref());
    }
    let pictures = mask(&pipeline, request.masks.clone())?;
    let ended = play(&pipeline, Duration::from_secs(request.deadline_seconds));
    if let Err(e) = pipeline.set_state(gst::State::Null) {
        tracing::debug!("an encoder did not stop: {e}");
    }
    ended?;
    if pictures.load(Ordering::Relaxed) == 0 {
        return Err(Error::new(ErrorKind::Invalid, "no picture of the clip can be decoded"));
    }
    file.sync_all().map_err(|e| Error::io("the clip cannot be put on disk", &request.output, e))
}

fn build(codec: Codec, keyint: u32, bitrate: u32) -> Result<gst::Pipeline> {
    crate::ingest::init()?;
    let decode =
        decode(codec).ok_or_else(|| Error::new(ErrorKind::Invalid, format!("{} is not made anew", codec.as_str())))?;
    let there = |name: &str| gst::ElementFactory::find(name).is_some();
    let encode = ENCODERS.iter().find(|(name, _)| there(name)).ok_or_else(|| {
        Error::new(ErrorKind::Unavailable, "there is no H.264 encoder, and so no clip with masks")
            .hint("install gstreamer1.0-plugins-ugly (x264enc) or gstreamer1.0-plugins-bad (openh264enc)")
    })?;
    launch(decode, encode.1, keyint, bitrate)
}

fn launch(decode: &str, encode: &str, keyint: u32, bitrate: u32) -> Result<gst::Pipeline> {
    let encode = encode.replace("{keyint}", &keyint.max(1).to_string()).replace("{bitrate}", &bitrate.to_string());
    let text = format!("{} ! {}", decode.trim(), encode.trim());
    let element = gst::parse::launch(&text).map_err(|e| failed("no encoder for clips", e))?;
    element.downcast::<gst::Pipeline>().map_err(|_| failed("the transcode template is no pipeline", ""))
}

fn element(pipeline: &gst::Pipeline, name: &str) -> Result<gst::Element> {
    pipeline.by_name(name).ok_or_else(|| failed("the transcode template lacks", name))
}

/// Paints the masks over every picture on its way to the encoder; counts them.
fn mask(pipeline: &gst::Pipeline, polygons: Vec<Polygon>) -> Result<Arc<AtomicU64>> {
    let pictures = Arc::new(AtomicU64::new(0));
    let masks = element(pipeline, "masks")?;
    let pad = masks.static_pad("src").ok_or_else(|| failed("the transcode template's masks have no pad", ""))?;
    let (counted, painter) = (pictures.clone(), std::sync::Mutex::new(Masks::new(polygons)));
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data else { return gst::PadProbeReturn::Drop };
        let mut painter = painter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match paint(pad, buffer, &mut painter) {
            Ok(()) => {
                counted.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            }
            Err(why) => {
                // An error on the bus ends the work; this picture and those behind it go nowhere.
                gst::element_error!(masks, gst::StreamError::Failed, ("{why}"));
                gst::PadProbeReturn::Drop
            }
        }
    });
    Ok(pictures)
}

fn paint(pad: &gst::Pad, buffer: &mut gst::Buffer, masks: &mut Masks) -> std::result::Result<(), &'static str> {
    if masks.is_empty() {
        return Ok(());
    }
    let caps = pad.current_caps().ok_or("a picture has no type")?;
    let info = gst_video::VideoInfo::from_caps(&caps).map_err(|_| "a picture's type is not understood")?;
    if info.format() != gst_video::VideoFormat::I420 {
        return Err("a picture is not I420");
    }
    // The decoder still needs its own picture: what is shared is copied when it is mapped.
    let buffer = buffer.make_mut();
    let mut frame = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer, &info)
        .map_err(|_| "a picture cannot be written to")?;
    let strides = [0, 1, 2].map(|n| frame.plane_stride()[n].unsigned_abs() as usize);
    for (plane, stride) in (0u32..).zip(strides) {
        let data = frame.plane_data_mut(plane).map_err(|_| "a picture's plane cannot be written to")?;
        masks.paint(data, stride, plane > 0, info.width(), info.height()).ok_or("a picture is smaller than it says")?;
    }
    Ok(())
}

fn play(pipeline: &gst::Pipeline, deadline: Duration) -> Result<()> {
    let bus = pipeline.bus().ok_or_else(|| failed("the encoder has no bus", ""))?;
    pipeline.set_state(gst::State::Playing).map_err(|e| failed("the encoder does not start", e))?;
    let timeout = gst::ClockTime::from_nseconds(deadline.as_nanos() as u64);
    let message = bus
        .timed_pop_filtered(timeout, &[gst::MessageType::Eos, gst::MessageType::Error])
        .ok_or_else(|| Error::new(ErrorKind::Timeout, "making the clip anew takes too long"))?;
    match message.view() {
        gst::MessageView::Error(e) => {
            Err(Error::new(ErrorKind::Invalid, format!("the clip cannot be made anew: {}", e.error())))
        }
        _ => Ok(()),
    }
}

/// Parses every template, so that a missing plug-in is found before a clip needs it.
///
/// # Errors
/// Names what cannot be made.
pub fn check_templates() -> Result<()> {
    for codec in [Codec::H264, Codec::H265] {
        let pipeline = build(codec, 10, 1_000_000)?;
        for name in ["file", "masks", "mux", "output"] {
            element(&pipeline, name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_parses_with_either_encoder() {
        check_templates().expect("the plug-ins of scripts/setup.sh");
        for (name, encode) in ENCODERS {
            for codec in [Codec::H264, Codec::H265] {
                launch(decode(codec).expect("known"), encode, 10, 1_000_000).expect(name);
            }
        }
        assert!(build(Codec::Mjpeg, 10, 1).is_err());
    }
}
