"""The memory: everything that outlives a process, behind the protocols of `imagegen.ports`."""
