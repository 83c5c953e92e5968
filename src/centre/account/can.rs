//! The one decision: may this caller do this to that? Called on every route after the object is loaded, media and live
//! included. Pure; it knows no request and no database.
//!
//! Everything is refused that is not named here.

use serde::{Deserialize, Serialize};

use super::{Role, User};
use crate::config::Sharing;

/// What can be done, by the names that the API, the access log and the documentation use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Action {
    /// Read what an event says.
    #[serde(rename = "event.view")]
    EventView,
    #[serde(rename = "snapshot.view")]
    SnapshotView,
    /// Watch a clip that was delivered.
    #[serde(rename = "clip.view")]
    ClipView,
    /// Learn what a camera has recorded, and when not.
    #[serde(rename = "recording.view")]
    RecordingView,
    #[serde(rename = "live.view")]
    LiveView,
    /// List and search events.
    #[serde(rename = "search")]
    Search,
    /// Take a list or a clip out of the system.
    #[serde(rename = "export")]
    Export,
    /// Own, dispatch and resolve events.
    #[serde(rename = "triage")]
    Triage,
    #[serde(rename = "note")]
    Note,
    /// Have a node cut a clip.
    #[serde(rename = "clip.ask")]
    ClipAsk,
    /// Keep recordings from being deleted, and release them.
    #[serde(rename = "hold")]
    Hold,
    /// Silence a camera or a rule for a while.
    #[serde(rename = "snooze")]
    Snooze,
    /// Declare or end an emergency, which opens live view.
    #[serde(rename = "emergency")]
    Emergency,
    /// See that a camera is there, how it stands, and where it looks.
    #[serde(rename = "camera.view")]
    CameraView,
    #[serde(rename = "camera.edit")]
    CameraEdit,
    #[serde(rename = "node.view")]
    NodeView,
    #[serde(rename = "report.view")]
    ReportView,
    #[serde(rename = "user.view")]
    UserView,
    #[serde(rename = "user.edit")]
    UserEdit,
    /// Read the access log; how much of it says [`log_scope`].
    #[serde(rename = "log.view")]
    LogView,
}

impl Action {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 20] = [
        Self::EventView,
        Self::SnapshotView,
        Self::ClipView,
        Self::RecordingView,
        Self::LiveView,
        Self::Search,
        Self::Export,
        Self::Triage,
        Self::Note,
        Self::ClipAsk,
        Self::Hold,
        Self::Snooze,
        Self::Emergency,
        Self::CameraView,
        Self::CameraEdit,
        Self::NodeView,
        Self::ReportView,
        Self::UserView,
        Self::UserEdit,
        Self::LogView,
    ];

    /// As it is stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EventView => "event.view",
            Self::SnapshotView => "snapshot.view",
            Self::ClipView => "clip.view",
            Self::RecordingView => "recording.view",
            Self::LiveView => "live.view",
            Self::Search => "search",
            Self::Export => "export",
            Self::Triage => "triage",
            Self::Note => "note",
            Self::ClipAsk => "clip.ask",
            Self::Hold => "hold",
            Self::Snooze => "snooze",
            Self::Emergency => "emergency",
            Self::CameraView => "camera.view",
            Self::CameraEdit => "camera.edit",
            Self::NodeView => "node.view",
            Self::ReportView => "report.view",
            Self::UserView => "user.view",
            Self::UserEdit => "user.edit",
            Self::LogView => "log.view",
        }
    }
}

/// A camera and on what terms it is lent.
#[derive(Clone, Copy, Debug)]
pub struct Lent<'a> {
    pub node: &'a str,
    pub camera: &'a str,
    /// `None`: its node has not said; the least is assumed.
    pub sharing: Option<Sharing>,
    /// A declared emergency reaches it now.
    pub emergency: bool,
}

/// What something is done to.
#[derive(Clone, Copy, Debug)]
pub enum Object<'a> {
    /// The ward as a whole: lists, searches, accounts, the log. Lists are cut down to what the caller reaches.
    Ward,
    /// A node, or an event of the node itself.
    Node(&'a str),
    Camera(Lent<'a>),
    /// An event of a camera, its pictures and clips, and recordings about it.
    Event(Lent<'a>),
}

/// Who asks, and why.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub user: &'a User,
    /// The number of the case for which it is done.
    pub case: Option<&'a str>,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Denial {
    /// The account is disabled.
    Disabled,
    /// The role does not do this.
    Role,
    /// The account does not reach this camera.
    Camera,
    /// The owner has not agreed to this.
    Sharing,
    /// Only with the number of a case.
    Case,
}

impl Denial {
    /// As it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Role => "role",
            Self::Camera => "camera",
            Self::Sharing => "sharing",
            Self::Case => "case",
        }
    }
}

