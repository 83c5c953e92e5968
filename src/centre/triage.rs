//! Triage: what officers do with an event, who has it, and when nobody does. Pure: the store keeps it, the API asks.
//!
//! Nobody loses an event to a colleague by accident: who acts says which version he saw, and only the owner or a
//! commander moves what somebody has. Nor does an alert wait unseen: see [`escalation_window`].

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::base::{Error, ErrorKind, Result};

/// The longest note or reason, in characters.
pub const MAX_NOTE: usize = 2000;
/// A snooze lasts no longer than this: a camera that nobody listens to is to be thought of again.
pub const MAX_SNOOZE_MS: i64 = 7 * 24 * 3_600_000;
/// An alert that has waited longer is not called up any more: after a long stop of the centre or with a clock that was
/// set, the officers are not buried.
pub const MAX_WAIT_MS: i64 = 24 * 3_600_000;

/// How far an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriageState {
    /// Nobody has it.
    #[default]
    New,
    /// An officer looks at it.
    Owned,
    /// A patrol is on its way. Without an owner: it was released at the end of a shift, say.
    Dispatched,
    /// There is a verdict.
    Resolved,
}

impl TriageState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::New, Self::Owned, Self::Dispatched, Self::Resolved];

    /// As it is stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Owned => "owned",
            Self::Dispatched => "dispatched",
            Self::Resolved => "resolved",
        }
    }
}

/// What it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    TrueAlarm,
    FalseAlarm,
}

impl Verdict {
    /// As it is stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TrueAlarm => "true_alarm",
            Self::FalseAlarm => "false_alarm",
        }
    }
}

/// An event's triage. An event that nobody touched has the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Triage {
    pub state: TriageState,
    /// Only of what is resolved.
    pub verdict: Option<Verdict>,
    /// User id of who has it; of what is resolved, who had it.
    pub owner: Option<String>,
    /// One more with each change of state or owner; notes, incidents and escalations leave it as it is.
    pub version: u32,
    /// The last change of any kind, UTC milliseconds.
    pub updated_ms: Option<i64>,
    /// It has waited too long for an owner, and still waits.
    pub escalated: bool,
    /// Events that belong together have the same; otherwise opaque.
    pub incident: Option<String>,
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Officer {
    /// User id.
    pub id: String,
    /// May act for others, and take what others have.
    pub commander: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Takes what nobody has; a commander also what somebody has. What is dispatched stays so.
    Own,
    /// Gives it back. What is dispatched stays so, without an owner.
    Release,
    /// A patrol goes. Takes what nobody has at the same time.
    Dispatch,
    /// Ends it. Takes what nobody has at the same time.
    Resolve { verdict: Verdict, note: Option<String> },
    /// Whoever doubts a verdict has the event from then on.
    Reopen,
    /// Makes it part of an incident. Anyone may, in any state.
    Join { incident: String },
    /// Anyone may, in any state.
    Note { text: String },
}

impl Act {
    fn deed(&self) -> Deed {
        match self {
            Self::Own => Deed::Own,
            Self::Release => Deed::Release,
            Self::Dispatch => Deed::Dispatch,
            Self::Resolve { .. } => Deed::Resolve,
            Self::Reopen => Deed::Reopen,
            Self::Join { .. } => Deed::Join,
            Self::Note { .. } => Deed::Note,
        }
    }

    /// Whether it changes state or owner, and so asks for the version that was seen.
    pub fn moves(&self) -> bool {
        !matches!(self, Self::Join { .. } | Self::Note { .. })
    }
}

/// What was done, as history tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    Own,
    Release,
    Dispatch,
    Resolve,
    Reopen,
    Join,
    Note,
    Escalate,
}

impl Deed {
    /// As it is stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Release => "release",
            Self::Dispatch => "dispatch",
            Self::Resolve => "resolve",
            Self::Reopen => "reopen",
            Self::Join => "join",
            Self::Note => "note",
            Self::Escalate => "escalate",
        }
    }
}

/// One line of an event's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// UTC milliseconds.
    pub at_ms: i64,
    pub deed: Deed,
    /// User id; `None`: the centre itself.
    pub by: Option<String>,
    /// The note, or the incident that was joined.
    pub text: Option<String>,
    /// Of a resolution.
    pub verdict: Option<Verdict>,
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A colleague was first. This is how it stands.
    Conflict {
        owner: Option<String>,
        version: u32,
    },
    NotAllowed(Obstacle),
}

/// What stands in the way of an [`Act`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    NotYours,
    AlreadyYours,
    NobodyHasIt,
    AlreadyDispatched,
    AlreadyResolved,
    NotResolved,
    /// A note without text, or one that is too long.
    Text,
}

