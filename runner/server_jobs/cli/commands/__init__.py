"""The commands. Each has a module that is named as it is typed.

A command reads its options, calls the library and prints. What several commands need lies one
folder up.
"""
