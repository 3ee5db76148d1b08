CREATE TABLE "analytical_schema"."dim_date" (
	"date_key" bigint NOT NULL,
	"date" date,
	"year" smallint,
	"quarter" smallint,
	"month" smallint,
	"month_name" text,
	"day" smallint,
	"day_of_year" smallint,
	"weekday" smallint,
	"weekday_name" text,
	"is_weekend" boolean,
	"iso_year" smallint,
	"iso_week" smallint,
	"year_month" text,
	"year_quarter" text,
	"loaded_at" timestamp with time zone NOT NULL DEFAULT now(),
	"batch" bigint NOT NULL DEFAULT 0,
	PRIMARY KEY ("date_key")
);
COMMENT ON TABLE "analytical_schema"."dim_date" IS '[weir pipeline=loans volatile=loaded_at,batch]';
COMMENT ON COLUMN "analytical_schema"."dim_date"."date_key" IS 'The day as yyyymmdd; -1 unknown, -2 invalid';
COMMENT ON COLUMN "analytical_schema"."dim_date"."date" IS 'The day';
COMMENT ON COLUMN "analytical_schema"."dim_date"."year" IS 'Year';
COMMENT ON COLUMN "analytical_schema"."dim_date"."quarter" IS 'Quarter, 1 to 4';
COMMENT ON COLUMN "analytical_schema"."dim_date"."month" IS 'Month, 1 to 12';
COMMENT ON COLUMN "analytical_schema"."dim_date"."month_name" IS 'Name of the month';
COMMENT ON COLUMN "analytical_schema"."dim_date"."day" IS 'Day of the month';
COMMENT ON COLUMN "analytical_schema"."dim_date"."day_of_year" IS 'Day of the year, from 1';
COMMENT ON COLUMN "analytical_schema"."dim_date"."weekday" IS 'Day of the week, 1 = Monday';
COMMENT ON COLUMN "analytical_schema"."dim_date"."weekday_name" IS 'Name of the weekday';
COMMENT ON COLUMN "analytical_schema"."dim_date"."is_weekend" IS 'Saturday or Sunday';
COMMENT ON COLUMN "analytical_schema"."dim_date"."iso_year" IS 'Year that the ISO week belongs to';
COMMENT ON COLUMN "analytical_schema"."dim_date"."iso_week" IS 'ISO week, 1 to 53';
COMMENT ON COLUMN "analytical_schema"."dim_date"."year_month" IS 'Year and month, 2011-10';
COMMENT ON COLUMN "analytical_schema"."dim_date"."year_quarter" IS 'Year and quarter, 2011-Q4';
COMMENT ON COLUMN "analytical_schema"."dim_date"."loaded_at" IS 'When the row was written [volatile]';
COMMENT ON COLUMN "analytical_schema"."dim_date"."batch" IS 'The batch that wrote the row; 0: weir apply [volatile]';
INSERT INTO "analytical_schema"."dim_date" ("date_key", "date") VALUES (-1, NULL), (-2, NULL) ON CONFLICT DO NOTHING;
INSERT INTO "analytical_schema"."dim_date" ("date_key", "date", year, quarter, month, month_name, day, day_of_year, weekday, weekday_name, is_weekend, iso_year, iso_week, year_month, year_quarter)
SELECT to_char(d, 'YYYYMMDD')::bigint, d,
	extract(year from d)::smallint,
	extract(quarter from d)::smallint,
	extract(month from d)::smallint,
	(array['January','February','March','April','May','June','July','August','September','October','November','December'])[extract(month from d)::int],
	extract(day from d)::smallint,
	extract(doy from d)::smallint,
	extract(isodow from d)::smallint,
	(array['Monday','Tuesday','Wednesday','Thursday','Friday','Saturday','Sunday'])[extract(isodow from d)::int],
	extract(isodow from d) >= 6,
	extract(isoyear from d)::smallint,
	extract(week from d)::smallint,
	to_char(d, 'YYYY-MM'),
	to_char(d, 'YYYY-"Q"Q')
FROM (SELECT date '2011-01-01' + i AS d FROM generate_series(0, 7304) i) days
ON CONFLICT DO NOTHING;
