"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.workers.local import Growing, Processes, Workers

Quiet = Annotated[bool, typer.Option("--quiet", help="show no progress bars")]
OnCluster = Annotated[
    str | None,
    typer.Option("--cluster", help="Ray cluster to work on: auto, or an address; engine/workers/CLUSTER.md"),
]
ThenDashboard = Annotated[bool, typer.Option("--dashboard", help="then open the dashboard on the result")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="port to serve on; if it is busy, the next free one")]


def workers_of(cluster: str | None, processes: int | None) -> Workers:
    """The cluster, if there is an address; else so many processes of one thread each; None: as suits the work."""
    if cluster is not None:
        from engine.workers.cluster import Cluster

        return Cluster(cluster)
    return Growing() if processes is None else Processes(processes)
