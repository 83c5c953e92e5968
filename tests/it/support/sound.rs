//! Cameras with a microphone: once a second they show a white picture and whistle, so that it can be seen and heard whether
//! what was recorded of them is together. Also what there is to see and to hear in a file.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use gstreamer_rtsp_server as rtsp;
use gstreamer_rtsp_server::prelude::*;
use wardwatch::ingest::sample::RtspService;

/// How a camera sends what it hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    ALaw,
    /// Described before the pictures.
    MuLaw,
    Aac,
    /// Live, as all that nobody asks for: a server that plays files waits for whom it plays them to.
    Opus,
    /// A-law of a camera that is not to be asked for it.
    Unasked,
}

/// Two minutes of a camera that can be heard for `seconds` of them.
pub struct SoundCamera {
    pub port: u16,
    setups: Arc<Mutex<Vec<String>>>,
    camera: RtspService,
    service: Option<JoinHandle<()>>,
    _footage: tempfile::TempDir,
}

impl SoundCamera {
    pub fn start(sound: Sound, seconds: u32) -> Self {
        wardwatch::ingest::init().expect("GStreamer");
        let footage = tempfile::tempdir().expect("a directory");
        let live = matches!(sound, Sound::Opus | Sound::Unasked);
        if !live {
            film(footage.path(), sound, seconds);
        }
        let server = rtsp::RTSPServer::new();
        let factory = rtsp::RTSPMediaFactory::new();
        factory.set_launch(&if live { live_launch(sound) } else { launch(footage.path(), sound) });
        server.mount_points().expect("mounts").add_factory("/stream", factory);
        let setups = Arc::new(Mutex::new(Vec::new()));
        let seen = setups.clone();
        server.connect_client_connected(move |_, client| {
            let seen = seen.clone();
            client.connect_setup_request(move |_, context| {
                let uri = context.uri().map(|u| u.request_uri().to_string()).unwrap_or_default();
                seen.lock().expect("no panic").push(uri.rsplit('/').next().unwrap_or_default().to_owned());
            });
        });
        let (camera, serving) = RtspService::start(server, 0).expect("a free port");
        let service = std::thread::spawn(move || serving.run());
        Self { port: camera.port(), setups, camera, service: Some(service), _footage: footage }
    }

    pub fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/stream", self.port)
    }

    /// What it was asked to set up, in order.
    pub fn setups(&self) -> Vec<String> {
        self.setups.lock().expect("no panic").clone()
    }
}

impl Drop for SoundCamera {
    fn drop(&mut self) {
        self.camera.stop();
        if let Some(service) = self.service.take() {
            service.join().expect("no panic");
        }
    }
}

fn film(directory: &Path, sound: Sound, seconds: u32) {
    let pictures =
        "color=black:size=320x240:rate=10:duration=120,drawbox=color=white:thickness=fill:enable='lt(mod(t,1),0.15)'";
    let coded = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "10", "-pix_fmt", "yuv420p"];
    ffmpeg(pictures, &coded, &directory.join("pictures.mp4"));
    let rate = if sound == Sound::Aac { 16_000 } else { 8_000 };
    let whistle = format!("aevalsrc='if(lt(mod(t,1),0.15),0.5*sin(2*PI*1000*t),0)':s={rate}:d={seconds}");
    let coded = match sound {
        Sound::ALaw => "pcm_alaw",
        Sound::MuLaw => "pcm_mulaw",
        Sound::Aac => "aac",
        Sound::Opus | Sound::Unasked => unreachable!("it is live"),
    };
    ffmpeg(&whistle, &["-c:a", coded], &directory.join(if sound == Sound::Aac { "sound.mp4" } else { "sound.wav" }));
}

fn ffmpeg(source: &str, options: &[&str], to: &Path) {
    let made = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-f", "lavfi", "-i", source])
        .args(options)
        .arg(to)
        .status()
        .expect("ffmpeg is installed");
    assert!(made.success());
}

