CREATE TABLE "data_visualization_schema"."loans_by_band" (
	"amount_band" text,
	"outcome" text,
	"loans" bigint,
	"offers" numeric,
	"work_items" numeric,
	"as_of" timestamp with time zone NOT NULL,
	UNIQUE NULLS NOT DISTINCT ("amount_band", "outcome")
);
COMMENT ON TABLE "data_visualization_schema"."loans_by_band" IS 'Loans by amount and outcome [weir pipeline=loans aggregate=fact_loan subject=case_id k=10 volatile=as_of]';
COMMENT ON COLUMN "data_visualization_schema"."loans_by_band"."amount_band" IS 'amount_band of fact_loan; other: all groups too small to show';
COMMENT ON COLUMN "data_visualization_schema"."loans_by_band"."outcome" IS 'outcome of fact_loan; other: all groups too small to show';
COMMENT ON COLUMN "data_visualization_schema"."loans_by_band"."loans" IS 'Rows';
COMMENT ON COLUMN "data_visualization_schema"."loans_by_band"."offers" IS 'Sum of offers_sent';
COMMENT ON COLUMN "data_visualization_schema"."loans_by_band"."work_items" IS 'Mean of work_items';
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
		SELECT f."amount_band"::text AS b0, f."outcome"::text AS b1, f."case_id" AS subject, CASE WHEN f."case_id"::text ~ '^01[0-9a-f]{38}$' THEN substr(f."case_id"::text, 3, 2) ELSE '' END AS epoch, count(*) AS n, sum(f."offers_sent") AS s1, count(f."offers_sent") AS n1, sum(f."work_items") AS s2, count(f."work_items") AS n2
		FROM "analytical_schema"."fact_loan" f
		WHERE f."case_id" IS NOT NULL
		GROUP BY 1, 2, 3, 4
	), seen AS (
		SELECT *, row_number() OVER e = 1 AS head, count(*) OVER e AS k, count(s1) OVER e AS k1, max(abs(s1)) OVER e AS m1, count(s2) OVER e AS k2, max(abs(s2)) OVER e AS m2
		FROM part WINDOW e AS (PARTITION BY b0, b1, epoch)
	), judged AS (
		SELECT *, coalesce(max(k) OVER w >= 10
			AND max(k1) OVER w >= 10 AND 2 * sum(m1) FILTER (WHERE head) OVER w <= sum(abs(s1)) OVER w
			AND max(k2) OVER w >= 10 AND 2 * sum(m2) FILTER (WHERE head) OVER w <= sum(abs(s2)) OVER w
			AND NOT (coalesce(b0 = 'other', false) AND coalesce(b1 = 'other', false)), false) AS fine
		FROM seen WINDOW w AS (PARTITION BY b0, b1)
	)
	INSERT INTO "data_visualization_schema"."loans_by_band"
	SELECT b0, b1, sum(n)::bigint, sum(s1)::numeric, (sum(s2) / nullif(sum(n2), 0))::numeric, now()
	FROM judged WHERE fine GROUP BY b0, b1
	UNION ALL
	SELECT 'other', 'other', sum(n)::bigint, sum(s1)::numeric, (sum(s2) / nullif(sum(n2), 0))::numeric, now()
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
