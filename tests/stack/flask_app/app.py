"""The bookshop on Flask and SQLAlchemy, with nothing about tracing in it: it runs under `opentelemetry-instrument`.

Beside the pages of the other bookshops it has one more loop, over few rows but two lazy relations, and one that asks a
partner who says "not now" and tells how long to wait.
"""

import hashlib
import os
import subprocess
import time

import requests
from flask import Flask, jsonify, request
from requests.adapters import HTTPAdapter
from sqlalchemy import ForeignKey, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship, sessionmaker

PARTNER = os.environ["SHOP_PARTNER_URL"]
url = os.environ["SHOP_DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
Database = sessionmaker(create_engine(url, pool_size=8, max_overflow=0))
partner = requests.Session()
partner.mount("http://", HTTPAdapter(pool_maxsize=16))
app = Flask(__name__)


class Base(DeclarativeBase):
    """What the tables share."""


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Price(Base):
    __tablename__ = "price"
    book_id: Mapped[int] = mapped_column(ForeignKey("book.id"), primary_key=True)
    note: Mapped[str]


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    author: Mapped[Author] = relationship()
    prices: Mapped[list[Price]] = relationship()


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]


@app.get("/books")
def books():
    """One statement for the books, then one for each author."""
    first = int(request.args["page"]) % 90 * 20
    with Database() as database:
        listed = database.scalars(select(Book).order_by(Book.id).offset(first).limit(20))
        return jsonify([{"title": book.title, "author": book.author.name} for book in listed])


@app.get("/shelf")
def shelf():
    """Four books, and two statements for each; the prices are slow to find."""
    first = int(request.args["page"]) % 90 * 4
    with Database() as database:
        listed = database.scalars(select(Book).order_by(Book.id).offset(first).limit(4))
        return jsonify([[book.title, book.author.name, len(book.prices)] for book in listed])


@app.get("/orders")
def orders():
    """orders.email has no index."""
    with Database() as database:
        email = f"reader{request.args['reader']}@example.org"
        return jsonify([order.id for order in database.scalars(select(Order).where(Order.email == email))])


@app.get("/quote/<int:book>")
def quote(book):
    """What a partner asks for it: the waiting is somebody else's."""
    return jsonify(partner.get(f"{PARTNER}/shipping/{book}", timeout=10).json())


@app.get("/stock/<int:book>")
def stock(book):
    """A partner who often says "not now": what he says about waiting is done."""
    for _ in range(5):
        answer = partner.get(f"{PARTNER}/limited/{book}", timeout=10)
        if answer.status_code != 429:
            break
        time.sleep(float(answer.headers["Retry-After"]))
    return jsonify(book=book, status=answer.status_code)


@app.get("/receipt/<int:book>")
def receipt(book):
    """Made by another program: no span tells of it, and nothing of this process runs meanwhile."""
    subprocess.run(["sleep", "0.12"], check=True)
    return jsonify(book=book)


@app.get("/discount/<int:book>")
def discount(book):
    """Found the slow way."""
    digest = b"%d" % book
    for _ in range(60_000):
        digest = hashlib.sha256(digest).digest()
    return jsonify(book=book, discount=digest[0])


@app.get("/book/<int:book>")
def book(book):
    """One row by its key."""
    with Database() as database:
        found = database.scalars(select(Book).options(joinedload(Book.author)).where(Book.id == book)).one()
        return jsonify(title=found.title, author=found.author.name)
