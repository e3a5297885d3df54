//! `checkpoint` and `restore`: known and refused by name, so that an engine that asks for them is told why.

use super::args::{Args, Flag, switch, value};
use super::{Command, Context};
use crate::error::{Error, Result};
use crate::state::Entry;

pub const CHECKPOINT: Command = Command {
    name: "checkpoint",
    usage: "ID",
    help: "not supported: always fails, and leaves the container running",
    flags: FLAGS,
    takes: (1, 1),
    run: checkpoint,
    ..Command::DEFAULT
};

pub const RESTORE: Command = Command {
    name: "restore",
    usage: "ID",
    help: "not supported: always fails",
    flags: FLAGS,
    takes: (1, 1),
    run: restore,
    ..Command::DEFAULT
};

/// Those of runc: an engine gives them before it can know.
const FLAGS: &[Flag] = &[
    value("image-path", None, "directory of the images"),
    value("work-path", None, "directory of logs"),
    value("parent-path", None, "images of a pre-dump"),
    switch("leave-running", None, "do not stop the container"),
    switch("tcp-established", None, "with open connections"),
    switch("tcp-skip-in-flight", None, "without half-open connections"),
    switch("link-remap", None, "with unlinked files"),
    switch("ext-unix-sk", None, "with unix sockets to outside"),
    switch("shell-job", None, "with a terminal of outside"),
    switch("lazy-pages", None, "memory on demand"),
    value(
        "status-fd",
        None,
        "descriptor that tells when lazy-pages is ready",
    ),
    value("page-server", None, "ADDRESS:PORT"),
    switch("file-locks", None, "with file locks"),
    switch("pre-dump", None, "memory only"),
    value("manage-cgroups-mode", None, "soft, full, strict or ignore"),
    value("empty-ns", None, "namespace whose properties are left out"),
    switch("auto-dedup", None, "without duplicate pages"),
    value("console-socket", None, "unix socket that gets the terminal"),
    value("bundle", Some('b'), "directory with config.json"),
    switch("detach", Some('d'), "do not wait for the end"),
    value("pid-file", None, "file for the pid"),
    switch("no-subreaper", None, "leave orphans to the caller"),
    switch("no-pivot", None, "move the root and chroot"),
    value("lsm-profile", None, "TYPE:NAME"),
    value("lsm-mount-context", None, "SELinux context of mounts"),
];

fn checkpoint(context: &Context, args: Args) -> Result<u8> {
    Entry::open(&context.root, args.id()?)?;
    Err(refusal("checkpoint"))
}

fn restore(_: &Context, args: Args) -> Result<u8> {
    args.id()?;
    Err(refusal("restore"))
}

fn refusal(name: &str) -> Error {
    Error::new(
        "checkpoint",
        format!("{name} is not supported by pyd-runtime"),
    )
    .hint("runc and crun do it with CRIU; \"features\" says so to engines")
}
