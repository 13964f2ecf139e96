"""The models on a Ray cluster: a Serve deployment whose replicas come and go with the pictures that wait.

Every node sees the data folder under the same path and has vtadl installed. The queue stays in the server.
"""

import contextlib
import os
import uuid
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from typing import Any

from vtadl.errors import ConfigError, DependencyError, VtadlError
from vtadl.inference.ray_cluster import ray_cluster
from vtadl.server import detectors
from vtadl.threads import use_threads

THREADS = 1
"""Of a replica: Ray gives it one processor."""
SECONDS = 300


class Replica:
    """One process of the deployment."""

    def __init__(self) -> None:
        use_threads(THREADS)

    def run(self, function: str, arguments: tuple[Any, ...]) -> Any:
        """Call a function of `vtadl.server.detectors`; what it raises of ours is given back as it is."""
        try:
            return getattr(detectors, function)(*arguments)
        except VtadlError as error:
            return error


class RayModels:
    """A deployment that ends with the server."""

    def __init__(self, address: str) -> None:
        """Join a cluster, and start the deployment there.

        Raises:
            DependencyError: Ray Serve is not installed.
            ConfigError: no cluster at the address.
        """
        self._name = f"vtadl-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._stack = contextlib.ExitStack()
        ray = self._stack.enter_context(ray_cluster(address))
        try:
            from ray import serve
        except ImportError as error:
            self._stack.close()
            raise DependencyError("--ray needs Ray Serve: pip install 'vtadl[ray]'") from error
        self.slots = max(int(ray.cluster_resources().get("CPU", 1)), 1)
        """Batches that may be under way."""
        serve.start(http_options={"location": "NoServer"})
        self._stack.callback(serve.delete, self._name)
        scale = {"min_replicas": 1, "max_replicas": self.slots, "target_ongoing_requests": 1}
        deployment: Any = serve.deployment(
            Replica, name="models", autoscaling_config=scale, max_ongoing_requests=2, ray_actor_options={"num_cpus": 1}
        )
        try:
            self._handle = serve.run(deployment.bind(), name=self._name, route_prefix=None)
        except RuntimeError as error:
            self._stack.close()
            raise ConfigError(f"the cluster at '{address}' cannot run the models: {error}") from error

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of `vtadl.server.detectors` in a replica, and wait for what it gives.

        Raises:
            VtadlError: as the function.
            BrokenExecutor: the replica died; another takes its place.
        """
        from ray.exceptions import RayError

        try:
            result = self._handle.run.remote(function.__name__, arguments).result(timeout_s=SECONDS)
        except (RayError, TimeoutError) as error:
            raise BrokenExecutor(str(error)) from error
        if isinstance(result, VtadlError):
            raise result
        return result

    def close(self) -> None:
        """End the deployment, and leave the cluster."""
        self._stack.close()
