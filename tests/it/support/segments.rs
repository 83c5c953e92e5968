//! Recordings made without the recorder: files and sidecars as the format says, from fragments that ffmpeg made.

use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};
use wardwatch::base::types::{Codec, Fragment, Segment, SegmentState, StreamRole};
use wardwatch::record::join::Init;
use wardwatch::record::segment::{Closing, Header, SCHEMA, Sidecar, sidecar_path};

/// A segment to be made.
#[derive(Clone)]
pub struct Recipe {
    pub camera: &'static str,
    pub start_ms: i64,
    pub seconds: u32,
    /// `320x240`.
    pub size: &'static str,
    /// Ticks a second of the track.
    pub timescale: u32,
    /// H.264, or H.265 when not.
    pub h264: bool,
}

impl Default for Recipe {
    fn default() -> Self {
        let start_ms = 1_764_000_000_000;
        Self { camera: "ngo-1", start_ms, seconds: 10, size: "320x240", timescale: 10_240, h264: true }
    }
}

impl Recipe {
    pub fn at(seconds: i64) -> Self {
        let first = Self::default();
        Self { start_ms: first.start_ms + seconds * 1000, ..first }
    }

    pub fn path(&self) -> String {
        let day = jiff::Timestamp::from_millisecond(self.start_ms).expect("in range").strftime("%Y%m%d");
        format!("{}/{day}/{}-0.mp4", self.camera, self.start_ms)
    }

    /// Writes both files below `dir`; returns the row that belongs to them.
    ///
    /// 10 pictures a second, a keyframe every 2 s, a fragment every second: every other one begins with a keyframe.
    pub fn make(&self, dir: &Path) -> Segment {
        let mp4 = dir.join(self.path());
        std::fs::create_dir_all(mp4.parent().expect("has one")).expect("writable");
        self.encode(&mp4);
        let bytes = std::fs::read(&mp4).expect("just made");
        let (init_bytes, fragments) = self.fragments(&bytes);
        let end_ms = self.start_ms + i64::from(self.seconds) * 1000;
        let header = Header {
            schema: SCHEMA.into(),
            camera: self.camera.parse().expect("valid"),
            stream: StreamRole::Record,
            codec: if self.h264 { Codec::H264 } else { Codec::H265 },
            width: 320,
            height: 240,
            start_wall_ms: self.start_ms,
            start_mono_ns: mono(self.start_ms),
            boot_id: "boot".into(),
            init_bytes,
            init_sha256: Some(hex::encode(Sha256::digest(&bytes[..init_bytes as usize]))),
        };
        // ffmpeg's index at the end is none of a recording's.
        let bytes = &bytes[..fragments.last().map_or(0, |f| f.offset + f.bytes) as usize];
        std::fs::write(&mp4, bytes).expect("writable");
        let sha256 = hex::encode(Sha256::digest(bytes));
        let closing = Closing {
            closed: true,
            bytes: bytes.len() as u64,
            sha256: sha256.clone(),
            end_wall_ms: end_ms,
            end_mono_ns: mono(end_ms),
        };
        let mut lines = vec![serde_json::to_string(&header).expect("JSON")];
        lines.extend(fragments.iter().map(|f| serde_json::to_string(f).expect("JSON")));
        lines.push(serde_json::to_string(&closing).expect("JSON"));
        let sidecar = sidecar_path(&mp4);
        std::fs::write(&sidecar, lines.join("\n") + "\n").expect("writable");
        Sidecar::read(&sidecar).expect("just made").segment(self.path(), Some(sha256), SegmentState::Closed)
    }

    fn encode(&self, to: &Path) {
        let source = format!("testsrc2=size={}:rate=10:duration={}", self.size, self.seconds);
        let codec: &[&str] = if self.h264 {
            &["-c:v", "libx264", "-preset", "ultrafast", "-g", "20", "-keyint_min", "20", "-sc_threshold", "0"]
        } else {
            &["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=20:min-keyint=20:log-level=none"]
        };
        let made = Command::new("ffmpeg")
            .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-f", "lavfi", "-i", &source])
            .args(codec)
            .args(["-bf", "0", "-pix_fmt", "yuv420p", "-video_track_timescale", &self.timescale.to_string()])
            .args(["-movflags", "empty_moov+default_base_moof", "-frag_duration", "1000000"])
            .arg(to)
            .status()
            .expect("ffmpeg is installed");
        assert!(made.success());
    }

    fn fragments(&self, bytes: &[u8]) -> (u64, Vec<Fragment>) {
        let (mut at, mut init, mut moof) = (0, None::<(u64, Init)>, 0);
        let (mut fragments, mut ticks) = (Vec::new(), 0u64);
        while at < bytes.len() {
            let length = u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four")) as usize;
            let end = at + length;
            match &bytes[at + 4..at + 8] {
                b"moov" => init = Some((end as u64, Init::parse(&bytes[..end]).expect("ffmpeg's own"))),
                b"moof" => moof = at,
                b"mdat" => {
                    let (_, init) = init.as_ref().expect("moov comes first");
                    let samples = init.samples(&bytes[moof..end]).expect("ffmpeg's own").video;
                    let ns = |ticks: u64| ticks * 1_000_000_000 / u64::from(init.video.timescale);
                    let wall_ms = self.start_ms + (ns(ticks) / 1_000_000) as i64;
                    fragments.push(Fragment {
                        offset: moof as u64,
                        bytes: (end - moof) as u64,
                        sha256: hex::encode(Sha256::digest(&bytes[moof..end])),
                        wall_ms,
                        mono_ns: mono(wall_ms),
                        pts_ns: ns(ticks),
                        duration_ns: ns(samples.duration()),
                        keyframe: samples.samples[0].flags & 0x0001_0000 == 0,
                    });
                    ticks += samples.duration();
                }
                _ => {}
            }
            at = end;
        }
        (init.expect("there is a moov").0, fragments)
    }
}

fn mono(wall_ms: i64) -> u64 {
    (wall_ms - Recipe::default().start_ms + 1_000_000) as u64 * 1_000_000
}

/// What ffprobe says of every picture: when it is shown (s) and whether it is a keyframe; it decodes all of them.
pub fn pictures(path: &Path) -> Vec<(f64, bool)> {
    let out = Command::new("ffprobe")
        .args(["-loglevel", "error", "-select_streams", "v", "-show_entries"])
        .args(["frame=pts_time,key_frame", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .expect("ffprobe is installed");
    assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("text");
    let line = |l: &str| {
        let mut fields = l.split(',');
        let key = fields.next() == Some("1");
        (fields.next().and_then(|t| t.parse().ok()).expect("a time"), key)
    };
    text.lines().filter(|l| !l.is_empty()).map(line).collect()
}

/// How long a file says it is, in seconds.
pub fn duration(path: &Path) -> f64 {
    let out = Command::new("ffprobe")
        .args(["-loglevel", "error", "-show_entries", "format=duration", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .expect("ffprobe is installed");
    String::from_utf8_lossy(&out.stdout).trim().parse().expect("a duration")
}

/// Changes one byte of a file.
pub fn flip(path: &Path, at: u64) {
    let mut bytes = std::fs::read(path).expect("there");
    bytes[at as usize] ^= 0x40;
    std::fs::write(path, bytes).expect("writable");
}

/// Lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
