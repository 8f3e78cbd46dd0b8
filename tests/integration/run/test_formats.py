"""`fanmap run`: which format is read and written, and how a row comes out of it."""

from __future__ import annotations

import json

import pytest

from .tools import got, put, records, rows


def test_lines_in_json_lines_out_in_order_to_standard_output(run):
    status, out, _ = run("job:ask", put("in.txt", "b\n\na \r\nä\u2028ö"))
    assert status == 0
    assert [(row["input"], row["answer"], row["error"]) for row in rows(out)] == [
        ("b", "<b>", None),
        ("a ", "<a >", None),
        ("ä\u2028ö", "<ä\u2028ö>", None),
    ]


def test_json_lines_keep_their_fields_and_their_order(run):
    line = {"id": 7, "prompt": "ä", "more": {"deep": [1.5, None, True]}}
    status, out, _ = run("job:ask", put("in.jsonl", json.dumps(line) + "\n"))
    assert (status, rows(out)) == (0, [{**line, "answer": "<ä>", "error": None}])
    assert list(rows(out)[0]) == ["id", "prompt", "more", "answer", "error"]
    assert "ä" in out


def test_json_values_are_the_one_argument(run):
    status, out, _ = run("job:ask", put("in.jsonl", '3\n"a"\n[1, 2]\nnull\n'))
    assert status == 0
    assert [(row["input"], row["answer"]) for row in rows(out)] == [
        (3, "<3>"), ("a", "<a>"), ([1, 2], "<[1, 2]>"), (None, "<None>")
    ]  # fmt: skip


def test_csv_in_and_out_with_newlines_quotes_and_commas(run):
    text = 'id,prompt\r\n1,"two\nlines, ""quoted"""\r\n2,plain\r\n'
    assert run("job:ask", put("in.csv", text), "-o", "out.csv")[0] == 0
    assert records(got("out.csv")) == [
        ["id", "prompt", "answer", "error"],
        ["1", 'two\nlines, "quoted"', '<two\nlines, "quoted">', ""],
        ["2", "plain", "<plain>", ""],
    ]


def test_a_carriage_return_in_an_answer_comes_back_from_csv(run):
    run("job:ask", put("in.jsonl", '{"prompt": "a\\rb"}\n'), "-o", "out.csv")
    assert records(got("out.csv"))[1] == ["a\rb", "<a\rb>", ""]


def test_a_csv_field_may_be_longer_than_the_csv_module_allows(run):
    long = "x" * 200_000
    assert run("job:ask", put("in.csv", f"prompt\n{long}\n"), "-o", "out.jsonl")[0] == 0
    assert rows(got("out.jsonl"))[0]["answer"] == f"<{long}>"


@pytest.mark.parametrize(
    ("name", "text"), [("in.txt", "a\n"), ("in.csv", "prompt\na\n"), ("in.jsonl", '{"prompt": "a"}\n')]
)
def test_a_byte_order_mark_is_no_part_of_the_text(run, name, text):
    status, out, _ = run("job:ask", put(name, b"\xef\xbb\xbf" + text.encode()))
    assert (status, rows(out)[0]["answer"]) == (0, "<a>")


@pytest.mark.parametrize(
    ("name", "text", "written"),
    [
        ("in.txt", "", "input,answer,error\n"),
        ("in.txt", "\n \n", "input,answer,error\n"),
        ("in.csv", "id,prompt\n", "id,prompt,answer,error\n"),
        ("in.jsonl", "", "answer,error\n"),
    ],
)
def test_no_rows_are_an_output_without_rows(run, name, text, written):
    status, _, said = run("job:ask", put(name, text), "-o", "out.csv")
    assert (status, got("out.csv")) == (0, written)
    assert "0 answered, 0 resumed, 0 failed\n" in said


def test_formats_can_be_said(run):
    status, out, _ = run(
        "job:ask", put("in.data", '{"prompt": "a"}\n'), "--input-format", "jsonl", "--output-format", "csv"
    )
    assert (status, out) == (0, "prompt,answer,error\na,<a>,\n")


def test_a_csv_has_the_columns_of_all_rows_and_what_is_no_text_as_json(run):
    put("in.jsonl", '{"prompt": "a", "x": [1]}\n{"prompt": "b", "y": null, "z": 1.5}\n')
    assert run("job:two", "in.jsonl", "-o", "out.csv")[0] == 0
    assert records(got("out.csv")) == [
        ["prompt", "x", "y", "z", "answer", "error"],
        ["a", "[1]", "", "", '["a", "small", ""]', ""],
        ["b", "", "", "1.5", '["b", "small", ""]', ""],
    ]


