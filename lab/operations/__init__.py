"""The documents' management operations, as values: what each makes of a network, and when it is refused."""
