import random, os, uuid
from locust import HttpUser, SequentialTaskSet, task, between, constant_pacing

HOST = os.getenv("TARGET", "http://127.0.0.1:8080")

class WebsiteUser(HttpUser):
    host = "http://127.0.0.1:8080"
    wait_time = constant_pacing(1)

    def on_start(self):
        r = self.client.post("/signup", json={"user": f"u{random.randint(1, 1000000)}", "password": "x"})
        self.session = r.json()["session"]
        self.client.headers.update({"X-Session": self.session})

    def on_stop(self):
        self.client.post("/signout", json={"session": self.session})

    @task(3)
    def product(self):
        with self.client.get(f"/p/{random.randint(1, 100)}", name="/p/[id]", catch_response=True) as response:
            if response.status_code != 200:
                response.failure("bad")
            pid = response.json()["id"]
        self.client.post("/cart", json={"id": pid, "n": random.choice([1, 2, 3])})

    @task
    class Flow(SequentialTaskSet):
        @task
        def first(self):
            self.client.get("/first")

        @task
        def second(self):
            self.client.get("/second", params={"q": "a b"}, auth=("me", "pw"))
