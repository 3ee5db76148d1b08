CREATE TABLE "development_schema"."raw_offer" (
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
	"loaded_at" timestamp with time zone NOT NULL DEFAULT now(),
	"batch" bigint NOT NULL DEFAULT 0
) PARTITION BY RANGE ("loaded_at");
CREATE TABLE "development_schema"."raw_offer_default" PARTITION OF "development_schema"."raw_offer" DEFAULT;
CREATE INDEX ON "development_schema"."raw_offer" ("sid") WHERE "sid" IS NOT NULL;
CREATE INDEX ON "development_schema"."raw_offer" USING brin ("event_at");
COMMENT ON TABLE "development_schema"."raw_offer" IS '[weir pipeline=loans volatile=loaded_at,batch]';
COMMENT ON COLUMN "development_schema"."raw_offer"."rid" IS 'Identity of the event';
COMMENT ON COLUMN "development_schema"."raw_offer"."event_at" IS 'Time of the event; null where its source has none';
COMMENT ON COLUMN "development_schema"."raw_offer"."sid" IS 'The person: a keyed pseudonym; null where the event has none';
COMMENT ON COLUMN "development_schema"."raw_offer"."case_id" IS '= case_id';
COMMENT ON COLUMN "development_schema"."raw_offer"."case_id_token" IS 'Token of case_id in domain loan';
COMMENT ON COLUMN "development_schema"."raw_offer"."seq" IS '= seq';
COMMENT ON COLUMN "development_schema"."raw_offer"."activity" IS '= activity';
COMMENT ON COLUMN "development_schema"."raw_offer"."transition" IS '= transition';
COMMENT ON COLUMN "development_schema"."raw_offer"."at" IS '= at';
COMMENT ON COLUMN "development_schema"."raw_offer"."resource" IS 'Sealed to class identity';
COMMENT ON COLUMN "development_schema"."raw_offer"."resource_token" IS 'Token of resource in domain staff';
COMMENT ON COLUMN "development_schema"."raw_offer"."loaded_at" IS 'When the row was written [volatile]';
COMMENT ON COLUMN "development_schema"."raw_offer"."batch" IS 'The batch that wrote the row; 0: weir apply [volatile]';
