-- By what the history and the audit are searched.

-- The things that each entry is about: an index of `audit_entry.changes`, from which it can be made again. No part of the chain.
CREATE TABLE audit_subject (
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (name, kind, number)
) STRICT, WITHOUT ROWID;

INSERT INTO audit_subject (name, kind, number)
SELECT DISTINCT json_extract(value, '$.name'), json_extract(value, '$.kind'), number FROM audit_entry, json_each(changes);
