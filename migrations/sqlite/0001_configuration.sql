-- The configuration: what operators edit, its history and its head.
-- Columns are the JSON names in snake_case. What is one value has a column of its own, so that it can be read and mended by
-- hand; lists and nested things are JSON. A NULL stands for the model's own default. Times are microseconds since 1970.
-- Tables are STRICT: a value of another type than its column's is refused.

-- Services: backends behind the gateway.
CREATE TABLE gateway_service_config (
    id BLOB NOT NULL PRIMARY KEY,
    service_name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL DEFAULT '',
    default_url TEXT,
    current_version TEXT,
    fallback_url TEXT,
    is_active INTEGER NOT NULL DEFAULT TRUE,
    maintenance TEXT,
    sticky_on TEXT NOT NULL DEFAULT 'none',
    load_balancing TEXT,
    health_check TEXT,
    ejection TEXT,
    timeouts TEXT,
    retries TEXT,
    max_concurrent INTEGER,
    protocol TEXT NOT NULL DEFAULT 'http1',
    tls TEXT,
    host_header TEXT NOT NULL DEFAULT 'keep',
    format_version INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL DEFAULT 0,
    updated_at INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Deployed versions of a service, in the order in which they were written.
CREATE TABLE gateway_service_version (
    id BLOB NOT NULL PRIMARY KEY,
    service_id BLOB NOT NULL REFERENCES gateway_service_config (id) ON DELETE CASCADE ON UPDATE CASCADE,
    position INTEGER NOT NULL DEFAULT 0,
    version TEXT NOT NULL,
    api_version TEXT,
    url TEXT,
    instances TEXT,
    weight INTEGER NOT NULL DEFAULT 0,
    is_active INTEGER NOT NULL DEFAULT TRUE,
    created_at INTEGER NOT NULL DEFAULT 0,
    updated_at INTEGER NOT NULL DEFAULT 0,
    UNIQUE (service_id, version)
) STRICT;

-- Routes: which requests go where, under which policies.
CREATE TABLE gateway_route (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    hosts TEXT,
    path TEXT NOT NULL,
    methods TEXT,
    headers TEXT,
    query TEXT,
    priority INTEGER NOT NULL DEFAULT 0,
    target TEXT,
    rewrite TEXT,
    access TEXT,
    limits TEXT,
    cors TEXT,
    screening TEXT NOT NULL DEFAULT 'off',
    ip_allow TEXT,
    ip_deny TEXT,
    transform TEXT,
    cache TEXT,
    max_body_bytes INTEGER,
    timeouts TEXT,
    retries TEXT,
    is_active INTEGER NOT NULL DEFAULT TRUE,
    format_version INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL DEFAULT 0,
    updated_at INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Applications: who calls.
CREATE TABLE gateway_application (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL DEFAULT '',
    allowed_services TEXT,
    allowed_versions TEXT,
    is_active INTEGER NOT NULL DEFAULT TRUE,
    jwt_clients TEXT,
    limits TEXT,
    ip_allow TEXT,
    ip_deny TEXT,
    callback_hosts TEXT,
    format_version INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL DEFAULT 0,
    updated_at INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Endpoints that an application may call.
CREATE TABLE gateway_endpoint_whitelist (
    id BLOB NOT NULL PRIMARY KEY,
    application_id BLOB NOT NULL REFERENCES gateway_application (id) ON DELETE CASCADE ON UPDATE CASCADE,
    position INTEGER NOT NULL DEFAULT 0,
    endpoint_path TEXT NOT NULL,
    allowed_methods TEXT,
    allowed_versions TEXT,
    rate_limit INTEGER NOT NULL DEFAULT 0,
    is_public INTEGER NOT NULL DEFAULT FALSE,
    created_at INTEGER NOT NULL DEFAULT 0,
    updated_at INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX gateway_endpoint_whitelist_application_id ON gateway_endpoint_whitelist (application_id);

-- API keys of an application. A key is found by its prefix, so no two may share one.
CREATE TABLE gateway_api_key (
    id BLOB NOT NULL PRIMARY KEY,
    application_id BLOB NOT NULL REFERENCES gateway_application (id) ON DELETE CASCADE ON UPDATE CASCADE,
    position INTEGER NOT NULL DEFAULT 0,
    name TEXT NOT NULL DEFAULT '',
    prefix TEXT NOT NULL UNIQUE,
    api_key_hash TEXT NOT NULL,
    expires_at INTEGER,
    is_active INTEGER NOT NULL DEFAULT TRUE,
    created_at INTEGER NOT NULL DEFAULT 0,
    updated_at INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX gateway_api_key_application_id ON gateway_api_key (application_id);

-- Issuers of JWTs. Secrets are references, never the secret itself.
CREATE TABLE gateway_jwt_issuer (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    issuer TEXT NOT NULL,
    audiences TEXT,
    algorithms TEXT,
    secret TEXT,
    public_key_pem TEXT,
    jwks_url TEXT,
    introspection_url TEXT,
    client_id TEXT,
    client_secret TEXT,
    claims TEXT,
    leeway_seconds INTEGER NOT NULL DEFAULT 0,
    format_version INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL DEFAULT 0,
    updated_at INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Queues. The schema is kept letter by letter (JSON, not JSONB), for a number that the database rewrote would have
-- another digest.
CREATE TABLE gateway_queue (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    broker TEXT NOT NULL DEFAULT 'embedded',
    connection TEXT,
    destination TEXT,
    max_body_bytes INTEGER,
    schema TEXT,
    on_broker_down TEXT,
    confirm_timeout_ms INTEGER NOT NULL DEFAULT 2000,
    concurrency INTEGER NOT NULL DEFAULT 8,
    max_attempts INTEGER NOT NULL DEFAULT 5,
    is_active INTEGER NOT NULL DEFAULT TRUE,
    format_version INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL DEFAULT 0,
    updated_at INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Certificates of the TLS listener.
CREATE TABLE gateway_certificate (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    hosts TEXT,
    certificate_pem TEXT NOT NULL,
    private_key TEXT NOT NULL,
    format_version INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL DEFAULT 0,
    updated_at INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What holds for the whole fleet: one row at most.
CREATE TABLE gateway_defaults (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    limits TEXT,
    ip_allow TEXT,
    ip_deny TEXT,
    cors TEXT,
    security_headers TEXT,
    max_body_bytes INTEGER NOT NULL DEFAULT 10485760,
    max_header_bytes INTEGER NOT NULL DEFAULT 32768,
    max_uri_bytes INTEGER NOT NULL DEFAULT 8192,
    format_version INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL DEFAULT 0,
    updated_at INTEGER NOT NULL DEFAULT 0,
    CHECK (name = 'defaults')
) STRICT;

-- The history: one row for each write, numbered without gaps in commit order. `touched` lists [kind, name] of what it
-- wrote.
CREATE TABLE config_generation (
    number INTEGER PRIMARY KEY,
    created_at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    summary TEXT NOT NULL,
    digest TEXT NOT NULL,
    format_version INTEGER NOT NULL,
    changes TEXT NOT NULL,
    touched TEXT NOT NULL
) STRICT;

-- The newest generation: one row, which every writer locks first and moves last.
CREATE TABLE config_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL,
    digest TEXT NOT NULL,
    format_version INTEGER NOT NULL
) STRICT;

-- Writers update this row; they never insert it. The digest of generation 0 is known to whoever reads it.
INSERT INTO config_head (id, generation, digest, format_version) VALUES (1, 0, '', 1);
