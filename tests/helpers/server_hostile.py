"""Clients that send what nobody should."""

import random

from hypothesis import HealthCheck, Phase, given, settings

from helpers.fuzzing import Change, _images, break_file
from helpers.server_client import send


def send_broken(client, count: int) -> set[int]:
    chance, seeds = random.Random(0), _images()
    statuses = set()
    for _ in range(count):
        _, content = chance.choice(seeds)
        changes = [Change(chance.randrange(2**16), chance.randrange(2**16), chance.randrange(2**16)) for _ in range(3)]
        statuses.add(send(client, break_file(content, changes)).status_code)
    return statuses


def try_document(client, examples: int) -> dict[str, int]:
    """Send what the OpenAPI document allows; how many requests each operation got.

    Each has the same share of the examples; those that allow fewer requests get fewer.
    """
    import schemathesis

    schema = schemathesis.openapi.from_dict(client.app.openapi())
    operations = [one.ok() for one in schema.get_all_operations()]
    share = -(-examples // len(operations))
    return {operation.label: _try_operation(client, operation, share) for operation in operations}


def _try_operation(client, operation, examples: int) -> int:
    sent = 0

    @given(case=operation.as_strategy())
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case):
        nonlocal sent
        sent += 1
        path, headers = case.formatted_path, dict(case.headers or {})
        answer = client.request(case.method, path, params=case.query or None, headers=headers, **_body(case))
        assert answer.status_code < 500, f"{case.method} {path} {case.query} {case.body!r}: {answer.text}"

    check()
    return sent


def _body(case) -> dict:
    if case.media_type is None:
        return {}
    if case.media_type == "multipart/form-data":
        images = case.body.get("images", []) if isinstance(case.body, dict) else []
        return {
            "files": [("images", ("x.png", one if isinstance(one, bytes) else str(one).encode())) for one in images]
        }
    return {"json": case.body}
