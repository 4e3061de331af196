"""The GraphQL documents that the client sends to Dagster's webserver."""

LOCATIONS = """
query Locations {
  __type(name: "RunStatus") { enumValues { name } }
  assetNodes(assetKeys: [{path: ["input_dataset"]}]) { repository { name location { name } } }
  workspaceOrError {
    ... on Workspace {
      locationEntries { name locationOrLoadError { __typename ... on PythonError { message } } }
    }
  }
}
"""

PARTITION_KEYS = """
query BatchKeys {
  assetNodeOrError(assetKey: {path: ["input_dataset"]}) { ... on AssetNode { partitionKeys } }
}
"""

CHUNK_KEYS = """
query ChunkKeys {
  assetNodeOrError(assetKey: {path: ["jsonl_chunks"]}) { ... on AssetNode { partitionKeys } }
}
"""

DELETE_PARTITIONS = """
mutation DeletePartitions($keys: [String!]!, $kind: String!, $repository: RepositorySelector!) {
  deleteDynamicPartitions(partitionKeys: $keys, partitionsDefName: $kind, repositorySelector: $repository) {
    __typename
    ... on Error { message }
  }
}
"""

REPORT_EVENT = """
mutation ReportEvent($params: ReportRunlessAssetEventsParams!) {
  reportRunlessAssetEvents(eventParams: $params) {
    __typename
    ... on Error { message }
  }
}
"""

ADD_PARTITION = """
mutation AddBatch($key: String!, $repository: RepositorySelector!) {
  addDynamicPartition(partitionKey: $key, partitionsDefName: "batches", repositorySelector: $repository) {
    __typename
    ... on Error { message }
  }
}
"""

LAUNCH = """
mutation LaunchBatch($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { id } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on Error { message }
    ... on RunConflict { message }
  }
}
"""

RUN_FIELDS = """
fragment RunFields on Run {
  id status creationTime endTime tags { key value } assetSelection { path }
}
"""

RUNS = (
    """
query BatchRuns($filter: RunsFilter!, $cursor: String, $limit: Int!) {
  runsOrError(filter: $filter, cursor: $cursor, limit: $limit) {
    __typename
    ... on Runs { results { ...RunFields } }
    ... on Error { message }
  }
}
"""
    + RUN_FIELDS
)

RUN = (
    """
query BatchRun($id: ID!) {
  runOrError(runId: $id) {
    __typename
    ...RunFields
    ... on Error { message }
  }
}
"""
    + RUN_FIELDS
)

RUN_EVENTS = """
query RunFailure($id: ID!) {
  runOrError(runId: $id) {
    __typename
    ... on Run {
      status
      eventConnection(limit: 1000) {
        events {
          __typename
          ... on MessageEvent { message }
          ... on ExecutionStepFailureEvent { failureMetadata { description } error { ...Causes } }
          ... on RunFailureEvent { error { ...Causes } }
          ... on EngineEvent { error { ...Causes } }
        }
      }
    }
  }
}
fragment Causes on PythonError { message cause { message cause { message cause { message } } } }
"""

RUN_LOG = """
query RunLog($id: ID!) {
  runOrError(runId: $id) {
    __typename
    ... on Run { eventConnection(limit: 1000) { events { __typename ... on LogMessageEvent { message } } } }
  }
}
"""

RUN_CONFIG = """
query RunConfig($id: ID!) {
  runOrError(runId: $id) { __typename ... on Run { runConfigYaml } ... on Error { message } }
}
"""

MATERIALIZATIONS = """
query Materializations($key: AssetKeyInput!, $partitions: [String!]!, $metadata: Boolean!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode {
      latestMaterializationByPartition(partitions: $partitions) {
        partition runId timestamp tags { key value }
        metadataEntries @include(if: $metadata) {
          label
          ... on TextMetadataEntry { text }
          ... on IntMetadataEntry { intRepr }
          ... on FloatMetadataEntry { floatValue }
          ... on JsonMetadataEntry { jsonString }
          ... on PathMetadataEntry { path }
          ... on UrlMetadataEntry { url }
        }
      }
    }
  }
}
"""

BACKFILLS = """
query Backfills($filters: BulkActionsFilter, $cursor: String, $limit: Int!) {
  partitionBackfillsOrError(filters: $filters, cursor: $cursor, limit: $limit) {
    __typename
    ... on PartitionBackfills { results { id status creationTime tags { key value } error { message } } }
    ... on Error { message }
  }
}
"""

CANCEL_BACKFILL = """
mutation CancelBackfill($id: String!) {
  cancelPartitionBackfill(backfillId: $id) {
    __typename
    ... on Error { message }
  }
}
"""

TERMINATE_RUNS = """
mutation TerminateRuns($ids: [String!]!) {
  terminateRuns(runIds: $ids, terminatePolicy: SAFE_TERMINATE) {
    __typename
    ... on Error { message }
    ... on TerminateRunsResult {
      terminateRunResults {
        __typename
        ... on TerminateRunFailure { message }
        ... on Error { message }
      }
    }
  }
}
"""

INSTANCE = """
query Instance {
  instance { runQueueConfig { tagConcurrencyLimitsYaml } info }
}
"""

DAEMONS = """
query Daemons {
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
}
"""
