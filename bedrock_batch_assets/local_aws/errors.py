"""The errors that the stand-in answers with."""

# HTTP status of each error code, from botocore's service models of bedrock and bedrock-runtime.
HTTP_STATUS: dict[str, int] = {
    "AccessDeniedException": 403,
    "ConflictException": 400,
    "ExpiredTokenException": 403,
    "InternalServerException": 500,
    "InvalidSignatureException": 403,
    "ModelErrorException": 424,
    "ModelNotReadyException": 429,
    "ModelTimeoutException": 408,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 400,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
    "UnknownOperationException": 404,
    "UnrecognizedClientException": 403,
    "ValidationException": 400,
    # S3's own, https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
    "AccessDenied": 403,
    "ExpiredToken": 400,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidArgument": 400,
    "NotImplemented": 501,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "RequestTimeTooSkewed": 403,
    "RequestTimeout": 400,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
}


class ServiceError(Exception):
    """An error answer of the service: a code, a message, and the HTTP status that goes with the code."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = HTTP_STATUS.get(code, 400) if status is None else status


class DroppedConnectionError(Exception):
    """The connection is to be closed without an answer."""


class StartError(Exception):
    """The stand-in cannot start. The message is one line for the person who started it."""
