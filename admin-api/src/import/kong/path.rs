//! Kong's paths: prefixes, and regular expressions as far as they say what a pattern can say.

use super::super::path::{PartNames, literal};

/// A pattern, and what the backend sees of it; `None`: the client's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pattern: String,
    pub(super) rewrite: Option<String>,
}

/// The patterns of one path, and what they take beyond it.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) found: Vec<Place>,
    pub(super) is_prefix: bool,
    /// Expressions in whose places any text is taken.
    pub(super) widened: Vec<String>,
}

/// `marks_regexes`: since format 3.0 a regular expression begins with `~`; before, it shows by its characters.
pub(super) fn places(path: &str, marks_regexes: bool, strips: bool) -> Result<Places, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~/%-".contains(&byte);
    match path.strip_prefix('~').filter(|_| marks_regexes) {
        Some(expression) => of_expression(expression, strips),
        None if !marks_regexes && !path.bytes().all(is_plain) => of_expression(path, strips),
        None => of_prefix(path, strips),
    }
}

fn of_prefix(path: &str, strips: bool) -> Result<Places, String> {
    let text = literal(path)?;
    let bare = text.trim_end_matches('/');
    // Taking away the slash at the beginning leaves the path as it is.
    let strips = strips && !bare.is_empty();
    let mut places = Vec::new();
    if !text.ends_with('/') {
        places.push(Place { pattern: text.clone(), rewrite: strips.then(|| "/".to_owned()) });
    }
    places.push(Place { pattern: format!("{bare}/{{*rest}}"), rewrite: strips.then(|| "/{rest}".to_owned()) });
    Ok(Places { found: places, is_prefix: true, widened: Vec::new() })
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Atom {
    Char(char),
    /// A class, a dot or a group, with what stands behind it.
    Expression {
        name: Option<String>,
        source: String,
        repeats: String,
    },
}

fn of_expression(expression: &str, strips: bool) -> Result<Places, String> {
    let body = expression.strip_prefix('^').unwrap_or(expression);
    let (mut body, mut is_anchored) = match body.strip_suffix('$') {
        Some(body) if !body.ends_with('\\') => (body, true),
        _ => (body, false),
    };
    for tail in ["(/.*)?", "(?:/.*)?", "(/|$)", "(?:/|$)", "(?:/.*|$)"] {
        if let Some(before) = body.strip_suffix(tail) {
            (body, is_anchored) = (before, false);
        }
    }
    let slash = body.strip_suffix("/?");
    let segments = segments(slash.unwrap_or(body))?;
    let mut names = PartNames::default();
    let (mut pattern, mut widened, mut rest) = (String::new(), Vec::new(), None);
    for (at, atoms) in segments.iter().enumerate() {
        let is_last = at + 1 == segments.len();
        match part(atoms)? {
            Part::Literal(text) => pattern.push_str(&literal(&format!("/{text}"))?),
            Part::Named { name, exact, source } => {
                pattern.extend(["/{", &names.take(name.as_deref().unwrap_or("part")), "}"]);
                if !exact {
                    widened.push(source);
                }
            }
            Part::Rest(name) if is_last => rest = Some(names.take(name.as_deref().unwrap_or("rest"))),
            Part::Rest(_) => return Err("an expression that spans several segments must be the last one".to_owned()),
        }
    }
    Ok(Places {
        found: tails(&pattern, rest, is_anchored, slash.is_some(), &mut names, strips),
        is_prefix: false,
        widened,
    })
}

/// What may follow the pattern: nothing, a slash, or anything.
fn tails(
    pattern: &str,
    rest: Option<String>,
    is_anchored: bool,
    slash: bool,
    names: &mut PartNames,
    strips: bool,
) -> Vec<Place> {
    let place = |pattern: String, left: String| Place { pattern, rewrite: strips.then_some(left) };
    if let Some(rest) = rest {
        // The expression takes all of the path, so all of it is stripped.
        return vec![place(format!("{pattern}/{{*{rest}}}"), "/".to_owned())];
    }
    let bare = pattern.trim_end_matches('/');
    let exact = if pattern.is_empty() { "/" } else { pattern };
    let mut places = vec![place(exact.to_owned(), "/".to_owned())];
    if !is_anchored {
        let rest = names.take("rest");
        if pattern.ends_with('/') || pattern.is_empty() {
            places.clear();
        }
        places.push(place(format!("{bare}/{{*{rest}}}"), format!("/{{{rest}}}")));
    } else if slash && !bare.is_empty() {
        places.push(place(format!("{bare}/"), "/".to_owned()));
    }
    places
}

enum Part {
    Literal(String),
    Named { name: Option<String>, exact: bool, source: String },
    Rest(Option<String>),
}

fn part(atoms: &[Atom]) -> Result<Part, String> {
    if let [Atom::Expression { name, source, repeats }] = atoms {
        return classified(name.clone(), source, repeats);
    }
    let mut text = String::new();
    for atom in atoms {
        match atom {
            Atom::Char(letter) => text.push(*letter),
            Atom::Expression { source, .. } => {
                return Err(format!("\"{source}\" stands beside other text; a name takes a whole segment"));
            }
        }
    }
    Ok(Part::Literal(text))
}

fn classified(name: Option<String>, source: &str, repeats: &str) -> Result<Part, String> {
    if let Some(inner) = source.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        if !repeats.is_empty() {
            return Err(format!("\"{source}{repeats}\" repeats a group"));
        }
        let inner = inner.strip_prefix("?:").unwrap_or(inner);
        let inner = if name.is_some() { inner.split_once('>').map_or(inner, |(_, inner)| inner) } else { inner };
        let atoms = segments(&format!("/{inner}"))?;
        return match atoms.as_slice() {
            [atoms] => match part(atoms)? {
                Part::Named { name: None, exact, source } => Ok(Part::Named { name, exact, source }),
                Part::Rest(None) => Ok(Part::Rest(name)),
                _ => Err(format!("\"{source}\" is no expression for one segment")),
            },
            _ => Err(format!("\"{source}\" spans several segments")),
        };
    }
    let repeats = repeats.strip_suffix('?').filter(|it| !it.is_empty()).unwrap_or(repeats);
    if repeats == "?" {
        return Err(format!("\"{source}?\" may be missing"));
    }
    let source_of = || format!("{source}{repeats}");
    if matches!(source, "." | "\\S" | "\\D" | "\\W") {
        return Ok(if repeats.is_empty() {
            Part::Named { name, exact: false, source: source_of() }
        } else {
            Part::Rest(name)
        });
    }
    let negated = source.starts_with("[^");
    if source.starts_with('[') && source.contains('/') != negated {
        return Err(format!("\"{source}\" may hold a slash"));
    }
    Ok(Part::Named { name, exact: source == "[^/]" && repeats == "+", source: source_of() })
}

