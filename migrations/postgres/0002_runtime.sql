-- What changes all the time and is no configuration: who serves what, and which keys are in use.

-- Gateway processes: what each serves and when it was last heard of.
CREATE TABLE gateway_node (
    id UUID NOT NULL PRIMARY KEY,
    version TEXT NOT NULL,
    format BIGINT NOT NULL,
    address TEXT NOT NULL,
    generation BIGINT NOT NULL,
    digest TEXT NOT NULL,
    degraded JSONB NOT NULL,
    last_seen BIGINT NOT NULL,
    has_left BOOLEAN NOT NULL DEFAULT FALSE,
    left_at BIGINT
);

-- When an API key was last used. Apart from the key: using it is no change of the configuration.
CREATE TABLE gateway_key_usage (
    key_id UUID NOT NULL PRIMARY KEY,
    last_used_at BIGINT NOT NULL
);
