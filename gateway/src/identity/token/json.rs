//! The JSON of tokens: an object in which no key stands twice.

use gateway_config::strict_json;
use serde_json::{Map, Value};

/// Reads one JSON object, and nothing after it.
pub(super) fn object(text: &[u8]) -> Option<Map<String, Value>> {
    match strict_json::parse(text) {
        Ok(Value::Object(map)) => Some(map),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_object_whose_keys_stand_once_is_taken() {
        let nested = r#"{"a":{"b":1,"b":2}}"#;
        for bad in
            [r#"{"a":1,"a":1}"#, nested, r#"{"a":1,"\u0061":2}"#, "[]", "1", "", "{", r#"{"a":1} {"#, r#"{"a":1e999}"#]
        {
            assert!(object(bad.as_bytes()).is_none(), "{bad}");
        }
        let deep = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
        assert!(object(deep.as_bytes()).is_none());
        assert!(object(b"{\"a\":\"\xff\"}").is_none());
        let text = r#" {"a":1,"b":[-1,1.5,null,true,"x\n"],"c":{"a":{}}} "#;
        assert_eq!(Value::Object(object(text.as_bytes()).unwrap()), serde_json::from_str::<Value>(text).unwrap());
    }
}
