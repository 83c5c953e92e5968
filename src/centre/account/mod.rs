//! Who works at the command centre, and what each may do. `can` decides and `backoff` slows guessing down, both pure;
//! `totp` knows the codes of second factors, `password` hashes, the store remembers, `service` joins them, the API asks.

pub mod backoff;
pub mod can;
mod factor;
pub mod password;
mod service;
pub mod totp;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use factor::Begun;
pub use service::{Accounts, LinkRefusal, LoggedIn, LoginRefusal, LoginRequest};

/// What somebody is at the ward. There is no administrator: the commander answers for who may look, so he makes the
/// accounts; the technician keeps the machines running and sees no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Lends a camera and sees what it sees (chủ hộ).
    Owner,
    /// Watches and sends patrols (trực ban).
    DutyOfficer,
    /// Answers for the post (chỉ huy).
    Commander,
    /// Looks for evidence of a case (điều tra viên).
    Investigator,
    /// Keeps cameras and machines running (kỹ thuật).
    Technician,
    /// Watches those who watch (giám sát).
    Auditor,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Owner, Self::DutyOfficer, Self::Commander, Self::Investigator, Self::Technician, Self::Auditor];

    /// As it is stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::DutyOfficer => "duty_officer",
            Self::Commander => "commander",
            Self::Investigator => "investigator",
            Self::Technician => "technician",
            Self::Auditor => "auditor",
        }
    }

    /// By its stored word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// What the log has as session where somebody acts at the centre's own machine.
pub const MACHINE: &str = "machine";

/// A camera: its node and its id there.
pub type CameraKey = (String, String);

/// Somebody with an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// UUID.
    pub id: String,
    /// What is typed at the login.
    pub name: String,
    /// What colleagues read.
    pub display_name: String,
    pub role: Role,
    /// The cameras that may be seen; `None`: all. An owner has his own and never all.
    pub cameras: Option<BTreeSet<CameraKey>>,
    /// May do nothing any more.
    pub disabled: bool,
}

impl User {
    /// Whether the account reaches this camera at all.
    pub fn reaches(&self, node: &str, camera: &str) -> bool {
        match &self.cameras {
            Some(cameras) => cameras.iter().any(|(n, c)| n == node && c == camera),
            None => self.role != Role::Owner,
        }
    }

    /// The cameras to which every list is cut down; `None`: no cut.
    pub fn cut(&self) -> Option<Vec<CameraKey>> {
        match (&self.cameras, self.role) {
            (Some(cameras), _) => Some(cameras.iter().cloned().collect()),
            (None, Role::Owner) => Some(Vec::new()),
            (None, _) => None,
        }
    }
}

/// Somebody who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What the log calls it; opens nothing.
    pub id: String,
    pub user: User,
    /// UTC milliseconds: it ends then, whatever is done with it.
    pub expires_ms: i64,
}

/// An account as the list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub user: User,
    /// A password was set.
    pub ready: bool,
    /// UTC milliseconds.
    pub created_ms: i64,
    /// UTC milliseconds.
    pub last_login_ms: Option<i64>,
    /// A code is asked for at the login.
    pub second_factor: bool,
}

/// What a one-time link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A password is set with it.
    Setup,
    /// It opens a session.
    Login,
}

impl LinkKind {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Login => "login",
        }
    }
}

/// A change to an account; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub display_name: Option<String>,
    pub role: Option<Role>,
    /// `Some(None)`: all cameras.
    pub cameras: Option<Option<BTreeSet<CameraKey>>>,
    pub disabled: Option<bool>,
}
