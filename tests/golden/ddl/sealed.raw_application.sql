CREATE TABLE "development_schema"."raw_application" (
	"rid" uuid NOT NULL,
	"event_at" timestamp with time zone,
	"sid" bytea,
	"case_id" text,
	"case_id_token" text,
	"seq" bigint,
	"activity" text,
	"transition" text,
	"at" timestamp with time zone,
	"resource" bytea,
	"resource_token" text,
	"amount_requested" bytea,
	"registered_at" timestamp with time zone,
	"amount_band" bigint,
	"loaded_at" timestamp with time zone NOT NULL DEFAULT now(),
	"batch" bigint NOT NULL DEFAULT 0
) PARTITION BY RANGE ("loaded_at");
CREATE TABLE "development_schema"."raw_application_default" PARTITION OF "development_schema"."raw_application" DEFAULT;
CREATE INDEX ON "development_schema"."raw_application" ("sid") WHERE "sid" IS NOT NULL;
CREATE INDEX ON "development_schema"."raw_application" USING brin ("event_at");
COMMENT ON TABLE "development_schema"."raw_application" IS '[weir pipeline=loans volatile=loaded_at,batch]';
COMMENT ON COLUMN "development_schema"."raw_application"."rid" IS 'Identity of the event';
COMMENT ON COLUMN "development_schema"."raw_application"."event_at" IS 'Time of the event; null where its source has none';
COMMENT ON COLUMN "development_schema"."raw_application"."sid" IS 'The person: a keyed pseudonym; null where the event has none';
COMMENT ON COLUMN "development_schema"."raw_application"."case_id" IS '= case_id';
COMMENT ON COLUMN "development_schema"."raw_application"."case_id_token" IS 'Token of case_id in domain loan';
COMMENT ON COLUMN "development_schema"."raw_application"."seq" IS '= seq';
COMMENT ON COLUMN "development_schema"."raw_application"."activity" IS '= activity';
COMMENT ON COLUMN "development_schema"."raw_application"."transition" IS '= transition';
COMMENT ON COLUMN "development_schema"."raw_application"."at" IS '= at';
COMMENT ON COLUMN "development_schema"."raw_application"."resource" IS 'Sealed to class identity';
COMMENT ON COLUMN "development_schema"."raw_application"."resource_token" IS 'Token of resource in domain staff';
COMMENT ON COLUMN "development_schema"."raw_application"."amount_requested" IS 'Sealed to class financial';
COMMENT ON COLUMN "development_schema"."raw_application"."registered_at" IS '= registered_at';
COMMENT ON COLUMN "development_schema"."raw_application"."amount_band" IS '= amount_band';
COMMENT ON COLUMN "development_schema"."raw_application"."loaded_at" IS 'When the row was written [volatile]';
COMMENT ON COLUMN "development_schema"."raw_application"."batch" IS 'The batch that wrote the row; 0: weir apply [volatile]';
