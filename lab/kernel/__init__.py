"""Everything that touches the kernel: one file per kernel interface, and one library per file."""
