//! Path patterns (`/api/{version}/auth/{*rest}`) and the templates that rewrite with their names.

use smallvec::SmallVec;

/// No pattern is longer: it bounds how deep a match can go.
const MAX_SEGMENTS: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Segment>,
    skeleton: Box<str>,
}

/// What stands in a skeleton for one segment, …
pub(super) const NAMED: &str = "{}";
/// … and for all that follow.
pub(super) const REST: &str = "{*}";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    Literal(Box<str>),
    /// `{name}`: one segment, not empty.
    Named(Box<str>),
    /// `{*name}`: all that follows, may be empty.
    Rest(Box<str>),
}

/// Where in the path each named part was found, in the pattern's order.
pub type Captures = SmallVec<[(u32, u32); 6]>;

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(inner) = text.strip_prefix('/') else {
            return Err(format!("\"{text}\" must begin with a slash"));
        };
        let mut segments = Vec::new();
        for part in inner.split('/') {
            if matches!(segments.last(), Some(Segment::Rest(_))) {
                return Err(format!("in \"{text}\" a catch-all must be the last segment"));
            }
            segments.push(Segment::parse(part).map_err(|why| format!("in \"{text}\" {why}"))?);
        }
        if segments.len() > MAX_SEGMENTS {
            return Err(format!("\"{text}\" has more than {MAX_SEGMENTS} segments"));
        }
        let inner_empty =
            segments.iter().rev().skip(1).any(|segment| matches!(segment, Segment::Literal(l) if l.is_empty()));
        if inner_empty {
            return Err(format!("\"{text}\" has an empty segment, which no normalised path has"));
        }
        let skeleton = segments.iter().flat_map(|segment| ["/", segment.part()]).collect::<String>().into();
        let pattern = Self { segments, skeleton };
        let mut names: Vec<&str> = pattern.names().collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first()) {
            return Err(format!("in \"{text}\" the name \"{twice}\" stands twice"));
        }
        Ok(pattern)
    }

    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The names, in the order in which captures are found.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Named(name) | Segment::Rest(name) => Some(&**name),
        })
    }

    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.names().position(|it| it == name)
    }

    /// The pattern without its names, which say nothing of what it matches: `/api/{}/auth/{*}`.
    #[must_use]
    pub(super) fn skeleton(&self) -> &str {
        &self.skeleton
    }

    /// What its names stand for in `path`; `None` where it does not match.
    #[must_use]
    pub(super) fn captures(&self, path: &str) -> Option<Captures> {
        let mut captures = Captures::new();
        fit(self.skeleton.as_bytes(), path, Some(1), &mut captures).then_some(captures)
    }

    /// A path that it matches; for telling an operator what else would match it.
    #[must_use]
    pub fn sample(&self) -> String {
        self.segments.iter().fold(String::new(), |mut path, segment| {
            path.push('/');
            path.push_str(match segment {
                Segment::Literal(literal) => literal,
                Segment::Named(_) | Segment::Rest(_) => "x",
            });
            path
        })
    }
}

impl Segment {
    fn parse(part: &str) -> Result<Self, String> {
        if let Some(inner) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            let (name, rest) = inner.strip_prefix('*').map_or((inner, false), |name| (name, true));
            if !is_name(name) {
                return Err(format!("\"{part}\" needs a name of letters, digits and _ between its braces"));
            }
            return Ok(if rest { Self::Rest(name.into()) } else { Self::Named(name.into()) });
        }
        if part.contains(['{', '}']) {
            return Err(format!("\"{part}\" mixes text and a name; a name takes a whole segment"));
        }
        let absolute = format!("/{part}");
        let normal = super::path::normalise(absolute.as_bytes()).map_err(|why| format!("\"{part}\": {why}"))?;
        match normal.strip_prefix('/') {
            Some(segment) if segment == part => Ok(Self::Literal(part.into())),
            Some(segment) => Err(format!("\"{part}\" is never matched: paths are normalised, write \"{segment}\"")),
            None => Err(format!("\"{part}\" is no path segment")),
        }
    }
}

impl Segment {
    fn part(&self) -> &str {
        match self {
            Self::Literal(literal) => literal,
            Self::Named(_) => NAMED,
            Self::Rest(_) => REST,
        }
    }
}

/// The first part of a skeleton, and the skeleton of what follows.
pub(super) fn first_part(skeleton: &str) -> Option<(&str, &str)> {
    let parts = skeleton.strip_prefix('/')?;
    Some(parts.split_at(parts.find('/').unwrap_or(parts.len())))
}

