"""The container: round trips, damage, versions, limits, cuts, accounting."""

from __future__ import annotations

import dataclasses
import io
import itertools
import random
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
import torch

from innvc.bitstream import header_code
from innvc.bitstream.chunks import PREAMBLE_BYTES, SIGNATURE, VERSION
from innvc.bitstream.cut import cut_file, cut_layers
from innvc.bitstream.header import (
    PIX_FMTS,
    HeaderRecord,
    Limits,
    from_ratio,
    latent_channels,
    to_ratio,
)
from innvc.bitstream.index import IndexRecord, SegmentEntry
from innvc.bitstream.reader import Reader
from innvc.bitstream.record import decode_record, encode_record
from innvc.bitstream.segment import PacketRecord, ParameterRecord, SegmentRecord
from innvc.bitstream.statistics import statistics
from innvc.bitstream.streams import StreamRecord, StreamsRecord
from innvc.bitstream.writer import Writer
from innvc.config import FieldConfig, ModelConfig, PriorConfig
from innvc.errors import CorruptError, InnvcError, InputError, LimitError, UnsupportedError
from innvc.model.lifting import split
from innvc.model.subbands import frames_of, level_of, low_counts, row_of, span_of

FIELD = FieldConfig(
    grid_size=(2, 3, 4),
    grid_channels=4,
    grid_levels=2,
    channels=(8, 8, 4),
    depths=(1, 1, 1),
    scales=(1, 2, 2),
)
MODEL = ModelConfig(
    stages=3, gop=4, groups=(32, 32, 32), layers=(1, 2), coupling=(0, 16), field=FIELD
)
HEADER = HeaderRecord(
    width=33, height=17, pix_fmt="yuv420p", frames=12, frame_rate=(30000, 1001), model=MODEL
)


def make_packet(number: int, subbands: int, layers: int = 2, scale: int = 1) -> PacketRecord:
    levels = len(low_counts(subbands))
    lengths = [[(5 * j + 3 * i) * scale for i in range(layers)] for j in range(levels)]
    data = random.Random(number).randbytes(sum(map(sum, lengths)))
    return PacketRecord(number, list(range(layers)), lengths, data, frames=subbands)


SEGMENTS = [
    SegmentRecord(0, 7, [4, 2, 1], [0, 2]),
    SegmentRecord(7, 5, [4, 1], [0]),
]


def make_file(extra: dict[int, bytes] | None = None, minor: int = VERSION[1]) -> bytes:
    """A file of two segments; ``extra`` puts a chunk of that id after the n-th chunk."""
    stream = io.BytesIO()
    writer = Writer(stream)
    place = iter(range(100))

    def put_extra() -> None:
        name = (extra or {}).get(next(place))
        if name:
            writer.write_chunk(name, b"extra")

    writer.write_header(HEADER, minor)
    put_extra()
    for segment in SEGMENTS:
        writer.begin_segment(segment)
        put_extra()
        writer.write_parameters(ParameterRecord(b"side", b"grid!", b"weights"))
        put_extra()
        for number, size in enumerate(segment.sizes):
            writer.write_packet(make_packet(number, size))
            put_extra()
    assert writer.finish() == len(stream.getvalue()) == writer.total_bytes
    return stream.getvalue()


@pytest.fixture
def save(tmp_path):
    def save_bytes(data: bytes):
        path = tmp_path / "a.innv"
        path.write_bytes(data)
        return path

    return save_bytes


def check(path, limits: Limits | None = None) -> None:
    with Reader(path, limits) as reader:
        reader.check_all()


def chunks(data: bytes) -> list[tuple[int, bytes, int]]:
    """(offset, id, length) of each chunk, by a walk that knows nothing of the index."""
    found, position = [], PREAMBLE_BYTES
    while position < len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        found.append((position, name, length))
        position += length + 12
    assert position == len(data)
    return found


def fix_crc(data: bytearray, offset: int, length: int) -> None:
    start = 0 if offset == PREAMBLE_BYTES else offset
    end = offset + 8 + length
    struct.pack_into("<I", data, end, zlib.crc32(data[start:end]))


