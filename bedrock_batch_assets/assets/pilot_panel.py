"""What the page of a pilot shows: the answers, and what the whole batch will take by them."""

import dagster as dg

from bedrock_batch_assets.pilots.facts import pilot_facts
from bedrock_batch_assets.pilots.pilot import PilotReport
from bedrock_batch_assets.records.reasons import shortened

# Metadata is stored with every materialization.
_ANSWER_CHARACTERS = 2_000
_PROMPT_CHARACTERS = 500


def pilot_panel(report: PilotReport) -> dg.MarkdownMetadataValue:
    """The panel, as Markdown."""
    return dg.MetadataValue.md(
        "\n".join(
            [
                f"**{len(report.rows)} of {report.records:,} records** of batch `{report.batch}`, model "
                f"`{report.model_id}`",
                "",
                "| | |",
                "| --- | --- |",
                *(f"| {name} | {text} |" for name, text in pilot_facts(report)),
                "",
                "To run the whole batch, materialize [input_dataset](/assets/input_dataset) with the same request.",
            ]
        )
    )


def answers_table(report: PilotReport) -> dg.TableMetadataValue:
    """Prompt and answer of each row. Few columns: the page is narrow, and the answers are what people read."""
    records = [
        dg.TableRecord(
            {
                "row": f"{row.row} {row.record_status}",
                "prompt": shortened(row.prompt, _PROMPT_CHARACTERS),
                "answer": shortened(row.answer or row.record_error or "", _ANSWER_CHARACTERS),
            }
        )
        for row in report.rows
    ]
    names = ("row", "prompt", "answer")
    schema = dg.TableSchema(columns=[dg.TableColumn(name=name, type="string") for name in names])
    return dg.MetadataValue.table(records, schema=schema)
