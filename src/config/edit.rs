//! `cameras.toml` changed by somebody who is not at this machine: a table of it as JSON comes in and becomes text again,
//! and what goes out holds no password and no address that may have one. Pure: whoever calls it reads and writes the files.
//!
//! Only tables that change are written anew; the technician's comments and order stay. A password that comes in goes into a
//! file of its own, never into the document, and one that is kept never goes to another host, port or user.

mod locate;
mod merge;
mod stream;
mod widen;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use toml_edit::{DocumentMut, Table};

pub use locate::{Refused, locate};
pub use widen::{Widened, Widening, widened};

use super::{CamerasDocument, Secret};
use crate::base::types::is_name;

/// A table of the document as JSON.
pub type Settings = Map<String, Value>;

/// The tables of a camera that hold a stream.
const STREAMS: [&str; 2] = ["detect", "record"];
/// What comes in may be nested so deep; a schedule's windows' days need five.
const MAX_DEPTH: usize = 8;
/// Letters of a text that comes in.
const MAX_TEXT: usize = 2000;
/// Bytes of the whole document: some thousand cameras.
const MAX_DOCUMENT: usize = 1 << 20;

/// The document in force and its text.
#[derive(Clone, Copy, Debug)]
pub struct InForce<'a> {
    pub text: &'a str,
    pub document: &'a CamerasDocument,
}

/// What the document says, fit to leave the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    pub revision: u64,
    pub cameras: Vec<Settings>,
    pub schedules: Vec<Settings>,
}

/// One change.
#[derive(Clone)]
pub enum Edit {
    /// A camera, new or in place of the one with its `id`.
    Put(Settings),
    Remove(String),
    /// A schedule, new or in place of the one with its `name`.
    PutSchedule(Settings),
    RemoveSchedule(String),
}

/// A changed document, to be validated as any other before it is put in force.
#[derive(Clone, Debug)]
pub struct Changed {
    pub text: String,
    pub revision: u64,
    /// To be written before the text is.
    pub secrets: Vec<SecretFile>,
}

/// A password, or an address that may hold one, and its file.
#[derive(Clone, Debug)]
pub struct SecretFile {
    pub path: PathBuf,
    pub value: Secret,
}

/// What `of` says. No password is in it, and no address that may hold one.
///
/// # Errors
/// When the text is not the document's.
pub fn describe(of: InForce<'_>) -> Result<Described, Refused> {
    let tables = parsed(of.text)?;
    let mut cameras = Vec::new();
    for raw in listed(tables.as_table(), "camera") {
        cameras.push(without_secrets(raw, of.document)?);
    }
    Ok(Described { revision: of.document.revision, cameras, schedules: listed(tables.as_table(), "schedule") })
}

fn without_secrets(mut raw: Settings, document: &CamerasDocument) -> Result<Settings, Refused> {
    let id = raw.get("id").and_then(Value::as_str).unwrap_or_default();
    let camera = document.cameras.iter().find(|c| c.id.as_str() == id).ok_or_else(torn)?;
    for (role, source) in [("detect", Some(&camera.detect)), ("record", camera.record.as_ref())] {
        if let (Some(Value::Object(table)), Some(source)) = (raw.get_mut(role), source) {
            stream::withhold(table, source);
        }
    }
    Ok(raw)
}

