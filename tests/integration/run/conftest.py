"""The command in this process: exit status, standard output, standard error."""

from __future__ import annotations

import math
import sys

import pytest

from fanmap.__main__ import main
from fanmap._run import watching

from .tools import JOB


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    # Byte code of a job that is changed within the same second would be taken for that of the new one.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delitem(sys.modules, "job", raising=False)
    monkeypatch.setattr(watching, "_EVERY", math.inf)  # no line of a run that takes ten seconds on a busy machine
    (tmp_path / "job.py").write_text(JOB, encoding="utf-8")
    yield
    sys.modules.pop("job", None)


@pytest.fixture
def run(capsys):
    """Run the command: exit status, standard output, standard error."""

    def run(*words: str):
        try:
            status = main(["run", *words])
        except SystemExit as exit:
            status = exit.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return run
