"""Workspaces from private repositories, in real containers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from git_host import CREDENTIALS, GitHost, credential_for
from server import Api, Server

Join = Callable[[str, str, str], Awaitable[Api]]


async def test_a_private_repository_at_create(
    server: Server, newcomer: Api, host: GitHost, join: Join
) -> None:
    url = await host.add("secret-project", {"a.txt": "mine\n"})
    body = {"name": "nobody's", "image": "base", "git": {"url": url}}
    without = (await newcomer.post("/api/v1/workspaces", json=body))["id"]
    stopped = await newcomer.until(without, "stopped")
    assert "could not be fetched" in stopped["error"]

    token = await credential_for(newcomer, host, "cleo")
    own = await newcomer.create("private", git={"url": url})
    assert await newcomer.read(own, "a.txt") == b"mine\n"
    await _holds_no(own, token, newcomer)
    assert token not in server.log.read_text()
    [shown] = (await newcomer.get(CREDENTIALS))["credentials"]
    assert (shown["host"], shown["username"]) == (host.host, "cleo")
    assert shown["used_at"] is not None
    records = (await server.api.get("/api/v1/audit"))["records"]
    clone = next(each for each in records if each["action"] == "git.clone")
    assert clone["name"] == "Cleo"
    assert clone["detail"] == {"as": "cleo", "credential": shown["id"], "repository": url}
    assert token not in str(records)

    # Whoever else is here has none of it, nor has a program of hers.
    editor = await join("Bo", "terminal", own)
    assert (await editor.get(CREDENTIALS))["credentials"] == []
    gone = await editor.request("DELETE", f"{CREDENTIALS}/{shown['id']}")
    assert gone.status_code == 404
    assert (await server.api.request("GET", CREDENTIALS)).status_code == 403

    host.people["cleo"] = "revoked"
    refused = (await newcomer.post("/api/v1/workspaces", json=body))["id"]
    stopped = await newcomer.until(refused, "stopped")
    assert "lets nobody in as cleo" in stopped["error"]
    await newcomer.delete(f"{CREDENTIALS}/{shown['id']}")
    assert (await newcomer.get(CREDENTIALS))["credentials"] == []


async def _holds_no(workspace: str, token: str, api: Api) -> None:
    """Neither a file nor an environment has it; the configuration names the real host alone."""
    # Of the shell that looks, its own arguments would be found.
    part = token[6:]
    search = f"grep -rl {part} /workspace /home /tmp /run; cat /proc/*/environ | grep -c {part}"
    _, output = await api.run(workspace, "sh", "-c", f"({search}) 2>/dev/null")
    assert output.split() == ["0"]
    _, remotes = await api.run(workspace, "git", "remote", "--verbose")
    assert "/secret-project.git" in remotes
    assert "@" not in remotes


async def test_what_is_no_credential(ada: Api) -> None:
    for field, value, words in [
        ("address", "git@github.com:x/y", "address of a repository"),
        ("address", "https://", "name of a host"),
        ("address", "ssh://github.com/x", "https://"),
        ("address", "https://u:p@github.com/x", "password"),
        ("address", "https://github.com/../x", "address"),
        ("address", "github.com:99999", "host"),
        ("username", "", "Name the user"),
        ("username", "a:b", "colon"),
        ("secret", "", "token or password"),
        ("secret", "a\nb", "one line"),
        ("secret", "x" * 9000, "one line"),
    ]:
        body = {"address": "github.com", "username": "ada", "secret": "x", field: value}
        answer = await ada.request("POST", CREDENTIALS, json=body)
        assert answer.status_code == 400, (field, value)
        assert words in answer.json()["detail"], (field, value)
    body = {"address": "GitHub.com/team/", "username": "ada", "secret": "x"}
    made = await ada.post(CREDENTIALS, json=body)
    assert (made["host"], made["path"]) == ("github.com", "team")
    again = await ada.request("POST", CREDENTIALS, json=body)
    assert again.status_code == 409
