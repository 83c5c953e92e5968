//! The only door to ONNX Runtime: loads its shared library from the configured path, starts one session, runs it.
//!
//! One thread in the session and no spinning: with several cameras to a machine the default options burn three to four
//! times the CPU for the same frames. Knows nothing of pictures or boxes.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::ep;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{TensorRef, ValueType};

use super::candidate::RawOutput;
use super::manifest::Manifest;
use crate::base::{Error, ErrorKind, Result};
use crate::config::Provider;

/// The library can be loaded, and its environment made, once in a process.
static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// ONNX Runtime itself, loaded.
pub struct Runtime(Environment);

impl Runtime {
    /// Loads the shared library, or gives the one that is loaded already: there can be one in a process.
    pub fn load(library: &Path) -> Result<Self> {
        let hint = "set [detect] runtime to libonnxruntime.so, or run `make setup`, which fetches it";
        // ort would look for a relative path beside the executable first.
        // In the sentence and not only as the place, which is the model's for whoever reads the error.
        let path = std::fs::canonicalize(library).map_err(|e| {
            let what = format!("cannot find ONNX Runtime's library {}", library.display());
            Error::io(what, library, e).hint(hint)
        })?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((first, environment)) = loaded.as_ref() {
            if *first != path {
                tracing::warn!(loaded = %first.display(), asked = %path.display(), "another ONNX Runtime is loaded already");
            }
            return Ok(Self(environment.clone()));
        }
        let failed = |what: String| Error::new(ErrorKind::Unavailable, what).at(path.display()).hint(hint);
        let builder = ort::init_from(&path).map_err(|e| failed(format!("cannot load ONNX Runtime: {e}")))?;
        let built = builder.with_name("wardwatch").with_telemetry(false).build();
        let environment = built.map_err(|e| failed(format!("ONNX Runtime does not start: {e}")))?;
        environment.set_log_level(LogLevel::Warning);
        Ok(Self(loaded.insert((path, environment)).1.clone()))
    }
}

/// A model ready to run.
pub struct Model {
    session: Session,
    provider: Provider,
    input: String,
    shape: [i64; 4],
    outputs: Vec<String>,
}

impl Model {
    /// Loads `bytes`, checks names and shapes against `manifest`, and runs the model once, so that the first frame is as
    /// fast as the others. A provider that cannot start is replaced by the CPU, with a warning.
    pub fn load(manifest: &Manifest, bytes: &[u8], runtime: &Runtime, provider: Provider) -> Result<Self> {
        let (session, provider) = start(&runtime.0, bytes, provider)?;
        let input = &manifest.input;
        let shape = [1, 3, i64::from(input.height), i64::from(input.width)];
        let mut model =
            Self { session, provider, input: input.name.clone(), shape, outputs: manifest.output.names.clone() };
        model.check_names()?;
        let zeros = vec![0.0; shape.iter().product::<i64>() as usize];
        model.run(&zeros, |_| Ok(()))?;
        Ok(model)
    }

    /// The provider really used.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Runs the model on one input (1 × 3 × height × width) and shows its outputs, in the manifest's order, to `read`.
    pub fn run<R>(&mut self, input: &[f32], read: impl FnOnce(&[RawOutput<'_>]) -> Result<R>) -> Result<R> {
        let tensor = TensorRef::from_array_view((self.shape, input)).map_err(|e| inference(&e))?;
        let values = self.session.run(ort::inputs![self.input.as_str() => tensor]).map_err(|e| inference(&e))?;
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for name in &self.outputs {
            let value =
                values.get(name.as_str()).ok_or_else(|| Error::new(ErrorKind::Internal, "an output is gone"))?;
            let (shape, data) = value.try_extract_tensor::<f32>().map_err(|e| inference(&e))?;
            outputs.push(RawOutput { shape, data });
        }
        read(&outputs)
    }

    /// The model must have exactly the one input and at least the outputs that the manifest names.
    fn check_names(&self) -> Result<()> {
        let wrong = |what: String| Error::new(ErrorKind::Config, what).hint("correct the model's manifest");
        let inputs = self.session.inputs();
        let names =
            |outlets: &[ort::value::Outlet]| outlets.iter().map(|o| o.name().to_owned()).collect::<Vec<_>>().join(", ");
        let input = match inputs {
            [only] if only.name() == self.input => only,
            _ => {
                return Err(wrong(format!("the model's inputs are `{}`, expected `{}`", names(inputs), self.input)));
            }
        };
        if let ValueType::Tensor { shape, .. } = input.dtype() {
            let fits = shape.len() == 4 && shape.iter().zip(self.shape).all(|(s, e)| *s == e || *s < 0);
            if !fits {
                return Err(wrong(format!("the model's input has shape {shape:?}, expected {:?}", self.shape)));
            }
        }
        let outputs = self.session.outputs();
        match self.outputs.iter().find(|n| outputs.iter().all(|o| o.name() != n.as_str())) {
            Some(missing) => Err(wrong(format!("the model's outputs are `{}`, not `{missing}`", names(outputs)))),
            None => Ok(()),
        }
    }
}

fn inference<T>(e: &ort::Error<T>) -> Error {
    Error::new(ErrorKind::Internal, format!("the model cannot be run: {e}"))
}

/// A session on `wanted`, or else on the CPU, with the provider it got.
fn start(environment: &Environment, bytes: &[u8], wanted: Provider) -> Result<(Session, Provider)> {
    if wanted != Provider::Cpu {
        match session(environment, bytes, wanted) {
            Ok(session) => return Ok((session, wanted)),
            Err(e) => tracing::warn!(provider = name(wanted), error = %e, "falling back to the CPU"),
        }
    }
    let session = session(environment, bytes, Provider::Cpu)
        .map_err(|e| Error::new(ErrorKind::Invalid, format!("ONNX Runtime does not accept the model: {e}")))?;
    Ok((session, Provider::Cpu))
}

fn session(environment: &Environment, bytes: &[u8], provider: Provider) -> ort::Result<Session> {
    let builder = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        // Its information is about graph rewrites, hundreds of lines a start.
        .with_log_level(LogLevel::Warning)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?;
    // Without error_on_failure a provider that cannot start is skipped without a word.
    let mut builder: SessionBuilder = match provider {
        Provider::Cpu => builder,
        Provider::Openvino => builder.with_execution_providers([ep::OpenVINO::default()
            .with_device_type("CPU")
            .with_num_threads(1)
            .build()
            .error_on_failure()])?,
        Provider::Cuda => builder.with_execution_providers([ep::CUDA::default().build().error_on_failure()])?,
    };
    builder.commit_from_memory(bytes)
}

/// Lower-case name, as in the configuration.
pub fn name(provider: Provider) -> &'static str {
    match provider {
        Provider::Cpu => "cpu",
        Provider::Openvino => "openvino",
        Provider::Cuda => "cuda",
    }
}
