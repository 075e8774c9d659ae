"""Azure's words and rules, without a machine: what the documents say."""
