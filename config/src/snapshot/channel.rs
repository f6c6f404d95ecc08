//! A channel, compiled: which messages of a queue's topic a client may see, by who they are.
//!
//! Each rule names a place in a message's data and what must stand there: `{subject}`, `{application}`, `{roles}`, `{scopes}`
//! (`{scopes:room:}` for what follows that prefix), `{claims/rooms}` (a place in the token), or a name of the route's path. All rules must
//! hold, and one at least must be about who the client is: what stands in a path is the client's own choice.

use std::collections::BTreeMap;

use serde_json::Value;
use smol_str::SmolStr;

use super::caller::Caller;
use super::code::Code;
use super::decide::Refusal;
use super::pattern::{self, Captures, Pattern};
use super::problems::Problems;
use crate::model::Channel;

/// The rules as they stand in the configuration.
#[derive(Clone, Debug)]
pub struct CompiledChannel {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// A JSON pointer into the message's data.
    place: Box<str>,
    before: Box<str>,
    source: Source,
    after: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Subject,
    Application,
    Roles(Box<str>),
    Scopes(Box<str>),
    /// A JSON pointer into the token's claims.
    Claim(Box<str>),
    /// A capture of the route's path.
    Path(usize),
}

/// What one client may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    wanted: Vec<Wanted>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    place: Box<str>,
    values: Vec<String>,
    /// To be taken from the token first: a place in its claims, with what stands around the value.
    claim: Option<[Box<str>; 3]>,
}

impl CompiledChannel {
    pub(super) fn compile(channel: &Channel, path: &Pattern, problems: &mut Problems) -> Self {
        let rules = rules(&channel.filter, path, problems);
        let is_about_the_client = rules.iter().any(|rule| !matches!(rule.source, Source::Path(_)));
        if rules.len() == channel.filter.len() && !is_about_the_client {
            let message =
                "must say by who a client is which messages it sees, such as {\"/room_id\": \"{claims/rooms}\"}";
            problems.add("target/channel/filter", message);
        }
        Self { rules }
    }

    /// What this caller may see; a refusal where that could never be anything.
    pub fn filter(&self, caller: &Caller, path: &str, captures: &Captures) -> Result<Filter, Refusal> {
        let verified = caller.verified().ok_or_else(|| Refusal::new(Code::CredentialsMissing))?;
        let mut wanted = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            let texts = |list: &[SmolStr], prefix: &str| {
                list.iter().filter_map(|text| text.strip_prefix(prefix)).map(str::to_owned).collect()
            };
            let values: Vec<String> = match &rule.source {
                Source::Subject => verified.subject().map(str::to_owned).into_iter().collect(),
                Source::Application => {
                    verified.application.iter().map(|application| application.source.name.clone()).collect()
                }
                Source::Roles(prefix) => texts(verified.roles(), prefix),
                Source::Scopes(prefix) => texts(verified.scopes(), prefix),
                Source::Path(at) => vec![pattern::capture(path, captures, *at).to_owned()],
                Source::Claim(pointer) => {
                    let claim = Some([pointer.clone(), rule.before.clone(), rule.after.clone()]);
                    wanted.push(Wanted { place: rule.place.clone(), values: Vec::new(), claim });
                    continue;
                }
            };
            let values: Vec<String> =
                values.iter().map(|value| format!("{}{value}{}", rule.before, rule.after)).collect();
            wanted.push(Wanted { place: rule.place.clone(), values, claim: None });
        }
        Filter { wanted }.refuse_nothing()
    }
}

impl Filter {
    /// With what the token's claims say; a token that is none of JSON's has none.
    pub fn with_claims(mut self, claims: &Value) -> Result<Self, Refusal> {
        for wanted in &mut self.wanted {
            let Some([pointer, before, after]) = wanted.claim.take() else { continue };
            let named = claims.pointer(&pointer);
            let named: Vec<&Value> = match named {
                Some(Value::Array(list)) => list.iter().collect(),
                one => one.into_iter().collect(),
            };
            wanted.values =
                named.iter().filter_map(|value| plain(value)).map(|value| format!("{before}{value}{after}")).collect();
        }
        self.refuse_nothing()
    }

