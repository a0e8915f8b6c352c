"""imagegen: buys each picture once, never loses it, and accounts for every cent.

Read on in this order: `contracts` (what a user asks and gets), `states` (what a job may become),
`pipeline` (what happens to it), then `tasks/` beside this package (when and where it happens).
"""

from imagegen.errors import ImagegenError

__all__ = ["ImagegenError"]
