//! L2: frames in, objects out.
//!
//! [`Detector`] does one frame: [`fill`] makes the input, [`onnx`] runs the model, [`yolox`], [`yolov8`] or [`detr`]
//! read its output, [`nms`] drops doubles. [`mailbox`] is where frames of several cameras wait for it. What comes out is
//! a function of the frame and the model alone; nothing here remembers a frame or knows the cameras' rules.

pub mod candidate;
pub mod detr;
pub mod fill;
pub mod mailbox;
pub mod manifest;
pub mod nms;
pub mod onnx;
pub mod yolov8;
pub mod yolox;

use std::collections::HashMap;

use crate::base::types::{Detection, Frame};
use crate::base::{Error, ErrorKind, Result};
use crate::config::DetectConfig;

use candidate::{RawOutput, Target};
use fill::Fill;
use manifest::{Decoder, Manifest};
use onnx::{Model, Runtime};

pub use mailbox::{Mailbox, Put, Take};

/// Tables kept for so many frame sizes at once; more cameras than this never share a worker.
const MAX_SIZES: usize = 16;

/// One model, ready to look at frames of any size. One a worker: it is used by one thread at a time.
pub struct Detector {
    manifest: Manifest,
    id: String,
    model: Model,
    tensor: Vec<f32>,
    fills: HashMap<(u32, u32), Fill>,
}

impl Detector {
    /// Loads, checks and warms up the configured model.
    ///
    /// Errors: a manifest that is missing or wrong, a model file that is missing or has another checksum, a runtime
    /// library that is missing or too old, a model whose inputs and outputs are not those of the manifest.
    pub fn load(config: &DetectConfig) -> Result<Self> {
        let manifest = Manifest::read(&config.models_dir, &config.model)?;
        let bytes = manifest.read_model(&config.models_dir)?;
        let place = config.models_dir.join(format!("{}.onnx", config.model)).display().to_string();
        let runtime = Runtime::load(&config.runtime)?;
        let model = Model::load(&manifest, &bytes, &runtime, config.provider).map_err(|e| e.at(&place))?;
        let id = manifest.id();
        let mut detector = Self {
            tensor: vec![0.0; 3 * manifest.input.width as usize * manifest.input.height as usize],
            manifest,
            id,
            model,
            fills: HashMap::new(),
        };
        // The shapes that come out are checked before any camera is told that it is being watched.
        let fill = Fill::new((detector.manifest.input.width, detector.manifest.input.height), &detector.manifest.input);
        detector.run(&fill).map_err(|e| e.at(&place))?;
        tracing::info!(model = detector.id, provider = detector.provider(), "detector ready");
        Ok(detector)
    }

    /// Objects in `frame` with scores from the manifest's threshold up, in pixels of the frame (a box may reach over
    /// its edge), best score first; the same frame gives the same list.
    pub fn detect(&mut self, frame: &Frame) -> Result<Vec<Detection>> {
        let size = (frame.width, frame.height);
        if frame.width == 0 || frame.height == 0 {
            return Err(Error::new(ErrorKind::Invalid, format!("frame {} is empty", frame.seq)));
        }
        let mut fill = match self.fills.remove(&size) {
            Some(fill) => fill,
            None => Fill::new(size, &self.manifest.input),
        };
        let found = fill.fill(frame, &mut self.tensor).and_then(|()| self.run(&fill));
        if self.fills.len() >= MAX_SIZES {
            self.fills.clear();
        }
        self.fills.insert(size, fill);
        found
    }

    /// Runs the model on the tensor as it stands.
    fn run(&mut self, fill: &Fill) -> Result<Vec<Detection>> {
        let manifest = &self.manifest;
        let thresholds = &manifest.thresholds;
        let target = Target { letterbox: fill.letterbox(), labels: &manifest.labels, threshold: thresholds.score };
        let found = self.model.run(&self.tensor, |outputs| decode(manifest.output.decoder, outputs, &target))?;
        Ok(nms::suppress(found, thresholds.nms_iou))
    }

    /// What events call the model: `yolox-nano@615e2661`.
    pub fn model(&self) -> &str {
        &self.id
    }

    /// Where it really runs: `cpu`, `openvino` or `cuda`.
    pub fn provider(&self) -> &str {
        onnx::name(self.model.provider())
    }
}

fn decode(decoder: Decoder, outputs: &[RawOutput<'_>], target: &Target<'_>) -> Result<Vec<Detection>> {
    match (decoder, outputs) {
        (Decoder::Yolox, [output]) => yolox::decode(output, target),
        (Decoder::Yolov8, [output]) => yolov8::decode(output, target),
        (Decoder::Detr, [logits, boxes]) => detr::decode(logits, boxes, target),
        _ => Err(Error::new(ErrorKind::Internal, "the model's outputs are not those of its decoder")),
    }
}
