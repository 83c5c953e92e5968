#!/usr/bin/env python3
"""Makes a copy of a YOLOX model for another input size, without any Python package.

    scripts/model_input_size.py models/yolox-nano.onnx 416x256 models/yolox-nano-416x256.onnx

Width and height must be multiples of 32, the largest stride. YOLOX is fully convolutional: the size it was exported
for is only written down, in four kinds of places. This script
  - sets the dimensions of the graph's input (1 x 3 x HEIGHT x WIDTH) and of its output,
  - makes the constant shape of each Reshape before the last Concat [0, C, -1] (batch as it comes, C channels, the rest),
  - drops the recorded shapes of intermediate values, which the runtime infers anew,
and copies everything else byte by byte. The decode grid follows from the input's size, so nothing else changes. The
same input gives the same output bytes; the manifest of the copy names their SHA-256, which is printed.

A wide picture (16:9, 4:3) leaves much of a square input empty: 416x256 costs 0.6 of 416x416 and finds the same people.
"""
import argparse
import hashlib
import re
import struct
import sys

# Field numbers of onnx.proto3.
MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE_INFO = 1, 5, 11, 12, 13
NODE_INPUT, NODE_OP_TYPE = 1, 4
TENSOR_DIMS, TENSOR_DATA_TYPE, TENSOR_NAME, TENSOR_RAW = 1, 2, 8, 9
VALUE_TYPE, TYPE_TENSOR, TENSOR_SHAPE, SHAPE_DIM, DIM_VALUE = 2, 1, 2, 1, 1
INT64 = 7
STRIDES = (8, 16, 32)


def varint(buffer, at):
    value = shift = 0
    while True:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def write_varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def fields(buffer):
    """Yields (number, value, raw bytes of the whole field); value is an int or bytes."""
    at = 0
    while at < len(buffer):
        start = at
        key, at = varint(buffer, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = varint(buffer, at)
        elif wire == 2:
            size, at = varint(buffer, at)
            value, at = buffer[at : at + size], at + size
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, at = buffer[at : at + size], at + size
        else:
            raise ValueError(f"wire type {wire} at byte {start}")
        if at > len(buffer):
            raise ValueError(f"a field at byte {start} is cut off")
        yield number, value, buffer[start:at]


def first(buffer, number):
    return next((value for n, value, _ in fields(buffer) if n == number), None)


def message(number, body):
    return write_varint(number << 3 | 2) + write_varint(len(body)) + body


def replaced(buffer, number, body):
    """The message with its field `number` (there must be one) set to `body`."""
    if first(buffer, number) is None:
        raise ValueError(f"field {number} is missing")
    return b"".join(message(number, body) if n == number else raw for n, _, raw in fields(buffer))


def with_dimensions(value_info, dimensions):
    shape = b"".join(message(SHAPE_DIM, bytes([DIM_VALUE << 3]) + write_varint(d)) for d in dimensions)
    kind = first(value_info, VALUE_TYPE)
    tensor = replaced(first(kind, TYPE_TENSOR), TENSOR_SHAPE, shape)
    return replaced(value_info, VALUE_TYPE, replaced(kind, TYPE_TENSOR, tensor))


def dimensions(value_info):
    shape = first(first(first(value_info, VALUE_TYPE), TYPE_TENSOR), TENSOR_SHAPE)
    return [first(dim, DIM_VALUE) for n, dim, _ in fields(shape) if n == SHAPE_DIM]


def reshape_constant(tensor):
    """The shape [1, C, n] as [0, C, -1]."""
    raw = first(tensor, TENSOR_RAW)
    if first(tensor, TENSOR_DATA_TYPE) != INT64 or raw is None or len(raw) != 24:
        raise ValueError("the shape of a Reshape is not three 64-bit integers")
    _, channels, _ = struct.unpack("<3q", raw)
    return replaced(tensor, TENSOR_RAW, struct.pack("<3q", 0, channels, -1))


def resized_graph(graph, width, height):
    nodes = [list(fields(value)) for n, value, _ in fields(graph) if n == GRAPH_NODE]
    shapes = set()
    for node in nodes:
        if any(n == NODE_OP_TYPE and value == b"Reshape" for n, value, _ in node):
            shapes.add([value for n, value, _ in node if n == NODE_INPUT][1])
    if len(shapes) != len(STRIDES):
        raise ValueError(f"{len(shapes)} Reshape nodes, a YOLOX has {len(STRIDES)}")
    rows = sum((width // s) * (height // s) for s in STRIDES)
    out, patched = [], 0
    for number, value, raw in fields(graph):
        if number == GRAPH_VALUE_INFO:
            continue
        if number == GRAPH_INITIALIZER and first(value, TENSOR_NAME) in shapes:
            raw, patched = message(number, reshape_constant(value)), patched + 1
        elif number == GRAPH_INPUT:
            raw = message(number, with_dimensions(value, [1, 3, height, width]))
        elif number == GRAPH_OUTPUT:
            raw = message(number, with_dimensions(value, [1, rows, dimensions(value)[2]]))
        out.append(raw)
    if patched != len(shapes):
        raise ValueError("the shape of a Reshape is not a constant of the graph")
    return b"".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the YOLOX .onnx to copy")
    parser.add_argument("size", help="WIDTHxHEIGHT in pixels")
    parser.add_argument("target", help="the .onnx to write")
    arguments = parser.parse_args()
    size = re.fullmatch(r"(\d+)x(\d+)", arguments.size)
    if not size or any(int(n) % 32 or not 32 <= int(n) <= 4096 for n in size.groups()):
        parser.error("the size must be WIDTHxHEIGHT, both multiples of 32 between 32 and 4096")
    width, height = map(int, size.groups())
    with open(arguments.model, "rb") as file:
        model = file.read()
    try:
        model = replaced(model, MODEL_GRAPH, resized_graph(first(model, MODEL_GRAPH), width, height))
    except (ValueError, IndexError, TypeError) as reason:
        sys.exit(f"{arguments.model}: not a YOLOX as exported by its authors: {reason}")
    with open(arguments.target, "wb") as file:
        file.write(model)
    print(f"{arguments.target}: {len(model)} bytes, SHA-256 {hashlib.sha256(model).hexdigest()}")


if __name__ == "__main__":
    main()