impl Obstacle {
    /// A stable word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotYours => "not-yours",
            Self::AlreadyYours => "already-yours",
            Self::NobodyHasIt => "nobody-has-it",
            Self::AlreadyDispatched => "already-dispatched",
            Self::AlreadyResolved => "already-resolved",
            Self::NotResolved => "not-resolved",
            Self::Text => "text",
        }
    }

    /// A sentence for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::NotYours => "only its owner or a commander may do this",
            Self::AlreadyYours => "it is yours already",
            Self::NobodyHasIt => "nobody has it",
            Self::AlreadyDispatched => "a patrol is on its way already",
            Self::AlreadyResolved => "it is resolved; reopen it first",
            Self::NotResolved => "it is not resolved",
            Self::Text => "a note has 1 to 2000 characters",
        }
    }
}

/// What becomes of `triage` when `by`, who saw it at `version`, does `act`; with the line for its history.
pub fn step(
    triage: &Triage,
    act: &Act,
    by: &Officer,
    version: u32,
    now_ms: i64,
) -> Result<(Triage, HistoryRow), Refusal> {
    let conflict = || Refusal::Conflict { owner: triage.owner.clone(), version: triage.version };
    if act.moves() && version != triage.version {
        return Err(conflict());
    }
    if let Some(obstacle) = obstacle(triage, act, by) {
        // Whoever wants what a colleague has is told who that is.
        let taken = matches!((act, obstacle), (Act::Own, Obstacle::NotYours));
        return Err(if taken { conflict() } else { Refusal::NotAllowed(obstacle) });
    }
    let mut next = triage.clone();
    let mut row = HistoryRow { at_ms: now_ms, deed: act.deed(), by: Some(by.id.clone()), text: None, verdict: None };
    match act {
        Act::Own => {
            if triage.state == TriageState::New {
                next.state = TriageState::Owned;
            }
            next.owner = Some(by.id.clone());
        }
        Act::Release => {
            if triage.state == TriageState::Owned {
                next.state = TriageState::New;
            }
            next.owner = None;
        }
        Act::Dispatch => {
            next.state = TriageState::Dispatched;
            next.owner.get_or_insert_with(|| by.id.clone());
        }
        Act::Resolve { verdict, note } => {
            next.state = TriageState::Resolved;
            next.owner.get_or_insert_with(|| by.id.clone());
            next.verdict = Some(*verdict);
            (row.verdict, row.text) = (Some(*verdict), note.clone());
        }
        Act::Reopen => {
            next.state = TriageState::Owned;
            next.owner = Some(by.id.clone());
            next.verdict = None;
        }
        Act::Join { incident } => {
            next.incident = Some(incident.clone());
            row.text = Some(incident.clone());
        }
        Act::Note { text } => row.text = Some(text.clone()),
    }
    next.version += u32::from(act.moves());
    next.updated_ms = Some(now_ms);
    next.escalated &= next.state == TriageState::New;
    Ok((next, row))
}

fn obstacle(triage: &Triage, act: &Act, by: &Officer) -> Option<Obstacle> {
    use TriageState::{Dispatched, Resolved};
    let mine = triage.owner.as_ref() == Some(&by.id);
    let forbidden = triage.owner.is_some() && !mine && !by.commander;
    let ended = triage.state == Resolved;
    let bad_note = |text: &str| !is_text(text);
    let found: &[(bool, Obstacle)] = match act {
        Act::Own => {
            &[(ended, Obstacle::AlreadyResolved), (mine, Obstacle::AlreadyYours), (forbidden, Obstacle::NotYours)]
        }
        Act::Release => &[
            (ended, Obstacle::AlreadyResolved),
            (triage.owner.is_none(), Obstacle::NobodyHasIt),
            (forbidden, Obstacle::NotYours),
        ],
        Act::Dispatch => &[
            (ended, Obstacle::AlreadyResolved),
            (forbidden, Obstacle::NotYours),
            (triage.state == Dispatched, Obstacle::AlreadyDispatched),
        ],
        Act::Resolve { note, .. } => &[
            (ended, Obstacle::AlreadyResolved),
            (forbidden, Obstacle::NotYours),
            (note.as_deref().is_some_and(bad_note), Obstacle::Text),
        ],
        Act::Reopen => &[(!ended, Obstacle::NotResolved)],
        Act::Join { .. } => &[],
        Act::Note { text } => &[(bad_note(text), Obstacle::Text)],
    };
    found.iter().find_map(|(holds, obstacle)| holds.then_some(*obstacle))
}

/// Whether somebody said something, and not too much.
fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().nth(MAX_NOTE).is_none()
}

