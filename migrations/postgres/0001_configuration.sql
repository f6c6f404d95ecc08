-- The configuration: what operators edit, its history and its head.
-- Columns are the JSON names in snake_case. What is one value has a column of its own, so that it can be read and mended by
-- hand; lists and nested things are JSON. A NULL stands for the model's own default. Times are microseconds since 1970.
-- Names compare byte by byte (COLLATE "C"), so that listings have the same order on every server.

-- Services: backends behind the gateway.
CREATE TABLE gateway_service_config (
    id UUID NOT NULL PRIMARY KEY,
    service_name TEXT COLLATE "C" NOT NULL UNIQUE,
    description TEXT COLLATE "C" NOT NULL DEFAULT '',
    default_url TEXT,
    current_version TEXT,
    fallback_url TEXT,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    maintenance JSONB,
    sticky_on TEXT NOT NULL DEFAULT 'none',
    load_balancing JSONB,
    health_check JSONB,
    ejection JSONB,
    timeouts JSONB,
    retries JSONB,
    max_concurrent BIGINT,
    protocol TEXT NOT NULL DEFAULT 'http1',
    tls JSONB,
    host_header TEXT NOT NULL DEFAULT 'keep',
    format_version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL DEFAULT 0
);

-- Deployed versions of a service, in the order in which they were written.
CREATE TABLE gateway_service_version (
    id UUID NOT NULL PRIMARY KEY,
    service_id UUID NOT NULL REFERENCES gateway_service_config (id) ON DELETE CASCADE ON UPDATE CASCADE,
    position BIGINT NOT NULL DEFAULT 0,
    version TEXT NOT NULL,
    api_version TEXT,
    url TEXT,
    instances JSONB,
    weight BIGINT NOT NULL DEFAULT 0,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    created_at BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL DEFAULT 0,
    UNIQUE (service_id, version)
);

-- Routes: which requests go where, under which policies.
CREATE TABLE gateway_route (
    id UUID NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    hosts JSONB,
    path TEXT NOT NULL,
    methods JSONB,
    headers JSONB,
    query JSONB,
    priority BIGINT NOT NULL DEFAULT 0,
    target JSONB,
    rewrite TEXT,
    access JSONB,
    limits JSONB,
    cors JSONB,
    screening TEXT NOT NULL DEFAULT 'off',
    ip_allow JSONB,
    ip_deny JSONB,
    transform JSONB,
    cache JSONB,
    max_body_bytes BIGINT,
    timeouts JSONB,
    retries JSONB,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    format_version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL DEFAULT 0
);

-- Applications: who calls.
CREATE TABLE gateway_application (
    id UUID NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    description TEXT COLLATE "C" NOT NULL DEFAULT '',
    allowed_services JSONB,
    allowed_versions JSONB,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    jwt_clients JSONB,
    limits JSONB,
    ip_allow JSONB,
    ip_deny JSONB,
    callback_hosts JSONB,
    format_version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL DEFAULT 0
);

-- Endpoints that an application may call.
CREATE TABLE gateway_endpoint_whitelist (
    id UUID NOT NULL PRIMARY KEY,
    application_id UUID NOT NULL REFERENCES gateway_application (id) ON DELETE CASCADE ON UPDATE CASCADE,
    position BIGINT NOT NULL DEFAULT 0,
    endpoint_path TEXT NOT NULL,
    allowed_methods JSONB,
    allowed_versions JSONB,
    rate_limit BIGINT NOT NULL DEFAULT 0,
    is_public BOOLEAN NOT NULL DEFAULT FALSE,
    created_at BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX gateway_endpoint_whitelist_application_id ON gateway_endpoint_whitelist (application_id);

-- API keys of an application. A key is found by its prefix, so no two may share one.
CREATE TABLE gateway_api_key (
    id UUID NOT NULL PRIMARY KEY,
    application_id UUID NOT NULL REFERENCES gateway_application (id) ON DELETE CASCADE ON UPDATE CASCADE,
    position BIGINT NOT NULL DEFAULT 0,
    name TEXT NOT NULL DEFAULT '',
    prefix TEXT NOT NULL UNIQUE,
    api_key_hash TEXT NOT NULL,
    expires_at BIGINT,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    created_at BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX gateway_api_key_application_id ON gateway_api_key (application_id);

-- Issuers of JWTs. Secrets are references, never the secret itself.
CREATE TABLE gateway_jwt_issuer (
    id UUID NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    issuer TEXT NOT NULL,
    audiences JSONB,
    algorithms JSONB,
    secret TEXT,
    public_key_pem TEXT,
    jwks_url TEXT,
    introspection_url TEXT,
    client_id TEXT,
    client_secret TEXT,
    claims JSONB,
    leeway_seconds BIGINT NOT NULL DEFAULT 0,
    format_version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL DEFAULT 0
);

-- Queues. The schema is kept letter by letter (JSON, not JSONB), for a number that the database rewrote would have
-- another digest.
CREATE TABLE gateway_queue (
    id UUID NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    broker TEXT NOT NULL DEFAULT 'embedded',
    connection TEXT,
    destination JSONB,
    max_body_bytes BIGINT,
    schema JSON,
    on_broker_down TEXT,
    confirm_timeout_ms BIGINT NOT NULL DEFAULT 2000,
    concurrency BIGINT NOT NULL DEFAULT 8,
    max_attempts BIGINT NOT NULL DEFAULT 5,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    format_version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL DEFAULT 0
);

-- Certificates of the TLS listener.
CREATE TABLE gateway_certificate (
    id UUID NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    hosts JSONB,
    certificate_pem TEXT NOT NULL,
    private_key TEXT NOT NULL,
    format_version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL DEFAULT 0
);

-- What holds for the whole fleet: one row at most.
CREATE TABLE gateway_defaults (
    id UUID NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    limits JSONB,
    ip_allow JSONB,
    ip_deny JSONB,
    cors JSONB,
    security_headers JSONB,
    max_body_bytes BIGINT NOT NULL DEFAULT 10485760,
    max_header_bytes BIGINT NOT NULL DEFAULT 32768,
    max_uri_bytes BIGINT NOT NULL DEFAULT 8192,
    format_version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL DEFAULT 0,
    CHECK (name = 'defaults')
);

-- The history: one row for each write, numbered without gaps in commit order. `touched` lists [kind, name] of what it
-- wrote.
CREATE TABLE config_generation (
    number BIGINT PRIMARY KEY,
    created_at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    summary TEXT NOT NULL,
    digest TEXT NOT NULL,
    format_version BIGINT NOT NULL,
    changes JSON NOT NULL,
    touched JSONB NOT NULL
);

-- The newest generation: one row, which every writer locks first and moves last.
CREATE TABLE config_head (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    generation BIGINT NOT NULL,
    digest TEXT NOT NULL,
    format_version BIGINT NOT NULL
);

-- Writers update this row; they never insert it. The digest of generation 0 is known to whoever reads it.
INSERT INTO config_head (id, generation, digest, format_version) VALUES (1, 0, '', 1);