    /// Whether a message with this data may be shown. What is still to be taken from a token lets nothing through.
    #[must_use]
    pub fn passes(&self, data: &Value) -> bool {
        let holds = |wanted: &Wanted| {
            let found = data.pointer(&wanted.place).and_then(plain);
            wanted.claim.is_none() && found.is_some_and(|found| wanted.values.contains(&found))
        };
        !self.wanted.is_empty() && self.wanted.iter().all(holds)
    }

    fn refuse_nothing(self) -> Result<Self, Refusal> {
        if self.wanted.iter().all(|wanted| wanted.claim.is_some() || !wanted.values.is_empty()) {
            return Ok(self);
        }
        let message = "the credentials name nothing that this channel could show";
        Err(Refusal { message: Some(message.into()), ..Refusal::new(Code::ScopeMissing) })
    }
}

/// A text or a number; everything else is nothing that could be compared.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn rules(filter: &BTreeMap<String, String>, path: &Pattern, problems: &mut Problems) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (place, template) in filter {
        let field = format!("target/channel/filter/{}", place.trim_start_matches('/'));
        if !place.starts_with('/') {
            problems.add(&field, "must be a JSON pointer such as /room_id");
            continue;
        }
        match parse(template, path) {
            Ok((before, source, after)) => rules.push(Rule { place: place.as_str().into(), before, source, after }),
            Err(why) => problems.add(&field, why),
        }
    }
    rules
}

