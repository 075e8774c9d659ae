"""The packet-path rules: one documented rule, one file, one function ``items(network)``."""
