-- The audit: who did what, when and from where. Rows are only ever added; `hash` is keyed, over the row and the hash before it, so
-- that a row that was changed or taken out by hand shows (`admin-api audit verify`).
CREATE TABLE audit_entry (
    number BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    address TEXT,
    request_id TEXT,
    action TEXT NOT NULL,
    summary TEXT NOT NULL,
    generation BIGINT,
    -- JSON letter by letter: what the database rewrote would have another hash.
    changes JSON NOT NULL,
    hash TEXT NOT NULL
);

-- The newest entry: one row, which whoever adds one locks first.
CREATE TABLE audit_head (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    number BIGINT NOT NULL,
    hash TEXT NOT NULL
);

INSERT INTO audit_head (id, number, hash) VALUES (1, 0, '');
