//! `$ref` inside one document. Nothing is ever fetched or read from disk.

use serde_json::Value;

/// References that lead to references; more is a circle or a trap.
const LONGEST_CHAIN: usize = 16;

/// What `value` stands for: itself, or what its `$ref` leads to.
pub(super) fn resolve<'v>(root: &'v Value, value: &'v Value) -> Result<&'v Value, String> {
    let mut at = value;
    for _ in 0..LONGEST_CHAIN {
        let Some(reference) = at.get("$ref").and_then(Value::as_str) else { return Ok(at) };
        let Some(pointer) = reference.strip_prefix('#') else {
            return Err(format!("refers to another document, which is not followed: \"{reference}\""));
        };
        at = root.pointer(&decoded(pointer)).ok_or_else(|| format!("refers to \"{reference}\", which is not there"))?;
    }
    Err("its references go in a circle".to_owned())
}

/// A pointer in a URL's fragment may be percent-encoded.
fn decoded(pointer: &str) -> String {
    let mut bytes = Vec::with_capacity(pointer.len());
    let mut rest = pointer.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let escape = tail.split_first_chunk::<2>().filter(|_| byte == b'%');
        let value = escape.and_then(|([high, low], tail)| Some((digit(*high)? << 4 | digit(*low)?, tail)));
        match value {
            Some((value, tail)) => {
                bytes.push(value);
                rest = tail;
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_followed_inside_the_document_only() {
        let root = json!({
            "components": {"a": {"$ref": "#/paths/~1b%7Bx%7D"}, "loop": {"$ref": "#/components/loop"}},
            "paths": {"/b{x}": 7},
        });
        let to = |reference: &str| json!({"$ref": reference});
        assert_eq!(resolve(&root, &to("#/components/a")), Ok(&json!(7)));
        assert!(resolve(&root, &to("#/components/loop")).unwrap_err().contains("circle"));
        assert!(resolve(&root, &to("#/components/ghost")).unwrap_err().contains("not there"));
        for outside in ["other.yaml#/a", "https://example.com/a", "/etc/passwd", "file:///etc/passwd"] {
            assert!(resolve(&root, &to(outside)).unwrap_err().contains("another document"), "{outside}");
        }
    }
}
