//! The directory of clips: files named by their content, `<aa>/<sha256>.mp4`. A clip is made in a workspace beside them
//! and takes its name when it is whole and on disk; only then may a row name it. What no row names goes at the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::io::{ErrorKind as Os, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::read::sync_directory;
use crate::base::{Error, Result};

/// Workspaces begin with it; nothing in them counts.
const WORK: &str = ".wardwatch-work-";

/// A file that changed so recently may be about to get its row.
const FRESH_MS: i64 = 60_000;

/// A directory within `dir` to make a clip in; it goes with the value.
pub fn workspace(dir: &Path) -> Result<tempfile::TempDir> {
    let failed = |e| Error::io("the directory of clips cannot be used", dir, e);
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    tempfile::Builder::new().prefix(WORK).tempdir_in(dir).map_err(failed)
}

/// Size and SHA-256 of `file`, read anew.
pub fn fingerprint(file: &Path) -> Result<(u64, String)> {
    let io = |e| Error::io("cannot read the clip", file, e);
    let mut from = std::fs::File::open(file).map_err(io)?;
    let (mut hash, mut bytes, mut chunk) = (Sha256::new(), 0, vec![0; 256 << 10]);
    loop {
        let n = from.read(&mut chunk).map_err(io)?;
        if n == 0 {
            return Ok((bytes, hex::encode(hash.finalize())));
        }
        hash.update(&chunk[..n]);
        bytes += n as u64;
    }
}

/// Gives `made`, which is on disk, its name below `dir`; returns that. On disk, too, when this returns.
pub fn place(dir: &Path, made: &Path, sha256: &str) -> Result<String> {
    let shelf = dir.join(&sha256[..2]);
    let failed = |e| Error::io("the clip cannot be put in its place", &shelf, e);
    if !shelf.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(&shelf).map_err(failed)?;
        for above in [Some(dir), dir.parent()].into_iter().flatten() {
            sync_directory(above)?;
        }
    }
    let path = format!("{}/{sha256}.mp4", &sha256[..2]);
    std::fs::rename(made, dir.join(&path)).map_err(failed)?;
    sync_directory(&shelf)?;
    Ok(path)
}

