"""A pilot in words, for the UI and for a terminal."""

from bedrock_batch_assets.cost.amounts import usd
from bedrock_batch_assets.pilots.pilot import PilotReport


def pilot_facts(report: PilotReport) -> list[tuple[str, str]]:
    """What a pilot showed, as names and sentences."""
    rows = len(report.rows)
    statuses = ", ".join(f"{count} {name} ({count / rows:.0%})" for name, count in sorted(report.statuses().items()))
    facts = [("answers", statuses)]
    if report.lengths is not None:
        shortest, median, longest = report.lengths
        is_text = any(row.output_tokens for row in report.rows)
        what = "answer length" if is_text else "text length"
        facts.append((what, f"{median:,} characters (median), {shortest:,} to {longest:,}"))
    found = report.measured
    if found is not None:
        tokens = f"{sum(row.input_tokens or 0 for row in report.rows) / found.answers:,.0f} in"
        if found.output_tokens:
            tokens += f", {found.output_tokens:,.0f} out (standard deviation {found.output_spread:,.0f})"
        facts.append(("tokens a record", tokens))
    paid = "not known" if report.cost_usd is None else usd(report.cost_usd)
    kept = rows - report.sent
    facts.append(("this pilot", f"{paid} for {report.sent} calls" + (f"; {kept} not sent or kept" if kept else "")))
    facts.append(("the whole batch", report.estimate))
    if report.at_most_usd is not None:
        facts.append(("at most", f"{usd(report.at_most_usd)}, if every answer is as long as max_tokens"))
    return facts
