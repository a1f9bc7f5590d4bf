#!/usr/bin/env bash
# pyvo 1.9.1 (its SAMP hub; before, astropy.samp): a message that the hub has accepted is dropped, without a warning, if
# its sender disconnects before the hub's delivering thread runs. notify_all() has returned its recipients by then. So a
# program that connects, notifies and disconnects, as one does, loses some messages where the hub's process is busy, as
# it is inside a Python program that computes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q pyvo==1.9.1 astropy==8.0.2
cat > "$dir/sender.py" <<'PYTHON'
import sys

from pyvo import samp

samp.conf.use_internet = False
stay = sys.argv[1] == "stays"
for line in sys.stdin:
    sender = samp.SAMPIntegratedClient(name="sender", addr="127.0.0.1")
    sender.connect()
    recipients = sender.notify_all({"samp.mtype": "test.trial", "samp.params": {}})
    if not stay:
        sender.disconnect()
    print(len(recipients), flush=True)
    if stay:
        sys.stdin.readline()  # until the message has arrived
        sender.disconnect()
PYTHON
SAMP_HUB="std-lockurl:file://$dir/hub" "$dir/venv/bin/python" - "$dir" <<'PYTHON'
import subprocess
import sys
import threading
import time
import warnings

import astropy
import pyvo
from pyvo import samp

BUSY, TRIALS = 4, 300  # threads that compute; trials, up to the first loss
samp.conf.use_internet = False
got, failed = [], []
threading.excepthook = lambda failure: failed.append(failure.exc_value)
hub = samp.SAMPHubServer(web_profile=False, lockfile=f"{sys.argv[1]}/hub", addr="127.0.0.1")
hub.start()
recipient = samp.SAMPIntegratedClient(name="recipient", addr="127.0.0.1")
recipient.connect()
recipient.bind_receive_notification("test.trial", lambda *message: got.append(message))
ended = threading.Event()


def compute():
    while not ended.is_set():
        sum(range(10_000))


def sent(how, trials):
    """Trials, messages that the hub accepted, and how many arrived; up to the first loss."""
    got.clear()
    accepted = 0
    command = [sys.executable, f"{sys.argv[1]}/sender.py", how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as sender:
        for trial in range(trials):
            sender.stdin.write("\n")
            accepted += int(sender.stdout.readline())
            until = time.monotonic() + 30
            while len(got) < accepted and time.monotonic() < until:
                time.sleep(0.01)
            if how == "stays":
                sender.stdin.write("\n")
            if len(got) < accepted:
                break
        sender.stdin.close()
    return trial + 1, accepted, len(got)


busy = [threading.Thread(target=compute, daemon=True) for _ in range(BUSY)]
for thread in busy:
    thread.start()
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    staying, leaving = sent("stays", 10), sent("leaves", TRIALS)
ended.set()
recipient.disconnect()
hub.stop()
print("pyvo", pyvo.__version__, "astropy", astropy.__version__)
for name, (trials, accepted, arrived) in (("stays", staying), ("leaves", leaving)):
    print(f"sender {name}: {trials} trials, {accepted} messages accepted, {arrived} arrived")
print("warnings:", [str(each.message) for each in said], "exceptions:", failed)
as_seen = staying[1] == staying[2] and leaving[1] > leaving[2] and not said and not failed
sys.exit(0 if as_seen else 1)
PYTHON