/// Removes a clip's file, whose row has gone before; one that is not there counts as removed.
pub fn remove(dir: &Path, path: &str) -> Result<()> {
    let file = dir.join(path);
    match std::fs::remove_file(&file) {
        Err(e) if e.kind() == Os::NotFound => Ok(()),
        Err(e) => Err(Error::io("a clip cannot be removed", &file, e)),
        Ok(()) => file.parent().map_or(Ok(()), sync_directory),
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A row without its file.
    NoFile { id: i64, path: String, held: bool },
    /// A clip that no row names.
    NoRow { path: String },
    /// Its bytes are not what its name says.
    Damaged { path: String },
    /// A workspace of a run that was cut off.
    Temporary { path: String },
    /// Not of wardwatch's making; it is left alone.
    Foreign { path: String },
}

impl Problem {
    /// Whether `--repair` can do something about it.
    pub fn mendable(&self) -> bool {
        !matches!(self, Self::Damaged { .. } | Self::Foreign { .. })
    }
}

/// What a row says of a file.
#[derive(Clone, Debug)]
pub struct Named {
    pub id: i64,
    pub path: String,
    pub held: bool,
}

/// Compares `dir` with the rows that [`Named`] are; `live`: a node is at work, what is fresh is no problem. `hashes`: reads
/// every file.
pub fn compare(dir: &Path, rows: &[Named], live: bool, hashes: bool, now_ms: i64) -> Result<Vec<Problem>> {
    let (files, mut problems) = list(dir, live, now_ms)?;
    let known: BTreeSet<&str> = rows.iter().map(|r| r.path.as_str()).collect();
    for row in rows.iter().filter(|r| !files.contains_key(&r.path) && !dir.join(&r.path).exists()) {
        problems.push(Problem::NoFile { id: row.id, path: row.path.clone(), held: row.held });
    }
    for (path, fresh) in files {
        if !known.contains(path.as_str()) {
            if !(live && fresh) {
                problems.push(Problem::NoRow { path });
            }
        } else if hashes {
            match fingerprint(&dir.join(&path)) {
                Ok((_, sha256)) if path.ends_with(&format!("/{sha256}.mp4")) => {}
                // Retention took it since.
                Err(_) if !dir.join(&path).exists() => {}
                _ => problems.push(Problem::Damaged { path }),
            }
        }
    }
    Ok(problems)
}

/// The clips in `dir` and whether each changed just now, and what else is there.
fn list(dir: &Path, live: bool, now_ms: i64) -> Result<(BTreeMap<String, bool>, Vec<Problem>)> {
    let (mut files, mut others) = (BTreeMap::new(), Vec::new());
    for (name, entry) in entries(dir)? {
        if name.starts_with(WORK) {
            if !(live && fresh(&entry, now_ms)) {
                others.push(Problem::Temporary { path: name });
            }
            continue;
        }
        if !is_shelf(&name) || !entry.is_dir() {
            others.push(Problem::Foreign { path: name });
            continue;
        }
        for (file, entry) in entries(&dir.join(&name))? {
            let path = format!("{name}/{file}");
            let ours = file.strip_suffix(".mp4").is_some_and(|hash| hash.len() == 64 && hash.starts_with(&name));
            if ours {
                files.insert(path, fresh(&entry, now_ms));
            } else {
                others.push(Problem::Foreign { path });
            }
        }
    }
    Ok((files, others))
}

fn is_shelf(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
}

fn fresh(entry: &std::fs::Metadata, now_ms: i64) -> bool {
    changed(entry).is_some_and(|ms| now_ms - ms < FRESH_MS)
}

fn changed(entry: &std::fs::Metadata) -> Option<i64> {
    let changed = entry.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(changed.as_millis()).ok()
}

/// Whether `file` changed within `age_ms` before `now_ms`.
pub fn is_recent(file: &Path, now_ms: i64, age_ms: i64) -> bool {
    std::fs::metadata(file).ok().and_then(|m| changed(&m)).is_some_and(|ms| now_ms.saturating_sub(ms) < age_ms)
}

fn entries(dir: &Path) -> Result<Vec<(String, std::fs::Metadata)>> {
    let io = |e| Error::io("cannot list the clips", dir, e);
    let listed = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == Os::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(io)?,
    };
    let mut out = Vec::new();
    for entry in listed {
        let entry = entry.map_err(io)?;
        // Gone since: retention deletes while others look.
        let Ok(metadata) = entry.metadata() else { continue };
        out.push((entry.file_name().to_string_lossy().into_owned(), metadata));
    }
    Ok(out)
}

/// Removes what a problem is about, where that is all there is to do: a clip without a row, a workspace.
pub fn clear(dir: &Path, problem: &Problem) -> Result<()> {
    match problem {
        Problem::NoRow { path } => remove(dir, path),
        Problem::Temporary { path } => {
            let work: PathBuf = dir.join(path);
            std::fs::remove_dir_all(&work).map_err(|e| Error::io("a workspace cannot be removed", &work, e))
        }
        Problem::NoFile { .. } | Problem::Damaged { .. } | Problem::Foreign { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_placed_is_found_and_what_no_row_names_is_cleared() {
        let base = tempfile::tempdir().expect("a directory");
        let dir = base.path().join(".clips");
        let work = workspace(&dir).expect("writable");
        let made = work.path().join("a.mp4");
        std::fs::write(&made, "pictures").expect("writable");
        let (bytes, sha256) = fingerprint(&made).expect("readable");
        let path = place(&dir, &made, &sha256).expect("writable");
        assert_eq!((bytes, path.as_str()), (8, format!("{}/{sha256}.mp4", &sha256[..2]).as_str()));
        let row = Named { id: 7, path: path.clone(), held: true };
        let check = |rows: &[Named], live| compare(&dir, rows, live, true, i64::MAX / 2).expect("readable");
        let left = check(std::slice::from_ref(&row), false);
        assert!(matches!(&left[..], [Problem::Temporary { .. }]), "{left:?}");
        drop(work);
        assert_eq!(check(std::slice::from_ref(&row), false), []);
        std::fs::write(dir.join(&path), "pixtures").expect("writable");
        assert_eq!(check(std::slice::from_ref(&row), false), [Problem::Damaged { path: path.clone() }]);
        let unknown = check(&[], false);
        assert_eq!(unknown, [Problem::NoRow { path: path.clone() }]);
        clear(&dir, &unknown[0]).expect("writable");
        assert_eq!(check(&[row], false), [Problem::NoFile { id: 7, path, held: true }]);
    }
}
