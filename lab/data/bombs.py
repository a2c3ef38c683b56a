"""Hostile media files: small files that make a careless decoder allocate gigabytes or run for hours.

`bombs` writes them, one file per idea: absurd sample rates, durations, channel counts and sizes in headers, hours of
silence in a few kilobytes, compressed metadata, huge pictures, thousands of streams, chained streams, deep nesting.
`mutations` damages ordinary media at random. Both are deterministic. No file is larger than a few megabytes.
"""

from __future__ import annotations

import base64
import math
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

MAX_32 = 0xFFFFFFFF
MAX_64 = (1 << 64) - 1
_DAY = 24 * 3600  # seconds

_makers: list[tuple[str, Callable[[], bytes]]] = []


def bombs(folder: Path) -> Iterator[Path]:
    """Write every hostile file to `folder` and yield its path. The file name says what is wrong with it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in _makers:
        path = folder / name
        path.write_bytes(make())
        yield path


def names() -> list[str]:
    """The names of all hostile files, in the order of `bombs`."""
    return [name for name, _ in _makers]


def bomb(name: str) -> bytes:
    """The content of one hostile file."""
    return dict(_makers)[name]()


def mutations(files: Sequence[Path], count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield the file name and content of `count` damaged copies of media files.

    Each copy has one to three changes: flipped bits, random bytes, extreme numbers, a removed, doubled or moved part,
    or an early end. Half of the changes lie in the first 4 kB, where headers are.
    """
    chance = random.Random(seed)
    contents = [path.read_bytes() for path in files]
    for number in range(count):
        which = chance.randrange(len(files))
        data = bytearray(contents[which])
        for _ in range(chance.randint(1, 3)):
            if data:
                chance.choice(_CHANGES)(data, chance)
        yield f"{number:05}-{files[which].name}", bytes(data)


def _position(data: bytearray, chance: random.Random) -> int:
    return chance.randrange(min(len(data), 4096) if chance.random() < 0.5 else len(data))


def _flip_bits(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 32)):
        data[_position(data, chance)] ^= 1 << chance.randrange(8)


def _randomise(data: bytearray, chance: random.Random) -> None:
    start = _position(data, chance)
    length = min(chance.choice((1, 4, 16, 256, 4096)), len(data) - start)
    data[start : start + length] = chance.randbytes(length)


def _exaggerate(data: bytearray, chance: random.Random) -> None:
    start = _position(data, chance)
    value = chance.choice((0, 1, 0x7FFFFFFF, 0x80000000, MAX_32, 0x10000000))
    data[start : start + 4] = value.to_bytes(4, chance.choice(("big", "little")))


def _remove(data: bytearray, chance: random.Random) -> None:
    start = _position(data, chance)
    del data[start : start + chance.choice((1, 3, 64, 1024))]


def _double(data: bytearray, chance: random.Random) -> None:
    start = _position(data, chance)
    part = data[start : start + chance.choice((1, 64, 4096))]
    data[start:start] = part * chance.choice((1, 2, 16))


def _move(data: bytearray, chance: random.Random) -> None:
    start = _position(data, chance)
    part = data[start : start + 512]
    del data[start : start + 512]
    target = chance.randrange(len(data) + 1)
    data[target:target] = part


def _truncate(data: bytearray, chance: random.Random) -> None:
    del data[_position(data, chance) :]


_CHANGES = (_flip_bits, _randomise, _exaggerate, _remove, _double, _move, _truncate)


def _zeros(count: int) -> bytes:
    """So many zero bytes, compressed with zlib to a thousandth. Equal parts are compressed only once."""
    packer, part = zlib.compressobj(9), bytes(1 << 20)
    first = packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH)
    second = packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, wbits=-15)
    rest = last.compress(part[: count & (1 << 20) - 1]) + last.flush()
    parts = count >> 20
    checksum = count % 65_521 << 16 | 1  # Adler-32 of zeros
    head, whole = first[:2], [first[2:], *[second] * (parts - 1)] if parts else []
    return b"".join([head, *whole, rest, checksum.to_bytes(4, "big")])


def _register(name: str, make: Callable[[], bytes]) -> None:
    _makers.append((name, make))


# WAV and its relatives

_PCM, _FLOAT, _ADPCM_MS, _ADPCM_IMA, _GSM, _EXTENSIBLE = 1, 3, 2, 0x11, 0x31, 0xFFFE


def _chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(content) if size is None else size) + content + b"\0" * (len(content) % 2)


