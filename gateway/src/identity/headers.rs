//! What a backend is told of the caller in plain headers, beside the signed one.
//!
//! Values come from issuers and operators and may hold anything. Printable ASCII stands as it is; every other byte, `%` itself,
//! commas, and spaces at either end are percent-encoded, so that no value can end its header, begin another, or pass
//! for two roles, and whoever decodes gets exactly what was meant. What is empty is left out.

use std::fmt::Write;

use gateway_config::snapshot::Caller;
use http::{HeaderMap, HeaderName, HeaderValue};
use smol_str::SmolStr;

const X_GATEWAY_APPLICATION: HeaderName = HeaderName::from_static("x-gateway-application");
const X_GATEWAY_SUBJECT: HeaderName = HeaderName::from_static("x-gateway-subject");
const X_GATEWAY_ROLES: HeaderName = HeaderName::from_static("x-gateway-roles");
const X_GATEWAY_IDENTITY: HeaderName = HeaderName::from_static("x-gateway-identity");

/// Writes who calls into `headers`, from which all that a client sent under these names was removed before.
pub(crate) fn tell(headers: &mut HeaderMap, caller: &Caller, identity: Option<HeaderValue>) {
    if let Some(identity) = identity {
        headers.insert(X_GATEWAY_IDENTITY, identity);
    }
    let Caller::Verified(caller) = caller else { return };
    if let Some(application) = &caller.application {
        headers.insert(X_GATEWAY_APPLICATION, application.header.clone());
    }
    if let Some(subject) = caller.subject().and_then(subject) {
        headers.insert(X_GATEWAY_SUBJECT, subject);
    }
    if let Some(roles) = roles(caller.roles()) {
        headers.insert(X_GATEWAY_ROLES, roles);
    }
}

fn subject(subject: &str) -> Option<HeaderValue> {
    if subject.is_empty() {
        return None;
    }
    if is_plain(subject) {
        return HeaderValue::from_str(subject).ok();
    }
    let mut text = String::with_capacity(subject.len() * 3);
    encode(&mut text, subject);
    HeaderValue::try_from(text).ok()
}

fn roles(roles: &[SmolStr]) -> Option<HeaderValue> {
    let mut named = roles.iter().filter(|role| !role.is_empty());
    let first = named.next()?;
    let mut text = String::with_capacity(roles.iter().map(|role| role.len() + 1).sum());
    encode(&mut text, first);
    for role in named {
        text.push(',');
        encode(&mut text, role);
    }
    HeaderValue::try_from(text).ok()
}

fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first() != Some(&b' ') && bytes.last() != Some(&b' ') && bytes.iter().all(|byte| stands(*byte))
}

fn stands(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'%' && byte != b','
}

fn encode(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        if stands(byte) && !(byte == b' ' && (at == 0 || at == last)) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gateway_config::snapshot::{Code, Token, Verified};

    use super::*;

    fn caller(subject: Option<&str>, roles: &[&str]) -> Caller {
        let token = Token {
            issuer: "idp".into(),
            subject: subject.map(Into::into),
            client: None,
            roles: roles.iter().map(|role| (*role).into()).collect(),
            scopes: Vec::new(),
            expires_at: None,
        };
        Caller::Verified(Verified { token: Some(Arc::new(token)), ..Verified::default() })
    }

    fn told(caller: &Caller) -> HeaderMap {
        let mut headers = HeaderMap::new();
        tell(&mut headers, caller, None);
        headers
    }

    #[test]
    fn a_subject_and_roles_are_told_as_they_are() {
        let told = told(&caller(Some("user@example.com|42"), &["editor", "site admin"]));
        assert_eq!(told["x-gateway-subject"], "user@example.com|42");
        assert_eq!(told["x-gateway-roles"], "editor,site admin");
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn what_could_end_a_header_or_pass_for_another_role_is_encoded() {
        let told = told(&caller(Some("a\r\nX-Gateway-Roles: admin\0é 100%"), &["a,admin", " b ", "", "ü", "\t"]));
        assert_eq!(told["x-gateway-subject"], "a%0D%0AX-Gateway-Roles: admin%00%C3%A9 100%25");
        assert_eq!(told["x-gateway-roles"], "a%2Cadmin,%20b%20,%C3%BC,%09");
    }

    #[test]
    fn what_is_empty_or_unknown_is_left_out() {
        for nobody in
            [Caller::Anonymous, Caller::Rejected(Code::CredentialsInvalid), caller(Some(""), &[""]), caller(None, &[])]
        {
            assert!(told(&nobody).is_empty(), "{nobody:?}");
        }
    }

    #[test]
    fn the_signed_identity_is_told_of_everyone() {
        let mut headers = HeaderMap::new();
        headers.insert("x-gateway-identity", HeaderValue::from_static("forged"));
        tell(&mut headers, &Caller::Anonymous, Some(HeaderValue::from_static("signed")));
        assert_eq!(headers.get_all("x-gateway-identity").iter().collect::<Vec<_>>(), ["signed"]);
    }
}
