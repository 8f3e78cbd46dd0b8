"""`fanmap run`: an input that cannot be read as it is meant costs nothing, and the line to write is said."""

from __future__ import annotations

import gzip
import io
import sys
import zipfile

import pytest

from fanmap._run import csv_in

from .tools import calls, is_one_line, put, rows


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a", "b")
    return file.getvalue()


SEMICOLON = "';' seems to separate the columns: use --delimiter ';', or put the header in double quotes if it is one"
ARRAY = "the input is one JSON array: `jq -c '.[]'` writes its members one per line"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        # JSON in another layout
        ("in.jsonl", '{"prompt": 1}\n{"prompt": ', "in.jsonl, line 2: not JSON: "),
        ("in.jsonl", '{"prompt": 1}\n{"prompt": 1, "prompt": 2}\n', "in.jsonl, line 2: the key 'prompt' is there twice: which of its values counts?"),
        ("in.jsonl", '{"prompt": [{"a": 1, "b": 2, "a": 1}]}\n', "in.jsonl, line 1: the key 'a' is there twice"),
        ("in.jsonl", '[{"prompt": "a"}, {"prompt": "b"}]', f"in.jsonl, line 1: {ARRAY}"),
        ("in.jsonl", '\n[{"prompt": "a"}]\n\n', f"in.jsonl, line 2: {ARRAY}"),
        ("in.jsonl", "[]", ARRAY),
        ("in.jsonl", '["a", "b"]\n', 'to pass an array as one argument, write {"NAME": [...]}'),
        ("in.jsonl", '[\n  {"prompt": "a"},\n  {"prompt": "b"}\n]\n', "line 1: not JSON: Expecting value (column 2): does a value span several lines? `jq -c '.[]'` writes its members one per line"),
        ("in.jsonl", '[{"prompt": "a"},\n{"prompt": "b"}]\n', "does a value span several lines? `jq -c '.[]'`"),
        ("in.jsonl", '{\n  "prompt": "a"\n}\n', "does a value span several lines? `jq -c .` writes one value per line"),
        ("in.jsonl", '{"prompt": "a"}{"prompt": "b"}\n', "line 1: not JSON: Extra data (column 16): several values on one line; `jq -c .` writes one value per line"),
        ("in.jsonl", '{"prompt": "a"} {"prompt": "b"}\n', "several values on one line; `jq -c .`"),
        ("in.jsonl", '[{"prompt": "a"}][{"prompt": "b"}]\n', "several values on one line; `jq -c '.[]'` writes its members one per line"),
        ("in.jsonl", '{"prompt": "a"},\n{"prompt": "b"}\n', "line 1: not JSON: Extra data (column 16): remove the comma after the value"),
        ("in.jsonl", "[" * 100_000, "in.jsonl, line 1: nested more than 100 levels deep"),
        ("in.jsonl", "[" * 101 + "]" * 101 + "\n1\n", "nested more than 100 levels deep"),
        ("in.jsonl", "1" * 5000, "in.jsonl, line 1: not JSON: Exceeds the limit"),
        ("in.jsonl", "{'prompt': 1}", "in.jsonl, line 1: not JSON: Expecting property name"),
        # CSV
        ("in.csv", "prompt,b\n1,2\n\n1,2,3\n", "in.csv, line 4: 3 columns, but the header has 2"),
        ("in.csv", "a,b,a\n", "in.csv, line 1: two columns with the name 'a'"),
        ("in.csv", "prompt,,\n1,2,3\n", "in.csv, line 1: 2 columns without a name: name them, or remove them"),
        ("in.csv", 'prompt\n"a\n', "in.csv, line 2: not CSV: unexpected end of data"),
        ("in.csv", "prompt,b\ra,b\r", "in.csv, line 1: not CSV: a carriage return in an unquoted cell; `tr '\\r' '\\n'` fixes"),
        ("in.csv", "id;prompt\n1;a\n", f"in.csv, line 1: {SEMICOLON}"),
        ("in.csv", '"id";"prompt"\n"1";"a"\n', SEMICOLON),
        ("in.csv", "\n \nid;prompt\n1;a\n", f"in.csv, line 3: {SEMICOLON}"),
        ("in.csv", "id\tprompt\n1\ta\n", "tab seems to separate the columns: use --delimiter tab"),
        ("in.csv", "id|prompt\n1|a\n", "'|' seems to separate the columns: use --delimiter '|'"),
        ("in.csv", "sep=;\nid;prompt\n1;a\n", "in.csv, line 1: its cells are separated by ';': use --delimiter ';'"),
        ("in.csv", "sep=\t\nid\tprompt\n1\ta\n", "use --delimiter tab"),
        ("in.tsv", "id,prompt\n1,a\n", "',' seems to separate the columns: use --delimiter ','"),
        # Text that is none, or in another encoding
        ("in.txt", b"a\nb\xff\n", "in.txt, line 2: not UTF-8 (byte 2 of the line): if it comes from Windows it may be CP1252, which `iconv -f CP1252 -t UTF-8` converts"),
        ("in.txt", b"a\n\0\n", "in.txt, line 2: a NUL character: this is not text"),
        ("in.txt", "a\rb\rc\r", "in.txt, line 1: a carriage return in the line; `tr '\\r' '\\n'` fixes"),
        ("in.txt", "ab\ncd\n".encode("utf-16-le"), "in.txt, line 1: UTF-16 without a byte-order mark: `iconv -f UTF-16LE -t UTF-8` converts it"),
        ("in.txt", b"one\0two\n", "in.txt, line 1: a NUL character: this is not text"),
        ("in.csv", "prompt\ncd\n".encode("utf-16-be"), "in.csv, line 1: UTF-16 without a byte-order mark: `iconv -f UTF-16BE -t UTF-8` converts it"),
        ("in.txt", "日本語\n中文\n".encode("utf-16-le"), "in.txt, line 1: UTF-16 without a byte-order mark: `iconv -f UTF-16LE -t UTF-8` converts it"),
        ("in.txt", "一二三\n上海\n".encode("utf-16-le"), "in.txt, line 1: UTF-16 without a byte-order mark: `iconv -f UTF-16LE -t UTF-8` converts it"),
        ("in.txt", "日本語\n中文\n".encode("utf-16-be"), "in.txt, line 1: UTF-16 without a byte-order mark: `iconv -f UTF-16BE -t UTF-8` converts it"),
        ("in.jsonl", ('{"prompt": "' + "日本語は" * 40 + '"}\n').encode("utf-16-le"), "in.jsonl, line 1: UTF-16 without a byte-order mark: `iconv -f UTF-16LE -t UTF-8` converts it"),
        ("in.jsonl", ('{"prompt": "' + "上海一" * 4000 + '"}\n').encode("utf-16-be"), "in.jsonl, line 1: UTF-16 without a byte-order mark: `iconv -f UTF-16BE -t UTF-8` converts it"),
        ("in.txt", "\N{GRINNING FACE}\u00e9t\u00e9\n".encode("utf-16-le"), "in.txt, line 1: UTF-16 without a byte-order mark: `iconv -f UTF-16LE -t UTF-8` converts it"),
        ("in.txt", b"\x7fELF\1\1\1\0\0\0\0\0", "in.txt, line 1: a NUL character"),
        ("in.txt", b"caf\xe9\nth\xe9\n", "in.txt, line 1: not UTF-8 (byte 4 of the line)"),
        ("in.txt", "a\nb".encode("utf-16")[:-1], "in.txt, line 2: not UTF-16, as its byte-order mark says"),
        ("in.txt", "a\n\0b\n".encode("utf-16"), "in.txt, line 2: a NUL character"),
        ("in.csv", gzip.compress(b"prompt\na\n", mtime=0), "in.csv, line 1: it is compressed with gzip: gunzip -c FILE | fanmap run ... -"),
        ("in.csv", archive(), "in.csv, line 1: it is a zip archive, or a spreadsheet: save that as CSV"),
        ("in.txt", b"PAR1\0\0", "in.txt, line 1: it is a Parquet file: convert it to JSONL"),
        # Names that say another format
        ("in.json", "[]", "in.json: .json files cannot be read: write one JSON value per line: jq -c '.[]' in.json > in.jsonl (or use --input-format)"),
        ("in.xlsx", "a", 'in.xlsx: .xlsx files cannot be read: save it as CSV in the spreadsheet program, or: python -c \'import pandas; pandas.read_excel("in.xlsx").to_csv("in.csv", index=False)\''),
        ("in.parquet", "a", 'convert it: python -c \'import pandas; pandas.read_parquet("in.parquet").to_json("in.jsonl", orient="records", lines=True)\''),
        ("in.csv.gz", "a", "gunzip -c in.csv.gz | fanmap run ... - --input-format csv"),
        ("in.zip", "a", "in.zip: .zip files cannot be read: unpack it first"),
    ],
)  # fmt: skip
def test_it_is_one_line_and_nothing_is_called(run, name, text, said):
    status, out, error = run("job:ask", put(name, text))
    assert (status, out) == (2, "")
    assert is_one_line(error), error
    assert said in error
    assert "job" not in sys.modules or not calls()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id;prompt\r\n1;a\r\n", ["--delimiter", ";"]),
        ("sep=;\r\nid;prompt\r\n1;a\r\n", ["--delimiter", ";"]),
        ("\ufeffsep=;\r\nid;prompt\r\n1;a\r\n", ["--delimiter", ";"]),
        ("id\tprompt\n1\ta\n", ["--delimiter", "tab"]),
        ("id\tprompt\n1\ta\n", ["--delimiter", "\\t"]),
        ("sep=,\nid,prompt\n1,a\n", []),
        ('"id";"prompt"\n"1";"a"\n', ["--delimiter", ";"]),
        ('"prompt; please"\na\n', []),
    ],
)
def test_the_cure_for_another_delimiter_works(run, text, words):
    status, out, said = run("job:ask", put("in.csv", text), *words)
    assert (status, rows(out)[0]["answer"]) == (0, "<a>"), said


def test_arrays_are_arguments_where_there_are_several(run):
    status, out, _ = run("job:ask", put("in.jsonl", "\n[1, 2]\n \n[3]\n"))
    assert (status, [row["answer"] for row in rows(out)]) == (0, ["<[1, 2]>", "<[3]>"])
    assert run("job:ask", put("in.jsonl", "[1]\n2\n"), "--limit", "1")[0] == 0


def test_a_header_is_compared_with_itself_once_however_wide_it_is():
    """Each cell with each other took twenty seconds for twenty thousand columns, before the first call."""

    class Cell(str):
        compared = 0

        __hash__ = str.__hash__

        def __eq__(self, other):
            Cell.compared += 1
            return str.__eq__(self, other)

    csv_in._check_header([Cell(n) for n in range(1000)], [], ",", "in.csv", 1)
    assert Cell.compared < 10_000
