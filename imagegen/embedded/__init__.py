"""Real Redis and PostgreSQL as children of `imagegen up`, of the demo and of the tests; never daemons."""
