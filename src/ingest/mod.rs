//! L2: from a camera's address to decoded frames.
//!
//! [`receive`] gets access units over RTSP, [`ring`] keeps the last of them, [`gate`] says which are decoded, [`decode`]
//! makes frames, [`camera_clock`] dates them by the camera's own clock, [`health`] decides when to connect and what to say of the camera. [`file`] reads recorded video,
//! [`audio`] receives the sound where it is wanted, [`audio_ring`] keeps it; [`sample`] serves sample cameras. Nothing here spawns a thread: each part is a loop or a callback that `app` runs.

pub mod audio;
pub mod audio_ring;
pub mod camera_clock;
pub mod decode;
pub mod file;
pub mod gate;
pub mod health;
pub mod receive;
pub mod ring;
pub mod sample;

use crate::base::{Error, ErrorKind, Result};

/// Starts GStreamer. Cheap when it is running already.
pub fn init() -> Result<()> {
    decode::init_gstreamer()
}

fn gst_error(what: &str, source: impl std::fmt::Display) -> Error {
    // Of GStreamer's errors only the short text is kept: the debug part may quote an address.
    Error::new(ErrorKind::Internal, format!("{what}: {source}"))
        .hint("`wardwatch check` tests the media plug-ins; scripts/setup.sh names the packages")
}

/// Parses every pipeline, so that a missing plug-in is found before a camera needs it.
///
/// # Errors
/// Names the template that cannot be made.
pub fn check_templates() -> Result<()> {
    receive::check_templates()?;
    audio::check_templates()?;
    decode::check_templates()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_pipeline_parses_and_has_its_doors() {
        super::init().expect("GStreamer");
        super::check_templates().expect("the plug-ins of scripts/setup.sh");
    }
}
