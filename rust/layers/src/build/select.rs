//! From the sources of a COPY to the paths that they mean, as BuildKit finds them (moby/buildkit dispatchCopy,
//! tonistiigi/fsutil copy.ResolveWildcards).
use std::sync::Arc;

use super::patterns::{NamePattern, Patterns, clean, has_wildcard};
use super::scan::Scan;
use super::selection::{Root, Selection};
use super::source::{Kind, Parts, Source, not_found};
use crate::error::Result;
use crate::name::{join, split};
use crate::progress::Progress;

/// How sources are understood.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// COPY --exclude, relative to each directory that is copied.
    pub excludes: Vec<Vec<u8>>,
    /// COPY --parents: sources keep their directories, from a `/./` on if there is one.
    pub parents: bool,
    /// Whether a source without wildcards must be there.
    pub required: bool,
    /// Whether a source that is a symbolic link is what it leads to.
    pub follow: bool,
}

/// Finds and reads what `patterns` mean. `progress` counts bytes that are read.
pub fn select(
    source: &Arc<Source>,
    patterns: &[Vec<u8>],
    choice: &Choice,
    progress: &Progress,
) -> Result<Selection> {
    let mut roots = Vec::new();
    let mut scan = Scan::new(source, Patterns::new(&choice.excludes)?, progress);
    for raw in patterns {
        let search = Search {
            source,
            choice,
            raw,
        };
        if choice.parents {
            search.with_parents(&mut roots, &mut scan)?;
        } else {
            search.plain(&mut roots, &mut scan)?;
        }
    }
    let entries = scan.finish()?;
    Ok(Selection::new(Arc::clone(source), roots, entries))
}

struct Search<'a> {
    source: &'a Source,
    choice: &'a Choice,
    raw: &'a [u8],
}

impl Search<'_> {
    fn plain(&self, roots: &mut Vec<Root>, scan: &mut Scan<'_>) -> Result<()> {
        let path = clean(self.raw);
        let names: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
        let Some(first) = names.iter().position(|name| has_wildcard(name)) else {
            return self.root(path, self.choice.follow, false, None, roots, scan);
        };
        let wanted: Vec<NamePattern> = names[first..]
            .iter()
            .map(|name| NamePattern::new(name))
            .collect::<Result<_>>()?;
        let above = names[..first].join(&b'/');
        let Some((at, node)) = self.source.resolve(&above, true)? else {
            return self.missing(&above);
        };
        let mut matches = Vec::new();
        if node.is_directory() {
            self.expand(&at, &node.parts, &wanted, &mut matches)?;
        }
        for path in matches {
            self.root(path, self.choice.follow, true, None, roots, scan)?;
        }
        Ok(())
    }

    /// The root is the whole tree (or what stands before `/./`); the pattern says what of it is copied.
    fn with_parents(&self, roots: &mut Vec<Root>, scan: &mut Scan<'_>) -> Result<()> {
        let pivot = self.raw.windows(3).position(|three| three == b"/./");
        let (above, pattern) = match pivot {
            Some(at) => (clean(&self.raw[..at]), clean(&self.raw[at + 3..])),
            None => (Vec::new(), clean(self.raw)),
        };
        if !has_wildcard(&above) && !has_wildcard(&pattern) {
            // Links are not followed below the pivot.
            let whole = join(&above, &pattern);
            let found = match self.source.resolve(&above, true)? {
                Some((at, _)) if pattern.is_empty() => Some(at),
                Some((at, _)) => self
                    .source
                    .resolve(&join(&at, &pattern), false)?
                    .map(|it| it.0),
                None => None,
            };
            if found.is_none() {
                return self.missing(&whole);
            }
        }
        let includes = if pattern.is_empty() {
            Patterns::default()
        } else {
            Patterns::new(&[pattern])?
        };
        self.root(above, true, false, Some(includes), roots, scan)
    }

    /// One path, and what is in it.
    fn root(
        &self,
        path: Vec<u8>,
        follow: bool,
        matched: bool,
        includes: Option<Patterns>,
        roots: &mut Vec<Root>,
        scan: &mut Scan<'_>,
    ) -> Result<()> {
        let Some((at, node)) = self.source.resolve(&path, follow)? else {
            // A link that leads nowhere was matched: it cannot be copied, whatever is required.
            return if matched {
                Err(not_found(&path))
            } else {
                self.missing(&path)
            };
        };
        let number = roots.len();
        roots.push(Root {
            pattern: self.raw.to_vec(),
            path,
            at,
            is_directory: node.is_directory(),
        });
        let root = &roots[number];
        if node.is_directory() {
            scan.directory(number, root, node, includes);
            return Ok(());
        }
        let excluded = matched && scan.excludes(split(&root.path).1);
        if excluded || !scan.file(number, root, &node)? {
            roots.pop();
        }
        Ok(())
    }

    fn missing(&self, path: &[u8]) -> Result<()> {
        if self.choice.required {
            return Err(not_found(path));
        }
        Ok(())
    }

    /// Paths below the directory `at` that match name by name; links on the way are not followed.
    fn expand(
        &self,
        at: &[u8],
        parts: &Parts,
        wanted: &[NamePattern],
        found: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let Some((pattern, rest)) = wanted.split_first() else {
            return Ok(());
        };
        let directory = self.source.open(at, parts)?;
        for (name, having) in directory.names()? {
            if !pattern.matches(&name) {
                continue;
            }
            let path = join(at, &name);
            let Some(node) = directory.look_in(&name, &having)? else {
                continue;
            };
            if let Kind::Context { ignore, .. } = &self.source.kind
                && ignore.matches_alone(&path).0
                && !(node.is_directory() && ignore.may_except_below(&path))
            {
                continue;
            }
            if rest.is_empty() {
                found.push(path);
            } else if node.is_directory() {
                self.expand(&path, &node.parts, rest, found)?;
            }
        }
        Ok(())
    }
}
