//! L3: recording: encoded pictures as they come into fragmented MP4 files, each with a sidecar that names and hashes every
//! fragment; and what is done with these files later. Nothing is decoded but what [`transcode`] makes anew.
//!
//! [`demand`] says what is to be recorded, [`recorder`] cuts a camera's stream into segments, [`mux`] makes MP4 of it, [`audio`] adds its sound,
//! [`boxes`] cuts that into fragments, [`writer`] puts them on disk, [`segment`] reads what is there and [`read`] the
//! pictures in it. [`clip`] makes one file of any range, with [`join`] and its own `retime`, and [`clips`] keeps such files; [`retention`] decides what leaves the disk;
//! [`fsck`] compares disk and index. Nothing here spawns a thread or speaks to the node: `app` does.

pub mod audio;
pub mod boxes;
pub mod clip;
pub mod clips;
pub mod codec;
pub mod demand;
pub mod fsck;
pub mod join;
pub mod mux;
pub mod read;
pub mod recorder;
pub mod retention;
mod retime;
pub mod segment;
pub mod transcode;
pub mod writer;
