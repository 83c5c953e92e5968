//! Tiny ONNX models made by the tests themselves, with manifests, so that the real session can be driven to known
//! outputs. The few messages of `onnx.proto` that are needed are written field by field; nothing is read.
//!
//! Two kinds:
//!
//! - [`constant_model`]: gives the same tensors whatever it is shown. For decoders.
//! - [`stimulus_model`]: *sees* something a test can draw: one `person` box at a fixed place, whose score follows the
//!   brightness of a region of the picture. Black: nothing. White: a person with score 0.9. A synthetic video with a
//!   bright square that comes and goes has as many appearances of a person as the square has. Any video size: the
//!   picture is stretched over the model's input. [`stimulus_model_with`] takes several regions and boxes: lit one after
//!   the other they are a person who walks.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wardwatch::config::{DetectConfig, Provider};

/// ONNX Runtime as `make setup` fetches it.
pub fn runtime() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/onnxruntime/libonnxruntime.so.1.32.0")
}

/// A configuration that loads the model `name` of `dir`.
pub fn detect_config(dir: &Path, name: &str) -> DetectConfig {
    DetectConfig { model: name.into(), models_dir: dir.into(), runtime: runtime(), provider: Provider::Cpu }
}

/// A tensor of floats.
pub struct Tensor {
    pub shape: Vec<i64>,
    pub data: Vec<f32>,
}

/// What a model's manifest says about input and output.
pub struct Spec<'a> {
    pub width: u32,
    pub height: u32,
    /// `top_left`, `centre`, `stretch`.
    pub placement: &'a str,
    /// `yolox`, `yolov8`, `detr`.
    pub decoder: &'a str,
    pub labels: &'a [&'a str],
}

/// Writes `<dir>/<name>.onnx` and `.toml`: a model with input `images` and the outputs `output0`, `output1`, … of
/// constant value. Returns the name.
pub fn constant_model(dir: &Path, name: &str, spec: &Spec<'_>, outputs: &[Tensor]) -> String {
    let mut graph = Graph::new(spec.width, spec.height);
    for (i, t) in outputs.iter().enumerate() {
        graph.floats(&format!("value{i}"), &t.shape, &t.data);
        graph.node("Identity", &[&format!("value{i}")], &format!("output{i}"), &[]);
        graph.output(&format!("output{i}"), &t.shape);
    }
    write_model(dir, name, spec, &graph.model(), outputs.len())
}

/// Where the picture must be bright, and where a person is seen then: left, top, right, bottom in 0..1 of the picture.
#[derive(Clone, Copy, Debug)]
pub struct Stimulus {
    pub region: [f32; 4],
    pub bbox: [f32; 4],
}

/// The middle of the picture, and a person standing in it.
pub const STIMULUS: Stimulus = Stimulus { region: [0.25, 0.25, 0.75, 0.75], bbox: [0.4, 0.3, 0.6, 0.9] };

/// Mean brightness (0..1) up to which nothing is seen, and from which the score is [`STIMULUS_SCORE`].
pub const STIMULUS_DARK: f32 = 0.3;
pub const STIMULUS_BRIGHT: f32 = 0.7;
pub const STIMULUS_SCORE: f32 = 0.9;

/// Writes the stimulus model with [`STIMULUS`] as `<dir>/stimulus.onnx` and `.toml`; returns `stimulus`.
pub fn stimulus_model(dir: &Path) -> String {
    stimulus_model_with(dir, "stimulus", &[STIMULUS])
}

/// The same with several regions and boxes of their own.
pub fn stimulus_model_with(dir: &Path, name: &str, stimuli: &[Stimulus]) -> String {
    const SIDE: u32 = 64;
    let at = |x: f32| (x * SIDE as f32).round() as i64;
    let mut graph = Graph::new(SIDE, SIDE);
    // score = clip((mean - dark) / (bright - dark), 0, 1) * most, as one multiplication and one addition.
    let gain = STIMULUS_SCORE / (STIMULUS_BRIGHT - STIMULUS_DARK);
    graph.floats("gain", &[1], &[gain]);
    graph.floats("bias", &[1], &[-STIMULUS_DARK * gain]);
    graph.floats("least", &[], &[0.0]);
    graph.floats("most", &[], &[STIMULUS_SCORE]);
    graph.integers("axes", &[2, 3]);
    graph.integers("row", &[1, 1, 1]);
    let mut columns = Vec::new();
    for (i, Stimulus { region: r, bbox: b }) in stimuli.iter().enumerate() {
        let n = |what: &str| format!("{what}{i}");
        graph.integers(&n("from"), &[at(r[1]), at(r[0])]);
        graph.integers(&n("to"), &[at(r[3]), at(r[2])]);
        graph.node("Slice", &["images", &n("from"), &n("to"), "axes"], &n("region"), &[]);
        graph.node("ReduceMean", &[&n("region")], &n("mean"), &[("keepdims", 1)]);
        graph.node("Reshape", &[&n("mean"), "row"], &n("level"), &[]);
        graph.node("Mul", &[&n("level"), "gain"], &n("scaled"), &[]);
        graph.node("Add", &[&n("scaled"), "bias"], &n("shifted"), &[]);
        graph.node("Clip", &[&n("shifted"), "least", "most"], &n("score"), &[]);
        let side = SIDE as f32;
        let centre = [(b[0] + b[2]) / 2.0 * side, (b[1] + b[3]) / 2.0 * side];
        graph.floats(&n("box"), &[1, 4, 1], &[centre[0], centre[1], (b[2] - b[0]) * side, (b[3] - b[1]) * side]);
        graph.node("Concat", &[&n("box"), &n("score")], &n("column"), &[("axis", 1)]);
        columns.push(n("column"));
    }
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    graph.node("Concat", &columns, "output0", &[("axis", 2)]);
    graph.output("output0", &[1, 5, stimuli.len() as i64]);
    let spec = Spec { width: SIDE, height: SIDE, placement: "stretch", decoder: "yolov8", labels: &["person"] };
    write_model(dir, name, &spec, &graph.model(), 1)
}

