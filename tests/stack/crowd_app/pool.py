"""FastAPI, psycopg's asynchronous pool of two connections, httpx. One page keeps a connection while it asks a partner; no span tells
that the others wait for one. Nothing here knows about tracing."""

import os
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from psycopg_pool import AsyncConnectionPool

state = {}


@asynccontextmanager
async def lifespan(_):
    pool = AsyncConnectionPool(os.environ["SHOP_DATABASE_URL"], min_size=2, max_size=2, open=False)
    await pool.open()
    state["http"] = httpx.AsyncClient(base_url=os.environ["SHOP_PARTNER_URL"], timeout=20)
    state["pool"] = pool
    yield
    await pool.close()


app = FastAPI(lifespan=lifespan)


async def one(connection, statement: str, number: int):
    return await (await connection.execute(statement, (number,))).fetchone()


@app.get("/label/{number}")
async def label(number: int):
    async with state["pool"].connection() as connection:
        row = await one(connection, "SELECT title FROM book WHERE id = %s", number)
        partner = await state["http"].get(f"/shipping/{number}")
    return {"title": row[0], "cents": partner.json()["cents"]}


@app.get("/book/{number}")
async def book(number: int):
    async with state["pool"].connection() as connection:
        row = await one(connection, "SELECT title, author_id FROM book WHERE id = %s", number)
    return {"title": row[0], "author": row[1]}


@app.get("/writer/{number}")
async def writer(number: int):
    async with state["pool"].connection() as connection:
        row = await one(connection, "SELECT name FROM author WHERE id = %s", number)
    return {"name": row[0]}


@app.get("/about")
async def about():
    return {"open": "9 to 5"}
