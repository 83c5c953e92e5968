//! L3: HTTP doors: the metrics page, the node's side of the outbound link, and receivers of webhooks. [`client`] and
//! [`receiver`] are the only files that name the HTTP client, [`channel`] the only one that names the WebSocket client; `pace`, `delivery` and `watches` decide, and do
//! nothing.

pub mod channel;
pub mod client;
pub mod delivery;
pub mod discovery;
pub mod identity;
pub mod observe;
pub mod pace;
pub mod receiver;
pub mod watches;
