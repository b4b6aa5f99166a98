"""What is sent to webhooks, and what becomes of it when they fail."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from receiver import Receiver, receiving
from sqlalchemy import select, update

from cloudide.errors import NotFound, PreconditionFailed
from cloudide.events import dispatch, signing
from cloudide.events.addresses import Addresses
from cloudide.events.deliveries import Deliveries, Delivery
from cloudide.events.dispatch import Dispatcher, pause_after
from cloudide.events.log import EventLog, PositionGone
from cloudide.events.webhooks import OVERLAP, Webhooks
from cloudide.identity.sealing import Sealing
from cloudide.storage.database import Database
from cloudide.storage.outbox import emit
from cloudide.storage.tables import deliveries, events, webhooks

SOURCE = "https://ide.example.org"
ERROR = b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\nno\x00!"


class Watched(Deliveries):
    """Tells when an attempt was kept."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.kept = asyncio.Condition()

    async def settle(self, *given: Any, **more: Any) -> None:
        await super().settle(*given, **more)
        async with self.kept:
            self.kept.notify_all()

    async def until(self, webhook: str, good: Callable[[list[Delivery]], bool]) -> list[Delivery]:
        """The log of a webhook, once it is as wanted."""
        async with asyncio.timeout(30), self.kept:
            while not good(found := await self.page(webhook, None, 100)):
                await self.kept.wait()
        return found


