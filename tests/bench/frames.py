"""HTTP/2 by the frame (RFC 9113), for what no client library sends."""

from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM = ACK = 1
END_HEADERS = 4
INITIAL_WINDOW = 4
CANCEL = 8
MOST = 2**31 - 1
# RFC 9113 §7.
ERRORS = [
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
]  # fmt: skip


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame as it goes over the wire."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings(**values: int) -> bytes:
    """SETTINGS with the one value that matters here: `window`, that of every new stream."""
    window = values.get("window")
    return frame(SETTINGS, 0, 0, b"" if window is None else INITIAL_WINDOW.to_bytes(2, "big") + window.to_bytes(4, "big"))


def window(stream: int, more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, more.to_bytes(4, "big"))


def reset(stream: int) -> bytes:
    return frame(RST_STREAM, 0, stream, CANCEL.to_bytes(4, "big"))


def request(stream: int, block: bytes, ends: bool = True) -> bytes:
    return frame(HEADERS, END_HEADERS | (END_STREAM if ends else 0), stream, block)


def block(fields: dict[str, str]) -> bytes:
    """A header block of literals without indexing (RFC 7541 §6.2.2)."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())


def _text(text: str) -> bytes:
    return _integer(len(text)) + text.encode()


def _integer(number: int) -> bytes:
    """RFC 7541 §5.1, with a prefix of seven bits."""
    if number < 127:
        return bytes([number])
    rest, written = number - 127, [127]
    while rest >= 128:
        written.append(rest % 128 | 128)
        rest //= 128
    return bytes([*written, rest])


class Reader:
    """Makes frames of what arrives."""

    def __init__(self) -> None:
        self._held = bytearray()

    def frames(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """Kind, flags, stream and payload of every frame that is whole by now."""
        self._held += data
        while len(self._held) >= 9:
            length = int.from_bytes(self._held[:3], "big")
            if len(self._held) < 9 + length:
                return
            kind, flags, stream = self._held[3], self._held[4], int.from_bytes(self._held[5:9], "big") & MOST
            payload = bytes(self._held[9 : 9 + length])
            del self._held[: 9 + length]
            yield kind, flags, stream, payload


def error(kind: int, payload: bytes) -> str:
    """The error's name in a RST_STREAM or a GOAWAY."""
    at = 4 if kind == GOAWAY else 0
    code = int.from_bytes(payload[at : at + 4], "big")
    return ERRORS[code] if code < len(ERRORS) else str(code)