def test_round_trip(save):
    data = make_file()
    assert [name for _, name, _ in chunks(data)] == (
        [b"HEAD"] + [b"SEGM", b"PARM"] + [b"PACK"] * 3 + [b"SEGM", b"PARM"] + [b"PACK"] * 2
    ) + [b"INDX", b"TEND"]
    with Reader(save(data)) as reader:
        assert reader.header == HEADER
        assert [reader.segment(i) for i in range(2)] == SEGMENTS
        assert reader.parameters(1) == ParameterRecord(b"side", b"grid!", b"weights")
        assert reader.packet(0, 1) == make_packet(1, 2)
        assert reader.packet(1, 0) == make_packet(0, 4)
        assert [reader.find(f) for f in (0, 3, 4, 6, 7, 11)] == [
            (0, 0), (0, 0), (0, 1), (0, 2), (1, 0), (1, 1),
        ]  # fmt: skip
        with pytest.raises(IndexError):
            reader.find(12)
        assert reader.notes == []
        assert len(list(reader.packets())) == 5
        reader.check_all()


def test_header_helpers():
    assert to_ratio(None) == (0, 0) and from_ratio((0, 0)) is None
    assert from_ratio(to_ratio(Fraction(30000, 1001))) == Fraction(30000, 1001)
    paper = ModelConfig(packing=1, stages=4)
    assert latent_channels("yuv420p", paper) == 256
    assert latent_channels("gbrp12le", ModelConfig(stages=3)) == 12 * 16


def test_pixel_formats_agree():
    from innvc.bitstream.header import packed_channels
    from innvc.video.formats import PIXEL_FORMATS

    assert set(PIX_FMTS) == set(PIXEL_FORMATS)
    for name, facts in PIXEL_FORMATS.items():
        samples = facts.frame_bytes(2, 2) // facts.dtype.itemsize
        assert packed_channels(name, 2) == samples


def test_segment_helpers():
    assert SEGMENTS[0].starts() == [0, 4, 6]
    assert [SEGMENTS[0].key_before(n) for n in range(3)] == [0, 0, 2]


