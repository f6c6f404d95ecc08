-- Messages of embedded queues, which the gateways themselves push to whoever they are for. In queue.db beside the configuration, a file
-- whose every commit is on disk when it is answered.
CREATE TABLE gateway_message (
    -- In the order of acceptance.
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The task's id: accepted once, however often it is published.
    id TEXT NOT NULL UNIQUE,
    queue TEXT NOT NULL,
    event TEXT NOT NULL,
    -- Begun deliveries, also those whose gateway died.
    attempts INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    -- When it may be claimed; while somebody has it, when their lease runs out.
    due_at INTEGER NOT NULL,
    -- Who has it.
    lease_owner BLOB,
    -- From when it is a dead letter: nobody delivers it any more.
    dead_at INTEGER,
    last_error TEXT
) STRICT;

CREATE INDEX gateway_message_due ON gateway_message (queue, due_at, number) WHERE dead_at IS NULL;
CREATE INDEX gateway_message_dead ON gateway_message (queue, number) WHERE dead_at IS NOT NULL;
