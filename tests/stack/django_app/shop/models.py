"""Tables of the bookshop, as the ORM sees them; `apps_schema.sql` makes them."""

from django.db import models


class Author(models.Model):
    name = models.TextField()

    class Meta:
        db_table = "author"
        managed = False


class Book(models.Model):
    title = models.TextField()
    author = models.ForeignKey(Author, on_delete=models.DO_NOTHING, db_column="author_id")
    price_cents = models.IntegerField()

    class Meta:
        db_table = "book"
        managed = False


class Order(models.Model):
    email = models.TextField()
    note = models.TextField()

    class Meta:
        db_table = "orders"
        managed = False
