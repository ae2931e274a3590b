"""Small real pictures: eight by eight grey JPEGs, made here so that no file has to be carried."""

from __future__ import annotations

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
_DC_CODES = 12  # categories 0 to 11, each with a code of four bits


def picture(seed: int) -> bytes:
    """A baseline JPEG of one grey block; different seeds give different bytes."""
    shade = seed * 37 % 200 - 100  # the DC coefficient, in steps of 8 of the quantiser
    return (
        SOI
        + _segment(0xE0, b"JFIF\x00\x01\x01\x01\x00\x60\x00\x60\x00\x00")
        + _segment(0xFE, b"picture %d" % seed)
        + _segment(0xDB, b"\x00" + b"\x08" * 64)
        + _segment(0xC0, b"\x08\x00\x08\x00\x08\x01\x01\x11\x00")
        + _segment(0xC4, b"\x00" + bytes([0, 0, 0, _DC_CODES] + [0] * 12) + bytes(range(_DC_CODES)))
        + _segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\x00")
        + _segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")
        + _block(shade)
        + EOI
    )


def reencoded(data: bytes) -> bytes:
    """The shop writes every picture anew: here with a comment of its own, so that the bytes differ from those sent."""
    return SOI + _segment(0xFE, b"CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90\n") + data[2:]


def kind_of(data: bytes) -> str | None:
    """The media type of a picture that the shop takes; None for anything else."""
    for magic, kind in ((SOI + b"\xff", "image/jpeg"), (b"\x89PNG\r\n", "image/png"), (b"GIF8", "image/gif")):
        if data.startswith(magic):
            return kind
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def _block(value: int) -> bytes:
    """One block: the DC difference, then end of block."""
    size = abs(value).bit_length()
    bits = f"{size:04b}"
    if size:
        bits += f"{value if value > 0 else value + (1 << size) - 1:0{size}b}"
    bits += "0"
    bits += "1" * (-len(bits) % 8)
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return packed.replace(b"\xff", b"\xff\x00")
