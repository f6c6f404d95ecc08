-- Samples of recent requests, on which a change is tried before it is made, and when each route was last used. Gateways write both
-- behind, in batches.

-- Unlogged: what lives for a quarter of an hour need not survive a crash, and must not fill the log of the database.
CREATE UNLOGGED TABLE gateway_traffic_sample (
    id UUID NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    node UUID NOT NULL,
    -- What is searched for, apart from the whole.
    route TEXT,
    application TEXT,
    status BIGINT NOT NULL,
    code TEXT,
    sample JSONB NOT NULL
);

CREATE INDEX gateway_traffic_sample_at ON gateway_traffic_sample (at, id);

-- The row of the nil id says since when anything is written here: a route without a row was not used since then.
CREATE TABLE gateway_route_usage (
    route_id UUID NOT NULL PRIMARY KEY,
    last_used_at BIGINT NOT NULL
);