/// An alert that nobody has is called up at `now_ms` when it has waited since a moment within this, for `after_ms` at
/// least. The times are the centre's own: when it had the alert on disk, or when somebody gave it back.
pub fn escalation_window(now_ms: i64, after_ms: i64) -> RangeInclusive<i64> {
    now_ms.saturating_sub(MAX_WAIT_MS)..=now_ms.saturating_sub(after_ms)
}

/// A camera, or one rule of it, whose alerts call nobody for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snooze {
    pub id: String,
    pub node: String,
    /// Empty: the node itself.
    pub camera: String,
    /// `None`: all of them.
    pub rule: Option<String>,
    /// UTC milliseconds, exclusive.
    pub until_ms: i64,
    pub reason: String,
    /// User id.
    pub by: String,
    /// UTC milliseconds.
    pub created_ms: i64,
}

impl Snooze {
    /// Whether events of a camera's rule call nobody while it lasts.
    pub fn covers(&self, node: &str, camera: &str, rule: &str) -> bool {
        self.node == node && self.camera == camera && self.rule.as_ref().is_none_or(|r| r == rule)
    }

    /// Whether it may begin.
    ///
    /// # Errors
    /// `Invalid`: it would end before it begins or last too long, or says no reason.
    pub fn check(&self) -> Result<()> {
        let invalid = |text: &str| Err(Error::new(ErrorKind::Invalid, text));
        match self.until_ms.checked_sub(self.created_ms) {
            Some(ms) if ms <= 0 => invalid("a snooze ends in the future"),
            Some(ms) if ms <= MAX_SNOOZE_MS => match is_text(&self.reason) {
                true => Ok(()),
                false => invalid("the reason of a snooze has 1 to 2000 characters"),
            },
            _ => invalid("a snooze lasts seven days at most"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn officer(n: u8) -> Officer {
        Officer { id: format!("u{n}"), commander: n == 0 }
    }

    fn acts() -> impl Strategy<Value = Act> {
        prop_oneof![
            Just(Act::Own),
            Just(Act::Release),
            Just(Act::Dispatch),
            Just(Act::Resolve { verdict: Verdict::TrueAlarm, note: None }),
            Just(Act::Resolve { verdict: Verdict::FalseAlarm, note: Some("mèo".into()) }),
            Just(Act::Reopen),
            Just(Act::Join { incident: "n/1".into() }),
            Just(Act::Note { text: "đã gọi".into() }),
            Just(Act::Note { text: " ".into() }),
        ]
    }

    fn sound(t: &Triage) -> bool {
        let owner = match t.state {
            TriageState::New => t.owner.is_none(),
            TriageState::Owned | TriageState::Resolved => t.owner.is_some(),
            TriageState::Dispatched => true,
        };
        owner
            && t.verdict.is_some() == (t.state == TriageState::Resolved)
            && (!t.escalated || t.state == TriageState::New)
    }

    /// Where `acts` lead from a new event, each done with the version that is current.
    fn after(acts: &[(Act, u8)]) -> Triage {
        let start = Triage { escalated: true, ..Triage::default() };
        acts.iter().fold(start, |t, (act, by)| match step(&t, act, &officer(*by), t.version, 1) {
            Ok((next, _)) => next,
            Err(_) => t,
        })
    }

    proptest! {
        #[test]
        fn whatever_is_done_it_stays_sound_and_nobody_loses_it_to_a_colleague(
            acts in prop::collection::vec((acts(), 0u8..4), 0..12), last in acts(), by in 0u8..4, now_ms in 0i64..9,
        ) {
            let before = after(&acts);
            prop_assert!(sound(&before), "{before:?}");
            let who = officer(by);
            match step(&before, &last, &who, before.version, now_ms) {
                Ok((next, row)) => {
                    prop_assert!(sound(&next), "{next:?}");
                    prop_assert_eq!(next.version, before.version + u32::from(last.moves()));
                    prop_assert_eq!((next.updated_ms, row.at_ms, row.by.as_deref()), (Some(now_ms), now_ms, Some(&*who.id)));
                    prop_assert_eq!(row.verdict, next.verdict.filter(|_| matches!(last, Act::Resolve { .. })));
                    if !last.moves() {
                        prop_assert_eq!((next.state, &next.owner), (before.state, &before.owner));
                    }
                    let others = before.owner.as_ref().is_some_and(|owner| *owner != who.id);
                    let open = before.state != TriageState::Resolved;
                    if others && open && (next.owner != before.owner || next.state != before.state) {
                        prop_assert!(who.commander, "{who:?} took {before:?} to {next:?}");
                    }
                }
                Err(Refusal::Conflict { owner, version }) => {
                    prop_assert!(last == Act::Own && owner.is_some() && owner != Some(who.id));
                    prop_assert_eq!(version, before.version);
                }
                Err(Refusal::NotAllowed(_)) => {}
            }
        }

        #[test]
        fn of_two_who_saw_the_same_one_moves_it_and_the_other_hears_who(
            acts_before in prop::collection::vec((acts(), 0u8..4), 0..8),
            one in acts(), other in acts(), a in 0u8..4, b in 0u8..4,
        ) {
            prop_assume!(a != b && one.moves() && other.moves());
            let seen = after(&acts_before);
            if let Ok((next, _)) = step(&seen, &one, &officer(a), seen.version, 1) {
                let second = step(&next, &other, &officer(b), seen.version, 2);
                prop_assert_eq!(second, Err(Refusal::Conflict { owner: next.owner.clone(), version: next.version }));
            }
        }

        #[test]
        fn an_alert_is_called_up_when_its_time_is_over_and_not_before(now in 0i64..1 << 50, after in 1i64..MAX_WAIT_MS, waited in 0i64..2 * MAX_WAIT_MS) {
            let due = escalation_window(now, after).contains(&(now - waited));
            prop_assert_eq!(due, waited >= after && waited <= MAX_WAIT_MS);
        }
    }

    #[test]
    fn the_way_of_an_alert() {
        let (chief, an, binh) = (officer(0), officer(1), officer(2));
        let go = |t: &Triage, act: Act, by: &Officer| step(t, &act, by, t.version, 5).map(|(next, _)| next);
        let new = Triage { escalated: true, ..Triage::default() };
        let owned = go(&new, Act::Own, &an).expect("allowed");
        assert_eq!((owned.state, owned.owner.as_deref(), owned.escalated), (TriageState::Owned, Some("u1"), false));
        let taken = Refusal::Conflict { owner: Some("u1".into()), version: 1 };
        assert_eq!(go(&owned, Act::Own, &binh), Err(taken));
        let refused = |t: &Triage, act, by: &Officer| go(t, act, by).expect_err("refused");
        assert_eq!(refused(&owned, Act::Own, &an), Refusal::NotAllowed(Obstacle::AlreadyYours));
        assert_eq!(refused(&owned, Act::Dispatch, &binh), Refusal::NotAllowed(Obstacle::NotYours));
        assert_eq!(refused(&owned, Act::Release, &binh), Refusal::NotAllowed(Obstacle::NotYours));
        assert_eq!(go(&owned, Act::Release, &chief).expect("allowed").state, TriageState::New);
        let out = go(&owned, Act::Dispatch, &an).expect("allowed");
        assert_eq!(refused(&out, Act::Dispatch, &an), Refusal::NotAllowed(Obstacle::AlreadyDispatched));
        let left = go(&out, Act::Release, &an).expect("allowed");
        assert_eq!((left.state, left.owner.as_deref()), (TriageState::Dispatched, None), "the patrol is still out");
        let taken_over = go(&out, Act::Own, &chief).expect("a commander may");
        assert_eq!((taken_over.state, taken_over.owner.as_deref()), (TriageState::Dispatched, Some("u0")));
        let long = Act::Resolve { verdict: Verdict::TrueAlarm, note: Some("x".repeat(MAX_NOTE + 1)) };
        assert_eq!(refused(&out, long, &an), Refusal::NotAllowed(Obstacle::Text));
        let resolve = Act::Resolve { verdict: Verdict::TrueAlarm, note: Some("x".repeat(MAX_NOTE)) };
        let resolved = go(&out, resolve, &an).expect("allowed");
        assert_eq!(refused(&resolved, Act::Own, &chief), Refusal::NotAllowed(Obstacle::AlreadyResolved));
        let again = go(&resolved, Act::Reopen, &binh).expect("allowed");
        assert_eq!((again.state, again.owner.as_deref(), again.verdict), (TriageState::Owned, Some("u2"), None));
        assert_eq!(refused(&again, Act::Reopen, &an), Refusal::NotAllowed(Obstacle::NotResolved));
    }

    #[test]
    fn a_snooze_ends_within_a_week_and_says_why() {
        let snooze = |ms, reason: &str| Snooze {
            id: "s".into(),
            node: "n".into(),
            camera: "c".into(),
            rule: None,
            until_ms: 7 + ms,
            reason: reason.into(),
            by: "u1".into(),
            created_ms: 7,
        };
        assert!(snooze(1, "đám cưới").check().is_ok() && snooze(MAX_SNOOZE_MS, "x").check().is_ok());
        for wrong in [snooze(0, "x"), snooze(-1, "x"), snooze(MAX_SNOOZE_MS + 1, "x"), snooze(1, " \n")] {
            assert_eq!(wrong.check().expect_err("refused").kind(), ErrorKind::Invalid);
        }
        let ever = Snooze { created_ms: i64::MIN, until_ms: i64::MAX, ..snooze(1, "x") };
        assert!(ever.check().is_err());
    }
}
