//! Input screening: SQL injection and cross-site scripting in query, path and body.
