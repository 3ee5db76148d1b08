-- key_schema: envelopes of data keys, wraps of them, secrets of persons, the signed policy, and the
-- audit of every opening. Nobody but the owner may touch its tables: all use goes through the
-- functions below, which run as the owner, take no name from the caller's search_path, and look at
-- session_user. EXECUTE is given by `weir apply`, the head of each function says to whom.
--
-- Beside it, what admin_schema needs for persons, raw events and aggregates.

CREATE SCHEMA key_schema;
REVOKE ALL ON SCHEMA key_schema FROM PUBLIC;
COMMENT ON SCHEMA key_schema IS
	'Key envelopes, secrets of persons, signed policies, audit of openings; by functions only';

-- ---- tables ----

-- A pipeline that has a policy, keys or audit rows is not deleted by the way: the references
-- restrict.
CREATE TABLE key_schema.policy (
	pipeline     integer NOT NULL REFERENCES admin_schema.pipeline,
	serial       bigint NOT NULL CHECK (serial > 0),
	body         bytea NOT NULL CHECK (octet_length(body) BETWEEN 1 AND 16777216),
	digest       bytea NOT NULL CHECK (octet_length(digest) = 16),
	installed_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (pipeline, serial)
);
COMMENT ON TABLE key_schema.policy IS 'Signed policies that weir apply installed; the greatest serial is in force';
COMMENT ON COLUMN key_schema.policy.body IS 'The whole signed file';
COMMENT ON COLUMN key_schema.policy.digest IS 'Hash of body, as envelopes name it';

CREATE TABLE key_schema.envelope (
	pipeline     integer NOT NULL REFERENCES admin_schema.pipeline,
	kid          bytea NOT NULL CHECK (octet_length(kid) = 16),
	class        text NOT NULL,
	not_before   timestamptz NOT NULL,
	not_after    timestamptz NOT NULL CHECK (not_after > not_before),
	core         bytea NOT NULL CHECK (octet_length(core) BETWEEN 1 AND 65535),
	published_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (pipeline, kid)
);
COMMENT ON TABLE key_schema.envelope IS 'One row a data key: its signed core. The key itself is only in wraps';
COMMENT ON COLUMN key_schema.envelope.kid IS 'Id of the data key: the beginning of its commitment';
COMMENT ON COLUMN key_schema.envelope.core IS 'Signed by the keeper''s sealer key';

CREATE TABLE key_schema.wrap (
	pipeline integer NOT NULL,
	kid      bytea NOT NULL,
	rkid     bytea NOT NULL CHECK (octet_length(rkid) = 16),
	wrap     bytea NOT NULL CHECK (octet_length(wrap) = 97),
	PRIMARY KEY (pipeline, kid, rkid),
	FOREIGN KEY (pipeline, kid) REFERENCES key_schema.envelope
);
COMMENT ON TABLE key_schema.wrap IS 'A data key sealed to the public key of a role, or of escrow';
COMMENT ON COLUMN key_schema.wrap.rkid IS 'Hash of that public key';

-- No reference to pipeline: it would cost a look for each new person.
CREATE TABLE key_schema.subject (
	pipeline  integer NOT NULL,
	sid       bytea NOT NULL CHECK (octet_length(sid) = 16),
	secret    bytea CHECK (octet_length(secret) = 32),
	erased_at timestamptz,
	CHECK ((secret IS NULL) = (erased_at IS NOT NULL)),
	PRIMARY KEY (pipeline, sid)
);
COMMENT ON TABLE key_schema.subject IS 'One secret a person; without it nothing sealed for that person opens';
COMMENT ON COLUMN key_schema.subject.sid IS 'Keyed pseudonym of the person';
COMMENT ON COLUMN key_schema.subject.secret IS 'Random; null: erased, for ever';

