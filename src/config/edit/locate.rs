//! Why a change is refused, and where in a document an error points: the camera, and the key within its table.

use std::ops::Range;

use toml_edit::{Document, Item, Table, Value};

use crate::base::Error;

/// Letters of a sentence that goes out.
const MAX_SENTENCE: usize = 600;

/// Why not. No secret is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    pub camera: Option<String>,
    /// Where in the camera's table, for example `rule[0].zones`; in the document where no camera is named.
    pub key: Option<String>,
    pub message: String,
    pub hint: Option<String>,
}

impl Refused {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    pub(super) fn of(self, camera: &str) -> Self {
        Self { camera: Some(camera.to_owned()), ..self }
    }

    pub(super) fn key(self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self }
    }

    pub(super) fn at(self, path: &[String]) -> Self {
        if path.is_empty() { self } else { self.key(&path.concat()) }
    }

    /// Its key is one of the table `table`.
    pub(super) fn under(self, table: &str) -> Self {
        let key = self.key.as_ref().map_or(table.to_owned(), |key| format!("{table}.{key}"));
        self.key(&key)
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<&Error> for Refused {
    fn from(e: &Error) -> Self {
        let said = |text: &str| {
            let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
            visible.take(MAX_SENTENCE).collect::<String>()
        };
        Self {
            camera: e.of_camera().map(str::to_owned),
            key: None,
            message: said(e.message()),
            hint: e.mend().map(said),
        }
    }
}

/// `error`, which the reader of `text` gave, with the camera and the key that it points at.
pub fn locate(text: &str, error: &Error) -> Refused {
    let mut out = Refused::from(error);
    let Some(offset) = error.place().and_then(|place| offset(text, place)) else { return out };
    let Ok(document) = Document::parse(text) else { return out };
    let mut places = Vec::new();
    walk(document.as_table(), "", &mut places);
    // The last that begins there or before.
    let Some((_, path)) = places.into_iter().filter(|(begin, _)| *begin <= offset).max_by_key(|(begin, _)| *begin)
    else {
        return out;
    };
    let Some((index, key)) = path.strip_prefix("camera[").and_then(|rest| rest.split_once(']')) else {
        out.key = Some(path);
        return out;
    };
    let cameras = document.as_table().get("camera");
    let id = index.parse::<usize>().ok().and_then(|i| cameras?.get(i)?.get("id")?.as_str());
    out.camera = out.camera.or(id.map(str::to_owned));
    out.key = Some(key.trim_start_matches('.').to_owned()).filter(|k| !k.is_empty());
    out
}

/// Where `…:line:column` is in `text`.
fn offset(text: &str, place: &str) -> Option<usize> {
    let mut numbers = place.rsplitn(3, ':');
    let column: usize = numbers.next()?.parse().ok()?;
    let line: usize = numbers.next()?.parse().ok()?;
    let begin: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    Some(begin + column.checked_sub(1)?)
}

fn walk(table: &Table, path: &str, out: &mut Vec<(usize, String)>) {
    for (key, item) in table.iter() {
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        begin(table.key(key).and_then(|k| k.span()), &path, out);
        match item {
            Item::Table(table) => {
                begin(table.span(), &path, out);
                walk(table, &path, out);
            }
            Item::ArrayOfTables(tables) => {
                for (index, table) in tables.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    begin(table.span(), &path, out);
                    walk(table, &path, out);
                }
            }
            Item::Value(value) => walk_value(value, &path, out),
            Item::None => {}
        }
    }
}

fn walk_value(value: &Value, path: &str, out: &mut Vec<(usize, String)>) {
    begin(value.span(), path, out);
    match value {
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate().filter(|(_, v)| v.is_inline_table()) {
                walk_value(value, &format!("{path}[{index}]"), out);
            }
        }
        Value::InlineTable(table) => {
            for (key, value) in table.iter() {
                let path = format!("{path}.{key}");
                begin(table.key(key).and_then(|k| k.span()), &path, out);
                walk_value(value, &path, out);
            }
        }
        _ => {}
    }
}

fn begin(span: Option<Range<usize>>, path: &str, out: &mut Vec<(usize, String)>) {
    out.extend(span.map(|span| (span.start, path.to_owned())));
}
