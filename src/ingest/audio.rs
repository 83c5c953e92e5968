//! The sound of one RTSP connection, where it is wanted at all: which medium is taken, and its RTP into access units of AAC,
//! copied or, from G.711, encoded.
//!
//! It has a pipeline of its own. In the one that receives it ends in a sink that takes everything at once, so that sound
//! that stops, stutters or cannot be decoded is nothing that the pictures wait for or fail with.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::camera_clock::packets;
use super::gst_error;
use crate::base::audio::{AudioParams, AudioUnit};
use crate::base::{Clock, Result};

/// What avenc_aac puts before the first sample it was given, without taking it off the times.
const ENCODER_DELAY: u32 = 1024;
/// RTCP packet type of a goodbye (RFC 3550, 6.6).
const BYE: u8 = 203;

/// What is known of the sound; nothing when it is not wanted.
#[derive(Default)]
pub(super) struct State {
    /// It was announced and is set up.
    pub(super) coding: Option<Coding>,
    /// Why there is none, until it was told.
    pub(super) failure: Option<String>,
    pub(super) tail: Option<Tail>,
}

impl State {
    /// Whether this medium is to be set up: the first that can be recorded.
    pub(super) fn select(&mut self, medium: &gst::StructureRef) -> bool {
        if self.coding.is_some() {
            return false;
        }
        match Coding::of(medium) {
            Ok(coding) => (self.coding, self.failure) = (Some(coding), None),
            Err(name) => {
                self.failure = Some(format!("sends {name}, which is not recorded; set its sound to AAC or G.711"));
            }
        }
        self.coding.is_some()
    }

    /// Why there is no sound; told once.
    pub(super) fn take_failure(&mut self) -> Option<String> {
        if let Some(why) = self.tail.as_ref().and_then(Tail::failure) {
            self.failure = Some(format!("sends sound that cannot be decoded ({why})"));
            drop(self.tail.take());
        }
        self.failure.take()
    }
}

/// Keeps from the source's `manager` that a camera takes leave of its sound, session `number`: rtspsrc 1.22 then takes one more
/// packet of it for the end of the whole connection.
pub(super) fn outlive(manager: &gst::Element, number: impl Fn() -> Option<u32> + Send + Sync + 'static) {
    manager.connect_pad_added(move |_, pad| {
        if number().is_none_or(|n| pad.name() != format!("recv_rtcp_sink_{n}")) {
            return;
        }
        pad.add_probe(gst::PadProbeType::BUFFER, |_, info| {
            let leaves = info.buffer().and_then(|b| b.map_readable().ok()).is_some_and(|rtcp| takes_leave(&rtcp));
            if leaves { gst::PadProbeReturn::Drop } else { gst::PadProbeReturn::Ok }
        });
    });
}

/// Whether there is a BYE in a compound packet.
fn takes_leave(rtcp: &[u8]) -> bool {
    packets(rtcp).any(|(kind, _)| kind == BYE)
}

/// What a camera sends that can be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Aac,
    ALaw,
    MuLaw,
}

impl Coding {
    /// Reads a medium's announcement; the name of what it is when it cannot be recorded.
    pub(super) fn of(medium: &gst::StructureRef) -> std::result::Result<Self, String> {
        let text = |name: &str| medium.get::<String>(name).unwrap_or_default();
        let encoding = text("encoding-name");
        match (encoding.as_str(), medium.get::<i32>("payload").unwrap_or(-1)) {
            // These numbers need no name (RFC 3551), and many cameras give none.
            ("PCMA", _) | ("", 8) => Ok(Self::ALaw),
            ("PCMU", _) | ("", 0) => Ok(Self::MuLaw),
            ("MPEG4-GENERIC", _) => {
                let config = hex::decode(text("config")).ok().and_then(|c| AudioParams::parse(&c));
                config.map(|_| Self::Aac).ok_or(encoding)
            }
            ("", _) => Err("sound of no known kind".to_owned()),
            _ => Err(encoding),
        }
    }

