CREATE TABLE "analytical_schema"."dim_resource" (
	"resource_key" bigint NOT NULL,
	"resource_token" text,
	"inferred" boolean NOT NULL DEFAULT false,
	"version_at" timestamp with time zone,
	"version_rid" uuid,
	"loaded_at" timestamp with time zone NOT NULL DEFAULT now(),
	"batch" bigint NOT NULL DEFAULT 0,
	PRIMARY KEY ("resource_key")
);
COMMENT ON TABLE "analytical_schema"."dim_resource" IS 'Employees and systems that act on a loan, by token [weir pipeline=loans volatile=loaded_at,batch]';
COMMENT ON COLUMN "analytical_schema"."dim_resource"."resource_key" IS 'Keyed hash of the natural key; -1 unknown, -2 invalid';
COMMENT ON COLUMN "analytical_schema"."dim_resource"."resource_token" IS 'Natural key';
COMMENT ON COLUMN "analytical_schema"."dim_resource"."inferred" IS 'Known from a reference only';
COMMENT ON COLUMN "analytical_schema"."dim_resource"."version_at" IS 'Time of the event that described it last';
COMMENT ON COLUMN "analytical_schema"."dim_resource"."version_rid" IS 'Identity of that event';
COMMENT ON COLUMN "analytical_schema"."dim_resource"."loaded_at" IS 'When the row was written [volatile]';
COMMENT ON COLUMN "analytical_schema"."dim_resource"."batch" IS 'The batch that wrote the row; 0: weir apply [volatile]';
INSERT INTO "analytical_schema"."dim_resource" ("resource_key", "resource_token") VALUES (-1, '(unknown)'), (-2, '(invalid)') ON CONFLICT DO NOTHING;
