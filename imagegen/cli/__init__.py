"""The `imagegen` commands. Each file holds one command or a few that belong together; `main` gathers them."""
