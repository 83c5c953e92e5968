//! The one integration test binary: black box over RTSP, MQTT, HTTP and files, with real parts.

mod support;

mod ask;
mod broker;
mod camera;
mod centre;
mod clip;
mod config;
mod demo;
mod detect;
mod docs;
mod event;
mod event_clips;
mod ingest;
mod isolation;
mod link;
mod mishaps;
mod probe;
mod publish;
mod record;
mod record_clock;
mod record_faults;
mod record_index;
mod recordings;
mod replay;
mod rules;
mod run;
mod scenes;
mod store;
mod tidy;
mod torn;
mod track;
