//! The one integration test binary: black box over RTSP, MQTT, HTTP and files, with real parts.

mod support;

mod camera;
mod centre;
mod config;
mod detect;
mod ingest;
mod replay;
mod rules;
mod run;
mod scenes;
mod store;
mod tidy;
mod track;
