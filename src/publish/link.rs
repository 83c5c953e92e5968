//! What the node and the centre need of a message broker, without naming one: at-least-once messages with an
//! acknowledgement each, subscriptions, a last will. `publish/mqtt.rs` is the door that speaks MQTT.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::base::Result;

/// The largest packet sent or accepted, in bytes.
pub const MAX_PACKET: usize = 4 << 20;

/// A message to send; always at least once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    /// The broker keeps it for later subscribers.
    pub retain: bool,
    pub properties: Vec<(String, String)>,
    /// The broker drops it after this.
    pub expiry: Option<Duration>,
}

impl Message {
    /// An upper bound of its size as a packet, in bytes.
    pub fn packet_size(&self) -> usize {
        let properties: usize = self.properties.iter().map(|(k, v)| 5 + k.len() + v.len()).sum();
        // Fixed header 5, topic length 2, packet id 2, property length 4, expiry 5.
        18 + self.topic.len() + properties + self.payload.len()
    }
}

/// A message that came.
#[derive(Debug)]
pub struct Arrived<A> {
    pub topic: String,
    pub payload: Bytes,
    /// It was kept by the broker, not sent just now.
    pub retained: bool,
    pub properties: Vec<(String, String)>,
    /// To be given back to [`Link::ack`] where acknowledging is manual.
    pub ack: A,
}

/// Why the broker did not take a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The same message will be refused again.
    pub permanent: bool,
    pub reason: String,
}

/// What happened on a connection.
#[derive(Debug)]
pub enum Signal<A> {
    /// The broker has taken the message sent under `token`, or refused it.
    Acked {
        token: u64,
        refused: Option<Refusal>,
    },
    /// The subscriptions are in force.
    Subscribed,
    Arrived(Arrived<A>),
}

/// One connection to the broker. Once [`Link::next`] fails it is over: make a new one.
pub trait Link: Send {
    /// The means to acknowledge a message.
    type Ack: Send;

    /// The broker's packet limit, at most [`MAX_PACKET`]: larger messages must not be sent.
    fn max_packet(&self) -> usize;

    /// Hands a message over. Error `Exhausted` when too many wait: call [`Link::next`], then try again.
    fn publish(&mut self, message: Message, token: u64) -> Result<()>;

    /// Subscribes; [`Signal::Subscribed`] follows.
    fn subscribe(&mut self, filters: &[String]) -> Result<()>;

    /// Acknowledges a message.
    fn ack(&mut self, ack: Self::Ack) -> Result<()>;

    /// The next thing that happens. May be dropped and called again without losing anything. Error `Invalid`: the broker
    /// objected to what it was sent; `Unavailable`: the connection is gone.
    fn next(&mut self) -> impl Future<Output = Result<Signal<Self::Ack>>> + Send;

    /// Says goodbye, so that the last will is not sent. Waits for what was handed over, at most `patience`.
    fn close(self, patience: Duration) -> impl Future<Output = ()> + Send;
}

/// Makes connections.
pub trait Connect: Send + Sync {
    /// The kind of connection made.
    type Link: Link;

    /// A fresh connection that announces `will` if it breaks. Errors: `Unauthorized`, `Unavailable`, `Timeout`.
    fn connect(&self, will: Message) -> impl Future<Output = Result<Self::Link>> + Send;
}
