//! L3: recording: what lies on disk ([`segment`]), clips of any range ([`clip`]), what leaves the disk ([`retention`])
//! and whether disk and index agree ([`fsck`]). Nothing here spawns a thread: `app` does.

pub mod clip;
pub mod fsck;
pub mod join;
pub mod read;
pub mod retention;
pub mod segment;
