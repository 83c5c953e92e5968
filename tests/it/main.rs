//! The one integration test binary: black box over RTSP, MQTT, HTTP and files, with real parts.

mod support;

mod camera;
mod centre;
mod config;
mod detect;
mod event;
mod ingest;
mod probe;
mod publish;
mod replay;
mod rules;
mod run;
mod scenes;
mod store;
mod tidy;
mod track;
