CREATE TABLE "data_visualization_schema"."loans_by_band" (
	"band" text,
	"status" text,
	"team" text,
	"date" text,
	"loans" bigint,
	"amounts" numeric,
	"mean" numeric,
	"as_of" timestamp with time zone NOT NULL,
	UNIQUE NULLS NOT DISTINCT ("band", "status", "team", "date")
);
COMMENT ON TABLE "data_visualization_schema"."loans_by_band" IS 'Loans [weir pipeline=loans aggregate=fact_loan subject=case_id k=10 volatile=as_of]';
COMMENT ON COLUMN "data_visualization_schema"."loans_by_band"."band" IS 'band of fact_loan; other: all groups too small to show';
COMMENT ON COLUMN "data_visualization_schema"."loans_by_band"."status" IS 'status of fact_loan; other: all groups too small to show';
COMMENT ON COLUMN "data_visualization_schema"."loans_by_band"."team" IS 'team of dim_resource, by resource_key; other: all groups too small to show';
COMMENT ON COLUMN "data_visualization_schema"."loans_by_band"."date" IS 'date of dim_day, by submitted_key; other: all groups too small to show';
COMMENT ON COLUMN "data_visualization_schema"."loans_by_band"."loans" IS 'Rows';
COMMENT ON COLUMN "data_visualization_schema"."loans_by_band"."amounts" IS 'Sum of amounts';
COMMENT ON COLUMN "data_visualization_schema"."loans_by_band"."mean" IS 'Mean of amounts';
COMMENT ON COLUMN "data_visualization_schema"."loans_by_band"."as_of" IS 'When it was built [volatile]';
CREATE OR REPLACE FUNCTION "admin_schema"."refresh_loans.loans_by_band"() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD' SET timezone = 'UTC' SET extra_float_digits = 1
AS $weir$
#variable_conflict use_column
DECLARE
	written bigint;
BEGIN
	LOCK TABLE "data_visualization_schema"."loans_by_band" IN SHARE ROW EXCLUSIVE MODE;
	DELETE FROM "data_visualization_schema"."loans_by_band";
	WITH part AS (
		SELECT f."band"::text AS b0, f."status"::text AS b1, d2."team"::text AS b2, d3."date"::text AS b3, f."case_id" AS subject, CASE WHEN f."case_id"::text ~ '^01[0-9a-f]{38}$' THEN substr(f."case_id"::text, 3, 2) ELSE '' END AS epoch, count(*) AS n, sum(f."amounts") AS s1, count(f."amounts") AS n1, sum(f."amounts") AS s2, count(f."amounts") AS n2
		FROM "analytical_schema"."fact_loan" f
		LEFT JOIN "analytical_schema"."dim_resource" d2 ON d2."resource_key" = f."resource_key"
		LEFT JOIN "analytical_schema"."dim_day" d3 ON d3."day_key" = f."submitted_key"
		WHERE f."case_id" IS NOT NULL
		GROUP BY 1, 2, 3, 4, 5, 6
	), seen AS (
		SELECT *, row_number() OVER e = 1 AS head, count(*) OVER e AS k, count(s1) OVER e AS k1, max(abs(s1)) OVER e AS m1, count(s2) OVER e AS k2, max(abs(s2)) OVER e AS m2
		FROM part WINDOW e AS (PARTITION BY b0, b1, b2, b3, epoch)
	), judged AS (
		SELECT *, coalesce(max(k) OVER w >= 10
			AND max(k1) OVER w >= 10 AND 2 * sum(m1) FILTER (WHERE head) OVER w <= sum(abs(s1)) OVER w
			AND max(k2) OVER w >= 10 AND 2 * sum(m2) FILTER (WHERE head) OVER w <= sum(abs(s2)) OVER w
			AND NOT (coalesce(b0 = 'other', false) AND coalesce(b1 = 'other', false) AND coalesce(b2 = 'other', false) AND coalesce(b3 = 'other', false)), false) AS fine
		FROM seen WINDOW w AS (PARTITION BY b0, b1, b2, b3)
	)
	INSERT INTO "data_visualization_schema"."loans_by_band"
	SELECT b0, b1, b2, b3, sum(n)::bigint, sum(s1)::numeric, (sum(s2) / nullif(sum(n2), 0))::numeric, now()
	FROM judged WHERE fine GROUP BY b0, b1, b2, b3
	UNION ALL
	SELECT 'other', 'other', 'other', 'other', sum(n)::bigint, sum(s1)::numeric, (sum(s2) / nullif(sum(n2), 0))::numeric, now()
	FROM (SELECT sum(n) AS n, sum(s1) AS s1, sum(n1) AS n1, sum(abs(s1)) AS t1, sum(s2) AS s2, sum(n2) AS n2, sum(abs(s2)) AS t2, count(*) AS k, count(s1) AS k1, max(abs(s1)) AS m1, count(s2) AS k2, max(abs(s2)) AS m2
		FROM (SELECT epoch, sum(n) AS n, sum(s1) AS s1, sum(n1) AS n1, sum(s2) AS s2, sum(n2) AS n2
			FROM judged WHERE NOT fine GROUP BY epoch, subject) small
		GROUP BY epoch) seen
	HAVING max(k) >= 10
			AND max(k1) >= 10 AND 2 * sum(m1) <= sum(t1)
			AND max(k2) >= 10 AND 2 * sum(m2) <= sum(t2);
	GET DIAGNOSTICS written = ROW_COUNT;
	RETURN written;