def _wav(
    rate: int = 8000,
    *,
    channels: int = 1,
    bits: int = 8,
    form: int = _PCM,
    align: int | None = None,
    data: bytes = b"\x80\x90\x70\xa0" * 2500,
    size: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
    extra: bytes = b"",
) -> bytes:
    block = channels * bits // 8 if align is None else align
    described = struct.pack("<HHIIHH", form, channels & 0xFFFF, rate, rate * block & MAX_32, block & 0xFFFF, bits) + (
        struct.pack("<H", len(extra)) + extra if extra else b""
    )
    content = b"WAVE" + _chunk(b"fmt ", described) + before + _chunk(b"data", data, size) + after
    return _chunk(b"RIFF", content)


for _rate in (0, 1, 10, 999, 3999, 768_001, 2_000_000, 0x7FFFFFFF, MAX_32):
    _register(f"rate-{_rate}.wav", partial(_wav, _rate))
_register("rate-1-stereo-float64.wav", lambda: _wav(1, channels=2, bits=64, form=_FLOAT, data=bytes(16_000)))
_register("rate-4000-two-megabytes.wav", lambda: _wav(4000, data=b"\x80\x90" * 1_000_000))
for _channels in (0, 25, 255, 65_535):
    _register(f"channels-{_channels}.wav", partial(_wav, channels=_channels, data=bytes(200_000)))
