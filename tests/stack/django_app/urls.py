"""Routes of the Django bookshop."""

from django.urls import path
from shop import views

urlpatterns = [
    path("books", views.books),
    path("orders", views.orders),
    path("quote/<int:book_id>", views.quote),
    path("discount/<int:book_id>", views.discount),
    path("book/<int:book_id>", views.book),
]