END $weir$;
REVOKE ALL ON FUNCTION "admin_schema"."refresh_loans.loans_by_band"() FROM PUBLIC;
CREATE TABLE "data_visualization_schema"."events_by_band" (
	"band" text,
	"events" bigint,
	"as_of" timestamp with time zone NOT NULL,
	UNIQUE NULLS NOT DISTINCT ("band")
);
COMMENT ON TABLE "data_visualization_schema"."events_by_band" IS '[weir pipeline=loans aggregate=fact_event subject=case_id k=20 volatile=as_of]';
COMMENT ON COLUMN "data_visualization_schema"."events_by_band"."band" IS 'band of fact_event; other: all groups too small to show';
COMMENT ON COLUMN "data_visualization_schema"."events_by_band"."events" IS 'Rows';
COMMENT ON COLUMN "data_visualization_schema"."events_by_band"."as_of" IS 'When it was built [volatile]';
CREATE OR REPLACE FUNCTION "admin_schema"."refresh_loans.events_by_band"() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD' SET timezone = 'UTC' SET extra_float_digits = 1
AS $weir$
#variable_conflict use_column
DECLARE
	written bigint;
BEGIN
	LOCK TABLE "data_visualization_schema"."events_by_band" IN SHARE ROW EXCLUSIVE MODE;
	DELETE FROM "data_visualization_schema"."events_by_band";
	WITH part AS (
		SELECT f."band"::text AS b0, f."case_id" AS subject, CASE WHEN f."case_id"::text ~ '^01[0-9a-f]{38}$' THEN substr(f."case_id"::text, 3, 2) ELSE '' END AS epoch, count(*) AS n
		FROM "analytical_schema"."fact_event" f
		WHERE f."case_id" IS NOT NULL
		GROUP BY 1, 2, 3
	), seen AS (
		SELECT *, row_number() OVER e = 1 AS head, count(*) OVER e AS k
		FROM part WINDOW e AS (PARTITION BY b0, epoch)
	), judged AS (
		SELECT *, coalesce(max(k) OVER w >= 20
			AND NOT (coalesce(b0 = 'other', false)), false) AS fine
		FROM seen WINDOW w AS (PARTITION BY b0)
	)
	INSERT INTO "data_visualization_schema"."events_by_band"
	SELECT b0, sum(n)::bigint, now()
	FROM judged WHERE fine GROUP BY b0
	UNION ALL
	SELECT 'other', sum(n)::bigint, now()
	FROM (SELECT sum(n) AS n, count(*) AS k
		FROM (SELECT epoch, sum(n) AS n
			FROM judged WHERE NOT fine GROUP BY epoch, subject) small
		GROUP BY epoch) seen
	HAVING max(k) >= 20;
	GET DIAGNOSTICS written = ROW_COUNT;
	RETURN written;
END $weir$;
REVOKE ALL ON FUNCTION "admin_schema"."refresh_loans.events_by_band"() FROM PUBLIC;
CREATE TABLE "data_visualization_schema"."events_by_person" (
	"band" text,
	"events" bigint,
	"as_of" timestamp with time zone NOT NULL,
	UNIQUE NULLS NOT DISTINCT ("band")
);
COMMENT ON TABLE "data_visualization_schema"."events_by_person" IS '[weir pipeline=loans aggregate=fact_event subject=who k=10 volatile=as_of]';
COMMENT ON COLUMN "data_visualization_schema"."events_by_person"."band" IS 'band of fact_event; other: all groups too small to show';
COMMENT ON COLUMN "data_visualization_schema"."events_by_person"."events" IS 'Rows';
COMMENT ON COLUMN "data_visualization_schema"."events_by_person"."as_of" IS 'When it was built [volatile]';
CREATE OR REPLACE FUNCTION "admin_schema"."refresh_loans.events_by_person"() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD' SET timezone = 'UTC' SET extra_float_digits = 1
AS $weir$
#variable_conflict use_column
DECLARE
	written bigint;
