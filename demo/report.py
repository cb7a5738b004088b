"""How the processes of a scene tell the demo that they are there.

Every one of them inherits two pipes from the demo:

  standard error   the report: one line each, "I am here". The demo reads
                   end-of-file only when the last holder is gone, so an empty
                   scene can be proved, not only believed.
  standard input   the lifeline: it ends with the demo. Should the demo itself
                   be killed, nothing of it stays behind. (In the scene it plays
                   no part: nobody writes to it or closes it before the end.)
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
    """Do nothing for as long as the demo is there."""
    while os.read(0, 64):
        pass
