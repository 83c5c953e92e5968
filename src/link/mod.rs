//! L3: HTTP doors: the metrics page, and the node's side of the outbound link. [`client`] is the only file that names the
//! HTTP client, [`channel`] the only one that names the WebSocket client; `pace`, `delivery` and `watches` decide, and do
//! nothing.

pub mod channel;
pub mod client;
pub mod delivery;
pub mod discovery;
pub mod identity;
pub mod observe;
pub mod pace;
pub mod watches;
