"""`fanmap run`: a long input is read as it is needed."""

from __future__ import annotations

import pytest

from fanmap._run import job as job_module

from .tools import got, put, rows


@pytest.mark.whole
def test_a_long_input_is_read_as_it_is_needed(run, monkeypatch):
    most = 0
    hear = job_module.Report.hear

    def heard(self, row, error):
        nonlocal most
        most = max(most, len(jobs[0]._rows.taken))
        return hear(self, row, error)

    jobs = []
    made = job_module.Job.__init__
    monkeypatch.setattr(job_module.Job, "__init__", lambda self, *rest: (jobs.append(self), made(self, *rest))[1])
    monkeypatch.setattr(job_module.Report, "hear", heard)
    put("in.txt", "".join(f"{n}\n" for n in range(3000)))
    assert run("job:ask", "in.txt", "-o", "out.jsonl")[0] == 0
    assert len(rows(got("out.jsonl"))) == 3000
    assert most <= 8 * 8