fn parse(template: &str, path: &Pattern) -> Result<(Box<str>, Source, Box<str>), String> {
    let braces = template.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let Some((before, (name, after))) = braces.filter(|(_, (_, after))| !after.contains(['{', '}'])) else {
        return Err("must hold one name in braces, such as {subject}".to_owned());
    };
    let source = match name.split_once([':', '/']) {
        None if name == "subject" => Source::Subject,
        None if name == "application" => Source::Application,
        None if name == "roles" => Source::Roles("".into()),
        None if name == "scopes" => Source::Scopes("".into()),
        Some(("roles", prefix)) if name.starts_with("roles:") => Source::Roles(prefix.into()),
        Some(("scopes", prefix)) if name.starts_with("scopes:") => Source::Scopes(prefix.into()),
        Some(("claims", rest)) if name.starts_with("claims/") => Source::Claim(format!("/{rest}").into()),
        _ => match path.position(name) {
            Some(at) => Source::Path(at),
            None => {
                let known = "subject, application, roles, scopes, claims/… or a name of the path";
                return Err(format!("{{{name}}} is none of {known}"));
            }
        },
    };
    Ok((before.into(), source, after.into()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::model::{Kind, Problem};
    use crate::snapshot::{Token, Verified};

    fn compiled(filter: &Value) -> (CompiledChannel, Vec<Problem>) {
        let channel: Channel = serde_json::from_value(json!({"queue": "chat", "filter": filter})).unwrap();
        let (mut problems, mut made) = (Problems::default(), None);
        let path = Pattern::parse("/rooms/{room}").unwrap();
        problems.at(Kind::Route, "r", |problems| made = Some(CompiledChannel::compile(&channel, &path, problems)));
        (made.unwrap(), problems.into_sorted())
    }

    fn ann() -> Caller {
        let texts = |list: &[&str]| list.iter().map(|text| SmolStr::from(*text)).collect();
        let token = Token {
            issuer: Arc::from("main"),
            subject: Some("ann".into()),
            client: None,
            roles: texts(&["member"]),
            scopes: texts(&["room:7", "room:8", "profile"]),
            expires_at: None,
        };
        Caller::Verified(Verified { token: Some(Arc::new(token)), ..Verified::default() })
    }

    fn filter(rules: &Value, caller: &Caller) -> Result<Filter, Refusal> {
        let (channel, problems) = compiled(rules);
        assert_eq!(problems, []);
        channel.filter(caller, "/rooms/7", &Captures::from_slice(&[(7, 8)]))
    }

    #[test]
    fn a_client_sees_what_its_credentials_name_and_nothing_else() {
        let own = filter(&json!({"/to": "{subject}"}), &ann()).unwrap();
        assert!(own.passes(&json!({"to": "ann"})));
        for other in [json!({"to": "bob"}), json!({}), json!({"to": null}), json!({"to": ["ann"]}), json!("ann")] {
            assert!(!own.passes(&other), "{other}");
        }
        let rooms = filter(&json!({"/room_id": "{scopes:room:}"}), &ann()).unwrap();
        assert!(rooms.passes(&json!({"room_id": 7})) && rooms.passes(&json!({"room_id": "8"})));
        assert!(!rooms.passes(&json!({"room_id": "profile"})) && !rooms.passes(&json!({"room_id": "room:7"})));
        let prefixed = filter(&json!({"/channel": "user-{subject}!"}), &ann()).unwrap();
        assert!(
            prefixed.passes(&json!({"channel": "user-ann!"})) && !prefixed.passes(&json!({"channel": "user-bob!"}))
        );
    }

    #[test]
    fn all_rules_must_hold() {
        let one_room = filter(&json!({"/room": "{room}", "/to": "{subject}"}), &ann()).unwrap();
        assert!(one_room.passes(&json!({"room": "7", "to": "ann"})));
        assert!(
            !one_room.passes(&json!({"room": "7", "to": "bob"}))
                && !one_room.passes(&json!({"room": "8", "to": "ann"}))
        );
    }

    #[test]
    fn claims_of_the_token_are_taken_when_the_channel_opens() {
        let open = filter(&json!({"/room_id": "{claims/chat/rooms}"}), &ann()).unwrap();
        assert!(!open.passes(&json!({"room_id": 7})), "before that nothing is shown");
        let open = open.with_claims(&json!({"chat": {"rooms": [7, "lobby", true]}})).unwrap();
        assert!(open.passes(&json!({"room_id": 7})) && open.passes(&json!({"room_id": "lobby"})));
        assert!(!open.passes(&json!({"room_id": "true"})));
        let none = filter(&json!({"/room_id": "{claims/rooms}"}), &ann()).unwrap();
        assert_eq!(none.with_claims(&json!({"rooms": []})).unwrap_err().code, Code::ScopeMissing);
    }

    #[test]
    fn who_is_nobody_or_may_see_nothing_is_refused() {
        assert_eq!(
            filter(&json!({"/to": "{subject}"}), &Caller::Anonymous).unwrap_err().code,
            Code::CredentialsMissing
        );
        assert_eq!(filter(&json!({"/a": "{application}"}), &ann()).unwrap_err().code, Code::ScopeMissing);
        assert_eq!(filter(&json!({"/a": "{roles:admin:}"}), &ann()).unwrap_err().code, Code::ScopeMissing);
    }

    #[test]
    fn a_filter_is_needed_and_must_be_about_the_client() {
        for (bad, path) in [
            (json!({}), "routes/r/target/channel/filter"),
            (json!({"/room": "{room}"}), "routes/r/target/channel/filter"),
            (json!({"room": "{subject}"}), "routes/r/target/channel/filter/room"),
            (json!({"/room": "all"}), "routes/r/target/channel/filter/room"),
            (json!({"/room": "{subject}{room}"}), "routes/r/target/channel/filter/room"),
            (json!({"/room": "{ghost}"}), "routes/r/target/channel/filter/room"),
            (json!({"/room": "{roles/x}"}), "routes/r/target/channel/filter/room"),
        ] {
            let (_, problems) = compiled(&bad);
            assert_eq!(problems.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(), [path], "{bad}");
        }
    }
}
