"""A second reader of the container, written from docs/format.md alone, sections 1 to 8.

Plain Python: struct, zlib, and a MessagePack parser of its own.
"""

import re
import struct
import zlib
from pathlib import Path

SIGNATURE = bytes.fromhex("89494E4E560D0A1A")
KNOWN = ("HEAD", "SEGM", "PARM", "PACK", "INDX", "TEND")


class Invalid(Exception):
    """The file breaks a rule of the document."""


def require(holds, rule):
    if not holds:
        raise Invalid(rule)


def read_value(data, at):
    """A MessagePack value and the place behind it."""
    kind = data[at]
    at += 1
    if kind < 0x80:
        return kind, at
    if kind >= 0xE0:
        return kind - 0x100, at
    if 0x90 <= kind < 0xA0:
        return read_array(data, at, kind & 15)
    if 0xA0 <= kind < 0xC0:
        return read_text(data, at, kind & 31)
    if kind in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[kind], at
    numbers = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
    numbers |= {0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
    if kind in numbers:
        (value,) = struct.unpack_from(numbers[kind], data, at)
        return value, at + struct.calcsize(numbers[kind])
    sizes = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
    sizes |= {0xDC: ">H", 0xDD: ">I"}
    require(kind in sizes, "only the types of the document")
    (size,) = struct.unpack_from(sizes[kind], data, at)
    at += struct.calcsize(sizes[kind])
    if kind in (0xDC, 0xDD):
        return read_array(data, at, size)
    if kind in (0xC4, 0xC5, 0xC6):
        require(at + size <= len(data), "a string ends within its record")
        return data[at : at + size], at + size
    return read_text(data, at, size)


def read_array(data, at, size):
    found = []
    for _ in range(size):
        value, at = read_value(data, at)
        found.append(value)
    return found, at


def read_text(data, at, size):
    require(at + size <= len(data), "a text ends within its record")
    return data[at : at + size].decode("utf-8"), at + size


def read_record(payload, fields):
    value, end = read_value(payload, 0)
    require(isinstance(value, list) and end == len(payload), "a record is one array")
    require(len(value) == fields, "all fields, and no others")
    return value


def preset_dictionary():
    """Of section 2: lines of nothing but hexadecimal digits."""
    text = (Path(__file__).parents[1] / "docs" / "format.md").read_text("utf-8")
    section = text.partition("\n## 2. HEAD\n")[2].partition("\n## 3. ")[0]
    return bytes.fromhex("".join(re.findall(r"^    ([0-9a-f]{32,})$", section, re.MULTILINE)))


def inflate(payload):
    stream = zlib.decompressobj(-15, zdict=preset_dictionary())
    record = stream.decompress(payload)
    require(stream.eof and not stream.unused_data, "one DEFLATE stream")
    return record


def read_chunks(data):
    """Offset, id and payload of all chunks, front to back."""
    at, found = 10, []
    while at < len(data):
        require(at + 12 <= len(data), "a chunk has 12 bytes beside its payload")
        name = data[at : at + 4]
        require(name.isalpha() and name.isascii(), "an id is four letters")
        (size,) = struct.unpack_from("<I", data, at + 4)
        end = at + 8 + size
        require(end + 4 <= len(data), "a chunk ends within the file")
        start = at if found else 0
        (crc,) = struct.unpack_from("<I", data, end)
        require(zlib.crc32(data[start:end]) == crc, "the CRC of a chunk")
        found.append((at, name.decode(), data[at + 8 : end]))
        at = end + 4
    return found


def read_file(data):
    """Everything that the container says.

    Returns:
        version, header (nested lists), streams (nested lists, or None), segments: each with
        record, parameters, packets, and offsets; other: ids of chunks that are not of the document.
    """
    require(data[:8] == SIGNATURE, "the signature")
    version = data[8], data[9]
    require(version[0] == 0, "the major version")
    chunks = read_chunks(data)
    streams = read_record(chunks[1][2], 4) if chunks[1][1] == "strm" else None
    rest = chunks if streams is None else [chunks[0], *chunks[2:]]
    other = [name for _, name, _ in rest if name not in KNOWN]
    require(not any(name[0].isupper() for name in other), "no unknown critical chunk")
    listed = [chunk for chunk in chunks if chunk[1] in KNOWN]
    require(chunks[0][1] == "HEAD" and len(listed) > 5, "the order of the chunks")
    require([c[1] for c in chunks[-2:]] == ["INDX", "TEND"], "the index and the end come last")
    header = read_record(inflate(chunks[0][2]) if data[9] > 16 else chunks[0][2], 19)
    segments, at = [], 1
    while listed[at][1] != "INDX":
        require([c[1] for c in listed[at : at + 2]] == ["SEGM", "PARM"], "the order of the chunks")
        record = read_record(listed[at][2], 5)
        parameters = read_record(listed[at + 1][2], 3)
        packets, offsets = [], [listed[at][0], listed[at + 1][0]]
        at += 2
        while listed[at][1] == "PACK":
            packets.append(read_record(listed[at][2], 11))
            offsets.append(listed[at][0])
            at += 1
        segments.append((record, parameters, packets, offsets))
    require(len(listed) == at + 2, "nothing between the index and the end")
    check(header, segments, listed[at], listed[at + 1])
    if streams is not None:
        check_streams(*streams)
    parts = {"header": header, "streams": streams, "segments": segments}
    return {"version": version, "other": other, **parts}


def check_streams(streams, start, container, data):
    require(isinstance(streams, list) and streams, "a stream at least")
    for stream in streams:
        require([type(field) for field in stream] == [str, str, str], "the fields of a stream")
        require(stream[0] in ("audio", "subtitle"), "the kinds of streams")
    require(-(2**62) <= start <= 2**62, "the bounds of start")
    require(container in ("matroska", "mov") and isinstance(data, bytes), "a container")


def check(header, segments, index, end):
    (entries,) = read_record(index[2], 1)
    require(struct.unpack("<Q", end[2]) == (index[0],), "the end points to the index")
    require(len(entries) == len(segments), "the index has an entry for each segment")
    frame = 0
    for entry, (record, _, packets, offsets) in zip(entries, segments, strict=True):
        *places, crc = entry
        require(places == [*offsets[:2], *record[:2], offsets[2:]], "an entry of the index")
        require(crc is None or 0 <= crc < 1 << 32, "the CRC of the samples")
        first, frames, sizes, keys, pts = record
        require(first == frame and sum(sizes) == frames, "segments follow each other")
        require(keys[0] == 0 and keys == sorted(set(keys)) and keys[-1] < len(sizes), "keys")
        require(len(pts) in (0, frames), "time stamps")
        require(len(packets) == len(sizes), "packets of a segment")
        for number, (packet, size) in enumerate(zip(packets, sizes, strict=True)):
            require(packet[0] == number and packet[10] == size, "a packet's place")
            halvings = 0
            while size > 1:
                halvings, size = halvings + 1, 1 if size == 3 else (size + 1) // 2
            require(len(packet[2]) == halvings + 1, "levels")
            require(all(len(row) == len(packet[1]) for row in packet[2]), "layers")
            require(sum(map(sum, packet[2])) == len(packet[3]), "lengths")
        frame += frames
    require(frame == header[3], "frames of the file")
