//! Who does something, and from where: what the history and the audit keep of them.

use std::net::IpAddr;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// An admin's email, a token's name, an application: as people read it.
    pub name: String,
    /// Where the request came from; none for what is done on the machine itself.
    pub address: Option<IpAddr>,
    pub request_id: Option<String>,
}

impl From<&str> for Actor {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

impl From<&Actor> for Actor {
    fn from(actor: &Actor) -> Self {
        actor.clone()
    }
}
