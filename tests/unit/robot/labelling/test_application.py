"""The label page's server: who is let in, what is refused and in which words, and what reaches the disk."""

from __future__ import annotations

import dataclasses
import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robot.core.data import Verdict
from robot.episodes.arbitration import current
from robot.episodes.labels import Field
from robot.episodes.store import EpisodeStore
from tests.unit.robot.episodes.labelling.episodes import moving_square
from tests.unit.robot.episodes.labelling.serving import TOKEN, Served, serving

ID = "0123456789abcdef"
OTHER_ID = "fedcba9876543210"
STEPS = 24


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("store")
    store = EpisodeStore(folder / "episodes")
    for number in range(3):
        store.add(moving_square(STEPS, number), [Verdict(0.5 + number / 8, "classifier")], f"push-{number}")
    outside = EpisodeStore(folder / "outside")
    outside.add(moving_square(), [], "secret")
    (store.folder / "link").symlink_to(outside.folder / "secret")
    with serving(store) as where:
        yield where


def ask(
    served: Served, path: str, body: Any = None, headers: Mapping[str, str] | None = None, token: str = TOKEN
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    try:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        method = "GET" if data is None else "POST"
        connection.request(method, f"/{token}/{path}" if token else path, data, {**sent, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def told(answer: tuple[int, bytes, http.client.HTTPMessage]) -> str:
    sentence = json.loads(answer[1])["error"]
    assert isinstance(sentence, str) and sentence.endswith(".") and "\n" not in sentence
    return sentence


def success(value: float = 1.0, label_id: str = ID, **more: Any) -> dict[str, Any]:
    return {"labels": [{"id": label_id, "field": "success", "value": value, **more}]}


def test_the_page_and_all_that_it_needs_come_from_here(served: Served) -> None:
    status, body, headers = ask(served, "")
    page = body.decode()
    assert status == 200 and "sail label" in page and "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer" and headers["cache-control"] == "no-store"
    for file in ("page.css", "page.js", "server.js", "pictures.js", "timeline.js", "panel.js", "icon.svg"):
        status, body, _ = ask(served, f"page/{file}")
        assert status == 200
        assert b"https://" not in body and b"@import" not in body
    assert ask(served, "page/page.css")[2]["content-type"].startswith("text/css")


def test_the_queue_and_an_episode(served: Served) -> None:
    session = json.loads(ask(served, "queue")[1])
    assert [one["id"] for one in session["episodes"]] == ["push-0", "push-1", "push-2"]
    assert session["person"] == "ada" and len(session["failure_kinds"]) <= 9
    about = json.loads(ask(served, "episodes/push-1")[1])
    assert about["steps"] == STEPS and len(about["shown"]) == STEPS + 1
    assert about["labels"][0]["source"] == "classifier"
    for path in ("executed/corner2", "imagined"):
        status, body, headers = ask(served, f"episodes/push-1/{path}")
        assert status == 200 and headers["content-type"] == "image/jpeg" and body[:2] == b"\xff\xd8"


@pytest.mark.parametrize(
    "path", ["/", "/queue", "/wrong/", "/wrong/queue", f"/{TOKEN}x/queue", "/é/", "//", f"//{TOKEN}/"]
)
def test_without_the_token_nobody_is_let_in(served: Served, path: str) -> None:
    answer = ask(served, path.replace("é", "%C3%A9"), token="")
    assert answer[0] == 403 and "token" in told(answer)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Host": "127.0.0.1:{port}.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_foreign_host_or_origin_is_refused_even_with_the_token(served: Served, headers: dict[str, str]) -> None:
    headers = {name: value.format(port=served.port) for name, value in headers.items()}
    for answer in (
        ask(served, "queue", headers=headers),
        ask(served, "episodes/push-0/labels", success(), headers=headers),
    ):
        assert answer[0] == 403 and "another site" in told(answer)
    assert len(served.store.labels("push-0")) == 1


def test_its_own_host_and_origin_are_let_in(served: Served) -> None:
    for host in ("127.0.0.1", "localhost", "LOCALHOST"):
        headers = {"Host": f"{host}:{served.port}", "Origin": f"http://{host}:{served.port}"}
        assert ask(served, "queue", headers=headers)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "episodes/..%2f..%2foutside%2fsecret",
        "episodes/../outside",
        "episodes/..",
        "episodes/%2e%2e",
        "episodes/%2e%2e/labels",
        "episodes/.hidden",
        "page/..%2fapplication.py",
        "page/../application.py",
        "page/%2e%2e",
        "page/application.py",
        "page/__init__.py",
        "nothing",
    ],
)
def test_paths_outside_the_store_and_the_page_lead_nowhere(served: Served, path: str) -> None:
    answer = ask(served, path)
    assert answer[0] in (400, 404, 405)
    told_all = json.loads(answer[1])["error"]
    assert "import" not in told_all


def test_an_episode_that_is_a_link_out_of_the_store_is_refused(served: Served) -> None:
    for answer in (ask(served, "episodes/link"), ask(served, "episodes/link/labels", success())):
        assert answer[0] == 400 and "outside the store" in told(answer)
    assert not (served.store.folder.parent / "outside" / "secret" / "labels.jsonl").exists()


def test_what_a_person_says_reaches_the_disk_and_is_taken_back(served: Served) -> None:
    rows = [
        {"id": ID, "field": "success", "value": 0},
        {"id": OTHER_ID, "field": "segment", "value": "", "span": [3, STEPS]},
    ]
    status, body, _ = ask(served, "episodes/push-2/labels", {"labels": rows})
    assert status == 200 and [one["id"] for one in json.loads(body)["labels"]][1:] == [ID, OTHER_ID]
    label = current(served.store.labels("push-2"), Field.SUCCESS)
    assert label is not None and (label.value, label.source, label.who, label.confidence) == (0.0, "person", "ada", 1.0)
    again = ask(served, "episodes/push-2/labels", {"labels": rows})  # as when the answer was lost on the way
    assert again[0] == 200 and len(served.store.labels("push-2")) == 3
    assert {one["id"]: one["labelled"] for one in json.loads(ask(served, "queue")[1])["episodes"]}["push-2"]
    for _ in range(2):
        status, body, _ = ask(served, "episodes/push-2/undo", {"labels": [ID, OTHER_ID]})
        assert status == 200 and len(json.loads(body)["labels"]) == 1
    assert len(served.store.labels("push-2")) == 5
    label = current(served.store.labels("push-2"), Field.SUCCESS)
    assert label is not None and label.source == "classifier"


def test_only_a_persons_labels_are_taken_back(served: Served) -> None:
    judged = served.store.labels("push-0")[0].label_id
    answer = ask(served, "episodes/push-0/undo", {"labels": [judged]})
    assert answer[0] == 400 and "of a person" in told(answer)
    assert ask(served, "episodes/push-0/undo", {"labels": ["x"]})[0] == 400


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (success(label_id=ID, span=[0, STEPS + 1]), "step 25, past the end of episode 'push-0', whose last step is 24"),
        (success(span=[5, 3]), "same or a later"),
        (success(span=[0, True]), "first and a last step"),
        (success(span=[-1, 3]), "same or a later"),
        (success(1.5), "in 0–1"),
        (success("yes"), "in 0–1"),
        (success(None), "in 0–1"),
        ({"labels": [{"id": ID, "field": "quality", "value": 5}]}, "from 0 to 4"),
        ({"labels": [{"id": ID, "field": "note", "value": " "}]}, "must not be empty"),
        ({"labels": [{"id": ID, "field": "segment", "value": "x"}]}, "first and a last step"),
        ({"labels": [{"id": ID, "field": "retraction", "value": "x"}]}, "cannot label"),
        ({"labels": [{"id": ID, "field": "progress", "value": [1]}]}, "cannot label"),
        ({"labels": [{"id": "../x", "field": "note", "value": "x"}]}, "hexadecimal"),
        ({"labels": [{"id": ID, "field": "note", "value": "x", "source": "truth"}]}, "at most a span"),
        ({"labels": []}, "from 1 to 100"),
        ({"labels": [1]}, "at most a span"),
        ([], "JSON"),
        (b"{", "JSON"),
        (b"x" * 70_000, "not read"),
    ],
)
def test_a_label_that_does_not_fit_is_refused_in_a_sentence(served: Served, body: Any, says: str) -> None:
    answer = ask(served, "episodes/push-0/labels", body)
    assert answer[0] == 400 and says in told(answer)
    assert len(served.store.labels("push-0")) == 1


