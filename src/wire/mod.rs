//! L1: everything that leaves a process as bytes: the public event JSON, MQTT topics, receipts, and the messages
//! between node and worker.

pub mod control;
pub mod event;
pub mod ipc;
pub mod receipt;
pub mod status;
pub mod topic;
