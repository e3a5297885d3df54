//! `list`: all containers below `--root`.

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
    words: usize::MAX,
    enters: false,
    run,
};

const FLAGS: &[Flag] = &[
    value("format", Some('f'), "table or json"),
    switch("quiet", Some('q'), "ids only"),
];

fn run(context: &Context, args: Args) -> Result<u8> {
    let ids = list(&context.root);
    if args.has("quiet") {
        ids.iter().for_each(|id| println!("{id}"));
        return Ok(0);
    }
    // A container that is just being made or deleted is left out.
    let states: Vec<Value> = ids
        .iter()
        .filter_map(|id| describe(context, id).ok())
        .collect();
    match args.value("format").unwrap_or("table") {
        "json" => println!("{}", Value::Array(states)),
        "table" => {
            println!(
                "{:<24} {:>8} {:<9} {:<40} CREATED",
                "ID", "PID", "STATUS", "BUNDLE"
            );
            for one in states {
                let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
                println!(
                    "{:<24} {:>8} {:<9} {:<40} {}",
                    text("id"),
                    one["pid"],
                    text("status"),
                    text("bundle"),
                    text("created")
                );
            }
        }
        other => {
            return Err(Error::invalid(format!(
                "--format {other:?} is neither table nor json"
            )));
        }
    }
    Ok(0)
}

fn describe(context: &Context, id: &str) -> Result<Value> {
    let entry = Entry::open(&context.root, id)?;
    let record = entry.record()?;
    Ok(state::value(&record, &entry.spec()?, entry.status(&record)))
}
