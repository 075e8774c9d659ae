"""Azure's cmdlets of the classic model, each over the operations that the commands use; one file for each noun.

A cmdlet is a row: its parameters, and a function. What it does outside itself goes through ``desk.Effects``.
"""
