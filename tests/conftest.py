"""Fixtures for every test, and hypothesis without luck: no deadlines, the same examples every time."""

from hypothesis import settings

pytest_plugins = ["tests.parts", "tests.s3"]

settings.register_profile("steady", derandomize=True, deadline=None, database=None)
settings.load_profile("steady")
