"""Celery workers that fork: tasks on any number of workers and machines, one budget.

CELERY_BROKER_URL=redis://HOST:6379/0 FANMAP_SHARED=redis://HOST:6379/1 \
    celery -A celery_tasks worker --concurrency 4

Celery's own `rate_limit` is for each worker; this one is for all of them. A direct call waits its turn as one of a run
does.
"""

import os

from celery import Celery
from job import ask

app = Celery("celery_tasks", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_BROKER_URL"])


@app.task
def summarise(prompt: str) -> tuple[str, int]:
    return ask(prompt), os.getpid()