_register("block-of-0-bytes.wav", lambda: _wav(align=0))
_register("block-of-65535-bytes.wav", lambda: _wav(align=65_535, data=bytes(200_000)))
_register("data-of-4-gigabytes.wav", lambda: _wav(size=MAX_32))
_register("format-of-4-gigabytes.wav", lambda: b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff" + bytes(10_000))
_register(
    "nan-and-infinity.wav",
    lambda: _wav(bits=64, form=_FLOAT, data=struct.pack("<4d", math.nan, math.inf, -math.inf, 1.7e308) * 4000),
)
_register("denormal-numbers.wav", lambda: _wav(bits=32, form=_FLOAT, data=struct.pack("<f", 1e-40) * 40_000))
_register("100000-chunks.wav", lambda: _wav(before=_chunk(b"junk", b"") * 100_000))
_register("200000-cue-points.wav", lambda: _wav(before=_chunk(b"cue ", struct.pack("<I", MAX_32) + bytes(2_000_000))))
_register("two-megabytes-of-bext.wav", lambda: _wav(before=_chunk(b"bext", b"A" * 2_000_000)))
_register(
    "two-megabytes-of-info.wav",
    lambda: _wav(before=_chunk(b"LIST", b"INFO" + _chunk(b"INAM", b"long " * 400_000))),
)
_register("100000-info-fields.wav", lambda: _wav(before=_chunk(b"LIST", b"INFO" + _chunk(b"INAM", b"ab") * 100_000)))
_register("adpcm-1-hz.wav", lambda: _wav(1, bits=4, form=_ADPCM_IMA, align=1024, data=bytes(10_240), extra=b"\xf9\x07"))
_register(
    "adpcm-block-65535.wav",
    lambda: _wav(bits=4, form=_ADPCM_MS, align=65_535, data=bytes(200_000), extra=b"\xff\xff\x07\0" + bytes(28)),
)
_register("gsm-1-hz.wav", lambda: _wav(1, bits=0, form=_GSM, align=65, data=bytes(6_500), extra=b"\x40\x01"))
_register(
    "duration-of-584-million-years.rf64",
    lambda: (
        b"RF64\xff\xff\xff\xffWAVE"
        + _chunk(b"ds64", struct.pack("<QQQI", MAX_64, MAX_64 >> 1, MAX_64 >> 1, 0))
        + _wav(size=MAX_32)[12:]
    ),
)
_register(
    "duration-of-584-million-years.w64",
    lambda: (
        b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"
        + struct.pack("<Q", MAX_64 >> 1)
        + b"wave\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a"
        + b"fmt \xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a"
        + struct.pack("<QHHIIHH", 40, 1, 1, 8000, 8000, 1, 8)
        + b"data\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a"
        + struct.pack("<Q", MAX_64 >> 1)
        + b"\x80\x90" * 5000
    ),
)


# AIFF, AU, CAF, VOC, DSF


def _extended(value: float) -> bytes:
    """An 80-bit float, as AIFF stores sample rates."""
    if math.isnan(value) or math.isinf(value):
        return b"\x7f\xff" + (b"\xc0" if math.isnan(value) else b"\x80") + bytes(7)
    mantissa, exponent = math.frexp(value)
    return struct.pack(">HQ", 16382 + exponent, int(mantissa * (1 << 64)) & MAX_64)


def _aiff(rate: float, *, channels: int = 1, frames: int = 10_000, comments: bytes = b"") -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack(">I", len(content)) + content + b"\0" * (len(content) % 2)

    content = b"AIFF" + chunk(b"COMM", struct.pack(">hIh", channels, frames, 8) + _extended(rate)) + comments
    return chunk(b"FORM", content + chunk(b"SSND", bytes(8) + b"\x00\x10\xf0\x20" * 2500))


for _number in (1.0, 1e-3, 1e30, math.nan, math.inf):
    _register(f"rate-{_number:g}.aiff", partial(_aiff, _number))
_register("4-billion-frames.aiff", lambda: _aiff(8000.0, frames=MAX_32))
_register("32767-channels.aiff", lambda: _aiff(8000.0, channels=32_767))


def _au(rate: int, channels: int = 1, size: int = MAX_32, offset: int = 24) -> bytes:
    return b".snd" + struct.pack(">IIIII", offset, size, 2, rate, channels) + b"\x00\x10\xf0\x20" * 2500


for _rate in (1, 0x7FFFFFFF):
    _register(f"rate-{_rate}.au", partial(_au, _rate))
_register("16384-channels.au", lambda: _au(8000, channels=16_384))
_register("header-of-4-gigabytes.au", lambda: _au(8000, offset=MAX_32))


def _caf(rate: float, *, packets: int = 0, channels: int = 1, form: bytes = b"lpcm") -> bytes:
    description = struct.pack(">d4sIIIII", rate, form, 0, channels, 1, channels, 8)
    table = b""
    if packets:
        table = b"pakt" + struct.pack(">qqqii", 100_024, packets, MAX_64 >> 1, 0, 0) + b"\x01" * 100_000
    return (
        b"caff\0\1\0\0desc"
        + struct.pack(">q", 32)
        + description
        + table
        + b"data"
        + struct.pack(">qI", -1, 0)
        + b"\x00\x10\xf0\x20" * 2500
    )


for _number in (1.0, 1e-300, 1e300, math.nan):
    _register(f"rate-{_number:g}.caf", partial(_caf, _number))
_register("9-trillion-packets.caf", lambda: _caf(8000.0, packets=MAX_64 >> 20, form=b"alac"))
_register(
    "rate-1.voc",
    lambda: (
        b"Creative Voice File\x1a\x1a\0\x0a\x01\x29\x11\x09"
        + struct.pack("<I", 10_012)[:3]
        + struct.pack("<IBBHI", 1, 8, 1, 0, 0)
        + b"\x80\x90" * 5000
    ),
)
_register(
    "rate-1.dsf",
    lambda: (
        b"DSD "
        + struct.pack("<QQQ", 28, 92 + 8192, 0)
        + b"fmt "
        + struct.pack("<QIIIIIIQII", 52, 1, 0, 1, 1, 1, 1, MAX_64 >> 8, 4096, 0)
        + b"data"
        + struct.pack("<Q", 12 + 8192)
        + b"\x69" * 8192
    ),
)


# FLAC

_FLAC_BLOCK = 65_535  # samples of a frame, the maximum


def _crc_table(bits: int, polynomial: int) -> list[int]:
    """What each byte contributes to a cyclic redundancy check."""
    table, top, mask = [], 1 << (bits - 1), (1 << bits) - 1
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value & top else 0)) & mask
        table.append(value)
    return table


def _crc(data: bytes, bits: int, table: Sequence[int]) -> int:
    value, mask, shift = 0, (1 << bits) - 1, bits - 8
    for byte in data:
        value = value << 8 & mask ^ table[value >> shift ^ byte]
    return value


_CRC_8, _CRC_16, _CRC_32 = _crc_table(8, 0x07), _crc_table(16, 0x8005), _crc_table(32, 0x04C11DB7)


def _flac_number(number: int) -> bytes:
    """A frame number, coded as in UTF-8."""
    if number < 0x80:
        return bytes([number])
    length = next(length for length in range(2, 8) if number < 1 << (5 * length + 1))
    rest = [0x80 | number >> 6 * shift & 0x3F for shift in reversed(range(length - 1))]
    first = (0xFF << (8 - length) & 0xFF) | (number >> 6 * (length - 1))
    return bytes([first, *rest])


