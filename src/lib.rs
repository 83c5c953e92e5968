//! wardwatch: camera event processor for ward security.
//!
//! One event's way through these modules is told in `docs/architecture.md`. Layers, from the bottom; a file imports
//! lower layers only, and the stages of L2 never import each other (`tests/it/tidy.rs` checks it):
//!
//! - L0 [`base`]: error, clock, geometry, domain types
//! - L1 [`config`], [`wire`]: the two strict files; everything that leaves a process as bytes
//! - L2 [`ingest`], [`detect`], [`track`], [`rules`], [`store`], [`snapshot`], [`privacy`]: the stages
//! - L3 [`publish`], [`record`], [`link`]: outbox to broker; recordings on disk; HTTP doors
//! - L4 [`centre`]: the command centre
//! - L5 [`app`]: wiring; the only place that spawns threads, tasks and processes

pub mod app;
pub mod base;
pub mod centre;
pub mod config;
pub mod detect;
pub mod ingest;
pub mod link;
pub mod privacy;
pub mod publish;
pub mod record;
pub mod rules;
pub mod snapshot;
pub mod store;
pub mod track;
pub mod wire;
