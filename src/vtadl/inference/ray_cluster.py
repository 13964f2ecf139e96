"""Joining a Ray cluster, for whatever is spread over it."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vtadl.errors import ConfigError, optional


@contextmanager
def ray_cluster(address: str) -> Iterator[Any]:
    """The module ``ray``, connected to the cluster at an address; ``local`` starts one that ends with the block.

    Raises:
        DependencyError: Ray is not installed.
        ConfigError: no cluster at the address.
    """
    with optional("--ray", "ray"):
        import ray
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of ours reports to anybody
    started_here = not ray.is_initialized()
    if started_here:
        _check_reachable(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigError(f"no Ray cluster at '{address}': {error}; start one, or give --ray local") from error
    try:
        yield ray
    finally:
        if started_here:
            ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ask before Ray does, which waits for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return  # a word, such as auto
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"no Ray cluster at '{address}': {error}; start one, or give --ray local") from error
