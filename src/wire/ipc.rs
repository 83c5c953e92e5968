//! Messages between the node and its workers: one Unix socket a worker, frames of `u32 header length, u32 blob length`
//! (big endian), a JSON header, and a blob (a JPEG, a fragment) that JSON need not carry.
//!
//! No address and no password travels here: they go through the worker's standard input ([`CameraSecrets`]), so that a
//! dump of this socket can be handed to anyone.

use serde::{Deserialize, Serialize};

use super::channel::Ending;
use crate::base::geometry::Polygon;
use crate::base::types::{
    CameraCounters, CameraHealth, CameraId, EventReport, Gap, NamedLine, Phantom, Segment, StreamRole, Zone,
};
use crate::base::{Error, ErrorKind, Result};
use crate::config::{
    Camera, DetectConfig, RecordConfig, RecordingMode, RuleConfig, Sandbox, ScheduleConfig, SnapshotConfig,
    StreamSource, TrackConfig, Transport,
};

/// Both ends must speak the same; they are one binary, so a difference means a half-done upgrade.
pub const PROTOCOL: u32 = 5;

const MAX_HEADER: usize = 4 << 20;
const MAX_BLOB: usize = 32 << 20;

/// Node to worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToWorker {
    /// First message: what every camera of this worker shares.
    Setup(Box<WorkerSetup>),
    /// Take a camera over, or change it. Its [`CameraSecrets`] were written to standard input before.
    Assign(Box<CameraAssignment>),
    /// Let go of a camera; its open events end.
    Release { camera: CameraId },
    /// Who looks at a camera now; replaces what was said before.
    Live { camera: CameraId, want: LiveWant },
    /// End open events, say [`ToNode::Bye`], exit.
    Stop,
}

/// Worker to node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToNode {
    /// First message.
    Hello {
        protocol: u32,
        pid: u32,
    },
    /// The model is loaded and warm.
    Ready {
        model: String,
        provider: String,
        sandbox: SandboxReport,
    },
    /// The state of an event; the blob is its new snapshot, if any.
    Event(Box<EventReport>),
    Health(CameraHealth),
    Stats(WorkerStats),
    /// The phantoms learned so far, to be given back after a restart.
    Phantoms {
        camera: CameraId,
        phantoms: Vec<Phantom>,
    },
    /// Where objects went; the blob is [`crate::base::trajectory::pack_all`].
    Trajectories {
        camera: CameraId,
    },
    /// A recording was begun, with its first fragment on disk.
    SegmentOpened(Box<Segment>),
    /// A recording was ended, as far as the disk allowed.
    SegmentClosed(Box<Segment>),
    /// Nothing is recorded from its start on, or was until its end.
    GapBegan(Gap),
    /// The camera's open gap is over; a [`ToNode::SegmentOpened`] says the same.
    GapEnded {
        camera: CameraId,
        /// UTC milliseconds.
        at_ms: i64,
    },
    /// It cannot work at all (no runtime library, wrong model); said before it exits.
    Failed {
        message: String,
    },
    /// What a camera shows, with its masks; the blob is a JPEG.
    LivePicture {
        camera: CameraId,
        /// UTC milliseconds.
        at_ms: i64,
        width: u32,
        height: u32,
    },
    /// The blob is a piece of a stream that somebody looks at.
    LiveMedia {
        stream: u64,
        part: LivePart,
    },
    /// A stream is over; it may be asked for again under another number.
    LiveEnded {
        stream: u64,
        reason: Ending,
    },
    /// Everything has been sent.
    Bye,
}

/// What those who look at a camera want of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveWant {
    pub picture: Option<PictureWant>,
    /// In the order of their numbers.
    pub streams: Vec<StreamWant>,
}

/// Pictures of a wall.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PictureWant {
    pub fps: f32,
    /// Pixels, at most.
    pub width: u32,
}

/// The camera's own stream.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamWant {
    /// The node's, never used twice.
    pub number: u64,
    /// Without it: the record stream, where there is one.
    pub role: Option<StreamRole>,
}

/// A piece of a fragmented MP4.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum LivePart {
    Init { mime: String },
    Fragment { at_ms: i64, keyframe: bool },
}

/// What all cameras of a worker share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerSetup {
    pub protocol: u32,
    /// IANA name; schedules are evaluated in it.
    pub timezone: String,
    pub detect: DetectConfig,
    pub track: TrackConfig,
    pub snapshot: SnapshotConfig,
    pub ring_bytes: usize,
    pub record: RecordConfig,
    /// The node's run, written into recordings.
    pub boot_id: String,
    /// Memory of its own that it may not go beyond.
    pub memory_bytes: u64,
    pub sandbox: Sandbox,
}