    fn template(self) -> &'static str {
        match self {
            Self::Aac => include_str!("../../pipelines/audio-aac.gst"),
            Self::ALaw => include_str!("../../pipelines/audio-alaw.gst"),
            Self::MuLaw => include_str!("../../pipelines/audio-mulaw.gst"),
        }
    }

    /// Of the packets that come out of `pad`.
    fn caps(self, pad: &gst::Pad) -> gst::Caps {
        let mut caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let name = match self {
            Self::Aac => return caps,
            Self::ALaw => "PCMA",
            Self::MuLaw => "PCMU",
        };
        if let Some(medium) = caps.make_mut().structure_mut(0) {
            medium.set("encoding-name", name);
            medium.set("clock-rate", 8000);
        }
        caps
    }

    fn delay(self) -> u32 {
        if self == Self::Aac { 0 } else { ENCODER_DELAY }
    }
}

/// Is told every access unit in a thread of its own, and must not wait.
pub type OnAudio = Box<dyn FnMut(AudioUnit) + Send>;

/// The pipeline that makes access units. Dropping it ends it.
pub(super) struct Tail {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
}

impl Tail {
    /// Takes what comes out of `pad`, which belongs to `receiving`.
    pub(super) fn attach(
        receiving: &gst::Pipeline,
        pad: &gst::Pad,
        coding: Coding,
        clock: Arc<dyn Clock>,
        connection: u64,
        on_audio: OnAudio,
    ) -> Result<Self> {
        let (pipeline, rtp, encoded) = build(coding)?;
        rtp.set_caps(Some(&coding.caps(pad)));
        deliver(&encoded, coding, clock, connection, on_audio);
        let bus = pipeline.bus().ok_or_else(|| gst_error("the audio pipeline has no bus", ""))?;
        let tail = Self { pipeline, bus };
        tail.pipeline.set_state(gst::State::Playing).map_err(|e| gst_error("the sound cannot be decoded", e))?;
        link(receiving, pad, rtp)?;
        Ok(tail)
    }

