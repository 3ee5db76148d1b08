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
		SELECT f."band"::text AS b0, f."status"::text AS b1, d2."team"::text AS b2, d3."date"::text AS b3, f."case_id" AS subject, count(*) AS n, sum(f."amounts") AS s1, count(f."amounts") AS n1, sum(f."amounts") AS s2, count(f."amounts") AS n2
		FROM "analytical_schema"."fact_loan" f
		LEFT JOIN "analytical_schema"."dim_resource" d2 ON d2."resource_key" = f."resource_key"
		LEFT JOIN "analytical_schema"."dim_day" d3 ON d3."day_key" = f."submitted_key"
		WHERE f."case_id" IS NOT NULL
		GROUP BY 1, 2, 3, 4, 5
	), judged AS (
		SELECT *, coalesce(count(*) OVER w >= 10
			AND count(s1) OVER w >= 10 AND 2 * max(abs(s1)) OVER w <= sum(abs(s1)) OVER w
			AND count(s2) OVER w >= 10 AND 2 * max(abs(s2)) OVER w <= sum(abs(s2)) OVER w
			AND NOT (coalesce(b0 = 'other', false) AND coalesce(b1 = 'other', false) AND coalesce(b2 = 'other', false) AND coalesce(b3 = 'other', false)), false) AS fine
		FROM part WINDOW w AS (PARTITION BY b0, b1, b2, b3)
	)
	INSERT INTO "data_visualization_schema"."loans_by_band"
	SELECT b0, b1, b2, b3, sum(n)::bigint, sum(s1)::numeric, (sum(s2) / nullif(sum(n2), 0))::numeric, now()
	FROM judged WHERE fine GROUP BY b0, b1, b2, b3
	UNION ALL
	SELECT 'other', 'other', 'other', 'other', sum(n)::bigint, sum(s1)::numeric, (sum(s2) / nullif(sum(n2), 0))::numeric, now()
	FROM (SELECT sum(n) AS n, sum(s1) AS s1, sum(n1) AS n1, sum(s2) AS s2, sum(n2) AS n2
		FROM judged WHERE NOT fine GROUP BY subject) small
	HAVING count(*) >= 10
			AND count(s1) >= 10 AND 2 * max(abs(s1)) <= sum(abs(s1))
			AND count(s2) >= 10 AND 2 * max(abs(s2)) <= sum(abs(s2));
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
		SELECT f."band"::text AS b0, f."case_id" AS subject, count(*) AS n
		FROM "analytical_schema"."fact_event" f
		WHERE f."case_id" IS NOT NULL
		GROUP BY 1, 2
	), judged AS (
		SELECT *, coalesce(count(*) OVER w >= 20
			AND NOT (coalesce(b0 = 'other', false)), false) AS fine
		FROM part WINDOW w AS (PARTITION BY b0)
	)
	INSERT INTO "data_visualization_schema"."events_by_band"
	SELECT b0, sum(n)::bigint, now()
	FROM judged WHERE fine GROUP BY b0
	UNION ALL
	SELECT 'other', sum(n)::bigint, now()
	FROM (SELECT sum(n) AS n
		FROM judged WHERE NOT fine GROUP BY subject) small
	HAVING count(*) >= 20;
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
		SELECT f."band"::text AS b0, f."who" AS subject, count(*) AS n
		FROM "analytical_schema"."fact_event" f
		WHERE f."who" IS NOT NULL
		GROUP BY 1, 2
	), judged AS (
		SELECT *, coalesce(count(*) OVER w >= 10
			AND NOT (coalesce(b0 = 'other', false)), false) AS fine
		FROM part WINDOW w AS (PARTITION BY b0)
	)
	INSERT INTO "data_visualization_schema"."events_by_person"
	SELECT b0, sum(n)::bigint, now()
	FROM judged WHERE fine GROUP BY b0
	UNION ALL
	SELECT 'other', sum(n)::bigint, now()
	FROM (SELECT sum(n) AS n
		FROM judged WHERE NOT fine GROUP BY subject) small
	HAVING count(*) >= 10;
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
		SELECT d0."year_month"::text AS b0, f."case_id" AS subject, count(*) AS n
		FROM "analytical_schema"."fact_loan" f
		LEFT JOIN "analytical_schema"."dim_day" d0 ON d0."day_key" = f."submitted_key"
		WHERE f."case_id" IS NOT NULL
		GROUP BY 1, 2
	), judged AS (
		SELECT *, coalesce(count(*) OVER w >= 10
			AND NOT (coalesce(b0 = 'other', false)), false) AS fine
		FROM part WINDOW w AS (PARTITION BY b0)
	)
	INSERT INTO "data_visualization_schema"."loans_by_month"
	SELECT b0, sum(n)::bigint, now()
	FROM judged WHERE fine GROUP BY b0
	UNION ALL
	SELECT 'other', sum(n)::bigint, now()
	FROM (SELECT sum(n) AS n
		FROM judged WHERE NOT fine GROUP BY subject) small
	HAVING count(*) >= 10;
	GET DIAGNOSTICS written = ROW_COUNT;
	RETURN written;
END $weir$;
REVOKE ALL ON FUNCTION "admin_schema"."refresh_loans.loans_by_month"() FROM PUBLIC;
