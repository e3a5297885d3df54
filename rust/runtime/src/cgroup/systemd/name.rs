//! Names of units, and where their control groups are (systemd.unit(5), systemd.slice(5)).

use crate::error::{Error, Result};

/// `linux.cgroupsPath` as the systemd driver reads it: `slice:prefix:name`.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    pub slice: String,
    /// `prefix-name.scope`
    pub unit: String,
}

/// An empty path means the default slice and a unit of the container's id, as with runc.
pub fn parse(path: &str, id: &str, default_slice: &str) -> Result<Place> {
    let (slice, prefix, name) = match *path.split(':').collect::<Vec<_>>() {
        [""] => ("", "pyd", id),
        [slice, prefix, name] => (slice, prefix, name),
        _ => {
            return Err(Error::invalid(format!(
                "linux.cgroupsPath must be of the form \"slice:prefix:name\" with --systemd-cgroup, not \"{path}\""
            ))
            .hint("for a path of control groups leave out --systemd-cgroup"));
        }
    };
    if name.is_empty() || name.ends_with(".slice") {
        return Err(Error::invalid(format!(
            "linux.cgroupsPath \"{path}\" must name the scope of a container, not a slice"
        )));
    }
    let slice = if slice.is_empty() {
        default_slice
    } else {
        slice
    };
    let unit = match prefix {
        "" => format!("{name}.scope"),
        prefix => format!("{prefix}-{name}.scope"),
    };
    if !valid(&unit) {
        return Err(Error::invalid(format!(
            "linux.cgroupsPath \"{path}\" gives no name of a unit: letters, digits and :-_.\\@ only, 255 at most"
        )));
    }
    expand(slice)?;
    Ok(Place {
        slice: slice.to_owned(),
        unit,
    })
}

/// Whether systemd takes this as the name of a unit.
pub fn valid(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    (1..=255).contains(&name.len()) && !name.starts_with('.') && name.chars().all(allowed)
}

/// The path of a slice, without a leading slash: each dash is a step down, `a-b.slice` is `a.slice/a-b.slice`.
pub fn expand(slice: &str) -> Result<String> {
    let wrong = || {
        Error::invalid(format!(
            "\"{slice}\" in linux.cgroupsPath is not the name of a slice"
        ))
        .hint("slices are named like system.slice or a-b.slice")
    };
    let stem = slice
        .strip_suffix(".slice")
        .filter(|_| valid(slice))
        .ok_or_else(wrong)?;
    // The root slice.
    if stem == "-" {
        return Ok(String::new());
    }
    if stem.split('-').any(str::is_empty) {
        return Err(wrong());
    }
    let ends = stem
        .match_indices('-')
        .map(|(end, _)| end)
        .chain([stem.len()]);
    let steps: Vec<String> = ends.map(|end| format!("{}.slice", &stem[..end])).collect();
    Ok(steps.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_paths() {
        assert_eq!(expand("system.slice").unwrap(), "system.slice");
        assert_eq!(
            expand("a-b-c.slice").unwrap(),
            "a.slice/a-b.slice/a-b-c.slice"
        );
        assert_eq!(expand("-.slice").unwrap(), "");
        for wrong in [
            "",
            ".slice",
            "a",
            "a/b.slice",
            "-a.slice",
            "a-.slice",
            "a--b.slice",
            "../x.slice",
        ] {
            assert!(expand(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_of_the_spec() {
        let place = |path| parse(path, "id", "system.slice").map(|place| (place.slice, place.unit));
        let of = |slice: &str, unit: &str| (slice.to_owned(), unit.to_owned());
        assert_eq!(place("").unwrap(), of("system.slice", "pyd-id.scope"));
        assert_eq!(
            place("a-b.slice:docker:1f").unwrap(),
            of("a-b.slice", "docker-1f.scope")
        );
        assert_eq!(place("::x").unwrap(), of("system.slice", "x.scope"));
        for wrong in [
            "/a/b",
            "a:b",
            "a:b:c:d",
            "::",
            "::x.slice",
            "::a/b",
            ":..:x",
            "x:y:z",
            "::a b",
            "::a\nb",
        ] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