/// `of` with `edits` and its next revision. Passwords that come in get files in `secrets`, an absolute path.
///
/// # Errors
/// Names camera and key of what cannot be, never a secret.
pub fn change(of: InForce<'_>, edits: Vec<Edit>, secrets: &Path) -> Result<Changed, Refused> {
    let revision = of.document.revision.saturating_add(1);
    let mut text: DocumentMut = parsed(of.text)?;
    let mut wanted = Tree::of(text.as_table());
    let mut safe = stream::Safe::new(secrets, revision, of.text);
    let mut touched = HashSet::new();
    for edit in edits {
        let (list, name) = edit.about()?;
        let about = |e: Refused| if list == CAMERA { e.of(&name) } else { e };
        if !touched.insert((list.array, name.clone())) {
            return Err(about(Refused::new(format!("`{name}` is changed twice at once"))));
        }
        match edit {
            Edit::Put(mut settings) => {
                sound_table(&mut settings).map_err(about)?;
                let kept = of.document.cameras.iter().find(|c| c.id.as_str() == name);
                let raw = wanted.find(CAMERA, &name);
                for role in STREAMS {
                    safe.stream(&name, role, &mut settings, raw, kept).map_err(about)?;
                }
                wanted.put(CAMERA, &name, settings.clone());
                merge::put(text.as_table_mut(), CAMERA, &name, &settings);
            }
            Edit::PutSchedule(mut settings) => {
                sound_table(&mut settings).map_err(about)?;
                wanted.put(SCHEDULE, &name, settings.clone());
                merge::put(text.as_table_mut(), SCHEDULE, &name, &settings);
            }
            Edit::Remove(_) | Edit::RemoveSchedule(_) => {
                if !wanted.remove(list, &name) {
                    return Err(about(Refused::new(format!("there is no {} `{name}`", list.array))));
                }
                merge::remove(text.as_table_mut(), list, &name);
            }
        }
    }
    merge::set(text.as_table_mut(), "revision", &Value::from(revision));
    let text = text.to_string();
    if text.len() > MAX_DOCUMENT {
        return Err(Refused::new("the document would be larger than 1 MiB"));
    }
    // What is written must be what was meant, whatever the layout of the text was.
    let written = parsed(&text)?;
    if Tree::of(written.as_table()) != wanted {
        return Err(Refused::new("the change cannot be written into this document as it is laid out")
            .hint("change cameras.toml on the node by hand"));
    }
    Ok(Changed { text, revision, secrets: safe.files })
}

/// An array of tables, and what its tables are called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct List {
    array: &'static str,
    key: &'static str,
}

const CAMERA: List = List { array: "camera", key: "id" };
const SCHEDULE: List = List { array: "schedule", key: "name" };

impl Edit {
    /// What it is about.
    fn about(&self) -> Result<(List, String), Refused> {
        let said = |settings: &Settings, key: &str| match settings.get(key).and_then(Value::as_str) {
            Some(text) => Ok(text.to_owned()),
            None => Err(Refused::new(format!("`{key}` is missing, or is no text")).key(key)),
        };
        let (list, name) = match self {
            Self::Put(settings) => (CAMERA, said(settings, CAMERA.key)?),
            Self::Remove(id) => (CAMERA, id.clone()),
            Self::PutSchedule(settings) => (SCHEDULE, said(settings, SCHEDULE.key)?),
            Self::RemoveSchedule(name) => (SCHEDULE, name.clone()),
        };
        // It becomes the name of a file.
        if list == CAMERA && !is_name(&name) {
            return Err(Refused::new("this is no camera id").key("id").hint("use 1 to 64 of a-z, 0-9 and -"));
        }
        if name.len() > MAX_TEXT || name.chars().any(char::is_control) {
            return Err(Refused::new("this is no name").key(list.key));
        }
        Ok((list, name))
    }
}

/// The document's lists as JSON, with its secrets: what is meant, whatever it looks like.
struct Tree {
    cameras: Vec<Settings>,
    schedules: Vec<Settings>,
}

impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &[Settings], b: &[Settings]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| merge::same_table(a, b))
        };
        same(&self.cameras, &other.cameras) && same(&self.schedules, &other.schedules)
    }
}

impl Tree {
    fn of(table: &Table) -> Self {
        Self { cameras: listed(table, CAMERA.array), schedules: listed(table, SCHEDULE.array) }
    }

    fn list(&mut self, list: List) -> &mut Vec<Settings> {
        if list == CAMERA { &mut self.cameras } else { &mut self.schedules }
    }

