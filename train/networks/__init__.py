"""The networks: a registry that a package of yours can add to, and the five that come with the project.

`docs/your-network.md` adds one. Importing this package loads no PyTorch.
"""

from .registry import Network, NetworkConfig, config_of, find_network, network_names

__all__ = ["Network", "NetworkConfig", "config_of", "find_network", "network_names"]
