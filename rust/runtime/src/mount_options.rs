//! Mount options of the runtime spec (config.md, "Linux mount options") as the kernel's numbers.

use pyd_sys::mount::{MountAttr, attr};

use crate::error::{Error, Result};

/// An extension of pyd's.
const SUBPATH: &str = "dev.pyd.subpath=";

/// What the option list of one mount says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// `bind` (`Some(false)`) or `rbind` (`Some(true)`).
    pub bind: Option<bool>,
    /// Attributes of the mount itself.
    pub attributes: MountAttr,
    /// Attributes of the mount and of everything below it.
    pub recursive: MountAttr,
    /// `MS_SHARED`, ... and whether for everything below as well, in the order given.
    pub propagation: Vec<(u64, bool)>,
    /// `idmap` (`Some(false)`) or `ridmap` (`Some(true)`).
    pub idmap: Option<bool>,
    /// Change the mount that is already there.
    pub remount: bool,
    /// Fill the tmpfs with what the directory below it holds.
    pub copy_up: bool,
    /// `dev.pyd.subpath=PATH`: not the source but what lies at PATH in it, links resolved inside of the source.
    pub subpath: Option<String>,
    /// Options of the filesystem: `key` or `key=value`.
    pub data: Vec<(String, Option<String>)>,
}

impl MountOptions {
    /// Parses the list.
    pub fn parse(options: &[String]) -> Result<Self> {
        let mut parsed = Self::default();
        for option in options {
            parsed.add(option)?;
        }
        Ok(parsed)
    }

    fn add(&mut self, option: &str) -> Result<()> {
        if let Some(path) = option.strip_prefix(SUBPATH) {
            self.subpath = Some(path.to_owned());
            return Ok(());
        }
        match option {
            "defaults" | "" => {}
            "bind" => self.bind = Some(false),
            "rbind" => self.bind = Some(true),
            "idmap" => self.idmap = Some(false),
            "ridmap" => self.idmap = Some(true),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            _ => {
                if let Some(propagation) = propagation(option) {
                    self.propagation.push(propagation);
                } else if let Some((set, clear)) = attribute(option) {
                    change(&mut self.attributes, set, clear);
                } else if let Some((set, clear)) = option.strip_prefix('r').and_then(attribute) {
                    change(&mut self.recursive, set, clear);
                } else {
                    self.data(option)?;
                }
            }
        }
        Ok(())
    }

    fn data(&mut self, option: &str) -> Result<()> {
        let (key, value) = match option.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (option, None),
        };
        if key.is_empty() {
            return Err(Error::invalid(format!(
                "mount option \"{option}\" has no name"
            )));
        }
        // Names that mount(8) knows and the kernel's parser does not: they change nothing for a container.
        if value.is_none()
            && [
                "loud",
                "silent",
                "noiversion",
                "iversion",
                "acl",
                "noacl",
                "norelatime",
            ]
            .contains(&key)
        {
            return Ok(());
        }
        self.data.push((key.to_owned(), value));
        Ok(())
    }
}

/// `MS_*` and recursion of a propagation option.
#[must_use]
pub fn propagation(option: &str) -> Option<(u64, bool)> {
    Some(match option {
        "private" => (libc::MS_PRIVATE, false),
        "rprivate" => (libc::MS_PRIVATE, true),
        "slave" => (libc::MS_SLAVE, false),
        "rslave" => (libc::MS_SLAVE, true),
        "shared" => (libc::MS_SHARED, false),
        "rshared" => (libc::MS_SHARED, true),
        "unbindable" => (libc::MS_UNBINDABLE, false),
        "runbindable" => (libc::MS_UNBINDABLE, true),
        _ => return None,
    })
}

/// Bits to set and to clear.
fn attribute(option: &str) -> Option<(u64, u64)> {
    Some(match option {
        "ro" => (attr::RDONLY, 0),
        "rw" => (0, attr::RDONLY),
        "nosuid" => (attr::NOSUID, 0),
        "suid" => (0, attr::NOSUID),
        "nodev" => (attr::NODEV, 0),
        "dev" => (0, attr::NODEV),
        "noexec" => (attr::NOEXEC, 0),
        "exec" => (0, attr::NOEXEC),
        "nosymfollow" => (attr::NOSYMFOLLOW, 0),
        "symfollow" => (0, attr::NOSYMFOLLOW),
        "nodiratime" => (attr::NODIRATIME, 0),
        "diratime" => (0, attr::NODIRATIME),
        "noatime" => (attr::NOATIME, attr::ATIME_MASK),
        "relatime" => (attr::RELATIME, attr::ATIME_MASK),
        "atime" | "nostrictatime" => (attr::RELATIME, attr::ATIME_MASK),
        "strictatime" => (attr::STRICTATIME, attr::ATIME_MASK),
        _ => return None,
    })
}

/// The last word counts: `ro,rw` is `rw`.
fn change(attributes: &mut MountAttr, set: u64, clear: u64) {
    attributes.set = attributes.set & !clear | set;
    attributes.clear = attributes.clear & !set | clear;
    if clear == attr::ATIME_MASK {
        // The kernel wants the whole field cleared when a mode is set.
        attributes.clear |= attr::ATIME_MASK;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> MountOptions {
        MountOptions::parse(&options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn attributes_recursion_and_data() {
        let all = parse(&[
            "rbind", "ro", "rro", "rnosuid", "rprivate", "size=64k", "noswap", "mode=755",
        ]);
        assert_eq!(all.bind, Some(true));
        assert_eq!(all.attributes.set, attr::RDONLY);
        assert_eq!(all.recursive.set, attr::RDONLY | attr::NOSUID);
        assert_eq!(all.propagation, [(libc::MS_PRIVATE, true)]);
        assert_eq!(all.data.len(), 3);
    }

    #[test]
    fn the_last_word_counts() {
        assert_eq!(
            parse(&["ro", "rw"]).attributes,
            MountAttr {
                clear: attr::RDONLY,
                ..MountAttr::default()
            }
        );
        let atime = parse(&["noatime", "relatime"]).attributes;
        assert_eq!((atime.set, atime.clear), (0, attr::ATIME_MASK));
        let noatime = parse(&["relatime", "noatime"]).attributes;
        assert_eq!(
            (noatime.set, noatime.clear),
            (attr::NOATIME, attr::ATIME_MASK)
        );
    }
}
