-- Samples of recent requests, on which a change is tried before it is made, and when each route was last used. Gateways write both
-- behind, in batches.

-- Rows older than a quarter of an hour are deleted by those who write.
CREATE TABLE gateway_traffic_sample (
    id BLOB NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    node BLOB NOT NULL,
    -- What is searched for, apart from the whole.
    route TEXT,
    application TEXT,
    status INTEGER NOT NULL,
    code TEXT,
    sample TEXT NOT NULL
) STRICT;

CREATE INDEX gateway_traffic_sample_at ON gateway_traffic_sample (at, id);

-- The row of the nil id says since when anything is written here: a route without a row was not used since then.
CREATE TABLE gateway_route_usage (
    route_id BLOB NOT NULL PRIMARY KEY,
    last_used_at INTEGER NOT NULL
) STRICT;
