"""A way to a server that can be shut while the server runs, and opened again on the same port."""

from __future__ import annotations

import asyncio
import threading


class Gate:
    """Connections to `port` of this machine go on to the server while it is open."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.target, self.port = host, port, 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self.host, self.target)
        self._writers |= {writer, back}

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while part := await source.read(65536):
                sink.write(part)
                await sink.drain()

        await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)
        writer.close()
        back.close()


class Way:
    """A gate that is opened and shut from outside of its event loop."""

    def __init__(self, port: int) -> None:
        self._gate = Gate("127.0.0.1", port)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return self._gate.port

    def open(self) -> None:
        asyncio.run_coroutine_threadsafe(self._gate.open(), self._loop).result(10)

    def shut(self) -> None:
        asyncio.run_coroutine_threadsafe(self._gate.shut(), self._loop).result(10)

    def end(self) -> None:
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
