"""The commands, one module each, named as they are typed.

A command reads its options, calls the library and prints. What several commands need lies one
folder up.
"""
