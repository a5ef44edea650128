-- Run once, by the image, in a new database server: the account of recordgate, which is no superuser, and its
-- database. An account for tables of somebody else's (attached) needs more: docs/howto/compose.md.
\set ON_ERROR_STOP on
\set password `cat /run/secrets/postgres_password`
SET log_min_error_statement = panic;
CREATE ROLE recordgate LOGIN REPLICATION PASSWORD :'password';
CREATE DATABASE recordgate OWNER recordgate ENCODING 'UTF8' TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C.UTF-8';
REVOKE CONNECT ON DATABASE recordgate FROM PUBLIC;
