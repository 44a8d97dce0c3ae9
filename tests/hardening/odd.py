"""Odd specs, data files, checkpoints and addresses, as many as are asked for, the same ones for the same seed."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.tiny_run import examples, write_spec

DEEP = "[" * 5000 + "]" * 5000
DIGITS = "9" * 6000
ODD_YAML = (
    "!!int abc", "!!timestamp nope", "!!float x", "!!binary '%'", "!!python/object/apply:os.system [x]", "!!set {a}",
    "!!omap [a]", "!!bool 7", DIGITS, "-" + DIGITS, f"1e{DIGITS}", ".inf", "-.inf", ".nan", "1" + "0" * 40, "-1", "0",
    "1e-400", "1e308", "9223372036854775807", "2147483648", "16777217", "0x" + "f" * 5000, "1:2:3:4", "2026-01-01",
    DEEP, "{" * 3000, '"\\0"', '"a\\0b"', '"\\ud800"', "'" + "x" * 300_000 + "'", "~", "", "[]", "{}", "[~]",
    "true", "*x",
    "&x [*x]", "&a [*a, *a]", '""', "' '", "/dev/zero", "/dev/stdin", "/", "..", "~nobody/x", "fifo", "'\\'", '"\\n"',
    "? [a, b]\n: c", "<<: 1", "!<tag:yaml.org,2002:int> 1_", "0o9", "[1, 2", "a: b: c", "\t- 1", "%YAML 9.9",
    "---\n---",
    "é" * 5000, "\u202e", '"\\U0010FFFF"', "1_000_000_000_000", "!!null x", "!!str", "!!seq {}", "!!map []",
    "|2-\n x",
)  # fmt: skip


def specs(folder: Path, n: int, seed: int = 0) -> Iterator[tuple[str, Path]]:
    """A name and a spec file, each with one odd value somewhere, or nothing but that."""
    path = write_spec(folder)
    base = yaml.safe_load(path.read_text()) | {
        "note": "x", "seed": 1, "target": {"name": "gpt2--step-0000", "path": "first", "step": 0},
        "patching": {"examples": 4}, "other_model": {"name": "gpt2--other", "path": "second"},
    }  # fmt: skip
    base["explainers"] |= {"kinds": ["ridge"], "steps": 2, "width": 4, "penalties": [1.0]}
    if not (folder / "fifo").exists():
        os.mkfifo(folder / "fifo")
    draw, odd = random.Random(seed), folder / "odd.yaml"
    places = list(_places(base))
    for i in range(n):
        value = ODD_YAML[i % len(ODD_YAML)]
        place = None if draw.random() < 0.1 else draw.choice(places)
        odd.write_text(value if place is None else _with(base, place, value))
        yield f"{'.'.join(map(str, place or ()))}: {value[:40]!r}", odd


def _places(data: Any, at: tuple = ()) -> Iterator[tuple]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*at, key)
        yield from _places(value, (*at, key))


def _with(base: dict, place: tuple, value: str) -> str:
    """The spec as text with `value` written at a place."""
    data = copy.deepcopy(base)
    inner: Any = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = "PLACE"
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=10**6).replace("PLACE", value)


ODD_JSON: tuple[str, ...] = (
    '"\\ud800"', '"\\udc00x"', "1e400", "-1e400", DIGITS, "NaN", "Infinity", "1", "0", "-1", '"1"', "1.5",
    "true", "null",
    "[]", "{}", DEEP, '"\\u0000"', '""', '" "', '"' + "x" * 100_000 + '"', '"é"', '"e\\u0301"', '"\\ud83d\\ude00"',
    "[[0, 1e400]]", "[[-1, 5]]", "[[1, 0]]", "[[0, 3], 7]", '[["0", "1"]]', "[[0.5, 1]]", f"[[0, {DIGITS}]]",
    '{"a": {"b": [1]}}', '{"": 1}', '{"a": 1e400}', '{"\\ud800": 1}', f'{{"a": {DIGITS}}}', '"train"', '"nowhere"',
    '"=1+1"', '"<script>"', '"\\r\\n"', '"\\u2028"', '{"a": "\\u0000"}', '{"' + "k" * 3000 + '": 1}', '"../../x"',
)  # fmt: skip
FIELDS = (*"prompt edited edit answer_a answer_b split group cue entity metadata spans edited_spans extra".split(),)
LINE = examples(1)
ODD_BYTES: dict[str, bytes] = {
    "empty": b"", "blank": b"\n \n", "NUL": b"\0" * 4096, "not UTF-8": b'{"prompt": "\xff"}\n',
    "BOM twice": b"\xef\xbb\xbf" * 2,
    "deep": DEEP.encode(), "open": b"[" * 100_000, "number": DIGITS.encode(), "1e400": b"1e400", "text": b'"x"',
    "gzip": b"\x1f\x8b\x08\0", "parquet head": b"PAR1" + b"\0" * 40, "zip": b"PK\x03\x04",
    "UTF-16": "x".encode("utf-16"),
    "CSV": b"prompt,edited\n1,2\n", "long": b"x" * 9_000_000, "cut": json.dumps(LINE[0]).encode()[:-9],
    "two": b"{}{}",
}  # fmt: skip


def data_files(folder: Path, n: int, seed: int = 0) -> Iterator[tuple[str, Path]]:
    """A name and a file of examples: odd bytes, rows that are too few or all alike, or one odd value in a row."""
    path = folder / "odd.jsonl"

    def lines(rows: list[dict]) -> bytes:
        return "".join(json.dumps(row) + "\n" for row in rows).encode()

    cases = dict(ODD_BYTES)
    for name in ("group", "split", "cue", "entity", "edit", "answer_a"):
        for value in ("one", "train", "test_heldout", "validation"):
            cases[f"all in {name} {value}"] = lines([row | {name: value} for row in LINE])
    for few in (1, 2, 3, 5):
        cases[f"{few} rows"] = lines(LINE[:few])
    without = [{k: v for k, v in row.items() if k not in ("group", "split")} for row in LINE]
    cases |= {"no groups": lines(without), "one group, no split": lines([row | {"group": "x"} for row in without])}
    cases |= {"twice": lines(LINE + LINE), "one prompt": lines([row | {"prompt": LINE[0]["prompt"]} for row in LINE])}
    draw = random.Random(seed)
    while len(cases) < n:
        value, at = ODD_JSON[len(cases) % len(ODD_JSON)], draw.randrange(len(LINE))
        field, everywhere = draw.choice(FIELDS), draw.random() < 0.3
        rows = [
            json.dumps(row | {field: "PLACE"}).replace('"PLACE"', value) if everywhere or i == at else json.dumps(row)
            for i, row in enumerate(LINE)
        ]
        cases[f"{field}{' everywhere' if everywhere else ''} = {value[:40]} ({at})"] = "\n".join(rows).encode()
    for name, raw in list(cases.items())[:n]:
        path.write_bytes(raw)
        yield name, path


ODD_CONFIG: tuple[Any, ...] = (
    "x", "", None, [], {}, -1, 0, 1, 3, 10**8, 10**9, 10**12, 2**63, 10**30, 1.5, -0.5, 1e308, True, False, [1,
    2], {"a": 1},
    "\ud800", "\0", "x" * 10_000, float("inf"), float("nan"),
)  # fmt: skip
CONFIG = (
    "n_layer n_embd n_head n_positions n_inner vocab_size model_type architectures activation_function "
    "layer_norm_epsilon "
    "torch_dtype dtype tie_word_embeddings bos_token_id eos_token_id pad_token_id attn_pdrop initializer_range "
    "num_hidden_layers hidden_size auto_map quantization_config is_encoder_decoder scale_attn_weights "
    "transformers_version"
).split()
ODD_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "generation_config.json")


def checkpoints(folder: Path, sound: Path, n: int, seed: int = 0) -> Iterator[tuple[str, Path]]:
    """A name and a folder of a model: one odd value in its config, weights that are no numbers, or a spoilt file."""
    draw, odd = random.Random(seed), folder / "odd-model"
    for i in range(n):
        shutil.rmtree(odd, ignore_errors=True)
        shutil.copytree(sound, odd)
        how = ("config", "config", "config", "file", "weights")[i % 5]
        if how == "config":
            key, value = draw.choice(CONFIG), ODD_CONFIG[i % len(ODD_CONFIG)]
            about = json.loads((odd / "config.json").read_text()) | {key: value}
            (odd / "config.json").write_text(json.dumps(about))
            name = f"{key} = {str(value)[:40]!r}"
        elif how == "file":
            name = _spoilt(odd / draw.choice(ODD_FILES), draw)
        else:
            name = _other_weights(odd / "model.safetensors", draw)
        yield name, odd


def _spoilt(file: Path, draw: random.Random) -> str:
    raw, how = file.read_bytes(), draw.choice(("gone", "cut", "empty", "deep", "flip", "folder", "fifo"))
    file.unlink()
    if how == "folder":
        file.mkdir()
    elif how == "fifo":
        os.mkfifo(file)
    elif how != "gone":
        at = draw.randrange(min(len(raw), 2000))
        changed = {"cut": raw[:at], "empty": b"", "deep": DEEP.encode()}
        file.write_bytes(changed.get(how, raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]))
    return f"{file.name}: {how}"


def _other_weights(file: Path, draw: random.Random) -> str:
    weights = load_file(file)
    key = draw.choice(sorted(weights))
    how = draw.choice(("nan", "inf", "one nan", "huge", "int", "shape", "gone", "empty", "double", "zeros"))
    w = weights[key]
    if how == "gone":
        del weights[key]
    elif how == "one nan":
        w.view(-1)[draw.randrange(w.numel())] = float("nan")
    else:
        weights[key] = {
            "nan": w * float("nan"), "inf": w + float("inf"), "huge": w + 3e38, "int": w.to(torch.int32),
            "shape": w.reshape(-1).clone(), "empty": w[:0].clone(), "double": w.double(), "zeros": w * 0,
        }[how]  # fmt: skip
    save_file(weights, file, {"format": "pt"})
    return f"weight {key}: {how}"
