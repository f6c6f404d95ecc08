//! Screening as a whole, and how often it is right.

use std::fmt::Write;

use proptest::prelude::*;

use super::*;

const SQLI: &str = include_str!("../../../../tests/payloads/sqli.txt");
const XSS: &str = include_str!("../../../../tests/payloads/xss.txt");
const ORDINARY: &str = include_str!("../../../../tests/payloads/ordinary.txt");

fn screen(text: &[u8]) -> Option<Kind> {
    Screener::new().screen(text)
}

/// A body of this type, where it is looked at at all.
fn screened(content_type: &str, body: &[u8]) -> Option<Finding> {
    screen_body(reading(Some(content_type))?, body)
}

fn lines(list: &str) -> Vec<&str> {
    list.lines().filter(|line| !line.is_empty()).collect()
}

/// As a browser sends it; what is percent-encoded in the list stays so.
fn as_query(value: &str) -> String {
    value.bytes().fold("q=".to_owned(), |mut query, byte| {
        match byte {
            b'%' => query.push('%'),
            _ if byte.is_ascii_alphanumeric() => query.push(char::from(byte)),
            _ => write!(query, "%{byte:02X}").unwrap(),
        }
        query
    })
}

fn kind(query: &str) -> Option<Kind> {
    screen_request("/", Some(query)).map(|finding| finding.kind)
}

/// In thousandths.
fn rate(list: &[&str], is_hit: impl Fn(&str) -> bool) -> usize {
    list.iter().filter(|line| is_hit(line)).count() * 1000 / list.len()
}

fn in_query(line: &str) -> bool {
    kind(&as_query(line)).is_some()
}

fn in_json(line: &str) -> bool {
    let body = serde_json::json!({"id": 7, "notes": [{"text": line}]}).to_string();
    screened("application/json", body.as_bytes()).is_some()
}

fn in_form(line: &str) -> bool {
    screened("application/x-www-form-urlencoded", format!("id=7&{}", as_query(line)).as_bytes()).is_some()
}

#[test]
fn nine_of_ten_injections_are_found() {
    for (list, name) in [(SQLI, "SQL injection"), (XSS, "cross-site scripting")] {
        let list = lines(list);
        assert!(list.len() >= 190, "{name}: {}", list.len());
        assert!(rate(&list, in_query) >= 900, "{name} in queries: {}", rate(&list, in_query));
        assert!(rate(&list, in_form) >= 900, "{name} in forms: {}", rate(&list, in_form));
        assert!(rate(&list, in_json) >= 900, "{name} in JSON: {}", rate(&list, in_json));
    }
}

#[test]
fn not_one_in_a_hundred_ordinary_values_raises_a_false_alarm() {
    let list = lines(ORDINARY);
    assert!(list.len() >= 490, "{}", list.len());
    for is_hit in [in_query, in_form, in_json] {
        let alarms: Vec<&&str> = list.iter().filter(|line| is_hit(line)).collect();
        assert!(alarms.len() * 100 <= list.len(), "{alarms:?}");
    }
}

#[test]
fn a_finding_says_where_it_is() {
    let place = |path: &str, query: &str| screen_request(path, Some(query)).map(|finding| finding.place.to_string());
    let place = |path, query| place(path, query).unwrap_or_default();
    assert_eq!(place("/a/%3Cscript%3Ealert(1)%3C%2Fscript%3E", ""), "segment 2 of the path");
    assert_eq!(place("/users/1' or 1=1--", ""), "segment 2 of the path");
    assert_eq!(place("/", "page=2&q=1'+or+1=1--"), "parameter 2 of the query");
    assert_eq!(place("/", "<svg/onload=alert(1)>=1"), "parameter 1 of the query");
    assert_eq!(place("/orders/42", "page=2&q=red+shoes"), "");
    assert_eq!(screen_request("/", None), None);
}