/// The expression cut at its slashes.
fn segments(body: &str) -> Result<Vec<Vec<Atom>>, String> {
    let inner = body.strip_prefix("\\/").or_else(|| body.strip_prefix('/'));
    let mut rest = inner.ok_or("the expression does not begin with a slash")?;
    let (mut segments, mut current) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (mut atom, after) = atom(rest)?;
        let (found, after) = repeats(after)?;
        rest = after;
        match &mut atom {
            Atom::Char(_) if !found.is_empty() => return Err("text that repeats has no counterpart".to_owned()),
            Atom::Char('/') => {
                segments.push(std::mem::take(&mut current));
                continue;
            }
            Atom::Char(_) => {}
            Atom::Expression { repeats, .. } => found.clone_into(repeats),
        }
        current.push(atom);
    }
    segments.push(current);
    Ok(segments)
}

fn atom(text: &str) -> Result<(Atom, &str), String> {
    let expression = |name: Option<String>, length: usize| {
        let (source, after) = text.split_at_checked(length).ok_or("the expression is broken")?;
        Ok((Atom::Expression { name, source: source.to_owned(), repeats: String::new() }, after))
    };
    let mut letters = text.chars();
    match letters.next() {
        Some('\\') => match letters.next() {
            Some(letter @ ('d' | 'w' | 's' | 'D' | 'W' | 'S')) => expression(None, 1 + letter.len_utf8()),
            Some(letter) if letter.is_ascii_alphanumeric() => Err(format!("\"\\{letter}\" has no counterpart")),
            Some(letter) => Ok((Atom::Char(letter), letters.as_str())),
            None => Err("the expression ends in a backslash".to_owned()),
        },
        Some('.') => expression(None, 1),
        Some('[') => {
            // A bracket right behind the opening one, or behind ^, stands for itself.
            let skip = if text.starts_with("[^") { 3 } else { 2 };
            let close = text.get(skip..).and_then(|rest| rest.find(']')).ok_or("a class is not closed")?;
            expression(None, skip + close + 1)
        }
        Some('(') => group(text),
        Some(letter @ ('|' | '^' | '$' | '*' | '+' | '?' | '{')) => {
            Err(format!("\"{letter}\" has no counterpart here"))
        }
        Some(letter) => Ok((Atom::Char(letter), letters.as_str())),
        None => Err("the expression is broken".to_owned()),
    }
}

