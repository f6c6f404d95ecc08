//! The least role that each operation needs, said in the description. What holds is what the handlers take (`auth`); a test calls
//! every operation with the role below the one that stands here, and with this one.

use serde_json::{Value, json};

use super::parts::TOKEN;
use crate::auth::Role;

/// The name of the security scheme.
pub(super) const COOKIE: &str = "cookie";

/// POSTs that only ask.
const QUESTIONS: [&str; 4] = ["/admin/config/validate", "/admin/config/import", "/admin/explain", "/admin/preview"];

/// Marks whatever is secured.
pub(super) fn mark(document: &mut Value) {
    let Some(Value::Object(paths)) = document.get_mut("paths") else { return };
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            let Some(operation) = operation.as_object_mut().filter(|it| it.contains_key("security")) else { continue };
            let role = role_of(path, method);
            operation.insert("x-role".to_owned(), json!(role));
            operation.insert("security".to_owned(), json!([{TOKEN: []}, {COOKIE: []}]));
            let said = operation.get("description").and_then(Value::as_str).map(|said| format!("{said}\n\n"));
            let described = format!("{}Needs the role `{role}`.", said.unwrap_or_default());
            operation.insert("description".to_owned(), described.into());
        }
    }
}

fn role_of(path: &str, method: &str) -> Role {
    let is_own = path.starts_with("/admin/auth/") || path.starts_with("/admin/users/{id}/tokens");
    if path.starts_with("/admin/users") && !is_own {
        Role::Admin
    } else if path == "/admin/audit" || path.ends_with("/dead") || path.ends_with("/webhook-secret") {
        Role::Operator
    } else if is_own || method == "get" || QUESTIONS.contains(&path) {
        Role::Viewer
    } else {
        Role::Operator
    }
}
