//! L2: cameras' streams: receive, ring, gate, decode, health.

pub mod file;