#[test]
fn values_are_decoded_once_and_once_more_and_not_a_third_time() {
    assert_eq!(kind("q=%27%20or%201%3D1--"), Some(Kind::Sqli));
    assert_eq!(kind("q=%2527%2520or%25201%253D1--"), Some(Kind::Sqli));
    assert_eq!(kind("q=%252527%252520or%2525201%25253D1%2523"), None);
    assert_eq!(kind("q=100%25+of+it"), None);
}

#[test]
fn keys_and_strings_of_json_are_screened_however_deep_they_lie() {
    let found = |body: &str| screened("application/json; charset=utf-8", body.as_bytes()).map(|finding| finding.kind);
    assert_eq!(found(r#"{"a": [1, true, null, {"b": "<script>alert(1)</script>"}]}"#), Some(Kind::Xss));
    assert_eq!(found(r#"{"' or 1=1--": 1}"#), Some(Kind::Sqli));
    assert_eq!(found(r#"{"a": "\u0027 or 1=1--"}"#), Some(Kind::Sqli));
    assert_eq!(found("{\"a\": 1}\n{\"a\": \"' or 1=1--\"}"), Some(Kind::Sqli));
    assert_eq!(found(r#"{"a": 1, "b": -2.5e3, "c": "plain", "d": []}"#), None);
    assert_eq!(found(""), None);
    for depth in [50, 99, 5000] {
        let nested = format!("{}\"<img src=x onerror=alert(1)>\"{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(found(&nested), Some(Kind::Xss), "{depth} deep");
    }
}

#[test]
fn what_only_claims_to_be_json_is_screened_as_text() {
    let body = b"{a: '<img src=x onerror=alert(1)>'}";
    assert!(screened("application/json", body).is_some());
    assert!(screened("application/vnd.example+json", b"\xff<script>alert(1)</script>").is_some());
}

#[test]
fn a_body_that_says_no_type_is_screened_like_one_that_does() {
    let script = b"{\"a\": \"<script>alert(1)</script>\"}";
    assert!(screened("text/plain", script).is_some());
    assert!(reading(None).and_then(|reading| screen_body(reading, script)).is_some());
}

#[test]
fn bodies_of_other_kinds_are_left_to_the_backend() {
    for content_type in ["image/png", "text/html", "multipart/form-data; boundary=x", ""] {
        assert_eq!(screened(content_type, b"<script>alert(1)</script>"), None, "{content_type}");
    }
}

#[test]
fn what_is_made_to_be_slow_uses_up_its_share_and_is_still_screened_by_rules() {
    let mut query = format!("q={}&", "<a ".repeat(1000)).repeat(40);
    assert_eq!(kind(&query), None);
    query.push_str("q=1+union+select+null,null");
    assert_eq!(kind(&query), Some(Kind::Sqli));
}

/// Pieces of which injections are made, so that random texts come near the detector's corners.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "'",
            "\"",
            "`",
            "/*",
            "*/",
            "--",
            "#",
            ";",
            "(",
            ")",
            "<",
            ">",
            "<!--",
            "-->",
            "<![CDATA[",
            "<?",
            "\\",
            "&#",
            "&#x",
            "x'",
            "0x",
            "$$",
            "$a$",
            "@@",
            "{",
            "}",
            "union",
            "select",
            " or ",
            "1",
            "1e",
            "e+",
            "q'[",
            "nq'",
            "u&'",
            "b'0",
            "=",
            "on",
            "%",
            "%27",
            "%2",
            "\0",
            "||",
            ":=",
            "<=>",
            "[",
            "\\N",
            "[[",
            "{\"a\":",
            ",",
            "javascript:",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn nothing_that_is_sent_makes_it_panic(bytes in pieces()) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = screen(&bytes);
        let _ = screen_request(&text, Some(&text));
        let _ = screened("application/json", &bytes);
        let _ = screened("application/x-www-form-urlencoded", &bytes);
    }

    #[test]
    fn words_and_numbers_are_never_an_injection(text in "[a-zA-Z0-9_.]{0,40}(-[a-zA-Z0-9_.]{1,20}){0,3}") {
        prop_assert_eq!(screen(text.as_bytes()), None);
    }
}
