"""GGUF, the format of llama.cpp: its header, its names, and what its converter does to tensors, undone.

The header is read here and not by the package `gguf`: that takes 20 seconds and 600 MB for a vocabulary of 128,000
tokens, and believes whatever the header says. The tests compare the two.
"""
