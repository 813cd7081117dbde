"""The service over HTTP: answers, batches, limits, errors, start and shutdown."""

from __future__ import annotations

import http.client
import json
import logging
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import pipeline

from modeling_iser import DEFAULT_MODEL
from modeling_iser.handler import MAX_CHARACTERS, MAX_TEXTS
from serving_iser.command_line import _is_local, _parser, main
from serving_iser.limits import impatient
from serving_iser.service import Settings, create_app, load_extractor

from .conftest import REPOSITORY


needs_model = pytest.mark.skipif(not (DEFAULT_MODEL / "config.json").is_file(), reason="no model is bundled")

TEXT = "与阿司匹林合用,出血的危险增加"
DRUG = "华法林钠片"
TEXTS = [
    {"text": TEXT, "drug": DRUG},
    {"text": "与多巴胺合用,本品利尿作用加强", "drug": "布美他尼片"},
    {"text": "本品不影响地高辛的血药浓度。苯巴比妥可降低本品的血药浓度。", "drug": "氯沙坦钾片"},
    {"text": "利福平降低环孢素的血药浓度"},
    {"text": "", "drug": DRUG},
]


@contextmanager
def serving(load: Callable[[], Any], **fields: Any) -> Iterator[httpx.Client]:
    """A client of a service running in a thread."""
    chosen = Settings(**fields)
    config = uvicorn.Config(
        create_app(chosen, load),
        port=0,
        http=impatient(chosen.body_timeout),
        log_config=None,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        host, port = server.servers[0].sockets[0].getsockname()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=30, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def ready(load: Callable[[], Any], **fields: Any) -> Iterator[httpx.Client]:
    with serving(load, **fields) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.01)


class Stub:
    """Replaces the pipeline: records its calls and answers with text and drug."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], dict[str, Any]]] = []
        self.resume = threading.Event()
        self.resume.set()

    def __call__(self, texts: list[Any], **parameters: Any) -> list[Any]:
        items = [{"text": text} if isinstance(text, str) else text for text in texts]
        if [item["text"] for item in items] != [TEXT]:  # Ignore the warm-up.
            self.calls.append(([item["text"] for item in items], parameters))
        self.resume.wait(20)
        for item in items:
            if item["text"] == "break":
                raise RuntimeError("a bug")
            if item["text"] == "refuse":
                raise ValueError("not this one")
            if item["text"] == "die":
                raise SystemExit
        return [{"text": item["text"], "drug": item.get("drug")} for item in items]

    @property
    def read(self) -> list[str]:
        return [text for texts, _ in self.calls for text in texts]


@pytest.fixture
def stub() -> Stub:
    return Stub()


def post(client: httpx.Client, inputs: Any, **parameters: Any) -> httpx.Response:
    return client.post("/extract", json={"inputs": inputs, "parameters": parameters})


def figures(client: httpx.Client) -> dict[str, float]:
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@contextmanager
def at_once(client: httpx.Client, requests: list[Any]) -> Iterator[list[Any]]:
    """Futures of the responses to concurrent requests."""
    with ThreadPoolExecutor(len(requests)) as pool:
        yield [pool.submit(client.post, "/extract", json=request) for request in requests]


@contextmanager
def busy(client: httpx.Client, stub: Stub) -> Iterator[None]:
    """A context in which the model is busy with a text."""
    stub.resume.clear()
    with at_once(client, [{"inputs": "first"}]):
        wait_until(lambda: "first" in stub.read)
        try:
            yield
        finally:
            stub.resume.set()


# ------------------------------------------------------------------------------------------------ answers


@pytest.fixture(scope="module")
def extractor() -> Any:
    load: Any = pipeline
    return load("ddi-extraction", model=str(DEFAULT_MODEL), trust_remote_code=True)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A client of a service with the bundled model."""
    with ready(lambda: load_extractor(Settings()), max_wait=0.05) as client:
        yield client


def as_json(answer: Any) -> Any:
    return json.loads(json.dumps(answer))


