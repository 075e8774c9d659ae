"""What the claims share: judges, oracles, held flows. It imports no document's claims."""
