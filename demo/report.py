"""How the processes of a scene tell the demo that they run.

Every one of them inherits two pipes from the demo:

  standard error   the report: one line for each process. The demo reads
                   end-of-file only when the last holder is gone, so an empty
                   scene can be proved, not only believed.
  standard input   the lifeline: it ends with the demo. Should the demo itself
                   be killed, nothing of it is left. (Within a scene nothing
                   writes to it or closes it.)
"""

from __future__ import annotations

import json
import os

from plan import Member


def announce(member: Member, pid: int) -> None:
    """Write one report line; one write, so that lines never mix."""
    line = json.dumps({"demo": [member.role, member.number, pid]}) + "\n"
    os.write(2, line.encode())


def live_until_the_demo_ends() -> None:
    """Do nothing while the demo runs."""
    while os.read(0, 64):
        pass
