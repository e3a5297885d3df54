//! `list`: all containers below `--root`.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use super::args::{Args, Flag, switch, value};
use super::{Command, Context, state};
use crate::error::{Error, Result};
use crate::state::{Entry, list};

pub const COMMAND: Command = Command {
    name: "list",
    usage: "",
    help: "list the containers of this state directory",
    flags: FLAGS,
    takes: (0, 0),
    run,
    ..Command::DEFAULT
};

const FLAGS: &[Flag] = &[
    value("format", Some('f'), "table or json"),
    switch("quiet", Some('q'), "ids only"),
];

/// The table's columns and the keys of their values.
const COLUMNS: [(&str, &str); 6] = [
    ("ID", "id"),
    ("PID", "pid"),
    ("STATUS", "status"),
    ("BUNDLE", "bundle"),
    ("CREATED", "created"),
    ("OWNER", "owner"),
];

fn run(context: &Context, args: Args) -> Result<u8> {
    let format = args.value("format").unwrap_or("table");
    if !matches!(format, "table" | "json") {
        return Err(Error::invalid(format!(
            "invalid format option {format:?}: it is neither table nor json"
        )));
    }
    let mut states = Vec::new();
    for id in list(&context.root) {
        match describe(context, &id) {
            Ok(state) => states.push(state),
            // It is just being made or deleted, or was left by a crash.
            Err(error) => context.log.warn(&[format!("load container {id}: {error}")]),
        }
    }
    if args.has("quiet") {
        for state in &states {
            println!("{}", text(&state["id"]));
        }
        return Ok(0);
    }
    match format {
        // As runc: no containers are no list.
        "json" if states.is_empty() => println!("null"),
        "json" => println!("{}", Value::Array(states)),
        _ => print!("{}", table(&states)),
    }
    Ok(0)
}

/// Columns three blanks apart and at least twelve characters wide, the last one as it is (Go's text/tabwriter).
fn table(states: &[Value]) -> String {
    let title = COLUMNS.map(|(title, _)| title.to_owned());
    let rows = states
        .iter()
        .map(|state| COLUMNS.map(|(_, key)| text(&state[key])));
    let rows: Vec<_> = std::iter::once(title).chain(rows).collect();
    let widest = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 6] =
        std::array::from_fn(|column| widest(column).map_or(12, |width| 12.max(width + 3)));
    let line = |row: &[String; 6]| {
        let (last, cells) = row.split_last().unwrap_or((&row[0], &[]));
        let cells = cells.iter().zip(widths);
        let cells: String = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("{cells}{last}\n")
    };
    rows.iter().map(line).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn describe(context: &Context, id: &str) -> Result<Value> {
    let entry = Entry::open(&context.root, id)?;
    let record = entry.record()?;
    let mut state = state::value(&record, &entry.spec()?, entry.status(&record));
    if let Ok(metadata) = fs::metadata(entry.directory()) {
        state["owner"] = owner(metadata.uid()).into();
    }
    Ok(state)
}

/// Name of a user of this machine; its number, marked, when it has none.
fn owner(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}
