-- What each gateway sees of each queue, written every few seconds, and the test messages that operators ask gateways to publish.
CREATE TABLE gateway_queue_status (
    queue_id BLOB NOT NULL,
    node BLOB NOT NULL,
    -- That wait at the broker, and who takes them; none: the broker does not tell.
    messages INTEGER,
    consumers INTEGER,
    broker_up INTEGER NOT NULL,
    -- That wait on the gateway's own disk.
    spooled INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (queue_id, node)
) STRICT;

CREATE TABLE gateway_queue_test (
    id BLOB NOT NULL PRIMARY KEY,
    queue_id BLOB NOT NULL,
    -- JSON letter by letter, as the operator sent it.
    data TEXT,
    asked_at INTEGER NOT NULL,
    -- Which gateway took it, and as which task.
    node BLOB,
    task_id TEXT,
    -- None: it is under way.
    published INTEGER,
    error TEXT
) STRICT;
