-- Supervisors that share a pipeline by an exchange: none of them holds it alone, so each has a row
-- of its own here instead of the one row of admin_schema.instance.

-- load: SELECT, INSERT, UPDATE, DELETE.
CREATE TABLE admin_schema.replica (
	pipeline   integer NOT NULL REFERENCES admin_schema.pipeline ON DELETE CASCADE,
	build      smallint NOT NULL,
	instance   text NOT NULL,
	mode       text NOT NULL,
	heartbeat  timestamptz NOT NULL,
	started_at timestamptz NOT NULL,
	PRIMARY KEY (pipeline, build, instance)
) WITH (fillfactor = 20);
COMMENT ON TABLE admin_schema.replica IS
	'Which supervisors run lanes of a pipeline that has an exchange';
COMMENT ON COLUMN admin_schema.replica.instance IS 'Name of the supervisor, each its own';
COMMENT ON COLUMN admin_schema.replica.mode IS 'up or run';
COMMENT ON COLUMN admin_schema.replica.heartbeat IS
	'Written each second by load of lane 0; older than 5 s means gone, and after a day the row goes';