CREATE TABLE key_schema.role_key (
	pipeline integer NOT NULL REFERENCES admin_schema.pipeline,
	role     text NOT NULL,
	epoch    integer NOT NULL CHECK (epoch > 0),
	member   text NOT NULL,
	rkid     bytea NOT NULL CHECK (octet_length(rkid) = 16),
	pk       bytea NOT NULL CHECK (octet_length(pk) = 32),
	sealed   bytea NOT NULL CHECK (octet_length(sealed) BETWEEN 1 AND 1024),
	PRIMARY KEY (pipeline, role, epoch, member)
);
COMMENT ON TABLE key_schema.role_key IS 'The secret key of a role, sealed to each member and to escrow';
COMMENT ON COLUMN key_schema.role_key.member IS 'Who can open it; escrow: the offline key';

-- The head of each pipeline's chain: whoever writes an audit row holds it until the end of the
-- transaction, so ids have no gaps and the chain has no forks.
CREATE TABLE key_schema.chain (
	pipeline integer PRIMARY KEY REFERENCES admin_schema.pipeline,
	id       bigint NOT NULL DEFAULT 0,
	hash     bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (octet_length(hash) = 32)
) WITH (fillfactor = 20);
COMMENT ON TABLE key_schema.chain IS 'Last audit row of each pipeline';

CREATE TABLE key_schema.audit (
	pipeline integer NOT NULL REFERENCES admin_schema.pipeline,
	id       bigint NOT NULL CHECK (id > 0),
	at       timestamptz NOT NULL,
	login    text NOT NULL,
	xid      xid8 NOT NULL,
	kind     text NOT NULL CHECK (kind IN ('release', 'handoff', 'erase', 'grant', 'revoke', 'rotate',
	                                       'policy')),
	ticket   uuid UNIQUE,
	kids     bytea[] NOT NULL DEFAULT '{}',
	sids     bytea[] NOT NULL DEFAULT '{}',
	purpose  text NOT NULL CHECK (purpose ~ '[^[:space:]]'),
	detail   jsonb NOT NULL DEFAULT '{}',
	prev     bytea NOT NULL CHECK (octet_length(prev) = 32),
	hash     bytea NOT NULL CHECK (octet_length(hash) = 32),
	CHECK ((ticket IS NOT NULL) = (kind = 'release')),
	PRIMARY KEY (pipeline, id)
);
COMMENT ON TABLE key_schema.audit IS 'Who asked for which keys and why, and every change of keys; a hash chain';
COMMENT ON COLUMN key_schema.audit.id IS 'From 1 in each pipeline, without gaps';
COMMENT ON COLUMN key_schema.audit.login IS 'session_user';
COMMENT ON COLUMN key_schema.audit.xid IS 'The transaction that wrote the row';
COMMENT ON COLUMN key_schema.audit.prev IS 'hash of the row before; of the first: 32 zero bytes';
COMMENT ON COLUMN key_schema.audit.hash IS 'sha256(prev || audit_text of the row)';

-- ---- rows that stay as they were written ----

CREATE FUNCTION key_schema.refuse_change() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RAISE EXCEPTION '% on %.% is refused: its rows stay as they were written', TG_OP, TG_TABLE_SCHEMA,
		TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER stays BEFORE UPDATE OR DELETE OR TRUNCATE ON key_schema.audit
	FOR EACH STATEMENT EXECUTE FUNCTION key_schema.refuse_change();
CREATE TRIGGER stays BEFORE UPDATE OR DELETE OR TRUNCATE ON key_schema.policy
	FOR EACH STATEMENT EXECUTE FUNCTION key_schema.refuse_change();

-- An erased person stays erased.
CREATE FUNCTION key_schema.refuse_revival() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF OLD.secret IS NULL AND (TG_OP = 'DELETE' OR NEW.secret IS NOT NULL) THEN
		RAISE EXCEPTION 'this person was erased, which cannot be undone'
			USING ERRCODE = 'insufficient_privilege';
	END IF;
	RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;

CREATE TRIGGER stays_erased BEFORE UPDATE OR DELETE ON key_schema.subject
	FOR EACH ROW EXECUTE FUNCTION key_schema.refuse_revival();

-- ---- what the functions share; for the owner alone ----

