"""Flask with SQLAlchemy under two workers of one request each, more users than that, and one page that takes long at a partner's. Nothing here
knows about tracing."""

import os

import requests
from flask import Flask, jsonify
from sqlalchemy import create_engine, text

url = os.environ["SHOP_DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
engine = create_engine(url, pool_size=2)
partner, http = os.environ["SHOP_PARTNER_URL"], requests.Session()
app = Flask(__name__)


@app.get("/quote/<int:number>")
def quote(number: int):
    return jsonify(http.get(f"{partner}/shipping/{number}", timeout=10).json())


@app.get("/book/<int:number>")
def book(number: int):
    with engine.connect() as connection:
        row = connection.execute(text("SELECT title FROM book WHERE id = :id"), {"id": number}).one()
    return jsonify(title=row[0])


@app.get("/about")
def about():
    return jsonify(open="9 to 5")
