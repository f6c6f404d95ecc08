//! What libinjection misses: it knows injections by the first five tokens, and HTML by a fixed list of tags and events. Each rule is
//! here because it raised the hits on public payload lists and left ordinary traffic alone; `tests/payloads/README.md` has the
//! figures. All run in time linear in the text.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::bytes::{RegexSet, RegexSetBuilder};

/// Sorted by what they look for.
const XSS: &[&str] = &[
    // Any event of any tag: browsers learn new ones faster than lists do.
    r"<[a-z/?!%][^>]*[^\w>]on[a-z]{3}[a-z]*[^\w<>]*=",
    // A URL that is code. What follows must look like code: "JavaScript: The Good Parts" is a book.
    r"(?:j\s*a\s*v\s*a|vb|live)\s*s\s*c\s*r\s*i\s*p\s*t\s*:\s*[^\s,]*[(`=\[\\]",
    // A page of its own in a URL.
    r"\bdata\s*:\s*(?:text/html|text/xml|image/svg\+xml|application/xhtml\+xml|[a-z]*/?(?:java)?script)",
    // The usual proofs, called with something that no sentence would have there.
    r#"\b(?:alert|confirm|prompt)\s*\(?\)?\s*[(`]\s*(?:[\d"'`/)\\]|document|window|string|origin|location|xss|this|self|top)"#,
    r#"\beval\s*\(\s*(?:["'`(]|unescape|atob|location|name|string|document|url|this|window|id|\w+\.\w)"#,
    // What such code is after.
    r"\bdocument\.(?:cookie|domain|write(?:ln)?\s*\(|location|body\.)",
    r"\bstring\.fromcharcode\b|\.innerhtml\s*=|\bconstructor\.constructor\b|\bsettimeout\s*\(\s*['`]",
    r#"\b(?:top|self|window|parent|this|frames)\[\s*["'`/\d(]"#,
    // Out of a string, into a call, and the rest of the line commented out.
    r#"^[^\s"'`\\]*["'`\\]+[\s;,)\]}*+\-/|&^?=(]+[\w.\s=]+\([^)]*\)[^\w]*//"#,
    // Tags in pieces, with noise, or in other alphabets (UTF-7, escapes of JavaScript).
    r"<[^\w\s>]*\s*script\b|\bscript\s*>|<scr\W|\+adw-|\\(?:x3c|u003c|074)\s*/?\s*[a-z]{2,}",
    // Styles that run code, or load it.
    r"\bexpression\s*\(\s*(?:[\w.]+\(|\w+=)|-moz-binding\s*:|\bbehaviou?r\s*:\s*url|@import\s+(?:url|['\x22\\])",
    // Server-side includes and PHP.
    r"<!--\s*#\s*(?:exec|include|echo|printenv)\b|<\?\s*(?:php|echo|=)",
    // Netscape's script entities.
    r"&\{[^}]*\}",
];

const SQLI: &[&str] = &[
    // Waiting, to see by the clock whether a guess was right.
    r"\bwaitfor\s+(?:delay|time)\s*['(@\x22]",
    r#"(?:^|\b(?:and|or|select|by|then|else|if|when)|[(,;|=+'"-])\s*\(*\s*(?:pg_)?sleep\s*\([\s(]*\d[\d.]*\s*[),*^]"#,
    r"\bbenchmark\s*\(\s*\d+\s*,|\bdbms_(?:lock|pipe|session)\.\w+\s*\(|\brandomblob\s*\(",
    // Functions with which databases are made to tell, read, write and run things.
    r"\b(?:extractvalue|updatexml|load_file|regexp_substring|generate_series|xp_cmdshell|sys_eval|pg_read_file|lo_import|crypt_key)\s*\(",
    r"\b(?:utl_inaddr|utl_http|ctxsys|dbms_xmlgen|dbms_ldap)\.\w|\bprocedure\s+analyse\s*\(",
    r"\binto\s+(?:out|dump)file\b|\bxp_(?:cmdshell|regread|dirtree|fileexist|availablemedia|enumdsn)\b|\bexec(?:ute)?\s+(?:master|xp_|sp_)",
    // Where databases keep what they know of themselves.
    r"\b(?:information_schema\s*\.|sysobjects\b|syscolumns\b|sysdatabases\b|pg_catalog\.|pg_shadow\b|sqlite_master\b|mysql\.user\b|rdb\$database|sysibm\.|sysmaster:)",
    r"\bfrom\s+(?:all_tables|all_tab_columns|user_tables|dual|v\$version|pg_user|pg_tables|pg_database|master\.\.\w+)\b|@@(?:version|servername|datadir|hostname|microsoftversion)\b",
    // A second question behind the first. "The union select committee" has no columns.
    r#"\bunion\b\s*(?:/\*[^*]*\*/\s*)?(?:(?:all|distinct)\b)?[\s(]*\bselect\b[\s(]*(?:null\b|\d|['"@*]|char\b|concat\b|all\b|distinct\b|top\b|\w+\s*(?:,|\()|\w+(?:\.\w+)?\s+from\b|$)"#,
    r"\(\s*select\s*(?:\*|count\s*\(|case\b|\(|top\s+\d|cha?r\s*\(|concat|@@|null\b|\d|\w+\s+from\s+\w+(?:\.|\s+where|\s+limit))",
    r"\bselect\s+(?:case\s+when\b|\*\s+from\b|(?:count|char|concat|version|user|database|current_user|substring|ascii)\s*\()",
    // How many columns there are.
    r#"(?:^|[\d'")])\s*(?:order|group)\s+by\s+\d+\s*(?:$|--|#|,\s*[\d-]|;|/\*)"#,
    // Two numbers compared after a conjunction: true or false whatever the row.
    r#"(?:^|[\s'")\d])(?:or|and|xor|having|where|\|\||&&)[\s(+!~]+['"(]*-?\d+['")]*\s*(?:=|<>|!=|<|>|\blike\b)\s*['"(]*-?\d+"#,
    r#"(?:^|['")])\s*(?:or|\|\|)[\s(]+(?:true|not\s+false|1|'[^']*'|"[^"]*")\s*(?:$|--|#|/\*|;)"#,
    r"^\W*(?:or|and)\s+(?:x\s*=\s*[xy]|'?a'?\s*=\s*'?a)\W*$",
    // A statement of its own.
    r"[;'\x22)]\s*(?:drop|alter|truncate|create)\s+(?:table|database|view|user|login|function|or\s+replace|index|schema|procedure)\b",
    r"[;'\x22)]\s*(?:insert\s+into|delete\s+from|update\s+\w+\s+set|exec(?:ute)?[\s(]+\w+|declare\s+@|shutdown\b|iif\s*\(|desc\s+\w+\s*;|select\b[^;.]{0,30}(?:\bfrom\b|\bcase\b|\())",
    // Out of a string, and the rest of the statement commented out.
    r#"^[^\s'"]*['"]\s*\)*\s*(?:--|#|/\*)\s*$"#,
    r"'\s+in\s+boolean\s+mode\s*\)",
    // Characters by their numbers, glued together.
    r"\bcha?r\s*\(\s*(?:\d+|0x[0-9a-f]+)\s*\)\s*(?:\|\||\+|&|,)\s*cha?r\s*\(",
];