fn group(text: &str) -> Result<(Atom, &str), String> {
    let mut depth = 0_usize;
    let mut is_escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '(' => depth += 1,
            ')' if depth == 1 => {
                let (source, after) = text.split_at(at + 1);
                let behind = ["(?<", "(?P<"].iter().find_map(|start| source.strip_prefix(start));
                let name = behind.and_then(|rest| rest.split_once('>')).map(|(name, _)| name);
                if name.is_some_and(|name| name.starts_with(['=', '!']))
                    || (name.is_none() && source.starts_with("(?") && !source.starts_with("(?:"))
                {
                    return Err(format!("\"{source}\" looks around itself"));
                }
                let (name, source) = (name.map(str::to_owned), source.to_owned());
                return Ok((Atom::Expression { name, source, repeats: String::new() }, after));
            }
            ')' => depth -= 1,
            '|' => return Err("alternatives have no counterpart; write a route for each".to_owned()),
            _ => {}
        }
        if depth > 8 {
            break;
        }
    }
    Err("a group is not closed".to_owned())
}

fn repeats(text: &str) -> Result<(&str, &str), String> {
    let length = match text.chars().next() {
        Some('*' | '+' | '?') => 1,
        Some('{') => text.find('}').ok_or("a repetition is not closed")? + 1,
        _ => return Ok(("", text)),
    };
    let lazy = text.get(length..).is_some_and(|rest| rest.starts_with(['?', '+']));
    Ok(text.split_at(length + usize::from(lazy)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(path: &str, strips: bool) -> Vec<(String, String)> {
        let places = places(path, true, strips).unwrap_or_else(|why| panic!("{path}: {why}"));
        let shown = |place: Place| (place.pattern, place.rewrite.unwrap_or_default());
        places.found.into_iter().map(shown).collect()
    }

    fn all(path: &str) -> Vec<String> {
        patterns(path, false).into_iter().map(|(pattern, _)| pattern).collect()
    }

    #[test]
    fn a_prefix_is_itself_and_all_below_it() {
        assert_eq!(all("/shop"), ["/shop", "/shop/{*rest}"]);
        assert_eq!(all("/shop/"), ["/shop/{*rest}"]);
        assert_eq!(all("/"), ["/{*rest}"]);
        assert_eq!(all("/a%20b"), ["/a%20b", "/a%20b/{*rest}"]);
        let stripped = [("/shop", "/"), ("/shop/{*rest}", "/{rest}")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(patterns("/shop", true), stripped);
        assert_eq!(patterns("/", true), [("/{*rest}".to_owned(), String::new())]);
    }

    #[test]
    fn expressions_for_whole_segments_become_names() {
        for (path, expected) in [
            ("~/orders/[^/]+$", &["/orders/{part}"][..]),
            ("~^/orders/(?<id>\\d+)/lines$", &["/orders/{id}/lines"]),
            ("~/orders/(?P<id>[a-z0-9-]+)/?$", &["/orders/{id}", "/orders/{id}/"]),
            ("~/files/(.*)$", &["/files/{*rest}"]),
            ("~/files/(?<name>.+)", &["/files/{*name}"]),
            ("~/v1/users/\\d+", &["/v1/users/{part}", "/v1/users/{part}/{*rest}"]),
            ("~/robots\\.txt$", &["/robots.txt"]),
            ("~/a(/.*)?$", &["/a", "/a/{*rest}"]),
            ("~/(?<version>[^/]+)/\\w{2}$", &["/{version_}/{part}"]),
        ] {
            assert_eq!(all(path), expected, "{path}");
        }
        assert_eq!(places("~/a/\\d+/[^/]+$", true, false).unwrap().widened, ["\\d+"]);
    }

    #[test]
    fn what_a_pattern_can_not_say_is_refused_with_the_reason() {
        for path in [
            "~/(a|b)$",
            "~/a\\d+$",
            "~/.*/x$",
            "~/a.b$",
            "~/a(?!b)$",
            "~/(?<=a)b$",
            "~/[^a]+$",
            "~/[a/]+$",
            "~/a+$",
            "~a",
            "~/\\bx",
            "~/(a",
            "~/[a",
            "~/a{2",
            "~/(\\d+)?$",
            "~/\\",
            "~",
            "",
            "~/(((((((((((a)))))))))))",
        ] {
            assert!(places(path, true, false).is_err(), "{path}");
        }
    }

    #[test]
    fn before_format_3_an_expression_shows_by_its_characters() {
        let found = |path: &str| places(path, false, false).map(|it| it.is_prefix);
        assert_eq!(found("/a/\\d+$"), Ok(false));
        assert_eq!(found("/a.b~c"), Ok(true));
    }
}
