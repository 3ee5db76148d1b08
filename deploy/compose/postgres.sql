-- The warehouse and its owner, who is no superuser; run once by PostgreSQL's image, as its superuser.
\set password `cat /run/secrets/owner`
CREATE ROLE owner LOGIN CREATEROLE PASSWORD :'password';
-- So that Weir's loader may do without a trigger a row (docs/warehouse.md).
GRANT SET ON PARAMETER session_replication_role TO owner WITH GRANT OPTION;
CREATE DATABASE warehouse OWNER owner ENCODING 'UTF8' TEMPLATE template0;
