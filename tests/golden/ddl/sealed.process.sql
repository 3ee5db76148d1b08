CREATE TABLE "development_schema"."process" (
	"case_id" text NOT NULL,
	"amount" bytea,
	"resource" bytea,
	"revision" bigint NOT NULL,
	"loaded_at" timestamp with time zone NOT NULL DEFAULT now(),
	"batch" bigint NOT NULL DEFAULT 0,
	PRIMARY KEY ("case_id")
) WITH (fillfactor = 80);
COMMENT ON TABLE "development_schema"."process" IS '[weir pipeline=loans volatile=revision,loaded_at,batch]';
COMMENT ON COLUMN "development_schema"."process"."case_id" IS 'The process: its correlation ID';
COMMENT ON COLUMN "development_schema"."process"."amount" IS 'Sealed: first application.amount_requested where activity = ''A_SUBMITTED''';
COMMENT ON COLUMN "development_schema"."process"."resource" IS 'Sealed: last application.resource, offer.resource, workitem.resource where resource_token is not null';
COMMENT ON COLUMN "development_schema"."process"."revision" IS 'Rises with every event and change of status; the greatest wins [volatile]';
COMMENT ON COLUMN "development_schema"."process"."loaded_at" IS 'When the row was written [volatile]';
COMMENT ON COLUMN "development_schema"."process"."batch" IS 'The batch that wrote the row; 0: weir apply [volatile]';
