"""A few rows of a batch, asked before all of them are paid for."""

from typing import Any

import dagster as dg

from bedrock_batch_assets.assets.launchpad import as_given, batch_asset
from bedrock_batch_assets.assets.pilot_panel import answers_table, pilot_panel
from bedrock_batch_assets.assets.reporting import HIDDEN, asset_run
from bedrock_batch_assets.assets.request_config import PilotConfig
from bedrock_batch_assets.cost.prices import Prices
from bedrock_batch_assets.ingest.resolved_request import resolve_request
from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs, BedrockOnDemand
from bedrock_batch_assets.pilots.pilot import run_pilot
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.request import PilotRequest, PilotSample
from bedrock_batch_assets.storage.resource import BatchStorage


def _pilot(
    context: dg.AssetExecutionContext,
    config: PilotConfig,
    storage: BatchStorage,
    jobs: BedrockBatchJobs,
    on_demand: BedrockOnDemand,
    processors: Processors,
    prices: Prices,
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Twenty rows of a batch, asked on demand: what the answers look like, and what the whole batch will cost.

    Fill in the request as for input_dataset, and how many rows to try. Nothing else is started. A record that a pilot
    has been answered is not paid for again by a later pilot of the same model.
    """
    from bedrock_batch_assets.ingest.sources.opening import open_source

    with asset_run(context, is_started_by_person=True) as key:
        given = as_given(config, PilotRequest)
        request = resolve_request(
            key, given, processors=processors, prices=prices, minimum_records=jobs.minimum_records
        )
        storage.objects.check_bucket()
        report = run_pilot(
            request,
            open_source(given, storage.client("s3")),
            storage,
            on_demand,
            rows=config.rows,
            seed=config.seed if config.sample is PilotSample.random else None,
            run_id=context.run.run_id,
            log=context.log.info,
            clock=Clock(),
        )
    statuses = report.statuses()
    metadata: dict[str, Any] = {
        "what_it_says": pilot_panel(report),
        "answers": answers_table(report) if given.shows_values else HIDDEN,
        "rows": len(report.rows),
        "sent": report.sent,
        **{name: statuses.get(name, 0) for name in ("ok", "truncated", "error")},
        "estimated_cost": report.estimate,
        "model": report.model_id,
    }
    if report.cost_usd is not None:
        metadata["cost_usd"] = round(report.cost_usd, 6)
    return dg.MaterializeResult(metadata=metadata)


def pilot_of(request: type[PilotConfig]) -> dg.AssetsDefinition:
    """The asset, with a type of request that offers values: see `launchpad.offering`."""
    # A group of its own: "Materialize all" on the batch's page does not ask for a pilot, too.
    return batch_asset(_pilot, request, name="pilot", group="batch_pilot", kinds={"bedrock", "s3"})


pilot = pilot_of(PilotConfig)
