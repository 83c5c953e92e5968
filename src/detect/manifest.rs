//! `models/<name>.toml`: what a model file is (licence, source, checksum), what it eats and what comes out.
//!
//! Strict: an unknown key, a missing file or a wrong checksum refuses to start and says how to mend it. Knows nothing
//! of ONNX Runtime; the session checks the shapes against the file itself.

use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::base::types::Label;
use crate::base::{Error, ErrorKind, Result};

/// How the picture is put into the model's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Scaled with its proportions kept, in the top left corner; the rest is padding (YOLOX).
    TopLeft,
    /// Scaled with its proportions kept, in the middle of the padding (Ultralytics YOLO).
    Centre,
    /// Scaled to fill the input, proportions lost (DETR family).
    Stretch,
}

/// Order of the three colour planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColourOrder {
    Bgr,
    Rgb,
}

/// Order of the input's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// 1 × 3 × height × width.
    Nchw,
}

/// What the output means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decoder {
    Yolox,
    Yolov8,
    Detr,
}

impl Decoder {
    /// How many output tensors it reads.
    pub fn outputs(self) -> usize {
        match self {
            Self::Yolox | Self::Yolov8 => 1,
            Self::Detr => 2,
        }
    }
}

/// `[input]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The tensor's name in the graph.
    pub name: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    pub layout: Layout,
    pub colour: ColourOrder,
    /// Samples 0..=255 are multiplied by this first: 1 (YOLOX) or 1/255.
    pub scale: f32,
    /// Then `mean` is taken off and the rest divided by `std`, one value a plane in the model's own colour order.
    #[serde(default)]
    pub mean: [f32; 3],
    #[serde(default = "ones")]
    pub std: [f32; 3],
    /// Grey level of the padding, 0..=255, before `scale`.
    #[serde(default)]
    pub pad: u8,
    pub placement: Placement,
}

fn ones() -> [f32; 3] {
    [1.0; 3]
}

/// `[output]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    pub decoder: Decoder,
    /// Names of the tensors in the graph: one for `yolox` and `yolov8`; logits, then boxes, for `detr`.
    pub names: Vec<String>,
}

/// `[thresholds]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Detections below are dropped. Low (0.1), because the tracker keeps known objects alive with weak ones.
    pub score: f32,
    /// Of two boxes of one label that overlap more than this (IoU), the weaker is dropped.
    pub nms_iou: f32,
}

/// The whole manifest, checked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// File name without `.toml`; filled in by [`Manifest::read`].
    #[serde(skip)]
    pub name: String,
    pub version: String,
    /// SPDX expression.
    pub licence: String,
    /// Where the file comes from, for a person.
    pub source: String,
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
    pub input: Input,
    pub output: Output,
    pub thresholds: Thresholds,
    /// Class names in the order of the model's classes.
    pub labels: Vec<Label>,
}

impl Manifest {
    /// Reads and checks `<dir>/<name>.toml`.
    pub fn read(dir: &Path, name: &str) -> Result<Self> {
        if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(Error::new(ErrorKind::Config, format!("`{name}` is not the name of a model"))
                .hint("[detect] model is a file name in models_dir without .toml"));
        }
        let path = dir.join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path).map_err(|e| {
            Error::io("cannot read the model's manifest", &path, e)
                .hint("set [detect] model and models_dir to a manifest that exists, for example models/yolox-nano.toml")
        })?;
        Self::parse(name, &text).map_err(|e| e.at(path.display()))
    }

    /// Parses and checks a manifest's text.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut manifest: Manifest =
            toml::from_str(text).map_err(|e| Error::new(ErrorKind::Config, e.to_string().trim_end().to_owned()))?;
        manifest.name = name.to_owned();
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::new(ErrorKind::Config, what));
        let input = &self.input;
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return refuse("sha256 must be 64 lower-case hex digits".into());
        }
        if !(8..=4096).contains(&input.width) || !(8..=4096).contains(&input.height) {
            return refuse("input width and height must be between 8 and 4096".into());
        }
        if self.output.decoder == Decoder::Yolox && !(input.width.is_multiple_of(32) && input.height.is_multiple_of(32))
        {
            return refuse("input width and height must be multiples of 32 for the decoder yolox".into());
        }
        if !input.scale.is_normal() || !input.mean.iter().all(|m| m.is_finite()) {
            return refuse("input scale and mean must be finite numbers, scale not 0".into());
        }
        if !input.std.iter().all(|s| s.is_normal()) {
            return refuse("input std must be finite numbers other than 0".into());
        }
        if self.output.names.len() != self.output.decoder.outputs() {
            let n = self.output.decoder.outputs();
            return refuse(format!("output names must name {n} tensor(s) for this decoder"));
        }
        if !(0.0..=1.0).contains(&self.thresholds.score) || !(0.0..=1.0).contains(&self.thresholds.nms_iou) {
            return refuse("thresholds must be between 0 and 1".into());
        }
        if self.labels.is_empty() || self.labels.iter().any(|l| l.is_empty()) {
            return refuse("labels must name every class".into());
        }
        Ok(())
    }

    /// What events call the model: its name and the first eight digits of its checksum, `yolox-nano@615e2661`.
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, &self.sha256[..8])
    }

    /// Reads `<dir>/<name>.onnx` and refuses anything but the very bytes the manifest describes.
    pub fn read_model(&self, dir: &Path) -> Result<Vec<u8>> {
        let path = dir.join(format!("{}.onnx", self.name));
        let bytes = std::fs::read(&path).map_err(|e| {
            Error::io("cannot read the model", &path, e).hint("run `make setup`, which fetches and makes the models")
        })?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        if sha256 != self.sha256 || bytes.len() as u64 != self.bytes {
            let message = format!(
                "this is not the model its manifest describes: {} bytes with SHA-256 {sha256}, expected {} bytes with {}",
                bytes.len(),
                self.bytes,
                self.sha256
            );
            return Err(Error::new(ErrorKind::Corrupt, message)
                .at(path.display())
                .hint("remove the file and run `make setup`"));
        }
        Ok(bytes)
    }
}