def test_every_flipped_byte_is_noticed(save):
    data = make_file(extra={2: b"note"})
    check(save(data))
    for position in range(len(data)):
        for mask in (0x01, 0x20, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= mask
            with pytest.raises(InnvcError) as caught:
                check(save(bytes(damaged)))
            if position < len(SIGNATURE):
                assert isinstance(caught.value, InputError)
            elif position == len(SIGNATURE):
                assert isinstance(caught.value, UnsupportedError)
            else:
                assert isinstance(caught.value, CorruptError | LimitError), position


def test_every_truncation_and_extension_is_noticed(save):
    data = make_file()
    for size in range(len(data)):
        with pytest.raises(InputError if size < len(SIGNATURE) else CorruptError):
            check(save(data[:size]))
    with pytest.raises(CorruptError, match="after its end"):
        check(save(data + b"\n"))


def test_damage_stays_local(save):
    data = bytearray(make_file())
    offset, name, _ = chunks(bytes(data))[4]
    assert name == b"PACK"
    data[offset + 20] ^= 1
    with Reader(save(bytes(data))) as reader:
        reader.packet(0, 0)
        with pytest.raises(CorruptError, match=f"PACK chunk at byte {offset} is damaged"):
            reader.packet(0, 1)
        reader.packet(0, 2)


def test_seeking_reads_only_what_it_needs(save):
    data = bytearray(make_file())
    first = [offset for offset, name, _ in chunks(bytes(data)) if name == b"SEGM"]
    data[first[0] : first[1]] = bytes(first[1] - first[0])
    with Reader(save(bytes(data))) as reader:
        assert reader.packet(1, 1) == make_packet(1, 1)
        with pytest.raises(CorruptError):
            reader.packet(0, 0)


def test_hostile_records_raise_our_errors(save):
    """Payloads changed under a correct CRC are read as something valid or refused."""
    data = make_file()
    source = random.Random(1)
    for offset, _, length in chunks(data):
        for _ in range(150 if length else 0):
            damaged = bytearray(data)
            for _ in range(source.choice((1, 2))):
                value = source.choice(
                    (0, 0x7F, 0x80, 0xC0, 0xDD, 0xC6, 0xFF, source.randrange(256))
                )
                damaged[offset + 8 + source.randrange(length)] = value
            fix_crc(damaged, offset, length)
            try:
                check(save(bytes(damaged)))
                statistics(save(bytes(damaged)))
            except (CorruptError, UnsupportedError, LimitError):
                pass


@pytest.mark.parametrize("content", [b"", b"\x89INNV", b"YUV4MPEG2 W1 H1\nFRAME\n" * 9])
def test_other_files_are_no_input(save, content):
    with pytest.raises(InputError, match="is not an .innv file"):
        Reader(save(content))


def test_missing_file_is_no_input(tmp_path):
    for path in (tmp_path / "none.innv", tmp_path):
        with pytest.raises(InputError):
            Reader(path)


@pytest.mark.parametrize("place", range(8))
def test_unknown_ancillary_chunk_is_skipped(save, place):
    with Reader(save(make_file(extra={place: b"teXt"}))) as reader:
        reader.check_all()
        assert reader.packet(1, 1) == make_packet(1, 1)


@pytest.mark.parametrize("place", range(8))
def test_unknown_critical_chunk_is_refused_by_name(save, place):
    with pytest.raises(UnsupportedError, match="'ZOOM'"):
        check(save(make_file(extra={place: b"ZOOM"})))


def test_chunk_outside_the_index_is_refused(save):
    with pytest.raises(CorruptError, match="not in the index"):
        check(save(make_file(extra={3: b"PACK"})))


def test_versions(save):
    later = VERSION[1] + 1
    with Reader(save(make_file(minor=later))) as reader:
        reader.check_all()
        assert reader.version == (0, later)
        assert f"0.{later}" in reader.notes[0]
    earlier = header_code.FIRST_MINOR - 1
    data = make_file(minor=earlier)
    assert msgspec.msgpack.encode(HEADER) in data and len(data) > len(make_file())
    with Reader(save(data)) as reader:
        reader.check_all()
        assert reader.version == (0, earlier) and not reader.notes and reader.header == HEADER
    data = bytearray(make_file())
    data[8] = 1
    fix_crc(data, *chunks(bytes(data))[0][::2])
    with pytest.raises(UnsupportedError, match=rf"1\.{VERSION[1]},"):
        Reader(save(bytes(data)))


def test_layers_of_a_packet():
    packet = make_packet(0, 4)
    pieces = [piece for row in packet.strings(2) for piece in row]
    assert b"".join(pieces) == packet.data
    assert [len(piece) for piece in pieces] == [0, 3, 5, 8, 10, 13]
    assert packet.strings(1) == [row[:1] for row in packet.strings(2)]
    assert packet.subbands == 4 and packet.levels() == [0, 2, 1]
    earlier = PacketRecord(0, [7], [[1], [2], [3], [4]], bytes(10))
    assert earlier.subbands == 4 and earlier.levels() == [0, 2, 1, 1]
    assert list(map(len, itertools.chain.from_iterable(earlier.strings(1)))) == [1, 2, 3, 4]


def test_cut_layers():
    packet = make_packet(3, 4, layers=3)
    payload = encode_record(packet)
    for keep in range(5):
        cut = decode_record(cut_layers(payload, keep), PacketRecord, "PACK")
        assert cut.layers == min(keep, 3)
        assert cut.symbols_crc == packet.symbols_crc[:keep]
        assert cut.subbands == 4 and cut.strings(cut.layers) == packet.strings(cut.layers)
    with pytest.raises(ValueError):
        cut_layers(payload, -1)
    with pytest.raises(CorruptError):
        cut_layers(payload[:-1], 1)


def test_cut_file(save, tmp_path):
    data = make_file()
    target = io.BytesIO()
    with Reader(save(data)) as reader:
        assert cut_file(reader, target, 1) == (0, HEADER.frames)
    assert len(target.getvalue()) < len(data)
    with Reader(save(target.getvalue())) as reader:
        reader.check_all()
        assert reader.header == HEADER
        assert reader.packet(0, 0) == make_packet(0, 4).cut(1)


def test_level_of():
    assert [level_of(j, 8) for j in range(8)] == [0, 3, 2, 2, 1, 1, 1, 1]
    assert level_of(0, 1) == row_of(0, 1) == 0
    assert [row_of(j, 8) for j in range(8)] == [0, 1, 2, 2, 3, 3, 3, 3]
    assert [row_of(j, 3) for j in range(3)] == [0, 1, 1]


@pytest.mark.parametrize("group", range(1, 33))
def test_frames_of(group):
    frames = frames_of(group)
    assert sorted(frames) == list(range(group))
    for subband, frame in enumerate(frames):
        first, last = span_of(subband, group)
        assert first <= frame < last
    left = torch.arange(group)
    while len(left) > 1:
        left, turned = split(left)
        assert turned.tolist() == frames[len(left) : len(left) + len(turned)]
    assert left.tolist() == frames[:1]


def test_statistics(save):
    data = make_file(extra={0: b"teXt"})
    result = statistics(save(data))
    assert (result.side_bytes, result.grid_bytes, result.weights_bytes) == (8, 10, 14)
    packets = [make_packet(n, s) for segment in SEGMENTS for n, s in enumerate(segment.sizes)]
    assert result.latent_bytes == sum(len(packet.data) for packet in packets)
    assert result.latent_by_layer == [
        sum(row[layer] for packet in packets for row in packet.lengths) for layer in range(2)
    ]
    assert len(result.latent_by_level) == 3
    assert result.latent_by_level[1] == 2 * (10 + 13) + (5 + 8)
    kinds = dataclasses.asdict(result)
    total, latent, segments = (kinds.pop(n) for n in ("total_bytes", "latent", "segments"))
    assert [(s["side"], s["grid"], s["weights"]) for s in segments] == [(4, 5, 7)] * 2
    parts = [packet for segment in segments for packet in segment["packets"]]
    assert [part["key"] for part in parts] == [True, False, True, True, False]
    for part, packet in zip(parts, packets, strict=True):
        assert part["latent_by_layer"] == [sum(c) for c in zip(*packet.lengths, strict=True)]
        low, *details = map(sum, packet.lengths)
        assert part["latent_by_level"] == [low, *reversed(details)]
    assert total == len(data) == sum(kinds.values()) + sum(map(sum, latent))
    assert result.header_bytes == len(header_code.deflated(msgspec.msgpack.encode(HEADER)))


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (lambda record: b"", CorruptError),
        (lambda record: record, CorruptError),
        (lambda record: header_code.deflated(record)[:-1], CorruptError),
        (lambda record: header_code.deflated(record) + b"\0", CorruptError),
        (lambda record: zlib.compress(record), CorruptError),
        (lambda record: header_code.deflated(record[:-1]), CorruptError),
        (lambda record: header_code.deflated(bytes(1 << 24)), LimitError),
    ],
)
def test_headers_that_do_not_inflate(save, payload, error):
    start = make_file()[:10]
    coded = payload(msgspec.msgpack.encode(HEADER))
    head = b"HEAD" + struct.pack("<I", len(coded)) + coded
    crc = struct.pack("<I", zlib.crc32(start + head))
    rest = make_file()[chunks(make_file())[1][0] :]
    with pytest.raises(error, match="HEAD"):
        Reader(save(start + head + crc + rest))
    later = start[:9] + bytes([VERSION[1] + 1])
    crc = struct.pack("<I", zlib.crc32(later + head))
    with pytest.raises(UnsupportedError if error is CorruptError else error):
        Reader(save(later + head + crc + rest))


