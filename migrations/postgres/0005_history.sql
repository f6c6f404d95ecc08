-- By what the history and the audit are searched. Letters fold as on SQLite, A to Z alone, whatever the server's locale.
ALTER TABLE config_generation
    ALTER COLUMN actor TYPE TEXT COLLATE "C",
    ALTER COLUMN summary TYPE TEXT COLLATE "C";
ALTER TABLE audit_entry
    ALTER COLUMN actor TYPE TEXT COLLATE "C",
    ALTER COLUMN request_id TYPE TEXT COLLATE "C",
    ALTER COLUMN summary TYPE TEXT COLLATE "C";

-- The things that each entry is about: an index of `audit_entry.changes`, from which it can be made again. No part of the chain.
CREATE TABLE audit_subject (
    name TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (name, kind, number)
);

INSERT INTO audit_subject (name, kind, number)
SELECT DISTINCT change ->> 'name', change ->> 'kind', number FROM audit_entry, json_array_elements(changes) AS change;
