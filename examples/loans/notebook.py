# %% [markdown]
# # Loans, opened
# A place to start from. Run it as a script, or cell by cell in an editor that knows `# %%`. It needs the packages of
# `clients/python`, a login in the groups `data_scientists` and `data_analysts`, and your member key:
#
#     export WEIR_DSN=postgresql://ana@localhost/warehouse WEIR_MEMBER_KEY=member-ana.key PYTHONPATH=clients/python
#     python3 examples/loans/notebook.py
#
# Each query that opens sealed values leaves one row in the audit: who, when, which keys, and the purpose given here.

# %%
import os

import pandas

import weir_reader

PURPOSE = os.environ.get("WEIR_PURPOSE", "exploration: how the requested amount bears on the decision")
reader = weir_reader.Reader(os.environ["WEIR_DSN"], os.environ.get("WEIR_PIPELINE", "loans"), os.environ["WEIR_MEMBER_KEY"],
                            passphrase_file=os.environ.get("WEIR_PASSPHRASE_FILE"))

# %% [markdown]
# ## One row a loan
# `development_schema.process` has the sealed folds, `analytical_schema.fact_loan` all that is not sensitive.

# %%
loans = reader.frame("""
    SELECT f.case_id, f.outcome, f.submitted_at, f.last_event_at, f.offers_sent, f.work_items, p.amount
    FROM analytical_schema.fact_loan f JOIN development_schema.process p USING (case_id)
    """, purpose=PURPOSE)
print(f"{len(loans)} loans, {loans.attrs['erased']} values of erased persons")
print(loans.describe().to_string())

# %% [markdown]
# ## Does the amount bear on the decision?

# %%
loans["days"] = (loans.last_event_at - loans.submitted_at).dt.total_seconds() / 86400
loans["band"] = pandas.cut(loans.amount, [0, 5000, 15000, 50000, float("inf")])
print(loans.groupby("band", observed=True).agg(
    loans=("case_id", "size"), approved=("outcome", lambda o: (o == "approved").mean()),
    days=("days", "median"), offers=("offers_sent", "mean")).to_string())

# %% [markdown]
# ## Down to the events
# The raw events of the largest open loans, with who worked on them. Their names were sealed; in the warehouse there are
# tokens in their place. With `rid` among the columns, the reader checks that no value was moved to another row.

# %%
largest = loans[loans.outcome == "open"].nlargest(20, "amount").case_id.tolist()
events = reader.frame("""
    SELECT rid, event_at, case_id, activity, resource FROM development_schema.raw_application
    WHERE case_id = ANY(%s) ORDER BY case_id, event_at
    """, [largest], purpose=PURPOSE)
print(events.groupby("activity").agg(events=("rid", "size"), people=("resource", "nunique")).to_string())

# %%
reader.close()
