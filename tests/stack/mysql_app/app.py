"""A word list on MariaDB that knows nothing about tracing: Flask and PyMySQL, a connection for each thread.

/word/WORD looks for a column without an index, /entry/ID goes by the primary key, /common/LETTER finds much of the table, so that
no index would help, and /hit/ID holds a lock on one row while it works.
"""

import os
import threading
import time
from urllib.parse import unquote, urlsplit

import flask
import pymysql

app = flask.Flask(__name__)
where = urlsplit(os.environ["SHOP_DATABASE_URL"])
local = threading.local()


def connection():
    if not hasattr(local, "connection"):
        local.connection = pymysql.connect(
            host=where.hostname, port=where.port, user=where.username, password=unquote(where.password), database=where.path.strip("/"), autocommit=True
        )
    return local.connection


def rows(statement, *data):
    with connection().cursor() as cursor:
        cursor.execute(statement, data)
        return flask.jsonify([list(row) for row in cursor.fetchall()])


@app.get("/word/<word>")
def word(word):
    return rows("SELECT e.id, e.meaning FROM entry AS e WHERE e.word = %s ORDER BY e.id LIMIT 20", word)


@app.get("/entry/<int:entry>")
def entry(entry):
    return rows("SELECT meaning FROM entry WHERE id = %s", entry)


@app.get("/common/<letter>")
def common(letter):
    return rows("SELECT COUNT(*) FROM entry WHERE letter = %s", letter)


@app.get("/hit/<int:entry>")
def hit(entry):
    database = connection()
    database.begin()
    with database.cursor() as cursor:
        cursor.execute("UPDATE hits SET n = n + 1 WHERE id = %s", (entry,))
        time.sleep(0.02)
    database.commit()
    return "ok"
