//! Patterns of .dockerignore and of COPY --exclude, with the meaning that they have in Docker (moby/patternmatcher):
//! later ones win, `!` takes back, `**` is any number of directories, `*` and `?` stay within one name, and what is
//! below a directory that matches is matched too.
use crate::error::{Error, Result, show};

/// Which patterns matched a directory: what is in it is matched by them as well.
pub type Matched = Vec<bool>;

#[derive(Debug, Default)]
pub struct Patterns {
    patterns: Vec<Pattern>,
    /// Whether any of them begins with `!`.
    exceptions: bool,
}

#[derive(Debug)]
struct Pattern {
    exception: bool,
    text: Vec<u8>,
    how: How,
}

#[derive(Debug)]
enum How {
    Exact,
    /// `text/**`
    Prefix,
    /// `**text`
    Suffix,
    Tokens(Vec<Token>),
}

#[derive(Debug, PartialEq)]
enum Token {
    Char(char),
    /// `?`
    NotSlash,
    /// `*`
    Name,
    /// `**/`: any directories, or none. Comes with `Within`.
    Directories,
    Within,
    /// `**` at the end.
    Rest,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Patterns {
    /// Raises Invalid for a pattern that cannot be.
    pub fn new(patterns: &[Vec<u8>]) -> Result<Self> {
        let mut all = Self::default();
        for raw in patterns {
            let text = clean(raw.trim_ascii());
            let (exception, text) = match text.strip_prefix(b"!") {
                Some(rest) => (true, rest.to_vec()),
                None => (false, text),
            };
            if text.is_empty() {
                if exception {
                    return Err(Error::Invalid("illegal exclusion pattern: \"!\"".into()));
                }
                continue;
            }
            all.exceptions |= exception;
            all.patterns.push(Pattern {
                exception,
                how: compile(&text)?,
                text,
            });
        }
        Ok(all)
    }

    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether `path` (relative, clean) is matched, given what matched the directory that it is in (empty at the
    /// top); and what to hand on to what is in it.
    pub fn matches(&self, path: &[u8], parent: &[bool]) -> (bool, Matched) {
        if self.patterns.is_empty() {
            return (false, Matched::new());
        }
        let mut matched = false;
        let mut each = vec![false; self.patterns.len()];
        for (index, pattern) in self.patterns.iter().enumerate() {
            let mut hit = parent.get(index).copied().unwrap_or(false);
            if !hit {
                // It could change nothing.
                if pattern.exception != matched {
                    continue;
                }
                hit = pattern.matches(path);
            }
            each[index] = hit;
            if hit {
                matched = !pattern.exception;
            }
        }
        (matched, each)
    }

    /// The same without knowing about its parents.
    pub fn matches_alone(&self, path: &[u8]) -> (bool, Matched) {
        let mut parent = Matched::new();
        for (index, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            parent = self.matches(&path[..index], &parent).1;
        }
        self.matches(path, &parent)
    }

    /// Whether something in the directory `path`, which itself is matched, may be taken back by an exception.
    pub fn may_except_below(&self, path: &[u8]) -> bool {
        self.exceptions && self.may_match_below(path, true)
    }

    /// Whether something in the directory `path` may be matched though it is not.
    pub fn may_include_below(&self, path: &[u8]) -> bool {
        self.may_match_below(path, false)
    }

    fn may_match_below(&self, path: &[u8], exception: bool) -> bool {
        self.patterns
            .iter()
            .filter(|pattern| pattern.exception == exception)
            .any(|pattern| pattern.may_match_below(path))
    }
}

impl Pattern {
    fn matches(&self, path: &[u8]) -> bool {
        match &self.how {
            How::Exact => path == self.text,
            How::Prefix => path.starts_with(&self.text[..self.text.len() - 2]),
            How::Suffix => {
                let suffix = &self.text[2..];
                path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path)
            }
            How::Tokens(tokens) => run(tokens, &String::from_utf8_lossy(path)),
        }
    }

    /// By the names that the pattern begins with, as far as they say one thing only.
    fn may_match_below(&self, directory: &[u8]) -> bool {
        let mut wanted = self.text.split(|&byte| byte == b'/');
        for name in directory.split(|&byte| byte == b'/') {
            match wanted.next() {
                None => return false,
                Some(part) if is_plain(part) && part != name => return false,
                Some(part) if part.windows(2).any(|two| two == b"**") => return true,
                Some(_) => {}
            }
        }
        wanted.next().is_some()
    }
}

fn is_plain(part: &[u8]) -> bool {
    !part.iter().any(|byte| b"*?[\\".contains(byte))
}

/// Go's filepath.Clean, and a slash at the beginning says nothing.
pub fn clean(path: &[u8]) -> Vec<u8> {
    let (exception, path) = match path.strip_prefix(b"!") {
        Some(rest) => (&b"!"[..], rest.trim_ascii_start()),
        None => (&b""[..], path),
    };
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    [exception, &parts.join(&b'/')].concat()
}

fn invalid(pattern: &[u8]) -> Error {
    Error::Invalid(format!("syntax error in pattern {}", show(pattern)))
}

fn compile(pattern: &[u8]) -> Result<How> {
    let text = String::from_utf8_lossy(pattern);
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut how = How::Exact;
    let mut at = 0;
    let mut first = true;
    // Whether the tokens are needed, and not one of the simple ways.
    let mut general = false;
    while let Some(&character) = characters.get(at) {
        at += 1;
        match character {
            '*' if characters.get(at) == Some(&'*') => {
                at += 1;
                if characters.get(at) == Some(&'/') {
                    at += 1;
                }
                if at < characters.len() {
                    tokens.extend([Token::Directories, Token::Within]);
                    general = true;
                } else {
                    tokens.push(Token::Rest);
                    match how {
                        How::Exact if !general => how = How::Prefix,
                        _ => general = true,
                    }
                }
                if first {
                    how = How::Suffix;
                    general = false;
                }
            }
            '*' => {
                tokens.push(Token::Name);
                general = true;
            }
            '?' => {
                tokens.push(Token::NotSlash);
                general = true;
            }
            '[' => {
                let (class, end) = class(&characters, at).ok_or_else(|| invalid(pattern))?;
                tokens.push(class);
                at = end;
                general = true;
            }
            '\\' => {
                let escaped = characters.get(at).ok_or_else(|| invalid(pattern))?;
                tokens.push(Token::Char(*escaped));
                at += 1;
                general = true;
            }
            other => tokens.push(Token::Char(other)),
        }
        first = false;
    }
    Ok(if general { How::Tokens(tokens) } else { how })
}

/// What follows a `[`, as Go's filepath.Match reads it; and where it ends.
fn class(characters: &[char], mut at: usize) -> Option<(Token, usize)> {
    let negated = characters.get(at) == Some(&'^');
    at += usize::from(negated);
    let mut ranges = Vec::new();
    let one = |at: &mut usize| -> Option<char> {
        let mut character = *characters.get(*at)?;
        if character == '\\' {
            *at += 1;
            character = *characters.get(*at)?;
        } else if character == '-' || character == ']' {
            return None;
        }
        *at += 1;
        Some(character)
    };
    loop {
        if characters.get(at) == Some(&']') && !ranges.is_empty() {
            return Some((Token::Class { negated, ranges }, at + 1));
        }
        let low = one(&mut at)?;
        let mut high = low;
        if characters.get(at) == Some(&'-') {
            at += 1;
            high = one(&mut at)?;
        }
        ranges.push((low, high));
    }
}

/// Whether the tokens match the whole of `path`. All ways at once: the time is bounded whatever the pattern.
fn run(tokens: &[Token], path: &str) -> bool {
    let mut states = vec![false; tokens.len() + 1];
    let mut next = vec![false; tokens.len() + 1];
    states[0] = true;
    skip(tokens, &mut states);
    for character in path.chars() {
        next.fill(false);
        for (index, token) in tokens.iter().enumerate() {
            if !states[index] {
                continue;
            }
            match token {
                Token::Char(wanted) => next[index + 1] |= *wanted == character,
                Token::NotSlash => next[index + 1] |= character != '/',
                Token::Name => next[index] |= character != '/',
                // In Go's regexp, a dot is not a newline.
                Token::Rest => next[index] |= character != '\n',
                Token::Within => {
                    next[index] |= character != '\n';
                    next[index + 1] |= character == '/';
                }
                Token::Class { negated, ranges } => {
                    let within = ranges
                        .iter()
                        .any(|(low, high)| (*low..=*high).contains(&character));
                    next[index + 1] |= within != *negated;
                }
                Token::Directories => {}
            }
        }
        std::mem::swap(&mut states, &mut next);
        skip(tokens, &mut states);
    }
    states[tokens.len()]
}

/// Tokens that may stand for nothing.
fn skip(tokens: &[Token], states: &mut [bool]) {
    for (index, token) in tokens.iter().enumerate() {
        if !states[index] {
            continue;
        }
        match token {
            Token::Name | Token::Rest => states[index + 1] = true,
            Token::Directories => {
                states[index + 1] = true;
                states[index + 2] = true;
            }
            _ => {}
        }
    }
}

/// Whether `name` holds a wildcard of COPY.
pub fn has_wildcard(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// One name of a path against Go's filepath.Match: `*`, `?`, classes and escapes, no `**`.
#[derive(Debug)]
pub struct NamePattern(Vec<Token>);

impl NamePattern {
    pub fn new(pattern: &[u8]) -> Result<Self> {
        let text = String::from_utf8_lossy(pattern);
        let characters: Vec<char> = text.chars().collect();
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some(&character) = characters.get(at) {
            at += 1;
            match character {
                '*' => tokens.push(Token::Name),
                '?' => tokens.push(Token::NotSlash),
                '[' => {
                    let (class, end) = class(&characters, at).ok_or_else(|| invalid(pattern))?;
                    tokens.push(class);
                    at = end;
                }
                '\\' => {
                    let escaped = characters.get(at).ok_or_else(|| invalid(pattern))?;
                    tokens.push(Token::Char(*escaped));
                    at += 1;
                }
                other => tokens.push(Token::Char(other)),
            }
        }
        Ok(Self(tokens))
    }

    pub fn matches(&self, name: &[u8]) -> bool {
        run(&self.0, &String::from_utf8_lossy(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(patterns: &[&str], path: &str) -> bool {
        let patterns: Vec<Vec<u8>> = patterns.iter().map(|one| one.as_bytes().to_vec()).collect();
        Patterns::new(&patterns)
            .unwrap()
            .matches_alone(path.as_bytes())
            .0
    }

    /// From the table of moby/patternmatcher's own tests, and what its documentation says.
    #[test]
    fn single_patterns() {
        for (pattern, path, expected) in [
            ("**", "file", true),
            ("**", "dir/file", true),
            ("**/", "file", true),
            ("**/", "dir/file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir", false),
            ("dir/**", "dir/dir2/file", true),
            ("**/dir", "dir", true),
            ("**/dir", "dir/file", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/*", "dir/dir2/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**/file", "dir/file", true),
            ("**file", "dir/dir/file", true),
            ("**/file*", "dir/dir/file.txt", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/file*.txt*", "dir/dir/file.txt", true),
            ("**/**/*.txt", "dir/dir/file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("**/*.txt", "file.txt", true),
            ("**/**/*.txt", "file.txt", true),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a/*.txt", "a/file.txt", true),
            ("a/*.txt**", "a/file.txt", true),
            ("a[b-d]e", "ae", false),
            ("a[b-d]e", "ace", true),
            ("a[b-d]e", "aae", false),
            ("a[^b-d]e", "aze", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcdef", false),
            ("abc.def", "abc.def", true),
            ("abc.def", "abcZdef", false),
            ("abc?def", "abcZdef", true),
            ("abc?def", "abcdef", false),
            ("**/foo/bar", "foo/bar", true),
            ("**/foo/bar", "dir/foo/bar", true),
            ("**/foo/bar", "dir/dir2/foo/bar", true),
            ("abc/**", "abc/def/ghi", true),
            ("**/.foo", ".foo", true),
            ("**/.foo", "bar.foo", false),
            ("a(b)c/def", "a(b)c/def", true),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
            (
                "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
                "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
                true,
            ),
            ("dist/*.whl", "dist/a.whl", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/x/yb", false),
            ("/a", "a", true),
            ("a/", "a/b", true),
            ("./a/../b", "b", true),
            (r"a\*c", "a*c", true),
            (r"a\*c", "abc", false),
            ("*", "a/b", true),
            ("*/b", "a/b/c", true),
            ("a\u{e4}?", "a\u{e4}\u{f6}", true),
        ] {
            assert_eq!(matched(&[pattern], path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn later_ones_win() {
        assert!(!matched(&["*", "!keep"], "keep"));
        assert!(!matched(&["*", "!keep"], "keep/inner"));
        assert!(matched(&["*", "!keep", "keep/inner"], "keep/inner"));
        assert!(!matched(&["docs", "!docs/README.md"], "docs/README.md"));
        assert!(matched(&["docs", "!docs/README.md"], "docs/other"));
        assert!(matched(&["!docs/README.md", "docs"], "docs/README.md"));
        assert!(!matched(&["**/*.md", "!**/README.md"], "a/README.md"));
        assert!(!matched(&["a", "!a/b"], "a/b/c"));
    }

    #[test]
    fn only_what_can_be_taken_back_is_looked_for() {
        let patterns = |list: &[&str]| {
            let list: Vec<Vec<u8>> = list.iter().map(|one| one.as_bytes().to_vec()).collect();
            Patterns::new(&list).unwrap()
        };
        let ignored = patterns(&["node_modules", "docs", "!docs/a/README.md"]);
        assert!(!ignored.may_except_below(b"node_modules"));
        assert!(ignored.may_except_below(b"docs") && ignored.may_except_below(b"docs/a"));
        assert!(!ignored.may_except_below(b"docs/b"));
        assert!(patterns(&["*", "!**/x"]).may_except_below(b"any/where"));
        assert!(!patterns(&["*", "!*/x"]).may_except_below(b"any/where"));
    }

    #[test]
    fn bad_ones() {
        for bad in ["[", "a[b", "[]a]", "[a-]", "a\\", "!", "[-x]"] {
            assert!(Patterns::new(&[bad.as_bytes().to_vec()]).is_err(), "{bad}");
        }
        assert!(Patterns::new(&[b"  ".to_vec()]).unwrap().is_empty());
    }

    #[test]
    fn hostile_patterns_take_no_time() {
        let pattern = "*a".repeat(200);
        assert!(!matched(&[&pattern], &"a".repeat(4000).replace("aa", "ab")));
    }
}
