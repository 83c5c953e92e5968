//! L4: the command centre: receives what the nodes publish, keeps it, tells its listeners.
//!
//! `message` checks what came, `store` keeps it, `receive` joins both to the broker, `errands` says when a
//! command goes again, `notice` is what listeners hear.
//! `desk` is where officers act on events and listeners hear of it, `account` says who may do what, `triage` what becomes
//! of an event that somebody takes, `live` has what somebody looks at now, `directory` what is known of cameras by heart,
//! `feed` what the page hears, `webhook` what other programs are told, `sign` signs it and knows one-time codes. `api` has the doors for people and for nodes, `incoming` has clips that are not whole,
//! `objects` the others, `thumbnail` small pictures for lists.

pub mod account;
pub mod api;
pub mod control;
pub mod desk;
pub mod directory;
mod errands;
pub mod feed;
pub mod incoming;
pub mod live;
pub mod message;
mod notice;
pub mod objects;
pub mod receive;
pub mod sign;
pub mod store;
pub mod thumbnail;
pub mod triage;
pub mod webhook;

pub use notice::{CommittedEvent, Notice};

/// How the centre stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// A connection to the broker stands and the subscriptions are in force.
    pub connected: bool,
    /// Why there is no connection.
    pub trouble: Option<String>,
    /// Why nothing can be committed.
    pub store_trouble: Option<String>,
    /// Why clips cannot be stored.
    pub clip_trouble: Option<String>,
    /// How receivers of webhooks stand.
    pub webhooks: Vec<store::webhook::Standing>,
    /// Messages refused since the start.
    pub refused: u64,
}
