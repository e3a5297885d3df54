//! A mount made from layers (type `dev.pyd.layers`): what a step of a build sees of another stage, of an image or of
//! its context. An overlay like the root's, of which a part may be taken.
//!
//! The part's path is the image's: it is resolved inside of the overlay, once, and a detached copy of what is found
//! there goes to the destination as any bind mount does.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use nix::unistd::fchdir;
use pyd_sys::mount::{attach, clone_tree};
use pyd_sys::path::{normal, open_in_root};
use serde::Deserialize;

use crate::empty_layers;
use crate::error::{Error, Result};
use crate::rootfs::mount_overlay;
use crate::spec::{self, Overlay};
use crate::weakness;

/// The mount's type in config.json; an extension of pyd's.
pub const KIND: &str = "dev.pyd.layers";

/// The mount's source in config.json, as JSON text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    lower: Vec<PathBuf>,
    #[serde(default)]
    upper: Option<PathBuf>,
    #[serde(default)]
    work: Option<PathBuf>,
    /// Path inside of the overlay, of a directory or a file; without it, and when it is empty, the whole is mounted.
    #[serde(default)]
    subpath: Option<String>,
}

/// One mount from layers.
#[derive(Debug)]
pub struct LayerMount {
    overlay: Overlay,
    subpath: Option<String>,
    /// The overlay, where it had to be made in the parent.
    prepared: Option<Opened>,
}

/// A detached overlay, and the part of it that is wanted.
#[derive(Debug)]
struct Opened {
    mount: OwnedFd,
    part: Option<OwnedFd>,
}

impl LayerMount {
    /// Reads a mount's source; an error begins with the name of the field.
    pub fn parse(source: &str) -> Result<Self> {
        let Source {
            lower,
            upper,
            work,
            subpath,
        } = spec::read(source.as_bytes())?;
        let overlay = Overlay {
            lower,
            upper,
            work,
            volatile: false,
        };
        overlay.check()?;
        if subpath.as_ref().is_some_and(|path| path.contains('\0')) {
            return Err(Error::invalid("\"subpath\": contains a NUL byte"));
        }
        Ok(Self {
            overlay,
            subpath: subpath.filter(|path| !path.is_empty()),
            prepared: None,
        })
    }

    /// Parent: adds what the overlay lacks.
    pub fn complete(&mut self, bundle: &Path) -> Result<()> {
        empty_layers::fill_up(&mut self.overlay, bundle)
    }

    /// Parent: makes the overlay, where init would lack the power over the layers.
    pub fn prepare(&mut self) -> Result<()> {
        self.prepared = Some(self.open()?);
        Ok(())
    }

    /// Child: the detached tree to attach. `root` is the container's, which nothing walks by name yet.
    pub fn tree(&self, root: BorrowedFd<'_>) -> Result<OwnedFd> {
        let duplicate = |fd: &OwnedFd| {
            fd.try_clone()
                .map_err(|_| Error::os("mounts", "dup", Errno::EMFILE))
        };
        let opened;
        let Opened { mount, part } = match &self.prepared {
            Some(prepared) => prepared,
            None => {
                opened = self.open()?;
                &opened
            }
        };
        match part {
            None => duplicate(mount),
            Some(part) => copy_of(part, mount, root)
                .map_err(|e| Error::os("mounts", "copy a part of the layers", e)),
        }
    }

    fn open(&self) -> Result<Opened> {
        let mount = mount_overlay(&self.overlay)?;
        let pin = |path: &String| {
            let pinned = match weakness::is("subpath-by-name") {
                true => weakness::by_name(mount.as_fd(), &normal(Path::new(path)), false),
                false => open_in_root(mount.as_fd(), path.as_str(), OFlag::O_PATH),
            };
            pinned.map_err(|e| Error::at("mounts", "open", path, e).context("subpath"))
        };
        let part = self.subpath.as_ref().map(pin).transpose()?;
        Ok(Opened { mount, part })
    }
}

/// A detached copy of `part` of the detached `mount`.
///
/// Before Linux 6.15 only mounts of one's own namespace can be copied: it is there for that moment, on top of `root`,
/// whose descriptor still means what lies below. Nothing of that reaches the host, and init has one thread.
fn copy_of(part: &OwnedFd, mount: &OwnedFd, root: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let here = open(".", flags, Mode::empty())?;
    attach(mount, root)?;
    let copy = clone_tree(part.as_fd(), c"", false);
    // A mount is taken away by path only, and "." needs no other.
    let away = fchdir(mount).and_then(|()| umount2(".", MntFlags::MNT_DETACH));
    fchdir(here)?;
    away?;
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read() {
        let mount =
            LayerMount::parse(r#"{"lower":["/a","/b"],"upper":"/u","work":"/w","subpath":"x/y"}"#)
                .unwrap();
        assert_eq!(mount.overlay.lower, [Path::new("/a"), Path::new("/b")]);
        assert_eq!(mount.overlay.upper.as_deref(), Some(Path::new("/u")));
        assert_eq!(mount.subpath.as_deref(), Some("x/y"));
        LayerMount::parse(r#"{"lower":["/a"],"upper":null,"subpath":null}"#).unwrap();
    }

    #[test]
    fn a_wrong_source_names_the_field() {
        for (source, said) in [
            ("", "EOF"),
            ("[]", "invalid type: sequence"),
            ("/a", "expected value"),
            (r#"{"lower":["/a"]} x"#, "trailing characters"),
            (r#"{"upper":"/u","work":"/w"}"#, "lower: is missing"),
            (r#"{"lower":"/a"}"#, "lower: invalid type: string"),
            (r#"{"lower":["/a",3]}"#, "lower[1]: invalid type: integer"),
            (r#"{"lower":["/a","b"]}"#, "\"lower\": b is not absolute"),
            (
                r#"{"lower":["/a\u0000"]}"#,
                "\"lower\": /a\0 contains a NUL byte",
            ),
            (
                r#"{"lower":["/a"],"upper":"/u"}"#,
                "\"upper\" and \"work\" go together",
            ),
            (
                r#"{"lower":["/a"],"upper":"u","work":"/w"}"#,
                "\"upper\": u is not absolute",
            ),
            (
                r#"{"lower":["/a"],"upper":"/u","work":"w"}"#,
                "\"work\": w is not absolute",
            ),
            (
                r#"{"lower":["/a"],"subpath":"a\u0000"}"#,
                "\"subpath\": contains a NUL",
            ),
            (
                r#"{"lower":["/a"],"subpath":["a"]}"#,
                "subpath: invalid type: sequence",
            ),
            (
                r#"{"lower":["/a"],"volatile":true}"#,
                "volatile: unknown field",
            ),
            (r#"{"lower":["/a"],"lower":["/b"]}"#, "duplicate"),
        ] {
            let error = LayerMount::parse(source).expect_err(source);
            assert!(error.message.contains(said), "{source}: {error}");
        }
    }
}
