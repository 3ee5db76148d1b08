-- admin_schema: what Weir itself needs to know, beside the warehouse's own tables.
--
-- Every table is keyed by pipeline, those that belong to one build (state, ranges, tables) also by
-- build; build 1 is the first. Names and columns are an interface (docs/internals.md).
-- One file is one migration: run once, in one transaction, by `weir apply` as the owner. Grants are made
-- by `weir apply` from its table of logins; the head of each table says what each login needs:
--
--   load   commits batches: positions, rows, state, dead letters. Reads no state body.
--   state  reads state. Nothing else.
--   task   advances and empties state segments, drops old bookkeeping.

CREATE SCHEMA IF NOT EXISTS admin_schema;
COMMENT ON SCHEMA admin_schema IS
	'Weir''s own bookkeeping: owners, positions, process state, dead letters';

-- Read by `weir plan` to see what is there. No worker needs it.
CREATE TABLE admin_schema.migration (
	number     integer PRIMARY KEY,
	name       text NOT NULL,
	digest     bytea NOT NULL,
	applied_at timestamptz NOT NULL DEFAULT now(),
	version    text NOT NULL
);
COMMENT ON TABLE admin_schema.migration IS 'Migrations of admin_schema that were applied';
COMMENT ON COLUMN admin_schema.migration.number IS 'Number of the file in sql/';
COMMENT ON COLUMN admin_schema.migration.digest IS 'sha256 of the file''s text';
COMMENT ON COLUMN admin_schema.migration.version IS 'Version of the weir that applied it';

-- One sequence serves all pipelines: an epoch is then unique everywhere and rises in each of them.
-- load: USAGE.
CREATE SEQUENCE admin_schema.epoch AS bigint;
COMMENT ON SEQUENCE admin_schema.epoch IS 'Numbers of ownerships; never used twice';