BEGIN
	LOCK TABLE "data_visualization_schema"."events_by_person" IN SHARE ROW EXCLUSIVE MODE;
	DELETE FROM "data_visualization_schema"."events_by_person";
	WITH part AS (
		SELECT f."band"::text AS b0, f."who" AS subject, CASE WHEN f."who"::text ~ '^01[0-9a-f]{38}$' THEN substr(f."who"::text, 3, 2) ELSE '' END AS epoch, count(*) AS n
		FROM "analytical_schema"."fact_event" f
		WHERE f."who" IS NOT NULL
		GROUP BY 1, 2, 3
	), seen AS (
		SELECT *, row_number() OVER e = 1 AS head, count(*) OVER e AS k
		FROM part WINDOW e AS (PARTITION BY b0, epoch)
	), judged AS (
		SELECT *, coalesce(max(k) OVER w >= 10
			AND NOT (coalesce(b0 = 'other', false)), false) AS fine
		FROM seen WINDOW w AS (PARTITION BY b0)
	)
	INSERT INTO "data_visualization_schema"."events_by_person"
	SELECT b0, sum(n)::bigint, now()
	FROM judged WHERE fine GROUP BY b0
	UNION ALL
	SELECT 'other', sum(n)::bigint, now()
	FROM (SELECT sum(n) AS n, count(*) AS k
		FROM (SELECT epoch, sum(n) AS n
			FROM judged WHERE NOT fine GROUP BY epoch, subject) small
		GROUP BY epoch) seen
	HAVING max(k) >= 10;
	GET DIAGNOSTICS written = ROW_COUNT;
	RETURN written;
END $weir$;
REVOKE ALL ON FUNCTION "admin_schema"."refresh_loans.events_by_person"() FROM PUBLIC;
CREATE TABLE "data_visualization_schema"."loans_by_month" (
	"year_month" text,
	"loans" bigint,
	"as_of" timestamp with time zone NOT NULL,
	UNIQUE NULLS NOT DISTINCT ("year_month")
);
COMMENT ON TABLE "data_visualization_schema"."loans_by_month" IS '[weir pipeline=loans aggregate=fact_loan subject=case_id k=10 volatile=as_of]';
COMMENT ON COLUMN "data_visualization_schema"."loans_by_month"."year_month" IS 'year_month of dim_day, by submitted_key; other: all groups too small to show';
COMMENT ON COLUMN "data_visualization_schema"."loans_by_month"."loans" IS 'Rows';
COMMENT ON COLUMN "data_visualization_schema"."loans_by_month"."as_of" IS 'When it was built [volatile]';
CREATE OR REPLACE FUNCTION "admin_schema"."refresh_loans.loans_by_month"() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD' SET timezone = 'UTC' SET extra_float_digits = 1
AS $weir$
#variable_conflict use_column
DECLARE
	written bigint;
BEGIN
	LOCK TABLE "data_visualization_schema"."loans_by_month" IN SHARE ROW EXCLUSIVE MODE;
	DELETE FROM "data_visualization_schema"."loans_by_month";
	WITH part AS (
		SELECT d0."year_month"::text AS b0, f."case_id" AS subject, CASE WHEN f."case_id"::text ~ '^01[0-9a-f]{38}$' THEN substr(f."case_id"::text, 3, 2) ELSE '' END AS epoch, count(*) AS n
		FROM "analytical_schema"."fact_loan" f
		LEFT JOIN "analytical_schema"."dim_day" d0 ON d0."day_key" = f."submitted_key"
		WHERE f."case_id" IS NOT NULL
		GROUP BY 1, 2, 3
	), seen AS (
		SELECT *, row_number() OVER e = 1 AS head, count(*) OVER e AS k
		FROM part WINDOW e AS (PARTITION BY b0, epoch)
	), judged AS (
		SELECT *, coalesce(max(k) OVER w >= 10
			AND NOT (coalesce(b0 = 'other', false)), false) AS fine
		FROM seen WINDOW w AS (PARTITION BY b0)
	)
	INSERT INTO "data_visualization_schema"."loans_by_month"
	SELECT b0, sum(n)::bigint, now()
	FROM judged WHERE fine GROUP BY b0
	UNION ALL
	SELECT 'other', sum(n)::bigint, now()
	FROM (SELECT sum(n) AS n, count(*) AS k
		FROM (SELECT epoch, sum(n) AS n
			FROM judged WHERE NOT fine GROUP BY epoch, subject) small
		GROUP BY epoch) seen
	HAVING max(k) >= 10;
	GET DIAGNOSTICS written = ROW_COUNT;
	RETURN written;
END $weir$;
REVOKE ALL ON FUNCTION "admin_schema"."refresh_loans.loans_by_month"() FROM PUBLIC;
