"""Foreign file formats: network configuration and service configuration files."""
