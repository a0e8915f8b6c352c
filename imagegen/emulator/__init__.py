"""Every provider's API over HTTP on this machine: real pictures, exact books, scripted faults, no account, no money.

    with Emulator(latency="lognormal:8:0.5") as emulator:
        emulator.fault("lost_answer", times=1)
        ...                                     # point a provider's address at emulator.url
        assert emulator.ledger()["count"] == 1

Read on in `emulator` (the part), `world` (routes), one file per API, `faults` (what can go wrong),
`picture` (the hand that draws).
"""

from imagegen.emulator.emulator import Emulator
from imagegen.emulator.faults import Rule

__all__ = ["Emulator", "Rule"]
