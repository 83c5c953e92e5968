//! L3: recording: encoded pictures as they come into fragmented MP4 files, each with a sidecar that names and hashes every
//! fragment. Nothing is decoded.
//!
//! [`demand`] says what is to be recorded, [`recorder`] cuts a camera's stream into segments, [`mux`] makes MP4 of it,
//! [`boxes`] cuts that into fragments, [`writer`] puts them on disk, [`segment`] reads what is there. Nothing here spawns
//! a thread or speaks to the node: `app` does.

pub mod boxes;
pub mod demand;
pub mod mux;
pub mod recorder;
pub mod segment;
pub mod writer;