/// A camera without its secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraAssignment {
    pub id: CameraId,
    pub config_revision: u64,
    /// The [`CameraSecrets`] that belong to this assignment; they come on another channel.
    pub secrets_generation: u64,
    pub detect: StreamSettings,
    pub record: Option<StreamSettings>,
    pub recording: RecordingMode,
    /// When it is in force; `None`: always.
    pub recording_hours: Option<ScheduleConfig>,
    pub detect_fps: f32,
    pub masks: Vec<Polygon>,
    pub zones: Vec<Zone>,
    pub lines: Vec<NamedLine>,
    pub rules: Vec<RuleConfig>,
    pub phantoms: Vec<Phantom>,
}

impl CameraAssignment {
    /// `camera` as a worker gets it.
    pub fn new(camera: &Camera, config_revision: u64, secrets_generation: u64, phantoms: Vec<Phantom>) -> Self {
        // Asked for only where it is recorded, and of the stream that is.
        let audio = camera.recording.audio && camera.recording.mode != RecordingMode::Off;
        let settings = |s: &StreamSource, audio| StreamSettings { audio, ..StreamSettings::from(s) };
        Self {
            id: camera.id.clone(),
            config_revision,
            secrets_generation,
            detect: settings(&camera.detect, audio && camera.record.is_none()),
            record: camera.record.as_ref().map(|r| settings(r, audio)),
            recording: camera.recording.mode,
            recording_hours: camera.recording.schedule.clone(),
            detect_fps: camera.detect_fps,
            masks: camera.masks.clone(),
            zones: camera.zones.clone(),
            lines: camera.lines.clone(),
            rules: camera.rules.clone(),
            phantoms,
        }
    }
}

/// A stream's settings without its address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamSettings {
    pub transport: Transport,
    pub latency_ms: u32,
    pub tls_pin: Option<String>,
    /// Its sound is received, too.
    pub audio: bool,
}

impl From<&StreamSource> for StreamSettings {
    fn from(s: &StreamSource) -> Self {
        Self { transport: s.transport, latency_ms: s.latency_ms, tls_pin: s.tls_pin.clone(), audio: false }
    }
}

/// Addresses and credentials of one camera: one JSON line on the worker's standard input. No `Debug` on purpose.
#[derive(Clone, Serialize, Deserialize)]
pub struct CameraSecrets {
    pub camera: CameraId,
    /// Counts up with every change.
    pub generation: u64,
    pub streams: Vec<StreamSecret>,
}

/// One stream's address and credentials.
#[derive(Clone, Serialize, Deserialize)]
pub struct StreamSecret {
    pub role: StreamRole,
    pub url: String,
    pub user: Option<String>,
    pub password: Option<String>,
}

impl CameraSecrets {
    /// The secrets of `camera`.
    pub fn new(camera: &Camera, generation: u64) -> Self {
        let secret = |role, s: &StreamSource| StreamSecret {
            role,
            url: s.url.expose().to_owned(),
            user: s.user.clone(),
            password: s.password.as_ref().map(|p| p.expose().to_owned()),
        };
        let mut streams = vec![secret(StreamRole::Detect, &camera.detect)];
        streams.extend(camera.record.as_ref().map(|r| secret(StreamRole::Record, r)));
        Self { camera: camera.id.clone(), generation, streams }
    }
}

/// A part of what a worker gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// No program it starts has more rights than it has.
    NoNewPrivs,
    /// Root's powers are given up.
    Capabilities,
    /// Dangerous system calls are refused.
    Seccomp,
    /// Files: what it needs can be read, recordings can be written, nothing else.
    Files,
    /// No TCP port can be opened.
    Network,
    /// No signal reaches another process.
    Signals,
}

impl Layer {
    /// Every layer, for metrics that show one series a layer.
    pub const ALL: [Layer; 6] =
        [Self::NoNewPrivs, Self::Capabilities, Self::Seccomp, Self::Files, Self::Network, Self::Signals];

    /// Stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoNewPrivs => "no_new_privs",
            Self::Capabilities => "capabilities",
            Self::Seccomp => "seccomp",
            Self::Files => "files",
            Self::Network => "network",
            Self::Signals => "signals",
        }
    }

    /// Whether `sandbox = "require"` insists on it; the others came with younger kernels.
    pub fn is_required(self) -> bool {
        matches!(self, Self::NoNewPrivs | Self::Seccomp | Self::Files)
    }
}

/// Which layers of the sandbox are in force, and why the others are not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxReport {
    pub enforced: Vec<Layer>,
    pub missing: Vec<(Layer, String)>,
}

impl SandboxReport {
    /// One line for a person.
    pub fn describe(&self) -> String {
        let names = |layers: &[Layer]| layers.iter().map(|l| l.as_str()).collect::<Vec<_>>().join(", ");
        let missing: Vec<String> = self.missing.iter().map(|(l, why)| format!("{} ({why})", l.as_str())).collect();
        match (self.enforced.is_empty(), missing.is_empty()) {
            (_, true) => names(&self.enforced),
            (true, false) => format!("none; missing: {}", missing.join(", ")),
            (false, false) => format!("{}; missing: {}", names(&self.enforced), missing.join(", ")),
        }
    }
}

