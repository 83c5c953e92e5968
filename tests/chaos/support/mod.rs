//! Helpers that the integration tests have already, by reference.

#[path = "../../it/support/broker.rs"]
pub mod broker;
#[path = "../../it/support/onnx.rs"]
pub mod onnx;
#[path = "../../it/support/proxy.rs"]
pub mod proxy;
#[path = "../../it/support/site.rs"]
pub mod site;
#[path = "../../it/support/wait.rs"]
pub mod wait;
