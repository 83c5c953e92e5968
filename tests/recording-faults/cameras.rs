//! Clips of a wanted keyframe distance and bitrate, and a process of their own for the cameras that show them: what they
//! cost is not counted, and they outlive whatever is killed.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use wardwatch::base::types::Codec;
use wardwatch::ingest::sample::{Footage, SampleCamera, SampleOptions};

use crate::support::site::root;

pub const FPS: u32 = 15;

/// What a camera sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    pub h265: bool,
    pub gop_seconds: u32,
    pub kbits: u32,
    pub height: u32,
}

impl Kind {
    fn name(self) -> String {
        let codec = if self.h265 { "h265" } else { "h264" };
        format!("{codec}-{}p-gop{}-{}k.mp4", self.height, self.gop_seconds, self.kbits)
    }

    /// Twenty seconds of the street; made once a checkout.
    pub fn clip(self) -> PathBuf {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        std::fs::create_dir_all(directory).expect("writable");
        let path = directory.join(self.name());
        if !path.exists() {
            self.encode(&path);
        }
        path
    }

    fn encode(self, to: &Path) {
        let rate = format!("{}k", self.kbits);
        let distance = (self.gop_seconds * FPS).to_string();
        // Without noise the street does not fill two megabits.
        let noise = if self.kbits > 1000 { ",noise=alls=12:allf=t" } else { "" };
        let filter = format!("scale=-2:{}{noise}", self.height);
        let codec: Vec<String> = if self.h265 {
            let keyframes = format!("keyint={distance}:min-keyint={distance}:scenecut=0:bframes=0:log-level=none");
            ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", &keyframes].map(String::from).into()
        } else {
            ["-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-sc_threshold", "0", "-g", &distance]
                .into_iter()
                .chain(["-keyint_min", &distance])
                .map(String::from)
                .collect()
        };
        let part = to.with_extension("part.mp4");
        let made = Command::new("ffmpeg")
            .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-i"])
            .arg(root().join(".cache/footage/street-360p.mp4"))
            .args(["-t", "20", "-an", "-vf", &filter, "-r", &FPS.to_string(), "-pix_fmt", "yuv420p"])
            .args(codec)
            .args(["-b:v", &rate, "-maxrate", &rate, "-bufsize", &rate])
            .arg(&part)
            .status()
            .expect("ffmpeg is installed");
        assert!(made.success());
        std::fs::rename(&part, to).expect("writable");
    }
}

/// Cameras in a process of their own; it ends with this.
pub struct Cameras {
    child: Child,
    pub ports: Vec<u16>,
}

impl Cameras {
    /// One camera for each of `kinds`.
    pub fn start(kinds: &[Kind]) -> Self {
        let clips: Vec<String> = kinds.iter().map(|k| k.clip().to_string_lossy().into_owned()).collect();
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .arg("serve")
            .args(clips)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs");
        let mut line = String::new();
        let out = child.stdout.as_mut().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("it says its ports");
        let ports: Vec<u16> = line.split_whitespace().map(|p| p.parse().expect("a port")).collect();
        assert_eq!(ports.len(), kinds.len(), "{line}");
        Self { child, ports }
    }

    pub fn url(port: u16) -> String {
        format!("rtsp://127.0.0.1:{port}/stream")
    }
}

impl Drop for Cameras {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The process: a camera for each clip, its ports in one line; ends when standard input does.
pub fn serve(clips: &[String]) {
    let mut cameras = Vec::new();
    let mut ports = Vec::new();
    for (n, clip) in clips.iter().enumerate() {
        let codec = if clip.contains("h265-") { Codec::H265 } else { Codec::H264 };
        let footage = Footage::load(Path::new(clip), codec).expect("just made");
        let options = SampleOptions { start_at: n * 23, ..SampleOptions::default() };
        let (camera, serving) = SampleCamera::start(footage, options).expect("a free port");
        ports.push(camera.port().to_string());
        cameras.push(camera);
        std::thread::spawn(move || serving.run());
    }
    println!("{}", ports.join(" "));
    std::io::stdout().flush().expect("someone reads");
    std::io::stdin().lines().for_each(drop);
}
