//! Names in a layer: from what the archive says to a relative path that stays inside.
use crate::error::{Error, Result, show};
use crate::tar::MAX_NAME;

/// Prefix of a whiteout, image-spec layer.md "Representing Changes".
pub const WHITEOUT: &[u8] = b".wh.";
/// Prefix of aufs' own bookkeeping, which Docker's first storage driver left in layers.
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What the name of an entry asks for. Paths are relative, without `.`, `..` and doubled slashes; "" is the root.
#[derive(Debug, PartialEq, Eq)]
pub enum Name {
    /// Make this.
    Path(Vec<u8>),
    /// Hide this path of the layers below.
    Whiteout(Vec<u8>),
    /// Hide everything that the layers below have in this directory.
    Opaque(Vec<u8>),
    /// Nothing.
    Ignored,
}

impl Name {
    pub fn of_entry(raw: &[u8]) -> Result<Self> {
        let path = normal(raw)?;
        let (parent, base) = split(&path);
        if parent
            .split(|&byte| byte == b'/')
            .any(|part| part.starts_with(AUFS))
        {
            return Ok(Self::Ignored);
        }
        if parent
            .split(|&byte| byte == b'/')
            .any(|part| part.starts_with(WHITEOUT))
        {
            return Err(invalid(raw, "is below a whiteout"));
        }
        if base == OPAQUE {
            return Ok(Self::Opaque(parent.to_vec()));
        }
        if base.starts_with(AUFS) {
            return Ok(Self::Ignored);
        }
        let Some(hidden) = base.strip_prefix(WHITEOUT) else {
            return Ok(Self::Path(path));
        };
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(invalid(raw, "is a whiteout of no file"));
        }
        Ok(Self::Whiteout(join(parent, hidden)))
    }

    /// The same in an archive that is no layer: no name means anything but itself.
    pub fn of_plain_entry(raw: &[u8]) -> Result<Self> {
        normal(raw).map(Self::Path)
    }

    /// The target of a hard link: a path in the image.
    pub fn of_link(raw: &[u8], entry: &[u8]) -> Result<Vec<u8>> {
        let path = normal(raw).map_err(|_| {
            Error::corrupt(format!(
                "layer entry {}: its hard link to {} escapes the layer",
                show(entry),
                show(raw)
            ))
        })?;
        if path.is_empty() || split(&path).1.starts_with(WHITEOUT) {
            return Err(Error::corrupt(format!(
                "layer entry {}: a hard link to {:?} cannot be",
                show(entry),
                show(raw)
            )));
        }
        Ok(path)
    }
}

/// An absolute path counts from the root of the layer, as in Docker. `a/../b` is `b`: no symbolic link is ever
/// followed, so this is what the kernel would find. What climbs above the root is refused.
fn normal(raw: &[u8]) -> Result<Vec<u8>> {
    let mut path: Vec<u8> = Vec::with_capacity(raw.len());
    if raw.is_empty() {
        return Err(Error::corrupt("layer entry without a name"));
    }
    if raw.len() > MAX_NAME {
        return Err(invalid(raw, "has a name that is too long"));
    }
    for part in raw.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if path.is_empty() {
                    return Err(invalid(raw, "escapes the layer"));
                }
                let parent = split(&path).0.len();
                path.truncate(parent);
            }
            part => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
        }
    }
    Ok(path)
}

fn invalid(raw: &[u8], what: &str) -> Error {
    Error::corrupt(format!("layer entry {} {what}", show(raw)))
}

/// Parent directory ("" for the root) and last component.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

pub fn join(parent: &[u8], base: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        base.to_vec()
    } else {
        [parent, b"/", base].concat()
    }
}

/// Whether `path` is `directory` or something in it.
pub fn is_within(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| directory.is_empty() || rest.is_empty() || rest[0] == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(raw: &[u8]) -> Option<Vec<u8>> {
        match Name::of_entry(raw) {
            Ok(Name::Path(path)) => Some(path),
            _ => None,
        }
    }

    #[test]
    fn paths() {
        assert_eq!(path(b"./a//b/./c/"), Some(b"a/b/c".to_vec()));
        assert_eq!(path(b"/etc/passwd"), Some(b"etc/passwd".to_vec()));
        assert_eq!(path(b"a/../b"), Some(b"b".to_vec()));
        assert_eq!(path(b"a/b/../../c"), Some(b"c".to_vec()));
        assert_eq!(path(b"./"), Some(Vec::new()));
        assert_eq!(path(b"a/.."), Some(Vec::new()));
        for escape in [&b".."[..], b"../x", b"/../x", b"a/../../x", b"", b"./../x"] {
            assert_eq!(path(escape), None);
        }
    }

    #[test]
    fn whiteouts() {
        assert_eq!(
            Name::of_entry(b"a/.wh.b").unwrap(),
            Name::Whiteout(b"a/b".to_vec())
        );
        assert_eq!(
            Name::of_entry(b"a/.wh..wh..opq").unwrap(),
            Name::Opaque(b"a".to_vec())
        );
        assert_eq!(Name::of_entry(b".wh..wh.plnk/1.2").unwrap(), Name::Ignored);
        assert_eq!(Name::of_entry(b".wh..wh.aufs").unwrap(), Name::Ignored);
        for bad in [&b".wh."[..], b"a/.wh..", b"a/.wh...", b".wh.a/b"] {
            assert!(Name::of_entry(bad).is_err(), "{}", show(bad));
        }
    }

    #[test]
    fn within() {
        assert!(is_within(b"a/b", b"a"));
        assert!(is_within(b"a", b"a"));
        assert!(is_within(b"a", b""));
        assert!(!is_within(b"ab", b"a"));
    }
}
