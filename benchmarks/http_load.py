"""Load over HTTP by wrk, a C program that is never the bottleneck here: 16 connections that each
send the next request when they have their answer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 16

_SCRIPT = """
local bodies = {}
for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
local headers = {["Content-Type"] = "application/json", ["Accept"] = "application/json"}
local i = 0
request = function()
  i = i % #bodies + 1
  if bodies[i] == "" then return wrk.format("GET") end
  return wrk.format("POST", nil, headers, bodies[i])
end
local pause = tonumber(os.getenv("PAUSE_MS"))
if pause > 0 then
  function delay() return math.random(0, 2 * pause) end
end
"""
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Load:
    """Requests a second; milliseconds in the middle and at the 99th percentile; how many requests;
    the server's processor time for each in microseconds, where it was measured."""

    rate: float
    p50: float
    p99: float
    requests: float
    cpu: float = 0.0


def available() -> bool:
    return shutil.which("wrk") is not None


def load(url: str, bodies: list[bytes], seconds: int, *, rate: float = 0.0) -> Load:
    """POST the bodies one after another, again and again; about `rate` a second where it is given,
    with pauses of random length. Raises where an answer is not a 200."""
    pause = round(1000 * CONNECTIONS / rate) if rate else 0
    with tempfile.TemporaryDirectory() as folder:
        script, file = Path(folder, "post.lua"), Path(folder, "bodies")
        script.write_text(_SCRIPT)
        file.write_bytes(b"\n".join(bodies) + b"\n")
        done = subprocess.run(
            [
                *("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"),
                *("-s", str(script), url),
            ],
            env={**os.environ, "BODIES": str(file), "PAUSE_MS": str(pause)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    if "Non-2xx" in done or "Socket errors" in done:
        raise RuntimeError(f"{url} failed under load:\n{done}")
    requests = int(re.findall(r"(\d+) requests in", done)[0])
    return Load(_rate(done), _percentile(done, "50%"), _percentile(done, "99%"), requests)


def _rate(text: str) -> float:
    return float(re.findall(r"Requests/sec:\s+([\d.]+)", text)[0])


def _percentile(text: str, name: str) -> float:
    value, unit = re.findall(rf"{name}\s+([\d.]+)(us|ms|s)", text)[0]
    return float(value) * _UNITS[unit]