def _flac_frame(number: int, rate_code: int = 0, channels: int = 1) -> bytes:
    """A frame of silence: the header and one constant subframe per channel."""
    header = b"\xff\xf8" + bytes([0x70 | rate_code, (channels - 1) << 4 | 0x08]) + _flac_number(number)
    header += struct.pack(">H", _FLAC_BLOCK - 1)
    header += bytes([_crc(header, 8, _CRC_8)])
    frame = header + b"\0\0\0" * channels  # constant subframes of 16 bits
    return frame + struct.pack(">H", _crc(frame, 16, _CRC_16))


def _flac_block(kind: int, content: bytes, size: int | None = None, *, last: bool = False) -> bytes:
    return (
        struct.pack(">I", (0x80 if last else 0) << 24 | kind << 24 | (len(content) if size is None else size)) + content
    )


def _flac(
    rate: int = 44_100, *, samples: int = 0, channels: int = 1, bits: int = 16, blocks: bytes = b"", frames: bytes = b""
) -> bytes:
    information = struct.pack(">HH", _FLAC_BLOCK, _FLAC_BLOCK) + bytes(6)
    information += (rate << 44 | (channels - 1) << 41 | (bits - 1) << 36 | samples).to_bytes(8, "big") + bytes(16)
    head = b"fLaC" + _flac_block(0, information) + blocks + _flac_block(1, b"\0\0", last=True)
    return head + (frames or b"".join(map(_flac_frame, range(3))))


def _flac_silence(rate: int, seconds: int) -> bytes:
    count = seconds * rate // _FLAC_BLOCK + 1
    return _flac(rate, frames=b"".join(map(_flac_frame, range(count))))


def _comments(count: int, entries: Sequence[bytes]) -> bytes:
    return struct.pack("<II", 0, count) + b"".join(struct.pack("<I", len(each)) + each for each in entries)


def _picture(image: bytes, size: int | None = None) -> bytes:
    mime = b"image/png"
    return (
        struct.pack(">II", 3, len(mime))
        + mime
        + struct.pack(">IIIII", 0, 0, 0, 0, 0)
        + struct.pack(">I", len(image) if size is None else size)
        + image
    )


@cache
def _png(side: int) -> bytes:
    """A transparent picture of `side` x `side` pixels of 8 bytes each, all zero."""
    packed = _zeros(side * (8 * side + 1))

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0))
        + chunk(b"IDAT", packed)
        + chunk(b"IEND", b"")
    )


_register("24-hours-of-silence.flac", lambda: _flac_silence(44_100, _DAY))
_register("7-days-of-silence-at-4000-hz.flac", lambda: _flac_silence(4000, 7 * _DAY))
_register("rate-1.flac", lambda: _flac(1))
_register("rate-1048575.flac", lambda: _flac(1_048_575))
_register("68-billion-samples.flac", lambda: _flac(4000, samples=(1 << 36) - 1))
_register(
    "a-new-sample-rate-in-every-frame.flac",
    lambda: _flac(frames=b"".join(_flac_frame(each, rate_code=4 + each % 8) for each in range(300))),
)
_register(
    "a-new-number-of-channels-in-every-frame.flac",
    lambda: _flac(frames=b"".join(_flac_frame(each, channels=1 + each % 8) for each in range(150))),
)
_register("4-billion-comments.flac", lambda: _flac(blocks=_flac_block(4, _comments(MAX_32, [b"TITLE=a"]))))
_register("200000-comments.flac", lambda: _flac(blocks=_flac_block(4, _comments(200_000, [b"A=b"] * 200_000))))
_register(
    "comment-of-2-megabytes.flac", lambda: _flac(blocks=_flac_block(4, _comments(1, [b"TITLE=" + b"x " * 10**6])))
)
_register("picture-of-4-gigabytes.flac", lambda: _flac(blocks=_flac_block(6, _picture(b"\xff\xd8" * 100, MAX_32))))
_register("picture-of-968-megabytes.flac", lambda: _flac(blocks=_flac_block(6, _picture(_png(11_000)))))
_register("1000-pictures.flac", lambda: _flac(blocks=_flac_block(6, _picture(_png(100))) * 1000))
_register("seek-table-of-16-megabytes.flac", lambda: _flac(blocks=_flac_block(3, bytes(1800), size=0xFFFFFF)))


# ID3 and MPEG audio

_MPEG_FRAME = b"\xff\xfb\x10\xc0" + bytes(104 - 4)  # 32 kb/s, 44.1 kHz, mono, silence


