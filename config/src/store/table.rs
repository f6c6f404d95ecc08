//! The tables as data: one definition an entity, from which all SQL is made and by which all rows are read. A column is a
//! JSON field under its name in snake_case, so a new entity costs a definition and a migration.

use crate::model::Kind;

/// What a column holds, which says how it is bound and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Id,
    Text,
    Integer,
    Boolean,
    /// Microseconds since 1970.
    Time,
    /// A list or something nested.
    Json,
    /// Read as hexadecimal digits. No field of an entity is such.
    Bytes,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// The JSON field's name.
    pub field: &'static str,
    pub holds: Holds,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub name: &'static str,
    pub columns: &'static [Column],
    /// The columns that a listing searches.
    pub searched: &'static [&'static str],
    pub children: &'static [ChildTable],
}

/// The rows of a list inside an entity.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChildTable {
    pub name: &'static str,
    /// The list's JSON name.
    pub field: &'static str,
    /// The column that points at the entity.
    pub parent: &'static str,
    pub columns: &'static [Column],
}

const fn column(field: &'static str, holds: Holds) -> Column {
    Column { field, holds }
}

const fn text(field: &'static str) -> Column {
    column(field, Holds::Text)
}

const fn integer(field: &'static str) -> Column {
    column(field, Holds::Integer)
}

const fn json(field: &'static str) -> Column {
    column(field, Holds::Json)
}

const fn time(field: &'static str) -> Column {
    column(field, Holds::Time)
}

const ID: Column = column("id", Holds::Id);
const IS_ACTIVE: Column = column("isActive", Holds::Boolean);
const CREATED_AT: Column = time("createdAt");
const UPDATED_AT: Column = time("updatedAt");

#[must_use]
pub(super) const fn table(kind: Kind) -> &'static Table {
    match kind {
        Kind::Service => &SERVICE,
        Kind::Route => &ROUTE,
        Kind::Queue => &QUEUE,
        Kind::Application => &APPLICATION,
        Kind::Issuer => &ISSUER,
        Kind::Certificate => &CERTIFICATE,
        Kind::Defaults => &DEFAULTS,
    }
}

const SERVICE: Table = Table {
    name: "gateway_service_config",
    columns: &[
        ID,
        text("serviceName"),
        text("description"),
        text("defaultUrl"),
        text("currentVersion"),
        text("fallbackUrl"),
        IS_ACTIVE,
        json("maintenance"),
        text("stickyOn"),
        json("loadBalancing"),
        json("healthCheck"),
        json("ejection"),
        json("timeouts"),
        json("retries"),
        integer("maxConcurrent"),
        text("protocol"),
        json("tls"),
        text("hostHeader"),
        CREATED_AT,
        UPDATED_AT,
    ],
    searched: &["service_name", "description"],
    children: &[ChildTable {
        name: "gateway_service_version",
        field: "versions",
        parent: "service_id",
        columns: &[
            ID,
            text("version"),
            text("apiVersion"),
            text("url"),
            json("instances"),
            integer("weight"),
            IS_ACTIVE,
            CREATED_AT,
            UPDATED_AT,
        ],
    }],
};

const ROUTE: Table = Table {
    name: "gateway_route",
    columns: &[
        ID,
        text("name"),
        json("hosts"),
        text("path"),
        json("methods"),
        json("headers"),
        json("query"),
        integer("priority"),
        json("target"),
        text("rewrite"),
        json("access"),
        json("limits"),
        json("cors"),
        text("screening"),
        json("ipAllow"),
        json("ipDeny"),
        json("transform"),
        json("cache"),
        integer("maxBodyBytes"),
        json("timeouts"),
        json("retries"),
        IS_ACTIVE,
        CREATED_AT,
        UPDATED_AT,
    ],
    searched: &["name"],
    children: &[],
};