/// Names of characters in HTML that hide a scheme or a call; the numbers stand for all others.
const NAMED: [(&[u8], u8); 12] = [
    (b"lpar;", b'('),
    (b"rpar;", b')'),
    (b"colon;", b':'),
    (b"tab;", b'\t'),
    (b"newline;", b'\n'),
    (b"grave;", b'`'),
    (b"quot;", b'"'),
    (b"apos;", b'\''),
    (b"lt;", b'<'),
    (b"gt;", b'>'),
    (b"sol;", b'/'),
    (b"equals;", b'='),
];

static RULES: LazyLock<Option<(RegexSet, RegexSet)>> = LazyLock::new(|| compile().ok());

fn compile() -> Result<(RegexSet, RegexSet), regex::Error> {
    let set = |rules: &[&str]| RegexSetBuilder::new(rules).case_insensitive(true).unicode(false).build();
    Ok((set(XSS)?, set(SQLI)?))
}

/// Compiles the rules, so that no request has to wait for it. For the start of the process.
pub(crate) fn prepare() {
    LazyLock::force(&RULES);
}

pub(super) fn is_xss(text: &[u8]) -> bool {
    RULES.as_ref().is_some_and(|(xss, _)| xss.is_match(text))
}

pub(super) fn is_sqli(text: &[u8]) -> bool {
    RULES.as_ref().is_some_and(|(_, sqli)| sqli.is_match(text))
}

/// The text as a browser reads it inside an attribute: characters that were written as `&#x28;`, `&#40` or `&lpar;`.
pub(super) fn without_entities(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'&') {
        return Cow::Borrowed(text);
    }
    let (mut decoded, mut rest, mut is_changed) = (Vec::with_capacity(text.len()), text, false);
    while let Some((&first, after)) = rest.split_first() {
        let entity = if first == b'&' { entity(after) } else { None };
        is_changed |= entity.is_some();
        let (byte, length) = entity.unwrap_or((first, 0));
        decoded.push(byte);
        rest = after.get(length..).unwrap_or_default();
    }
    if is_changed { Cow::Owned(decoded) } else { Cow::Borrowed(text) }
}

/// The ASCII character that begins behind an `&`, and how long its name is.
fn entity(text: &[u8]) -> Option<(u8, usize)> {
    let Some(number) = text.strip_prefix(b"#") else {
        let is_it = |name: &[u8]| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        return NAMED.iter().find(|(name, _)| is_it(name)).map(|(name, byte)| (*byte, name.len()));
    };
    let (digits, radix) = match number.split_first() {
        Some((b'x' | b'X', digits)) => (digits, 16),
        _ => (number, 10),
    };
    let count = digits.iter().take(16).take_while(|byte| char::from(**byte).is_digit(radix)).count();
    let digits_of = |byte: &u8| char::from(*byte).to_digit(radix);
    let value = digits
        .iter()
        .take(count)
        .filter_map(digits_of)
        .fold(0_u32, |sum, digit| sum.saturating_mul(radix).saturating_add(digit));
    let before = text.len() - digits.len();
    let closed = usize::from(digits.get(count) == Some(&b';'));
    let byte = u8::try_from(value).ok().filter(|byte| count > 0 && byte.is_ascii())?;
    Some((byte, before + count + closed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rules_compile() {
        compile().unwrap();
    }

    #[test]
    fn characters_by_number_and_name_are_read() {
        assert_eq!(&*without_entities(b"jav&#x09;a&colon;&#40&#0000041;&#xZ;&amp;"), b"jav\ta:()&#xZ;&amp;");
        assert!(matches!(without_entities(b"R&D & more&#"), Cow::Borrowed(_)));
        assert_eq!(&*without_entities(b"&#99999999999999999999999;"), b"&#99999999999999999999999;");
    }
}
