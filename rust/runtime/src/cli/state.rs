//! `state`: one container as JSON (runtime.md, "Query State").

use serde_json::{Value, json};

use super::args::Args;
use super::{Command, Context};
use crate::error::Result;
use crate::spec::Spec;
use crate::state::{Entry, Record, Status};

pub const COMMAND: Command = Command {
    name: "state",
    usage: "ID",
    help: "print the state of a container as JSON",
    takes: (1, 1),
    run,
    ..Command::DEFAULT
};

fn run(context: &Context, args: Args) -> Result<u8> {
    let entry = Entry::open(&context.root, args.id()?)?;
    let record = entry.record()?;
    let text = value(&record, &entry.spec()?, entry.status(&record));
    println!("{text:#}");
    Ok(0)
}

/// The state as `state` and `list` print it.
pub fn value(record: &Record, spec: &Spec, status: Status) -> Value {
    // A pid that is no longer the container's must not be acted on.
    let pid = if status == Status::Stopped {
        0
    } else {
        record.pid
    };
    let mut state = json!({
        "ociVersion": spec.version(),
        "id": record.id,
        "pid": pid,
        "status": status.name(),
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "owner": "",
    });
    if let Some(annotations) = spec.annotations().as_ref().filter(|all| !all.is_empty()) {
        state["annotations"] = json!(annotations);
    }
    state
}
