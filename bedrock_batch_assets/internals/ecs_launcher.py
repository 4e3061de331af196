"""Dagster's launcher for ECS, to derive from. The extra `ecs` brings it."""

from dagster_aws.ecs import EcsRunLauncher

__all__ = ["EcsRunLauncher"]