def test_half_a_surrogate_pair_is_written_escaped(run):
    status, out, _ = run("job:ask", put("in.jsonl", '{"prompt": "\\ud800"}\n'))
    assert (status, rows(out)[0]["answer"]) == (0, "<\ud800>")
    assert run("job:ask", "in.jsonl", "--output-format", "csv")[1].splitlines()[1] == "\\ud800,<\\ud800>,"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_text_with_a_byte_order_mark_is_read_as_it_says(run, encoding, end):
    text = f'id,prompt{end}1,"two{end}lines: 上海 \U0001f600"{end}'
    put("in.csv", text.encode(encoding))
    put("plain.csv", text)
    assert run("job:ask", "in.csv")[:2] == run("job:ask", "plain.csv")[:2]


def test_big_endian_too(run):
    put("in.jsonl", b"\xfe\xff" + '{"prompt": "a"}\n"b"\n'.encode("utf-16-be"))
    assert [row["answer"] for row in rows(run("job:ask", "in.jsonl")[1])] == ["<a>", "<b>"]


def test_a_mark_within_where_files_were_put_together(run):
    put("in.txt", "\ufeffa\n".encode() * 2)
    assert [row["answer"] for row in rows(run("job:ask", "in.txt")[1])] == ["<a>", "<a>"]
    put("in.jsonl", '\ufeff"a"\n'.encode() * 2)
    assert [row["answer"] for row in rows(run("job:ask", "in.jsonl")[1])] == ["<a>", "<a>"]


@pytest.mark.parametrize(
    ("name", "out", "words", "written"),
    [
        ("in.tsv", "out.tsv", [], "id\tprompt\tanswer\terror\n1\ta\t<a>\t\n"),
        ("in.tsv", "out.csv", [], "id,prompt,answer,error\n1,a,<a>,\n"),
        ("in.tsv", "out.csv", ["--delimiter", "tab"], "id\tprompt\tanswer\terror\n1\ta\t<a>\t\n"),
        ("in.tsv", "out.jsonl", [], '{"id": "1", "prompt": "a", "answer": "<a>", "error": null}\n'),
        ("in.jsonl", "out.csv", ["--delimiter", ";"], "id;prompt;answer;error\n1;a;<a>;\n"),
        ("in.jsonl", "out.tsv", [], "id\tprompt\tanswer\terror\n1\ta\t<a>\t\n"),
    ],
)
def test_the_delimiter_is_that_of_the_name_or_the_one_that_is_said(run, name, out, words, written):
    put("in.tsv", "id\tprompt\n1\ta\n")
    put("in.jsonl", '{"id": "1", "prompt": "a"}\n')
    status, _, said = run("job:ask", name, "-o", out, *words)
    assert (status, got(out)) == (0, written), said


def test_rows_of_empty_cells_are_left_out_and_counted_aloud(run):
    put("in.csv", '\n,,\nid,prompt,x\n1,a,\n,,\n" ",\t,\n\n,\n2,b,\n,,\n')
    status, out, said = run("job:ask", "in.csv")
    assert (status, [row["answer"] for row in rows(out)]) == (0, ["<a>", "<b>"])
    assert "fanmap: 7 empty rows left out (the first is line 1); the header is line 3\n2 answered" in said
    assert "empty" not in run("job:ask", "in.csv", "--quiet")[2]


def test_a_first_line_of_empty_cells_makes_the_next_one_the_header_and_says_so(run):
    put("in.csv", ",\nhello,there\n")
    status, _, said = run("job:ask", "in.csv")
    assert status == 0
    assert "fanmap: 1 empty row left out (line 1); the header is line 2\n0 answered" in said


@pytest.mark.parametrize(("name", "text"), [("in.txt", "a\n   \n"), ("in.jsonl", '{"prompt": "a"}\n\t\n')])
def test_lines_of_spaces_are_left_out_and_counted_aloud(run, name, text):
    assert "fanmap: 1 empty row left out (line 2)\n1 answered" in run("job:ask", put(name, text))[2]


def test_answers_and_errors_that_a_spreadsheet_would_run_are_quoted_on_request(run):
    put(
        "job.py",
        "def ask(prompt):\n    if prompt == 'bad': raise type('=SUM(1)', (Exception,), {})\n    return eval(prompt)\n",
    )
    answers = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "plain", "'=", " =1"]
    put(
        "in.jsonl",
        "".join(json.dumps({"prompt": repr(answer)}) + "\n" for answer in [*answers, -5, ["=1"]]) + '"bad"\n',
    )
    run("job:ask", "in.jsonl", "-o", "out.csv")
    plain = [record[2:] for record in records(got("out.csv"))[1:]]
    assert [answer for answer, _ in plain[: len(answers)]] == answers
    run("job:ask", "in.jsonl", "-o", "safe.csv", "--safe-csv")
    safe = [record[2:] for record in records(got("safe.csv"))[1:]]
    assert [answer for answer, _ in safe] == [*(f"'{one}" for one in answers[:7]), *answers[7:], "-5", '["=1"]', ""]
    assert safe[-1][1] == "'=SUM(1)"