def same(answer: Any, expected: Any) -> bool:
    """Equal except for the last digit of scores, which may be rounded differently in another batch."""
    if isinstance(expected, dict):
        return answer.keys() == expected.keys() and all(same(answer[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(answer) == len(expected) and all(map(same, answer, expected))
    return answer == (pytest.approx(expected, abs=1.5e-4) if isinstance(expected, float) else expected)


@needs_model
@pytest.mark.parametrize(
    ("inputs", "parameters"),
    [
        (TEXT, {}),
        (TEXT, {"drug": DRUG}),
        (TEXT, {"drug": DRUG, "triples": True}),
        ([TEXT, "", TEXTS[2]["text"]], {"drug": DRUG, "triples": True, "rules": False, "relation_threshold": 0.01}),
        (TEXTS, {}),
        (TEXTS, {"drug": "甲片", "min_confidence": "95%", "rules": ["own_name"]}),
        ({"text": TEXT, "entities": [{"start": 1, "end": 5, "type": "药物"}]}, {"drug": DRUG, "entity_threshold": 0.5}),
        ([TEXT], {"split_sentences": True}),
        ([], {}),
    ],
)
def test_answers_equal_the_pipelines(client: httpx.Client, extractor: Any, inputs: Any, parameters: Any) -> None:
    response = post(client, inputs, **parameters)
    assert response.status_code == 200
    assert same(response.json(), as_json(extractor(inputs, **parameters)))
    assert response.headers["X-Notice"] == "Not for clinical decisions."


@needs_model
def test_concurrent_requests_share_batches(client: httpx.Client, extractor: Any) -> None:
    inputs = [{**TEXTS[number % len(TEXTS)], "drug": f"药{number}片"} for number in range(24)]
    before = figures(client)
    with at_once(client, [{"inputs": item} for item in inputs]) as responses:
        answers = [response.result().json() for response in responses]
    after = figures(client)
    assert all(same(answer, as_json(extractor(item))) for answer, item in zip(answers, inputs, strict=True))
    increase = {name: after[name] - before.get(name, 0) for name in after}
    assert increase['iser_requests_total{status="200"}'] == increase["iser_texts_total"] == 24
    assert increase["iser_batch_texts_sum"] == 24 and increase["iser_batch_texts_count"] <= 12
    assert increase["iser_request_seconds_count"] == 24
    assert after["iser_ready"] == 1 and after["iser_queue_depth"] == 0


def test_a_general_checkpoint_is_served_and_takes_no_drug(tmp_path: Path, make_model: Any) -> None:
    model = make_model()
    model.save_pretrained(tmp_path)
    text = "Anna Berg lives in Lund ."
    with ready(lambda: load_extractor(Settings(model=tmp_path))) as client:
        load: Any = pipeline
        expected = load("joint-extraction", model=str(tmp_path), trust_remote_code=True)(text)
        assert same(post(client, text).json(), as_json(expected))
        response = post(client, [text, {"text": text, "drug": "x"}])
        assert response.status_code == 422 and "takes no drug" in response.json()["error"]


def test_batches_have_equal_parameters_and_a_limited_size(stub: Stub) -> None:
    requests = [
        {"inputs": ["a", "b", "c", "d", "e"]},
        {"inputs": "f", "parameters": {"triples": True}},
        {"inputs": {"text": "g", "drug": "x"}},
        {"inputs": ["h", "i"], "parameters": {"drug": "y", "triples": True}},
        {"inputs": ["long" * 10] * 2},
    ]
    with ready(lambda: stub, max_batch=4, max_characters=60) as client:
        with ThreadPoolExecutor(len(requests)) as pool, busy(client, stub):
            responses = [pool.submit(client.post, "/extract", json=request) for request in requests]
            wait_until(lambda: figures(client)["iser_queue_depth"] == len(requests))
        answers = [response.result().json() for response in responses]
    assert [[found["text"] for found in answer] for answer in (answers[0], answers[3])] == [list("abcde"), ["h", "i"]]
    assert (answers[1], answers[2]) == ({"text": "f", "drug": None}, {"text": "g", "drug": "x"})
    assert [found["drug"] for found in answers[3]] == ["y", "y"]
    assert all(len(texts) <= 4 and parameters["batch_size"] == 4 for texts, parameters in stub.calls)
    for texts, parameters in stub.calls:
        assert parameters.get("triples", False) == bool(set("fhi") & set(texts))
        assert sum(map(len, texts)) <= 60
    assert ["h", "i"] in [sorted(set(texts) - {"f"}) for texts, _ in stub.calls]


# ------------------------------------------------------------------------------------------------ limits


def test_large_requests_are_refused(stub: Stub) -> None:
    with ready(lambda: stub, max_body=2_000_000) as client:
        response = post(client, ["x"] * (MAX_TEXTS + 1))
        assert response.status_code == 422 and str(MAX_TEXTS) in response.json()["error"]
        response = post(client, ["x" * 1000] * (MAX_CHARACTERS // 1000 + 1))
        assert response.status_code == 422 and str(MAX_CHARACTERS) in response.json()["error"]
        response = post(client, ["x", "x" * 20_001])
        assert response.status_code == 422 and "Text 2 has more than 20000" in response.json()["error"]
        assert post(client, {"text": "x", "drug": "x" * 201}).status_code == 422
        entities = [{"start": 0, "end": 1, "type": "x"}] * 101
        assert post(client, {"text": "x", "entities": entities}).status_code == 422
        assert post(client, ["x" * 10] * MAX_TEXTS).status_code == 200


def test_large_bodies_are_refused_unread(stub: Stub) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 200_000_000:
            sent += 10_000
            yield b" " * 10_000

    with ready(lambda: stub, max_body=50_000) as client:
        response = client.post("/extract", content=b" " * 50_001, headers={"Content-Type": "application/json"})
        assert response.status_code == 413 and "50000 bytes" in response.json()["error"]
        host, port = client.base_url.host, client.base_url.port
        with socket.create_connection((host, port)) as connection:  # A large Content-Length without a body.
            connection.sendall(b"POST /extract HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n")
            assert b" 413 " in connection.recv(1000)
        with suppress(httpx.TransportError):  # The server may close the connection early.
            assert client.post("/extract", content=endless()).status_code == 413
        assert sent < 100_000_000
        # Clients that read the response only after sending the body receive it.
        for body in (b" " * 10_000_000, iter([b" " * 1_000_000] * 10)):
            connection = http.client.HTTPConnection(host, port or 80, timeout=20)
            connection.request("POST", "/extract", body)
            assert connection.getresponse().status == 413
        exact = json.dumps({"inputs": "x"}).encode().ljust(50_000)
        assert client.post("/extract", content=exact, headers={"Content-Type": "application/json"}).status_code == 200


def test_slow_clients_are_disconnected(stub: Stub) -> None:
    with ready(lambda: stub, body_timeout=0.3) as client:
        place = (client.base_url.host, client.base_url.port)
        with socket.create_connection(place) as body, socket.create_connection(place) as head:
            for connection in (body, head):
                connection.settimeout(10)
            body.sendall(b"POST /extract HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            head.sendall(b"POST /extract HT")
            assert b" 408 " in body.recv(1000)
            assert head.recv(1000) == b""
        # A client may pause between requests on one connection, but not within a request.
        with socket.create_connection(place) as again:
            again.settimeout(10)
            for _ in range(2):
                again.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                time.sleep(0.5)
                assert b" 200 " in again.recv(1000)
            again.sendall(b"GET /healthz")
            assert again.recv(1000) == b""
        assert post(client, "x").status_code == 200


def test_full_queue_refuses_requests(stub: Stub) -> None:
    with ready(lambda: stub, queue=2) as client, ThreadPoolExecutor(2) as pool:
        with busy(client, stub):
            waiting = [pool.submit(post, client, "waiting") for _ in range(2)]
            wait_until(lambda: figures(client)["iser_queue_depth"] == 2)
            response = post(client, "x")
            assert response.status_code == 503 and response.headers["Retry-After"] == "1"
            assert "Too many" in response.json()["error"]
        assert [response.result().status_code for response in waiting] == [200, 200]
        assert "x" not in stub.read


def test_expired_and_abandoned_requests_are_not_read(stub: Stub) -> None:
    with ready(lambda: stub, timeout=0.3) as client:
        stub.resume.clear()
        late = post(client, "first")
        assert late.status_code == 504 and "0.3 seconds" in late.json()["error"]
        assert post(client, "too late").status_code == 504
        with pytest.raises(httpx.ReadTimeout):
            client.post("/extract", json={"inputs": "left"}, timeout=0.05)
        wait_until(lambda: figures(client).get('iser_requests_total{status="499"}') == 1)
        stub.resume.set()
        assert post(client, "next").status_code == 200
        assert stub.read == ["first", "next"]


# ---------------------------------------------------------------------------------------- invalid requests


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 422, "no body"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe\x00", 400, "JSON"),
        (b"[" * 100_000, 400, "JSON"),
        (b'{"inputs": ' + b"1" * 10_000 + b"}", 400, "JSON"),
        (b"null", 422, "A request must be"),
        (b"[1]", 422, "A request must be"),
        (b'{"inputs": 5}', 422, "must be a string, not 5"),
        (b'{"inputs": ["a", null]}', 422, "Text 2"),
        (b'{"inputs": "a", "x": 1}', 422, "x: Unknown name"),
        (b'{"inputs": "a", "parameters": [1]}', 422, "parameters must be an object"),
        (b'{"inputs": "a", "parameters": {"colour": 1}}', 422, "parameters.colour"),
        (b'{"inputs": "a", "parameters": {"num_workers": 4}}', 422, "parameters.num_workers"),
        (b'{"inputs": "a", "parameters": {"triples": "yes"}}', 422, "valid boolean"),
        (b'{"inputs": "a", "parameters": {"relation_threshold": NaN}}', 422, "relation_threshold"),
        (b'{"inputs": "a", "parameters": {"min_confidence": "lots"}}', 422, "min_confidence"),
        (b'{"inputs": "a", "parameters": {"\\ud800": 1}}', 422, "parameters"),
        (b'{"inputs": ["a", "\\ud800"]}', 422, "Text 2: Character 0 is an unpaired surrogate"),
        (b'{"inputs": {"text": "a", "drug": ["b"]}}', 422, "inputs.0.drug"),
        (b'{"inputs": {"text": "a", "drug": " "}}', 422, "drug must be a text"),
        (b'{"inputs": {"text": "a", "entities": [{"start": 0, "end": 9, "type": "b"}]}}', 422, "The entity"),
    ],
    ids=lambda value: str(value)[:40],
)
@needs_model
def test_invalid_requests_get_an_explanation(client: httpx.Client, body: bytes, status: int, message: str) -> None:
    response = client.post("/extract", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status and message in response.json()["error"]


def test_wrong_content_types_methods_and_addresses(stub: Stub) -> None:
    with ready(lambda: stub) as client:
        response = client.post("/extract", content=b'{"inputs": "a"}', headers={"Content-Type": "text/plain"})
        assert response.status_code == 422 and "Content-Type" in response.json()["error"]
        assert client.get("/extract").json() == {"error": "Method Not Allowed"}
        assert client.get("/nothing").status_code == 404
        with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
            connection.sendall(b"\x16\x03\x01 what is this\r\n\r\n")
            assert b" 400 " in connection.recv(1000)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_NAMES = ["drug", "triples", "rules", "split_sentences", "entity_threshold", "relation_threshold", "min_confidence"]
_TEXT = st.text("与阿司匹林合用,出血 a1。\n", max_size=20) | st.text(max_size=20)
_OBJECT = st.fixed_dictionaries({"text": _TEXT | _VALUES}, optional={"drug": _TEXT | _VALUES, "entities": _VALUES})
_PARAMETERS = st.dictionaries(st.sampled_from(_NAMES), _TEXT | _VALUES, max_size=2) | _VALUES
_REQUESTS = st.fixed_dictionaries(
    {"inputs": _TEXT | _OBJECT | st.lists(_TEXT | _OBJECT, max_size=3) | _VALUES}, optional={"parameters": _PARAMETERS}
)


@needs_model
@settings(max_examples=80)
@given(body=(_REQUESTS | _VALUES).map(json.dumps).map(str.encode) | st.binary(max_size=50))
def test_no_body_causes_a_server_error(client: httpx.Client, body: bytes) -> None:
    response = client.post("/extract", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (200, 400, 422), (body, response.text)
    assert response.status_code == 200 or response.json()["error"]


# ------------------------------------------------------------------------------ errors, start and shutdown


def test_error_affects_only_its_text_and_is_logged_with_its_id(stub: Stub, caplog: pytest.LogCaptureFixture) -> None:
    with ready(lambda: stub) as client, ThreadPoolExecutor(3) as pool:
        with busy(client, stub):
            broken, refused, good = [pool.submit(post, client, text) for text in ("break", "refuse", "good")]
            wait_until(lambda: figures(client)["iser_queue_depth"] == 3)
        assert good.result().json() == {"text": "good", "drug": None}
        assert (refused.result().status_code, refused.result().json()) == (422, {"error": "not this one"})
        assert broken.result().status_code == 500
        (name,) = re.findall(r"[0-9a-f]{12}", broken.result().json()["error"])
        (record,) = [record for record in caplog.records if name in record.getMessage()]
        assert record.levelno == logging.ERROR and record.exc_info and "a bug" in str(record.exc_info[1])
        assert post(client, "after").status_code == 200


def test_alive_but_not_ready_before_the_model_is_loaded(stub: Stub) -> None:
    loads = threading.Event()

    def load() -> Stub:
        loads.wait(20)
        return stub

    with serving(load) as client:
        assert client.get("/healthz").status_code == 200
        for response in (client.get("/readyz"), post(client, "x")):
            assert response.status_code == 503 and "not loaded yet" in response.json()["error"]
            assert response.headers["Retry-After"] == "1"
        stub.resume.clear()
        loads.set()
        time.sleep(0.1)
        assert client.get("/readyz").status_code == 503  # The model is warming up.
        stub.resume.set()
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert post(client, "x").status_code == 200


def test_not_ready_after_the_models_thread_has_died(stub: Stub) -> None:
    with ready(lambda: stub) as client, ThreadPoolExecutor(2) as pool:
        with busy(client, stub):
            waiting = [pool.submit(post, client, text) for text in ("die", "other")]
            wait_until(lambda: figures(client)["iser_queue_depth"] == 2)
        assert [response.result().status_code for response in waiting] == [503, 503]
        for response in (client.get("/readyz"), post(client, "x")):
            assert response.status_code == 503 and "has died" in response.json()["error"]
        assert client.get("/healthz").status_code == 200
        assert figures(client)["iser_ready"] == 0


def test_interface_description(stub: Stub) -> None:
    with ready(lambda: stub) as client:
        described = client.get("/openapi.json").json()
        assert "Not for clinical decisions" in described["info"]["description"]
        content = described["paths"]["/extract"]["post"]["requestBody"]["content"]["application/json"]
        assert len(content["examples"]) >= 4
        for example in content["examples"].values():
            assert client.post("/extract", json=example["value"]).status_code == 200
        assert {"type": "string"} in described["components"]["schemas"]["ExtractionRequest"]["properties"]["inputs"][
            "anyOf"
        ]
        assert client.get("/docs").status_code == 200
        assert "/extract" in client.get("/").text
        assert "access-control-allow-origin" not in client.get("/", headers={"Origin": "http://x"}).headers


# --------------------------------------------------------------------------------------- command line

# The model is a stub, and modeling_iser is imported without its __init__, to avoid the slow import of torch.
COMMAND = """
import pathlib, sys, time, types
package = sys.modules["modeling_iser"] = types.ModuleType("modeling_iser")
package.__path__ = ["modeling_iser"]
package.DEFAULT_MODEL = pathlib.Path(sys.argv[1])
from serving_iser import command_line, service

def load(settings):
    def extractor(texts, **parameters):
        for text in texts:
            if text in ({"text": "slow"}, {"text": "die"}):
                time.sleep(1)
            if text == {"text": "die"}:
                raise SystemExit
        return [{"text": text} for text in texts]
    return extractor

service.load_extractor = load
sys.exit(command_line.main(["--port", "0", "--max-batch", "1"]))
"""


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [("slow", 200, 0), ("die", 503, 1)],
    ids=["SIGTERM finishes work", "a dead thread ends the service"],
)
def test_command_ends(tmp_path: Path, text: str, status: int, code: int) -> None:
    (tmp_path / "config.json").touch()
    command = [sys.executable, "-c", COMMAND, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            address = next(
                found[0] for line in process.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line))
            )
            with httpx.Client(base_url=address, timeout=20, trust_env=False) as client, ThreadPoolExecutor(2) as pool:
                wait_until(lambda: client.get("/readyz").status_code == 200)
                responses = [pool.submit(post, client, text) for _ in range(2)]
                wait_until(lambda: figures(client)["iser_batch_texts_count"] == 1)
                time.sleep(0.2)
                if text == "slow":
                    process.send_signal(signal.SIGTERM)
                assert [response.result().status_code for response in responses] == [status, status]
                assert process.wait(60) == code
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{address}/healthz", trust_env=False)
        finally:
            process.kill()


def test_wrong_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(tmp_path)]) == 1
    assert "not a checkpoint" in capsys.readouterr().err
    for wrong in (["--max-body", "much"], ["--queue", "0"], ["--timeout", "-1"], ["--backend", "x"]):
        with pytest.raises(SystemExit, match="2"):
            main(wrong)
    options = _parser().parse_args(["--max-body", "500kB"])
    assert options.max_body == 500_000 and _parser().parse_args([]).max_body == 1_000_000
    assert options.host == "127.0.0.1"
    assert [_is_local(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "example.org")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip


def test_service_ends_if_the_model_cannot_be_loaded(caplog: pytest.LogCaptureFixture) -> None:
    ended = threading.Event()

    def load() -> Any:
        raise RuntimeError("no such device")

    app = create_app(Settings(), load, ended.set)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    assert ended.wait(10)
    server.should_exit = True
    thread.join()
    assert "cannot be loaded: RuntimeError: no such device" in caplog.text
