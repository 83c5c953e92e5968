//! A scripted scene of known count: a bright figure walks through the picture from left to right, again and again with
//! dark pauses between, and a detector made for it sees a person where the figure is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use wardwatch::base::Clock;
use wardwatch::base::clock::SystemClock;
use wardwatch::base::types::Codec;
use wardwatch::ingest::sample::{Footage, SampleCamera, SampleOptions};

use super::onnx::{Stimulus, stimulus_model_with};

/// One walk and the pause after it.
pub const WALK: Duration = Duration::from_secs(3);
pub const PAUSE: Duration = Duration::from_secs(5);
/// Dark before the first walk: time for everything to start.
pub const LEAD: Duration = Duration::from_secs(8);

const COLUMNS: usize = 16;

/// Writes the detector that sees the figure; returns the model's name.
pub fn model(dir: &Path) -> String {
    let width = 1.0 / COLUMNS as f32;
    let stimuli: Vec<Stimulus> = (0..COLUMNS)
        .map(|i| {
            let (left, right) = (i as f32 * width, (i + 1) as f32 * width);
            let centre = (left + right) / 2.0;
            Stimulus { region: [left, 0.4, right, 0.6], bbox: [centre - 0.1, 0.2, centre + 0.1, 0.8] }
        })
        .collect();
    stimulus_model_with(dir, "stimulus", &stimuli)
}

/// Makes the scene with `walks` walks as an H.264 file of 10 frames a second with a keyframe every second.
pub fn scene(dir: &Path, walks: u32) -> PathBuf {
    scene_with(dir, walks, WALK, "null")
}

/// [`scene`] with walks of another length, and what an ffmpeg filter adds to the picture.
pub fn scene_with(dir: &Path, walks: u32, walk: Duration, filter: &str) -> PathBuf {
    let path = dir.join("scene.mp4");
    let (lead, walk, period) = (LEAD.as_secs(), walk.as_secs(), (walk + PAUSE).as_secs());
    let length = lead + u64::from(walks) * period;
    // The figure is a little wider than one column, so that one column is always wholly bright.
    let figure = format!(
        "color=black:size=320x240:rate=10:duration={length}[yard];color=white:size=44x160:rate=10[figure];\
         [yard][figure]overlay=x='mod(t-{lead},{period})/{walk}*276':y=40:shortest=1:\
         enable='gte(t,{lead})*lt(mod(t-{lead},{period}),{walk})',{filter}"
    );
    let made = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-f", "lavfi", "-i", &figure])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"])
        .args(["-g", "10", "-keyint_min", "10", "-sc_threshold", "0", "-bf", "0"])
        .arg(&path)
        .status()
        .expect("ffmpeg is installed");
    assert!(made.success());
    path
}

/// Makes `scene` twice as large, frame by frame.
pub fn enlarge(scene: &Path, to: &Path) {
    let made = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-i"])
        .arg(scene)
        .args(["-vf", "scale=640:480", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"])
        .args(["-g", "10", "-keyint_min", "10", "-sc_threshold", "0", "-bf", "0"])
        .arg(to)
        .status()
        .expect("ffmpeg is installed");
    assert!(made.success());
}

fn load(scene: &Path) -> Footage {
    Footage::load(scene, Codec::H264).expect("the scene was just made")
}

/// A camera that shows a scene once, then goes dark for good.
pub struct SceneCamera {
    pub camera: SampleCamera,
    served: Option<JoinHandle<()>>,
    begun: wardwatch::base::Stamp,
    clock: Arc<dyn Clock>,
}

impl SceneCamera {
    /// Starts to show `scene`, at once and only once.
    pub fn start(scene: &Path, credentials: Option<(String, String)>) -> Self {
        Self::show(load(scene), credentials)
    }

    /// Starts to show all of them at the same moment.
    pub fn together<const N: usize>(scenes: [&Path; N]) -> [Self; N] {
        scenes.map(load).map(|footage| Self::show(footage, None))
    }

    fn show(footage: Footage, credentials: Option<(String, String)>) -> Self {
        let options = SampleOptions { credentials, ..SampleOptions::default() };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let begun = clock.now();
        let (camera, serving) = SampleCamera::start(footage, options).expect("a free port");
        let served = Some(std::thread::spawn(move || serving.run()));
        Self { camera, served, begun, clock }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/stream", self.camera.port())
    }

    /// How far the scene is.
    pub fn position(&self) -> Duration {
        self.clock.now().since(self.begun)
    }

    /// When walk `n` (from 0) begins.
    pub fn walk(n: u32) -> Duration {
        LEAD + (WALK + PAUSE) * n
    }
}

impl Drop for SceneCamera {
    fn drop(&mut self) {
        self.camera.stop();
        if let Some(served) = self.served.take() {
            served.join().ok();
        }
    }
}