def _synchsafe(value: int) -> bytes:
    return bytes(value >> shift & 0x7F for shift in (21, 14, 7, 0))


def _id3(frames: bytes, size: int | None = None) -> bytes:
    return b"ID3\x04\0\0" + _synchsafe(len(frames) if size is None else size) + frames


def _id3_frame(name: bytes, content: bytes, flags: int = 0) -> bytes:
    return name + _synchsafe(len(content)) + struct.pack(">H", flags) + content


def _mpeg(seconds: float = 5.0) -> bytes:
    return _MPEG_FRAME * int(seconds * 44_100 / 1152)


def _compressed_id3(megabytes: int) -> bytes:
    packed = _zeros(megabytes << 20)
    compressed_with_length = 0x0009
    return _id3(_id3_frame(b"TIT2", _synchsafe(min(megabytes << 20, (1 << 28) - 1)) + packed, compressed_with_length))


_register("id3-of-256-megabytes.mp3", lambda: _id3(b"", (1 << 28) - 1) + _mpeg())
_register("id3-of-2-megabytes.mp3", lambda: _id3(_id3_frame(b"TIT2", b"\x03" + b"a b " * 500_000)) + _mpeg())
_register("id3-with-100000-frames.mp3", lambda: _id3(_id3_frame(b"TXXX", b"\x03a\0b") * 100_000) + _mpeg())
_register("id3-compressed-255-megabytes.mp3", lambda: _compressed_id3(255) + _mpeg())
_register("5000-id3-tags.mp3", lambda: _id3(_id3_frame(b"TIT2", b"\x03a")) * 5000 + _mpeg())
_register(
    "id3-picture-of-968-megabytes.mp3",
    lambda: _id3(_id3_frame(b"APIC", b"\x03image/png\0\x03\0" + _png(11_000))) + _mpeg(),
)
_register("10000-chapters.mp3", lambda: _id3(_id3_frame(b"CHAP", b"a\0" + bytes(16)) * 10_000) + _mpeg())
_register(
    "xing-with-4-billion-frames.mp3",
    lambda: _MPEG_FRAME[:13] + b"\0" * 8 + b"Xing\0\0\0\x0f" + b"\xff" * 8 + bytes(67) + _mpeg(),
)
_register(
    "a-new-sample-rate-in-every-frame.mp3",
    # 44.1, 48, 32 kHz; the lengths of frames of 32 kb/s
    lambda: (
        b"".join(
            b"\xff\xfb" + bytes([0x10 | code << 2, 0xC0]) + bytes(n - 4) for code, n in ((0, 104), (1, 96), (2, 144))
        )
        * 3000
    ),
)
_register("11-hours-of-no-data.amr", lambda: b"#!AMR\n" + b"\x7c" * 2_000_000)


def _adts(code: int, channels: int = 1) -> bytes:
    """A frame of AAC with one element of silence."""
    content = b"\x01\x40\x22\x80\xa3\x7e\x78\x00"
    length = 7 + len(content)
    bits = 0xFFF << 44 | 0b0001 << 40 | 0b01 << 38 | code << 34 | channels << 30 | length << 13 | 0x7FF << 2
    return bits.to_bytes(7, "big") + content


_register("hours-at-7350-hz.aac", lambda: _adts(12) * 130_000)
_register("a-new-sample-rate-in-every-frame.aac", lambda: b"".join(_adts(code) for code in range(13)) * 500)


# Ogg


def _page(packets: Sequence[bytes], serial: int = 1, number: int = 0, granule: int = 0, flags: int = 0) -> bytes:
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    return _raw_page(lacing, b"".join(packets), serial, number, granule, flags)


def _raw_page(lacing: bytes, content: bytes, serial: int, number: int, granule: int, flags: int) -> bytes:
    head = b"OggS\0" + struct.pack("<BQII", flags, granule & MAX_64, serial, number)
    tail = bytes([len(lacing)]) + lacing + content
    return head + struct.pack("<I", _crc(head + bytes(4) + tail, 32, _CRC_32)) + tail


_FIRST, _CONTINUED, _LAST = 2, 1, 4
_OPUS_SILENCE = b"\xf8\xff\xfe"  # 20 ms
_OPUS_LONG = b"\xfb\x30" + b"\xff\xfe" * 48  # 48 frames of 2.5 ms


