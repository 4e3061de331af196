"""The two partition sets. `partition_keys` has the grammar of their keys."""

import dagster as dg

batches = dg.DynamicPartitionsDefinition(name="batches")
chunks = dg.DynamicPartitionsDefinition(name="chunks")

# For edges between the two sets. Dagster maps no dynamic partition set onto another; an empty mapping draws the edge
# and propagates nothing. The sensors propagate instead, with exact keys.
CROSSING = dg.SpecificPartitionsPartitionMapping([])
