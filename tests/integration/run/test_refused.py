"""`fanmap run`: wrong usage is refused before any call, in one line that says what to write."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from .tools import calls, is_one_line, put


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        (["job.py:ask", "in.txt"], "a", "MODULE:FUNCTION is required, got 'job.py:ask': write job:ask"),
        (["sub/job.py:ask", "in.txt"], "a", "write sub.job:ask"),
        ([os.path.join(os.getcwd(), "no such/job.py:ask"), "in.txt"], "a", "write job:ask, with PYTHONPATH='"),
        (["../jobs/job.py:ask", "in.txt"], "a", "/jobs in front of the command"),
        (["./../jobs/job.py:ask", "in.txt"], "a", "/jobs in front of the command"),
        (["my-job.py:ask", "in.txt"], "a", "no module has a '-' in its name, got 'my-job.py:ask': rename it, and write my_job:ask"),
        (["my-job", "in.txt"], "a", "rename it, and write my_job:FUNCTION"),
        ([".job:ask", "in.txt"], "a", "MODULE:FUNCTION is required, got '.job:ask': write job:ask"),
        (["job", "in.txt"], "a", "write job:FUNCTION"),
        ([":ask", "in.txt"], "a", "write job:ask"),
        (["jab:ask", "in.txt"], "a", "there is no module jab in "),
        (["job:aks", "in.txt"], "a", "job has no aks: did you mean ask?"),
        (["job:number", "in.txt"], "a", "job:number is not a function, it is an int"),
        (["job:ask", "none.txt"], "a", "none.txt cannot be read: No such file"),
        (["job:ask", "."], "a", ". is a directory"),
        (["job:ask", "in.csv"], "a,b\n1,2\n", "no field has the name of a parameter: ask takes (prompt); the fields are 'a', 'b'; use --map"),
        (["job:two", "in.csv"], "model,note\n1,2\n", "in.csv, line 2: missing a required argument: 'prompt': two takes "),
        (["job:options", "in.csv"], "a\n1\n", "no field has the name of a parameter"),
        (["job:only", "in.txt"], "a", "a line or a value is one argument"),
        (["job:ask", "in.csv", "--map", "x=prompt"], "a\n1\n", "line 2: --map: there is no field 'x'"),
        (["job:ask", "in.csv", "--map", "a=x"], "a\n1\n", "--map: ask has no parameter x, takes (prompt)"),
        (["job:ask", "in.csv", "--map", "a=prompt", "--map", "b=prompt"], "a,b\n1,2\n", "--map names an argument twice"),
        (["job:ask", "in.csv", "--map", "a"], "a\n1\n", "must be FIELD=ARGUMENT"),
        (["job:ask", "in.csv"], "prompt,answer\n1,2\n", "the input already has a field 'answer': use --answer-field NAME"),
        (["job:ask", "in.jsonl"], '{"prompt": 1, "error": 2}', "the input already has a field 'error': use --error-field NAME"),
        (["job:ask", "in.txt", "--answer-field", "error"], "a", "--answer-field and --error-field are both 'error'"),
        (["job:ask", "in.txt", "-o", "."], "a", ". cannot be written: it is a directory"),
        (["job:ask", "in.txt", "-o", "none/out"], "a", "none/out cannot be written: there is no directory "),
        (["job:ask", "in.txt", "-o", "out", "--resume", "x", "--no-resume"], "a", "--resume and --no-resume cannot be combined"),
        (["job:ask", "in.txt", "--function-version", "2"], "a", "--function-version needs a journal"),
        (["job:ask", "in.txt", "--durable"], "a", "--durable needs a journal"),
        (["job:ask", "in.txt", "--max-concurrency", "many"], "a", "must be a whole number above 0 or auto, got 'many'"),
        (["job:ask", "in.txt", "--retry", "0"], "a", "must be a whole number above 0 or off, got '0'"),
        (["job:ask", "in.txt", "--limit", "0"], "a", "must be a whole number above 0, got '0'"),
        (["job:ask", "in.txt", "--tpm", "auto"], "a", "decorate the function with @parallel_map(tpm=\"auto\")"),
        (["job:ask", "in.txt", "--rpm", "nan"], "a", "must be a number above 0, got 'nan'"),
        (["job:ask", "in.txt", "--rpm", "0.5"], "a", "fanmap: "),
        (["job:ask", "in.txt", "--max-wait", "0"], "a", "must be a number above 0, got '0'"),
        (["job:ask", "in.txt", "-o", "out", "--resume", "taken"], "a", "taken is not a fanmap journal: give --resume a path of its own"),
        (["job:ask", "in.txt", "-o", "out", "--resume", "it's \"taken\""], "a", "is not a fanmap journal: give --resume a path of its own"),
        (["job:ask", "in.txt", "--delimiter", ";"], "a", "--delimiter is only for CSV: use --input-format csv or --output-format csv"),
        (["job:ask", "in.csv", "--delimiter", ";;"], "prompt\na\n", "must be one character that separates cells, or tab, got ';;'"),
        (["job:ask", "in.csv", "--delimiter", '"'], "prompt\na\n", "must be one character that separates cells, or tab"),
        (["job:ask", "in.csv", "--delimiter", ""], "prompt\na\n", "must be one character that separates cells, or tab"),
        (["job:ask", "in.txt", "--safe-csv"], "a", "--safe-csv is only for CSV: use --output-format csv"),
        (["job:ask", "in.txt", "-o", "out.json"], "a", "out.json: .json files cannot be written: write out.jsonl; jq -s . makes one array of it (or use --output-format)"),
        (["job:ask", "in.txt", "-o", "out.xlsx"], "a", "out.xlsx: .xlsx files cannot be written: write out.csv, which spreadsheet programs open"),
        (["job:ask", "in.txt", "-o", "out.parquet"], "a", "write out.jsonl and convert it"),
        (["job:ask", "in.txt", "-o", "out.xlsm"], "a", "out.xlsm: .xlsm files cannot be written: write out.csv, which spreadsheet programs open"),
        (["job:ask", "in.txt", "-o", "out.feather"], "a", "write out.jsonl and convert it"),
        (["job:ask", "in.txt", "-o", "out.jsonl.zst"], "a", "write out.jsonl and compress it"),
        (["job:ask", "in.txt", "-o", "out.csv.gz"], "a", "write out.csv and compress it"),
        (["job:ask"], "", "the following arguments are required: INPUT (try: fanmap run --help)"),
        (["job:ask", "in.txt", "--concurrency", "5"], "a", "unrecognized arguments: --concurrency 5: did you mean --max-concurrency? (try: fanmap run --help)"),
        (["in.csv", "job:ask"], "a", "MODULE:FUNCTION comes before INPUT, got 'in.csv': write fanmap run job:FUNCTION in.csv"),
        (["job:ask", "in.txt", "--rate", "5"], "a", "unrecognized arguments: --rate 5: did you mean --rpm? (try: fanmap run --help)"),
        (["job:ask", "in.txt", "--model", "large"], "a", "unrecognized arguments: --model large (try: fanmap run --help)"),
        (["job:ask", "in.txt", "--progress"], "a", "unrecognized arguments: --progress (try: fanmap run --help)"),
        (["job:ask", "in.txt", "-j", "5"], "a", "unrecognized arguments: -j 5: did you mean --max-concurrency? (try: fanmap run --help)"),
        (["job:ask", "in.txt", "--workers=5"], "a", "unrecognized arguments: --workers=5: did you mean --max-concurrency? (try: fanmap run --help)"),
        (["job:ask", "in.txt", "--frobnicate"], "a", "unrecognized arguments: --frobnicate (try: fanmap run --help)"),
        (["job:ask", "in.txt", "more.txt"], "a", "unrecognized arguments: more.txt (try: fanmap run --help)"),
        (["job:ask", "in.txt", "--max", "5"], "a", "ambiguous option: --max "),
    ],
)  # fmt: skip
def test_bad_use_is_one_line_and_nothing_is_called(run, words, text, said):
    for name in words[1:2]:
        if name.startswith("in."):
            put(name, text)
    for name in ("taken", 'it\'s "taken"'):
        put(name, "something else\n")
    status, out, error = run(*words)
    assert (status, out) == (2, "")
    assert is_one_line(error), error
    assert said in error
    assert "job" not in sys.modules or not calls()
    assert not list(Path().glob("out*"))


def test_the_path_of_a_module_below_this_directory_is_its_name(run):
    Path("sub").mkdir()
    status, _, error = run(os.path.abspath("sub/job.py") + ":ask", "in.txt")
    assert (status, "write sub.job:ask\n" in error) == (2, True)


def test_a_module_that_fails_shows_its_traceback_from_its_own_lines_on(run):
    put("job.py", "import json\n\njson.loads('{')\n")
    status, _, said = run("job:ask", put("in.txt", "a"))
    assert (status, said.splitlines()[-1]) == (2, "fanmap: importing job failed, as shown above")
    assert said.splitlines()[1].endswith('job.py", line 3, in <module>')
    put("other.py", "import job_that_is_not_there")
    status, _, said = run("other:ask", "in.txt")
    assert (status, "No module named 'job_that_is_not_there'" in said) == (2, True)


def test_a_module_that_ends_the_program_is_told_so(run):
    put("job.py", "import sys\nsys.exit(0)\n")
    status, _, said = run("job:ask", put("in.txt", "a"))
    assert (status, is_one_line(said), "if __name__ == '__main__'" in said) == (2, True, True)


def test_a_wrong_word_of_another_command_points_to_that_one(capsys):
    from fanmap.__main__ import main

    with pytest.raises(SystemExit):
        main(["demo", "--scal", "1", "--frobnicate"])
    assert capsys.readouterr().err == "fanmap: unrecognized arguments: --frobnicate (try: fanmap demo --help)\n"
    with pytest.raises(SystemExit):
        main(["--frobnicate"])
    assert capsys.readouterr().err == "fanmap: unrecognized arguments: --frobnicate (try: fanmap --help)\n"
