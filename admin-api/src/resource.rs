//! The resources that operators edit. One line here gives a kind its paths, its handlers and its place in `openapi.json`.

use gateway_config::model::Kind;

/// A kind of entity as the API shows it.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) kind: Kind,
    /// The collection's path; the entity's own where there is only one.
    pub(crate) path: &'static str,
    /// The name in the entity's path; `None` where there is only one entity.
    pub(crate) parameter: Option<&'static str>,
    pub(crate) members: &'static [Members],
}

/// A list in an entity whose members have paths of their own, below the entity's.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) kind: Kind,
    /// The list's JSON name, also its path segment.
    pub(crate) field: &'static str,
    pub(crate) parameter: &'static str,
    /// One of them, in words.
    pub(crate) word: &'static str,
}

/// All of them. A static, for handlers hold on to theirs.
pub(crate) static RESOURCES: [Resource; 7] = [
    Resource {
        kind: Kind::Service,
        path: "/admin/routing/services",
        parameter: Some("serviceName"),
        members: &[Members { kind: Kind::Service, field: "versions", parameter: "version", word: "version" }],
    },
    Resource { kind: Kind::Route, path: "/admin/routing/routes", parameter: Some("name"), members: &[] },
    Resource { kind: Kind::Queue, path: "/admin/routing/queues", parameter: Some("name"), members: &[] },
    Resource {
        kind: Kind::Application,
        path: "/admin/access/applications",
        parameter: Some("name"),
        members: &[Members { kind: Kind::Application, field: "whitelist", parameter: "id", word: "whitelist entry" }],
    },
    Resource { kind: Kind::Issuer, path: "/admin/access/issuers", parameter: Some("name"), members: &[] },
    Resource { kind: Kind::Certificate, path: "/admin/edge/certificates", parameter: Some("name"), members: &[] },
    Resource { kind: Kind::Defaults, path: "/admin/edge/defaults", parameter: None, members: &[] },
];

impl Resource {
    /// The template of an entity's path.
    pub(crate) fn entity_path(&self) -> String {
        match self.parameter {
            Some(parameter) => format!("{}/{{{parameter}}}", self.path),
            None => self.path.to_owned(),
        }
    }

    /// The address of the entity of this name. Names that compile need no escaping.
    pub(crate) fn address(&self, name: &str) -> String {
        match self.parameter {
            Some(_) => format!("{}/{name}", self.path),
            None => self.path.to_owned(),
        }
    }

    pub(crate) fn members_path(&self, members: &Members) -> String {
        format!("{}/{}", self.entity_path(), members.field)
    }
}

impl Members {
    /// The field by which a member is known in its list.
    pub(crate) fn key(&self) -> &'static str {
        let child = self.kind.children().iter().find(|child| child.field == self.field);
        child.map_or("id", |child| child.key)
    }

    pub(crate) fn member_path(&self, of: &Resource) -> String {
        format!("{}/{{{}}}", of.members_path(self), self.parameter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_resource_and_every_member_list_is_a_child_of_its_kind() {
        for kind in Kind::ALL {
            assert!(RESOURCES.iter().any(|resource| resource.kind == kind), "{kind}");
        }
        for members in RESOURCES.iter().flat_map(|resource| resource.members) {
            let child = members.kind.children().iter().find(|child| child.field == members.field);
            assert!(child.is_some_and(|child| !child.read_only), "{}", members.field);
        }
    }
}
