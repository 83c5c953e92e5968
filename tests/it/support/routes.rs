//! Who may use which route of API v1: the decision, apart from the code that it is compared with.

use wardwatch::centre::account::Role;

const ANYBODY: &[Role] = &Role::ALL;
const WATCH: &[Role] = &[Role::DutyOfficer, Role::Commander];
const SEARCH: &[Role] = &[Role::Owner, Role::DutyOfficer, Role::Commander, Role::Investigator];
const FILM: &[Role] = &[Role::Owner, Role::DutyOfficer, Role::Commander];
const EDIT: &[Role] = &[Role::Commander, Role::Technician];
const COMMAND: &[Role] = &[Role::Commander];

/// Who may use a route; none: without logging in.
pub type Entry = (&'static str, &'static str, Option<&'static [Role]>);

/// Every route. `{…}` as in the document; of the first camera and its event, which an owner has.
pub const ROUTES: &[Entry] = &[
    ("get", "/site", None),
    ("post", "/session", None),
    ("post", "/session/link", None),
    ("get", "/session", Some(ANYBODY)),
    ("put", "/session/password", Some(ANYBODY)),
    ("delete", "/session", Some(ANYBODY)),
    ("get", "/me/sessions", Some(ANYBODY)),
    ("delete", "/me/sessions/{id}", Some(ANYBODY)),
    ("post", "/me/totp", Some(ANYBODY)),
    ("put", "/me/totp", Some(ANYBODY)),
    ("delete", "/me/totp", Some(ANYBODY)),
    ("get", "/map", Some(ANYBODY)),
    ("get", "/map/plan", Some(ANYBODY)),
    ("get", "/map/tiles/{z}/{x}/{y}", Some(ANYBODY)),
    ("get", "/stream", Some(ANYBODY)),
    ("get", "/events", Some(SEARCH)),
    ("get", "/events/counts", Some(SEARCH)),
    ("get", "/events.csv", Some(&[Role::Owner, Role::Commander, Role::Investigator])),
    ("get", "/events/{node}/{id}", Some(SEARCH)),
    ("get", "/events/{node}/{id}/snapshot", Some(SEARCH)),
    ("get", "/events/{node}/{id}/thumbnail", Some(SEARCH)),
    ("get", "/events/{node}/{id}/clips/{sha256}", Some(FILM)),
    ("post", "/events/{node}/{id}/triage", Some(WATCH)),
    ("post", "/events/{node}/{id}/notes", Some(WATCH)),
    ("post", "/events/{node}/{id}/join", Some(WATCH)),
    ("get", "/snoozes", Some(WATCH)),
    ("post", "/snoozes", Some(WATCH)),
    ("delete", "/snoozes/{id}", Some(WATCH)),
    ("get", "/report", Some(&[Role::DutyOfficer, Role::Commander, Role::Auditor])),
    ("get", "/cameras", Some(ANYBODY)),
    ("get", "/cameras/{node}/{camera}", Some(ANYBODY)),
    ("get", "/nodes", Some(&[Role::DutyOfficer, Role::Commander, Role::Technician, Role::Auditor])),
    ("post", "/nodes/{node}/rehearsal", Some(EDIT)),
    ("post", "/nodes/{node}/probe", Some(EDIT)),
    ("post", "/nodes/{node}/discovery", Some(EDIT)),
    ("get", "/vendors", Some(ANYBODY)),
    ("get", "/cameras/{node}/{camera}/still", Some(FILM)),
    ("get", "/nodes/{node}/document", Some(EDIT)),
    ("patch", "/nodes/{node}/document", Some(EDIT)),
    ("get", "/live/wall", Some(FILM)),
    ("get", "/live/camera", Some(FILM)),
    ("get", "/cameras/{node}/{camera}/picture", Some(FILM)),
    ("get", "/cameras/{node}/{camera}/recordings", Some(FILM)),
    ("post", "/cameras/{node}/{camera}/clips", Some(FILM)),
    ("post", "/cameras/{node}/{camera}/holds", Some(WATCH)),
    ("get", "/holds", Some(WATCH)),
    ("delete", "/holds/{id}", Some(WATCH)),
    ("get", "/commands/{id}", Some(ANYBODY)),
    ("get", "/commands/{id}/clip", Some(ANYBODY)),
    ("get", "/emergencies", Some(ANYBODY)),
    ("post", "/emergencies", Some(COMMAND)),
    ("delete", "/emergencies/{id}", Some(COMMAND)),
    ("get", "/users", Some(&[Role::Commander, Role::Auditor])),
    ("post", "/users", Some(COMMAND)),
    ("patch", "/users/{id}", Some(COMMAND)),
    ("post", "/users/{id}/link", Some(COMMAND)),
    ("delete", "/users/{id}/sessions", Some(COMMAND)),
    ("delete", "/users/{id}/totp", Some(COMMAND)),
    ("get", "/log", Some(ANYBODY)),
];
