"""Changed files whose CRCs are right: chunks as lists of numbers, strings and bytes."""

import struct
import zlib

import msgspec

from innvc.bitstream import header_code
from innvc.bitstream.chunks import VERSION

SIGNATURE = b"\x89INNV\r\n\x1a"
EDGES = [0, 1, -1, 2, 3, 31, 32, 33, 64, 127, 128, 255, 256, 65535, 65536, 1 << 20, (1 << 20) + 1]
EDGES += [(1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
OTHERS = [None, True, False, 0.5, float("nan"), float("inf"), "", "dct", "identity", "picture"]
OTHERS += ["residual", "modulation", "gbrp", "gray", "yuv444p12le", "x" * 65, b"", b"\0" * 9, []]
NAMES = [b"HEAD", b"SEGM", b"PARM", b"PACK", b"INDX", b"TEND", b"ZOOM", b"zoom", b"\0\0\0\0"]


def chunks(data):
    """[name, payload] of each chunk of a file; that of HEAD is inflated."""
    found, position = [], 10
    while position < len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        payload = data[position + 8 : position + 8 + size]
        if name == b"HEAD" and data[9] >= header_code.FIRST_MINOR:
            payload = header_code.inflated(payload, 1 << 20)
        found.append([name, payload])
        position += size + 12
    return found


def records(data):
    """[name, record] of each chunk; that of TEND is its payload."""
    return [
        [name, payload if name == b"TEND" else msgspec.msgpack.decode(payload)]
        for name, payload in chunks(data)
    ]


def assemble(parts, index=True, version=bytes(VERSION)):
    """A file of [name, record or payload]; with `index` its offsets are those of the chunks."""
    data, offsets = SIGNATURE + version, []
    for number, (name, record) in enumerate(parts):
        offsets.append(len(data))
        if index and name == b"INDX" and isinstance(record, list):
            record = _index(parts[:number], offsets, record)
        if index and name == b"TEND" and number and parts[number - 1][0] == b"INDX":
            record = struct.pack("<Q", offsets[-2])
        payload = record if isinstance(record, bytes) else msgspec.msgpack.encode(record)
        if name == b"HEAD" and version[1] >= header_code.FIRST_MINOR:
            payload = header_code.deflated(payload)
        head = name + struct.pack("<I", len(payload))
        before = zlib.crc32(data) if number == 0 else 0
        crc = zlib.crc32(payload, zlib.crc32(head, before))
        data += head + payload + struct.pack("<I", crc)
    return data


def _index(parts, offsets, record):
    """The index of chunks that are in their order, with the numbers of frames of another."""
    entries, old = [], record[0] if record and isinstance(record[0], list) else []
    for (name, _), offset in zip(parts, offsets, strict=False):
        if name == b"SEGM":
            given = old[len(entries)] if len(entries) < len(old) else [0, 0, 0, 1, [], None]
            if not isinstance(given, list) or len(given) != 6:
                return record
            entries.append([offset, 0, given[2], given[3], [], given[5]])
        elif name == b"PARM" and entries:
            entries[-1][1] = offset
        elif name == b"PACK" and entries:
            entries[-1][4].append(offset)
    return [entries]


def leaves(value, path=()):
    """Paths of all elements of a record, lists included."""
    for i, item in enumerate(value):
        yield (*path, i)
        if isinstance(item, list):
            yield from leaves(item, (*path, i))


def mutate(parts, random):
    """Changes one thing of a file's parts, in place."""
    where = random.randrange(len(parts))
    kind = random.randrange(10)
    if kind == 0:
        _mutate_order(parts, where, random)
        return
    name, record = parts[where]
    if isinstance(record, bytes):
        parts[where][1] = _changed(record, random)
        return
    paths = list(leaves(record))
    strings = [path for path in paths if isinstance(_at(record, path), bytes)]
    if not paths:
        return
    path = random.choice(strings if strings and kind < 6 else paths)
    holder, last = _at(record, path[:-1]), path[-1]
    value = holder[last]
    action = random.randrange(12)
    if isinstance(value, bytes) and action < 11:
        holder[last] = _changed(value, random)
        if name == b"PACK" and path == (3,):
            _fit_lengths(record, random)
    elif isinstance(value, bool) and action < 9:
        holder[last] = not value
    elif isinstance(value, int) and action < 9:
        nearby = [value - 1, value + 1, value * 2 % (1 << 64), value // 2]
        new = random.choice(EDGES if random.random() < 0.5 else nearby)
        holder[last] = new if new < 1 << 64 else 0
    elif action < 10:
        holder[last] = random.choice(EDGES + OTHERS)
    elif action == 10:
        del holder[last]
    else:
        holder.insert(last, value)


def _mutate_order(parts, where, random):
    action, other = random.randrange(4), random.randrange(len(parts))
    if action == 0:
        parts[where], parts[other] = parts[other], parts[where]
    elif action == 1:
        parts.insert(other, [parts[where][0], parts[where][1]])
    elif action == 2 and len(parts) > 1:
        del parts[where]
    else:
        parts.insert(where, [random.choice(NAMES[:8]), b"\x90"])


def _at(record, path):
    for step in path:
        record = record[step]
    return record


def _changed(data, random):
    """Bytes with some flipped, cut, lengthened, or others."""
    action = random.randrange(6)
    data = bytearray(data)
    if action < 3 and data:
        for _ in range(random.choice((1, 1, 2, 8))):
            data[random.randrange(len(data))] ^= random.randrange(1, 256)
    elif action == 3:
        del data[random.randrange(len(data) + 1) :]
    elif action == 4:
        data += random.randbytes(random.choice((1, 4, 40)))
    else:
        fill = random.choice((b"\0", b"\xff", None))
        size = random.choice((0, 1, len(data), 64))
        return random.randbytes(size) if fill is None else fill * size
    return bytes(data)


def _fit_lengths(packet, random):
    """Has the lengths of a packet add up to its data; else no decoder would look at that."""
    rows, data = packet[2], packet[3]
    if not isinstance(rows, list):
        return
    if not all(isinstance(row, list) and all(type(n) is int for n in row) for row in rows):
        return
    flat = [(i, j) for i, row in enumerate(rows) for j in range(len(row))]
    if not flat:
        return
    left = len(data)
    for i, j in flat:
        rows[i][j] = min(rows[i][j], left)
        left -= rows[i][j]
    i, j = random.choice(flat)
    rows[i][j] += left
