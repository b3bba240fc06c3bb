"""``python -m bench.arrivals PORT FILE``: an SMTP server that notes when each message was there.

One line per message: its subject, and the time on the clock that all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path


async def serve(port: int, file: Path) -> None:
    with file.open("w", buffering=1) as notes:

        async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 arrivals\r\n")
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    message = await reader.readuntil(b"\r\n.\r\n")
                    subject = message.partition(b"Subject: ")[2].partition(b"\r\n")[0]
                    notes.write(f"{subject.decode()} {time.monotonic()}\n")
                answer = b"221 bye" if verb == b"QUIT" else b"250-arrivals\r\n250 PIPELINING"
                writer.write((answer if verb in {b"EHLO", b"QUIT"} else b"250 ok") + b"\r\n")
                await writer.drain()
                if verb == b"QUIT":
                    break
            writer.close()

        server = await asyncio.start_server(session, "127.0.0.1", port, limit=2**20)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
