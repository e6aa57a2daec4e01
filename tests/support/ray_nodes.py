"""A cluster of Ray on this machine, for a process of its own: `python -m tests.support.ray_nodes COUNT`.

In: the number of nodes, each with one CPU; the end of stdin. Out: a line of JSON with the cluster's address and the
process of each node, all of whose other processes are its descendants.
"""

from __future__ import annotations

import json
import sys

from ray.cluster_utils import Cluster


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.head_node]
    nodes += [cluster.add_node(num_cpus=1, wait=False) for _ in range(int(sys.argv[1]) - 1)]
    cluster.wait_for_nodes()
    pids = [node.all_processes["raylet"][0].process.pid for node in nodes]
    sys.stdout.write(json.dumps({"address": cluster.address, "nodes": pids}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    cluster.shutdown()


main()
