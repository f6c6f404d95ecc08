//! The groups of operations, in the order in which somebody new would meet them.

use utoipa::openapi::Tag;
use utoipa::openapi::tag::TagBuilder;

const TAGS: [(&str, &str); 14] = [
    ("services", "The backends: where they are, in which versions, and how their instances are reached."),
    ("routes", "Which requests go where, under which policies."),
    ("queues", "Where requests become messages that are answered at once and worked off later."),
    ("applications", "Who calls, and what they may reach."),
    (
        "keys",
        "The API keys of an application. A key is shown once, when it is made, and never comes back once it was revoked.",
    ),
    ("issuers", "Whose JSON Web Tokens count."),
    ("certificates", "What the TLS listener shows."),
    ("defaults", "What holds for the whole fleet unless a route says otherwise."),
    ("auth", "Logging in and out, and who one is."),
    ("admins", "Who may use this API, and the tokens of their scripts."),
    ("config", "The configuration as a whole."),
    ("history", "What was written, what lies between, and the way back; and who did what."),
    ("insight", "What the gateways do, would do and have done."),
    ("itself", "The admin API about itself. Needs no token."),
];

pub(super) fn all() -> Vec<Tag> {
    TAGS.iter().map(|(name, about)| TagBuilder::new().name(*name).description(Some(*about)).build()).collect()
}
