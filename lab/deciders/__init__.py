"""State machines that decide while a lab runs; the time is an argument, and they do no I/O."""
