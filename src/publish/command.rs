//! Does what the centre asks: looks whether it was done before, does it, keeps the answer, then gives it. Between doing
//! and keeping a power cut may come; whatever is asked here can be done twice.

use crate::base::{Error, ErrorKind, Result, Stamp, telemetry};
use crate::store::Store;
use crate::store::hold::{Hold, Holding};
use crate::wire::command::{ANSWER_SCHEMA, Answer, AnswerState, Ask, Command, HoldState};
use crate::wire::event::parse_rfc3339;

/// The answer to `command`, as JSON.
///
/// # Errors
/// The store's: nothing is answered then, and the centre asks again.
pub(super) async fn obey(store: &Store, command: Command, now: Stamp) -> Result<String> {
    if let Some(answer) = store.command_answer(command.id.clone()).await? {
        return Ok(answer);
    }
    let expires_ms = parse_rfc3339(&command.expires_at)?;
    let body = json(&command)?;
    let (id, kind) = (command.id.clone(), command.ask.kind());
    store.take_command(id.clone(), kind, body, expires_ms, now.wall_ms).await?;
    let (state, detail, hold) = if now.wall_ms >= expires_ms {
        (AnswerState::Expired, "it came after it had expired".to_owned(), None)
    } else {
        match perform(store, command, now).await {
            Ok((hold, detail)) => (AnswerState::Done, detail, Some(hold)),
            Err(e) if matches!(e.kind(), ErrorKind::Invalid | ErrorKind::NotFound) => {
                (AnswerState::Failed, e.to_string().chars().take(200).collect(), None)
            }
            Err(e) => return Err(e),
        }
    };
    metrics::counter!(telemetry::COMMANDS, "state" => state.as_str()).increment(1);
    tracing::info!(id, kind, state = state.as_str(), detail, "the centre asked");
    let answer = json(&Answer { schema: ANSWER_SCHEMA.to_owned(), id: id.clone(), state, detail, hold })?;
    store.answer_command(id, answer.clone()).await?;
    Ok(answer)
}

async fn perform(store: &Store, command: Command, now: Stamp) -> Result<(HoldState, String)> {
    match command.ask {
        Ask::Hold { camera, from, to, reason } => {
            let (from_ms, to_ms) = (parse_rfc3339(&from)?, parse_rfc3339(&to)?);
            let hold = Hold { id: command.id, camera, from_ms, to_ms, reason, issuer: command.issuer };
            Ok(match store.hold(hold, now).await? {
                Holding::Held { segments, gaps, clips } => (
                    HoldState::Held,
                    format!("{} segments, {clips} clips, {} known gaps in the range", segments.len(), gaps.len()),
                ),
                Holding::TooLate { gaps } => {
                    (HoldState::TooLate, format!("nothing of the range is left; {} known gaps in it", gaps.len()))
                }
            })
        }
        Ask::Release { hold } => Ok(match store.release(hold).await? {
            Some(_) => (HoldState::Released, "it may leave again".to_owned()),
            None => (HoldState::Released, "there was no such hold".to_owned()),
        }),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::new(ErrorKind::Internal, "a command cannot be written as JSON").source(e))
}
