"""FastAPI and httpx. A semaphore lets three calls to a partner be under way at once; no span tells that the others wait for a place.
Nothing here knows about tracing."""

import asyncio
import os
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

state = {}


@asynccontextmanager
async def lifespan(_):
    state["http"] = httpx.AsyncClient(base_url=os.environ["SHOP_PARTNER_URL"], timeout=20)
    state["places"] = asyncio.Semaphore(3)
    yield
    await state["http"].aclose()


app = FastAPI(lifespan=lifespan)


@app.get("/quote/{number}")
async def quote(number: int):
    async with state["places"]:
        partner = await state["http"].get(f"/shipping/{number}")
    return {"cents": partner.json()["cents"]}


@app.get("/about")
async def about():
    return {"open": "9 to 5"}
