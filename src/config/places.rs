//! Which files the two configuration files name, for whoever copies or restores a site. It resolves no secret and checks
//! nothing else: a site whose passwords are missing can be restored all the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{CLIPS, Document};
use crate::base::{Error, ErrorKind, Result};

/// Files that hold certificates and keys: table path and key.
const TLS: [(&[&str], &str); 7] = [
    (&["node", "mqtt"], "ca"),
    (&["node", "link"], "ca"),
    (&["centre", "mqtt"], "ca"),
    (&["centre", "link"], "cert"),
    (&["centre", "link"], "key"),
    (&["centre", "web"], "cert"),
    (&["centre", "web"], "key"),
];

/// Everything as it is written in the files: relative paths are relative to the directory of `wardwatch.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    pub ward: String,
    pub node: Option<NodePlaces>,
    /// The centre's `state_dir`.
    pub centre: Option<PathBuf>,
    /// The centre's directory of clips, or its bucket.
    pub centre_clips: Option<PathBuf>,
    /// The broker's `state_dir`.
    pub broker: Option<PathBuf>,
    /// Files of passwords, certificates and keys, in order and once each.
    pub keys: BTreeSet<PathBuf>,
    /// Secrets that no file of a known place holds, as they are written: `${NAME}`, or `file:` with a path that begins
    /// wherever the program was started.
    pub elsewhere: BTreeSet<String>,
}

/// Where a node keeps things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlaces {
    pub name: String,
    pub state_dir: PathBuf,
    pub cameras: PathBuf,
    pub recordings: PathBuf,
    pub clips: PathBuf,
}

impl Places {
    /// What `site`, the text of `wardwatch.toml`, names; `path` is for messages.
    ///
    /// # Errors
    /// `Config` when it is not such a file.
    pub fn of(site: &str, path: &Path) -> Result<Self> {
        let table = parse(site, path)?;
        let missing = |what: &str| Error::new(ErrorKind::Config, format!("{what} is missing")).at(path.display());
        let mut places = Self { ward: text(&table, &["site"], "ward").unwrap_or_default(), ..Self::default() };
        if table.contains_key("node") {
            let state_dir = dir(&table, &["node"], "state_dir").ok_or_else(|| missing("[node] state_dir"))?;
            let recordings = dir(&table, &["record"], "dir").unwrap_or_else(|| state_dir.join("record"));
            places.node = Some(NodePlaces {
                name: text(&table, &["node"], "name").unwrap_or_default(),
                cameras: dir(&table, &["node"], "cameras").unwrap_or_else(|| "cameras.toml".into()),
                clips: recordings.join(CLIPS),
                recordings,
                state_dir,
            });
        }
        if table.contains_key("centre") {
            let state_dir = dir(&table, &["centre"], "state_dir").ok_or_else(|| missing("[centre] state_dir"))?;
            let clips = dir(&table, &["centre"], "clips").unwrap_or_else(|| state_dir.join("clips"));
            (places.centre, places.centre_clips) = (Some(state_dir), Some(clips));
        }
        if table.contains_key("broker") {
            let state_dir = dir(&table, &["broker"], "state_dir");
            places.broker = Some(state_dir.ok_or_else(|| missing("[broker] state_dir"))?);
        }
        places.keys.extend(TLS.iter().filter_map(|(tables, key)| dir(&table, tables, key)));
        places.secrets(&Value::Table(table));
        Ok(places)
    }

    /// Adds what `cameras`, the text of `cameras.toml`, names.
    ///
    /// # Errors
    /// `Config` when it is not such a file.
    pub fn with_cameras(mut self, cameras: &str, path: &Path) -> Result<Self> {
        self.secrets(&Value::Table(parse(cameras, path)?));
        Ok(self)
    }

    fn secrets(&mut self, value: &Value) {
        match value {
            Value::String(text) => match text.strip_prefix("file:").map(Path::new) {
                Some(file) if file.is_absolute() => drop(self.keys.insert(file.to_owned())),
                None if !(text.starts_with("${") && text.ends_with('}')) => {}
                _ => drop(self.elsewhere.insert(text.clone())),
            },
            Value::Array(values) => values.iter().for_each(|v| self.secrets(v)),
            Value::Table(table) => table.values().for_each(|v| self.secrets(v)),
            _ => {}
        }
    }
}

fn parse(text: &str, path: &Path) -> Result<Table> {
    Document { path: path.to_owned(), text: text.to_owned() }.parse()
}

fn text(table: &Table, tables: &[&str], key: &str) -> Option<String> {
    let mut inner = table;
    for name in tables {
        inner = inner.get(*name)?.as_table()?;
    }
    inner.get(key)?.as_str().map(str::to_owned)
}

fn dir(table: &Table, tables: &[&str], key: &str) -> Option<PathBuf> {
    text(table, tables, key).map(PathBuf::from)
}