class Site:
    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        addresses = Addresses(loopback=True)
        self.webhooks = Webhooks(database, Sealing.start(folder), addresses)
        self.deliveries = Watched(database)
        self.log = EventLog(database, self.deliveries, 7)
        self.dispatcher = Dispatcher(self.webhooks, self.deliveries, addresses, SOURCE)

        def on_events() -> None:
            self.dispatcher.poke()
            self.log.notify()

        database.on_events = on_events

    async def happen(self, type: str = "port.shared", **scope: Any) -> str:
        async with self.database.begin() as db:
            return await emit(db, type, "something", {"is": "so"}, **scope)

    async def settled(self, webhook: str, count: int) -> list[Delivery]:
        """The log, once that many attempts were made in all."""
        return await self.deliveries.until(
            webhook, lambda found: sum(each.attempts for each in found) >= count
        )


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    database = Database(tmp_path / "cloudide.sqlite")
    await database.start()
    site = Site(database, tmp_path)
    async with site.dispatcher:
        yield site
    await database.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def is_signed(message: Any, secret: str) -> bool:
    """As a receiver looks, written from the specification."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    stamp = message.headers["webhook-timestamp"]
    content = f"{message.id}.{stamp}.".encode() + message.body
    expected = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    return f"v1,{expected}" in message.headers["webhook-signature"].split(" ")


def test_the_signature_of_the_specification() -> None:
    # The example of https://www.standardwebhooks.com/
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    signature = signing.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, secret)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_an_event_arrives_signed_as_a_cloudevent(site: Site, receiver: Receiver) -> None:
    webhook, secret = await site.webhooks.create(receiver.url, [], by="u1")
    id = await site.happen()
    (message,) = await receiver.until(1)
    assert message.headers["content-type"].startswith("application/cloudevents+json")
    assert message.id == id == message.event["id"]
    assert is_signed(message, secret)
    assert not is_signed(message, signing.new_secret())
    event = message.event
    assert abs(time.time() - int(message.headers["webhook-timestamp"])) < 60
    assert event.pop("time").endswith("Z")
    assert event == {
        "specversion": "1.0",
        "id": id,
        "source": SOURCE,
        "type": "cloudide.port.shared",
        "subject": "something",
        "datacontenttype": "application/json",
        "data": {"is": "so"},
    }
    (delivery,) = await site.settled(webhook.id, 1)
    assert (delivery.state, delivery.status, delivery.response) == ("delivered", 200, "ok")
    async with site.database.begin() as db:
        kept = (await db.execute(select(webhooks.c.secret))).scalar_one()
    assert secret.encode() not in kept
    assert base64.b64decode(secret.removeprefix("whsec_")) not in kept


async def test_whom_an_event_is_for(site: Site, receiver: Receiver) -> None:
    of_site, _ = await site.webhooks.create(receiver.url, ["cloudide.port.*"])
    of_one, _ = await site.webhooks.create(receiver.url, [], workspace="one")
    of_two, _ = await site.webhooks.create(receiver.url, [], workspace="two")
    of_team, _ = await site.webhooks.create(receiver.url, [], team="red")
    await site.happen("port.shared", workspace="one")
    await site.happen("task.finished", workspace="one")
    await site.happen("team.changed", team="red")
    await site.happen("secret.created", user="u1", needs="self")
    await receiver.until(4)
    found = {
        each: [delivery.type for delivery in await site.deliveries.page(each, None, 9)]
        for each in (of_site.id, of_one.id, of_two.id, of_team.id)
    }
    assert found == {
        of_site.id: ["cloudide.port.shared"],
        of_one.id: ["cloudide.task.finished", "cloudide.port.shared"],
        of_two.id: [],
        of_team.id: ["cloudide.team.changed"],
    }


async def test_what_is_not_committed_never_happened(site: Site, receiver: Receiver) -> None:
    await site.webhooks.create(receiver.url, [])

    async def fail() -> None:
        async with site.database.begin() as db:
            await emit(db, "port.shared", "something")
            raise RuntimeError("a named fault")

    with pytest.raises(RuntimeError):
        await fail()
    id = await site.happen()
    assert [each.id for each in await receiver.until(1)] == [id]
    assert [row["id"] for row in await site.log.page(0)] == [id]


async def test_both_secrets_sign_after_a_rotation(
    site: Site, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook, first = await site.webhooks.create(receiver.url, [])
    _, second = await site.webhooks.rotate(webhook.id)
    await site.happen()
    (message,) = await receiver.until(1)
    assert is_signed(message, first)
    assert is_signed(message, second)
    async with site.database.begin() as db:
        past = time.time() - 1
        await db.execute(update(webhooks).values(previous_until=past))
    assert OVERLAP == 24 * 3600
    await site.happen()
    message = (await receiver.until(2))[1]
    assert not is_signed(message, first)
    assert is_signed(message, second)


async def test_a_failure_is_tried_again_with_the_same_id(
    site: Site, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "FIRST_PAUSE", 0.02)
    receiver.answer = ERROR
    webhook, _ = await site.webhooks.create(receiver.url, [])
    id = await site.happen()
    await receiver.until(3)
    (delivery,) = await site.settled(webhook.id, 3)
    assert (delivery.state, delivery.status) == ("pending", 500)
    assert delivery.response == "no\ufffd!"
    assert delivery.error == "It answered 500."
    receiver.answer = b"HTTP/1.1 204 Fine\r\n\r\n"
    await site.deliveries.until(webhook.id, lambda found: found[0].state == "delivered")
    assert {each.id for each in receiver.messages} == {id}


def test_pauses_grow_and_differ() -> None:
    for attempts in range(40):
        longest = min(5.0 * 2**attempts, 3600.0)
        pauses = [pause_after(attempts) for _ in range(50)]
        assert all(longest / 2 <= pause <= longest for pause in pauses)
        assert len(set(pauses)) > 1


async def test_a_redirection_is_not_followed(site: Site, receiver: Receiver) -> None:
    async with receiving() as elsewhere:
        location = elsewhere.url.encode()
        receiver.answer = (
            b"HTTP/1.1 307 There\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"
        )
        webhook, _ = await site.webhooks.create(receiver.url, [])
        await site.happen()
        (delivery,) = await site.settled(webhook.id, 1)
        assert delivery.status == 307
        assert "not followed" in delivery.error
        assert elsewhere.messages == []


async def test_an_endless_answer_is_cut(site: Site, receiver: Receiver) -> None:
    receiver.answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000
    webhook, _ = await site.webhooks.create(receiver.url, [])
    await site.happen()
    (delivery,) = await site.settled(webhook.id, 1)
    assert (delivery.state, delivery.response) == ("delivered", "x" * 1024)


async def test_silence_is_a_failure(
    site: Site, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "TIMEOUT", 0.05)
    receiver.answer = None
    webhook, _ = await site.webhooks.create(receiver.url, [])
    await site.happen()
    (delivery,) = await site.settled(webhook.id, 1)
    assert (delivery.state, delivery.status) == ("pending", None)
    assert "no answer" in delivery.error


async def test_a_slow_webhook_keeps_no_other_waiting(site: Site) -> None:
    async with receiving() as slow, receiving() as quick:
        slow.answer = None
        await site.webhooks.create(slow.url, [])
        await site.webhooks.create(quick.url, [])
        for _ in range(40):
            await site.happen()
        await quick.until(40)
        assert len(slow.messages) <= dispatch.AT_ONCE_EACH


async def test_a_day_of_failures_switches_a_webhook_off_and_says_so(
    site: Site, receiver: Receiver
) -> None:
    receiver.answer = ERROR
    webhook, _ = await site.webhooks.create(receiver.url, [], workspace="one")
    await site.happen(workspace="one")
    await site.settled(webhook.id, 1)
    async with site.database.begin() as db:
        values = {"created_at": time.time() - dispatch.GIVE_UP, "due_at": 0.0}
        await db.execute(update(deliveries).values(**values))
    await site.happen(workspace="one")  # waits when the webhook is switched off
    await site.deliveries.until(
        webhook.id, lambda log: len(log) == 2 and {each.state for each in log} == {"failed"}
    )
    found = await site.webhooks.get(webhook.id)
    assert not found.active
    assert "failed for 24 hours" in found.disabled_reason
    assert "500" in found.disabled_reason
    told = (await site.log.page(0))[-1]
    assert (told["type"], told["workspace"]) == ("cloudide.webhook.disabled", "one")
    missed = {each.event for each in await site.deliveries.page(webhook.id, None, 9)}
    await site.happen(workspace="one")  # is not for one that is off
    receiver.answer = b"HTTP/1.1 204 Fine\r\n\r\n"
    await site.webhooks.change(webhook.id, active=True)
    await site.deliveries.replay_since(webhook.id, 0.0)
    site.dispatcher.poke()
    await site.deliveries.until(
        webhook.id,
        lambda log: {each.event for each in log if each.state == "delivered"} == missed,
    )


async def test_gone_switches_a_webhook_off(site: Site, receiver: Receiver) -> None:
    receiver.answer = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
    webhook, _ = await site.webhooks.create(receiver.url, [])
    await site.happen()
    (delivery,) = await site.settled(webhook.id, 1)
    assert delivery.state == "failed"
    assert not (await site.webhooks.get(webhook.id)).active


async def test_replays(site: Site, receiver: Receiver) -> None:
    webhook, _ = await site.webhooks.create(receiver.url, [])
    first, second = await site.happen(), await site.happen()
    await receiver.until(2)
    log = await site.settled(webhook.id, 2)
    oldest = log[-1]
    again = await site.deliveries.replay(webhook.id, oldest.id)
    assert (again.event, again.state) == (oldest.event, "pending")
    site.dispatcher.poke()
    assert (await receiver.until(3))[2].id == oldest.event
    await site.settled(webhook.id, 3)
    assert await site.deliveries.replay_since(webhook.id, time.time() + 1) == 0
    assert await site.deliveries.replay_since(webhook.id, 0.0) == 2
    site.dispatcher.poke()
    assert {each.id for each in (await receiver.until(5))[3:]} == {first, second}
    with pytest.raises(NotFound):
        await site.deliveries.replay("whk_another", oldest.id)


async def test_two_people_who_change_a_webhook(site: Site, receiver: Receiver) -> None:
    webhook, _ = await site.webhooks.create(receiver.url, [])
    changed = await site.webhooks.change(webhook.id, description="one", revision=1)
    with pytest.raises(PreconditionFailed):
        await site.webhooks.change(webhook.id, description="other", revision=1)
    with pytest.raises(PreconditionFailed):
        await site.webhooks.delete(webhook.id, revision=1)
    assert (await site.webhooks.get(webhook.id)).description == "one"
    await site.webhooks.delete(webhook.id, changed.revision)
    with pytest.raises(NotFound):
        await site.webhooks.get(webhook.id)


async def test_old_events_are_forgotten_but_not_what_waits(site: Site, receiver: Receiver) -> None:
    for _ in range(3):
        await site.happen()
    receiver.answer = None
    webhook, _ = await site.webhooks.create(receiver.url, [])
    await site.happen()  # number 4 waits
    await receiver.until(1)
    await site.happen()
    await site.log.forget(time.time() + 1)
    assert [row["seq"] for row in await site.log.page(0)] == [4, 5]
    await site.log.check(3)
    for gone in (0, 2, 6):
        with pytest.raises(PositionGone):
            await site.log.check(gone)
    await site.webhooks.delete(webhook.id)
    await site.log.forget(time.time() + 1)
    # The last stays, so that the next has the next number.
    async with site.database.begin() as db:
        assert list((await db.execute(select(events.c.seq))).scalars()) == [5]