/// Writes the model and a manifest that fits it.
fn write_model(dir: &Path, name: &str, spec: &Spec<'_>, model: &[u8], outputs: usize) -> String {
    let quoted = |items: &[String]| items.iter().map(|i| format!("\"{i}\"")).collect::<Vec<_>>().join(", ");
    let outputs = quoted(&(0..outputs).map(|i| format!("output{i}")).collect::<Vec<_>>());
    let labels = quoted(&spec.labels.iter().map(|l| l.to_string()).collect::<Vec<_>>());
    let manifest = format!(
        "version = \"1\"\nlicence = \"Apache-2.0\"\nsource = \"made by a test\"\nbytes = {}\nsha256 = \"{}\"\n\
         labels = [{labels}]\n\n[input]\nname = \"images\"\nwidth = {}\nheight = {}\nlayout = \"nchw\"\n\
         colour = \"rgb\"\nscale = {}\npad = 114\nplacement = \"{}\"\n\n[output]\ndecoder = \"{}\"\n\
         names = [{outputs}]\n\n[thresholds]\nscore = 0.1\nnms_iou = 0.45\n",
        model.len(),
        hex::encode(Sha256::digest(model)),
        spec.width,
        spec.height,
        1.0 / 255.0,
        spec.placement,
        spec.decoder,
    );
    fs::write(dir.join(format!("{name}.onnx")), model).expect("the directory is writable");
    fs::write(dir.join(format!("{name}.toml")), manifest).expect("the directory is writable");
    name.to_owned()
}

/// A `GraphProto` under construction, with the one input `images`, 1 × 3 × height × width.
struct Graph(Vec<u8>);

impl Graph {
    fn new(width: u32, height: u32) -> Self {
        let mut graph = Self(Vec::new());
        graph.0.extend(text(2, "made-by-a-test"));
        graph.0.extend(message(11, &value_info("images", &[1, 3, i64::from(height), i64::from(width)])));
        graph
    }

    /// An initializer of type FLOAT (1); no shape means a scalar.
    fn floats(&mut self, name: &str, shape: &[i64], data: &[f32]) {
        let raw: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.0.extend(message(5, &tensor(name, shape, 1, &raw)));
    }

    /// A one-dimensional initializer of type INT64 (7).
    fn integers(&mut self, name: &str, data: &[i64]) {
        let raw: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.0.extend(message(5, &tensor(name, &[data.len() as i64], 7, &raw)));
    }

    /// A `NodeProto`; attributes are of type INT (2).
    fn node(&mut self, operator: &str, inputs: &[&str], output: &str, attributes: &[(&str, i64)]) {
        let mut node: Vec<u8> = inputs.iter().flat_map(|i| text(1, i)).collect();
        node.extend(text(2, output));
        node.extend(text(4, operator));
        for (name, value) in attributes {
            let attribute = [text(1, name), number(3, *value), number(20, 2)].concat();
            node.extend(message(5, &attribute));
        }
        self.0.extend(message(1, &node));
    }

    fn output(&mut self, name: &str, shape: &[i64]) {
        self.0.extend(message(12, &value_info(name, shape)));
    }

    /// The `ModelProto`: IR version 8, operators as of version 13.
    fn model(&self) -> Vec<u8> {
        let operators = [text(1, ""), number(2, 13)].concat();
        [number(1, 8), message(8, &operators), message(7, &self.0)].concat()
    }
}

fn tensor(name: &str, shape: &[i64], kind: i64, raw: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = shape.iter().flat_map(|d| number(1, *d)).collect();
    [dims, number(2, kind), text(8, name), message(9, raw)].concat()
}

fn value_info(name: &str, shape: &[i64]) -> Vec<u8> {
    let dims: Vec<u8> = shape.iter().flat_map(|d| message(1, &number(1, *d))).collect();
    let tensor = [number(1, 1), message(2, &dims)].concat();
    [text(1, name), message(2, &message(1, &tensor))].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn number(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value as u64)].concat()
}

fn message(field: u64, body: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(body.len() as u64), body.to_vec()].concat()
}

fn text(field: u64, text: &str) -> Vec<u8> {
    message(field, text.as_bytes())
}
