"""What every client of the shop needs: a channel, calls that are repeated safely, and errors."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response")
Detail = TypeVar("Detail", bound=Message)

# Errors after which the same request may have another answer.
TEMPORARY = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


def connect(address: str) -> grpc.Channel:
    """Returns a channel. The service config gives every call its deadline and gRPC's own retries."""
    config = Path(__file__).parent / "../../service_config.json"
    return grpc.insecure_channel(
        address,
        options=[
            ("grpc.service_config", config.read_text()),
            # The default looks for an absent server ever more seldom, up to every 2 minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            # Notices a dead connection, which a stream without a deadline would not.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
        ],
    )


def answered(call: Callable[[Request], Response], request: Request) -> Response:
    """Makes a call until it is answered, with the same request and so the same request_id.

    The loop is for outages that last longer than gRPC's own retries.
    """
    while True:
        try:
            return call(request)
        except grpc.RpcError as error:
            if error.code() not in TEMPORARY:
                raise
            pause(error)


def pause(error: grpc.RpcError) -> None:
    """Waits as long as the error says, or a second."""
    time.sleep(detail(error, RetryInfo).retry_delay.ToTimedelta().total_seconds() or 1)


def detail(error: grpc.RpcError, kind: type[Detail]) -> Detail:
    """Returns the error's detail of this type, or an empty one."""
    status = rpc_status.from_call(error)
    found = kind()
    for packed in status.details if status else []:
        if packed.Unpack(found):
            break
    return found


def reason(error: grpc.RpcError) -> str:
    """Returns the stable name of an error, or "" if the error does not come from the shop."""
    info = detail(error, ErrorInfo)
    return info.reason if info.domain == "commerce-core.dev" else ""


def refused(want: str, call: Callable[[Request], object], request: Request) -> grpc.RpcError:
    """Makes a call that must be refused for this reason, and returns the error."""
    try:
        answered(call, request)
    except grpc.RpcError as error:
        check(reason(error) == want, f"expected {want}, got: {error}")
        print(f"refused: {want} {dict(detail(error, ErrorInfo).metadata)}")
        return error
    fail(f"expected {want}, got an answer")


def check(ok: bool, message: str) -> None:
    """Ends the program with this message unless all is well."""
    if not ok:
        fail(message)


def fail(message: str) -> NoReturn:
    sys.exit(f"error: {message}")
