//! The paths that a Rust source names: those of its `use` trees and those written out in code, as seen from the crate's root.
//! A reader of tokens rather than of Rust: it knows comments, strings and braces, which is enough for paths.

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// `::`
    Into,
    Sign(char),
}

/// Every path of at least two words in the text of this module, and every path of a `use` or `extern crate`, `crate::` written
/// out for `self::` and `super::`.
pub(super) fn paths_in(text: &str, module: &[String]) -> Vec<String> {
    let tokens = tokens_of(text);
    let mut paths = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            Token::Word(word) if word == "use" || word == "crate" && follows_extern(&tokens, at) => {
                at += 1;
                tree(&tokens, &mut at, &[], &mut paths);
            }
            Token::Into if starts_path(&tokens, at) => at = path(&tokens, at + 1, &mut paths),
            Token::Word(_) => at = path(&tokens, at, &mut paths),
            _ => at += 1,
        }
    }
    paths.into_iter().map(|words| absolute(words, module).join("::")).collect()
}

/// `::name` begins at the root of all crates; behind a word or `>` the sign goes on with something.
fn starts_path(tokens: &[Token], at: usize) -> bool {
    at.checked_sub(1)
        .and_then(|before| tokens.get(before))
        .is_none_or(|before| !matches!(before, Token::Word(_) | Token::Sign('>')))
}

fn follows_extern(tokens: &[Token], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| tokens.get(before));
    before.is_some_and(|before| *before == Token::Word("extern".to_owned()))
}

/// Reads one path outside of a `use`; a single word is no path.
fn path(tokens: &[Token], mut at: usize, paths: &mut Vec<Vec<String>>) -> usize {
    let mut words = Vec::new();
    while let Some(Token::Word(word)) = tokens.get(at) {
        words.push(word.clone());
        at += 1;
        match (tokens.get(at), tokens.get(at + 1)) {
            (Some(Token::Into), Some(Token::Word(_))) => at += 1,
            (Some(Token::Into), _) => {
                at += 1;
                break;
            }
            _ => break,
        }
    }
    let goes_on = matches!(tokens.get(at.saturating_sub(1)), Some(Token::Into));
    if words.len() > 1 || goes_on {
        paths.push(words);
    }
    at
}

/// Reads a `use` tree: `a::{b, c::d as e, *}`.
fn tree(tokens: &[Token], at: &mut usize, above: &[String], paths: &mut Vec<Vec<String>>) {
    let mut words = above.to_vec();
    loop {
        match tokens.get(*at) {
            Some(Token::Word(word)) if word == "as" => *at += 2,
            Some(Token::Word(word)) => {
                words.push(word.clone());
                *at += 1;
            }
            Some(Token::Into | Token::Sign('*')) => *at += 1,
            Some(Token::Sign('{')) => {
                *at += 1;
                loop {
                    tree(tokens, at, &words, paths);
                    let sign = tokens.get(*at).cloned();
                    *at += 1;
                    if sign != Some(Token::Sign(',')) {
                        break;
                    }
                }
                return;
            }
            _ => break,
        }
    }
    if words.len() > above.len() || !above.is_empty() {
        paths.push(words);
    }
}

fn absolute(words: Vec<String>, module: &[String]) -> Vec<String> {
    let above = words.iter().take_while(|word| *word == "super").count();
    let own = words.first().is_some_and(|word| word == "self");
    if above == 0 && !own {
        return words;
    }
    let kept = module.len().saturating_sub(above);
    let skipped = if own { 1 } else { above };
    let root = std::iter::once("crate".to_owned());
    root.chain(module.iter().take(kept).cloned()).chain(words.into_iter().skip(skipped)).collect()
}

fn tokens_of(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(skipped) = blank(rest) {
            rest = rest.get(skipped..).unwrap_or_default();
        } else if first.is_alphabetic() || first == '_' {
            let end = rest.find(|sign: char| !sign.is_alphanumeric() && sign != '_').unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            tokens.push(Token::Word(word.to_owned()));
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("::") {
            tokens.push(Token::Into);
            rest = behind;
        } else {
            tokens.push(Token::Sign(first));
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    tokens
}

/// How many bytes of space, comment, string or character stand here, if any do.
fn blank(rest: &str) -> Option<usize> {
    let until =
        |end: &str, from: usize| rest.get(from..).and_then(|rest| rest.find(end)).map(|at| from + at + end.len());
    let all = rest.len();
    if rest.starts_with("//") {
        return Some(until("\n", 0).unwrap_or(all));
    }
    if rest.starts_with("/*") {
        return Some(until("*/", 2).unwrap_or(all));
    }
    if let Some(hashes) = raw_string(rest) {
        let opening = rest.find('"').unwrap_or_default() + 1;
        return Some(until(&format!("\"{}", "#".repeat(hashes)), opening).unwrap_or(all));
    }
    if rest.starts_with('"') {
        return Some(string_end(rest));
    }
    if let Some(behind) = rest.strip_prefix('\'') {
        // A character, or else a lifetime, whose quote alone is passed over.
        let mut signs = behind.char_indices();
        return match signs.next() {
            Some((_, '\\')) => until("'", 3).or(Some(1)),
            Some((_, sign)) if behind.get(sign.len_utf8()..).is_some_and(|rest| rest.starts_with('\'')) => {
                Some(sign.len_utf8() + 2)
            }
            _ => Some(1),
        };
    }
    rest.chars().next().filter(|sign| sign.is_whitespace()).map(char::len_utf8)
}

/// The number of `#` of a raw string that begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let behind = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    behind.get(hashes..)?.starts_with('"').then_some(hashes)
}

fn string_end(rest: &str) -> usize {
    let mut escaped = false;
    for (at, sign) in rest.char_indices().skip(1) {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        paths_in(text, &["store".to_owned(), "postgres".to_owned()])
    }

    #[test]
    fn a_use_tree_is_read_to_its_leaves() {
        let found = paths("use sqlx::{PgPool, postgres::{self, PgRow as Row}, types::*};");
        assert_eq!(found, ["sqlx::PgPool", "sqlx::postgres::self", "sqlx::postgres::PgRow", "sqlx::types"]);
    }

    #[test]
    fn a_tree_over_many_lines_and_a_bare_crate_are_read() {
        assert_eq!(
            paths("use {\n    axum,\n    http::Method,\n};\nextern crate sqlx;"),
            ["axum", "http::Method", "sqlx"]
        );
    }

    #[test]
    fn super_and_self_lead_from_the_module() {
        let found = paths("use super::super::snapshot::Snapshot; use self::rows::Row; fn f() { super::connect() }");
        assert_eq!(found, ["crate::snapshot::Snapshot", "crate::store::postgres::rows::Row", "crate::store::connect"]);
    }

    #[test]
    fn paths_in_code_and_attributes_are_read() {
        let found = paths("#[sqlx::test] fn f(x: ::axum::Body) -> Vec<u8> { Vec::<u8>::new(); pingora::run() }");
        assert_eq!(found, ["sqlx::test", "axum::Body", "Vec", "pingora::run"]);
    }

    #[test]
    fn comments_strings_and_characters_are_passed_over() {
        let text = r#"
            // sqlx::query in a comment
            /* axum::Router */
            fn f<'a>(x: &'a str) -> char { let _ = "pingora::run \" axum::x"; let _ = r"sqlx::y"; '"' }
            use http::Method;
        "#;
        assert_eq!(paths(text), ["http::Method"]);
    }
}
