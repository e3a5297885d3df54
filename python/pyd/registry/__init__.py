"""The client side of the distribution spec. Nothing here is imported by commands that do not talk to a
registry.
"""

import sys

# httpx imports a command line of its own where click and rich are installed, which takes longer than all the
# rest of a start. None stands for a module that cannot be imported, and httpx does without it.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