const APPLICATION: Table = Table {
    name: "gateway_application",
    columns: &[
        ID,
        text("name"),
        text("description"),
        json("allowedServices"),
        json("allowedVersions"),
        IS_ACTIVE,
        json("jwtClients"),
        json("limits"),
        json("ipAllow"),
        json("ipDeny"),
        json("callbackHosts"),
        CREATED_AT,
        UPDATED_AT,
    ],
    searched: &["name", "description"],
    children: &[
        ChildTable {
            name: "gateway_endpoint_whitelist",
            field: "whitelist",
            parent: "application_id",
            columns: &[
                ID,
                text("endpointPath"),
                json("allowedMethods"),
                json("allowedVersions"),
                integer("rateLimit"),
                column("isPublic", Holds::Boolean),
                CREATED_AT,
                UPDATED_AT,
            ],
        },
        ChildTable {
            name: "gateway_api_key",
            field: "apiKeys",
            parent: "application_id",
            columns: &[
                ID,
                text("name"),
                text("prefix"),
                text("apiKeyHash"),
                time("expiresAt"),
                IS_ACTIVE,
                CREATED_AT,
                UPDATED_AT,
            ],
        },
    ],
};

const ISSUER: Table = Table {
    name: "gateway_jwt_issuer",
    columns: &[
        ID,
        text("name"),
        text("issuer"),
        json("audiences"),
        json("algorithms"),
        text("secret"),
        text("publicKeyPem"),
        text("jwksUrl"),
        text("introspectionUrl"),
        text("clientId"),
        text("clientSecret"),
        json("claims"),
        integer("leewaySeconds"),
        CREATED_AT,
        UPDATED_AT,
    ],
    searched: &["name"],
    children: &[],
};

const QUEUE: Table = Table {
    name: "gateway_queue",
    columns: &[
        ID,
        text("name"),
        text("broker"),
        text("connection"),
        json("destination"),
        integer("maxBodyBytes"),
        json("schema"),
        text("onBrokerDown"),
        integer("confirmTimeoutMs"),
        integer("concurrency"),
        integer("maxAttempts"),
        IS_ACTIVE,
        CREATED_AT,
        UPDATED_AT,
    ],
    searched: &["name"],
    children: &[],
};

const CERTIFICATE: Table = Table {
    name: "gateway_certificate",
    columns: &[ID, text("name"), json("hosts"), text("certificatePem"), text("privateKey"), CREATED_AT, UPDATED_AT],
    searched: &["name"],
    children: &[],
};

const DEFAULTS: Table = Table {
    name: "gateway_defaults",
    columns: &[
        ID,
        text("name"),
        json("limits"),
        json("ipAllow"),
        json("ipDeny"),
        json("cors"),
        json("securityHeaders"),
        integer("maxBodyBytes"),
        integer("maxHeaderBytes"),
        integer("maxUriBytes"),
        CREATED_AT,
        UPDATED_AT,
    ],
    searched: &["name"],
    children: &[],
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Item;

    /// A field without a column would be lost on the way to the database and back.
    #[test]
    fn every_field_of_every_entity_has_a_column_or_a_child_table() {
        for kind in Kind::ALL {
            let value = json!({"hosts": [], "certificatePem": "", "privateKey": "file:a"});
            let value = if kind == Kind::Certificate { value } else { json!({}) };
            let entity = Item::from_json(kind, value).unwrap().to_json();
            let mut fields: Vec<&str> = entity.as_object().unwrap().keys().map(String::as_str).collect();
            let mut held: Vec<&str> = table(kind).columns.iter().map(|column| column.field).collect();
            held.extend(table(kind).children.iter().map(|child| child.field));
            fields.sort_unstable();
            held.sort_unstable();
            assert_eq!(fields, held, "{kind}");
        }
    }

    #[test]
    fn every_field_of_every_child_has_a_column() {
        for (kind, field) in
            [(Kind::Service, "versions"), (Kind::Application, "whitelist"), (Kind::Application, "apiKeys")]
        {
            let entity = Item::from_json(kind, json!({ field: [{}] })).unwrap().to_json();
            let mut fields: Vec<&str> = entity[field][0].as_object().unwrap().keys().map(String::as_str).collect();
            let child = table(kind).children.iter().find(|child| child.field == field).unwrap();
            let mut held: Vec<&str> = child.columns.iter().map(|column| column.field).collect();
            fields.sort_unstable();
            held.sort_unstable();
            assert_eq!(fields, held, "{kind} {field}");
        }
    }
}
