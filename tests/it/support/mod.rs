//! Helpers of the integration tests, one file a concern.

pub mod broker;
pub mod browser;
pub mod disk;
pub mod inject;
pub mod made;
pub mod onnx;
pub mod post;
pub mod proxy;
pub mod receiver;
pub mod routes;
pub mod rtsp;
pub mod s3;
pub mod segments;
pub mod site;
pub mod sound;
pub mod stimulus;
pub mod torn;
pub mod trace;
pub mod wait;
