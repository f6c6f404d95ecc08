-- Nothing here: on SQLite this table lives in a file of its own, queue.db, whose migrations are in ../sqlite_queue under the same
-- numbers and names. The pair is kept so that both databases list the same migrations.
SELECT 1;
