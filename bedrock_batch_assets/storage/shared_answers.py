"""Answers of one batch that the tables of others are made of, and what is left of a batch when it is deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.storage.claims import Claim
from bedrock_batch_assets.storage.manifests import BatchManifest, pilot_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bedrock_batch_assets.storage.bucket import BatchBucket
    from bedrock_batch_assets.storage.objects import ObjectInfo


def answers_used_by_others(storage: BatchBucket, batch: str) -> dict[str, list[str]]:
    """The answers of a batch and its pilots that other batches' inputs refer to: by key, these batches."""
    layout = storage.layout
    own = layout.batch_manifest(batch)
    used: dict[str, list[str]] = {}
    for info in storage.objects.list(layout.inputs_folder):
        if not info.key.endswith("/manifest.json") or info.key == own:
            continue
        other = msgspec.json.decode(storage.objects.get_bytes(info.key), type=BatchManifest)
        for source in other.sources:
            if source.batch in {batch, pilot_of(batch)}:
                key = layout.staged_part(source.batch, source.index, source.version, OutputFormat.parquet)
                used.setdefault(key, []).append(other.batch)
    return used


def claims_of(storage: BatchBucket, batch: str, kept: Collection[str]) -> Iterator[ObjectInfo]:
    """The claims of a batch, with their indexes, that have no chunk whose answers are kept."""
    layout = storage.layout
    marks = [f"/claims/{name}/" for name in (batch, pilot_of(batch))]
    found = storage.objects.list(layout.all_claims_folder)
    infos = [info for info in found if any(mark in info.key for mark in marks)]
    needed = set()
    for info in infos:
        if info.key.endswith(".json"):
            claim = msgspec.json.decode(storage.objects.get_bytes(info.key), type=Claim)
            keys = (
                layout.staged_part(claim.batch, item.index, item.version, OutputFormat.parquet) for item in claim.chunks
            )
            if any(key in kept for key in keys):
                needed.add(info.key.removesuffix(".json"))
    yield from (info for info in infos if info.key.rpartition(".")[0] not in needed)