/// Sent every second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStats {
    pub cameras: Vec<(CameraId, CameraCounters)>,
    /// Inference times since the last message, in seconds.
    pub inference_seconds: Vec<f32>,
    /// Threads that have not got on for some seconds.
    pub late: Vec<LateThread>,
}

/// A thread of a worker that hangs, or is very slow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LateThread {
    pub thread: String,
    /// Whose thread it is, if it is one camera's.
    pub camera: Option<CameraId>,
    /// Since it last got on.
    pub seconds: f32,
}

/// One message as bytes.
pub fn encode<M: Serialize>(message: &M, blob: &[u8]) -> Result<Vec<u8>> {
    let header = serde_json::to_vec(message)
        .map_err(|e| Error::new(ErrorKind::Internal, "a worker message cannot be encoded").source(e))?;
    if header.len() > MAX_HEADER || blob.len() > MAX_BLOB {
        return Err(Error::new(ErrorKind::Invalid, "a worker message is too large"));
    }
    let mut out = Vec::with_capacity(8 + header.len() + blob.len());
    out.extend_from_slice(&(header.len() as u32).to_be_bytes());
    out.extend_from_slice(&(blob.len() as u32).to_be_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(blob);
    Ok(out)
}

/// Cuts a byte stream into messages: push bytes in, pull messages out.
#[derive(Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message and its blob. An error means that the stream is beyond repair.
    pub fn pull<M: for<'de> Deserialize<'de>>(&mut self) -> Result<Option<(M, Vec<u8>)>> {
        let Some((lengths, rest)) = self.buffer.split_first_chunk::<8>() else {
            return Ok(None);
        };
        let [a, b, c, d, e, f, g, h] = *lengths;
        let header = u32::from_be_bytes([a, b, c, d]) as usize;
        let blob = u32::from_be_bytes([e, f, g, h]) as usize;
        if header > MAX_HEADER || blob > MAX_BLOB {
            return Err(Error::new(ErrorKind::Invalid, "a worker message announces an impossible length"));
        }
        if rest.len() < header + blob {
            return Ok(None);
        }
        let message = serde_json::from_slice(&rest[..header])
            .map_err(|e| Error::new(ErrorKind::Invalid, "a worker message cannot be understood").source(e))?;
        let blob = rest[header..header + blob].to_vec();
        self.buffer.drain(..8 + header + blob.len());
        Ok(Some((message, blob)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cutting() {
        let messages = [
            (ToNode::Hello { protocol: PROTOCOL, pid: 7 }, vec![]),
            (ToNode::Failed { message: "x".repeat(300) }, vec![1, 2, 3]),
            (ToNode::Bye, vec![0; 1000]),
        ];
        let bytes: Vec<u8> = messages.iter().flat_map(|(m, b)| encode(m, b).expect("fits")).collect();
        for step in [1, 3, 7, 64, 4096] {
            let (mut decoder, mut got) = (Decoder::default(), Vec::new());
            for chunk in bytes.chunks(step) {
                decoder.push(chunk);
                while let Some(m) = decoder.pull::<ToNode>().expect("well formed") {
                    got.push(m);
                }
            }
            assert_eq!(got, messages);
        }
    }

    #[test]
    fn what_is_live_survives_too() {
        let camera: CameraId = "ngo-1".parse().expect("valid");
        let picture = Some(PictureWant { fps: 0.5, width: 640 });
        let streams =
            vec![StreamWant { number: 7, role: Some(StreamRole::Record) }, StreamWant { number: 9, role: None }];
        let want = ToWorker::Live { camera: camera.clone(), want: LiveWant { picture, streams } };
        let mut decoder = Decoder::default();
        decoder.push(&encode(&want, &[]).expect("fits"));
        assert_eq!(decoder.pull().expect("well formed"), Some((want, vec![])));
        for message in [
            ToNode::LivePicture { camera, at_ms: 1, width: 2, height: 3 },
            ToNode::LiveMedia { stream: 7, part: LivePart::Init { mime: "video/mp4".into() } },
            ToNode::LiveMedia { stream: 7, part: LivePart::Fragment { at_ms: 5, keyframe: true } },
            ToNode::LiveEnded { stream: 7, reason: Ending::Slow },
        ] {
            decoder.push(&encode(&message, b"blob").expect("fits"));
            assert_eq!(decoder.pull().expect("well formed"), Some((message, b"blob".to_vec())));
        }
    }

    #[test]
    fn an_impossible_length_is_an_error_and_not_an_allocation() {
        let mut decoder = Decoder::default();
        decoder.push(&[0xff; 16]);
        assert!(decoder.pull::<ToNode>().is_err());
    }
}