/// Whether `caller` may do `action` to `object`.
///
/// # Errors
/// Why not.
pub fn can(caller: Caller<'_>, action: Action, object: &Object<'_>) -> Result<(), Denial> {
    if caller.user.disabled {
        return Err(Denial::Disabled);
    }
    by_role(caller.user.role, action, object)?;
    if caller.user.role == Role::Investigator
        && matches!(action, Action::SnapshotView | Action::Export)
        && caller.case.is_none_or(|case| case.trim().is_empty())
    {
        return Err(Denial::Case);
    }
    let (Object::Camera(lent) | Object::Event(lent)) = object else { return Ok(()) };
    if !caller.user.reaches(lent.node, lent.camera) {
        return Err(Denial::Camera);
    }
    by_terms(caller.user.role, action, lent)
}

/// What a role does at all, and to what kind of object.
fn by_role(role: Role, action: Action, object: &Object<'_>) -> Result<(), Denial> {
    use Action as A;
    use Role as R;
    let of_event = matches!(object, Object::Event(_) | Object::Ward);
    let of_node = matches!(object, Object::Node(_));
    let allowed = match action {
        A::EventView if of_node => matches!(role, R::DutyOfficer | R::Commander | R::Technician),
        A::EventView | A::Search => matches!(role, R::Owner | R::DutyOfficer | R::Commander | R::Investigator),
        A::SnapshotView => matches!(role, R::Owner | R::DutyOfficer | R::Commander | R::Investigator),
        A::ClipView | A::ClipAsk => match role {
            R::Owner | R::Commander => true,
            R::DutyOfficer => of_event,
            _ => false,
        },
        A::Hold => role == R::Commander || role == R::DutyOfficer && of_event,
        A::RecordingView => matches!(role, R::Owner | R::DutyOfficer | R::Commander),
        A::LiveView => matches!(role, R::Owner | R::DutyOfficer | R::Commander),
        A::Export => matches!(role, R::Owner | R::Commander | R::Investigator),
        A::Triage | A::Note if of_node => matches!(role, R::DutyOfficer | R::Commander | R::Technician),
        A::Triage | A::Note | A::Snooze => matches!(role, R::DutyOfficer | R::Commander),
        A::Emergency | A::UserEdit => role == R::Commander,
        A::CameraView => true,
        A::CameraEdit => matches!(role, R::Commander | R::Technician),
        A::NodeView => matches!(role, R::DutyOfficer | R::Commander | R::Technician | R::Auditor),
        A::ReportView => matches!(role, R::DutyOfficer | R::Commander | R::Auditor),
        A::UserView => matches!(role, R::Commander | R::Auditor),
        A::LogView => true,
    };
    if allowed { Ok(()) } else { Err(Denial::Role) }
}

/// What the owner has agreed to. It binds everybody but the owner.
fn by_terms(role: Role, action: Action, lent: &Lent<'_>) -> Result<(), Denial> {
    if role == Role::Owner {
        return Ok(());
    }
    let sharing = lent.sharing.unwrap_or(Sharing::Listed);
    let agreed = match action {
        Action::LiveView => sharing == Sharing::ScheduledLive || lent.emergency,
        // Its node keeps to the rest: of cameras that share events only, clips lie about an event.
        Action::ClipAsk | Action::RecordingView => sharing >= Sharing::OnRequest,
        _ => true,
    };
    if agreed { Ok(()) } else { Err(Denial::Sharing) }
}

/// How much of the access log somebody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogScope {
    /// Everything.
    All,
    /// Who looked at the cameras of his own.
    OwnCameras,
    /// What he did himself.
    OwnActs,
    /// Changes to cameras, nodes and accounts; nobody's looking.
    System,
}

/// The part of the log that `role` reads.
pub fn log_scope(role: Role) -> LogScope {
    match role {
        Role::Commander | Role::Auditor => LogScope::All,
        Role::Owner => LogScope::OwnCameras,
        Role::DutyOfficer | Role::Investigator => LogScope::OwnActs,
        Role::Technician => LogScope::System,
    }
}