def _opus_head(channels: int = 1, skip: int = 312, rate: int = 48_000, mapping: bytes = b"\0") -> bytes:
    return b"OpusHead\x01" + bytes([channels]) + struct.pack("<HIh", skip, rate, 0) + mapping


def _opus_tags(comments: bytes | None = None) -> bytes:
    return b"OpusTags" + (comments if comments is not None else _comments(0, []))


def _opus(
    serial: int = 1, *, head: bytes = b"", tags: bytes = b"", packets: int = 50, granule: int | None = None
) -> bytes:
    data = [_OPUS_SILENCE] * packets
    return (
        _page([head or _opus_head()], serial, 0, 0, _FIRST)
        + _large(tags or _opus_tags(), serial, 1)
        + _page(data, serial, 100_000, 960 * packets if granule is None else granule, _LAST)
    )


def _large(packet: bytes, serial: int, number: int) -> bytes:
    """A packet on as many pages as it needs."""
    lacing = b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
    pages = []
    for start in range(0, len(lacing), 255):
        part = packet[start * 255 : (start + 255) * 255]
        pages.append(_raw_page(lacing[start : start + 255], part, serial, number, 0, _CONTINUED if start else 0))
        number += 1
    return b"".join(pages)


def _opus_hours() -> bytes:
    """Packets of one byte, which stand for lost audio: 60 ms each, 255 in a page of 540 bytes."""
    pages = [_page([b"\x18"] * 255, 1, 2 + each, 2880 * 255 * (each + 1)) for each in range(3800)]
    return _page([_opus_head()], 1, 0, 0, _FIRST) + _page([_opus_tags()], 1, 1) + b"".join(pages)


_register("16-hours-of-lost-packets.opus", _opus_hours)
_register("comment-of-2-megabytes.opus", lambda: _opus(tags=_opus_tags(_comments(1, [b"TITLE=" + b"x " * 10**6]))))
_register("4-billion-comments.opus", lambda: _opus(tags=_opus_tags(_comments(MAX_32, [b"A=b"]))))
_register(
    "picture-of-968-megabytes.opus",
    lambda: _opus(
        tags=_opus_tags(_comments(1, [b"METADATA_BLOCK_PICTURE=" + base64.b64encode(_picture(_png(11_000)))]))
    ),
)
_register("255-channels.opus", lambda: _opus(head=_opus_head(255, mapping=b"\xff\xff\0" + bytes(range(255)))))
_register("end-in-6-million-years.opus", lambda: _opus(granule=MAX_64 >> 1))
_register("5000-chained-streams.opus", lambda: b"".join(_opus(serial) for serial in range(5000)))
_register(
    "10000-streams-at-once.ogg",
    lambda: b"".join(_page([_opus_head()], serial, 0, 0, _FIRST) for serial in range(10_000)),
)
_register(
    "a-packet-without-end.ogg",
    lambda: (
        _page([_opus_head()], 1, 0, 0, _FIRST)
        + _page([_opus_tags()], 1, 1)
        + b"".join(_raw_page(b"\xff" * 255, bytes(65_025), 1, 2 + n, MAX_64, _CONTINUED if n else 0) for n in range(40))
    ),
)


# MP4 and QuickTime


def _atom(name: bytes, *content: bytes, size: int | None = None) -> bytes:
    joined = b"".join(content)
    return struct.pack(">I", 8 + len(joined) if size is None else size) + name + joined


def _table(name: bytes, count: int, entries: bytes) -> bytes:
    return _atom(name, bytes(4), struct.pack(">I", count), entries)


_FTYP = _atom(b"ftyp", b"M4A \0\0\0\0M4A mp42")


def _track(
    *,
    rate: int = 8000,
    channels: int = 1,
    scale: int = 8000,
    duration: int = 10_000,
    stts: bytes | None = None,
    stsc: bytes | None = None,
    stsz: bytes | None = None,
    extra: bytes = b"",
    form: bytes = b"raw ",
    description: bytes = b"",
) -> bytes:
    entry = _atom(
        form, bytes(6), struct.pack(">HHHIHHHHI", 1, 0, 0, 0, channels, 8, 0, 0, rate << 16 & MAX_32), description
    )
    tables = (
        _table(b"stsd", 1, entry),
        _table(b"stts", 1, struct.pack(">II", 10_000, 1)) if stts is None else stts,
        _table(b"stsc", 1, struct.pack(">III", 1, 10_000, 1)) if stsc is None else stsc,
        _atom(b"stsz", bytes(4), struct.pack(">II", 1, 10_000)) if stsz is None else stsz,
        _table(b"stco", 1, struct.pack(">I", 40)),
    )
    media = _atom(
        b"mdia",
        _atom(b"mdhd", bytes(12), struct.pack(">IIHH", scale, duration, 0, 0)),
        _atom(b"hdlr", bytes(8), b"soun", bytes(13)),
        _atom(b"minf", _atom(b"smhd", bytes(8)), _atom(b"stbl", *tables)),
    )
    header = _atom(b"tkhd", b"\0\0\0\7", bytes(8), struct.pack(">II", 1, 0), struct.pack(">I", duration), bytes(60))
    return _atom(b"trak", header, extra, media)


