//! What to do next with one clip, after each of the centre's answers. Pure: it sends nothing and knows no time.

use super::client::{Failure, Progress};
use crate::base::{Error, ErrorKind};
use crate::wire::link::Trouble;

/// A clip that goes wrong this often is put aside.
const TRIES: u32 = 3;

/// One clip's delivery.
#[derive(Debug)]
pub struct Delivery {
    bytes: u64,
    wrong: u32,
}

/// The next step.
#[derive(Debug)]
pub enum Step {
    /// Say what comes.
    Announce,
    /// Send from here on; with nothing left to send, ask the centre to finish.
    Append { offset: u64 },
    /// The centre has it.
    Done,
    /// It cannot be delivered: the next one.
    Park(String),
    /// Not now: later, from the announcement on.
    Wait(Error),
}

impl Delivery {
    /// Begins with a clip of `bytes`.
    pub fn new(bytes: u64) -> (Self, Step) {
        (Self { bytes, wrong: 0 }, Step::Announce)
    }

    /// What follows from an answer.
    pub fn step(&mut self, answer: Result<Progress, Failure>) -> Step {
        match answer {
            Ok(Progress { complete: true, .. }) => Step::Done,
            Ok(Progress { offset, .. }) if offset <= self.bytes => Step::Append { offset },
            Ok(_) => self.again("the centre has more of it than there is"),
            Err(Failure::Refused { trouble, detail, offset }) => match (trouble, offset) {
                (Trouble::WrongOffset, Some(offset)) if offset <= self.bytes => Step::Append { offset },
                (Trouble::WrongOffset | Trouble::NotFound | Trouble::WrongHash | Trouble::Internal, _) => {
                    self.again(trouble.title())
                }
                (Trouble::TooLarge, _) => Step::Park(detail.unwrap_or_else(|| trouble.title().into())),
                // Another version of the centre, or a broken request: it will say the same again.
                (Trouble::Malformed, None) => self.again(trouble.title()),
                _ => Step::Wait(Failure::Refused { trouble, detail, offset }.into_error()),
            },
            Err(Failure::Away(error)) => Step::Wait(error),
        }
    }

    /// The file on this machine does not give what it should.
    pub fn unreadable(&mut self, error: &Error) -> Step {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::Corrupt => Step::Park(error.to_string()),
            _ => self.again(&error.to_string()),
        }
    }

    fn again(&mut self, why: &str) -> Step {
        self.wrong += 1;
        if self.wrong >= TRIES { Step::Park(format!("{why} ({TRIES} times)")) } else { Step::Announce }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(trouble: Trouble, offset: Option<u64>) -> Result<Progress, Failure> {
        Err(Failure::Refused { trouble, detail: None, offset })
    }

    #[test]
    fn it_goes_on_where_the_centre_stands() {
        let (mut clip, first) = Delivery::new(100);
        assert!(matches!(first, Step::Announce));
        assert!(matches!(clip.step(Ok(Progress { offset: 40, complete: false })), Step::Append { offset: 40 }));
        assert!(matches!(clip.step(refused(Trouble::WrongOffset, Some(60))), Step::Append { offset: 60 }));
        assert!(matches!(clip.step(Ok(Progress { offset: 100, complete: false })), Step::Append { offset: 100 }));
        assert!(matches!(clip.step(Ok(Progress { offset: 100, complete: true })), Step::Done));
    }

    #[test]
    fn a_clip_that_is_always_wrong_is_put_aside_and_a_full_disk_is_waited_for() {
        let (mut clip, _) = Delivery::new(100);
        assert!(matches!(clip.step(refused(Trouble::WrongHash, None)), Step::Announce));
        assert!(matches!(clip.step(refused(Trouble::DiskFull, None)), Step::Wait(_)));
        assert!(matches!(clip.step(refused(Trouble::WrongHash, None)), Step::Announce));
        assert!(matches!(clip.step(refused(Trouble::WrongHash, None)), Step::Park(_)));
        let (mut large, _) = Delivery::new(100);
        assert!(matches!(large.step(refused(Trouble::TooLarge, None)), Step::Park(_)));
    }
}
