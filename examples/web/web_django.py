"""Django views of every kind on one account: `def` and `async def`, under WSGI and under ASGI, and the async ORM.

pip install fanmap django openai uvicorn
python web_django.py                                    # makes the table and two articles
OPENAI_API_KEY=... uvicorn web_django:asgi              # or: gunicorn --threads 16 web_django:wsgi
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable

import django
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.db import connection, models
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.utils.decorators import sync_and_async_middleware
from openai import AsyncOpenAI, OpenAI

from fanmap import Busy, Limits, parallel_map

MODEL = os.environ.get("MODEL", "gpt-5-mini")
DATABASE = os.environ.get("DATABASE", "articles.sqlite3")
settings.configure(
    SECRET_KEY="only for this example",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="web_django",
    MIDDLEWARE=["web_django.too_busy"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE}},
)
django.setup()

account = Limits(max_concurrency=8, max_waiting=16)
client = OpenAI(max_retries=0)  # all threads share it


class Article(models.Model):
    text = models.TextField()
    summary = models.TextField(default="")

    class Meta:
        app_label = "web_django"


@parallel_map(limits=account)
def summarise(text: str) -> str:
    return client.responses.create(model=MODEL, input=f"Summarise: {text}").output_text


@parallel_map(limits=account)
async def asummarise(aclient: AsyncOpenAI, text: str) -> str:
    return (await aclient.responses.create(model=MODEL, input=f"Summarise: {text}")).output_text


@parallel_map(limits=account)
async def fill_in(aclient: AsyncOpenAI, number: int) -> str:
    article = await Article.objects.aget(pk=number)
    article.summary = await asummarise(aclient, article.text)
    await article.asave(update_fields=["summary"])
    return article.summary


# An async client belongs to one event loop, and under WSGI each request has a loop of its own: a client for each.


async def summaries_of(texts: Iterable[str]) -> list[str]:
    async with AsyncOpenAI(max_retries=0) as aclient:
        return await asummarise.partial(aclient).amap(texts, deadline=20)


async def fill_in_all(numbers: Iterable[int]) -> list[str]:
    async with AsyncOpenAI(max_retries=0) as aclient:
        return await fill_in.partial(aclient).amap(numbers, deadline=20)


def blocking_view(request: HttpRequest) -> JsonResponse:
    return JsonResponse(summarise.map(json.loads(request.body), deadline=20), safe=False)


async def async_view(request: HttpRequest) -> JsonResponse:
    return JsonResponse(await summaries_of(json.loads(request.body)), safe=False)


def articles_view(request: HttpRequest) -> JsonResponse:
    numbers = list(Article.objects.filter(summary="").order_by("pk").values_list("pk", flat=True))
    return JsonResponse(async_to_sync(fill_in_all)(numbers), safe=False)  # fill_in.map would hang under ASGI


@sync_and_async_middleware
def too_busy(get_response):
    """`Busy` out of any view is a 503 that says when to come again."""

    async def awaiting(request: HttpRequest) -> HttpResponse:
        return await get_response(request)

    def blocking(request: HttpRequest) -> HttpResponse:
        return get_response(request)

    def process_exception(request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, Busy):
            return None
        seconds = max(1, math.ceil(error.retry_after))
        return JsonResponse({"detail": str(error)}, status=503, headers={"Retry-After": str(seconds)})

    middleware = awaiting if iscoroutinefunction(get_response) else blocking
    middleware.process_exception = process_exception
    return middleware


urlpatterns = [
    path("summaries", blocking_view),
    path("async-summaries", async_view),
    path("articles", articles_view),
]
asgi, wsgi = get_asgi_application(), get_wsgi_application()


def make_articles(*texts: str) -> None:
    if Article._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:
            editor.create_model(Article)
    Article.objects.bulk_create([Article(text=text) for text in texts])


if __name__ == "__main__":
    make_articles("a long text", "another long text")
