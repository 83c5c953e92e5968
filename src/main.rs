//! L6: the command line and exit codes, nothing else.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use wardwatch::app::replay::{ReplayOptions, replay};
use wardwatch::base::clock::{Stamp, SystemClock};
use wardwatch::base::{Error, ErrorKind, Result};
use wardwatch::config::{DetectConfig, Provider, TrackConfig};

#[derive(Parser)]
#[command(name = "wardwatch", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Detects and tracks in a video file, every frame, as fast as it goes.
    Replay {
        video: PathBuf,
        /// When the file begins, for example 2026-11-24T02:11:04+07:00.
        #[arg(long, default_value = "1970-01-01T00:00:00Z")]
        start: jiff::Timestamp,
        /// Writes tracks as MOTChallenge rows.
        #[arg(long)]
        mot: Option<PathBuf>,
        /// Labels to write.
        #[arg(long, default_value = "person", value_delimiter = ',')]
        mot_labels: Vec<String>,
        /// Stops after so many frames.
        #[arg(long)]
        frames: Option<u64>,
        /// A manifest in the models' directory.
        #[arg(long, default_value = "yolox-nano")]
        model: String,
        #[arg(long, default_value = "models")]
        models_dir: PathBuf,
        /// ONNX Runtime's shared library.
        #[arg(long, default_value = ".cache/onnxruntime/libonnxruntime.so.1.32.0")]
        runtime: PathBuf,
    },
}

fn run(arguments: Arguments) -> Result<()> {
    let Command::Replay { video, start, mot, mot_labels, frames, model, models_dir, runtime } = arguments.command;
    let start = Stamp { mono: Default::default(), wall_ms: start.as_millisecond() };
    let detect = DetectConfig { model, models_dir, runtime, provider: Provider::Cpu };
    let track = TrackConfig::default();
    let options = ReplayOptions { video, detect, track, start, phantoms: Vec::new(), frames, mot, mot_labels };
    match replay(&options, &SystemClock, &mut ())?.frames {
        0 => Err(Error::new(ErrorKind::Invalid, "the video has no frames").at(options.video.display())),
        _ => Ok(()),
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
