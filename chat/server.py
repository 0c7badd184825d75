"""
Serve a checkpoint over HTTP in the shape of OpenAI's API, and one page to talk to it.

    python chat/server.py --checkpoint out/tinyworld/model          # then open http://127.0.0.1:8000
    curl 127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\
         -d '{"messages": [{"role": "user", "content": "What is 48 / 2?"}]}'

    GET  /                       the page (chat/page.html)
    POST /v1/chat/completions    messages, stream, stream_options.include_usage, temperature, top_p,
                                 max_tokens or max_completion_tokens, stop, seed; other fields are ignored
    GET  /v1/models  /health

Beyond OpenAI's fields: `tool_events` on a message or delta, [{"type": "call" | "result", "text", "at"}],
at = characters of `content` before it; a message sent back with them reads to the model as it was
written. `dropped_messages` counts the oldest messages that no longer fit into the context. `lesson` names the lesson
that answered (continual/live.md), if one did; what is taught while the server runs serves from the next request on.

Left out on purpose: n > 1, logprobs, the client's own tools, API keys, more than one model.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import asyncio
import contextlib
import errno
import json
import secrets
import socket
import time
from pathlib import Path
from typing import Annotated, Literal

try:
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.concurrency import run_in_threadpool
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
    from pydantic import BaseModel, Field
    from starlette.exceptions import HTTPException
except ImportError as error:
    sys.exit(f"the server needs {error.name}. Get it: {sys.executable} -m pip install fastapi uvicorn")

from chat import session
from chat.worker import load
from continual.versions import StoreError
from gpt.engine import Sampling

PAGE = Path(__file__).with_name("page.html")
POLICY = ("default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
          "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")


# ----------------------------------------------------------------------------
# the shape of a request

class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class ToolEvent(BaseModel):
    type: Literal["call", "result"]
    name: str | None = None        # the tool of a call; the calculator where none is named
    text: str
    at: int = Field(ge=0)          # characters of content before it


class Message(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: str | list[TextPart]
    tool_events: list[ToolEvent] = []

    def plain(self):
        """The message as bpe/template.py wants it. Only the assistant has tool events."""
        text = self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)
        if self.role != "assistant":
            return {"role": self.role, "content": text}
        events = [event.model_dump(exclude_none=True) for event in self.tool_events]
        return {"role": self.role, "content": session.merge(text, events)}


Stop = Annotated[str, Field(min_length=1, max_length=100)]


class StreamOptions(BaseModel):
    include_usage: bool = False


class Body(BaseModel):
    messages: list[Message] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    seed: int | None = Field(None, ge=-2**63, lt=2**63)
    n: Literal[1] | None = 1

    def stops(self):
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


# ----------------------------------------------------------------------------
# errors, all in OpenAI's form

def failure(status, message, param=None, code=None):
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return JSONResponse({"error": error}, status)


class Limit:
    """ASGI middleware: a body longer than `most` bytes is answered 413 as soon as it is."""

    def __init__(self, app, most):
        self.app, self.most = app, most

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self.most:
                reply = failure(413, f"the body is larger than {self.most:,} bytes", code="body_too_large")
                return await reply(scope, receive, send)
        whole = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def again():
            return whole.pop() if whole else await receive()
        await self.app(scope, again, send)


def catch(app):
    @app.exception_handler(RequestValidationError)
    def shape(request, error):
        first = error.errors()[0]
        steps = first["loc"][1:] if first["type"] != "json_invalid" else ()
        where = ".".join(map(str, steps)) or "body"
        return failure(422, f"{where}: {first['msg']}", param=where)

    @app.exception_handler(HTTPException)
    def other(request, error):
        return failure(error.status_code, str(error.detail))


# ----------------------------------------------------------------------------
# answers

async def listen(worker, ids, **options):
    """The events of one answer, brought into this event loop. Whoever stops listening frees the slot."""
    loop, events = asyncio.get_running_loop(), asyncio.Queue()

    def deliver(event):
        if not loop.is_closed():
            loop.call_soon_threadsafe(events.put_nowait, event)

    answer = worker.ask(ids, deliver, **options)
    try:
        event = {"type": "begin"}
        while event["type"] != "end":
            event = await events.get()
            yield event
    finally:
        worker.cancel(answer)


def taught(worker, messages):
    """(messages as they are put to the model, the lesson that answers or None): what it has been taught by now"""
    worker.refresh()
    return worker.served.put(messages) if worker.served else (messages, None)


def usage(prompt, made):
    return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}


async def whole(request, events, frame, prompt, dropped):
    """All of an answer in one response."""
    parts = []
    async with contextlib.aclosing(events):
        async for event in events:
            parts.append(event)
            if await request.is_disconnected():
                break
    end = parts.pop()
    if end.get("reason") == "error":
        return failure(500, "the engine failed, see the server's log")
    text, tool_events = session.split(parts)
    message = {"role": "assistant", "content": text, "tool_events": tool_events}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": end.get("reason")}
    return {**frame, "object": "chat.completion", "choices": [choice],
            "usage": usage(prompt, end.get("tokens", 0)), "dropped_messages": dropped}


async def pieces(events, frame, prompt, dropped, with_usage):
    """An answer as server-sent events, a chunk each, "[DONE]" last."""
    def sse(data):
        return f"data: {json.dumps(data)}\n\n"

    def chunk(delta, finish=None, **more):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse({**frame, "object": "chat.completion.chunk", "choices": [choice], **more})

    at = 0
    yield chunk({"role": "assistant", "content": ""}, dropped_messages=dropped)
    async with contextlib.aclosing(events):
        async for event in events:
            if event["type"] == "text":
                at += len(event["text"])
                yield chunk({"content": event["text"]})
            elif event["type"] != "end":
                yield chunk({"tool_events": [{**event, "at": at}]})
            elif event["reason"] == "error":
                yield sse({"error": {"message": "the engine failed, see the server's log", "type": "server_error"}})
            else:
                yield chunk({}, event["reason"])
    if with_usage:
        yield sse({**frame, "object": "chat.completion.chunk", "choices": [],
                   "usage": usage(prompt, event["tokens"])})
    yield "data: [DONE]\n\n"


def create(worker, about, *, temperature=0.7, top_p=0.9, limit=256 * 1024):
    """
    The application around a running Worker.

    about: {"model": its name, "hash": of its checkpoint, "parameters": how many}
    temperature, top_p: where a request names none;  limit: bytes of a request's body
    """
    app = FastAPI(title="chat", docs_url=None, redoc_url=None)
    app.add_middleware(Limit, most=limit)
    catch(app)
    started = int(time.time())

    @app.get("/", include_in_schema=False)
    def page():
        return HTMLResponse(PAGE.read_text("utf-8"), headers={"Content-Security-Policy": POLICY})

    @app.get("/health")
    def health():
        if not worker.is_alive():
            return failure(503, "the engine has stopped, see the server's log")
        return {"status": "ok", **about, "context": worker.context, "slots": worker.slots,
                "active": len(worker.active)}

    @app.get("/v1/models")
    def models():
        model = {"id": about["model"], "object": "model", "created": started, "owned_by": "local"}
        return {"object": "list", "data": [model]}

    @app.post("/v1/chat/completions")
    async def complete(body: Body, request: Request):
        longest = body.max_completion_tokens or body.max_tokens or worker.context
        messages = [message.plain() for message in body.messages]
        try:
            messages, lesson = await run_in_threadpool(taught, worker, messages)
            ids, dropped = await run_in_threadpool(session.fit, messages, worker.tokenizer, worker.room(longest))
        except session.TooLong as error:
            return failure(400, str(error), "messages", "context_length_exceeded")
        except ValueError as error:
            return failure(422, str(error), "messages")
        sampling = Sampling(temperature=temperature if body.temperature is None else body.temperature,
                            top_p=top_p if body.top_p is None else body.top_p)
        events = listen(worker, ids, max_new=longest, sampling=sampling, adapter=lesson,
                        seed=secrets.randbits(63) if body.seed is None else body.seed, stop=body.stops())
        frame = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": about["model"],
                 "system_fingerprint": f"fp_{about['hash'][:12]}", "lesson": lesson}
        if not body.stream:
            return await whole(request, events, frame, len(ids), dropped)
        with_usage = bool(body.stream_options and body.stream_options.include_usage)
        return StreamingResponse(pieces(events, frame, len(ids), dropped, with_usage), media_type="text/event-stream",
                                 headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    return app


# ----------------------------------------------------------------------------

def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", type=Path, default=Path("out/tinyworld/model"), help="[%(default)s]")
    p.add_argument("--live", type=Path, help="folder of what it is taught [live, beside the checkpoint]")
    p.add_argument("--host", default="127.0.0.1", help="address to listen on, 0.0.0.0 for all [%(default)s]")
    p.add_argument("--port", type=int, default=8000, help="0 takes a free one [%(default)s]")
    p.add_argument("--temperature", type=float, default=0.7, help="where a request names none [%(default)s]")
    p.add_argument("--top-p", type=float, default=0.9, help="where a request names none [%(default)s]")
    p.add_argument("--slots", type=int, default=16, help="answers that advance together [%(default)s]")
    p.add_argument("--threads", type=int, help="CPU threads [torch's choice]")
    return p.parse_args(argv)


def listen_on(host, port):
    """A listening socket, taken before the model is loaded; exits with the way out where it cannot be had."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        other = port + 1 if 0 < port < 65535 else 8000
        sys.exit(f"cannot listen on {host}:{port}: {'it is in use' if taken else error}. "
                 f"Choose another: python chat/server.py --port {other}")


def main(argv=None):
    args = parse(argv)
    listening = listen_on(args.host, args.port)
    try:
        worker, about = load(args.checkpoint, args.slots, args.threads, args.live or args.checkpoint.parent / "live")
    except StoreError as error:                              # the model was made anew: it serves without them
        print(error, file=sys.stderr)
        worker, about = load(args.checkpoint, args.slots, args.threads)
    app = create(worker, about, temperature=args.temperature, top_p=args.top_p)
    host, port = listening.getsockname()[:2]
    print(f"{about['model']}: http://{host}:{port}  (Ctrl-C stops)", flush=True)
    with contextlib.suppress(KeyboardInterrupt):    # uvicorn raises it again once all answers are finished
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
    worker.close()


if __name__ == "__main__":
    main()
