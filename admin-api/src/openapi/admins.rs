//! The operations on sessions, admins and their tokens.

use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::{Paths, RefOr, Required, ResponseBuilder, Schema};

use super::parts::{
    JSON, Secured, answer, body_like, header, if_match, if_none_match, named_in_path, of, operation, page_of, paging,
    read_answer, refused, response,
};
use super::resources::{MERGE_PATCH, add};
use crate::api::{
    AdminView, ChangePassword, CreateAdmin, CreateToken, Login, Me, PatchAdmin, Refresh, ShownToken, TokenView, Tokens,
};

/// What calls that need no token may answer beside a good answer.
const OPEN_REFUSALS: [u16; 8] = [400, 401, 403, 405, 413, 415, 422, 503];

/// Of the examples, and of nobody.
const PASSWORD: &str = "correct horse battery staple";

pub(super) fn describe(paths: &mut Paths) {
    add(paths, "/admin/auth/login", HttpMethod::Post, login());
    add(paths, "/admin/auth/refresh", HttpMethod::Post, refresh());
    add(paths, "/admin/auth/logout", HttpMethod::Post, logout());
    add(paths, "/admin/auth/me", HttpMethod::Get, me());
    add(paths, "/admin/auth/password", HttpMethod::Post, password());
    let (users, tokens) = ("/admin/users", "/admin/users/{id}/tokens");
    let (one, token) = (format!("{users}/{{id}}"), format!("{tokens}/{{tokenId}}"));
    add(paths, users, HttpMethod::Get, list());
    add(paths, users, HttpMethod::Post, create());
    add(paths, &one, HttpMethod::Get, show());
    add(paths, &one, HttpMethod::Patch, patch());
    add(paths, &one, HttpMethod::Delete, delete());
    add(paths, tokens, HttpMethod::Get, list_tokens());
    add(paths, tokens, HttpMethod::Post, create_token());
    add(paths, &token, HttpMethod::Delete, revoke_token());
}

fn login() -> OperationBuilder {
    let about = "Begins a session. After 5 failures of one email, or 20 from one address, the next attempts are refused with 429 for \
        a time that doubles with each failure up to 15 minutes. With `\"cookie\": true` the answer sets a cookie in place of the \
        tokens, and holds a `csrfToken`.";
    let asked = session("login", "Log in").description(Some(about)).request_body(Some(body_like(
        &[JSON],
        &of::<Login>(),
        &json!({"email": "ada@example.com", "password": PASSWORD}),
    )));
    refused(asked.response("200", begun()), OPEN_REFUSALS.iter().chain(&[429]))
}

fn refresh() -> OperationBuilder {
    let about = "Gets the next access and refresh tokens for a refresh token, or the next cookie for a cookie. Each is good once: \
        one that is used a second time was stolen by somebody, and ends its session.";
    let asked = session("refresh", "Renew a session").description(Some(about)).request_body(Some(renewing()));
    refused(asked.response("200", begun()), OPEN_REFUSALS.iter())
}

fn logout() -> OperationBuilder {
    let about = "Ends the session of an access token (also one that has expired), of a refresh token, or of a cookie.";
    session("logout", "Log out")
        .description(Some(about))
        .request_body(Some(renewing()))
        .response("204", done("Ended"))
        .secured(&[409, 413, 415])
}

fn me() -> OperationBuilder {
    session("me", "Who am I?").response("200", answer("The caller", of::<Me>()).build()).secured(&[])
}

fn password() -> OperationBuilder {
    let changed = json!({"current": PASSWORD, "new": "purple monkey dishwasher sonata"});
    session("changePassword", "Change one's own password; all other sessions end")
        .request_body(Some(body_like(&[JSON], &of::<ChangePassword>(), &changed)))
        .response("204", done("Changed"))
        .secured(&[409, 413, 415, 429])
}

fn list() -> OperationBuilder {
    about("listAdmins", "List: admin, by email")
        .parameters(Some(paging()))
        .parameter(if_none_match("The ETag of the page that the caller has"))
        .response("200", read_answer("A page", page_of(of::<AdminView>())))
        .response("304", response(304))
        .secured(&[])
}