-- load: SELECT.  state: SELECT (id, name, g, live_build).  task: SELECT (id, name, live_build, segment),
-- UPDATE (segment).
CREATE TABLE admin_schema.pipeline (
	id            integer PRIMARY KEY,
	name          text NOT NULL UNIQUE,
	g             integer NOT NULL CHECK (g BETWEEN 1 AND 4096),
	hash_key      bytea NOT NULL CHECK (octet_length(hash_key) = 16),
	policy_root   bytea,
	policy_serial bigint,
	live_build    smallint NOT NULL DEFAULT 1,
	segment       smallint NOT NULL DEFAULT 0 CHECK (segment BETWEEN 0 AND 7),
	correlated_by text NOT NULL DEFAULT '',
	created_at    timestamptz NOT NULL DEFAULT now(),
	applied_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE admin_schema.pipeline IS 'Pipelines of this warehouse, made by weir apply';
COMMENT ON COLUMN admin_schema.pipeline.g IS 'Number of key groups, fixed at creation';
COMMENT ON COLUMN admin_schema.pipeline.hash_key IS
	'Random key of all hashes of identities, fixed at creation';
COMMENT ON COLUMN admin_schema.pipeline.policy_root IS 'Root of the sealing policy';
COMMENT ON COLUMN admin_schema.pipeline.policy_serial IS 'Serial of the sealing policy';
COMMENT ON COLUMN admin_schema.pipeline.live_build IS 'The build that readers see';
COMMENT ON COLUMN admin_schema.pipeline.segment IS
	'Slot of admin_schema.state that new state goes to';
COMMENT ON COLUMN admin_schema.pipeline.correlated_by IS
	'The pipeline file''s correlate.by in canonical text; it cannot change';
COMMENT ON COLUMN admin_schema.pipeline.applied_at IS 'Last weir apply';

-- The courtesy between two supervisors of one pipeline; the guarantee is the epoch.
-- load: SELECT, INSERT, UPDATE.  task: nothing.
CREATE TABLE admin_schema.instance (
	pipeline   integer NOT NULL REFERENCES admin_schema.pipeline ON DELETE CASCADE,
	build      smallint NOT NULL,
	instance   text NOT NULL,
	mode       text NOT NULL,
	heartbeat  timestamptz NOT NULL,
	started_at timestamptz NOT NULL,
	PRIMARY KEY (pipeline, build)
) WITH (fillfactor = 20);
COMMENT ON TABLE admin_schema.instance IS 'Which supervisor runs the pipeline';
COMMENT ON COLUMN admin_schema.instance.instance IS 'Name of the supervisor';
COMMENT ON COLUMN admin_schema.instance.mode IS 'up or run';
COMMENT ON COLUMN admin_schema.instance.heartbeat IS
	'Written each second by load of lane 0; older than 5 s means gone';

-- load: SELECT, INSERT, UPDATE.  task: SELECT, DELETE.
CREATE TABLE admin_schema.shard (
	pipeline      integer NOT NULL REFERENCES admin_schema.pipeline ON DELETE CASCADE,
	build         smallint NOT NULL,
	epoch         bigint NOT NULL,
	instance      text NOT NULL,
	lane          smallint NOT NULL,
	batch         bigint NOT NULL DEFAULT 0,
	closed        boolean NOT NULL DEFAULT false,
	closed_by     bigint,
	backend_pid   integer NOT NULL,
	backend_start timestamptz NOT NULL,
	taken_at      timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (pipeline, build, epoch)
) WITH (fillfactor = 20);
COMMENT ON TABLE admin_schema.shard IS
	'Ownerships of key groups; a batch commits only if its row is open and at batch - 1';
COMMENT ON COLUMN admin_schema.shard.batch IS 'Last committed batch of this epoch, from 1';
COMMENT ON COLUMN admin_schema.shard.closed IS 'Another epoch has taken over: the fence';
COMMENT ON COLUMN admin_schema.shard.closed_by IS 'The epoch that took over';
COMMENT ON COLUMN admin_schema.shard.backend_pid IS
	'The loader''s database session, ended at a take-over when it holds the row';
COMMENT ON COLUMN admin_schema.shard.backend_start IS 'Tells that session from a later one of its pid';

-- load: SELECT, INSERT, UPDATE.  task: SELECT.
CREATE TABLE admin_schema.key_range (
	pipeline  integer NOT NULL REFERENCES admin_schema.pipeline ON DELETE CASCADE,
	build     smallint NOT NULL,
	kg_lo     integer NOT NULL,
	kg_hi     integer NOT NULL CHECK (kg_hi >= kg_lo),
	epoch     bigint NOT NULL,
	partition integer[] NOT NULL DEFAULT '{}',
	next      bigint[] NOT NULL DEFAULT '{}',
	CHECK (cardinality(partition) = cardinality(next)),
	PRIMARY KEY (pipeline, build, kg_lo)
) WITH (fillfactor = 20);
COMMENT ON TABLE admin_schema.key_range IS
	'How far each range of key groups has read each durable partition';
COMMENT ON COLUMN admin_schema.key_range.kg_lo IS 'First key group';
COMMENT ON COLUMN admin_schema.key_range.kg_hi IS 'Last key group, inclusive';
COMMENT ON COLUMN admin_schema.key_range.epoch IS 'The owner';
COMMENT ON COLUMN admin_schema.key_range.partition IS 'Ids of partitions';
COMMENT ON COLUMN admin_schema.key_range.next IS
	'Next offset to read, beside partition; a partition that is not there: 0';

-- load: SELECT, INSERT.
CREATE TABLE admin_schema.source (
	pipeline   integer NOT NULL REFERENCES admin_schema.pipeline ON DELETE CASCADE,
	id         integer NOT NULL,
	name       text NOT NULL,
	cluster    text NOT NULL,
	generation text NOT NULL,
	label      text NOT NULL,
	PRIMARY KEY (pipeline, id),
	UNIQUE (pipeline, label)
);
COMMENT ON TABLE admin_schema.source IS 'Sources that were ever read';
COMMENT ON COLUMN admin_schema.source.label IS
	'name@cluster#generation; enters the identity of every event, so it never changes';

-- Ids rise from 1 in each pipeline, given by load of lane 0 while it holds the instance row. Long labels
-- (paths) do not fit into an index, so a digest of the label is what is unique.
-- load: SELECT, INSERT, UPDATE (done_at, next, bytes).
CREATE TABLE admin_schema.partition (
	pipeline integer NOT NULL,
	id       integer NOT NULL CHECK (id > 0),
	source   integer NOT NULL,
	label    text NOT NULL,
	digest   bytea NOT NULL CHECK (octet_length(digest) = 32),
	kind     text NOT NULL CHECK (kind IN ('durable', 'transient')),
	number   integer NOT NULL DEFAULT 0,
	done_at  timestamptz,
	next     bigint NOT NULL DEFAULT 0,
	bytes    bigint NOT NULL DEFAULT 0,
	PRIMARY KEY (pipeline, id),
	UNIQUE (pipeline, source, digest),
	FOREIGN KEY (pipeline, source) REFERENCES admin_schema.source ON DELETE CASCADE
);
COMMENT ON TABLE admin_schema.partition IS 'Partitions of sources and their ids';
COMMENT ON COLUMN admin_schema.partition.label IS
	'Kafka: topic/number; file: path#digest of its head; queue: its name';
COMMENT ON COLUMN admin_schema.partition.digest IS 'sha256 of label';
COMMENT ON COLUMN admin_schema.partition.number IS 'Kafka''s partition number';
COMMENT ON COLUMN admin_schema.partition.done_at IS
	'A file that was read to its end; it is left out of the positions from then on';
COMMENT ON COLUMN admin_schema.partition.next IS 'Records of a file that is done';
COMMENT ON COLUMN admin_schema.partition.bytes IS 'Size of a file that is done';

-- A log: a process' state is the row with the greatest (epoch, batch). Written by COPY straight into the
-- slot named by pipeline.segment, never updated. A slot is emptied when all its rows are superseded.
-- load: INSERT on state_0 .. state_7, SELECT (pipeline, build) on state.  state: SELECT.
-- task: SELECT (pipeline, build, key, epoch, batch, segment) on state and on state_0 .. state_7, TRUNCATE
-- on state_0 .. state_7.
-- Columns stand widest first, so that no byte is lost to alignment.
CREATE TABLE admin_schema.state (
	epoch     bigint NOT NULL,
	batch     bigint NOT NULL,
	check_at  timestamptz,
	pipeline  integer NOT NULL,
	kg        integer NOT NULL,
	build     smallint NOT NULL,
	segment   smallint NOT NULL,
	tombstone boolean NOT NULL,
	key       uuid NOT NULL,
	body      bytea NOT NULL
) PARTITION BY LIST (segment);
COMMENT ON TABLE admin_schema.state IS 'State of processes, as a log; the greatest (epoch, batch) counts';
COMMENT ON COLUMN admin_schema.state.segment IS 'Slot of the ring, one table each';
COMMENT ON COLUMN admin_schema.state.key IS 'Keyed hash of the correlation ID';
COMMENT ON COLUMN admin_schema.state.kg IS 'Key group';
COMMENT ON COLUMN admin_schema.state.check_at IS
	'Event time before which the clock cannot change this process; null: never';
COMMENT ON COLUMN admin_schema.state.tombstone IS 'The process was forgotten; its key stays taken';
COMMENT ON COLUMN admin_schema.state.body IS 'Folds and status, MessagePack';

DO $$
BEGIN
	FOR slot IN 0 .. 7 LOOP
		-- Rows are only added and truncated: vacuum after inserts would cost and gain nothing.
		EXECUTE format('CREATE TABLE admin_schema.state_%s PARTITION OF admin_schema.state '
			'FOR VALUES IN (%s) WITH (autovacuum_vacuum_insert_threshold = -1)', slot, slot);
		-- Load writes to the slot's own table and leaves the column out.
		EXECUTE format('ALTER TABLE admin_schema.state_%s ALTER segment SET DEFAULT %s', slot, slot);
	END LOOP;
END $$;
CREATE INDEX state_key ON admin_schema.state (pipeline, build, key);
CREATE INDEX state_check_at ON admin_schema.state (pipeline, build, check_at)
	WHERE check_at IS NOT NULL;

-- load: SELECT (pipeline, build, rid), INSERT.
CREATE TABLE admin_schema.dead_letter (
	pipeline  integer NOT NULL REFERENCES admin_schema.pipeline ON DELETE CASCADE,
	build     smallint NOT NULL,
	rid       uuid NOT NULL,
	source    integer,
	partition integer,
	position  bigint,
	stage     text NOT NULL,
	reason    text NOT NULL,
	at        timestamptz NOT NULL DEFAULT now(),
	class     text,
	body      bytea,
	digest    bytea,
	PRIMARY KEY (pipeline, build, rid)
);
COMMENT ON TABLE admin_schema.dead_letter IS 'Events and rows that could not be processed';
COMMENT ON COLUMN admin_schema.dead_letter.rid IS 'Identity of the event';
COMMENT ON COLUMN admin_schema.dead_letter.source IS
	'admin_schema.source.id; null for a row of a process, which comes from many events';
COMMENT ON COLUMN admin_schema.dead_letter.partition IS 'admin_schema.partition.id';
COMMENT ON COLUMN admin_schema.dead_letter.position IS 'Offset in that partition, or a delivery''s number';
COMMENT ON COLUMN admin_schema.dead_letter.stage IS 'The role that refused it';
COMMENT ON COLUMN admin_schema.dead_letter.reason IS 'Why, without values of the event';
COMMENT ON COLUMN admin_schema.dead_letter.class IS 'Recipient class that body is sealed to';
COMMENT ON COLUMN admin_schema.dead_letter.body IS 'The event, sealed; null while nothing seals';
COMMENT ON COLUMN admin_schema.dead_letter.digest IS 'Keyed digest of the event''s raw bytes';
CREATE INDEX dead_letter_at ON admin_schema.dead_letter (pipeline, build, at);

-- load: INSERT, UPDATE.  task: SELECT, DELETE.
CREATE TABLE admin_schema.run (
	pipeline   integer NOT NULL REFERENCES admin_schema.pipeline ON DELETE CASCADE,
	id         bigint GENERATED ALWAYS AS IDENTITY,
	kind       text NOT NULL,
	instance   text NOT NULL,
	started_at timestamptz NOT NULL DEFAULT now(),
	ended_at   timestamptz,
	exit_code  integer,
	result     jsonb,
	PRIMARY KEY (pipeline, id)
);
COMMENT ON TABLE admin_schema.run IS 'Runs of the pipeline';
COMMENT ON COLUMN admin_schema.run.kind IS 'What ran: up or run';
COMMENT ON COLUMN admin_schema.run.exit_code IS 'Null while it runs, or when it was killed';
COMMENT ON COLUMN admin_schema.run.result IS 'Its result line';