/// Whether what is left of `path` is what a skeleton stands for, and what it captures. `at` is where the next segment begins;
/// `None` when the path is used up.
#[inline]
pub(super) fn fit(skeleton: &[u8], path: &str, mut at: Option<usize>, captures: &mut Captures) -> bool {
    for part in skeleton.split(|byte| *byte == b'/').skip(1) {
        let Some(from) = at else { return false };
        if part == REST.as_bytes() {
            captures.push(captured(from, path.len()));
            return true;
        }
        let to = part_end(path, from);
        at = (to < path.len()).then_some(to + 1);
        if part != NAMED.as_bytes() {
            if path.as_bytes().get(from..to) != Some(part) {
                return false;
            }
        } else if from < to {
            captures.push(captured(from, to));
        } else {
            return false;
        }
    }
    at.is_none()
}

/// Where the segment ends that begins at `from`.
#[inline]
pub(super) fn part_end(path: &str, from: usize) -> usize {
    let mut rest = path.as_bytes().iter().skip(from);
    rest.position(|byte| *byte == b'/').map_or(path.len(), |length| from + length)
}

#[expect(clippy::cast_possible_truncation, reason = "a request's head is bounded far below 4 GiB")]
pub(super) fn captured(from: usize, to: usize) -> (u32, u32) {
    (from as u32, to as u32)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Text with the pattern's names in braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Capture(usize),
}

impl Template {
    pub fn parse(text: &str, pattern: &Pattern) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, behind)) = after.split_once('}') else {
                return Err(format!("in \"{text}\" a brace is not closed"));
            };
            let name = name.strip_prefix('*').unwrap_or(name);
            let Some(position) = pattern.position(name) else {
                return Err(format!("in \"{text}\" there is \"{name}\", which the path pattern does not name"));
            };
            parts.extend([Part::Text(before.into()), Part::Capture(position)]);
            rest = behind;
        }
        if rest.contains('}') {
            return Err(format!("in \"{text}\" a brace is not opened"));
        }
        parts.push(Part::Text(rest.into()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self { parts: parts.into() })
    }

    #[must_use]
    pub fn render(&self, path: &str, captures: &Captures) -> String {
        let mut out = String::with_capacity(path.len() + 16);
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Capture(position) => out.push_str(capture(path, captures, *position)),
            }
        }
        out
    }
}

/// The part of `path` that the name at `position` stands for.
#[must_use]
pub(super) fn capture<'p>(path: &'p str, captures: &Captures, position: usize) -> &'p str {
    captures.get(position).and_then(|(from, to)| path.get(*from as usize..*to as usize)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_patterns_name_their_parts() {
        let pattern = Pattern::parse("/api/{version}/auth/{*rest}").unwrap();
        assert_eq!(pattern.names().collect::<Vec<_>>(), ["version", "rest"]);
        assert_eq!(pattern.sample(), "/api/x/auth/x");
        for good in ["/", "/a/", "/{a}", "/{*all}", "/.well-known/x", "/a%20b"] {
            assert!(Pattern::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn bad_patterns_are_refused_with_the_reason() {
        for (bad, reason) in [
            ("", "must begin with a slash"),
            ("a", "must begin with a slash"),
            ("/{*a}/b", "must be the last"),
            ("/{a}/{a}", "stands twice"),
            ("/a{b}", "mixes text"),
            ("/{}", "needs a name"),
            ("/{a-b}", "needs a name"),
            ("/a//b", "empty segment"),
            ("/..", "is never matched"),
            ("/%61", "is never matched"),
            ("/a%2fb", "encoded slash"),
            ("/a b", "percent-encoded"),
            ("/a?b", "percent-encoded"),
            (&"/a".repeat(33), "more than 32"),
        ] {
            let error = Pattern::parse(bad).unwrap_err();
            assert!(error.contains(reason), "{bad}: {error}");
        }
    }

    #[test]
    fn a_template_takes_names_from_its_pattern_only() {
        let pattern = Pattern::parse("/a/{x}/{*rest}").unwrap();
        let captures: Captures = [(3, 4), (5, 8)].into_iter().collect();
        let rendered = |text| Template::parse(text, &pattern).unwrap().render("/a/b/c/d", &captures);
        assert_eq!(rendered("/{rest}?q={x}"), "/c/d?q=b");
        assert_eq!(rendered("/plain"), "/plain");
        for bad in ["/{y}", "/{x", "/x}"] {
            assert!(Template::parse(bad, &pattern).is_err(), "{bad}");
        }
    }
}