fn create() -> OperationBuilder {
    let example = json!({
        "email": "ada@example.com", "name": "Ada", "role": "operator", "password": PASSWORD,
    });
    let made = answer("Created", of::<AdminView>())
        .header("ETag", header("Of what stands there now"))
        .header("Location", header("Its path"));
    about("createAdmin", "Create an admin")
        .request_body(Some(body_like(&[JSON], &of::<CreateAdmin>(), &example)))
        .response("201", made.build())
        .secured(&[409, 413, 415])
}

fn show() -> OperationBuilder {
    about("getAdmin", "Show an admin")
        .parameter(who())
        .parameter(if_none_match("The ETag of what the caller has"))
        .response("200", read_answer("As it stands", of::<AdminView>()))
        .response("304", response(304))
        .secured(&[404])
}

fn patch() -> OperationBuilder {
    about("patchAdmin", "Change an admin's name, role or password, or whether they may log in")
        .parameter(who())
        .parameter(if_match())
        .request_body(Some(body_like(&[MERGE_PATCH, JSON], &of::<PatchAdmin>(), &json!({"name": "Ada Lovelace"}))))
        .response("200", read_answer("Changed, or equal already", of::<AdminView>()))
        .secured(&[404, 409, 412, 413, 415])
}

fn delete() -> OperationBuilder {
    about("deleteAdmin", "Delete an admin with their tokens; 409 for the last active one who manages admins")
        .parameter(who())
        .parameter(if_match())
        .response("204", done("Gone"))
        .secured(&[404, 409, 412])
}

fn list_tokens() -> OperationBuilder {
    about("listTokens", "List the personal tokens of an admin, revoked ones too. Those of others need the role admin")
        .parameter(who())
        .parameters(Some(paging()))
        .parameter(if_none_match("The ETag of the page that the caller has"))
        .response("200", read_answer("A page", page_of(of::<TokenView>())))
        .response("304", response(304))
        .secured(&[404])
}

fn create_token() -> OperationBuilder {
    let shown: RefOr<Schema> = super::parts::named(&ShownToken::name());
    let example = json!({"name": "nightly deploy", "role": "operator", "expiresAt": "2027-12-31T23:59:59Z"});
    let made = answer("Made", shown).header("Location", header("Its path"));
    about("createToken", "Make a personal token; it is shown in this answer and never again")
        .parameter(who())
        .request_body(Some(body_like(&[JSON], &of::<CreateToken>(), &example)))
        .response("201", made.build())
        .secured(&[404, 409, 413, 415])
}

fn revoke_token() -> OperationBuilder {
    about("revokeToken", "Revoke a personal token. It stays in the list, and nothing brings it back")
        .parameter(who())
        .parameter(named_in_path("tokenId", "The token's id", "01a1fef9-f7a5-7c41-9d3e-5b8f0c2a6e17"))
        .response("204", done("Revoked"))
        .secured(&[404])
}

fn session(id: &str, summary: &str) -> OperationBuilder {
    operation(id, "auth", summary)
}

fn about(id: &str, summary: &str) -> OperationBuilder {
    operation(id, "admins", summary)
}

fn who() -> Parameter {
    named_in_path("id", "The admin's id or email, or `me`", "me")
}

fn begun() -> utoipa::openapi::Response {
    answer("The tokens, or what belongs to the cookie", of::<Tokens>())
        .header("Set-Cookie", header("By cookie: `gatehouse_session`"))
        .build()
}

fn done(description: &str) -> utoipa::openapi::Response {
    ResponseBuilder::new().description(description).build()
}

/// Absent where a cookie says it.
fn renewing() -> RequestBody {
    let token = json!({"refreshToken": "gar_MfTqYd2Vb8sK0wZx3nLpR7uHc5GjAeQiO1kB"});
    let mut may_be_empty = body_like(&[JSON], &of::<Refresh>(), &token);
    may_be_empty.required = Some(Required::False);
    may_be_empty
}
