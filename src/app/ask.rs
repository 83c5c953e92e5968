//! `wardwatch ask`: a person at the centre's machine asks something of a node.

use std::io::Write;
use std::path::Path;

use super::enrol::{ask, say};
use crate::base::{Error, ErrorKind, Result};
use crate::centre::control::{Question, Reply};
use crate::config::load_site;

/// Asks and prints the command's id and how it stands.
///
/// # Errors
/// `Config` without a `[centre]`, `Invalid` for what cannot be asked, `Unavailable` when a running centre cannot be asked.
pub fn run(config: &Path, question: Question, out: &mut impl Write) -> Result<()> {
    let site = load_site(config)?;
    let centre = site.centre.as_ref().ok_or_else(|| {
        Error::new(ErrorKind::Config, "there is no [centre] here")
            .at(config.display())
            .hint("run this on the machine of the centre")
    })?;
    match ask(centre, question)? {
        Reply::Asked { id, how } => {
            let state = if how.hold.is_empty() { &how.state } else { &how.hold };
            say(out, &format!("{id} {state}"))?;
            let outcome = if how.answer.is_empty() { &how.state } else { &how.answer };
            say(out, &format!("{} {}: {outcome} {}", how.node, how.kind, how.detail))
        }
        Reply::Failed { message } => Err(Error::new(ErrorKind::Invalid, message)),
        Reply::EnrolCode { .. } => Err(Error::new(ErrorKind::Internal, "the centre answered something else")),
    }
}
