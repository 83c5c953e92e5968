//! L5: wiring: the only place that spawns threads, tasks and processes.

pub mod replay;
