"""Who is told about batches, as a resource of Dagster's."""

import dagster as dg

from bedrock_batch_assets.notices.sender import NoticeSender


class Notices(NoticeSender, dg.ConfigurableResource):  # type: ignore[type-arg]
    """One message per batch, when it is done, failed, refused or over budget. Not configured by default."""
