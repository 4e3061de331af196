"""GraphQL operations of the UI's pages, with the fields that tests look at; named as the pages name them."""

CONFIG_PARTITION = """
query ConfigPartitionForAssetJobQuery(
  $repositoryName: String!, $repositoryLocationName: String!, $jobName: String!, $partitionName: String!,
  $assetKeys: [AssetKeyInput!]!
) {
  pipelineOrError(params: {
    pipelineName: $jobName, repositoryName: $repositoryName, repositoryLocationName: $repositoryLocationName
  }) {
    ... on Pipeline {
      partition(partitionName: $partitionName, selectedAssetKeys: $assetKeys) {
        runConfigOrError { ... on PartitionRunConfig { yaml } }
        tagsOrError { ... on PartitionTags { results { key value } } }
      }
    }
  }
}
"""

LAUNCH = """
mutation LaunchPipelineExecution($executionParams: ExecutionParams!) {
  launchPipelineExecution(executionParams: $executionParams) {
    __typename
    ... on LaunchRunSuccess { run { id pipelineName } }
    ... on PipelineNotFoundError { message }
    ... on InvalidSubsetError { message }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
  }
}
"""

LAUNCH_BACKFILL = """
mutation LaunchPartitionBackfill($backfillParams: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfillParams) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PartitionKeysNotFoundError { message }
    ... on PythonError { message }
  }
}
"""

PARTITION_KEYS = """
query PartitionKeys($assetKey: AssetKeyInput!) {
  assetNodeOrError(assetKey: $assetKey) { ... on AssetNode { partitionKeys } }
}
"""

PARTITION_HEALTH = """
query PartitionHealthQuery($assetKey: AssetKeyInput!) {
  assetNodeOrError(assetKey: $assetKey) {
    ... on AssetNode {
      assetPartitionStatuses {
        ... on DefaultPartitionStatuses {
          materializedPartitions materializingPartitions failedPartitions unmaterializedPartitions
        }
      }
    }
  }
}
"""

BACKFILL = """
query BackfillDetailsQuery($backfillId: String!) {
  partitionBackfillOrError(backfillId: $backfillId) {
    ... on PartitionBackfill { id status tags { key value } assetSelection { path } error { message } }
  }
}
"""

RUNS = """
query RunsRootQuery($filter: RunsFilter!) {
  runsOrError(filter: $filter, limit: 1000) {
    ... on Runs { results { id status creationTime endTime tags { key value } assetSelection { path } } }
  }
}
"""

RUN_TIMES = """
query RunTimes($filter: RunsFilter!) {
  runsOrError(filter: $filter, limit: 1000) { ... on Runs { results { id startTime endTime } } }
}
"""

RUN_LOGS = """
query RunLogsQuery($runId: ID!, $limit: Int) {
  logsForRun(runId: $runId, limit: $limit) {
    ... on EventConnection {
      events {
        __typename
        ... on ExecutionStepFailureEvent { failureMetadata { description } }
      }
    }
  }
}
"""

OBSERVATIONS = """
query AssetPartitionDetailQuery($assetKey: AssetKeyInput!, $partitions: [String!], $limit: Int!) {
  assetOrError(assetKey: $assetKey) {
    ... on Asset {
      assetEventHistory(partitions: $partitions, limit: $limit, eventTypeSelectors: [OBSERVATION]) {
        results {
          ... on ObservationEvent {
            partition
            metadataEntries {
              label
              ... on TextMetadataEntry { text }
              ... on IntMetadataEntry { intRepr }
            }
          }
        }
      }
    }
  }
}
"""

CHECKS = """
query AssetChecksQuery($assetKey: AssetKeyInput!) {
  assetNodeOrError(assetKey: $assetKey) {
    ... on AssetNode { assetChecksOrError { ... on AssetChecks { checks { name } } } }
  }
}
"""

CHECK_DETAILS = """
query AssetCheckDetailsQuery($assetKey: AssetKeyInput!, $checkName: String!, $limit: Int!) {
  assetCheckExecutions(assetKey: $assetKey, checkName: $checkName, limit: $limit) { runId status }
}
"""

FAILED_TICKS = """
query SensorTicks($repositorySelector: RepositorySelector!) {
  sensorsOrError(repositorySelector: $repositorySelector) {
    ... on Sensors { results { name sensorState { ticks(limit: 25, statuses: [FAILURE]) { error { message } } } } }
  }
}
"""

LINEAGE = """
query Lineage {
  assetNodes {
    assetKey { path }
    partitionDefinition { name }
    dependencies { asset { assetKey { path } } partitionMapping { className } }
  }
}
"""
