-- Nothing here: on SQLite these tables live in a file of its own, runtime.db, whose migrations are in ../sqlite_runtime under
-- the same numbers and names. The pair is kept so that both databases list the same migrations.
SELECT 1;
