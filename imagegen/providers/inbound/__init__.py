"""How each provider signs its callbacks: pure functions over raw bytes, headers, keys and the time."""
