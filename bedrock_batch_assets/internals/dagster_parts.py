"""The private parts of Dagster that are used, with what is lost without each. `dagster_internals` uses them."""

from bedrock_batch_assets.internals.private_parts import PrivateParts

PRIVATE_PARTS = PrivateParts(
    "Dagster",
    "dagster>=1.13,<1.14",
    {
        "run tags": (
            "Read in dagster 1.13.27 (dagster._core.storage.tags and .definitions.data_version): the names of tags "
            "that Dagster writes on runs and events, and of the job that holds all assets. Without them a run that "
            "died is not told from one that Dagster retries, and no version of an input or of a result is known."
        ),
        "backfill statuses": (
            "Read in dagster 1.13.27 (dagster._core.execution.backfill.BulkActionStatus): the names of a backfill's "
            "statuses. Without them a backfill that a person cancelled, one that Dagster gave up and one in progress "
            "are the same, and a cancelled batch could go on."
        ),
        "get_backfills": (
            "Read in dagster 1.13.27 (DagsterInstance.get_backfills and get_backfill, not marked public): backfills "
            "with status, tags and time. Without them nobody knows whether a batch's backfill is in progress, so no "
            "batch is started."
        ),
        "update_backfill": (
            "Read in dagster 1.13.27 (DagsterInstance.update_backfill and the named tuple PartitionBackfill, by which "
            "the UI cancels a backfill): the end of a backfill whose batch has a newer input. Without it such a "
            "backfill ends as failed if chunks of it are gone, and takes the jobs of the others with it."
        ),
        "get_execution_plan_snapshot": (
            "Read in dagster 1.13.27 (DagsterInstance.get_execution_plan_snapshot): the assets of a run that selects "
            "none, such as a job's. Without it a run that came by another door than the UI's belongs to no batch, and "
            "nobody ends it when its process dies."
        ),
        "BulkActionsFilter": (
            "Read in dagster 1.13.27 (dagster._core.execution.backfill.BulkActionsFilter): backfills by status and age "
            "in one query. Without it each tick of batch_progress_sensor reads all backfills that there are."
        ),
        "AssetGraphSubset": (
            "Read in dagster 1.13.27 (RunRequest.for_asset_graph_subset, which says that it is private, with "
            "AssetGraphSubset and the subsets of a partitions definition): a sensor's request for ONE backfill over "
            "several assets. Without it no batch can go on from its input to its chunks."
        ),
        "get_latest_tags_by_partition": (
            "Read in dagster 1.13.27 (EventLogStorage.get_latest_tags_by_partition): the data versions of any number "
            "of partitions in one query. Without it there is a query for each partition: a tick over a batch of 1,000 "
            "chunks takes seconds."
        ),
        "get_latest_storage_id_by_partition": (
            "Read in dagster 1.13.27 (DagsterInstance.get_latest_storage_id_by_partition, not marked public): the "
            "newest event of any of a batch's partitions in one query. Without it there is a query for each 500 "
            "partitions."
        ),
        "error without a trace": (
            "Read in dagster 1.13.27 (dagster._core.errors.DagsterUserCodeProcessError, whose error is shown as it "
            "is, and dagster._utils.error.SerializableErrorInfo): a failure of one line. Without it a refused request "
            "and a stopped run show a stack trace below their sentence, twice."
        ),
        "cursor values": (
            "Read in dagster 1.13.27 (RunStorage.get_cursor_values and set_cursor_values): a small key-value store in "
            "the instance's database, for heartbeats and notices. Without it a run whose process died stays in "
            "progress until a person ends it, and a waiting run finds out that its job has finished by polling alone."
        ),
        "report_run_failed": (
            "Read in dagster 1.13.27 (DagsterInstance.report_run_failed, report_run_canceling and report_run_canceled, "
            "not marked public): the end of a run whose process is gone. Without them such a run stays in progress "
            "until a person ends it."
        ),
        "run coordinator's instance": (
            "Read in dagster 1.13.27 (RunCoordinator._instance; Dagster's guide on run coordinators uses it): the "
            "instance that a coordinator belongs to. Without it runs carry no tags of their batch, so that the limits "
            "in dagster.yaml do not count them."
        ),
        "get_runs and add_run_tags": (
            "Read in dagster 1.13.27 (DagsterInstance.get_runs and add_run_tags: in Dagster's guides, but not marked "
            "public): runs by tag and status, and tags on a run in progress. Without them runs cannot name their jobs, "
            "and no sensor works."
        ),
        "code server's process context": (
            "Read in dagster 1.13.27 (dagster._grpc.server.DagsterApiServer._mp_ctx, by which StartRun starts run "
            "workers): the way to start them as forks of a warm process. Without it each run takes 5 to 6 CPU-seconds "
            "to start instead of 1.2."
        ),
        "code server's instance": (
            "Read in dagster 1.13.27 (dagster._cli.api: `--instance-ref` of `dagster api grpc`; "
            "dagster._core.instance.ref.InstanceRef): the settings of the instance that a code server was started "
            "for. Without them the code server's log does not say that the instance lacks the platform's limits; "
            "input_dataset and `bedrock-batch status` still do."
        ),
        "launcher's settings": (
            "Read in dagster 1.13.27 (DagsterInstance.get_ref and InstanceRef.run_launcher_data): which run launcher "
            "dagster.yaml names, without making it. Without them runs wait for their jobs with their process, also "
            "under a launcher that parks them."
        ),
        "plan of a resumed run": (
            "Read in dagster 1.13.27 (internals/run_bases.py and parked_plans.py: InProcessExecutor, "
            "inprocess_execution_iterator, create_execution_plan, ExecuteRunWithPlanIterable, "
            "PlanExecutionContextManager, KnownExecutionState, and DagsterInstance.run_will_resume): the steps that a "
            "resumed run has left. Without them runs wait for their jobs with their process."
        ),
        "run launcher's base": (
            "Read in dagster 1.13.27 (internals/run_bases.py; dagster._core.launcher.base: RunLauncher with "
            "check_run_worker_health and resume_run, which run monitoring asks; dagster_aws.ecs.EcsRunLauncher): how a "
            "run is taken for healthy and given another worker. Without them the launcher that parks runs does not "
            "load; name EcsRunLauncher in dagster.yaml instead."
        ),
        "preloaded modules": (
            "Read in dagster 1.13.27 (modules that a run worker imports): what the process that run workers are forks "
            "of imports ahead. Without one of them each run imports it anew, up to a CPU-second."
        ),
        "classes in dagster.yaml": (
            "Read in dagster 1.13.27 (internals/instance_folder.py; dagster._core.storage: "
            "DagsterSqliteStorage.from_local, LocalArtifactStorage and LocalComputeLogManager, which Dagster's guides "
            "name in dagster.yaml, and their from_config_value): where the instance keeps its files. Without them no "
            "program starts on the dagster.yaml of the project."
        ),
        "GraphQL documents": (
            "Read in dagster-graphql 1.13.27 (client/documents.py; Dagster calls most of the schema subject to "
            "change): what bedrock-batch, the demo and `make dev` ask of the webserver. Without them batches can be "
            "started and watched in the UI alone."
        ),
        "backfill retry variable": (
            "Read in dagster 1.13.27 (dagster._core.execution.asset_backfill reads "
            "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR): backfills wait while the code server restarts. Without "
            "it they fail then and cancel their runs; batch_progress_sensor asks for them again."
        ),
    },
)