-- The pipeline's id, if the session's user is its login of that suffix, a member of that group (null:
-- no group), or the owner.
CREATE FUNCTION key_schema.pipeline_for(p text, suffix text, people text) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	found_id integer;
BEGIN
	IF (session_user::text = 'weir_' || p || '_' || suffix
			OR pg_has_role(session_user, to_regrole(people)::oid, 'MEMBER')
			OR pg_has_role(session_user, current_user, 'MEMBER')) IS NOT TRUE THEN
		RAISE EXCEPTION 'login % has no business with pipeline %', session_user, p
			USING ERRCODE = 'insufficient_privilege';
	END IF;
	SELECT l.id INTO found_id FROM admin_schema.pipeline l WHERE l.name = p;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'pipeline % is not in this warehouse', p USING ERRCODE = 'no_data_found';
	END IF;
	RETURN found_id;
END $$;

-- One dimension, no nulls, 16 bytes each, at most so many.
CREATE FUNCTION key_schema.ids_check(ids bytea[], most integer, what text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF ids IS NULL OR cardinality(ids) > most OR coalesce(array_ndims(ids), 1) <> 1
			OR EXISTS (SELECT FROM unnest(ids) x WHERE x IS NULL OR octet_length(x) <> 16) THEN
		RAISE EXCEPTION '% must be an array of at most % ids of 16 bytes', what, most
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
END $$;

-- A netstring: its length in bytes, a colon, the text, a comma; null: a minus sign and a comma.
CREATE FUNCTION key_schema.audit_field(t text) RETURNS text LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(octet_length(t) || ':' || t || ',', '-,')
$$;

-- What the chain hashes, in UTF-8: "weir1.audit\n", then a netstring for each of pipeline, id, at in
-- microseconds since 1970, login, xid, kind, ticket, kids and sids (hexadecimal, a blank between),
-- purpose, detail as jsonb prints it.
CREATE FUNCTION key_schema.audit_text(a key_schema.audit) RETURNS text LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT E'weir1.audit\n' || key_schema.audit_field(a.pipeline::text) || key_schema.audit_field(a.id::text)
		|| key_schema.audit_field((extract(epoch FROM a.at) * 1000000)::bigint::text)
		|| key_schema.audit_field(a.login) || key_schema.audit_field(a.xid::text)
		|| key_schema.audit_field(a.kind) || key_schema.audit_field(a.ticket::text)
		|| key_schema.audit_field((SELECT coalesce(string_agg(encode(k, 'hex'), ' ' ORDER BY n), '')
			FROM unnest(a.kids) WITH ORDINALITY u (k, n)))
		|| key_schema.audit_field((SELECT coalesce(string_agg(encode(s, 'hex'), ' ' ORDER BY n), '')
			FROM unnest(a.sids) WITH ORDINALITY u (s, n)))
		|| key_schema.audit_field(a.purpose) || key_schema.audit_field(a.detail::text)
$$;

-- Adds a row to the chain; gives its id. The owner calls it for erase, grant, revoke, rotate, policy.
-- Whoever holds the chain's head for long is in the way of all others: they give up after 15 s.
CREATE FUNCTION key_schema.audit_add(pipeline integer, kind text, ticket uuid, kids bytea[], sids bytea[],
	purpose text, detail jsonb) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '15s' AS $$
DECLARE
	head key_schema.chain;
	a key_schema.audit;
BEGIN
	IF (purpose ~ '[^[:space:]]' AND octet_length(purpose) <= 4096) IS NOT TRUE THEN
		RAISE EXCEPTION 'a purpose must be given, in at most 4096 bytes'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	INSERT INTO key_schema.chain VALUES (audit_add.pipeline) ON CONFLICT DO NOTHING;
	SELECT c.* INTO STRICT head FROM key_schema.chain c WHERE c.pipeline = audit_add.pipeline FOR UPDATE;
	a := ROW(pipeline, head.id + 1, clock_timestamp(), session_user, pg_current_xact_id(), kind, ticket,
		coalesce(kids, '{}'), coalesce(sids, '{}'), purpose, coalesce(detail, '{}'), head.hash, NULL);
	a.hash := sha256(a.prev || convert_to(key_schema.audit_text(a), 'UTF8'));
	INSERT INTO key_schema.audit VALUES (a.*);
	UPDATE key_schema.chain c SET id = a.id, hash = a.hash WHERE c.pipeline = audit_add.pipeline;
	-- For who keeps it open by mistake: who means harm sets it otherwise. `weir keys erase` ends such a session.
	PERFORM set_config('idle_in_transaction_session_timeout', '15s', true);
	RETURN a.id;
END $$;

-- ---- keeper ----

-- EXECUTE: keeper. The same bytes again: nothing happens.
CREATE FUNCTION key_schema.publish_envelope(p text, kid bytea, class text, nb timestamptz, na timestamptz,
	core bytea, rkids bytea[], wraps bytea[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	pid integer := key_schema.pipeline_for(p, 'keeper', NULL);
BEGIN
	PERFORM key_schema.ids_check(ARRAY[kid], 1, 'kid');
	PERFORM key_schema.ids_check(rkids, 64, 'rkids');
	IF core IS NULL OR octet_length(core) NOT BETWEEN 120 AND 65535
			OR substring(core FOR 4) <> 'WRE1'::bytea OR substring(core FROM 9 FOR 16) <> kid THEN
		RAISE EXCEPTION 'this is no envelope core of that key' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF cardinality(rkids) = 0 OR cardinality(wraps) IS DISTINCT FROM cardinality(rkids)
			OR array_ndims(wraps) <> 1 OR EXISTS (SELECT FROM unnest(rkids, wraps) u (r, w)
				WHERE w IS NULL OR octet_length(w) <> 97 OR substring(w FROM 2 FOR 16) <> r) THEN
		RAISE EXCEPTION 'wraps must be one of 97 bytes for each of rkids'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	INSERT INTO key_schema.envelope VALUES (pid, kid, class, nb, na, core) ON CONFLICT DO NOTHING;
	IF FOUND THEN
		INSERT INTO key_schema.wrap SELECT pid, kid, u.r, u.w FROM unnest(rkids, wraps) u (r, w);
		RETURN;
	END IF;
	-- A wrap may have gone since, by a revocation: it is not put back.
	IF NOT EXISTS (SELECT FROM key_schema.envelope e WHERE e.pipeline = pid AND e.kid = publish_envelope.kid
			AND (e.class, e.not_before, e.not_after, e.core) = (publish_envelope.class, nb, na,
				publish_envelope.core))
			OR EXISTS (SELECT FROM unnest(rkids, wraps) u (r, w) JOIN key_schema.wrap x ON x.rkid = u.r
				WHERE x.pipeline = pid AND x.kid = publish_envelope.kid AND x.wrap <> u.w) THEN
		RAISE EXCEPTION 'another envelope of that key is there' USING ERRCODE = 'unique_violation';
	END IF;
END $$;

-- EXECUTE: keeper. In the order of sids, null for the erased; who is not there is made.
CREATE FUNCTION key_schema.subject_secrets(p text, sids bytea[]) RETURNS bytea[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	pid integer := key_schema.pipeline_for(p, 'keeper', NULL);
	secrets bytea[];
	known bigint;
BEGIN
	PERFORM key_schema.ids_check(sids, 1024, 'sids');
	-- In order, so that two who make the same persons wait for each other and not in a circle.
	INSERT INTO key_schema.subject (pipeline, sid, secret)
		SELECT pid, a.sid, sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
			|| uuid_send(gen_random_uuid()))
		FROM (SELECT DISTINCT unnest(sids) AS sid ORDER BY 1) a
		WHERE NOT EXISTS (SELECT FROM key_schema.subject s WHERE s.pipeline = pid AND s.sid = a.sid)
		ON CONFLICT DO NOTHING;
	-- A statement of its own: it sees what others made meanwhile, unless the isolation forbids.
	SELECT coalesce(array_agg(s.secret ORDER BY a.n), '{}'), count(s.sid) INTO secrets, known
		FROM unnest(sids) WITH ORDINALITY a (sid, n)
		LEFT JOIN key_schema.subject s ON s.pipeline = pid AND s.sid = a.sid;
	IF known <> cardinality(sids) THEN
		RAISE EXCEPTION 'another session made a subject; try again' USING ERRCODE = 'serialization_failure';
	END IF;
	RETURN secrets;
END $$;

-- EXECUTE: keeper.
CREATE FUNCTION key_schema.pipeline_facts(p text)
RETURNS TABLE (id integer, hash_key bytea, policy_root bytea, policy_serial bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	pid integer := key_schema.pipeline_for(p, 'keeper', NULL);
BEGIN
	RETURN QUERY SELECT l.id, l.hash_key, l.policy_root, l.policy_serial
		FROM admin_schema.pipeline l WHERE l.id = pid;
END $$;

-- EXECUTE: release, data_scientists. The policy in force and the root that must have signed it.
CREATE FUNCTION key_schema.policy_current(p text)
RETURNS TABLE (root bytea, serial bigint, body bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	pid integer := key_schema.pipeline_for(p, 'release', 'data_scientists');
BEGIN
	RETURN QUERY SELECT l.policy_root, l.policy_serial, y.body FROM admin_schema.pipeline l
		LEFT JOIN key_schema.policy y ON y.pipeline = l.id AND y.serial = l.policy_serial WHERE l.id = pid;
END $$;

-- ---- opening, in two steps ----
-- One step would not do: BEGIN; ask; ROLLBACK would hand out keys and take the audit row back.

-- EXECUTE: release, data_scientists. The ticket is good once this transaction has committed.
CREATE FUNCTION key_schema.request(p text, kids bytea[], sids bytea[], purpose text) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	pid integer := key_schema.pipeline_for(p, 'release', 'data_scientists');
	ticket uuid := gen_random_uuid();
BEGIN
	kids := coalesce(kids, '{}');
	sids := coalesce(sids, '{}');
	PERFORM key_schema.ids_check(kids, 10000, 'kids');
	PERFORM key_schema.ids_check(sids, 100000, 'sids');
	IF cardinality(kids) + cardinality(sids) = 0 THEN
		RAISE EXCEPTION 'nothing is asked for' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	PERFORM key_schema.audit_add(pid, 'release', ticket, kids, sids, purpose, '{}');
	RETURN ticket;
END $$;

-- With synchronous_commit off a transaction counts as committed before it is on disk, and a crash
-- takes it back. The writer of the log comes by at least thrice in that time.
CREATE FUNCTION key_schema.log_wait() RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	lsn pg_lsn := pg_current_wal_insert_lsn();
	until timestamptz := clock_timestamp() + interval '1 second'
		+ 4 * current_setting('wal_writer_delay')::interval;
BEGIN
	WHILE pg_current_wal_flush_lsn() < lsn AND clock_timestamp() < until LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;

-- EXECUTE: release, data_scientists. Answers the session user that asked, in a later transaction, for ten
-- minutes. kind, id, rkid, core, body:
--   wrap     kid, recipient's key id, envelope core, wrap
--   subject  sid, null, null, secret (null: erased)
--   role     member's name in UTF-8, the role's key id, its public key, its secret sealed to the member
CREATE FUNCTION key_schema.fetch(ticket uuid)
RETURNS TABLE (kind text, id bytea, rkid bytea, core bytea, body bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	a key_schema.audit;
BEGIN
	SELECT x.* INTO a FROM key_schema.audit x
		WHERE x.ticket = $1 AND x.kind = 'release' AND x.login = session_user::text;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'login % has no such ticket', session_user USING ERRCODE = 'insufficient_privilege';
	END IF;
	PERFORM key_schema.pipeline_for((SELECT l.name FROM admin_schema.pipeline l WHERE l.id = a.pipeline),
		'release', 'data_scientists');
	IF pg_xact_status(a.xid) IS DISTINCT FROM 'committed' THEN
		RAISE EXCEPTION 'the request is not committed: commit it, then fetch'
			USING ERRCODE = 'object_not_in_prerequisite_state';
	END IF;
	IF a.at < clock_timestamp() - interval '10 minutes' THEN
		RAISE EXCEPTION 'the ticket is older than ten minutes: request again'
			USING ERRCODE = 'object_not_in_prerequisite_state';
	END IF;
	PERFORM key_schema.log_wait();
	RETURN QUERY
		SELECT 'wrap'::text, w.kid, w.rkid, e.core, w.wrap
		FROM (SELECT DISTINCT unnest(a.kids) AS kid) k
		JOIN key_schema.envelope e ON e.pipeline = a.pipeline AND e.kid = k.kid
		JOIN key_schema.wrap w ON w.pipeline = e.pipeline AND w.kid = e.kid
		UNION ALL
		SELECT 'subject', s.sid, NULL, NULL, s.secret
		FROM (SELECT DISTINCT unnest(a.sids) AS sid) k
		JOIN key_schema.subject s ON s.pipeline = a.pipeline AND s.sid = k.sid
		UNION ALL
		SELECT 'role', convert_to(r.member, 'UTF8'), r.rkid, r.pk, r.sealed
		FROM key_schema.role_key r WHERE r.pipeline = a.pipeline;
END $$;

-- EXECUTE: release, for hand-overs alone. The owner writes every kind but release, which has a ticket.
CREATE FUNCTION key_schema.audit_write(p text, kind text, purpose text, detail jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	pid integer := key_schema.pipeline_for(p, 'release', NULL);
BEGIN
	IF kind IS DISTINCT FROM 'handoff' AND NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
		RAISE EXCEPTION 'login % may write audit rows of hand-overs only', session_user
			USING ERRCODE = 'insufficient_privilege';
	END IF;
	IF kind IS NULL OR kind = 'release' THEN
		RAISE EXCEPTION 'an audit row of that kind is not written so'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF octet_length(detail::text) > 65536 THEN
		RAISE EXCEPTION 'the detail has more than 65536 bytes' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	RETURN key_schema.audit_add(pid, kind, NULL, NULL, NULL, purpose, detail);
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA key_schema FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA key_schema FROM PUBLIC;

-- ---- admin_schema ----

-- load: INSERT.
ALTER TABLE admin_schema.dead_letter
	ADD COLUMN sid bytea CHECK (octet_length(sid) = 16);
COMMENT ON COLUMN admin_schema.dead_letter.sid IS 'The person that body is bound to; null: nobody';

-- No worker needs it.
CREATE TABLE admin_schema.raw_table (
	pipeline integer NOT NULL REFERENCES admin_schema.pipeline ON DELETE CASCADE,
	name     text NOT NULL,
	keep     interval,
	PRIMARY KEY (pipeline, name)
);
COMMENT ON TABLE admin_schema.raw_table IS 'Tables of raw events in development_schema, a partition a day';
COMMENT ON COLUMN admin_schema.raw_table.keep IS 'A day goes when it is so old; null: never';

-- task: SELECT.
CREATE TABLE admin_schema.aggregate (
	pipeline integer NOT NULL REFERENCES admin_schema.pipeline ON DELETE CASCADE,
	name     text NOT NULL,
	fact     text NOT NULL,
	refresh  text NOT NULL,
	digest   bytea NOT NULL CHECK (octet_length(digest) = 32),
	every    interval NOT NULL,
	built_at timestamptz,
	rows     bigint,
	PRIMARY KEY (pipeline, name)
);
COMMENT ON TABLE admin_schema.aggregate IS 'Aggregates in data_visualization_schema, each rebuilt as a whole';
COMMENT ON COLUMN admin_schema.aggregate.fact IS 'The table of analytical_schema that it is made from';
COMMENT ON COLUMN admin_schema.aggregate.refresh IS 'The function of admin_schema that rebuilds it';
COMMENT ON COLUMN admin_schema.aggregate.digest IS 'sha256 of the SQL that made table and function';
COMMENT ON COLUMN admin_schema.aggregate.built_at IS 'Null: never yet';

-- The days of UTC from today on for which rows may come, each a partition of its own; what came before its
-- day had one is in the default partition, and moves. Days that are too old go. A table that somebody's
-- transaction holds is left as it is, and is named in busy; the others are done.
-- EXECUTE: task.
CREATE FUNCTION admin_schema.raw_partitions(p text, OUT made integer, OUT dropped integer, OUT busy text[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
SET lock_timeout = '2s' AS $$
DECLARE
	ahead CONSTANT integer := 7;
	pid integer := key_schema.pipeline_for(p, 'task', NULL);
	r record;
	done integer[];
BEGIN
	made := 0;
	dropped := 0;
	busy := '{}';
	FOR r IN SELECT t.keep, c.oid, c.relname, left(t.name, 37) || CASE WHEN octet_length(t.name) > 37
				THEN '_' || left(md5(t.name), 8) ELSE '' END AS stem
			FROM admin_schema.raw_table t JOIN pg_class c ON c.relname = t.name AND c.relkind = 'p'
			JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'development_schema'
			WHERE t.pipeline = pid ORDER BY t.name LOOP
		BEGIN
			done := ARRAY[admin_schema.raw_days(r.oid, r.stem, ahead), admin_schema.raw_expire(r.oid, r.keep)];
			made := made + done[1];
			dropped := dropped + done[2];
		EXCEPTION WHEN lock_not_available THEN
			busy := busy || r.relname::text;
			-- What was done already is locked until the end: no long wait again.
			PERFORM set_config('lock_timeout', '100ms', true);
		END;
	END LOOP;
END $$;

-- The days of one table that are too old; for raw_partitions alone.
CREATE FUNCTION admin_schema.raw_expire(raw oid, keep interval) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
	part record;
	dropped integer := 0;
BEGIN
	FOR part IN SELECT c.relname,
				substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([^'']+)''\)')::timestamptz AS upto
			FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = raw LOOP
		IF part.upto < now() - keep THEN
			EXECUTE format('DROP TABLE development_schema.%I', part.relname);
			dropped := dropped + 1;
		ELSIF part.upto IS NULL AND keep IS NOT NULL THEN
			EXECUTE format('DELETE FROM development_schema.%I WHERE loaded_at < now() - $1',
				part.relname) USING keep;
		END IF;
	END LOOP;
	RETURN dropped;
END $$;

-- The default partition and the next days of one table; for raw_partitions alone. A partition is made
-- apart and then attached: that leaves the loader alone.
CREATE FUNCTION admin_schema.raw_days(raw oid, stem text, ahead integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
	parent text := raw::regclass::text;
	spare text := (SELECT c.relname FROM pg_partitioned_table t JOIN pg_class c ON c.oid = t.partdefid
		WHERE t.partrelid = raw);
	made integer := 0;
	name text;
	lo timestamptz;
	hi timestamptz;
BEGIN
	IF spare IS NULL THEN
		spare := stem || '_default';
		EXECUTE format('CREATE TABLE development_schema.%I PARTITION OF %s DEFAULT', spare, parent);
	END IF;
	FOR day IN 0 .. ahead LOOP
		lo := date_trunc('day', now()) + day * interval '1 day';
		hi := lo + interval '1 day';
		name := stem || '_' || to_char(lo, 'YYYYMMDD');
		CONTINUE WHEN EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = 'development_schema' AND c.relname = name);
		EXECUTE format('CREATE TABLE development_schema.%I (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS'
			' INCLUDING STORAGE INCLUDING COMPRESSION)', name, parent);
		-- From here on nothing can come to the default partition.
		EXECUTE format('LOCK TABLE development_schema.%I IN ACCESS EXCLUSIVE MODE', spare);
		EXECUTE format('WITH moved AS (DELETE FROM development_schema.%I WHERE loaded_at >= %L AND loaded_at < %L'
			' RETURNING *) INSERT INTO development_schema.%I SELECT * FROM moved', spare, lo, hi, name);
		EXECUTE format('ALTER TABLE %s ATTACH PARTITION development_schema.%I FOR VALUES FROM (%L) TO (%L)',
			parent, name, lo, hi);
		made := made + 1;
	END LOOP;
	RETURN made;
END $$;

REVOKE ALL ON FUNCTION admin_schema.raw_partitions(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION admin_schema.raw_days(oid, text, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION admin_schema.raw_expire(oid, interval) FROM PUBLIC;
