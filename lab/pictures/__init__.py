"""Pictures of a network: what is drawn (``diagram``), and the languages that it is written in."""