def test_labels_as_a_form_are_refused(served: Served) -> None:
    answer = ask(served, "episodes/push-0/labels", success(), headers={"Content-Type": "text/plain"})
    assert answer[0] == 400 and "application/json" in told(answer)


def test_an_unknown_episode_and_camera_are_named(served: Served) -> None:
    assert "no episode 'gone'" in told(ask(served, "episodes/gone"))
    assert "no camera 'top'" in told(ask(served, "episodes/push-0/executed/top"))
    assert ask(served, "episodes/push-0/labels")[0] == 405


def test_a_damaged_episode_is_told_and_the_others_go_on(served: Served, tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    for name in ("good", "bad"):
        store.add(moving_square(), [], name)
    (tmp_path / "bad" / "episode.json").write_text("{")
    with serving(store) as where:
        assert ask(where, "episodes/bad")[0] == 400
        session = json.loads(ask(where, "queue")[1])
        assert [one["id"] for one in session["episodes"]] == ["good"] and len(session["problems"]) == 1


def test_an_episode_with_numbers_that_are_none_is_shown(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    episode = moving_square()
    sent = episode.sent.copy()
    sent[3, 1] = np.nan
    store.add(dataclasses.replace(episode, sent=sent), [], "gap")
    with serving(store) as where:
        status, body, _ = ask(where, "episodes/gap")
        assert status == 200, body
        assert json.loads(body)["sent"][1][3] is None and "step 3" in json.loads(body)["wrong"]
