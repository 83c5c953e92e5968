//! The files of a cameras document that is changed while it is in force: the new text beside the old one, passwords in
//! files of their own, the texts of before. What was written and has not got its name is removed. Blocking; it decides
//! nothing.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind as IoKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::private_dir;
use crate::base::{Error, ErrorKind, Result};
use crate::config::edit::{self, Refused};

/// Texts of before that are kept.
const KEPT: usize = 10;

/// The text at `path`.
///
/// # Errors
/// When it cannot be read.
pub(super) fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| {
        Error::new(ErrorKind::Config, "cannot read the configuration")
            .at(path.display())
            .source(e)
            .hint("copy the example file beside it and edit it, or name another with --config")
    })
}

/// Where everything is.
#[derive(Clone)]
pub(super) struct Paper {
    document: PathBuf,
    /// Absolute: the document refers to its files.
    secrets: PathBuf,
    before: PathBuf,
}

/// A text that was written and has no name yet, with its secrets; removed unless it is named.
pub(super) struct Fresh {
    paper: Paper,
    target: PathBuf,
    path: PathBuf,
    secrets: Vec<PathBuf>,
    named: bool,
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.named {
            for path in self.secrets.iter().chain([&self.path]) {
                // What was not written yet is not there.
                std::fs::remove_file(path).ok();
            }
            // Only where it is empty.
            std::fs::remove_dir(&self.paper.secrets).ok();
        }
    }
}

impl Paper {
    pub(super) fn new(document: &Path, state_dir: &Path) -> Result<Self> {
        let state_dir = std::path::absolute(state_dir)
            .map_err(|e| Error::io("the state directory cannot be used", state_dir, e))?;
        Ok(Self {
            document: document.to_owned(),
            secrets: state_dir.join("secrets"),
            before: state_dir.join("cameras"),
        })
    }

    pub(super) fn secrets(&self) -> &Path {
        &self.secrets
    }

    pub(super) fn read(&self) -> Result<String> {
        text(&self.document)
    }

    /// Writes `changed` beside the document, and its secrets, all synced.
    pub(super) fn write(&self, changed: &edit::Changed) -> std::result::Result<Fresh, Refused> {
        let target = std::fs::canonicalize(&self.document).map_err(|e| self.refused(&e))?;
        let path = beside(&target);
        let mut fresh = Fresh { paper: self.clone(), target, path, secrets: Vec::new(), named: false };
        if !changed.secrets.is_empty() {
            private_dir(&self.secrets).map_err(|e| Refused::from(&e))?;
        }
        let kept = |e: std::io::Error| Refused::from(&Error::io("the node cannot keep a password", &self.secrets, e));
        for secret in &changed.secrets {
            fresh.secrets.push(secret.path.clone());
            write(&secret.path, secret.value.expose(), None).map_err(kept)?;
        }
        if !changed.secrets.is_empty() {
            sync_dir(&self.secrets).map_err(kept)?;
        }
        write(&fresh.path, &changed.text, Some(&fresh.target)).map_err(|e| self.refused(&e))?;
        Ok(fresh)
    }

    fn refused(&self, error: &std::io::Error) -> Refused {
        let directory = std::fs::canonicalize(&self.document).unwrap_or_else(|_| self.document.clone());
        let directory = directory.parent().unwrap_or(Path::new(".")).display().to_string();
        let (message, hint) = match error.kind() {
            IoKind::PermissionDenied | IoKind::ReadOnlyFilesystem => (
                format!("the node may not write into {directory}, where its cameras document is"),
                "on the node: move cameras.toml to where wardwatch may write, for example its state_dir, and put a \
                 symbolic link in its place",
            ),
            IoKind::StorageFull | IoKind::QuotaExceeded => {
                (format!("the disk of {directory} is full"), "make room on the node")
            }
            _ => (format!("the node cannot write into {directory}: {error}"), "look at the node's disk"),
        };
        Refused { message, hint: Some(hint.to_owned()), ..Refused::default() }
    }

    /// Removes what belongs to no document: secrets that neither `text` nor a text of before names, texts that are too old,
    /// and what a change that was broken off has left.
    pub(super) fn tidy(&self, text: &str) {
        if let Ok(target) = std::fs::canonicalize(&self.document) {
            std::fs::remove_file(beside(&target)).ok();
        }
        let mut before: Vec<(u64, PathBuf)> =
            files(&self.before).filter_map(|path| Some((path.file_stem()?.to_str()?.parse().ok()?, path))).collect();
        before.sort_unstable_by_key(|(revision, _)| std::cmp::Reverse(*revision));
        for (_, path) in before.drain(before.len().min(KEPT)..) {
            std::fs::remove_file(path).ok();
        }
        let mut texts = vec![text.to_owned()];
        for (_, path) in &before {
            match std::fs::read_to_string(path) {
                Ok(text) => texts.push(text),
                // What cannot be read may name any of them.
                Err(_) => return,
            }
        }
        for path in files(&self.secrets) {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if is_ours(name) && !texts.iter().any(|text| text.contains(name)) {
                std::fs::remove_file(path).ok();
            }
        }
    }
}

impl Fresh {
    /// Where it is now.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it the document's name, unless that is not `base` any more, which is kept as that of `revision`.
    pub(super) fn name(mut self, base: &str, revision: u64) -> std::result::Result<(), Refused> {
        if !text(&self.target).is_ok_and(|text| text == base) {
            let message = "the document was changed by hand at this moment";
            return Err(Refused { message: message.to_owned(), ..Refused::default() });
        }
        let keep = || -> std::io::Result<()> {
            private_dir(&self.paper.before).map_err(std::io::Error::other)?;
            write(&self.paper.before.join(format!("{revision}.toml")), base, None)?;
            sync_dir(&self.paper.before)
        };
        let kept = |e| Refused::from(&Error::io("the node cannot keep the document of before", &self.paper.before, e));
        keep().map_err(kept)?;
        std::fs::rename(&self.path, &self.target).map_err(|e| self.paper.refused(&e))?;
        self.named = true;
        // It is in place; that it survives a power cut can only be wished for.
        if let Err(e) = sync_dir(self.target.parent().unwrap_or(Path::new("."))) {
            tracing::error!("the changed cameras document may not survive a power cut: {e}");
        }
        Ok(())
    }
}

/// Where the text that is to become `target` is written.
fn beside(target: &Path) -> PathBuf {
    let name = target.file_name().and_then(|n| n.to_str()).unwrap_or("cameras.toml");
    target.with_file_name(format!(".{name}.new"))
}

/// Whether it is the name of a file that a change makes: `<camera>.<stream>.<revision>`.
fn is_ours(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let [_, stream, revision] = parts[..] else { return false };
    ["detect", "record", "detect-url", "record-url"].contains(&stream)
        && revision.starts_with(|c: char| c.is_ascii_digit())
}

fn files(directory: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Writes a file that only this user can read, or whoever can read `like`, and syncs it.
fn write(path: &Path, text: &str, like: Option<&Path>) -> std::io::Result<()> {
    // Not over what is there: that may have other readers.
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != IoKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    if let Some(like) = like {
        let like = std::fs::metadata(like)?;
        // Only root may give it away; a file of ours is ours before and after.
        fchown(&file, Some(like.uid()), Some(like.gid())).ok();
        file.set_permissions(Permissions::from_mode(like.mode() & 0o777))?;
    }
    file.sync_all()
}

fn sync_dir(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}
