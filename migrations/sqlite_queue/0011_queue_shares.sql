-- How many messages of an embedded queue each gateway may push at the same time. Messages are claimed ahead of their push, so claims no
-- longer say how many pushes there are.
CREATE TABLE gateway_queue_share (
    queue TEXT NOT NULL,
    -- As messages' lease_owner.
    worker BLOB NOT NULL,
    slots INTEGER NOT NULL,
    -- It would use so many.
    wanted INTEGER NOT NULL,
    -- As with a message's lease: of a gateway that died others take the slots then.
    ends_at INTEGER NOT NULL,
    PRIMARY KEY (queue, worker)
) STRICT;
