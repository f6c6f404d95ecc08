-- What changes all the time and is no configuration: who serves what, and which keys are in use.
-- Kept in runtime.db beside the configuration's file, so that a poll of the latter sees changes of the configuration only.

-- Gateway processes: what each serves and when it was last heard of.
CREATE TABLE gateway_node (
    id BLOB NOT NULL PRIMARY KEY,
    version TEXT NOT NULL,
    format INTEGER NOT NULL,
    address TEXT NOT NULL,
    generation INTEGER NOT NULL,
    digest TEXT NOT NULL,
    degraded TEXT NOT NULL,
    last_seen INTEGER NOT NULL,
    has_left INTEGER NOT NULL DEFAULT FALSE,
    left_at INTEGER
) STRICT;

-- When an API key was last used. Apart from the key: using it is no change of the configuration.
CREATE TABLE gateway_key_usage (
    key_id BLOB NOT NULL PRIMARY KEY,
    last_used_at INTEGER NOT NULL
) STRICT;
