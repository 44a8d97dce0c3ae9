"""A Ray cluster of two nodes with one core each, on this machine."""

from __future__ import annotations

import inspect
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from engine import ROOT

SECONDS = 600
"""Within which Ray's processes have to start: its own half a minute is too short on a busy machine."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": str(SECONDS),
    "RAY_agent_register_timeout_ms": str(1000 * SECONDS),
    "RAY_worker_register_timeout_seconds": str(SECONDS),
    "RAY_health_check_timeout_ms": "60000",
    "RAY_worker_niceness": "0",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": str(ROOT),
}
PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
"""Of agents that a node starts. Ports that are not given it waits for, 20 seconds and no longer."""


@contextmanager
def two_nodes() -> Iterator[Any]:
    """The cluster (`ray.cluster_utils.Cluster`), of which this process is a driver. Ray must not have been imported."""
    os.environ.update(SETTINGS)
    import ray
    from ray.cluster_utils import Cluster

    tell_the_port_early()
    nodes = Cluster(initialize_head=True, head_node_args=node() | {"include_dashboard": False})
    try:
        add(nodes)
        ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()


def node() -> dict[str, int]:
    """Options of a small node."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in PORTS]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = dict(zip(PORTS, (one.getsockname()[1] for one in sockets), strict=True))
    return {"num_cpus": 1, "object_store_memory": 80 * 2**20} | ports


def tell_the_port_early() -> None:
    """A node waits 20 seconds for a file in which its agent says the port that it was given, and then gives up. On a
    busy machine the agent takes longer to start, so the file is written before the node is started."""
    from ray._private import services
    from ray._raylet import DASHBOARD_AGENT_LISTEN_PORT_NAME, persist_port

    real = services.start_raylet
    names = inspect.signature(real)

    def start(*given: Any, **more: Any) -> Any:
        told = names.bind(*given, **more).arguments
        where = told["session_dir"], told["node_id"], DASHBOARD_AGENT_LISTEN_PORT_NAME
        persist_port(*where, told["dashboard_agent_listen_port"])
        return real(*given, **more)

    services.start_raylet = start


def add(nodes: Any) -> None:
    """One more node."""
    nodes.add_node(**node())
    nodes.wait_for_nodes(timeout=SECONDS)


def remove(nodes: Any) -> None:
    """Kill a node that is not the head, with all its processes, as a machine that is switched off."""
    nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)