    /// Why it makes nothing any more, if so.
    pub(super) fn failure(&self) -> Option<String> {
        match self.bus.pop_filtered(&[gst::MessageType::Error])?.view() {
            gst::MessageView::Error(e) => Some(e.error().to_string()),
            _ => None,
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Err(e) = self.pipeline.set_state(gst::State::Null) {
            tracing::debug!("an audio pipeline did not stop: {e}");
        }
    }
}

fn build(coding: Coding) -> Result<(gst::Pipeline, gst_app::AppSrc, gst_app::AppSink)> {
    let element = gst::parse::launch(coding.template().trim())
        .map_err(|e| gst_error(&format!("no pipeline for {coding:?} sound"), e))?;
    let pipeline =
        element.downcast::<gst::Pipeline>().map_err(|_| gst_error("the audio template is no pipeline", ""))?;
    let rtp = pipeline.by_name("rtp").and_then(|e| e.downcast::<gst_app::AppSrc>().ok());
    let encoded = pipeline.by_name("encoded").and_then(|e| e.downcast::<gst_app::AppSink>().ok());
    let (Some(rtp), Some(encoded)) = (rtp, encoded) else {
        return Err(gst_error("the audio template lacks `rtp` or `encoded`", ""));
    };
    Ok((pipeline, rtp, encoded))
}

/// A sink that never refuses and never waits, from `pad` to the other pipeline.
fn link(receiving: &gst::Pipeline, pad: &gst::Pad, rtp: gst_app::AppSrc) -> Result<()> {
    let sink = gst_app::AppSink::builder().sync(false).async_(false).max_buffers(64).drop(true).build();
    // The pictures alone say when it is all over.
    sink.unset_element_flags(gst::ElementFlags::SINK);
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                if let Some(buffer) = sink.pull_sample().ok().and_then(|s| s.buffer_owned()) {
                    // When the other side is broken it says so itself.
                    rtp.push_buffer(buffer).ok();
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    receiving.add(&sink).map_err(|e| gst_error("the sound cannot be received", e))?;
    sink.sync_state_with_parent().map_err(|e| gst_error("the sound cannot be received", e))?;
    let entry = sink.static_pad("sink").ok_or_else(|| gst_error("an appsink has no entry", ""))?;
    pad.link(&entry).map(drop).map_err(|e| gst_error("the sound cannot be received", format!("{e:?}")))
}

fn deliver(sink: &gst_app::AppSink, coding: Coding, clock: Arc<dyn Clock>, connection: u64, mut on_audio: OnAudio) {
    let mut known: Option<(gst::Caps, Arc<AudioParams>)> = None;
    let mut next = Duration::ZERO;
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let arrived = clock.now();
                let (Some(buffer), Some(caps)) = (sample.buffer_owned(), sample.caps_owned()) else {
                    return Ok(gst::FlowSuccess::Ok);
                };
                let params = match &known {
                    Some((of, params)) if *of == caps => params.clone(),
                    _ => {
                        let params = Arc::new(params(&caps).ok_or(gst::FlowError::NotNegotiated)?);
                        known = Some((caps, params.clone()));
                        params
                    }
                };
                // Of several units in one packet only the first has a time.
                let told = buffer.pts().map(|t| Duration::from_nanos(t.nseconds()));
                let pts = told.map_or(next, |t| t.saturating_sub(params.lasts(coding.delay())));
                if let Ok(mapped) = buffer.into_mapped_buffer_readable() {
                    let unit = AudioUnit { pts, arrived, connection, params, data: Bytes::from_owner(mapped) };
                    next = unit.end();
                    on_audio(unit);
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
}

fn params(caps: &gst::Caps) -> Option<AudioParams> {
    let config = caps.structure(0)?.get::<gst::Buffer>("codec_data").ok()?;
    AudioParams::parse(&config.map_readable().ok()?)
}

/// See [`super::check_templates`].
pub(super) fn check_templates() -> Result<()> {
    [Coding::Aac, Coding::ALaw, Coding::MuLaw].into_iter().try_for_each(|coding| build(coding).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_recorded_is_known_by_its_name_or_its_number() {
        crate::ingest::init().expect("GStreamer");
        let of = |text: &str| {
            let caps: gst::Caps = format!("application/x-rtp,media=audio,{text}").parse().expect("caps");
            Coding::of(caps.structure(0).expect("one"))
        };
        assert_eq!(of("payload=8"), Ok(Coding::ALaw));
        assert_eq!(of("payload=0"), Ok(Coding::MuLaw));
        assert_eq!(of("payload=97,encoding-name=PCMU"), Ok(Coding::MuLaw));
        assert_eq!(of("payload=97,encoding-name=MPEG4-GENERIC,config=(string)1408"), Ok(Coding::Aac));
        assert_eq!(of("payload=97,encoding-name=MPEG4-GENERIC,config=(string)bd88"), Err("MPEG4-GENERIC".into()));
        assert_eq!(of("payload=97,encoding-name=OPUS"), Err("OPUS".into()));
        assert!(of("payload=9").is_err());
    }

    #[test]
    fn a_goodbye_is_found_behind_a_report_and_rubbish_is_none() {
        let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
        let goodbye = [0x81, BYE, 0, 1, 0, 0, 0, 9];
        assert!(takes_leave(&goodbye) && takes_leave(&[report, goodbye].concat()));
        for other in [
            &report[..],
            &[],
            &[0x81],
            &[0x41, BYE, 0, 1],
            &[0x80, 201, 0xff, 0xff],
            &[&report[..], &[1, BYE]].concat(),
        ] {
            assert!(!takes_leave(other), "{other:?}");
        }
    }
}