    fn find(&self, list: List, name: &str) -> Option<&Settings> {
        let tables = if list == CAMERA { &self.cameras } else { &self.schedules };
        tables.iter().find(|t| is_called(t, list, name))
    }

    fn put(&mut self, list: List, name: &str, settings: Settings) {
        let tables = self.list(list);
        match tables.iter_mut().find(|t| is_called(t, list, name)) {
            Some(table) => *table = settings,
            None => tables.push(settings),
        }
    }

    fn remove(&mut self, list: List, name: &str) -> bool {
        let tables = self.list(list);
        let before = tables.len();
        tables.retain(|t| !is_called(t, list, name));
        tables.len() < before
    }
}

fn is_called(table: &Settings, list: List, name: &str) -> bool {
    table.get(list.key).and_then(Value::as_str) == Some(name)
}

fn parsed(text: &str) -> Result<DocumentMut, Refused> {
    // The parser's own words quote the line, which may hold a password.
    text.parse().map_err(|_| torn())
}

fn torn() -> Refused {
    Refused::new("the document in force cannot be read").hint("send SIGHUP to the node and look at its log")
}

/// The tables of an array, as JSON.
fn listed(table: &Table, array: &str) -> Vec<Settings> {
    let tables = match table.get(array) {
        Some(item) => merge::json(item),
        None => return Vec::new(),
    };
    let Value::Array(tables) = tables else { return Vec::new() };
    let table = |value| match value {
        Value::Object(table) => Some(table),
        _ => None,
    };
    tables.into_iter().filter_map(table).collect()
}

/// Refuses what no table of the document can hold, and takes out what says nothing (`null`).
fn sound_table(table: &mut Settings) -> Result<(), Refused> {
    sound(table, &mut Vec::new())
}

fn sound(table: &mut Settings, path: &mut Vec<String>) -> Result<(), Refused> {
    table.retain(|_, value| !value.is_null());
    for (key, value) in table.iter_mut() {
        let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if key.is_empty() || key.len() > 64 || !key.chars().all(harmless) {
            return Err(Refused::new("a key has letters that no key has").at(path));
        }
        path.push(if path.is_empty() { key.clone() } else { format!(".{key}") });
        sound_value(value, path)?;
        path.pop();
    }
    Ok(())
}

fn sound_value(value: &mut Value, path: &mut Vec<String>) -> Result<(), Refused> {
    if path.len() > MAX_DEPTH {
        return Err(Refused::new("this is nested too deep").at(path));
    }
    match value {
        Value::Null => Err(Refused::new("a list has an empty place").at(path)),
        Value::Number(number) if number.as_i64().is_none() && number.as_f64().is_none_or(|n| n.abs() > 1e15) => {
            Err(Refused::new("this number is too large").at(path))
        }
        Value::Bool(_) | Value::Number(_) => Ok(()),
        Value::String(text) => sound_text(text).map_err(|e| e.at(path)),
        Value::Array(values) => {
            for (index, value) in values.iter_mut().enumerate() {
                path.push(format!("[{index}]"));
                sound_value(value, path)?;
                path.pop();
            }
            Ok(())
        }
        Value::Object(table) => sound(table, path),
    }
}

fn sound_text(text: &str) -> Result<(), Refused> {
    if text.chars().count() > MAX_TEXT {
        return Err(Refused::new(format!("this text has more than {MAX_TEXT} letters")));
    }
    if text.chars().any(char::is_control) {
        return Err(Refused::new("this text has letters that cannot be seen, or more than one line"));
    }
    // Whoever reads the document would open that file, or look the variable up: only who is at the machine says which.
    if text.starts_with("file:") || text.starts_with("${") {
        return Err(Refused::new("only cameras.toml on the node itself refers to a file or a variable")
            .hint("give the password or the address as it is; the node keeps it in a file of its own"));
    }
    Ok(())
}
