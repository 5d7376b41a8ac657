"""Runs ministack as one process group that never outlives the sandbox.

The sandbox holds this process's standard input open. When it closes, for whatever reason (a clean stop, a panic, SIGKILL),
the whole group is killed: ministack and every Lambda process it started.
"""

import os
import signal
import sys
import threading


def die_with_parent():
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


# Own group, so that Ctrl-C in the terminal reaches the sandbox alone, and killpg reaches nobody else.
os.setpgid(0, 0)
threading.Thread(target=die_with_parent, daemon=True).start()

sys.argv = ["ministack"]
from ministack.app import main  # noqa: E402

main()
