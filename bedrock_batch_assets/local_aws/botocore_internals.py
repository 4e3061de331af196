"""Every use by the stand-in of what botocore does not document: its descriptions of services, as objects.

They are the `service-2.json` files that botocore ships. The stand-in imports nothing of the product, so this module is
here, and not beside the product's own. `PRIVATE_PARTS` says what is lost without each; `make contract` checks them.
"""

from collections.abc import Mapping
from functools import cache

import botocore.session
from botocore.model import ListShape, OperationModel, ServiceModel, Shape, StructureShape

__all__ = ["PRIVATE_PARTS", "ListShape", "OperationModel", "Shape", "StructureShape", "service_model"]

PRIVATE_PARTS: Mapping[str, str] = {
    "service models": (
        "Read in botocore 1.44.5 (Session.get_service_model; ServiceModel.operation_names and operation_model; "
        "OperationModel.http, input_shape and output_shape): operations and their paths. Without them the stand-in "
        "tells no operation from another."
    ),
    "shapes": (
        "Read in botocore 1.44.5 (botocore.model: Shape.type_name, metadata and serialization, StructureShape.members "
        "and required_members, ListShape.member): constraints of parameters. Without them the stand-in takes what the "
        "service refuses."
    ),
}


@cache
def service_model(service: str) -> ServiceModel:
    """The description of a service, as boto3 names it, e.g. `bedrock-runtime`."""
    return botocore.session.get_session().get_service_model(service)
