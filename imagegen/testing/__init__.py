"""For tests of callers: a pytest fixture (`plugin`), in-memory ports and a manual clock."""