def test_writer_counts_agree_with_statistics(save):
    stream = io.BytesIO()
    writer = Writer(stream)
    writer.write_header(HEADER)
    writer.write_streams(StreamsRecord([StreamRecord("audio", "aac", "")], 0, "mov", b"12345"))
    for segment in SEGMENTS:
        writer.begin_segment(segment)
        writer.write_parameters(ParameterRecord(b"1", b"22", b"333"))
        for number, size in enumerate(segment.sizes):
            writer.write_packet(make_packet(number, size))
    writer.finish()
    result = statistics(save(stream.getvalue()))
    assert writer.counts == {
        "header": result.header_bytes,
        "container": result.container_bytes,
        "streams": result.streams_bytes,
        "side": 2,
        "grid": 4,
        "weights": 6,
        "latent": result.latent_bytes,
    }


@pytest.mark.parametrize(
    "limits",
    [
        Limits(dimension=32),
        Limits(frame_samples=33 * 17),
        Limits(frames=11),
        Limits(parameters=100),
        Limits(header_bytes=8),
        Limits(record_bytes=8),
        Limits(chunk_bytes=8),
    ],
)
def test_limits(save, limits):
    with pytest.raises(LimitError):
        check(save(make_file()), limits)


def test_default_limits_refuse_a_huge_frame():
    big = ModelConfig(stages=1, groups=(12,), layers=(1,))
    header = HeaderRecord(width=65535, height=65535, pix_fmt="gbrp", frames=1, model=big)
    with pytest.raises(LimitError, match="samples"):
        header.check_limits(Limits())


def replace_model(**changes: object) -> HeaderRecord:
    return msgspec.structs.replace(HEADER, model=msgspec.structs.replace(MODEL, **changes))


def replace_field(**changes: object) -> HeaderRecord:
    return replace_model(field=msgspec.structs.replace(FIELD, **changes))


