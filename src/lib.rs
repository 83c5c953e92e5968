//! wardwatch: camera event processor for ward security.
//!
//! One event's way through these modules is told in `docs/architecture.md`. Layers, from the bottom; a file imports
//! lower layers only:
//!
//! - L0 [`base`]: error, clock, geometry, domain types
//! - L1 [`config`], [`wire`]: the two strict files; everything that leaves a process as bytes

pub mod base;
pub mod config;
pub mod wire;
