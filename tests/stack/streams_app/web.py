"""A WebSocket chat and streams of events, plain FastAPI: `opentelemetry-instrument` alone traces it. What the service saw
is at /seen."""

import asyncio
import json
from collections import Counter

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

app = FastAPI()
SEEN: Counter = Counter()


@app.websocket("/chat")
async def chat(socket: WebSocket):
    SEEN["chats"] += 1
    if "traceparent" in socket.headers:
        SEEN["chats_traced"] += 1
    offered = [name.strip() for name in socket.headers.get("sec-websocket-protocol", "").split(",") if name.strip()]
    await socket.accept(subprotocol=offered[0] if offered else None)
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                SEEN[f"closed_{message.get('code')}"] += 1
                return
            SEEN["messages"] += 1
            if message.get("bytes") is not None:
                await socket.send_bytes(message["bytes"])
                continue
            text = message["text"]
            if text == "bye":
                await socket.close(code=4001, reason="enough")
                return
            await asyncio.sleep(0.01)
            await socket.send_text(json.dumps({"type": "echo", "text": text}))
    except WebSocketDisconnect as gone:
        SEEN[f"closed_{gone.code}"] += 1


@app.get("/events")
async def events(request: Request, count: int = 5):
    SEEN["streams"] += 1
    SEEN["streams_traced"] += "traceparent" in request.headers

    async def stream():
        yield ": welcome\n\n"
        for n in range(count):
            await asyncio.sleep(0.01)
            yield f"event: price\nid: {n}\ndata: {json.dumps({'value': n})}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.post("/answer")
async def answer(request: Request):
    question = (await request.json())["question"]

    async def stream():
        for word in question.split():
            await asyncio.sleep(0.005)
            yield f"data: {json.dumps({'word': word})}\n\n"
        yield "data: [DONE]\n\n"
        # A client that has heard the last word hangs up; nobody waits for this.
        await asyncio.sleep(30)

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.get("/seen")
async def seen():
    return SEEN
