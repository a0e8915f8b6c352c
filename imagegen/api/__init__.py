"""The HTTP door (extra `api`)."""