@pytest.mark.parametrize(
    "header, reason",
    [
        (msgspec.structs.replace(HEADER, width=0), "Expected `int` >= 1"),
        (msgspec.structs.replace(HEADER, height=65536), "Expected `int` <= 65535"),
        (msgspec.structs.replace(HEADER, frame_rate=(25, 0)), "frame_rate"),
        (msgspec.structs.replace(HEADER, lambda_=float("inf")), "not finite"),
        (msgspec.structs.replace(HEADER, lambda_=float("nan")), "lambda|float"),
        (msgspec.structs.replace(HEADER, rotation=45), "Invalid enum value"),
        (msgspec.structs.replace(HEADER, pix_fmt="yuv444p"), "groups sum"),
        (replace_model(groups=(32, 32)), "groups sum"),
        (replace_model(layers=(1, 1)), "layers sum"),
        (replace_model(coupling=(1,)), "coupling"),
        (replace_model(base="other"), "Invalid enum value"),
        (replace_field(depths=(1,)), "differ in length"),
        (replace_field(channels=(), depths=(), scales=()), "no stage"),
    ],
)
def test_invalid_headers_are_refused(header, reason):
    with pytest.raises(ValueError, match=reason):
        encode_record(header)
    with pytest.raises(CorruptError, match=reason):
        decode_record(msgspec.msgpack.encode(header), HeaderRecord, "HEAD")


def test_unknown_pixel_format_is_unsupported():
    header = msgspec.structs.replace(HEADER, pix_fmt="nv12")
    with pytest.raises(UnsupportedError, match="nv12"):
        decode_record(msgspec.msgpack.encode(header), HeaderRecord, "HEAD")


@pytest.mark.parametrize(
    "record, reason",
    [
        (SegmentRecord(0, 6, [4], [0]), "add up"),
        (SegmentRecord(0, 5, [4, 1], [1]), "keys"),
        (SegmentRecord(0, 5, [4, 1], [0, 0]), "keys"),
        (SegmentRecord(0, 5, [4, 1], [0, 2]), "keys"),
        (SegmentRecord(0, 5, [4, 1], [0], [1, 2]), "time stamps"),
        (SegmentRecord(0, 33, [33], [0]), "<= 32"),
        (PacketRecord(0, [1], [[1], [1, 0]], b"ab"), "differ"),
        (PacketRecord(0, [1], [[1], [1]], b"abc"), "add up"),
        (PacketRecord(0, [1], [[1], [1]], b"ab", frames=4), "levels"),
        (PacketRecord(0, [1], [[1], [1]], b"ab", frames=33), "<= 32"),
    ],
)
def test_invalid_records_are_refused(record, reason):
    with pytest.raises(CorruptError, match=reason):
        decode_record(msgspec.msgpack.encode(record), type(record), "SEGM")


def test_time_stamps(save):
    header = msgspec.structs.replace(HEADER, frames=2)
    segment = SegmentRecord(0, 2, [2], [0], [-5, 1 << 40])
    with pytest.raises(ValueError, match="time base"):
        writer = Writer(io.BytesIO())
        writer.write_header(header)
        writer.begin_segment(segment)
    stream = io.BytesIO()
    writer = Writer(stream)
    writer.write_header(msgspec.structs.replace(header, time_base=(1, 90000)))
    writer.begin_segment(segment)
    writer.write_parameters(ParameterRecord())
    writer.write_packet(make_packet(0, 2))
    writer.finish()
    with Reader(save(stream.getvalue())) as reader:
        assert reader.segment(0).pts == [-5, 1 << 40]


def test_writer_refuses_a_wrong_order():
    writer = Writer(io.BytesIO())
    with pytest.raises(ValueError):
        writer.begin_segment(SEGMENTS[0])
    writer.write_header(HEADER)
    with pytest.raises(ValueError):
        writer.write_header(HEADER)
    with pytest.raises(ValueError):
        writer.begin_segment(SEGMENTS[1])
    writer.begin_segment(SEGMENTS[0])
    with pytest.raises(ValueError):
        writer.write_packet(make_packet(0, 4))
    writer.write_parameters(ParameterRecord())
    for wrong in (make_packet(1, 4), make_packet(0, 2), make_packet(0, 4, layers=3)):
        with pytest.raises(ValueError):
            writer.write_packet(wrong)
    with pytest.raises(ValueError):
        writer.finish()


def test_imports_stay_light():
    code = (
        "import sys, innvc.bitstream.cut, innvc.bitstream.statistics; "
        "print([m for m in ('torch', 'numpy', 'numba', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_format_document_lists_the_fields():
    """The tables of docs/format.md name the fields of each record in their order."""
    text = (Path(__file__).parents[1] / "docs" / "format.md").read_text("utf-8")
    tables = []
    for block in text.split("| field | type | content |\n|---|---|---|\n")[1:]:
        rows = itertools.takewhile(lambda line: line.startswith("|"), block.splitlines())
        tables.append([row.split("|")[1].strip() for row in rows])
    records = [HeaderRecord, ModelConfig, FieldConfig, PriorConfig, StreamsRecord, StreamRecord]
    records += [SegmentRecord, ParameterRecord, PacketRecord, IndexRecord, SegmentEntry]
    assert tables == [list(record.__struct_fields__) for record in records]
