//! Where the described service is: its `servers`, or what the caller says instead.

use gateway_config::model::Problem;
use gateway_config::snapshot::UpstreamUrl;
use serde_json::Value;

use super::super::draft::Draft;
use super::super::foreign::{members, text};

/// The service's `defaultUrl`.
pub(super) fn base_url(root: &Value, given: Option<&str>, draft: &mut Draft) -> Result<String, Vec<Problem>> {
    let servers = members(root, "servers");
    let first = servers.first().map_or(Ok("/".to_owned()), filled);
    for (at, server) in servers.iter().enumerate().skip(1) {
        let message = match filled(server) {
            Ok(url) => {
                format!("only the first server is taken; this one would be a version of the service: {}", shown(&url))
            }
            Err(why) => format!("only the first server is taken; of this one {why}"),
        };
        draft.lose(format!("servers/{at}"), message);
    }
    let problem = |path: &str, message: String| vec![Problem::new(path, message)];
    let Some(given) = given else {
        let url = first.map_err(|why| problem("servers/0/url", format!("{why}; or give ?url=")))?;
        if !url.contains("://") {
            let message = "the document's servers name no host; say with ?url=http://… where the service is";
            return Err(problem("url", message.to_owned()));
        }
        return UpstreamUrl::parse(&url)
            .map(|_| url)
            .map_err(|why| problem("servers/0/url", format!("{why}; or give ?url=")));
    };
    let parsed = UpstreamUrl::parse(given).map_err(|why| problem("url", why))?;
    if !parsed.base_path.is_empty() {
        return Ok(given.to_owned());
    }
    // The host is another, the path below which everything lies is most likely not.
    let path = first.ok().map(|url| path_of(&url).to_owned()).unwrap_or_default();
    let url = format!("{}{}", given.trim_end_matches('/'), path.trim_end_matches('/'));
    Ok(if UpstreamUrl::parse(&url).is_ok() { url } else { given.to_owned() })
}

/// The server's URL with its variables' defaults in their places.
fn filled(server: &Value) -> Result<String, String> {
    let url = text(server, "url").ok_or("the server has no url")?;
    let mut filled = String::new();
    let mut rest = url;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}').ok_or("the server's url has a brace that is not closed")?;
        let default = server.get("variables").and_then(|variables| text(variables.get(name)?, "default"));
        filled.push_str(before);
        filled.push_str(default.ok_or_else(|| format!("the server's variable \"{name}\" has no default"))?);
        rest = behind;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn path_of(url: &str) -> &str {
    let behind = url.split_once("://").map_or(url, |(_, rest)| rest);
    behind.find('/').and_then(|slash| behind.get(slash..)).unwrap_or_default()
}

/// A password written into a URL is not repeated.
fn shown(url: &str) -> &str {
    if url.contains('@') { "(its URL holds credentials)" } else { url }
}
