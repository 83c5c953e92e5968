//! Helpers of the integration tests, one file a concern.

pub mod onnx;