fn launch(directory: &Path, sound: Sound) -> String {
    let (audio, video) = if sound == Sound::MuLaw { (0, 1) } else { (1, 0) };
    let wav = "sound.wav ! wavparse";
    let sound = match sound {
        Sound::ALaw => format!("{wav} ! rtppcmapay name=pay{audio} pt=8"),
        Sound::MuLaw => format!("{wav} ! rtppcmupay name=pay{audio} pt=0"),
        Sound::Aac => format!("sound.mp4 ! qtdemux ! aacparse ! rtpmp4gpay name=pay{audio} pt=97"),
        Sound::Opus | Sound::Unasked => unreachable!("it is live"),
    };
    let from = format!("filesrc location={}", directory.display());
    format!(
        "( {from}/{sound} {from}/pictures.mp4 ! qtdemux ! h264parse \
         ! rtph264pay name=pay{video} pt=96 config-interval=1 )"
    )
}

fn live_launch(sound: Sound) -> String {
    let sound = match sound {
        Sound::Opus => "opusenc ! rtpopuspay name=pay1 pt=97",
        _ => "alawenc ! rtppcmapay name=pay1 pt=8",
    };
    format!(
        "( videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=10/1 \
         ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay0 pt=96 config-interval=1 \
         audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! {sound} )"
    )
}

fn decoded(file: &Path, options: &[&str]) -> Vec<u8> {
    let out = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-i"])
        .arg(file)
        .args(options)
        .arg("-")
        .output()
        .expect("ffmpeg is installed");
    assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// When the picture turns white, in seconds.
pub fn flashes(file: &Path) -> Vec<f64> {
    let white = decoded(
        file,
        &[
            "-map",
            "0:v",
            "-vsync",
            "passthrough",
            "-enc_time_base",
            "1:90000",
            "-vf",
            "scale=1:1,format=gray",
            "-f",
            "rawvideo",
        ],
    );
    let pictures = super::segments::pictures(file);
    assert_eq!(pictures.len(), white.len());
    let turns = white.windows(2).zip(&pictures[1..]).filter(|(w, _)| w[0] < 128 && w[1] >= 128);
    turns.map(|(_, picture)| picture.0).collect()
}

/// When it begins to whistle, in seconds.
pub fn whistles(file: &Path) -> Vec<f64> {
    let options = [
        "-map",
        "0:a",
        "-af",
        "aresample=async=1:first_pts=0:min_hard_comp=0.02",
        "-ar",
        "8000",
        "-ac",
        "1",
        "-f",
        "s16le",
    ];
    let samples = decoded(file, &options);
    let (mut heard, mut quiet) = (Vec::new(), 0);
    for (n, sample) in samples.chunks_exact(2).enumerate() {
        if i16::from_le_bytes([sample[0], sample[1]]).unsigned_abs() < 4000 {
            quiet += 1;
            continue;
        }
        if quiet > 2400 {
            heard.push(n as f64 / 8000.0);
        }
        quiet = 0;
    }
    heard
}

/// A file's tracks: the codec, and when its first packet begins and its last one ends, in seconds.
pub fn tracks(file: &Path) -> Vec<(String, f64, f64)> {
    let probe = |arguments: &[&str]| {
        let out = Command::new("ffprobe").args(["-v", "error", "-of", "csv=p=0"]).args(arguments).arg(file).output();
        let out = out.expect("ffprobe is installed");
        assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let codecs = probe(&["-show_entries", "stream=codec_name"]);
    let track = |(n, codec): (usize, &str)| {
        let number = n.to_string();
        let packets = probe(&["-select_streams", &number, "-show_entries", "packet=pts_time,duration_time"]);
        let field =
            |line: &str, n: usize| line.split(',').nth(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default();
        let first = packets.lines().next().map_or(0.0, |l| field(l, 0));
        let end = packets.lines().map(|l| field(l, 0) + field(l, 1)).fold(0.0, f64::max);
        (codec.trim_matches(',').to_owned(), first, end)
    };
    codecs.lines().enumerate().map(track).collect()
}
