"""How the shipped datasets ``facts`` and ``counterfact-100k`` are made: sources, relations, assembly.

``python -m builders.datasets NAME`` makes a file again, bit for bit, from pinned packages (extra
``build-data``). To add a relation, write a function that yields its facts, best known first, and a :class:`Relation`
with its templates; nothing else needs to change.
"""
