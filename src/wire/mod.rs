//! L1: everything that leaves a process as bytes: the public event JSON, MQTT topics, receipts, the link
//! between node and centre (clips, and the channel for live pictures), and the messages between node and worker.

pub mod channel;
pub mod command;
pub mod control;
pub mod event;
pub mod inquiry;
pub mod ipc;
pub mod link;
pub mod receipt;
pub mod status;
pub mod topic;
pub mod webhook;
