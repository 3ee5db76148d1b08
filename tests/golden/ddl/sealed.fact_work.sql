CREATE TABLE "analytical_schema"."fact_work" (
	"rid" uuid NOT NULL,
	"case_id" text NOT NULL,
	"event_at" timestamp with time zone,
	"activity" text,
	"transition" text,
	"seq" bigint,
	"resource_key" bigint NOT NULL DEFAULT -1,
	"loaded_at" timestamp with time zone NOT NULL DEFAULT now(),
	"batch" bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE "analytical_schema"."fact_work" IS 'One row an event of a work item [weir pipeline=loans volatile=loaded_at,batch]';
COMMENT ON COLUMN "analytical_schema"."fact_work"."rid" IS 'Identity of the event';
COMMENT ON COLUMN "analytical_schema"."fact_work"."case_id" IS 'The process: its correlation ID';
COMMENT ON COLUMN "analytical_schema"."fact_work"."event_at" IS 'Time of the event; null where its source has none';
COMMENT ON COLUMN "analytical_schema"."fact_work"."activity" IS '= activity';
COMMENT ON COLUMN "analytical_schema"."fact_work"."transition" IS '= transition';
COMMENT ON COLUMN "analytical_schema"."fact_work"."seq" IS '= seq';
COMMENT ON COLUMN "analytical_schema"."fact_work"."resource_key" IS 'Member of dim_resource; -1 unknown, -2 invalid';
COMMENT ON COLUMN "analytical_schema"."fact_work"."loaded_at" IS 'When the row was written [volatile]';
COMMENT ON COLUMN "analytical_schema"."fact_work"."batch" IS 'The batch that wrote the row; 0: weir apply [volatile]';
ALTER TABLE "analytical_schema"."fact_work" ADD CONSTRAINT "fact_work_resource_key_fk" FOREIGN KEY ("resource_key") REFERENCES "analytical_schema"."dim_resource" ("resource_key") NOT VALID;