def _mp4(*tracks: bytes, extra: bytes = b"", duration: int = 10_000, scale: int = 8000) -> bytes:
    header = _atom(b"mvhd", bytes(12), struct.pack(">II", scale, duration), bytes(80))
    movie = _atom(b"moov", header, *(tracks or (_track(),)), extra)
    return _FTYP + _atom(b"mdat", b"\x80\x90\x70\xa0" * 2500) + movie


def _nested(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = _atom(b"udta", content)
    return content


def _compressed_movie() -> bytes:
    """A `moov` atom compressed with zlib, as old QuickTime files have it: 200 MB in 200 kB."""
    packed = _zeros(200 << 20)
    return _FTYP + _atom(
        b"moov",
        _atom(b"cmov", _atom(b"dcom", b"zlib"), _atom(b"cmvd", struct.pack(">I", 0x0FFFFFFF), packed)),
    )


_register(
    "4-billion-samples-in-stsz.m4a", lambda: _mp4(_track(stsz=_atom(b"stsz", bytes(4), struct.pack(">II", 1, MAX_32))))
)
_register("4-billion-entries-in-stts.m4a", lambda: _mp4(_track(stts=_table(b"stts", MAX_32, bytes(800)))))
_register(
    "4-billion-samples-in-one-stts.m4a",
    lambda: _mp4(
        _track(
            stts=_table(b"stts", 1, struct.pack(">II", 0x7FFFFFFF, 1)),
            stsz=_atom(b"stsz", bytes(4), struct.pack(">II", 1, 0x0FFFFFFF)),
            stsc=_table(b"stsc", 1, struct.pack(">III", 1, 1, 1)),
        )
    ),
)
_register("4-billion-entries-in-stsc.m4a", lambda: _mp4(_track(stsc=_table(b"stsc", MAX_32, bytes(1200)))))
_register("rate-1.m4a", lambda: _mp4(_track(rate=1, scale=1)))
_register("rate-0.m4a", lambda: _mp4(_track(rate=0, scale=0)))
_register("3000-tracks.m4a", lambda: _mp4(*[_track()] * 3000))
_register("20000-nested-atoms.m4a", lambda: _mp4(extra=_nested(20_000)))
_register("duration-of-17-years.m4a", lambda: _mp4(_track(duration=MAX_32, scale=8), duration=MAX_32, scale=8))
_register(
    "metadata-of-2-megabytes.m4a", lambda: _mp4(extra=_atom(b"udta", _atom(b"\xa9nam", b"\0\xff\0\0" + b"ab" * 10**6)))
)
_register(
    "100000-metadata-fields.m4a", lambda: _mp4(extra=_atom(b"udta", *[_atom(b"\xa9nam", b"\0\2\0\0ab")] * 100_000))
)
_register("compressed-header-of-200-megabytes.mov", _compressed_movie)
_register(
    "100000-edits.m4a",
    lambda: _mp4(
        _track(extra=_atom(b"edts", _table(b"elst", 100_000, struct.pack(">IIHH", 10_000, 0, 1, 0) * 100_000)))
    ),
)
_register(
    "fragment-of-4-billion-samples.m4a",
    lambda: (
        _mp4(extra=_atom(b"mvex", _atom(b"trex", bytes(4), struct.pack(">IIIII", 1, 1, 1, 1, 0))))
        + _atom(
            b"moof",
            _atom(b"mfhd", bytes(8)),
            _atom(
                b"traf",
                _atom(b"tfhd", bytes(4), struct.pack(">I", 1)),
                _atom(b"trun", bytes(4), struct.pack(">I", 0x0FFFFFFF)),
            ),
        )
    ),
)
_register(
    "100000-fragments.m4a",
    lambda: (
        _mp4(extra=_atom(b"mvex", _atom(b"trex", bytes(4), struct.pack(">IIIII", 1, 1, 1, 1, 0))))
        + _atom(b"moof", _atom(b"mfhd", bytes(8))) * 80_000
    ),
)


# Matroska


def _element(number: int, *content: bytes, size: int | None = None) -> bytes:
    joined = b"".join(content)
    name = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return name + ((1 << 56) | (len(joined) if size is None else size)).to_bytes(8, "big") + joined


def _mkv_track(*, rate: float = 8000.0, channels: int = 1, number: int = 1, extra: bytes = b"") -> bytes:
    return _element(
        0xAE,
        _element(0xD7, bytes([number & 0xFF])),
        _element(0x73C5, bytes([number & 0xFF])),
        _element(0x83, b"\x02"),
        _element(0x86, b"A_PCM/INT/LIT"),
        extra,
        _element(
            0xE1,
            _element(0xB5, struct.pack(">d", rate)),
            _element(0x9F, channels.to_bytes(8, "big")),
            _element(0x6264, b"\x10"),
        ),
    )


def _mkv(*tracks: bytes, blocks: bytes = b"", extra: bytes = b"", duration: float = 1000.0) -> bytes:
    head = _element(0x1A45DFA3, _element(0x4282, b"matroska"))
    information = _element(
        0x1549A966, _element(0x2AD7B1, b"\x0f\x42\x40"), _element(0x4489, struct.pack(">d", duration))
    )
    block = blocks or _element(0xA3, b"\x81\0\0\x80" + b"\0\x10\0\xf0" * 2500)
    cluster = _element(0x1F43B675, _element(0xE7, b"\0"), block)
    return head + _element(0x18538067, information, _element(0x1654AE6B, *(tracks or (_mkv_track(),))), extra, cluster)


def _zlib_block(megabytes: int) -> bytes:
    packed = _zeros(megabytes << 20)
    return _element(0xA3, b"\x81\0\0\x80" + packed)


_ZLIB = _element(0x6D80, _element(0x6240, _element(0x5034, _element(0x4254, b"\0"))))  # ContentCompression

for _number in (1.0, 1e-30, 1e30, math.nan):
    _register(f"rate-{_number:g}.mkv", partial(_mkv, _mkv_track(rate=_number)))
_register("4-billion-channels.mkv", lambda: _mkv(_mkv_track(channels=MAX_32)))
_register("3000-tracks.mkv", lambda: _mkv(*(_mkv_track(number=each) for each in range(3000))))
_register("duration-of-1e300.mkv", lambda: _mkv(duration=1e300))
_register("compressed-blocks-of-800-megabytes.mkv", lambda: _mkv(_mkv_track(extra=_ZLIB), blocks=_zlib_block(8) * 100))
_register(
    "100000-tags.mkv",
    lambda: _mkv(
        extra=_element(
            0x1254C367, *[_element(0x7373, _element(0x67C8, _element(0x45A3, b"A"), _element(0x4487, b"b")))] * 40_000
        )
    ),
)
_register(
    "attachment-of-968-megabytes.mkv",
    lambda: _mkv(
        extra=_element(
            0x1941A469,
            _element(
                0x61A7,
                _element(0x466E, b"a.png"),
                _element(0x4660, b"image/png"),
                _element(0x465C, _png(11_000)),
                _element(0x46AE, b"\1"),
            ),
        )
    ),
)


# Pictures and archives under the name of audio

_register("png-of-968-megabytes.mp3", lambda: _png(11_000))
_register("zip-of-zeros.mp3", lambda: b"PK\3\4" + zlib.compress(bytes(10_000_000), 9))
_register(
    "avi-with-rate-1.avi",
    lambda: _chunk(
        b"RIFF",
        b"AVI "
        + _chunk(
            b"LIST",
            b"hdrl"
            + _chunk(b"avih", struct.pack("<IIIIIIIIII", 1, 0, 0, 0, MAX_32, 0, 1, 0, 0, 0) + bytes(16))
            + _chunk(
                b"LIST",
                b"strl"
                + _chunk(
                    b"strh", b"auds" + bytes(16) + struct.pack("<IIIIIIII", 1, 1, 0, MAX_32, 0, 0, 1, 0) + bytes(4)
                )
                + _chunk(b"strf", struct.pack("<HHIIHH", 1, 1, 1, 1, 1, 8)),
            ),
        )
        + _chunk(b"LIST", b"movi" + _chunk(b"00wb", b"\x80\x90" * 5000)),
    ),
)
