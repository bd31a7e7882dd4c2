"""Ways in which recordings are damaged, joined and disguised; every one is drawn from a seed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from audio_bases import Base

Random: TypeAlias = np.random.Generator
Mutation: TypeAlias = Callable[[Base, Sequence[Base], Random], bytes]

ID3V1 = b"TAG" + bytes(125)
ID3V2 = b"ID3\x04\0\0\0\0\x10\0" + bytes(2_048)
LENGTHS = (0, 1, 100, 0x7FFF_FFFF, 0xFFFF_FFFF)


def _inside(data: bytes, random: Random, length: int) -> tuple[int, int]:
    start = int(random.integers(0, max(1, len(data) - length)))
    return start, min(len(data), start + length)


def _some_length(random: Random, highest: int = 6_000) -> int:
    """Return a length in bytes, small ones as often as large ones."""
    return int(np.exp(random.uniform(np.log(8), np.log(highest))))


def _untouched(base: Base, _bases: Sequence[Base], _random: Random) -> bytes:
    return base.data


def _cut_end(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    return base.data[: max(1, int(len(base.data) * random.uniform(0.02, 0.99)))]


def _cut_last_bytes(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    return base.data[: -int(random.integers(1, 64))] or base.data


def _cut_start(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    return base.data[int(len(base.data) * random.uniform(0.0, 0.9)) :]


def _flip_byte(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    data = bytearray(base.data)
    data[int(random.integers(len(data)))] ^= int(random.integers(1, 256))
    return bytes(data)


def _flip_bits(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    data = bytearray(base.data)
    for index in random.integers(len(data), size=20):
        data[int(index)] ^= 1 << int(random.integers(8))
    return bytes(data)


def _flip_in_header(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    data = bytearray(base.data)
    data[int(random.integers(min(128, len(data))))] ^= int(random.integers(1, 256))
    return bytes(data)


def _zeros_inside(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    start, end = _inside(base.data, random, _some_length(random))
    return base.data[:start] + bytes(end - start) + base.data[end:]


def _rubbish_inside(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    start, end = _inside(base.data, random, _some_length(random))
    return base.data[:start] + random.bytes(end - start) + base.data[end:]


def _insert_zeros(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    start, _ = _inside(base.data, random, 0)
    return base.data[:start] + bytes(_some_length(random)) + base.data[start:]


def _insert_rubbish(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    start, _ = _inside(base.data, random, 0)
    return base.data[:start] + random.bytes(_some_length(random)) + base.data[start:]


def _delete_inside(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    start, end = _inside(base.data, random, _some_length(random))
    return base.data[:start] + base.data[end:] or base.data


def _repeat_inside(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    start, end = _inside(base.data, random, _some_length(random))
    return base.data[:end] + base.data[start:]


def _exchange_inside(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    first, middle, last = sorted(int(index) for index in random.integers(len(base.data), size=3))
    data = base.data
    return data[:first] + data[middle:last] + data[first:middle] + data[last:]


def _zeros_before(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    return bytes(_some_length(random, 100_000)) + base.data


def _rubbish_before(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    return random.bytes(_some_length(random, 100_000)) + base.data


def _zeros_after(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    return base.data + bytes(_some_length(random, 20_000))


def _rubbish_after(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    return base.data + random.bytes(_some_length(random, 20_000))


def _tag_before(base: Base, _bases: Sequence[Base], _random: Random) -> bytes:
    return ID3V2 + base.data


def _tag_after(base: Base, _bases: Sequence[Base], _random: Random) -> bytes:
    return base.data + ID3V1


def _join_itself(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    return base.data * int(random.integers(2, 5))


def _join_same_container(base: Base, bases: Sequence[Base], random: Random) -> bytes:
    others = [other for other in bases if other.container == base.container]
    return base.data + others[int(random.integers(len(others)))].data


def _join_any(base: Base, bases: Sequence[Base], random: Random) -> bytes:
    return base.data + bases[int(random.integers(len(bases)))].data


def _exchange_header(base: Base, bases: Sequence[Base], random: Random) -> bytes:
    others = [other for other in bases if other.container == base.container]
    other = others[int(random.integers(len(others)))]
    length = int(random.integers(4, 200))
    return other.data[:length] + base.data[length:]


def _wrong_length(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    data = bytearray(base.data)
    offset = int(random.integers(min(64, len(data) // 4))) * 2
    order = "<" if random.random() < 0.5 else ">"
    choices = (*LENGTHS, len(data) // 2, len(data) * 2)
    value = choices[int(random.integers(len(choices)))]
    struct.pack_into(order + "I", data, min(offset, len(data) - 4), value)
    return bytes(data)


def _header_alone(base: Base, _bases: Sequence[Base], random: Random) -> bytes:
    return base.data[: int(random.integers(1, 300))]


MUTATIONS: dict[str, Mutation] = {
    "untouched": _untouched,
    "cut_end": _cut_end,
    "cut_last_bytes": _cut_last_bytes,
    "cut_start": _cut_start,
    "flip_byte": _flip_byte,
    "flip_bits": _flip_bits,
    "flip_in_header": _flip_in_header,
    "zeros_inside": _zeros_inside,
    "rubbish_inside": _rubbish_inside,
    "insert_zeros": _insert_zeros,
    "insert_rubbish": _insert_rubbish,
    "delete_inside": _delete_inside,
    "repeat_inside": _repeat_inside,
    "exchange_inside": _exchange_inside,
    "zeros_before": _zeros_before,
    "rubbish_before": _rubbish_before,
    "zeros_after": _zeros_after,
    "rubbish_after": _rubbish_after,
    "tag_before": _tag_before,
    "tag_after": _tag_after,
    "join_itself": _join_itself,
    "join_same_container": _join_same_container,
    "join_any": _join_any,
    "exchange_header": _exchange_header,
    "wrong_length": _wrong_length,
    "header_alone": _header_alone,
}


def mutated(bases: Sequence[Base], seed: int, index: int) -> tuple[Base, str, bytes]:
    """Return the base, the name of the mutation and the bytes of an input.

    Untouched files come first, one of each base, and then all pairs of base and mutation in an
    order that the seed decides.
    """
    names = list(MUTATIONS)
    if index < len(bases):
        base, name = bases[index], "untouched"
    else:
        pairs = len(bases) * (len(names) - 1)
        lap, position = divmod(index - len(bases), pairs)
        order = np.random.default_rng([seed, lap]).permutation(pairs)
        base_index, name_index = divmod(int(order[position]), len(names) - 1)
        base, name = bases[base_index], names[1 + name_index]
    return base, name, MUTATIONS[name](base, bases, np.random.default_rng([seed, index]))
