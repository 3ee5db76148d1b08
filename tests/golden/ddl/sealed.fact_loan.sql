CREATE TABLE "analytical_schema"."fact_loan" (
	"case_id" text NOT NULL,
	"outcome" text,
	"amount_band" bigint,
	"submitted_at" timestamp with time zone,
	"last_event_at" timestamp with time zone,
	"offers_sent" bigint,
	"work_items" bigint,
	"resource_key" bigint NOT NULL DEFAULT -1,
	"date_key" bigint NOT NULL DEFAULT -1,
	"status" text NOT NULL,
	"missing" text[] NOT NULL DEFAULT '{}',
	"first_event_at" timestamp with time zone,
	"closed_at" timestamp with time zone,
	"events" bigint NOT NULL,
	"revision" bigint NOT NULL,
	"loaded_at" timestamp with time zone NOT NULL DEFAULT now(),
	"batch" bigint NOT NULL DEFAULT 0,
	PRIMARY KEY ("case_id")
) WITH (fillfactor = 80);
COMMENT ON TABLE "analytical_schema"."fact_loan" IS 'One row a loan, revised as its events arrive [weir pipeline=loans volatile=revision,loaded_at,batch]';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."case_id" IS 'The process: its correlation ID';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."outcome" IS 'What became of the loan';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."amount_band" IS 'Amount asked for: 0 below 5,000, 1 to 15,000, 2 to 50,000, 3 above';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."submitted_at" IS '= submitted_at';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."last_event_at" IS '= last_event_at';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."offers_sent" IS '= offers_sent';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."work_items" IS '= work_done';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."resource_key" IS 'Member of dim_resource; -1 unknown, -2 invalid';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."date_key" IS 'Member of dim_date; -1 unknown, -2 invalid';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."status" IS 'open, complete or expired';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."missing" IS 'Parts that the process lacks, or lacked when it expired';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."first_event_at" IS 'Time of the first event';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."closed_at" IS 'Complete: time of its newest event. Expired: when it was due. Open: null';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."events" IS 'Events folded';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."revision" IS 'Rises with every event and change of status; the greatest wins [volatile]';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."loaded_at" IS 'When the row was written [volatile]';
COMMENT ON COLUMN "analytical_schema"."fact_loan"."batch" IS 'The batch that wrote the row; 0: weir apply [volatile]';
ALTER TABLE "analytical_schema"."fact_loan" ADD CONSTRAINT "fact_loan_resource_key_fk" FOREIGN KEY ("resource_key") REFERENCES "analytical_schema"."dim_resource" ("resource_key") NOT VALID;
ALTER TABLE "analytical_schema"."fact_loan" ADD CONSTRAINT "fact_loan_date_key_fk" FOREIGN KEY ("date_key") REFERENCES "analytical_schema"."dim_date" ("date_key") NOT VALID;
