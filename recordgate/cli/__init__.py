"""The command line. This module is imported before what takes time to import."""

import signal
import sys

LASTING = {"up", "serve", "sync"}
"""Commands of processes that take another contract by SIGHUP."""

if LASTING & set(sys.argv[1:]) and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
    # Until they handle it they would end by it; what they read at the start is new anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
