"""`python -m imagegen.emulator`: the same command as `imagegen emulator`."""

from imagegen.cli.emulator import emulator

if __name__ == "__main__":
    emulator()
