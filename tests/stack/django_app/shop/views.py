"""Five pages: an N+1 of the ORM, a search without an index, a slow partner, a calculation, and one with nothing wrong."""

import os

import requests
from django.http import JsonResponse

from .models import Book, Order

partner = requests.Session()


def books(request):
    """`book.author` loads each author by itself: nobody said select_related."""
    first = int(request.GET.get("page", "0")) % 90 * 20
    listed = Book.objects.order_by("id")[first : first + 20]
    return JsonResponse({"books": [{"title": book.title, "author": book.author.name} for book in listed]})


def orders(request):
    """`orders.email` has no index."""
    found = Order.objects.filter(email=f"reader{request.GET['reader']}@example.org").order_by("id")
    return JsonResponse({"orders": [order.id for order in found]})


def quote(request, book_id):
    """What a partner asks for it: the waiting is somebody else's."""
    answer = partner.get(f"{os.environ['SHOP_PARTNER_URL']}/shipping/{book_id}", timeout=10)
    return JsonResponse({"book": book_id, "quote": answer.json()})


def discount(request, book_id):
    """Found the slow way, in pure Python."""
    best, seed = 0, book_id
    for step in range(400_000):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        best = max(best, seed % 1000 - step % 7)
    return JsonResponse({"book": book_id, "discount": best})


def book(request, book_id):
    """One row by its key."""
    found = Book.objects.select_related("author").get(id=book_id)
    return JsonResponse({"title": found.title, "author": found.author.name})
