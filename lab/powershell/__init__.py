"""As much of the PowerShell language as the documents' listings are written in. Nothing here knows a cmdlet.

syntax.py     what a script is made of, as values; its error
reading.py    text -> characters with their place: blanks, words, strings, variables
parser.py     text -> Script
values.py     what a script computes with; its operators
binding.py    a cmdlet's parameters, and what a command gives for them
evaluate.py   Script x table of cmdlets -> objects
printing.py   objects -> text, as PowerShell prints them
core.py       the cmdlets of the language itself
"""
